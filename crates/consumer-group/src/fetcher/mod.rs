//! Asks leaders for batches, and keeps what comes until the application takes it.
//!
//! Brokers are asked independently, one fetch in flight each, so that an idle partition delays nobody elsewhere. A broker
//! is asked when every partition it is to serve has room: a fetch that left one out could wait for the others while the
//! application has long emptied it. Each broker may fill an equal share of the memory, whatever the others hold.
//!
//! Every fetch names its partitions in full; there are no sessions (KIP-227): session id 0, epoch -1. The partition that
//! waits longest for data is named first, because brokers fill their answer in that order.
//!
//! # References
//! KIP-74 (limits), KIP-98 (transactions), KIP-392 (preferred replica), KIP-951 (new leader in the answer).

mod answer;
mod ask;
mod buffer;
mod isolation;
mod records;

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{BrokerId, Deadline, TopicPartition};
use milena_protocol::{
    records::ReadOptions,
    wire::{ByteString, Uuid},
};

use crate::{
    Position,
    cursors::{Cursor, Cursors},
    planted_bug::PlantedBug,
    retry::Retry,
    shared::{Asked, Shared},
};

use self::buffer::Buffer;

pub use self::records::{PartitionRecords, RecordIter};

#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    buffer: Buffer,
    asked: BTreeMap<BrokerId, Asked<Question>>,
    /// Brokers that could not be reached.
    troubled: BTreeMap<BrokerId, Retry>,
    /// Answers so far.
    answers: u64,
}

/// What a fetch asked for.
#[derive(Debug)]
struct Question {
    topics: BTreeMap<Uuid, ByteString>,
    partitions: BTreeMap<TopicPartition, Wanted>,
}

/// What a fetch asked of one partition: an answer counts only while all of it still holds (F11).
#[derive(Clone, Copy, Debug)]
struct Wanted {
    version: u64,
    offset: i64,
    leader_epoch: i32,
    max_bytes: i32,
}

/// Why a partition is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Revoking,
    AwaitingCommitted,
    AwaitingOffset,
    Unchecked,
    Halted(&'static str),
    Paused,
    Waiting,
    NoLeader,
    BrokerWaiting(BrokerId),
    InFlight(BrokerId),
    Full,
}

impl Fetcher {
    /// Hands out up to `max_records` records.
    pub(crate) fn take(
        &mut self,
        shared: &mut Shared,
        cursors: &mut Cursors,
        max_records: usize,
    ) -> Vec<PartitionRecords> {
        let options = ReadOptions { check_crc: shared.config.check_crcs, ..Default::default() };
        let skips = shared.planted.has(PlantedBug::SkipsCorruptBatches);
        let (taken, unreadable) = self.buffer.take(cursors, &options, max_records, skips);
        for broken in unreadable {
            self.unreadable(shared, cursors, &broken.partition, broken.error);
        }
        taken
    }

    /// Where fetching stands in a partition, if something of it is here.
    pub(crate) fn fetched_to(&self, partition: &TopicPartition) -> Option<Position> {
        self.buffer.next(partition)
    }

    pub(crate) fn is_ready(&self, cursors: &Cursors) -> bool {
        self.buffer.is_ready(cursors)
    }

    /// Throws away what is here of a partition. What is under way is thrown away by the cursor's version.
    pub(crate) fn discard(&mut self, partition: &TopicPartition) {
        self.buffer.discard(partition);
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for retry in self.troubled.values_mut() {
            retry.wake(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let next = self.troubled.values().filter_map(Retry::until).min();
        next.map(|at| Deadline::new(at, "fetch from a broker again"))
    }

    /// Why a partition is not being asked for; `Ok` with the bytes here when it is about to be.
    pub(crate) fn obstacle(
        &self,
        now: Instant,
        shared: &Shared,
        partition: &TopicPartition,
        cursor: &Cursor,
    ) -> Result<usize, Obstacle> {
        let metadata = shared.metadata.metadata();
        self.wanted(now, shared, partition, cursor, metadata)?;
        let source = cursor.source(now, partition, metadata).ok_or(Obstacle::NoLeader)?;
        if self.asked.contains_key(&source) {
            return Err(Obstacle::InFlight(source));
        }
        if self.troubled.get(&source).is_some_and(|retry| retry.is_waiting(now)) {
            return Err(Obstacle::BrokerWaiting(source));
        }
        Ok(self.buffer.bytes(partition))
    }
}
