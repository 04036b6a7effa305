//! A member by ConsumerGroupHeartbeat (KIP-848): the broker decides, the member follows and says so.
//!
//! The heartbeat carries everything: what the member reads, what it owns, which epoch it believes in. What the broker has
//! confirmed is left out, until something goes wrong: then the next one says everything again, because it is not known
//! what arrived (N3).
//!
//! A new target is followed in steps: what is not in it is revoked (the owner commits and confirms), the next heartbeat
//! says so, and the broker hands out the rest once their old owners have let go (N6). Topics that only their ids are known
//! of wait for metadata; what is known of the target is followed meanwhile.
//!
//! # References
//! KIP-848, KIP-1082 (the member makes its own id).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_cluster::{
    BrokerId, Deadline, FailureKind, Outgoing, RequestId, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Response,
        consumer_group_heartbeat::{Assignment, RequestTopicPartitions},
    },
    wire::{ByteString, Packed, Uuid},
};

use super::{
    Change, Identity,
    leaving::{Afterwards, Leaving},
    ownership::Ownership,
};
use crate::{
    ConsumerError,
    config::millis,
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

/// The epoch that asks to join.
const JOIN: i32 = 0;
/// The epoch that says goodbye.
const LEAVE: i32 = -1;
/// The epoch by which a static member says that it will be back.
const LEAVE_FOR_A_WHILE: i32 = -2;
/// The time between heartbeats until the broker has said it.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

/// A member of a group, by KIP-848.
#[derive(Debug)]
pub(crate) struct ConsumerMember {
    member_id: ByteString,
    topics: BTreeSet<ByteString>,
    state: State,
    ownership: Ownership,
    /// What the broker wants the member to own, by topic id.
    target: Option<BTreeMap<Uuid, BTreeSet<i32>>>,
    /// The ids of the topics that the member owns something of.
    topic_ids: BTreeMap<ByteString, Uuid>,
    heartbeats: Heartbeats,
}

/// ```text
///   Out ──subscribe──► Joining ──answer──► Member ──leave──► Departing ──revoke_done──► Leaving ──► Out
///    ▲                  ▲    ▲               │ │                                          ▲ │
///    │                  │    └─fenced, lost──┘ └──application silent──────────────────────┘ │
///    │                  └──────────────────────────poll─────────────── Silent ◄─────────────┤
///    └──────────────────────────────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
enum State {
    Out,
    Silent,
    /// To be joined; an instance id that another process still holds is waited for until `unreleased` (N4).
    Joining {
        unreleased: Option<Instant>,
    },
    Member {
        epoch: i32,
    },
    /// Gives its partitions up, to leave.
    Departing {
        epoch: i32,
    },
    Leaving(Leaving),
}

#[derive(Debug)]
struct Heartbeats {
    asked: Option<Asked<Said>>,
    /// When the next is due.
    next: Instant,
    interval: Duration,
    /// When the last one that was answered well was sent: the session runs from there.
    last_success: Instant,
    retry: Retry,
    /// What the broker knows of the member; `None` when that is not certain.
    confirmed: Option<Said>,
}

/// What a heartbeat said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    at: Instant,
    topics: BTreeSet<ByteString>,
    owned: BTreeSet<TopicPartition>,
}

impl ConsumerMember {
    pub(super) fn new(shared: &mut Shared) -> Self {
        Self {
            member_id: Uuid::from_random(shared.random.u128(..)).to_string().into(),
            topics: BTreeSet::new(),
            state: State::Out,
            ownership: Ownership::default(),
            target: None,
            topic_ids: BTreeMap::new(),
            heartbeats: Heartbeats {
                asked: None,
                next: shared.started,
                interval: FIRST_INTERVAL,
                last_success: shared.started,
                retry: Retry::default(),
                confirmed: None,
            },
        }
    }

    pub(super) fn subscribe(&mut self, now: Instant, _: &mut Shared, topics: BTreeSet<ByteString>) {
        self.topics = topics;
        match &mut self.state {
            State::Out | State::Silent => self.join(now),
            State::Leaving(leaving) => leaving.then = Afterwards::Join,
            State::Joining { .. } | State::Member { .. } => self.heartbeats.next = now,
            // The revocation goes on; what is left to give up afterwards is decided by the broker.
            State::Departing { epoch } => {
                self.state = State::Member { epoch: *epoch };
                self.heartbeats.next = now;
            }
        }
    }

    fn join(&mut self, now: Instant) {
        self.state = State::Joining { unreleased: None };
        self.target = None;
        self.heartbeats.asked = None;
        self.heartbeats.confirmed = None;
        self.heartbeats.next = now;
        self.heartbeats.last_success = now;
    }

    pub(super) fn leave(&mut self, now: Instant, shared: &mut Shared) {
        match self.state {
            State::Out | State::Silent => {
                self.state = State::Out;
                self.ownership.changes.push_back(Change::Left);
            }
            // A heartbeat that was answered never may have joined all the same.
            State::Joining { .. } => self.state = State::Leaving(Leaving::new(now, Afterwards::Out)),
            State::Member { epoch } => {
                self.state = State::Departing { epoch };
                if !self.ownership.is_revoking() {
                    self.revoke_for_departure(now, shared);
                }
            }
            State::Departing { .. } => {}
            State::Leaving(ref mut leaving) => leaving.then = Afterwards::Out,
        }
    }

    fn revoke_for_departure(&mut self, now: Instant, shared: &mut Shared) {
        let owned = self.ownership.owned().clone();
        if owned.is_empty() {
            self.state = State::Leaving(Leaving::new(now, Afterwards::Out));
        } else {
            self.ownership.revoke(owned, now + shared.config.rebalance_timeout);
        }
    }

    pub(super) fn revoke_done(&mut self, now: Instant, shared: &mut Shared) {
        if !self.ownership.revoke_done() {
            return;
        }
        match self.state {
            State::Departing { .. } => self.revoke_for_departure(now, shared),
            State::Member { .. } => self.heartbeats.next = now,
            _ => {}
        }
    }

    pub(super) fn application_silent(&mut self, now: Instant, _: &mut Shared) {
        if self.is_member() {
            self.lose_all();
            let then = if matches!(self.state, State::Departing { .. }) {
                Afterwards::Out
            } else {
                Afterwards::Silent
            };
            self.state = State::Leaving(Leaving::new(now, then));
        }
    }

    pub(super) fn application_polled(&mut self, now: Instant) {
        match &mut self.state {
            State::Silent => self.join(now),
            State::Leaving(leaving) if leaving.then == Afterwards::Silent => leaving.then = Afterwards::Join,
            _ => {}
        }
    }

    pub(super) fn metadata_changed(&mut self, now: Instant, shared: &mut Shared) {
        self.follow_target(now, shared);
    }

    pub(super) fn member_refused(&mut self, now: Instant, _: &mut Shared, epoch: i32, verdict: Verdict) {
        let current = self.identity().map(|identity| identity.epoch);
        match verdict {
            // The answer to the next heartbeat tells the epoch.
            Verdict::AwaitHeartbeat if current == Some(epoch) => {
                self.heartbeats.confirmed = None;
                self.heartbeats.next = now;
            }
            Verdict::MemberLost if current == Some(epoch) => self.fenced(now),
            _ => {}
        }
    }

    fn lose_all(&mut self) {
        self.ownership.lose_all();
        self.target = None;
        self.topic_ids.clear();
    }

    /// The group does not know the member, or not with this epoch: it starts again with the same id (N2).
    fn fenced(&mut self, now: Instant) {
        let departing = matches!(self.state, State::Departing { .. });
        self.lose_all();
        if departing {
            self.left(now, Afterwards::Out);
        } else {
            self.join(now);
        }
    }

    fn left(&mut self, now: Instant, then: Afterwards) {
        self.heartbeats.asked = None;
        self.heartbeats.confirmed = None;
        self.heartbeats.retry.succeeded();
        match then {
            Afterwards::Out => {
                self.state = State::Out;
                self.ownership.changes.push_back(Change::Left);
            }
            Afterwards::Silent => self.state = State::Silent,
            Afterwards::Join => self.join(now),
        }
    }

    fn fail(&mut self, error: ConsumerError) {
        self.lose_all();
        self.heartbeats.asked = None;
        self.state = State::Out;
        self.ownership.changes.push_back(Change::Failed(error));
    }

    pub(super) fn poll_request(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let epoch = match &self.state {
            State::Out | State::Silent => return None,
            State::Leaving(_) => return self.goodbye(now, shared),
            State::Joining { .. } => JOIN,
            State::Member { epoch } | State::Departing { epoch } => *epoch,
        };
        if self.heartbeats.asked.is_some()
            || self.heartbeats.next > now
            || self.heartbeats.retry.is_waiting(now)
        {
            return None;
        }
        let said = Said { at: now, topics: self.topics.clone(), owned: self.ownership.owned().clone() };
        let confirmed = self.heartbeats.confirmed.as_ref().filter(|_| epoch != JOIN);
        let full = confirmed.is_none();
        let changed =
            |is_same: fn(&Said, &Said) -> bool| confirmed.is_none_or(|known| !is_same(known, &said));
        let owned = changed(|known, said| known.owned == said.owned).then(|| self.wire_owned());
        let topics = changed(|known, said| known.topics == said.topics);
        let config = &shared.config;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: shared.group(),
            member_id: self.member_id.clone(),
            member_epoch: epoch,
            instance_id: config.group_instance_id.clone().filter(|_| full),
            rack_id: config.client_rack.clone().filter(|_| full),
            rebalance_timeout_ms: if full { millis(config.rebalance_timeout) } else { -1 },
            subscribed_topic_names: topics.then(|| self.topics.iter().cloned().collect()),
            server_assignor: config.server_assignor.clone().filter(|_| full),
            topic_partitions: owned,
            ..Default::default()
        };
        let (outgoing, broker) = shared.ask_coordinator(request)?;
        self.heartbeats.asked = Some(Asked { id: outgoing.id, broker, with: said });
        Some(outgoing)
    }

    fn wire_owned(&self) -> Vec<RequestTopicPartitions> {
        let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in self.ownership.owned() {
            if let Some(id) = self.topic_ids.get(&partition.topic) {
                by_topic.entry(*id).or_default().push(partition.partition);
            }
        }
        let topic = |(topic_id, partitions)| RequestTopicPartitions {
            topic_id,
            partitions: Packed::from(partitions),
            ..Default::default()
        };
        by_topic.into_iter().map(topic).collect()
    }

    fn goodbye(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let State::Leaving(leaving) = &mut self.state else { return None };
        if leaving.asked.is_some() || self.heartbeats.retry.is_waiting(now) {
            return None;
        }
        let is_static = shared.config.group_instance_id.is_some();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: shared.group(),
            member_id: self.member_id.clone(),
            member_epoch: if is_static { LEAVE_FOR_A_WHILE } else { LEAVE },
            instance_id: shared.config.group_instance_id.clone(),
            ..Default::default()
        };
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
        if let State::Leaving(leaving) = &mut self.state
            && let Some((asked, broker)) = leaving.asked
            && asked == id
        {
            leaving.asked = None;
            let then = leaving.then;
            if is_goodbye_lost(answer) {
                shared.lost_coordinator(broker);
                shared.failed(now, &mut self.heartbeats.retry);
            } else {
                self.left(now, then);
            }
            return true;
        }
        let Some(asked) = self.heartbeats.asked.take_if(|asked| asked.id == id) else { return false };
        // Whoever is leaving takes no orders (N7).
        if matches!(self.state, State::Leaving(_) | State::Out | State::Silent) {
            return true;
        }
        match answer {
            Ok(Response::ConsumerGroupHeartbeat(response)) => match ErrorCode(response.error_code) {
                ErrorCode::NONE => self.confirmed(now, shared, asked.with, response),
                code => self.refused(now, shared, asked.broker, code, response),
            },
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                self.ownership.changes.push_back(Change::Unsupported(failure.cause.clone()));
            }
            _ => {
                shared.lost_coordinator(asked.broker);
                self.try_again(now, shared);
            }
        }
        true
    }

    fn confirmed(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        said: Said,
        response: &ConsumerGroupHeartbeatResponse,
    ) {
        if let Some(member_id) = response.member_id.clone().filter(|id| !id.is_empty()) {
            self.member_id = member_id;
        }
        self.heartbeats.retry.succeeded();
        self.heartbeats.last_success = said.at;
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            self.heartbeats.interval = Duration::from_millis(interval);
        }
        self.heartbeats.next = now + self.heartbeats.interval;
        // The subscription or what is owned may have changed while the heartbeat was under way.
        if said.topics != self.topics || said.owned != *self.ownership.owned() {
            self.heartbeats.next = now;
        }
        self.heartbeats.confirmed = Some(said);
        let epoch = response.member_epoch;
        match self.state {
            State::Joining { .. } => {
                self.state = State::Member { epoch };
                self.ownership.changes.push_back(Change::Joined);
            }
            State::Departing { .. } => {
                self.state = State::Departing { epoch };
                return;
            }
            _ => self.state = State::Member { epoch },
        }
        if let Some(assignment) = &response.assignment {
            self.target = Some(by_topic(assignment));
        }
        self.follow_target(now, shared);
    }

    /// Takes the next step towards the target, as far as its topics are known. Each step is made known to the broker
    /// before the next: a partition that was given up and comes back would else look as if it had been kept.
    fn follow_target(&mut self, now: Instant, shared: &mut Shared) {
        let State::Member { .. } = self.state else { return };
        let owned = self.ownership.owned();
        let is_known = self.heartbeats.confirmed.as_ref().is_some_and(|said| said.owned == *owned);
        if !is_known || self.ownership.is_revoking() {
            return;
        }
        let Some(target) = &self.target else { return };
        let metadata = shared.metadata();
        let owned: BTreeSet<_> = self.ownership.owned().iter().map(|partition| &partition.topic).collect();
        self.topic_ids.retain(|topic, _| owned.contains(topic));
        let mut wanted = BTreeSet::new();
        let mut unknown = false;
        for (id, partitions) in target {
            let Some(name) = metadata.topic_name(*id) else {
                unknown = true;
                continue;
            };
            // A topic that was made anew has the old one's name and is another (M2).
            let known = self.topic_ids.get(name).is_none_or(|known| known == id);
            if !known {
                continue;
            }
            wanted.extend(partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
        }
        if unknown {
            shared.refresh_metadata(now);
        }
        let surplus: BTreeSet<_> = self.ownership.owned().difference(&wanted).cloned().collect();
        if !surplus.is_empty() {
            self.ownership.revoke(surplus, now + shared.config.rebalance_timeout);
            return;
        }
        self.topic_ids = wanted
            .iter()
            .map(|partition| (partition.topic.clone(), metadata.topic_id(&partition.topic)))
            .collect();
        let before = self.ownership.owned().len();
        self.ownership.add(wanted);
        if self.ownership.owned().len() != before {
            self.heartbeats.next = now;
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        broker: BrokerId,
        code: ErrorCode,
        response: &ConsumerGroupHeartbeatResponse,
    ) {
        match verdict(ApiKey::ConsumerGroupHeartbeat, code) {
            // At once the first time; a group that fences again and again is waited for.
            Verdict::MemberLost => {
                let again = matches!(self.state, State::Joining { .. });
                self.fenced(now);
                if again {
                    self.try_again(now, shared);
                }
            }
            Verdict::FindCoordinator => {
                shared.lost_coordinator(broker);
                self.try_again(now, shared);
            }
            Verdict::Unsupported => {
                let cause =
                    response.error_message.clone().map_or_else(|| code.to_string(), |text| text.to_string());
                self.ownership.changes.push_back(Change::Unsupported(cause.into()));
            }
            Verdict::Fenced => self.fail(fenced_instance(shared)),
            Verdict::Retry if code == ErrorCode::UNRELEASED_INSTANCE_ID => {
                let patience = now + shared.config.session_timeout;
                match &mut self.state {
                    State::Joining { unreleased: Some(until) } if *until <= now => {
                        return self.fail(fenced_instance(shared));
                    }
                    State::Joining { unreleased } => _ = unreleased.get_or_insert(patience),
                    _ => {}
                }
                self.try_again(now, shared);
            }
            Verdict::Retry | Verdict::RefreshMetadata | Verdict::AwaitHeartbeat | Verdict::Rejoin => {
                self.try_again(now, shared);
            }
            _ => {
                let (group, doing) = (shared.group(), "heartbeat");
                self.fail(ConsumerError::Group { group, doing, code });
            }
        }
    }

    fn try_again(&mut self, now: Instant, shared: &mut Shared) {
        self.heartbeats.confirmed = None;
        shared.failed(now, &mut self.heartbeats.retry);
        self.heartbeats.next = now;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        self.heartbeats.retry.wake(now);
        if self.session_end(shared).is_some_and(|end| end <= now) {
            self.fenced(now);
        }
        if self.ownership.revoke_deadline().is_some_and(|until| until <= now) {
            self.revoke_done(now, shared);
        }
        if let State::Leaving(leaving) = &self.state
            && leaving.until <= now
        {
            self.left(now, leaving.then);
        }
    }

    /// When the group must be assumed to have given the member's partitions away (G9).
    fn session_end(&self, shared: &Shared) -> Option<Instant> {
        let in_group = matches!(self.state, State::Member { .. } | State::Departing { .. });
        in_group.then(|| self.heartbeats.last_success + shared.config.session_timeout)
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.ownership.changes.pop_front()
    }

    pub(super) fn poll_timeout(&self, shared: &Shared) -> Option<Deadline> {
        let again = self.heartbeats.retry.until();
        let leaving = match &self.state {
            State::Out | State::Silent => return None,
            State::Leaving(leaving) => Some(leaving.until),
            _ => None,
        };
        // Without a coordinator a heartbeat is not due, and one under way is waited for.
        let can_ask = shared.coordinator().is_some() && self.heartbeats.asked.is_none() && leaving.is_none();
        let due =
            can_ask.then(|| again.map_or(self.heartbeats.next, |again| again.max(self.heartbeats.next)));
        Deadline::earliest([
            due.map(|at| Deadline::new(at, "heartbeat")),
            leaving.and(again).map(|at| Deadline::new(at, "say goodbye to the group again")),
            leaving.map(|at| Deadline::new(at, "give up saying goodbye to the group")),
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
        matches!(self.state, State::Joining { .. } | State::Member { .. } | State::Departing { .. })
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        match self.state {
            State::Member { epoch } | State::Departing { epoch } => {
                Some(Identity { member_id: self.member_id.clone(), epoch, by_consumer_protocol: true })
            }
            _ => None,
        }
    }

    pub(super) fn explain(&self) -> String {
        let doing = match &self.state {
            State::Out => "is in no group".to_owned(),
            State::Silent => "has left the group because the application does not poll".to_owned(),
            State::Joining { .. } => "is joining".to_owned(),
            State::Member { epoch } if self.ownership.is_revoking() => {
                format!("has epoch {epoch} and waits for revoke_done")
            }
            State::Member { epoch } => format!("has epoch {epoch}"),
            State::Departing { .. } => "waits for revoke_done, to leave".to_owned(),
            State::Leaving(_) => "is leaving".to_owned(),
        };
        format!("consumer protocol: member {} {doing}", self.member_id)
    }
}

fn by_topic(assignment: &Assignment) -> BTreeMap<Uuid, BTreeSet<i32>> {
    let topics = assignment.topic_partitions.iter();
    topics.map(|topic| (topic.topic_id, topic.partitions.iter().collect())).collect()
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
        Ok(Response::ConsumerGroupHeartbeat(response)) => {
            let code = ErrorCode(response.error_code);
            let verdict = verdict(ApiKey::ConsumerGroupHeartbeat, code);
            matches!(verdict, Verdict::FindCoordinator | Verdict::Retry)
        }
        Ok(_) => true,
        Err(failure) => failure.kind != FailureKind::Unsupported,
    }
}
