//! The batches of a topic that have not been sent, and where its next record goes.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use milena_cluster::{BrokerId, TopicPartition};
use milena_protocol::{records::BatchBuilder, wire::ByteString};

use super::Books;
use crate::{
    Clock, EnqueueError, NewRecord, ProduceError,
    outcome::Outcome,
    partitioner::{Candidate, LeaderWaits, Partitioner, Placement, Spread, Sticky, Unplaced},
};

#[derive(Debug, Default)]
pub(super) struct TopicBatches {
    pub(super) name: ByteString,
    pub(super) partitions: Vec<PartitionBatches>,
    /// Which partitions have a leader and have not stopped.
    pub(super) available: Vec<bool>,
    /// Who leads each partition.
    pub(super) leaders: Vec<Option<Leader>>,
    pub(super) sticky: Sticky,
    /// Whose turn is next round robin.
    pub(super) turn: usize,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) broker: BrokerId,
    /// It is in the client's rack.
    pub(crate) is_near: bool,
}

#[derive(Debug, Default)]
pub(super) struct PartitionBatches {
    pub(super) closed: VecDeque<OpenBatch>,
    pub(super) open: Option<OpenBatch>,
    /// The size at which batches are closed, where the topic takes smaller ones than the settings say.
    pub(super) limit: Option<usize>,
    /// Bytes that the next batch may well come to.
    pub(super) expected: usize,
    pub(super) stopped: Option<ProduceError>,
}

/// A batch that takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) builder: BatchBuilder,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    /// When its first record was accepted.
    pub(crate) opened: Instant,
    pub(crate) deadline: Instant,
    /// It has lingered, or a flush does not wait for that.
    pub(super) due: bool,
}

impl OpenBatch {
    /// The time of a record that has none. The first of a batch asks for it; those behind it are not before it.
    pub(super) fn timestamp(&self, clock: &impl Clock) -> i64 {
        if self.builder.is_empty() {
            return clock.wall_ms();
        }
        clock.recent_wall_ms().max(self.builder.base_timestamp())
    }
}

impl TopicBatches {
    /// Sends the records without a key where they are taken.
    pub(super) fn avoid_stopped(&mut self) {
        let stopped = self.partitions.iter().enumerate().filter(|(_, batches)| batches.stopped.is_some());
        for (index, _) in stopped {
            if let Some(available) = self.available.get_mut(index) {
                *available = false;
            }
            self.sticky.leave(index);
        }
    }

    /// The partition for a record, and whether it went there only for want of a better reason.
    pub(super) fn place(
        &mut self,
        record: &NewRecord<'_>,
        partitioner: &Partitioner,
        drawing: Drawing<'_, impl Clock>,
    ) -> Result<(usize, bool), EnqueueError> {
        let count = self.partitions.len();
        if let Some(partition) = record.partition {
            let index = usize::try_from(partition).ok().filter(|index| *index < count);
            return index
                .map(|index| (index, false))
                .ok_or_else(|| no_such_partition(record, partition, count));
        }
        let unplaced = Unplaced {
            topic: record.topic,
            key: record.key,
            value: record.value,
            partition_count: count,
            available: &self.available,
        };
        match partitioner.place(&unplaced, &mut self.turn) {
            Placement::At(index) if index < count => Ok((index, false)),
            Placement::At(index) => Err(no_such_partition(record, index, count)),
            Placement::Spread => match self.sticky.current(count) {
                Some(current) => Ok((current, true)),
                None => {
                    let drawn = self.draw(drawing).ok_or_else(|| no_such_partition(record, 0, count))?;
                    Ok((drawn, true))
                }
            },
        }
    }

    fn draw(&mut self, Drawing { clock, spread, waits, random }: Drawing<'_, impl Clock>) -> Option<usize> {
        let candidates = self.partitions.iter().enumerate().map(|(index, batches)| {
            let leader = self.leaders.get(index).copied().flatten();
            Candidate {
                is_available: self.available.get(index).copied().unwrap_or(false),
                is_near: leader.is_some_and(|leader| leader.is_near),
                queue: batches.closed.len().saturating_add(usize::from(batches.open.is_some())),
                waits_since: leader.and_then(|leader| waits.since(leader.broker)),
            }
        });
        let candidates: Vec<_> = candidates.collect();
        self.sticky.draw(clock.now(), spread, &candidates, random)
    }
}

/// What a partition is drawn with.
pub(super) struct Drawing<'a, C> {
    pub(super) clock: &'a C,
    pub(super) spread: &'a Spread,
    pub(super) waits: &'a LeaderWaits,
    pub(super) random: &'a mut fastrand::Rng,
}

impl PartitionBatches {
    /// The open batch takes nothing more: it is to be sent.
    pub(super) fn close(&mut self, partition: TopicPartition, books: &mut Books) {
        if let Some(full) = self.open.take() {
            self.expected = full.builder.uncompressed_len();
            books.lingering.remove(&full.serial);
            books.ready.insert(partition);
            self.closed.push_back(full);
        }
    }
}

pub(super) fn no_such_partition(
    record: &NewRecord<'_>,
    partition: impl TryInto<i32>,
    count: usize,
) -> EnqueueError {
    let partition = partition.try_into().unwrap_or(i32::MAX);
    EnqueueError::NoSuchPartition { topic: record.topic.into(), partition, count }
}
