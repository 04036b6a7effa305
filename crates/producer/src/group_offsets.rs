//! Offsets of a consumer group that are committed with a transaction (KIP-98, KIP-447).

use std::{collections::BTreeMap, sync::Arc};

use milena_cluster::TopicPartition;
use milena_protocol::wire::ByteString;

/// Which member of which group the offsets are of. With the member told, the group refuses them when the member is not
/// the one any more that the partitions belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group.
    pub group_id: ByteString,
    /// The member; empty for none.
    pub member_id: ByteString,
    /// The generation of the classic protocol, or the member epoch of KIP-848; -1 for none.
    pub generation_or_epoch: i32,
    /// The instance id of a static member.
    pub group_instance_id: Option<ByteString>,
}

impl GroupMetadata {
    /// A group whose partitions are assigned by hand: it has no members, and refuses no offsets.
    pub fn without_member(group_id: impl Into<ByteString>) -> Self {
        Self { group_id: group_id.into(), generation_or_epoch: -1, ..Self::default() }
    }
}

/// Where a group is to go on reading in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOffset {
    /// One past the last record that was processed.
    pub offset: i64,
    /// The leader epoch of that record, as far as it is known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// A word to oneself.
    pub metadata: ByteString,
}

/// Names a call of [`Producer::send_offsets`](crate::Producer::send_offsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetsId(pub(crate) u64);

/// Offsets on their way into a transaction.
#[derive(Clone, Debug)]
pub(crate) struct PendingOffsets {
    pub(crate) id: OffsetsId,
    pub(crate) group: Arc<GroupMetadata>,
    /// Those the group has not taken yet.
    pub(crate) offsets: BTreeMap<TopicPartition, GroupOffset>,
}
