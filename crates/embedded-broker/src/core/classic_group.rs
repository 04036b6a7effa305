//! A group of the classic protocol.
//!
//! ```text
//!           first member                    all rejoined, or time is up
//!   Empty ───────────────▶ Joining ────────────────────────────────────▶ Syncing
//!     ▲                      ▲  │                                          │  │ the leader's assignment
//!     └──────────────────────┼──┘ nobody rejoined                          │  ▼
//!                            └─────────────────────────────────────────────┴─ Stable
//!                               a member comes, goes, or changes
//! ```
//!
//! Imitates the classic groups of Kafka 4.3.1's group coordinator. Every transition is in this file; what the requests
//! look like is in those of the APIs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_protocol::{ErrorCode, wire::ByteString};

use super::{
    ConnectionId, Deadline,
    groups::Replies,
    join_group::{Join, JoinAnswer, Joined},
    sync_group::{Sync, SyncAnswer},
};

#[derive(Debug)]
pub(super) struct ClassicGroup {
    state: State,
    pub(super) generation: i32,
    pub(super) protocol_type: ByteString,
    pub(super) protocol: ByteString,
    pub(super) leader: ByteString,
    members: BTreeMap<ByteString, Member>,
    /// Member ids that were given out and not yet used (KIP-394), and until when they hold.
    pending: BTreeMap<ByteString, Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Empty,
    Joining {
        deadline: Instant,
        /// In the first rebalance of an empty group, when waiting for one more member ends: until then every new one
        /// moves the deadline.
        first: Option<Instant>,
    },
    Syncing {
        deadline: Instant,
    },
    Stable,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<ByteString>,
    pub(super) client_id: ByteString,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    pub(super) protocols: Vec<(ByteString, Bytes)>,
    pub(super) assignment: Bytes,
    session_ends: Instant,
    joining: Option<Waiter>,
    syncing: Option<Waiter>,
}

/// A parked request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) connection: ConnectionId,
    pub(super) version: i16,
}

impl ClassicGroup {
    pub(super) fn new() -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: ByteString::new(),
            protocol: ByteString::new(),
            leader: ByteString::new(),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// Kafka's name for the state.
    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Joining { .. } => "PreparingRebalance",
            State::Syncing { .. } => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&ByteString, &Member)> {
        self.members.iter()
    }

    /// A member comes, comes back, or says something new.
    pub(super) fn join(&mut self, now: Instant, join: Join, out: &mut Replies) -> JoinAnswer {
        let refuse = |error: ErrorCode| JoinAnswer::Refused { error, member_id: join.member_id.clone() };
        if !self.accepts(&join) {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if let Some(instance_id) = &join.instance_id {
            match self.static_member(instance_id) {
                Some(known) if join.member_id.is_empty() => return self.replace(now, &known, join, out),
                Some(known) if known != join.member_id => return refuse(ErrorCode::FENCED_INSTANCE_ID),
                None if !join.member_id.is_empty() => return refuse(ErrorCode::UNKNOWN_MEMBER_ID),
                _ => {}
            }
        }
        let is_new = join.member_id.is_empty();
        if is_new && self.members.len() + self.pending.len() >= join.max_group_size {
            return refuse(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if is_new && join.waiter.version >= 4 && join.instance_id.is_none() {
            self.pending.insert(join.new_member_id.clone(), now + join.session_timeout);
            return JoinAnswer::Refused {
                error: ErrorCode::MEMBER_ID_REQUIRED,
                member_id: join.new_member_id,
            };
        }
        if is_new {
            let member_id = join.new_member_id.clone();
            return self.add(now, member_id, join, out);
        }
        if self.pending.remove(&join.member_id).is_some() {
            let member_id = join.member_id.clone();
            return self.add(now, member_id, join, out);
        }
        self.rejoin(now, join, out)
    }

    /// A member asks for its assignment, or brings everybody's.
    pub(super) fn sync(&mut self, now: Instant, sync: Sync, out: &mut Replies) -> SyncAnswer {
        if let Err(error) = self.check_member(&sync.member_id, sync.instance_id.as_ref(), sync.generation) {
            return SyncAnswer::Refused(error);
        }
        let differs =
            |wanted: &Option<ByteString>, is: &ByteString| wanted.as_ref().is_some_and(|it| it != is);
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return SyncAnswer::Refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let leads = self.leader == sync.member_id;
        let Some(member) = self.members.get_mut(&sync.member_id) else {
            return SyncAnswer::Refused(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        match self.state {
            State::Empty => SyncAnswer::Refused(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Joining { .. } => SyncAnswer::Refused(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable => {
                member.touch(now);
                SyncAnswer::Assigned(member.assignment.clone())
            }
            State::Syncing { .. } if leads => {
                self.assign(now, sync.assignments, out);
                let assigned = self.members.get(&sync.member_id).map(|member| member.assignment.clone());
                SyncAnswer::Assigned(assigned.unwrap_or_default())
            }
            State::Syncing { .. } => {
                member.touch(now);
                member.syncing = Some(sync.waiter);
                SyncAnswer::Parked
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Instant,
        member_id: &str,
        instance_id: Option<&ByteString>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(member_id, instance_id, generation)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
        match self.state {
            State::Joining { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    /// A member goes: named by its member id, or by its instance id alone.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        member_id: &ByteString,
        instance_id: Option<&ByteString>,
        out: &mut Replies,
    ) -> Result<(), ErrorCode> {
        if self.pending.remove(member_id).is_some() {
            self.complete_if_all_joined(now, out);
            return Ok(());
        }
        let gone = match instance_id {
            Some(instance_id) => {
                let known = self.static_member(instance_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
                if !member_id.is_empty() && known != *member_id {
                    return Err(ErrorCode::FENCED_INSTANCE_ID);
                }
                known
            }
            None if self.members.contains_key(member_id) => member_id.clone(),
            None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        self.remove(now, &gone, out);
        Ok(())
    }

    /// Whether somebody with these credentials may commit.
    pub(super) fn check_commit(
        &mut self,
        now: Instant,
        member_id: &str,
        instance_id: Option<&ByteString>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(member_id, instance_id, generation)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
        match self.state {
            State::Syncing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let phase = match self.state {
            State::Joining { deadline, .. } => Some(Deadline { at: deadline, why: "a rebalance ends" }),
            State::Syncing { deadline } => Some(Deadline { at: deadline, why: "members must have synced" }),
            State::Empty | State::Stable => None,
        };
        let sessions =
            self.members.values().filter(|member| !member.waits()).map(|member| member.session_ends);
        let sessions = sessions.chain(self.pending.values().copied());
        let session = sessions.min().map(|at| Deadline { at, why: "a member's session ends" });
        [phase, session].into_iter().flatten().min()
    }

    /// Every member that the coordinator waits to hear of is late.
    pub(super) fn end_sessions(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.session_ends = now;
        }
    }

    pub(super) fn expire(&mut self, now: Instant, out: &mut Replies) {
        let pending = self.pending.len();
        self.pending.retain(|_, ends| *ends > now);
        let silent = self.members.iter().filter(|(_, member)| !member.waits() && member.session_ends <= now);
        let silent: Vec<ByteString> = silent.map(|(id, _)| id.clone()).collect();
        for member in &silent {
            self.remove(now, member, out);
        }
        if self.pending.len() < pending {
            self.complete_if_all_joined(now, out);
        }
        match self.state {
            State::Joining { deadline, .. } if deadline <= now => self.complete(now, out),
            State::Syncing { deadline } if deadline <= now => {
                let late = self.members.iter().filter(|(_, member)| member.syncing.is_none());
                let late: Vec<ByteString> = late.map(|(id, _)| id.clone()).collect();
                for member in &late {
                    self.remove(now, member, out);
                }
            }
            _ => {}
        }
    }

    /// What a member that has joined is told.
    pub(super) fn joined(&self, member_id: &ByteString) -> Joined {
        Joined { generation: self.generation, member_id: member_id.clone(), skip_assignment: false }
    }

    fn accepts(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self.members.values().collect();
        if others.is_empty() {
            return true;
        }
        let shared = |(name, _): &(ByteString, Bytes)| others.iter().all(|member| member.knows(name));
        self.protocol_type == join.protocol_type && join.protocols.iter().any(shared)
    }

    fn static_member(&self, instance_id: &ByteString) -> Option<ByteString> {
        let owns = |member: &Member| member.instance_id.as_ref() == Some(instance_id);
        self.members.iter().find(|(_, member)| owns(member)).map(|(id, _)| id.clone())
    }

    fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&ByteString>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_member(instance_id) {
                Some(known) if known == *member_id => {}
                Some(_) => return Err(ErrorCode::FENCED_INSTANCE_ID),
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            }
        }
        if !self.members.contains_key(member_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    fn add(&mut self, now: Instant, member_id: ByteString, join: Join, out: &mut Replies) -> JoinAnswer {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type.clone();
            self.leader = member_id.clone();
        }
        let delay = join.initial_delay;
        self.members.insert(member_id, Member::new(now, join));
        match &mut self.state {
            State::Joining { deadline, first: Some(latest) } => *deadline = (now + delay).min(*latest),
            State::Joining { first: None, .. } => {}
            State::Empty => {
                let deadline = now + delay;
                self.state = State::Joining { deadline, first: Some(now + self.rebalance_timeout()) };
            }
            State::Syncing { .. } | State::Stable => self.rebalance(now, out),
        }
        self.complete_if_all_joined(now, out);
        JoinAnswer::Parked
    }

    fn rejoin(&mut self, now: Instant, join: Join, out: &mut Replies) -> JoinAnswer {
        let member_id = join.member_id.clone();
        let leads = self.leader == member_id;
        let Some(member) = self.members.get_mut(&member_id) else {
            return JoinAnswer::Refused { error: ErrorCode::UNKNOWN_MEMBER_ID, member_id };
        };
        let same = member.protocols == join.protocols;
        match self.state {
            State::Syncing { .. } if same => {
                member.touch(now);
                return JoinAnswer::Joined(self.joined(&member_id));
            }
            State::Stable if same && !leads => {
                member.touch(now);
                return JoinAnswer::Joined(self.joined(&member_id));
            }
            _ => {}
        }
        let assignment = std::mem::take(&mut member.assignment);
        *member = Member { assignment, ..Member::new(now, join) };
        if !matches!(self.state, State::Joining { .. }) {
            self.rebalance(now, out);
        }
        self.complete_if_all_joined(now, out);
        JoinAnswer::Parked
    }

    /// A static member is back under a new member id (KIP-345).
    fn replace(&mut self, now: Instant, old_id: &ByteString, join: Join, out: &mut Replies) -> JoinAnswer {
        let member_id = join.new_member_id.clone();
        let Some(mut old) = self.members.remove(old_id) else {
            return JoinAnswer::Refused { error: ErrorCode::UNKNOWN_MEMBER_ID, member_id };
        };
        old.answer(ErrorCode::FENCED_INSTANCE_ID, out);
        if self.leader == *old_id {
            self.leader = member_id.clone();
        }
        let can_skip = join.waiter.version >= 9;
        let mut member = Member { assignment: old.assignment, ..Member::new(now, join) };
        let parked = member.joining.take();
        self.members.insert(member_id.clone(), member);
        // What its subscription says is for the leader to know, next time.
        if matches!(self.state, State::Stable) && self.elect_protocol() == self.protocol {
            let leads = self.leader == member_id;
            return JoinAnswer::Joined(Joined {
                skip_assignment: leads && can_skip,
                ..self.joined(&member_id)
            });
        }
        if let Some(member) = self.members.get_mut(&member_id) {
            member.joining = parked;
        }
        if !matches!(self.state, State::Joining { .. }) {
            self.rebalance(now, out);
        }
        self.complete_if_all_joined(now, out);
        JoinAnswer::Parked
    }

    fn remove(&mut self, now: Instant, member_id: &ByteString, out: &mut Replies) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        member.answer(ErrorCode::UNKNOWN_MEMBER_ID, out);
        if self.leader == *member_id {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        if matches!(self.state, State::Syncing { .. } | State::Stable) {
            self.rebalance(now, out);
        }
        self.complete_if_all_joined(now, out);
    }

    /// Asks every member to join again.
    fn rebalance(&mut self, now: Instant, out: &mut Replies) {
        for member in self.members.values_mut() {
            if let Some(waiter) = member.syncing.take() {
                member.touch(now);
                out.push(waiter.sync_refused(ErrorCode::REBALANCE_IN_PROGRESS));
            }
        }
        self.state = State::Joining { deadline: now + self.rebalance_timeout(), first: None };
    }

    fn complete_if_all_joined(&mut self, now: Instant, out: &mut Replies) {
        let State::Joining { deadline, first } = self.state else { return };
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
        // The first rebalance waits for members that nobody has heard of yet.
        if all && (first.is_none() || deadline <= now || self.members.is_empty()) {
            self.complete(now, out);
        }
    }

    fn complete(&mut self, now: Instant, out: &mut Replies) {
        // A static member that is away keeps its place until its session ends.
        self.members.retain(|_, member| member.joining.is_some() || member.instance_id.is_some());
        if self.members.is_empty() {
            self.generation += 1;
            self.protocol = ByteString::new();
            self.state = State::Empty;
            return;
        }
        let joined: Vec<ByteString> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        let Some(first) = joined.first() else {
            // Only static members that are away are left. A timeout of zero must not make this a busy wait.
            let deadline = now + self.rebalance_timeout().max(Duration::from_secs(1));
            self.state = State::Joining { deadline, first: None };
            return;
        };
        if !joined.contains(&self.leader) {
            self.leader = first.clone();
        }
        self.generation += 1;
        self.protocol = self.elect_protocol();
        self.state = State::Syncing { deadline: now + self.rebalance_timeout() };
        for id in joined {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            member.touch(now);
            if let Some(waiter) = member.joining.take() {
                out.push(waiter.joined(self, self.joined(&id)));
            }
        }
    }

    fn assign(&mut self, now: Instant, mut assignments: BTreeMap<ByteString, Bytes>, out: &mut Replies) {
        self.state = State::Stable;
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
            member.touch(now);
            if let Some(waiter) = member.syncing.take() {
                out.push(waiter.synced(&protocol_type, &protocol, member.assignment.clone()));
            }
        }
    }

    /// Of the protocols that every member knows, the one that most of them like best.
    fn elect_protocol(&self) -> ByteString {
        let candidates: BTreeSet<&ByteString> = self
            .members
            .values()
            .flat_map(|member| member.protocols.iter().map(|(name, _)| name))
            .filter(|name| self.members.values().all(|member| member.knows(name)))
            .collect();
        let mut votes: BTreeMap<&ByteString, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(name, _)| name).find(|name| candidates.contains(name));
            if let Some(name) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let elected = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
        elected.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }
}

impl Member {
    fn new(now: Instant, join: Join) -> Self {
        Self {
            instance_id: join.instance_id,
            client_id: join.client_id,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            session_ends: now + join.session_timeout,
            joining: Some(join.waiter),
            syncing: None,
        }
    }

    /// What it said with the protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|(name, _)| name == protocol);
        known.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    fn touch(&mut self, now: Instant) {
        self.session_ends = now + self.session_timeout;
    }

    /// While the coordinator owes it an answer, its silence is no sign.
    const fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn answer(&mut self, error: ErrorCode, out: &mut Replies) {
        out.extend(self.joining.take().map(|waiter| waiter.join_refused(error)));
        out.extend(self.syncing.take().map(|waiter| waiter.sync_refused(error)));
    }
}
