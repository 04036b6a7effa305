//! The groups of the cluster: what is the same for the classic protocol and for KIP-848.
//!
//! A group is of one kind while it has members; an empty one changes over, and its committed offsets stay.
//!
//! Leaves out: the online migration between the two (KIP-848 "upgrade" and "downgrade"), the expiry of offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use milena_protocol::{
    ErrorCode,
    messages::Response,
    wire::{ByteString, Uuid},
};

use super::{
    BrokerId, Cluster, ConnectionId, Deadline, classic_group::ClassicGroup, consumer_group::ConsumerGroup,
    coordinators, detach::Detach,
};

/// Groups that the cluster holds; more are refused.
const MAX_GROUPS: usize = 10_000;

/// Replies to requests that were parked.
pub(super) type Replies = Vec<(ConnectionId, Response)>;

#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<ByteString, Group>);

#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) offsets: BTreeMap<(ByteString, i32), StoredOffset>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

/// An offset as it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// What the client wrote beside it.
    pub metadata: ByteString,
}

/// An offset, and where in the partition of `__consumer_offsets` it would be.
#[derive(Clone, Debug)]
pub(super) struct StoredOffset {
    pub(super) committed: CommittedOffset,
    /// The higher, the later it was written.
    pub(super) position: i64,
}

impl Groups {
    pub(super) fn named(&self, id: &str) -> Option<&Group> {
        self.0.get(id)
    }

    pub(super) fn named_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.0.get_mut(id)
    }

    /// The group, made if it is not there.
    pub(super) fn entry(&mut self, id: &ByteString, kind: fn() -> Kind) -> Result<&mut Group, ErrorCode> {
        if self.0.len() >= MAX_GROUPS && !self.0.contains_key(id) {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        let group = self.0.entry(id.detached());
        Ok(group.or_insert_with(|| Group { kind: kind(), offsets: BTreeMap::new() }))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ByteString, &Group)> {
        self.0.iter()
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Forgets what was committed for a topic.
    pub(super) fn drop_topic(&mut self, topic: &str) {
        for group in self.0.values_mut() {
            group.offsets.retain(|(name, _), _| name != topic);
        }
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let deadlines = self.0.values().filter_map(|group| match &group.kind {
            Kind::Classic(group) => group.deadline(),
            Kind::Consumer(group) => group.deadline(),
        });
        deadlines.min()
    }

    /// Does what is due in every group.
    pub(super) fn expire(&mut self, now: Instant) -> Replies {
        let mut replies = Replies::new();
        for group in self.0.values_mut() {
            match &mut group.kind {
                Kind::Classic(group) => group.expire(now, &mut replies),
                Kind::Consumer(group) => group.expire(now),
            }
        }
        replies
    }
}

impl Group {
    /// The group as a classic one, if it is or can become one.
    pub(super) fn classic(&mut self) -> Option<&mut ClassicGroup> {
        if let Kind::Consumer(group) = &self.kind
            && group.is_empty()
        {
            self.kind = Kind::Classic(ClassicGroup::new());
        }
        match &mut self.kind {
            Kind::Classic(group) => Some(group),
            Kind::Consumer(_) => None,
        }
    }

    /// The group as one of KIP-848, if it is or can become one.
    pub(super) fn consumer(&mut self) -> Option<&mut ConsumerGroup> {
        if let Kind::Classic(group) = &self.kind
            && group.is_empty()
        {
            self.kind = Kind::Consumer(ConsumerGroup::new());
        }
        match &mut self.kind {
            Kind::Consumer(group) => Some(group),
            Kind::Classic(_) => None,
        }
    }
}

impl Kind {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state_name(),
            Self::Consumer(group) => group.state_name(),
        }
    }

    pub(super) fn new_classic() -> Self {
        Self::Classic(ClassicGroup::new())
    }

    pub(super) fn new_consumer() -> Self {
        Self::Consumer(ConsumerGroup::new())
    }
}

impl Cluster {
    /// The groups there are.
    #[must_use]
    pub fn group_ids(&self) -> Vec<ByteString> {
        self.groups.0.keys().cloned().collect()
    }

    /// What the group has committed for the partition.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        let stored = self.groups.named(group)?.offsets.get(&(topic.into(), partition))?;
        Some(&stored.committed)
    }

    /// Which partitions each member of a KIP-848 group may use, by member id. Empty for other groups: what a classic
    /// assignment means is for clients to know.
    #[must_use]
    pub fn assignments(&self, group: &str) -> BTreeMap<ByteString, BTreeSet<(Uuid, i32)>> {
        match self.groups.named(group).map(|group| &group.kind) {
            Some(Kind::Consumer(group)) => group.assignments(),
            _ => BTreeMap::new(),
        }
    }

    /// Whether requests for the group are right at `broker`.
    pub(super) fn check_group_coordinator(&self, broker: BrokerId, group: &str) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(broker, coordinators::Kind::Group, group)
    }

    pub(super) fn expire_groups(&mut self, now: Instant) {
        let replies = self.groups.expire(now);
        self.complete_all(now, replies);
    }

    pub(super) fn complete_all(&mut self, now: Instant, replies: Replies) {
        for (connection, response) in replies {
            self.complete(now, connection, response);
        }
    }
}
