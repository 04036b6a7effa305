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

mod heartbeat;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_cluster::{Deadline, TopicPartition, Verdict};
use milena_protocol::wire::{ByteString, Uuid};

use super::{
    Change, Identity, Interest,
    leaving::{Afterwards, Leaving},
    ownership::Ownership,
};
use crate::{
    ConsumerError,
    planted_bug::PlantedBug,
    retry::Retry,
    shared::{Asked, Shared},
};

/// The time between heartbeats until the broker has said it.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

/// A member of a group, by KIP-848.
#[derive(Debug)]
pub(crate) struct ConsumerMember {
    member_id: ByteString,
    interest: Interest,
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
    /// The broker wants something else than before: the next heartbeat says what is owned, even if that is what it was.
    /// The broker may believe that an earlier target was followed which this one has overtaken.
    acknowledge: bool,
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
    interest: Interest,
    owned: BTreeSet<TopicPartition>,
}

impl ConsumerMember {
    pub(super) fn new(shared: &mut Shared) -> Self {
        Self {
            member_id: random_id(shared),
            interest: Interest::default(),
            state: State::Out,
            ownership: Ownership::default(),
            target: None,
            topic_ids: BTreeMap::new(),
            heartbeats: Heartbeats {
                asked: None,
                next: shared.started,
                interval: FIRST_INTERVAL,
                acknowledge: false,
                last_success: shared.started,
                retry: Retry::default(),
                confirmed: None,
            },
        }
    }

    pub(super) fn subscribe(&mut self, now: Instant, _: &mut Shared, interest: Interest) {
        self.interest = interest;
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
            self.ownership.revoke(owned, shared.revoke_deadline(now));
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

    pub(super) fn member_refused(&mut self, now: Instant, shared: &mut Shared, epoch: i32, verdict: Verdict) {
        let current = self.identity().map(|identity| identity.epoch);
        match verdict {
            // The answer to the next heartbeat tells the epoch.
            Verdict::AwaitHeartbeat if current == Some(epoch) => {
                self.heartbeats.confirmed = None;
                self.heartbeats.next = now;
            }
            Verdict::MemberLost if current == Some(epoch) => self.fenced(now, shared),
            _ => {}
        }
    }

    fn lose_all(&mut self) {
        self.ownership.lose_all();
        self.target = None;
        self.topic_ids.clear();
    }

    /// The group does not know the member, or not with this epoch: it starts again with the same id (N2).
    fn fenced(&mut self, now: Instant, shared: &mut Shared) {
        let departing = matches!(self.state, State::Departing { .. });
        self.lose_all();
        if departing {
            self.left(now, shared, Afterwards::Out);
        } else {
            self.join(now);
        }
    }

    /// The group is left. Whoever joins again has another id: a goodbye that was not answered may arrive late, and would
    /// throw the member out that has the old one.
    fn left(&mut self, now: Instant, shared: &mut Shared, then: Afterwards) {
        self.member_id = random_id(shared);
        shared.metadata.want_ids(BTreeSet::new());
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
        let mut unknown = BTreeSet::new();
        for (id, partitions) in target {
            let Some(name) = metadata.topic_name(*id) else {
                unknown.insert(*id);
                continue;
            };
            // A topic that was made anew has the old one's name and is another (M2).
            let known = self.topic_ids.get(name).is_none_or(|known| known == id);
            if !known {
                continue;
            }
            wanted.extend(partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
        }
        if !unknown.is_empty() {
            shared.refresh_metadata(now);
        }
        shared.metadata.want_ids(unknown);
        let surplus: BTreeSet<_> = self.ownership.owned().difference(&wanted).cloned().collect();
        if !surplus.is_empty() {
            self.ownership.revoke(surplus, shared.revoke_deadline(now));
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

    pub(super) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        self.heartbeats.retry.wake(now);
        if self.session_end(shared).is_some_and(|end| end <= now) {
            self.fenced(now, shared);
        }
        if self.ownership.revoke_deadline().is_some_and(|until| until <= now) {
            self.revoke_done(now, shared);
        }
        if let State::Leaving(Leaving { until, then, .. }) = self.state
            && until <= now
        {
            self.left(now, shared, then);
        }
    }

    /// When the group must be assumed to have given the member's partitions away (G9).
    fn session_end(&self, shared: &Shared) -> Option<Instant> {
        let in_group = matches!(self.state, State::Member { .. } | State::Departing { .. })
            && !shared.planted.has(PlantedBug::IgnoresSessionEnd);
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

fn random_id(shared: &mut Shared) -> ByteString {
    Uuid::from_random(shared.random.u128(..)).to_string().into()
}
