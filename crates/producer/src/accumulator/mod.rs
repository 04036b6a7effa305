//! Open batches, one a partition, where callers put their records.
//!
//! [`Accumulator::enqueue`] encodes a record straight into its batch, in the caller's thread, under one short lock.
//! The machine takes closed batches out and compresses them off that lock. Memory is charged by what a batch's buffer
//! really holds, from the first record until the batch's bytes are of no more use.

mod intake;
mod topic_batches;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use milena_cluster::{TopicPartition, later};
use milena_protocol::{
    records::{BatchBuffers, BatchBuilder},
    wire::ByteString,
};

use crate::{
    Clock, EnqueueError, NewRecord, ProduceError, ProducerConfig, TransactionError,
    outcome::Outcome,
    partitioner::{LeaderWaits, Partitioner, Spread},
    stats::{ProducerStats, SettledBatch, Tally},
};
use topic_batches::{PartitionBatches, TopicBatches};

pub use intake::{Enqueued, Intake};
pub(crate) use topic_batches::{Leader, OpenBatch};

/// The records that wait to be sent, shared by everybody who enqueues and the machine that sends.
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

/// The room that a batch has from the start when nothing is known of its partition.
const LEAST_ROOM: usize = 4096;

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

/// Batches of a partition that have not been sent.
#[derive(Debug, Default)]
pub(crate) struct WaitingBatches {
    pub(crate) batches: usize,
    pub(crate) records: u64,
    /// When the first was begun, and when it is given up.
    pub(crate) oldest: Option<(Instant, Instant)>,
    /// Until when the first waits for more records, unless it is to be sent.
    pub(crate) lingers_until: Option<Instant>,
}

/// What is counted and awaited over all batches.
#[derive(Debug, Default)]
struct Books {
    /// Bytes the batches may hold.
    memory: usize,
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
    tally: Tally,
    /// Batches that were settled, for an owner that wants to hear of each.
    settled: Option<Vec<SettledBatch>>,
}

/// Without what records hold.
impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accumulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
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
                books: Books {
                    memory: config.buffer_memory,
                    settled: config.report_batches.then(Vec::new),
                    ..Books::default()
                },
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
        let free = books.memory.saturating_sub(books.used);
        // A buffer may be larger than asked for, by an eighth.
        let free = free.saturating_sub(free / 7);
        let expected = partition.expected.max(LEAST_ROOM).min(limit).min(free);
        let builder = BatchBuilder::in_buffers(limit, expected, &self.buffers);
        books.recharge(0, builder.capacity());
        OpenBatch { builder, outcome: Outcome::new(name), serial, opened: now, deadline, due: false }
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

    /// Bytes of all buffers: those of batches, of requests that nobody waits for any more, and those kept for later.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffers.held_bytes().max(self.used())
    }

    /// What the batches may hold together from here on, at most what the configuration says.
    pub(crate) fn set_memory(&self, bytes: usize) {
        let bytes = bytes.min(self.buffer_memory);
        self.buffers.set_max_bytes(bytes);
        let mut state = self.state();
        state.books.memory = bytes;
        if state.books.used > bytes {
            state.end_lingering();
        }
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

    /// A batch that was never sent is given up.
    pub(crate) fn give_up(&self, batch: &OpenBatch, error: ProduceError) {
        batch.outcome.complete(Err(error.clone()));
        let settled = SettledBatch::unsent(batch, error);
        let mut state = self.state();
        state.books.recharge(batch.builder.capacity(), 0);
        state.books.unsettled.remove(&batch.serial);
        state.books.tell(settled);
    }

    /// It is known what became of a batch, or of a part of one.
    pub(crate) fn tell(&self, batch: SettledBatch) {
        self.state().books.tell(batch);
    }

    /// Counts.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.state().books.tally);
    }

    /// What was told since the last call.
    pub(crate) fn take_settled(&self) -> Vec<SettledBatch> {
        self.state().books.settled.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is known of the records here.
    pub(crate) fn stats(&self) -> ProducerStats {
        let state = self.state();
        let partitions = state.topics.values().flat_map(|topic| &topic.partitions);
        let batches = partitions.flat_map(|batches| batches.closed.iter().chain(&batches.open));
        ProducerStats {
            buffered_records: batches.map(|batch| u64::from(batch.builder.count().unsigned_abs())).sum(),
            buffer_used: state.books.used,
            buffer_idle: self.buffers.idle_bytes(),
            requests_in_flight: 0,
            unsettled_batches: state.books.unsettled.len(),
            done: state.books.tally,
        }
    }

    /// Bytes that the batches may hold.
    pub(crate) fn memory(&self) -> usize {
        self.state().books.memory
    }

    /// The batches of each partition that have not been sent, where there are any.
    pub(crate) fn waiting(&self) -> Vec<(TopicPartition, WaitingBatches)> {
        let state = self.state();
        let mut waiting = Vec::new();
        for (name, topic) in &state.topics {
            for (batches, index) in topic.partitions.iter().zip(0..) {
                let all = || batches.closed.iter().chain(&batches.open);
                if let Some(oldest) = all().next() {
                    let lingering = state.books.lingering.get(&oldest.serial).filter(|_| !oldest.due);
                    let of_partition = WaitingBatches {
                        batches: all().count(),
                        records: all().map(|batch| u64::from(batch.builder.count().unsigned_abs())).sum(),
                        oldest: Some((oldest.opened, oldest.deadline)),
                        lingers_until: lingering.map(|(at, _)| *at),
                    };
                    waiting.push((TopicPartition::new(name.clone(), index), of_partition));
                }
            }
        }
        waiting
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
    fn tell(&mut self, batch: SettledBatch) {
        self.tally.settle(&batch);
        self.settled.as_mut().into_iter().for_each(|settled| settled.push(batch.clone()));
    }

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
