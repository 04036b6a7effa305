//! How the leader of a classic group shares partitions out. Pure functions: the same members and topics give the same
//! assignment, whatever the order in which they are told.

mod cooperative_sticky;
mod range;
mod round_robin;
pub(crate) mod sticky;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use milena_cluster::TopicPartition;
use milena_protocol::wire::ByteString;

/// A way to share partitions out, by the name that the group knows it by.
#[derive(Clone, Debug)]
pub enum Assignor {
    /// Topic by topic, a run of neighbours for each member: topics with equal partition counts are co-partitioned.
    Range,
    /// All partitions in turn: even, and everything moves when a member comes or goes.
    RoundRobin,
    /// Even, and moving as little as possible. Members give everything up while the group rebalances (KIP-54).
    Sticky,
    /// Even, and moving as little as possible. Members keep what does not move while the group rebalances (KIP-429).
    CooperativeSticky,
    /// The application's own.
    Custom(Arc<dyn Assign>),
}

impl PartialEq for Assignor {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Assignor {}

impl Assignor {
    /// The name in the protocol.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Custom(assign) => assign.name(),
        }
    }

    /// True when members may keep their partitions while the group rebalances.
    #[must_use]
    pub fn is_cooperative(&self) -> bool {
        match self {
            Self::Range | Self::RoundRobin | Self::Sticky => false,
            Self::CooperativeSticky => true,
            Self::Custom(assign) => assign.is_cooperative(),
        }
    }

    /// Shares out the partitions of every topic that a member reads; `partitions` tells how many there are.
    pub(crate) fn assign(&self, members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
        match self {
            Self::Range => range::assign(members, partitions),
            Self::RoundRobin => round_robin::assign(members, partitions),
            Self::Sticky => sticky::assign(members, partitions),
            Self::CooperativeSticky => cooperative_sticky::assign(members, partitions),
            Self::Custom(assign) => {
                let assignments = sound(assign.assign(members, partitions), members, partitions);
                if assign.is_cooperative() {
                    cooperative_sticky::in_two_rounds(assignments, members, partitions)
                } else {
                    assignments
                }
            }
        }
    }

    /// What the member tells the leader beside its subscription, having owned `previous` in `generation`.
    pub(crate) fn user_data(&self, previous: &BTreeSet<TopicPartition>, generation: i32) -> Option<Bytes> {
        match self {
            Self::Range | Self::RoundRobin | Self::CooperativeSticky => None,
            Self::Sticky => Some(sticky::user_data(previous, generation)),
            Self::Custom(assign) => assign.user_data(),
        }
    }
}

/// A way to share partitions out that is the application's own, for [`Assignor::Custom`].
///
/// It runs in the member that the coordinator has made the leader. All members must have it by the same name, and must agree:
/// the same input has to give the same assignment.
pub trait Assign: fmt::Debug + Send + Sync {
    /// The name that the group knows it by.
    fn name(&self) -> &str;

    /// Shares out the partitions of every topic that a member reads. A partition that is given to several goes to the first of
    /// them; one that does not exist, or that goes to somebody who is not a member or does not read it, is left out.
    fn assign(&self, members: &GroupMembers, partitions: &PartitionCounts) -> Assignments;

    /// True when members may keep their partitions while the group rebalances (KIP-429). What moves is then given to nobody
    /// in the round in which its owner learns that it loses it: this is seen to, and need not be thought of.
    fn is_cooperative(&self) -> bool {
        false
    }

    /// What this member tells the leader beside what it reads.
    fn user_data(&self) -> Option<Bytes> {
        None
    }
}

/// What a member said of itself when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// What it reads.
    pub topics: BTreeSet<ByteString>,
    /// What it owned in `generation`. Members that give everything up before they join own nothing.
    pub owned: BTreeSet<TopicPartition>,
    /// -1 when the member is too old to tell, or owned nothing.
    pub generation: i32,
    /// Its instance id, when it is a static member.
    pub instance_id: Option<ByteString>,
    /// Its rack, when it says so.
    pub rack: Option<ByteString>,
    /// What its assignor has to tell beside; empty when that is nothing.
    pub user_data: Bytes,
}

/// The members of a group by their ids.
pub type GroupMembers = BTreeMap<ByteString, GroupMember>;
/// How many partitions each topic has. A topic that does not exist has none.
pub type PartitionCounts = BTreeMap<ByteString, i32>;
/// What each member is to own.
pub type Assignments = BTreeMap<ByteString, BTreeSet<TopicPartition>>;

/// What a custom assignor says, as far as it can be: no partition has two owners, whatever it says.
fn sound(said: Assignments, members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    let mut assignments = nothing(members);
    let mut given = BTreeSet::new();
    for (id, wanted) in said {
        let (Some(member), Some(assigned)) = (members.get(&id), assignments.get_mut(&id)) else { continue };
        for partition in wanted {
            let exists = (0..count(partitions, &partition.topic)).contains(&partition.partition);
            if exists && member.topics.contains(&partition.topic) && given.insert(partition.clone()) {
                assigned.insert(partition);
            }
        }
    }
    assignments
}

/// Every member, with nothing.
fn nothing(members: &GroupMembers) -> Assignments {
    members.keys().map(|member| (member.clone(), BTreeSet::new())).collect()
}

/// The members in the order that all assignors use: static ones first, by instance id, because these stay the same when
/// a process is started again.
fn in_order(members: &GroupMembers) -> Vec<(&ByteString, &GroupMember)> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by_key(|(id, subscription)| {
        (subscription.instance_id.is_none(), subscription.instance_id.as_ref().unwrap_or(id).clone())
    });
    ordered
}

/// The topics that some member reads.
fn topics(members: &GroupMembers) -> BTreeSet<&ByteString> {
    members.values().flat_map(|subscription| &subscription.topics).collect()
}

fn count(partitions: &PartitionCounts, topic: &ByteString) -> i32 {
    partitions.get(topic).copied().unwrap_or(0).max(0)
}
