//! How the leader of a classic group shares partitions out. Pure functions: the same members and topics give the same
//! assignment, whatever the order in which they are told.

mod cooperative_sticky;
mod range;
mod round_robin;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use milena_cluster::TopicPartition;
use milena_protocol::wire::ByteString;

/// A way to share partitions out, by the name that the group knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Topic by topic, a run of neighbours for each member: topics with equal partition counts are co-partitioned.
    Range,
    /// All partitions in turn: even, and everything moves when a member comes or goes.
    RoundRobin,
    /// Even, and moving as little as possible. Members keep what does not move while the group rebalances (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// The name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// True when members may keep their partitions while the group rebalances.
    #[must_use]
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky)
    }

    /// Shares out the partitions of every topic that a member reads; `partitions` tells how many there are.
    pub(crate) fn assign(self, members: &Members, partitions: &PartitionCounts) -> Assignments {
        match self {
            Self::Range => range::assign(members, partitions),
            Self::RoundRobin => round_robin::assign(members, partitions),
            Self::CooperativeSticky => cooperative_sticky::assign(members, partitions),
        }
    }
}

/// What a member said of itself when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<ByteString>,
    /// What it owned in `generation`.
    pub(crate) owned: BTreeSet<TopicPartition>,
    /// -1 when the member is too old to tell, or owned nothing.
    pub(crate) generation: i32,
    pub(crate) instance_id: Option<ByteString>,
}

/// The members of a group by their ids.
pub(crate) type Members = BTreeMap<ByteString, Subscription>;
/// How many partitions each topic has. A topic that does not exist has none.
pub(crate) type PartitionCounts = BTreeMap<ByteString, i32>;
/// What each member is to own.
pub(crate) type Assignments = BTreeMap<ByteString, BTreeSet<TopicPartition>>;

/// Every member, with nothing.
fn nothing(members: &Members) -> Assignments {
    members.keys().map(|member| (member.clone(), BTreeSet::new())).collect()
}

/// The members in the order that all assignors use: static ones first, by instance id, because these stay the same when
/// a process is started again.
fn in_order(members: &Members) -> Vec<(&ByteString, &Subscription)> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by_key(|(id, subscription)| {
        (subscription.instance_id.is_none(), subscription.instance_id.as_ref().unwrap_or(id).clone())
    });
    ordered
}

/// The topics that some member reads.
fn topics(members: &Members) -> BTreeSet<&ByteString> {
    members.values().flat_map(|subscription| &subscription.topics).collect()
}

fn count(partitions: &PartitionCounts, topic: &ByteString) -> i32 {
    partitions.get(topic).copied().unwrap_or(0).max(0)
}
