//! A group of KIP-848: members, the target assignment, and the way of each member towards it.
//!
//! ```text
//!              target has less                     revocation acknowledged
//!   Stable ──────────────────────▶ Unrevoked ─────────────────────────────┐
//!     ▲  │                         (epoch stays)                           │
//!     │  │ target has more                                                │
//!     │  ├──────────────▶ Unreleased ◀── somebody else still holds some ──┤
//!     │  │                (new epoch)                                     │
//!     └──┴──────────────────────┴── all of the target is there ───────────┘
//! ```
//!
//! Imitates the consumer groups of Kafka 4.3.1: a partition is in one member's hands at a time. It goes to its new owner
//! only when the heartbeat of the old one shows that it has let go, or the old one is fenced.
//!
//! Leaves out: the interval between two target assignments (a second in Kafka); here a change has its target at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use milena_protocol::{
    ErrorCode,
    wire::{ByteString, Uuid},
};
use regex::Regex;

use super::{
    Deadline,
    assignor::{Assignment, Assignor, Candidate},
    topics::Topics,
};

#[derive(Debug, Default)]
pub(super) struct ConsumerGroup {
    pub(super) epoch: i32,
    /// The epoch that `target` was made in.
    pub(super) assignment_epoch: i32,
    pub(super) target: BTreeMap<ByteString, Assignment>,
    pub(super) members: BTreeMap<ByteString, Member>,
    /// What was subscribed to when `target` was made, with numbers of partitions.
    subscribed: BTreeMap<Uuid, i32>,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) epoch: i32,
    previous_epoch: i32,
    pub(super) instance_id: Option<ByteString>,
    pub(super) client_id: ByteString,
    pub(super) topic_names: Vec<ByteString>,
    topic_regex: Option<Regex>,
    assignor: Option<Assignor>,
    rebalance_timeout: Duration,
    state: State,
    /// What it may use.
    pub(super) assigned: Assignment,
    session_ends: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Stable,
    /// It was told to let go of these, and must show it before the deadline.
    Unrevoked {
        revoking: Assignment,
        deadline: Instant,
    },
    /// It waits for partitions that others still hold.
    Unreleased,
}

/// A heartbeat, as a group sees it. What did not change since the last one is absent.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) member_id: ByteString,
    pub(super) epoch: i32,
    pub(super) instance_id: Option<ByteString>,
    pub(super) client_id: ByteString,
    pub(super) rebalance_timeout: Option<Duration>,
    pub(super) topic_names: Option<Vec<ByteString>>,
    pub(super) topic_regex: Option<Option<Regex>>,
    pub(super) assignor: Option<Assignor>,
    pub(super) owned: Option<Assignment>,
}

/// What a heartbeat tells the member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beaten {
    pub(super) epoch: i32,
    /// Absent when the member knows it.
    pub(super) assignment: Option<Assignment>,
}

const JOINING: i32 = 0;
pub(super) const LEAVING_STATIC: i32 = -2;

impl ConsumerGroup {
    pub(super) fn new() -> Self {
        // As in Kafka, where the first member therefore comes to epoch 2.
        Self { epoch: 1, assignment_epoch: 1, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    /// Kafka's name for the state.
    pub(super) fn state_name(&self) -> &'static str {
        let settled =
            |member: &Member| member.state == State::Stable && member.epoch == self.assignment_epoch;
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().all(settled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(super) fn assignments(&self) -> BTreeMap<ByteString, Assignment> {
        self.members.iter().map(|(id, member)| (id.clone(), member.assigned.clone())).collect()
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Instant,
        beat: Beat,
        topics: &Topics,
        session_timeout: Duration,
    ) -> Result<Beaten, ErrorCode> {
        if beat.epoch < JOINING {
            return self.leave(&beat);
        }
        let joined = self.admit(now, &beat)?;
        let member_id = beat.member_id.clone();
        let full = beat.is_full();
        let owned = beat.owned.clone();
        let member = self.members.get_mut(&member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let before = member.assigned.clone();
        member.session_ends = now + session_timeout;
        let changed = member.update(beat) | joined;
        self.refresh_target(topics, changed);
        self.reconcile(now, &member_id, owned.as_ref());
        let member = self.members.get(&member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let changed = full || member.assigned != before;
        Ok(Beaten { epoch: member.epoch, assignment: changed.then(|| member.assigned.clone()) })
    }

    /// Whether a member with this epoch may commit or fetch offsets.
    pub(super) fn check_epoch(&self, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let member = self.members.get(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch == epoch { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let deadlines = self.members.values().flat_map(|member| {
            let session = Deadline { at: member.session_ends, why: "a member's session ends" };
            let revocation = match member.state {
                State::Unrevoked { deadline: at, .. } => {
                    Some(Deadline { at, why: "a revocation must be shown" })
                }
                State::Stable | State::Unreleased => None,
            };
            [Some(session), revocation]
        });
        deadlines.flatten().min()
    }

    /// Every member is late.
    pub(super) fn end_sessions(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.session_ends = now;
        }
    }

    /// Fences the members that were silent, or held on to partitions, for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let members = self.members.len();
        self.members.retain(|_, member| {
            let late = matches!(member.state, State::Unrevoked { deadline, .. } if deadline <= now);
            !late && member.session_ends > now
        });
        if self.members.len() < members {
            self.epoch += 1;
        }
    }

    fn leave(&mut self, beat: &Beat) -> Result<Beaten, ErrorCode> {
        let member = self.members.get_mut(&beat.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if beat.instance_id.is_some() && member.instance_id != beat.instance_id {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        if beat.epoch == LEAVING_STATIC {
            // It is expected back under its instance id, and keeps what it has until its session ends.
            member.epoch = LEAVING_STATIC;
        } else {
            self.members.remove(&beat.member_id);
            self.epoch += 1;
        }
        Ok(Beaten { epoch: beat.epoch, assignment: None })
    }

    /// Makes sure that the member is in the group and may say what it says. Tells whether it is new.
    fn admit(&mut self, now: Instant, beat: &Beat) -> Result<bool, ErrorCode> {
        if let Some(instance_id) = &beat.instance_id {
            let owns = |member: &Member| member.instance_id.as_ref() == Some(instance_id);
            let known = self.members.iter().find(|(_, member)| owns(member));
            match known.map(|(id, member)| (id.clone(), member.epoch)) {
                Some((id, LEAVING_STATIC)) if beat.epoch == JOINING => {
                    return self.replace(&id, beat).map(|()| false);
                }
                Some((id, _)) if id == beat.member_id => {}
                Some(_) if beat.epoch == JOINING => return Err(ErrorCode::UNRELEASED_INSTANCE_ID),
                Some(_) => return Err(ErrorCode::FENCED_INSTANCE_ID),
                None if beat.epoch != JOINING => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                None => {}
            }
        }
        match self.members.get_mut(&beat.member_id) {
            Some(member) => member.check_epoch(beat).map(|()| false),
            None if beat.epoch == JOINING => {
                self.members.insert(beat.member_id.clone(), Member::new(now, beat.instance_id.clone()));
                Ok(true)
            }
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// A static member is back, under this or another member id: it gets what it had.
    fn replace(&mut self, old_id: &ByteString, beat: &Beat) -> Result<(), ErrorCode> {
        let mut member = self.members.remove(old_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let target = self.target.remove(old_id).unwrap_or_default();
        member.epoch = JOINING;
        member.previous_epoch = JOINING;
        member.state = State::Stable;
        self.target.insert(beat.member_id.clone(), target);
        self.members.insert(beat.member_id.clone(), member);
        Ok(())
    }

    /// Makes a new target if members, subscriptions or topics have changed. One heartbeat makes at most one epoch.
    fn refresh_target(&mut self, topics: &Topics, changed: bool) {
        let subscriptions: BTreeMap<&ByteString, BTreeMap<Uuid, i32>> =
            self.members.iter().map(|(id, member)| (id, member.subscribed(topics))).collect();
        let subscribed = subscriptions.values().flatten().map(|(id, count)| (*id, *count)).collect();
        if changed || self.subscribed != subscribed {
            self.subscribed = subscribed;
            self.epoch += 1;
        }
        if self.epoch == self.assignment_epoch {
            return;
        }
        let candidates = subscriptions.into_iter().map(|(member_id, topics)| Candidate {
            member_id,
            topics,
            current: self.target.get(member_id).cloned().unwrap_or_default(),
        });
        let candidates: Vec<Candidate<'_>> = candidates.collect();
        self.target = self.preferred_assignor().assign(&candidates);
        self.assignment_epoch = self.epoch;
    }

    /// The assignor that most members ask for.
    pub(super) fn preferred_assignor(&self) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.assignor) {
            *votes.entry(assignor).or_default() += 1;
        }
        votes
            .into_iter()
            .rev()
            .max_by_key(|(_, votes)| *votes)
            .map_or_else(Assignor::default, |(assignor, _)| assignor)
    }

    /// Takes the member as far towards its target as the others allow.
    fn reconcile(&mut self, now: Instant, member_id: &ByteString, owned: Option<&Assignment>) {
        let target = self.target.get(member_id).cloned().unwrap_or_default();
        let held = self.held_by_others(member_id);
        let target_epoch = self.assignment_epoch;
        let Some(member) = self.members.get_mut(member_id) else { return };
        match &member.state {
            State::Stable if member.epoch == target_epoch => return,
            State::Unrevoked { revoking, .. } => {
                // Silence about what it owns is no acknowledgement.
                if owned.is_none_or(|owned| !owned.is_disjoint(revoking)) {
                    return;
                }
            }
            State::Stable | State::Unreleased => {}
        }
        let revoking: Assignment = member.assigned.difference(&target).copied().collect();
        member.assigned.retain(|partition| target.contains(partition));
        let still_owned = owned.is_none_or(|owned| !owned.is_disjoint(&revoking));
        if !revoking.is_empty() && still_owned {
            member.state = State::Unrevoked { revoking, deadline: now + member.rebalance_timeout };
            return;
        }
        let free = target.difference(&held).copied();
        member.assigned.extend(free);
        member.state = if member.assigned == target { State::Stable } else { State::Unreleased };
        if member.epoch != target_epoch {
            member.previous_epoch = member.epoch;
            member.epoch = target_epoch;
        }
    }

    /// What other members have, or have not yet let go of.
    fn held_by_others(&self, member_id: &ByteString) -> Assignment {
        let others = self.members.iter().filter(|(id, _)| *id != member_id).map(|(_, member)| member);
        let held = others.flat_map(|member| {
            let revoking = match &member.state {
                State::Unrevoked { revoking, .. } => Some(revoking),
                State::Stable | State::Unreleased => None,
            };
            member.assigned.iter().chain(revoking.into_iter().flatten())
        });
        held.copied().collect()
    }
}

impl Member {
    fn new(now: Instant, instance_id: Option<ByteString>) -> Self {
        Self {
            epoch: JOINING,
            previous_epoch: JOINING,
            instance_id,
            client_id: ByteString::new(),
            topic_names: Vec::new(),
            topic_regex: None,
            assignor: None,
            rebalance_timeout: Duration::ZERO,
            state: State::Stable,
            assigned: Assignment::new(),
            session_ends: now,
        }
    }

    /// Whether the member may go on from the epoch that it names.
    ///
    /// The previous epoch is fine when what it owns shows that it only missed an answer. Joining again is fine too: it
    /// owns nothing then, and starts over.
    fn check_epoch(&mut self, beat: &Beat) -> Result<(), ErrorCode> {
        if beat.epoch == JOINING {
            self.epoch = JOINING;
            self.previous_epoch = JOINING;
            if let State::Unrevoked { .. } = self.state {
                self.state = State::Stable;
            }
            return Ok(());
        }
        let missed_an_answer = beat.epoch == self.previous_epoch
            && beat.owned.as_ref().is_some_and(|owned| owned.is_subset(&self.assigned));
        if beat.epoch == self.epoch || beat.epoch < self.epoch && missed_an_answer {
            Ok(())
        } else {
            Err(ErrorCode::FENCED_MEMBER_EPOCH)
        }
    }

    /// Takes over what the heartbeat brings and tells whether the target depends on it.
    fn update(&mut self, beat: Beat) -> bool {
        let mut changed = false;
        self.client_id = beat.client_id;
        if let Some(timeout) = beat.rebalance_timeout {
            self.rebalance_timeout = timeout;
        }
        if let Some(names) = beat.topic_names {
            changed |= self.topic_names != names;
            self.topic_names = names;
        }
        if let Some(regex) = beat.topic_regex {
            changed |= self.topic_regex.as_ref().map(Regex::as_str) != regex.as_ref().map(Regex::as_str);
            self.topic_regex = regex;
        }
        if let Some(assignor) = beat.assignor {
            changed |= self.assignor != Some(assignor);
            self.assignor = Some(assignor);
        }
        changed
    }

    /// The regular expression that it subscribes to, as it wrote it.
    pub(super) fn written_regex(&self) -> Option<&str> {
        let regex = self.topic_regex.as_ref()?.as_str();
        regex.strip_prefix("^(?:")?.strip_suffix(")$")
    }

    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        let matches = |regex: &Regex| regex.is_match(topic);
        self.topic_names.iter().any(|name| name == topic) || self.topic_regex.as_ref().is_some_and(matches)
    }

    /// The topics there are of those it subscribes to, with their numbers of partitions.
    fn subscribed(&self, topics: &Topics) -> BTreeMap<Uuid, i32> {
        let named = self.topic_names.iter().filter_map(|name| topics.named(name));
        let matching = topics.iter().filter(|topic| {
            let matches = |regex: &Regex| regex.is_match(&topic.name);
            self.topic_regex.as_ref().is_some_and(matches)
        });
        let all = named.chain(matching);
        all.map(|topic| (topic.id, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))).collect()
    }
}

impl Beat {
    /// Whether the member says everything, and so wants to be told everything.
    fn is_full(&self) -> bool {
        let subscribes = self.topic_names.is_some() || self.topic_regex.is_some();
        self.epoch == JOINING || self.rebalance_timeout.is_some() && subscribes && self.owned.is_some()
    }
}
