//! Positions become committed offsets.
//!
//! One commit is under way at a time, so that an older one never lands after a newer one (G11). What comes meanwhile is
//! gathered into the next. A commit names the member and its epoch; partitions that are not owned are refused before
//! they are sent, because a commit for them would set another member back (G7).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use milena_cluster::{
    BrokerId, Deadline, FailureKind, Outgoing, RequestId, TopicPartition, Verdict, later, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, Response,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
    wire::ByteString,
};

use super::committed::refused_member;
use crate::{
    CommitError, Event, Position,
    cursors::Cursors,
    membership::{Identity, Membership},
    planted_bug::PlantedBug,
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

/// The first version that names topics by id only.
const IDS_ONLY: i16 = 10;

/// Names a commit until its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId(u64);

/// What becomes of a commit that fails in a way that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommitMode {
    /// It has failed: the next one carries newer offsets anyway.
    Async,
    /// It is tried again until `commit_timeout`.
    Sync,
}

/// What is committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// Where reading is to go on.
    pub position: Position,
    /// A word to oneself.
    pub metadata: ByteString,
}

impl From<Position> for OffsetAndMetadata {
    fn from(position: Position) -> Self {
        Self { position, metadata: ByteString::default() }
    }
}

type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

#[derive(Debug, Default)]
pub(crate) struct Commits {
    current: Option<Current>,
    /// What came since, newest offsets winning.
    next: Option<Batch>,
    ids: u64,
}

#[derive(Debug)]
struct Batch {
    ids: Vec<CommitId>,
    offsets: Offsets,
    mode: CommitMode,
    /// When trying again ends.
    until: Instant,
}

/// The commit under way: asked for, or about to be asked for again.
#[derive(Debug)]
struct Current {
    batch: Batch,
    state: State,
    retry: Retry,
    cause: Arc<str>,
}

#[derive(Debug)]
enum State {
    Due,
    Asked(Asked<Option<i32>>),
    /// The member's epoch has moved on: the next heartbeat tells the new one (N5).
    AwaitingEpoch {
        stale: i32,
    },
}

impl Commits {
    /// Takes a commit on. Whether the partitions are owned is checked when it is sent, too.
    pub(crate) fn commit(
        &mut self,
        now: Instant,
        timeout: Duration,
        offsets: Offsets,
        mode: CommitMode,
    ) -> CommitId {
        self.ids = self.ids.wrapping_add(1);
        let id = CommitId(self.ids);
        let until = later(now, timeout);
        match &mut self.next {
            Some(next) => {
                next.ids.push(id);
                next.offsets.extend(offsets);
                next.mode = next.mode.max(mode);
                next.until = until;
            }
            None => self.next = Some(Batch { ids: vec![id], offsets, mode, until }),
        }
        id
    }

    /// A commit of nothing is done.
    pub(crate) fn commit_nothing(&mut self, shared: &mut Shared) -> CommitId {
        self.ids = self.ids.wrapping_add(1);
        let id = CommitId(self.ids);
        shared.events.push_back(Event::Committed { id, result: Ok(()) });
        id
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    /// True when the coordinator is needed.
    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        match &self.current {
            None => self.next.is_some(),
            Some(current) => matches!(current.state, State::Due) && !current.retry.is_waiting(now),
        }
    }

    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
        identity: Option<&Identity>,
    ) -> Option<Outgoing> {
        if self.current.is_none() {
            let batch = self.next.take()?;
            let cause = "no coordinator is known".into();
            self.current = Some(Current { batch, state: State::Due, retry: Retry::default(), cause });
        }
        let current = self.current.as_mut()?;
        if let State::AwaitingEpoch { stale } = current.state
            && identity.is_none_or(|identity| identity.epoch != stale)
        {
            current.state = State::Due;
        }
        if !matches!(current.state, State::Due) || current.retry.is_waiting(now) {
            return None;
        }
        if let Some(partition) =
            current.batch.offsets.keys().find(|partition| cursors.get(partition).is_none())
        {
            let error = CommitError::NotAssigned { partition: partition.clone() };
            self.finish(shared, Err(error));
            // What waited behind it gets its turn.
            return self.poll_request(now, shared, cursors, identity);
        }
        let (mut outgoing, broker) =
            shared.ask_coordinator(request(shared, &current.batch.offsets, identity))?;
        let metadata = shared.metadata();
        if current.batch.offsets.keys().any(|partition| metadata.topic_id(&partition.topic).is_zero()) {
            outgoing.max_version = IDS_ONLY - 1;
        }
        let with = identity.map(|identity| identity.epoch);
        current.state = State::Asked(Asked { id: outgoing.id, broker, with });
        Some(outgoing)
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        membership: &mut Membership,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(current) = &mut self.current else { return false };
        let State::Asked(asked) = &current.state else { return false };
        if asked.id != id {
            return false;
        }
        let (broker, epoch) = (asked.broker, asked.with);
        current.state = State::Due;
        match answer {
            Ok(Response::OffsetCommit(response)) => match worst(shared, response) {
                None => self.finish(shared, Ok(())),
                Some((partition, code)) => {
                    self.refused(now, shared, membership, broker, epoch, partition, code);
                }
            },
            Ok(_) => {
                shared.lost_coordinator(broker);
                self.try_again(now, shared, "the answer was to another request".into());
            }
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                let (group, cause) = (shared.group(), failure.cause.clone());
                self.finish(shared, Err(CommitError::Unavailable { group, cause }));
            }
            Err(failure) => {
                shared.lost_coordinator(broker);
                self.try_again(now, shared, failure.cause.clone());
            }
        }
        true
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an answer, whom it came from and what it was an answer to"
    )]
    fn refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        membership: &mut Membership,
        broker: BrokerId,
        epoch: Option<i32>,
        partition: TopicPartition,
        code: ErrorCode,
    ) {
        let group = shared.group();
        let verdict = verdict(ApiKey::OffsetCommit, code);
        let error = match verdict {
            Verdict::FindCoordinator => {
                shared.lost_coordinator(broker);
                return self.try_again(now, shared, code.to_string().into());
            }
            Verdict::RefreshMetadata => {
                shared.refresh_metadata(now);
                return self.try_again(now, shared, code.to_string().into());
            }
            Verdict::Retry => return self.try_again(now, shared, code.to_string().into()),
            Verdict::AwaitHeartbeat => {
                membership.member_refused(now, shared, epoch.unwrap_or(-1), verdict);
                if let Some(current) = &mut self.current {
                    current.cause = code.to_string().into();
                    current.state = State::AwaitingEpoch { stale: epoch.unwrap_or(-1) };
                }
                return;
            }
            Verdict::Rejoin => CommitError::Rebalancing { group, code },
            Verdict::MemberLost => CommitError::MemberLost { group, code },
            _ => CommitError::Refused { group, partition, code },
        };
        self.finish(shared, Err(error));
        refused_member(now, shared, membership, epoch, verdict);
    }

    fn try_again(&mut self, now: Instant, shared: &mut Shared, cause: Arc<str>) {
        let Some(current) = &mut self.current else { return };
        if current.batch.mode == CommitMode::Async || current.batch.until <= now {
            let error = CommitError::Unavailable { group: shared.group(), cause };
            return self.finish(shared, Err(error));
        }
        current.cause = cause;
        shared.failed(now, &mut current.retry);
    }

    fn finish(&mut self, shared: &mut Shared, result: Result<(), CommitError>) {
        let Some(current) = self.current.take() else { return };
        let told = current.batch.ids.into_iter().map(|id| Event::Committed { id, result: result.clone() });
        shared.events.extend(told);
    }

    /// Ends every commit without an outcome: the consumer is closed.
    pub(crate) fn close(&mut self, shared: &mut Shared) {
        let ids = self.current.take().map(|current| current.batch).into_iter().chain(self.next.take());
        for id in ids.flat_map(|batch| batch.ids) {
            shared.events.push_back(Event::Committed { id, result: Err(CommitError::Closed) });
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        let Some(current) = &mut self.current else {
            // Nothing is under way and something waits: there is no coordinator yet.
            return;
        };
        current.retry.wake(now);
        if !matches!(current.state, State::Asked(_)) && current.batch.until <= now {
            let error = CommitError::Unavailable { group: shared.group(), cause: current.cause.clone() };
            self.finish(shared, Err(error));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let current = self.current.as_ref()?;
        if matches!(current.state, State::Asked(_)) {
            return None;
        }
        let retry = current.retry.until().map(|at| Deadline::new(at, "commit again"));
        Deadline::earliest([retry, Some(Deadline::new(current.batch.until, "give up a commit"))])
    }
}

fn request(shared: &Shared, offsets: &Offsets, identity: Option<&Identity>) -> OffsetCommitRequest {
    let metadata = shared.metadata();
    let mut topics: BTreeMap<&ByteString, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    let one_too_many = i64::from(shared.planted.has(PlantedBug::CommitsOneTooMany));
    for (partition, commit) in offsets {
        topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: commit.position.offset + one_too_many,
            committed_leader_epoch: commit.position.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(commit.metadata.clone()),
            ..Default::default()
        });
    }
    let topic =
        |(name, partitions): (&ByteString, Vec<OffsetCommitRequestPartition>)| OffsetCommitRequestTopic {
            name: name.clone(),
            topic_id: metadata.topic_id(name),
            partitions,
            ..Default::default()
        };
    let topics = topics.into_iter().map(topic).collect();
    let group_id = shared.group();
    match identity {
        Some(identity) => OffsetCommitRequest {
            group_id,
            generation_id_or_member_epoch: identity.epoch,
            member_id: identity.member_id.clone(),
            group_instance_id: shared.config.group_instance_id.clone(),
            topics,
            ..Default::default()
        },
        // The group has no members when partitions are assigned by hand.
        None => {
            OffsetCommitRequest { group_id, generation_id_or_member_epoch: -1, topics, ..Default::default() }
        }
    }
}

/// The code that decides: one that ends the commit before one that lets it be tried again.
fn worst(shared: &Shared, response: &OffsetCommitResponse) -> Option<(TopicPartition, ErrorCode)> {
    let metadata = shared.metadata();
    let mut worst: Option<(bool, TopicPartition, ErrorCode)> = None;
    for topic in &response.topics {
        let name = metadata.resolve(topic.topic_id, &topic.name).unwrap_or_default();
        for partition in &topic.partitions {
            let code = ErrorCode(partition.error_code);
            if code.is_none() {
                continue;
            }
            let ends = !matches!(
                verdict(ApiKey::OffsetCommit, code),
                Verdict::Retry
                    | Verdict::RefreshMetadata
                    | Verdict::FindCoordinator
                    | Verdict::AwaitHeartbeat
            );
            if worst.as_ref().is_none_or(|(known_ends, ..)| ends && !known_ends) {
                worst = Some((ends, TopicPartition::new(name.clone(), partition.partition_index), code));
            }
        }
    }
    worst.map(|(_, partition, code)| (partition, code))
}
