//! Open batches, one a partition, where callers put their records.
//!
//! [`Accumulator::enqueue`] encodes a record straight into its batch, in the caller's thread, under one short lock.
//! The machine takes closed batches out and compresses them off that lock. Memory is charged by what a batch's buffer
//! really holds, from the first record until the batch's bytes are of no more use.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{BrokerId, TopicPartition, later};
use milena_protocol::{
    records::{AppendError, BatchBuffers, BatchBuilder, HEADER_LEN, Header, record_upper_bound},
    wire::ByteString,
};

use crate::{
    Delivery, EnqueueError, ProduceError, ProducerConfig, TransactionError,
    outcome::Outcome,
    partitioner::{Candidate, LeaderWaits, Partitioner, Placement, Spread, Sticky, Unplaced},
};

/// A record as the caller has it. Nothing is copied before it is written into its batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None` leaves the choice to the key, or to chance without one.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value. `None` is a tombstone to compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers in their order.
    pub headers: &'a [(ByteString, Option<Bytes>)],
    /// When it happened, in ms since 1970; now when `None`.
    pub timestamp: Option<i64>,
}

impl<'a> NewRecord<'a> {
    /// A record for `topic`, with neither key nor value yet.
    #[must_use]
    pub const fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: &[], timestamp: None }
    }

    /// The key. Records with the same key go to the same partition and keep their order.
    #[must_use]
    pub const fn key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The value. Without one the record is a tombstone.
    #[must_use]
    pub const fn value(self, value: &'a [u8]) -> Self {
        Self { value: Some(value), ..self }
    }

    /// The headers, in their order.
    #[must_use]
    pub const fn headers(self, headers: &'a [(ByteString, Option<Bytes>)]) -> Self {
        Self { headers, ..self }
    }

    /// The partition, instead of leaving the choice to the key.
    #[must_use]
    pub const fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// When it happened, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(self, ms: i64) -> Self {
        Self { timestamp: Some(ms), ..self }
    }

    fn wire_headers(&self) -> impl Iterator<Item = Header<'a>> + Clone + use<'a> {
        self.headers.iter().map(|(name, value)| Header::new(name, value.as_deref()))
    }
}

/// A record that was taken.
#[derive(Debug)]
pub struct Enqueued {
    /// Tells what becomes of it.
    pub delivery: Delivery,
    /// True when the machine has something to do or a new deadline: whoever drives it must be woken.
    pub wake: bool,
}

/// The records that wait to be sent, shared by everybody who enqueues and the machine that sends.
#[derive(Debug)]
pub struct Accumulator {
    linger: Duration,
    delivery_timeout: Duration,
    batch_size: usize,
    buffer_memory: usize,
    max_request_size: usize,
    partitioner: Partitioner,
    spread: Spread,
    buffers: BatchBuffers,
    state: Mutex<State>,
}

/// What time it is. It is asked only where it matters, for to ask costs as much as to write a record.
pub trait Clock {
    /// The time that deadlines are counted in.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64;

    /// Milliseconds since 1970, a few of them late perhaps where that costs less.
    fn recent_wall_ms(&self) -> i64 {
        self.wall_ms()
    }
}

/// A time that stands still.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// See [`Clock::now`].
    pub now: Instant,
    /// See [`Clock::wall_ms`].
    pub wall_ms: i64,
}

impl Clock for At {
    fn now(&self) -> Instant {
        self.now
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms
    }
}

/// The room that a batch has from the start when nothing is known of its partition.
const LEAST_ROOM: usize = 4096;

/// An [`Accumulator`] that takes records from one caller; see [`Accumulator::intake`].
#[derive(Debug)]
pub struct Intake<'a, C> {
    accumulator: &'a Accumulator,
    clock: &'a C,
    state: MutexGuard<'a, State>,
    /// True once the machine has something to do or a new deadline: whoever drives it must be woken afterwards.
    pub wake: bool,
}

impl<C: Clock> Intake<'_, C> {
    /// As [`Accumulator::enqueue`].
    ///
    /// # Errors
    /// As there. The records before it are taken all the same.
    #[inline]
    pub fn enqueue(&mut self, record: &NewRecord<'_>) -> Result<Delivery, EnqueueError> {
        let Accumulator { buffer_memory, max_request_size, batch_size, .. } = *self.accumulator;
        let len = record_upper_bound(record.key, record.value, record.wire_headers());
        let limit = max_request_size.min(buffer_memory);
        if len.saturating_add(HEADER_LEN) > limit {
            return Err(EnqueueError::TooLarge { len, limit });
        }
        let State { topics, wanted, books, random, waits, gate } = &mut *self.state;
        match gate {
            Gate::Open => {}
            Gate::Shut(error) => return Err(EnqueueError::Transaction(error.clone())),
            Gate::Closed => return Err(EnqueueError::Closed),
        }
        let Some(topic) = topics.get_mut(record.topic) else {
            let name = ByteString::from(record.topic);
            wanted.insert(name.clone());
            return Err(EnqueueError::UnknownTopic(name));
        };
        // A batch that is opened for the record takes a header more.
        if books.used.saturating_add(len).saturating_add(HEADER_LEN) > buffer_memory {
            // Memory comes back only from what is sent: nothing lingers while somebody waits for it.
            self.state.end_lingering();
            return Err(EnqueueError::BufferFull(buffer_memory));
        }
        let drawing = Drawing { clock: self.clock, spread: &self.accumulator.spread, waits, random };
        let (index, is_spread) = topic.place(record, &self.accumulator.partitioner, drawing)?;
        let count = topic.partitions.len();
        let Some(partition) = topic.partitions.get_mut(index) else {
            return Err(no_such_partition(record, index, count));
        };
        if let Some(stopped) = &partition.stopped {
            return Err(EnqueueError::Stopped(stopped.clone()));
        }
        let name = || TopicPartition::new(topic.name.clone(), index as i32);
        loop {
            let batch = match &mut partition.open {
                Some(open) => open,
                None => {
                    self.wake = true;
                    let batch = self.accumulator.open_batch(self.clock.now(), name(), partition, books);
                    partition.open.insert(batch)
                }
            };
            let timestamp = record.timestamp.unwrap_or_else(|| batch.timestamp(self.clock));
            let before = batch.builder.capacity();
            match batch.builder.append(timestamp, record.key, record.value, record.wire_headers()) {
                Ok(place) => {
                    books.recharge(before, batch.builder.capacity());
                    let delivery = Delivery::new(Arc::clone(&batch.outcome), place);
                    if batch.builder.uncompressed_len() >= batch_size {
                        partition.close(name(), books);
                        self.wake = true;
                    }
                    if is_spread {
                        topic.sticky.took(len, batch_size);
                    }
                    return Ok(delivery);
                }
                Err(AppendError::Full) => {
                    partition.close(name(), books);
                    self.wake = true;
                }
                // The size was held against the limits before.
                Err(_) => return Err(EnqueueError::TooLarge { len, limit }),
            }
        }
    }
}

impl OpenBatch {
    /// The time of a record that has none. The first of a batch asks for it; those behind it are not before it.
    fn timestamp(&self, clock: &impl Clock) -> i64 {
        if self.builder.is_empty() {
            return clock.wall_ms();
        }
        clock.recent_wall_ms().max(self.builder.base_timestamp())
    }
}

#[derive(Debug)]
struct State {
    topics: BTreeMap<ByteString, TopicBatches>,
    /// Topics that somebody asked for and nothing is known of.
    wanted: BTreeSet<ByteString>,
    books: Books,
    random: fastrand::Rng,
    waits: LeaderWaits,
    gate: Gate,
}

/// Whether records are taken.
#[derive(Debug)]
pub(crate) enum Gate {
    Open,
    /// Not outside a transaction, nor into one that can only be aborted.
    Shut(TransactionError),
    /// Never again.
    Closed,
}

/// What is counted and awaited over all batches.
#[derive(Debug, Default)]
struct Books {
    /// Bytes the batches hold, those on their way included.
    used: usize,
    /// When each open batch has lingered, by the batch's serial number: the order of opening, which is the order of the
    /// deadlines.
    lingering: BTreeMap<u64, (Instant, TopicPartition)>,
    /// Partitions with a batch to send.
    ready: BTreeSet<TopicPartition>,
    /// Batches not settled yet, by their serial numbers, with the end of their delivery timeouts. The first is the
    /// oldest and the first to expire.
    unsettled: BTreeMap<u64, Instant>,
    next_serial: u64,
}

#[derive(Debug, Default)]
struct TopicBatches {
    name: ByteString,
    partitions: Vec<PartitionBatches>,
    /// Which partitions have a leader and have not stopped.
    available: Vec<bool>,
    /// Who leads each partition.
    leaders: Vec<Option<Leader>>,
    sticky: Sticky,
    /// Whose turn is next round robin.
    turn: usize,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) broker: BrokerId,
    /// It is in the client's rack.
    pub(crate) is_near: bool,
}

#[derive(Debug, Default)]
struct PartitionBatches {
    closed: VecDeque<OpenBatch>,
    open: Option<OpenBatch>,
    /// The size at which batches are closed, where the topic takes smaller ones than the settings say.
    limit: Option<usize>,
    /// Bytes that the next batch may well come to.
    expected: usize,
    stopped: Option<ProduceError>,
}

/// A batch that takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) builder: BatchBuilder,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    pub(crate) deadline: Instant,
    /// It has lingered, or a flush does not wait for that.
    due: bool,
}

impl Accumulator {
    pub(crate) fn new(config: &ProducerConfig) -> Self {
        Self {
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
            batch_size: config.batch_size.min(config.max_request_size),
            buffer_memory: config.buffer_memory,
            max_request_size: config.max_request_size,
            partitioner: config.partitioner.clone(),
            spread: Spread {
                is_adaptive: config.adaptive_partitioning,
                availability_timeout: config.partition_availability_timeout,
                rack: config.partitioner_rack.clone(),
            },
            buffers: BatchBuffers::new(config.buffer_memory),
            state: Mutex::new(State {
                topics: BTreeMap::new(),
                wanted: BTreeSet::new(),
                books: Books::default(),
                random: fastrand::Rng::with_seed(config.seed ^ 0x5eed),
                waits: LeaderWaits::default(),
                gate: if config.transactional_id.is_none() {
                    Gate::Open
                } else {
                    Gate::Shut(TransactionError::NoTransaction)
                },
            }),
        }
    }

    /// Locked to compute, never to wait.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record into its batch.
    ///
    /// # Errors
    /// When it is not taken; nothing of it is kept. [`EnqueueError::UnknownTopic`] and [`EnqueueError::BufferFull`]
    /// pass: the caller waits and tries again.
    #[inline]
    pub fn enqueue(&self, clock: &impl Clock, record: &NewRecord<'_>) -> Result<Enqueued, EnqueueError> {
        let mut intake = self.intake(clock);
        let delivery = intake.enqueue(record)?;
        Ok(Enqueued { delivery, wake: intake.wake })
    }

    /// The accumulator under its lock, for several records. Nobody else can put records in, nor the machine take batches
    /// out, until it is dropped.
    #[inline]
    pub fn intake<'a, C: Clock>(&'a self, clock: &'a C) -> Intake<'a, C> {
        Intake { accumulator: self, clock, state: self.state(), wake: false }
    }

    /// A batch for the records of a partition, with as much room as the one before it took and the memory has.
    fn open_batch(
        &self,
        now: Instant,
        name: TopicPartition,
        partition: &PartitionBatches,
        books: &mut Books,
    ) -> OpenBatch {
        let serial = books.next_serial;
        books.next_serial += 1;
        let deadline = later(now, self.delivery_timeout);
        books.unsettled.insert(serial, deadline);
        books.lingering.insert(serial, (later(now, self.linger), name.clone()));
        let limit = partition.limit.unwrap_or(self.batch_size).min(self.batch_size);
        let free = self.buffer_memory.saturating_sub(books.used);
        // A buffer may be larger than asked for, by an eighth.
        let free = free.saturating_sub(free / 7);
        let expected = partition.expected.max(LEAST_ROOM).min(limit).min(free);
        let builder = BatchBuilder::in_buffers(limit, expected, &self.buffers);
        books.recharge(0, builder.capacity());
        OpenBatch { builder, outcome: Outcome::new(name), serial, deadline, due: false }
    }

    /// True when the topic's partitions are known.
    #[must_use]
    pub fn knows(&self, topic: &str) -> bool {
        self.state().topics.contains_key(topic)
    }

    /// Bytes held by batches, those on their way included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state().books.used
    }

    /// Topics that somebody asked for since the last call.
    pub(crate) fn take_wanted(&self) -> BTreeSet<ByteString> {
        std::mem::take(&mut self.state().wanted)
    }

    /// What is known of a topic: who leads its partitions. Partitions are never taken away.
    pub(crate) fn set_partitions(&self, name: &ByteString, leaders: Vec<Option<Leader>>) {
        let mut state = self.state();
        let new = || TopicBatches { name: name.clone(), ..TopicBatches::default() };
        let topic = state.topics.entry(name.clone()).or_insert_with(new);
        if leaders.len() > topic.partitions.len() {
            topic.partitions.resize_with(leaders.len(), PartitionBatches::default);
        }
        topic.available = leaders.iter().map(Option::is_some).collect();
        topic.leaders = leaders;
        topic.avoid_stopped();
    }

    /// Makes the batches ready that have lingered at `now`.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut state = self.state();
        while let Some(first) = state.books.lingering.first_entry()
            && first.get().0 <= now
        {
            let (serial, (_, partition)) = first.remove_entry();
            state.make_due(partition, serial);
        }
    }

    /// The rack whose leaders are near.
    pub(crate) fn rack(&self) -> Option<&ByteString> {
        self.spread.rack.as_ref()
    }

    /// Whether it matters which leaders leave batches lying.
    pub(crate) fn minds_waits(&self) -> bool {
        self.spread.availability_timeout.is_some()
    }

    /// The leaders that have something to be sent.
    pub(crate) fn set_waits(&self, waits: &LeaderWaits) {
        self.state().waits.clone_from(waits);
    }

    /// The partitions with a batch to send.
    pub(crate) fn ready(&self) -> Vec<TopicPartition> {
        self.state().books.ready.iter().cloned().collect()
    }

    /// The length before compression of the batch that [`take`](Self::take) would hand out.
    pub(crate) fn next_len(&self, partition: &TopicPartition) -> Option<usize> {
        let mut state = self.state();
        let batches = state.batches(partition)?;
        let batch = batches.closed.front().or_else(|| batches.open.as_ref().filter(|open| open.due))?;
        Some(batch.builder.uncompressed_len())
    }

    /// The next batch of a partition that is ready.
    pub(crate) fn take(&self, partition: &TopicPartition) -> Option<OpenBatch> {
        let mut state = self.state();
        let batches = state.batches(partition)?;
        let batch = batches.closed.pop_front().or_else(|| {
            let open = batches.open.take_if(|open| open.due)?;
            batches.expected = open.builder.uncompressed_len();
            Some(open)
        });
        if batches.closed.is_empty() && !batches.open.as_ref().is_some_and(|open| open.due) {
            state.books.ready.remove(partition);
        }
        batch
    }

    /// Makes every open batch ready, whatever its linger. Returns the serial number below which all that was accepted
    /// so far lies.
    pub(crate) fn flush(&self) -> u64 {
        let mut state = self.state();
        state.end_lingering();
        state.books.next_serial
    }

    /// The serial number of the oldest batch that is not settled.
    pub(crate) fn oldest_unsettled(&self) -> Option<u64> {
        self.state().books.unsettled.keys().next().copied()
    }

    /// A batch is settled: its records' owners know.
    pub(crate) fn settled(&self, serial: u64) {
        self.state().books.unsettled.remove(&serial);
    }

    /// Batches of a partition are closed at this size from the next one on; at that of the settings for `None`.
    pub(crate) fn limit_batches(&self, partition: &TopicPartition, limit: Option<usize>) {
        if let Some(batches) = self.state().batches(partition) {
            batches.limit = limit;
        }
    }

    /// The memory of a batch has changed from `before` to `after` bytes.
    pub(crate) fn recharge(&self, before: usize, after: usize) {
        self.state().books.recharge(before, after);
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.state().gate = Gate::Closed;
    }

    /// Takes records, or none for a while. One that was closed stays so.
    pub(crate) fn set_gate(&self, gate: Gate) {
        let mut state = self.state();
        if !matches!(state.gate, Gate::Closed) {
            state.gate = gate;
        }
    }

    /// A partition takes nothing more; what has not been sent comes back.
    pub(crate) fn stop(&self, partition: &TopicPartition, error: &ProduceError) -> Vec<OpenBatch> {
        let mut state = self.state();
        state.books.ready.remove(partition);
        let Some(batches) = state.batches(partition) else { return Vec::new() };
        batches.stopped = Some(error.clone());
        let unsent: Vec<_> = batches.closed.drain(..).chain(batches.open.take()).collect();
        if let Some(topic) = state.topics.get_mut(&partition.topic) {
            topic.avoid_stopped();
        }
        for batch in &unsent {
            state.books.lingering.remove(&batch.serial);
        }
        unsent
    }

    /// Takes out the batches that waited past their delivery timeout, or all when `now` is `None`.
    pub(crate) fn take_expired(&self, now: Option<Instant>) -> Vec<OpenBatch> {
        let mut state = self.state();
        let mut expired = Vec::new();
        let mut emptied = Vec::new();
        let is_over = |batch: &OpenBatch| now.is_none_or(|now| batch.deadline <= now);
        for (name, topic) in &mut state.topics {
            for (batches, index) in topic.partitions.iter_mut().zip(0..) {
                while batches.closed.front().is_some_and(is_over) {
                    expired.extend(batches.closed.pop_front());
                }
                if batches.closed.is_empty() && batches.open.as_ref().is_some_and(is_over) {
                    expired.extend(batches.open.take());
                }
                if batches.closed.is_empty() && batches.open.is_none() {
                    emptied.push(TopicPartition::new(name.clone(), index));
                }
            }
        }
        for partition in emptied {
            state.books.ready.remove(&partition);
        }
        for batch in &expired {
            state.books.lingering.remove(&batch.serial);
        }
        expired
    }

    /// When the oldest open batch has lingered.
    pub(crate) fn next_linger(&self) -> Option<Instant> {
        self.state().books.lingering.values().next().map(|(at, _)| *at)
    }

    /// When the oldest batch that is not settled expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.state().books.unsettled.values().next().copied()
    }
}

impl Books {
    /// A batch that held `before` bytes holds `after`.
    fn recharge(&mut self, before: usize, after: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(after);
    }
}

impl State {
    fn batches(&mut self, partition: &TopicPartition) -> Option<&mut PartitionBatches> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get_mut(&partition.topic)?.partitions.get_mut(index)
    }

    /// Makes every open batch ready.
    fn end_lingering(&mut self) {
        for (serial, (_, partition)) in std::mem::take(&mut self.books.lingering) {
            self.make_due(partition, serial);
        }
    }

    /// The open batch `serial` waits no longer, if it still is the open one.
    fn make_due(&mut self, partition: TopicPartition, serial: u64) {
        let open = self.batches(&partition).and_then(|batches| batches.open.as_mut());
        if let Some(open) = open.filter(|open| open.serial == serial) {
            open.due = true;
            self.books.ready.insert(partition);
        }
    }
}

impl TopicBatches {
    /// Sends the records without a key where they are taken.
    fn avoid_stopped(&mut self) {
        let stopped = self.partitions.iter().enumerate().filter(|(_, batches)| batches.stopped.is_some());
        for (index, _) in stopped {
            if let Some(available) = self.available.get_mut(index) {
                *available = false;
            }
            self.sticky.leave(index);
        }
    }

    /// The partition for a record, and whether it went there only for want of a better reason.
    fn place(
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
struct Drawing<'a, C> {
    clock: &'a C,
    spread: &'a Spread,
    waits: &'a LeaderWaits,
    random: &'a mut fastrand::Rng,
}

impl PartitionBatches {
    /// The open batch takes nothing more: it is to be sent.
    fn close(&mut self, partition: TopicPartition, books: &mut Books) {
        if let Some(full) = self.open.take() {
            self.expected = full.builder.uncompressed_len();
            books.lingering.remove(&full.serial);
            books.ready.insert(partition);
            self.closed.push_back(full);
        }
    }
}

fn no_such_partition(record: &NewRecord<'_>, partition: impl TryInto<i32>, count: usize) -> EnqueueError {
    let partition = partition.try_into().unwrap_or(i32::MAX);
    EnqueueError::NoSuchPartition { topic: record.topic.into(), partition, count }
}
