//! A partition: its log, who leads it in which epoch, what is replicated, and what it knows of its producers.
//!
//! Imitates Kafka 4.3.1: readers see up to the high watermark, or to the last stable offset below it; the watermark stands
//! still while fewer replicas are in sync than `min.insync.replicas`; whoever becomes leader begins an epoch.
//!
//! Leaves out: replicas with logs of their own. One log stands for all of them, and the high watermark says how much of it
//! the followers have.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    records::{Batch, Batches, end_marker},
};

use super::{
    BrokerId,
    aborted_transactions::AbortedTransactions,
    leader_epochs::LeaderEpochs,
    log::{Log, Slice},
    producer_state::{AppendedBatch, Marker, ProducerStates},
};

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) log: Log,
    /// The followers have what lies below it.
    pub(crate) replicated: i64,
    /// Readers see what lies below it: what is replicated, and was while enough replicas were in sync.
    pub(crate) high_watermark: i64,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: ProducerStates,
    pub(crate) aborted: AbortedTransactions,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// To the high watermark.
    Uncommitted,
    /// To the last stable offset.
    Committed,
}

impl Isolation {
    pub(crate) const fn from_wire(level: i8) -> Self {
        if level == 1 { Self::Committed } else { Self::Uncommitted }
    }
}

impl Partition {
    pub(crate) fn new(replicas: Vec<BrokerId>, up: &BTreeSet<BrokerId>) -> Self {
        let leader = replicas.iter().copied().find(|broker| up.contains(broker));
        let mut epochs = LeaderEpochs::default();
        if leader.is_some() {
            epochs.begin(0, 0);
        }
        Self {
            leader,
            leader_epoch: 0,
            replicas,
            log: Log::new(),
            replicated: 0,
            high_watermark: 0,
            epochs,
            producers: ProducerStates::default(),
            aborted: AbortedTransactions::default(),
        }
    }

    /// Below it every transaction is decided.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        let open = self.producers.first_open().map(|offset| offset.max(self.log.start_offset()));
        open.map_or(self.high_watermark, |offset| offset.min(self.high_watermark))
    }

    /// The offset before which a reader must stop.
    pub(crate) fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable_offset(),
        }
    }

    /// As [`Log::read`], as far as the reader may see.
    pub(crate) fn read(
        &mut self,
        from: i64,
        isolation: Isolation,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Slice {
        let to = self.readable_end(isolation);
        self.log.read(from, to, max_bytes, at_least_one)
    }

    /// Appends a batch, and remembers it if it has a producer id.
    pub(crate) fn append(&mut self, unix_ms: i64, batch: &Batch, append_time: Option<i64>) -> i64 {
        let base_offset = self.log.append(batch, self.leader_epoch, append_time);
        let header = batch.header();
        if header.producer_id >= 0 {
            self.producers.appended(
                unix_ms,
                &AppendedBatch {
                    producer_id: header.producer_id,
                    producer_epoch: header.producer_epoch,
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    base_offset,
                    timestamp: append_time.unwrap_or(header.max_timestamp),
                    transactional: header.attributes.is_transactional(),
                },
            );
        }
        base_offset
    }

    /// Appends the end of a transaction. The coordinator waits until it is replicated, with all that is before it.
    pub(crate) fn end_transaction(
        &mut self,
        unix_ms: i64,
        marker: &Marker,
        append_time: Option<i64>,
    ) -> Result<(), ErrorCode> {
        self.producers.check_marker(marker)?;
        let Marker { producer_id, producer_epoch, committed, coordinator_epoch, .. } = *marker;
        let bytes = end_marker(committed, coordinator_epoch, producer_id, producer_epoch, unix_ms);
        let batch = bytes.ok().and_then(|bytes| Batches::new(bytes).next()?.ok());
        let batch = batch.ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let offset = self.log.append(&batch, self.leader_epoch, append_time);
        if let Some(ended) = self.producers.ended(unix_ms, marker, offset)
            && !committed
        {
            self.aborted.push(producer_id, ended.first_offset, offset, ended.last_stable_offset);
        }
        self.replicate(true);
        Ok(())
    }

    /// Lets the followers have everything. Readers see it if `enough` replicas are in sync.
    pub(crate) fn replicate(&mut self, enough: bool) {
        self.replicated = self.log.next_offset();
        if enough {
            self.high_watermark = self.replicated;
        }
    }

    /// Whether readers see everything.
    pub(crate) fn is_replicated(&self) -> bool {
        self.high_watermark == self.log.next_offset()
    }

    /// Drops the oldest replicated batches until at most `bytes` are left.
    pub(crate) fn retain(&mut self, bytes: u64) {
        self.log.retain(bytes, self.high_watermark);
        self.forget_below_start();
    }

    /// Moves the log's start to `offset`, if that is forward.
    pub(crate) fn start_at(&mut self, offset: i64) {
        self.log.start_at(offset);
        self.forget_below_start();
    }

    fn forget_below_start(&mut self) {
        let start = self.log.start_offset();
        self.aborted.forget_below(start);
        self.epochs.truncate_start(start);
    }

    /// Cuts the log off at `offset`, and with it what was remembered of the batches beyond: producers are as the batches
    /// that are left tell.
    pub(crate) fn truncate(&mut self, offset: i64) {
        let offset = offset.max(self.log.start_offset());
        if offset >= self.log.next_offset() {
            return;
        }
        self.log.truncate(offset);
        self.high_watermark = self.high_watermark.min(offset);
        self.replicated = self.replicated.min(offset);
        self.epochs.truncate_end(offset);
        self.aborted.truncate(offset);
        self.producers = ProducerStates::default();
        let entries: Vec<_> = self.log.entries().copied().collect();
        for entry in entries {
            if let Some(batch) = self.log.batch(&entry) {
                self.producers.replay(&batch);
            }
        }
    }

    /// The replicas that are in sync: those whose brokers are up.
    pub(crate) fn in_sync(&self, up: &BTreeSet<BrokerId>) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().copied().filter(|broker| up.contains(broker))
    }

    /// Whether as many replicas are in sync as the topic asks for, or all there are if it asks for more.
    pub(crate) fn has_enough_replicas(&self, up: &BTreeSet<BrokerId>, wanted: usize) -> bool {
        self.in_sync(up).count() >= wanted.min(self.replicas.len())
    }

    /// Makes `leader` the leader, in a new epoch.
    pub(crate) fn elect(&mut self, leader: Option<BrokerId>) {
        self.leader = leader;
        self.leader_epoch = self.leader_epoch.saturating_add(1);
        if leader.is_some() {
            self.epochs.begin(self.leader_epoch, self.log.next_offset());
        }
    }

    /// Whether `broker` may serve a request of a client that believes in `epoch` (-1: in none), as Kafka checks it: a
    /// replica looks at the epoch first.
    pub(crate) fn check_leader(&self, broker: BrokerId, epoch: i32) -> Result<(), ErrorCode> {
        if epoch >= 0 && self.replicas.contains(&broker) {
            if epoch < self.leader_epoch {
                return Err(ErrorCode::FENCED_LEADER_EPOCH);
            }
            if epoch > self.leader_epoch {
                return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
            }
        }
        if self.leader == Some(broker) { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }
}
