//! Offsets that were committed in a transaction which is still open: nobody reads them yet.
//!
//! Imitates the offset store of Kafka 4.3.1's group coordinator, partition by partition of `__consumer_offsets`: a commit
//! marker makes a producer's offsets the group's, an abort marker drops them; an offset that the group committed later, and
//! outside the transaction, stays. Each partition knows its producers as a partition of records does.

use std::collections::BTreeMap;

use milena_protocol::{ErrorCode, wire::ByteString};

use super::{
    Cluster,
    coordinators::{Kind, partition_of},
    groups::{CommittedOffset, StoredOffset},
    producer_state::{AppendedBatch, Marker, ProducerStates},
    transaction::Producer,
};

/// Offsets that may be pending in a partition; more are refused. Kafka has no such bound.
const MAX_PENDING: usize = 100_000;

/// Group, topic and partition.
pub(super) type Place = (ByteString, ByteString, i32);

#[derive(Debug, Default)]
pub(super) struct PendingOffsets(BTreeMap<u16, OffsetsPartition>);

/// A partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub(super) struct OffsetsPartition {
    pub(super) producers: ProducerStates,
    /// Counts what is written, as the offsets of the partition would.
    next_position: i64,
    /// By producer id.
    pending: BTreeMap<i64, BTreeMap<Place, StoredOffset>>,
}

impl PendingOffsets {
    /// The partition where the group lives.
    pub(super) fn partition_mut(&mut self, group: &str) -> &mut OffsetsPartition {
        self.0.entry(partition_of(group)).or_default()
    }

    /// Whether an open transaction has an offset for this place.
    pub(super) fn is_pending(&self, place: &Place) -> bool {
        let partition = self.0.get(&partition_of(&place.0));
        partition
            .is_some_and(|partition| partition.pending.values().any(|offsets| offsets.contains_key(place)))
    }

    /// Forgets what is pending for a group.
    pub(super) fn drop_group(&mut self, group: &str) {
        for offsets in self.0.values_mut().flat_map(|partition| partition.pending.values_mut()) {
            offsets.retain(|(id, ..), _| id != group);
        }
    }

    /// Forgets what is pending for a topic.
    pub(super) fn drop_topic(&mut self, topic: &str) {
        for offsets in self.0.values_mut().flat_map(|partition| partition.pending.values_mut()) {
            offsets.retain(|(_, name, _), _| name != topic);
        }
    }
}

impl OffsetsPartition {
    /// What the next write is numbered.
    pub(super) fn take_position(&mut self) -> i64 {
        let position = self.next_position;
        self.next_position = position.saturating_add(1);
        position
    }

    /// Keeps offsets until their producer's transaction ends.
    pub(super) fn keep(
        &mut self,
        unix_ms: i64,
        producer: Producer,
        offsets: Vec<(Place, CommittedOffset)>,
    ) -> Result<(), ErrorCode> {
        let held: usize = self.pending.values().map(BTreeMap::len).sum();
        if held.saturating_add(offsets.len()) > MAX_PENDING {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let base_offset = self.next_position;
        for (place, committed) in offsets {
            let position = self.take_position();
            self.pending.entry(producer.id).or_default().insert(place, StoredOffset { committed, position });
        }
        let written = AppendedBatch {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            first_sequence: -1,
            last_sequence: -1,
            base_offset,
            timestamp: unix_ms,
            transactional: true,
        };
        self.producers.appended(unix_ms, &written);
        Ok(())
    }
}

impl Cluster {
    /// Ends a transaction in a partition of `__consumer_offsets`, as its leader.
    pub(super) fn end_offsets(&mut self, unix_ms: i64, index: i32, marker: &Marker) -> Result<(), ErrorCode> {
        let index = u16::try_from(index).map_err(|_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let seat = self.coordinators.seats(Kind::Group).get(usize::from(index));
        let seat = seat.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if seat.broker.is_none() || seat.is_loading(self.now) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let partition = self.pending_offsets.0.entry(index).or_default();
        partition.producers.check_marker(marker)?;
        let position = partition.take_position();
        partition.producers.ended(unix_ms, marker, position);
        let offsets = partition.pending.remove(&marker.producer_id).unwrap_or_default();
        if !marker.committed {
            return Ok(());
        }
        for ((group, topic, index), pending) in offsets {
            let Some(group) = self.groups.named_mut(&group) else { continue };
            let known = group.offsets.get(&(topic.clone(), index));
            if known.is_none_or(|known| known.position < pending.position) {
                group.offsets.insert((topic, index), pending);
            }
        }
        Ok(())
    }
}
