//! Asks leaders for batches, and keeps what comes until the application takes it.
//!
//! Brokers are asked independently, one fetch in flight each, so that an idle partition delays nobody elsewhere. A broker
//! is asked when every partition it is to serve has room: a fetch that left one out could wait for the others while the
//! application has long emptied it. Each broker may fill an equal share of the memory, whatever the others hold.
//!
//! Memory is what is fetched, what is on its way and what is decompressed, and all that the application has not dropped of
//! it. An application that keeps what it reads is served all the same: once it waits and nothing is here for it, a broker is
//! asked for as much as one partition may bring.
//!
//! A broker that gives a session (KIP-227) is told only what changes. The partition that waits longest for data is named
//! first, because brokers fill their answer in that order; within a session they keep it.
//!
//! # References
//! KIP-74 (limits), KIP-98 (transactions), KIP-227 (sessions), KIP-392 (preferred replica), KIP-951 (new leader in the answer).

mod answer;
mod ask;
mod buffer;
mod isolation;
mod memory;
mod records;
mod session;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use milena_cluster::{BrokerId, Deadline, Outgoing, RequestId, TopicPartition};
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

use self::{
    buffer::{Buffer, Taking},
    memory::Memory,
    session::Session,
};

pub use self::records::{PartitionRecords, RecordIter};

/// How long closing waits for brokers to say that their sessions are ended. One that a fetch waits at for records says so
/// later, and ends it all the same.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    buffer: Buffer,
    memory: Memory,
    asked: BTreeMap<BrokerId, Asked<Question>>,
    sessions: BTreeMap<BrokerId, Session>,
    /// Requests that end sessions, and the time after which nobody waits for their answers.
    ending: Vec<RequestId>,
    end_by: Option<Instant>,
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
    /// It named every partition, rather than what has changed in a session.
    is_full: bool,
    /// It named topics by their ids.
    by_id: bool,
    /// The bytes of records that the answer may have.
    may_come: usize,
    /// The memory that was there for it when it was asked.
    limit: usize,
}

/// What a fetch asked of one partition: an answer counts only while all of it still holds (F11).
#[derive(Clone, Copy, Debug)]
struct Wanted {
    version: u64,
    topic_id: Uuid,
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
    /// The partition has what it may.
    Full,
    /// Another partition of the same broker has, and they are asked for together.
    BrokerFull(BrokerId),
    /// There is no memory for what the broker may answer.
    NoMemory,
}

/// What keeps a broker from being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jam {
    /// One of its partitions has what it may.
    Full,
    /// There is no memory for an answer.
    NoMemory,
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
        let mut taking = Taking {
            options,
            memory: &mut self.memory,
            limit: shared.config.max_buffered_bytes,
            forces_one: false,
            skips_corrupt: shared.planted.has(PlantedBug::SkipsCorruptBatches),
        };
        let (taken, unreadable) = self.buffer.take(cursors, &mut taking, max_records);
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

    pub(crate) fn held_bytes(&self) -> usize {
        self.memory.total().saturating_add(self.on_the_way())
    }

    /// What answers on their way may bring.
    fn on_the_way(&self) -> usize {
        self.asked.values().map(|asked| asked.with.may_come).fold(0, usize::saturating_add)
    }

    /// Throws away what is here until `limit` is kept, the last to be served first.
    pub(crate) fn give_way(&mut self, limit: usize) {
        while self.memory.total() > limit
            && let Some(partition) = self.buffer.last_to_be_served()
        {
            self.buffer.discard(&partition);
        }
    }

    /// From here on sessions are ended, and nothing is fetched.
    pub(crate) fn close(&mut self, now: Instant) {
        self.end_by = Some(now + PATIENCE);
    }

    /// The next request that ends a session.
    pub(crate) fn poll_close(&mut self, shared: &mut Shared) -> Option<Outgoing> {
        while let Some((broker, session)) = self.sessions.pop_first() {
            if let Some((id, outgoing)) = session.close(broker, &mut shared.ids, &shared.config) {
                self.ending.push(id);
                return Some(outgoing);
            }
        }
        None
    }

    /// True when no broker keeps a session that it could still be told to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.ending.is_empty() && self.sessions.values().all(|session| matches!(session, Session::None))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for retry in self.troubled.values_mut() {
            retry.wake(now);
        }
        if self.end_by.is_some_and(|end_by| end_by <= now) {
            self.end_by = None;
            self.sessions.clear();
            self.ending.clear();
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let next = self.troubled.values().filter_map(Retry::until).min();
        Deadline::earliest([
            next.map(|at| Deadline::new(at, "fetch from a broker again")),
            self.end_by
                .filter(|_| !self.is_closed())
                .map(|at| Deadline::new(at, "give up ending fetch sessions")),
        ])
    }

    /// Until when a broker is left alone.
    pub(crate) fn troubled_until(&self, broker: BrokerId) -> Option<Instant> {
        self.troubled.get(&broker).and_then(Retry::until)
    }

    /// Bytes that are here of a partition.
    pub(crate) fn bytes(&self, partition: &TopicPartition) -> usize {
        self.buffer.bytes(partition)
    }

    /// What keeps each broker from being asked that its partitions have to do with each other.
    pub(crate) fn jams(&self, now: Instant, shared: &Shared, cursors: &Cursors) -> BTreeMap<BrokerId, Jam> {
        let brokers = self.candidates(now, shared, cursors, shared.metadata.metadata());
        let count = brokers.len().max(1);
        let jam = |broker: BrokerId, is_full: bool| {
            let room = self.room(shared, broker, count);
            if is_full { Some(Jam::Full) } else { (room.bytes < room.least).then_some(Jam::NoMemory) }
        };
        brokers.iter().filter_map(|(broker, of_it)| Some((*broker, jam(*broker, of_it.full)?))).collect()
    }

    /// Why a partition is not being asked for; `Ok` with the bytes here when it is about to be.
    pub(crate) fn obstacle(
        &self,
        now: Instant,
        shared: &Shared,
        partition: &TopicPartition,
        cursor: &Cursor,
        jams: &BTreeMap<BrokerId, Jam>,
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
        match jams.get(&source) {
            Some(Jam::Full) => return Err(Obstacle::BrokerFull(source)),
            Some(Jam::NoMemory) => return Err(Obstacle::NoMemory),
            None => {}
        }
        Ok(self.buffer.bytes(partition))
    }
}
