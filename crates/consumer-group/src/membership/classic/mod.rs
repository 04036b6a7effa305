//! A member by JoinGroup, SyncGroup, Heartbeat and LeaveGroup: one of the members computes the assignment.
//!
//! A rebalance is a round: all members join, the leader assigns, each learns its part. Whether partitions are given up
//! before the round (eager) or only those that move after it (cooperative, KIP-429) is decided by the assignors: the
//! group is cooperative when all of them are.
//!
//! # References
//! KIP-394 (member id required), KIP-345 (static members), KIP-429 (cooperative rebalancing).

mod round;
mod skipped;

use std::{collections::BTreeSet, time::Instant};

use milena_cluster::{
    BrokerId, Deadline, FailureKind, Outgoing, RequestId, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        HeartbeatRequest, LeaveGroupRequest, Response, leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    wire::ByteString,
};

use skipped::Skipped;

use super::{
    Change, Identity, Interest,
    leaving::{Afterwards, Leaving},
    ownership::Ownership,
};
use crate::{
    Assignor, ConsumerError,
    assignors::{GroupMembers, PartitionCounts},
    planted_bug::PlantedBug,
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

/// No generation: not in the group.
const NO_GENERATION: i32 = -1;
/// A member of a group, by the classic protocol.
#[derive(Debug)]
pub(crate) struct ClassicMember {
    /// Empty until the coordinator has given one.
    member_id: ByteString,
    generation: i32,
    topics: BTreeSet<ByteString>,
    state: State,
    ownership: Ownership,
    /// What was assigned last, and in which generation: a sticky assignor gives it back.
    previous: (BTreeSet<TopicPartition>, i32),
    /// Partition counts that the leader's assignment rests on. When they change it joins again.
    assigned_by: Option<PartitionCounts>,
    /// It leads, and was told to leave the assignment as it is: it does not know yet what that should rest on.
    skipped: Option<Skipped>,
    /// When the last sign of life that was answered was sent.
    last_success: Instant,
    retry: Retry,
}

/// ```text
///   Out ──subscribe──► Joining ──► (leader: Assigning) ──► Syncing ──► Stable ──leave──► Departing ──► Leaving
///                       ▲   ▲                                │          │  │                              │
///                       │   └──── rebalance, error ◄─────────┘          │  └─ application silent ─────────┤
///                       └─ revoked ── Preparing ◄── rebalance, eager ───┘          Out or Silent ◄────────┘
/// ```
#[derive(Debug)]
enum State {
    Out,
    Silent,
    /// Gives everything up before it joins again. Still a member: heartbeats go on.
    Preparing(Heartbeats),
    Joining(Option<Asked<Instant>>),
    /// Elected leader; waits to know the partitions.
    Assigning {
        assignor: Assignor,
        members: GroupMembers,
        until: Instant,
    },
    Syncing {
        assignor: Assignor,
        assignments: Vec<SyncGroupRequestAssignment>,
        asked: Option<Asked<Instant>>,
    },
    /// In the group; `rejoin` when a revocation is to be followed by another round.
    Stable {
        heartbeats: Heartbeats,
        rejoin: bool,
    },
    /// Gives its partitions up, to leave.
    Departing(Heartbeats),
    Leaving(Leaving),
}

#[derive(Debug)]
struct Heartbeats {
    next: Instant,
    asked: Option<Asked<Instant>>,
}

impl ClassicMember {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            member_id: ByteString::default(),
            generation: NO_GENERATION,
            topics: BTreeSet::new(),
            state: State::Out,
            ownership: Ownership::default(),
            previous: (BTreeSet::new(), NO_GENERATION),
            assigned_by: None,
            skipped: None,
            last_success: shared.started,
            retry: Retry::default(),
        }
    }

    pub(super) fn subscribe(&mut self, now: Instant, shared: &mut Shared, interest: Interest) {
        if interest.pattern.is_some() {
            let cause = "a pattern needs the consumer protocol (KIP-848)".into();
            self.ownership.changes.push_back(Change::Unsupported(cause));
            return;
        }
        self.topics = interest.topics;
        match &mut self.state {
            State::Out | State::Silent => self.state = State::Joining(None),
            State::Leaving(leaving) => leaving.then = Afterwards::Join,
            State::Departing(_) | State::Stable { .. } => self.rejoin(now, shared),
            // What was said in a round under way is void: another one follows.
            State::Joining(_) | State::Assigning { .. } | State::Syncing { .. } => {
                self.state = State::Joining(None);
            }
            State::Preparing(_) => {}
        }
    }

    /// Begins another round: eagerly, with everything given up first, or cooperatively.
    fn rejoin(&mut self, now: Instant, shared: &mut Shared) {
        let heartbeats = match std::mem::replace(&mut self.state, State::Joining(None)) {
            State::Stable { heartbeats, .. } | State::Departing(heartbeats) => heartbeats,
            _ => Heartbeats { next: now, asked: None },
        };
        let cooperative = shared.config.assignors.iter().all(Assignor::is_cooperative);
        if self.ownership.is_revoking() {
            // What is being given up already comes first.
            self.state = State::Stable { heartbeats, rejoin: true };
        } else if !cooperative && !self.ownership.owned().is_empty() {
            self.ownership.revoke(self.ownership.owned().clone(), shared.revoke_deadline(now));
            self.state = State::Preparing(heartbeats);
        }
    }

    pub(super) fn leave(&mut self, now: Instant, shared: &mut Shared) {
        match std::mem::replace(&mut self.state, State::Out) {
            State::Out | State::Silent => self.ownership.changes.push_back(Change::Left),
            // Under a cooperative protocol there is something to give up during a round, too.
            State::Joining(_) | State::Assigning { .. } | State::Syncing { .. } => {
                self.state = State::Departing(Heartbeats { next: now, asked: None });
                self.revoke_for_departure(now, shared);
            }
            State::Preparing(heartbeats) => self.state = State::Departing(heartbeats),
            State::Stable { heartbeats, .. } => {
                self.state = State::Departing(heartbeats);
                if !self.ownership.is_revoking() {
                    self.revoke_for_departure(now, shared);
                }
            }
            State::Departing(heartbeats) => self.state = State::Departing(heartbeats),
            State::Leaving(leaving) => {
                self.state = State::Leaving(Leaving { then: Afterwards::Out, ..leaving });
            }
        }
    }

    fn revoke_for_departure(&mut self, now: Instant, shared: &mut Shared) {
        let owned = self.ownership.owned().clone();
        if owned.is_empty() {
            self.say_goodbye(now, shared, Afterwards::Out);
        } else {
            self.ownership.revoke(owned, shared.revoke_deadline(now));
        }
    }

    /// A static member stays in the group until its session ends: it may be back before (KIP-345). A member without an
    /// id is unknown to the group.
    fn say_goodbye(&mut self, now: Instant, shared: &Shared, then: Afterwards) {
        self.retry.succeeded();
        self.generation = NO_GENERATION;
        let stays = shared.config.group_instance_id.is_some();
        if self.member_id.is_empty() || stays {
            self.left(then);
        } else {
            self.state = State::Leaving(Leaving::new(now, then));
        }
    }

    fn left(&mut self, then: Afterwards) {
        self.generation = NO_GENERATION;
        self.member_id = ByteString::default();
        (self.assigned_by, self.skipped) = (None, None);
        self.retry.succeeded();
        self.state = match then {
            Afterwards::Out => {
                self.ownership.changes.push_back(Change::Left);
                State::Out
            }
            Afterwards::Silent => State::Silent,
            Afterwards::Join => State::Joining(None),
        };
    }

    pub(super) fn revoke_done(&mut self, now: Instant, shared: &mut Shared) {
        if !self.ownership.revoke_done() {
            return;
        }
        match &self.state {
            State::Preparing(_) => self.state = State::Joining(None),
            State::Departing(_) => self.revoke_for_departure(now, shared),
            State::Stable { rejoin: true, .. } => self.rejoin(now, shared),
            _ => {}
        }
    }

    pub(super) fn application_silent(&mut self, now: Instant, shared: &mut Shared) {
        if !self.is_member() {
            return;
        }
        self.ownership.lose_all();
        let departing = matches!(self.state, State::Departing(_));
        self.say_goodbye(now, shared, if departing { Afterwards::Out } else { Afterwards::Silent });
    }

    pub(super) fn application_polled(&mut self, _: Instant) {
        match &mut self.state {
            State::Silent => self.state = State::Joining(None),
            State::Leaving(leaving) if leaving.then == Afterwards::Silent => leaving.then = Afterwards::Join,
            _ => {}
        }
    }

    pub(super) fn metadata_changed(&mut self, now: Instant, shared: &mut Shared) {
        self.assign_as_leader(now, shared);
        self.watch_skipped(now, shared);
        let changed = self.assigned_by.as_ref().is_some_and(|counts| {
            let metadata = shared.metadata();
            counts.iter().any(|(topic, count)| partition_count(&metadata, topic) != *count)
        });
        if changed && matches!(self.state, State::Stable { .. }) {
            self.assigned_by = None;
            self.rejoin(now, shared);
        }
    }

    pub(super) fn member_refused(&mut self, now: Instant, shared: &mut Shared, epoch: i32, verdict: Verdict) {
        // A refusal of an earlier generation says nothing of this one (G3).
        if epoch != self.generation || self.generation == NO_GENERATION {
            return;
        }
        match verdict {
            Verdict::Rejoin if matches!(self.state, State::Stable { .. }) => self.rejoin(now, shared),
            Verdict::MemberLost => self.lost(true),
            Verdict::Fenced => self.fail(fenced_instance(shared)),
            _ => {}
        }
    }

    /// The group has gone on without the member: what it owned is another's.
    fn lost(&mut self, forget_id: bool) {
        self.ownership.lose_all();
        self.generation = NO_GENERATION;
        (self.assigned_by, self.skipped) = (None, None);
        if forget_id {
            self.member_id = ByteString::default();
        }
        match self.state {
            State::Departing(_) => self.left(Afterwards::Out),
            State::Out | State::Silent | State::Leaving(_) => {}
            _ => self.state = State::Joining(None),
        }
    }

    fn fail(&mut self, error: ConsumerError) {
        self.ownership.lose_all();
        self.generation = NO_GENERATION;
        self.state = State::Out;
        self.ownership.changes.push_back(Change::Failed(error));
    }

    pub(super) fn poll_request(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        if self.retry.is_waiting(now) {
            return None;
        }
        match &self.state {
            State::Out | State::Silent | State::Assigning { .. } => None,
            State::Joining(asked) if asked.is_none() => self.join(now, shared),
            State::Syncing { asked, .. } if asked.is_none() => self.sync(now, shared),
            State::Joining(_) | State::Syncing { .. } => None,
            State::Preparing(_) | State::Stable { .. } | State::Departing(_) => self.heartbeat(now, shared),
            State::Leaving(_) => self.goodbye(shared),
        }
    }

    fn heartbeat(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let (State::Preparing(heartbeats) | State::Stable { heartbeats, .. } | State::Departing(heartbeats)) =
            &mut self.state
        else {
            return None;
        };
        if heartbeats.asked.is_some() || heartbeats.next > now {
            return None;
        }
        let request = HeartbeatRequest {
            group_id: shared.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: shared.config.group_instance_id.clone(),
            ..Default::default()
        };
        let (outgoing, broker) = shared.ask_coordinator(request)?;
        heartbeats.asked = Some(Asked { id: outgoing.id, broker, with: now });
        heartbeats.next = now + shared.config.heartbeat_interval;
        Some(outgoing)
    }

    fn goodbye(&mut self, shared: &mut Shared) -> Option<Outgoing> {
        let State::Leaving(leaving) = &mut self.state else { return None };
        if leaving.asked.is_some() {
            return None;
        }
        let member = MemberIdentity {
            member_id: self.member_id.clone(),
            group_instance_id: shared.config.group_instance_id.clone(),
            ..Default::default()
        };
        let request =
            LeaveGroupRequest { group_id: shared.group(), members: vec![member], ..Default::default() };
        let (outgoing, broker) = shared.ask_coordinator(request)?;
        leaving.asked = Some((outgoing.id, broker));
        Some(outgoing)
    }

    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        match &mut self.state {
            State::Joining(asked) => {
                let Some(asked) = asked.take_if(|asked| asked.id == id) else { return false };
                match answer {
                    Ok(Response::JoinGroup(response)) => self.joined(now, shared, &asked, response),
                    _ => self.unanswered(now, shared, asked.broker, answer),
                }
            }
            State::Syncing { asked, assignor, .. } => {
                let Some(asked) = asked.take_if(|asked| asked.id == id) else { return false };
                let assignor = assignor.clone();
                match answer {
                    Ok(Response::SyncGroup(response)) => {
                        self.synced(now, shared, &asked, &assignor, response);
                    }
                    _ => {
                        // Whether the others have gone on is not known.
                        self.state = State::Joining(None);
                        self.unanswered(now, shared, asked.broker, answer);
                    }
                }
            }
            State::Preparing(heartbeats)
            | State::Stable { heartbeats, .. }
            | State::Departing(heartbeats) => {
                let Some(asked) = heartbeats.asked.take_if(|asked| asked.id == id) else { return false };
                match answer {
                    Ok(Response::Heartbeat(response)) => match ErrorCode(response.error_code) {
                        ErrorCode::NONE => {
                            self.last_success = asked.with;
                            self.retry.succeeded();
                        }
                        code => self.heartbeat_refused(now, shared, &asked, code),
                    },
                    _ => self.heartbeat_unanswered(now, shared, asked.broker, answer),
                }
            }
            State::Leaving(leaving) => {
                let Some((_, broker)) = leaving.asked.take_if(|(asked, _)| *asked == id) else {
                    return false;
                };
                let then = leaving.then;
                if is_goodbye_lost(answer) {
                    shared.lost_coordinator(broker);
                    shared.failed(now, &mut self.retry);
                } else {
                    self.left(then);
                }
            }
            State::Out | State::Silent | State::Assigning { .. } => return false,
        }
        true
    }

    fn unanswered(&mut self, now: Instant, shared: &mut Shared, broker: BrokerId, answer: &Answer) {
        if let Err(failure) = answer
            && failure.kind == FailureKind::Unsupported
        {
            self.ownership.changes.push_back(Change::Unsupported(failure.cause.clone()));
        }
        shared.lost_coordinator(broker);
        shared.failed(now, &mut self.retry);
    }

    fn heartbeat_unanswered(&mut self, now: Instant, shared: &mut Shared, broker: BrokerId, answer: &Answer) {
        self.unanswered(now, shared, broker, answer);
        self.heartbeat_at(now);
    }

    /// Moves the next heartbeat. The wait between tries comes on top.
    fn heartbeat_at(&mut self, at: Instant) {
        if let State::Preparing(heartbeats)
        | State::Stable { heartbeats, .. }
        | State::Departing(heartbeats) = &mut self.state
        {
            heartbeats.next = at;
        }
    }

    fn heartbeat_refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        asked: &Asked<Instant>,
        code: ErrorCode,
    ) {
        match verdict(ApiKey::Heartbeat, code) {
            Verdict::Rejoin if code == ErrorCode::REBALANCE_IN_PROGRESS => {
                self.last_success = asked.with;
                if matches!(self.state, State::Stable { .. }) {
                    self.rejoin(now, shared);
                }
            }
            // A round has passed without this member: its partitions have other owners.
            Verdict::Rejoin => self.lost(false),
            Verdict::MemberLost => self.lost(true),
            Verdict::Fenced => self.fail(fenced_instance(shared)),
            Verdict::FindCoordinator => {
                shared.lost_coordinator(asked.broker);
                shared.failed(now, &mut self.retry);
                self.heartbeat_at(now);
            }
            Verdict::Retry | Verdict::RefreshMetadata | Verdict::AwaitHeartbeat => {
                shared.failed(now, &mut self.retry);
                self.heartbeat_at(now);
            }
            _ => {
                let (group, doing) = (shared.group(), "heartbeat");
                self.fail(ConsumerError::Group { group, doing, code });
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        self.retry.wake(now);
        if self.session_end(shared).is_some_and(|end| end <= now) {
            self.lost(false);
        }
        if self.ownership.revoke_deadline().is_some_and(|until| until <= now) {
            self.revoke_done(now, shared);
        }
        match &self.state {
            State::Assigning { until, .. } if *until <= now => self.assign_as_leader(now, shared),
            State::Leaving(leaving) if leaving.until <= now => {
                let then = leaving.then;
                self.left(then);
            }
            _ => {}
        }
    }

    /// When the group must be assumed to have given the member's partitions away (G9). While a JoinGroup is under way the
    /// coordinator is taken to have it, and to wait for the others however long they need. In the rest of a round the
    /// session runs for whoever keeps partitions: a coordinator that does not answer may have gone on without the member.
    fn session_end(&self, shared: &Shared) -> Option<Instant> {
        let in_group = match self.state {
            State::Preparing(_) | State::Stable { .. } | State::Departing(_) => true,
            State::Joining(None) | State::Assigning { .. } | State::Syncing { .. } => {
                !self.ownership.owned().is_empty()
            }
            State::Joining(Some(_)) | State::Out | State::Silent | State::Leaving(_) => false,
        };
        let in_group = in_group && !shared.planted.has(PlantedBug::IgnoresSessionEnd);
        in_group.then(|| self.last_success + shared.config.session_timeout)
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.ownership.changes.pop_front()
    }

    pub(super) fn poll_timeout(&self, shared: &Shared) -> Option<Deadline> {
        let again = self.retry.until();
        let known = shared.coordinator().is_some();
        let due = match &self.state {
            State::Preparing(heartbeats)
            | State::Stable { heartbeats, .. }
            | State::Departing(heartbeats)
                if known && heartbeats.asked.is_none() =>
            {
                Some(Deadline::new(again.map_or(heartbeats.next, |at| at.max(heartbeats.next)), "heartbeat"))
            }
            State::Joining(None) | State::Syncing { asked: None, .. } => {
                again.map(|at| Deadline::new(at, "join the group again"))
            }
            State::Assigning { until, .. } => Some(Deadline::new(*until, "assign what is known")),
            State::Leaving(leaving) => Deadline::earliest([
                again.map(|at| Deadline::new(at, "say goodbye to the group again")),
                Some(Deadline::new(leaving.until, "give up saying goodbye to the group")),
            ]),
            _ => None,
        };
        Deadline::earliest([
            due,
            self.session_end(shared).map(|at| Deadline::new(at, "the group session ends")),
            self.ownership
                .revoke_deadline()
                .map(|at| Deadline::new(at, "the group stops waiting for revoke_done")),
        ])
    }

    pub(super) fn needs_coordinator(&self) -> bool {
        !matches!(self.state, State::Out | State::Silent)
    }

    pub(super) fn is_member(&self) -> bool {
        !matches!(self.state, State::Out | State::Silent | State::Leaving(_))
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        let (member_id, epoch) = (self.member_id.clone(), self.generation);
        (epoch != NO_GENERATION).then_some(Identity { member_id, epoch, by_consumer_protocol: false })
    }

    /// What the leader assigns, and watches.
    pub(super) fn topics_to_know(&self) -> Vec<ByteString> {
        let assigning = match &self.state {
            State::Assigning { members, .. } => {
                members.values().flat_map(|member| member.topics.iter().cloned()).collect()
            }
            _ => Vec::new(),
        };
        assigning
            .into_iter()
            .chain(self.assigned_by.iter().flat_map(|counts| counts.keys().cloned()))
            .chain(self.skipped.iter().flat_map(|skipped| skipped.topics().cloned()))
            .collect()
    }

    pub(super) fn explain(&self) -> String {
        let doing = match &self.state {
            State::Out => "is in no group",
            State::Silent => "has left the group because the application does not poll",
            State::Preparing(_) => "waits for revoke_done, to join again",
            State::Joining(_) => "is joining: the coordinator waits for the others",
            State::Assigning { .. } => "leads, and waits to know the partitions of all topics",
            State::Syncing { .. } => "waits for the leader's assignment",
            State::Stable { .. } if self.ownership.is_revoking() => "waits for revoke_done",
            State::Stable { .. } => "is stable",
            State::Departing(_) => "waits for revoke_done, to leave",
            State::Leaving(_) => "is leaving",
        };
        format!("classic protocol: member {} of generation {} {doing}", self.member_id, self.generation)
    }
}

fn partition_count(metadata: &milena_cluster::Metadata, topic: &ByteString) -> i32 {
    metadata.topics.get(topic).map_or(0, |topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
}

fn fenced_instance(shared: &Shared) -> ConsumerError {
    ConsumerError::FencedInstance {
        group: shared.group(),
        instance_id: shared.config.group_instance_id.clone().unwrap_or_default(),
    }
}

/// True when the goodbye may be said again. Any other answer means that the group does without the member.
fn is_goodbye_lost(answer: &Answer) -> bool {
    match answer {
        Ok(Response::LeaveGroup(response)) => {
            let verdict = verdict(ApiKey::LeaveGroup, ErrorCode(response.error_code));
            matches!(verdict, Verdict::FindCoordinator | Verdict::Retry)
        }
        Ok(_) => true,
        Err(failure) => failure.kind != FailureKind::Unsupported,
    }
}
