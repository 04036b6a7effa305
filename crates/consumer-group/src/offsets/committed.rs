//! The group's committed offsets become positions.
//!
//! One request is under way at a time, for all partitions that wait. A partition whose answer is an error waits and is
//! asked for again; nothing but an authorization keeps it from its start.

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{
    Deadline, FailureKind, Metadata, Outgoing, RequestId, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        OffsetFetchRequest, OffsetFetchResponse, Response,
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponsePartitions},
    },
    wire::{ByteString, Packed},
};

use crate::{
    ConsumerError, IsolationLevel, Position,
    cursors::{Cursor, CursorState, Cursors},
    membership::{Identity, Membership},
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

/// The first version that names topics by id only.
const IDS_ONLY: i16 = 10;

#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    asked: Option<Asked<Question>>,
    retry: Retry,
}

#[derive(Debug)]
struct Question {
    /// The partitions and the versions of their cursors.
    partitions: BTreeMap<TopicPartition, u64>,
    epoch: Option<i32>,
}

impl CommittedOffsets {
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
        identity: Option<&Identity>,
    ) -> Option<Outgoing> {
        if self.asked.is_some() || self.retry.is_waiting(now) {
            return None;
        }
        let waiting = Self::waiting(now, cursors);
        let waiting: BTreeMap<_, _> =
            waiting.map(|(partition, cursor)| (partition.clone(), cursor.version)).collect();
        if waiting.is_empty() {
            return None;
        }
        let metadata = shared.metadata();
        let group = OffsetFetchRequestGroup {
            group_id: shared.group(),
            topics: Some(topics(waiting.keys(), &metadata)),
            ..fields_of(identity)
        };
        let request = OffsetFetchRequest {
            groups: vec![group],
            require_stable: shared.config.isolation_level == IsolationLevel::ReadCommitted,
            ..Default::default()
        };
        let (mut outgoing, broker) = shared.ask_coordinator(request)?;
        if waiting.keys().any(|partition| metadata.topic_id(&partition.topic).is_zero()) {
            outgoing.max_version = IDS_ONLY - 1;
        }
        let epoch = identity.map(|identity| identity.epoch);
        self.asked = Some(Asked { id: outgoing.id, broker, with: Question { partitions: waiting, epoch } });
        Some(outgoing)
    }

    /// True when a partition waits for an answer from the coordinator.
    pub(crate) fn is_wanted(&self, now: Instant, cursors: &Cursors) -> bool {
        let can_ask = self.asked.is_none() && !self.retry.is_waiting(now);
        can_ask && Self::waiting(now, cursors).next().is_some()
    }

    fn waiting(now: Instant, cursors: &Cursors) -> impl Iterator<Item = (&TopicPartition, &Cursor)> {
        cursors.iter().filter(move |(_, cursor)| {
            cursor.state == CursorState::Uncommitted && !cursor.revoking && !cursor.retry.is_waiting(now)
        })
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        membership: &mut Membership,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else { return false };
        let response = match answer {
            Ok(Response::OffsetFetch(response)) => response,
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                let (doing, cause) = ("asking for committed offsets", failure.cause.clone());
                shared.fail(ConsumerError::Unsupported { doing, cause });
                return true;
            }
            _ => {
                shared.lost_coordinator(asked.broker);
                shared.failed(now, &mut self.retry);
                return true;
            }
        };
        let code = group_code(response);
        if code.is_none() {
            self.retry.succeeded();
            self.apply(now, shared, cursors, membership, &asked, response);
            return true;
        }
        match verdict(ApiKey::OffsetFetch, code) {
            Verdict::FindCoordinator => shared.lost_coordinator(asked.broker),
            Verdict::Refused | Verdict::Fenced | Verdict::Unsupported => {
                let (group, doing) = (shared.group(), "asking for committed offsets");
                shared.fail(ConsumerError::Group { group, doing, code });
            }
            verdict => refused_member(now, shared, membership, asked.with.epoch, verdict),
        }
        shared.failed(now, &mut self.retry);
        true
    }

    fn apply(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        membership: &mut Membership,
        asked: &Asked<Question>,
        response: &OffsetFetchResponse,
    ) {
        let metadata = shared.metadata();
        let mut answered = answered(response, &metadata);
        for (partition, version) in &asked.with.partitions {
            let found = answered.remove(partition);
            let Some(cursor) = cursors.current_mut(partition, *version) else { continue };
            // A partition the answer leaves out is as good as one it has an error for.
            let code = found.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |found| ErrorCode(found.error_code));
            match verdict(ApiKey::OffsetFetch, code) {
                Verdict::Done => {
                    cursor.retry.succeeded();
                    cursor.state = match found.and_then(position) {
                        Some(position) => CursorState::Ready(position),
                        None => without_offset(now, shared, partition),
                    };
                    continue;
                }
                Verdict::FindCoordinator => shared.lost_coordinator(asked.broker),
                Verdict::RefreshMetadata => shared.refresh_metadata(now),
                Verdict::Refused | Verdict::Fenced | Verdict::Unsupported => {
                    let nowhere = Position { offset: -1, leader_epoch: None };
                    cursor.state =
                        CursorState::Halted(nowhere, "the coordinator refuses its committed offset");
                    let (partition, doing) = (partition.clone(), "asking for the committed offset of");
                    shared.fail(ConsumerError::Partition { partition, doing, code });
                    continue;
                }
                verdict => refused_member(now, shared, membership, asked.with.epoch, verdict),
            }
            shared.failed(now, &mut cursor.retry);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.retry.wake(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        self.retry.until().map(|at| Deadline::new(at, "ask for committed offsets again"))
    }
}

/// Passes on what an answer says of the member.
pub(super) fn refused_member(
    now: Instant,
    shared: &mut Shared,
    membership: &mut Membership,
    epoch: Option<i32>,
    verdict: Verdict,
) {
    if let Some(epoch) = epoch {
        membership.member_refused(now, shared, epoch, verdict);
    }
}

/// What a consumer does where the group has no offset.
fn without_offset(now: Instant, shared: &mut Shared, partition: &TopicPartition) -> CursorState {
    shared.reset(now).unwrap_or_else(|| {
        let error = ConsumerError::NoOffset { partition: partition.clone() };
        shared.fail(error);
        let nowhere = Position { offset: -1, leader_epoch: None };
        CursorState::Halted(nowhere, "there is no committed offset and no reset policy")
    })
}

/// The member's part of a request; nothing for a consumer that assigns by itself, or a classic member.
pub(super) fn fields_of(identity: Option<&Identity>) -> OffsetFetchRequestGroup {
    match identity {
        Some(identity) if identity.by_consumer_protocol => OffsetFetchRequestGroup {
            member_id: Some(identity.member_id.clone()),
            member_epoch: identity.epoch,
            ..Default::default()
        },
        _ => OffsetFetchRequestGroup::default(),
    }
}

/// Partitions as a request names them, by name and by id.
pub(super) fn topics<'a>(
    partitions: impl Iterator<Item = &'a TopicPartition>,
    metadata: &Metadata,
) -> Vec<OffsetFetchRequestTopics> {
    let mut by_topic: BTreeMap<&ByteString, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic = |(name, indexes): (&ByteString, Vec<i32>)| OffsetFetchRequestTopics {
        name: name.clone(),
        topic_id: metadata.topic_id(name),
        partition_indexes: Packed::from(indexes),
        ..Default::default()
    };
    by_topic.into_iter().map(topic).collect()
}

pub(super) fn group_code(response: &OffsetFetchResponse) -> ErrorCode {
    response.groups.first().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |group| ErrorCode(group.error_code))
}

pub(super) fn answered<'a>(
    response: &'a OffsetFetchResponse,
    metadata: &Metadata,
) -> BTreeMap<TopicPartition, &'a OffsetFetchResponsePartitions> {
    let mut answered = BTreeMap::new();
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        let Some(name) = metadata.resolve(topic.topic_id, &topic.name) else { continue };
        for partition in &topic.partitions {
            answered.insert(TopicPartition::new(name.clone(), partition.partition_index), partition);
        }
    }
    answered
}

pub(super) fn position(answer: &OffsetFetchResponsePartitions) -> Option<Position> {
    let leader_epoch = (answer.committed_leader_epoch >= 0).then_some(answer.committed_leader_epoch);
    (answer.committed_offset >= 0).then_some(Position { offset: answer.committed_offset, leader_epoch })
}
