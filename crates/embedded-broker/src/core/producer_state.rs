//! What a partition knows of the producers that wrote to it: epochs, sequence numbers, open transactions.
//!
//! Imitates `ProducerStateManager` and `ProducerAppendInfo` of Kafka 4.3.1: the last five batches of every producer id
//! are known again, a gap is refused, an old epoch is fenced, a new one starts at sequence 0. A producer id without state
//! may begin at any sequence, as it may in Kafka: its state can have expired. Not so a producer of transactions of version
//! 2, which starts over at 0 with every transaction, nor one whose earlier batch is known to be on its way
//! (`Verification`). So UNKNOWN_PRODUCER_ID and DUPLICATE_SEQUENCE_NUMBER are never answered: Kafka has not answered them
//! since 2.5, and a repetition that is too old to be known is out of order.
//!
//! The end of a transaction (`Marker`) counts as its producer's newest epoch, and makes the batches before it stable.
//!
//! Leaves out: Kafka takes and drops a verification in two steps, because its coordinator may be on another broker; here
//! nothing happens between asking the coordinator and appending.

use std::collections::{BTreeMap, VecDeque};

use milena_protocol::{
    ErrorCode,
    messages::describe_producers,
    records::{Batch, BatchHeader, ControlKind, ControlRecord, ReadOptions},
};

/// Batches by which a repetition is recognised, as in Kafka: a client has at most five requests in flight.
const REMEMBERED: usize = 5;

/// Producers remembered per partition; the one that was silent longest goes first. Kafka has no such bound.
const MAX_PRODUCERS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
    verifications: BTreeMap<i64, Verification>,
    /// Where each open transaction begins, and whose it is.
    open: BTreeMap<i64, i64>,
    /// When idle producers were last looked for, in Unix time.
    swept_ms: i64,
}

#[derive(Debug)]
struct ProducerState {
    epoch: i16,
    batches: VecDeque<Written>,
    /// Of the last batch or marker: what expiry goes by.
    last_timestamp: i64,
    /// When it last wrote, in Unix time.
    last_used_ms: i64,
    /// Of the coordinator that ended its last transaction, or -1.
    coordinator_epoch: i32,
    /// Where its open transaction begins.
    transaction: Option<i64>,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// A producer whose first batch of a transaction was announced: the coordinator was asked, or is to be asked, whether the
/// partition is part of it.
#[derive(Debug)]
struct Verification {
    epoch: i16,
    lowest_sequence: i32,
    /// The producer has a new epoch for every transaction.
    bumps_epoch: bool,
    since_ms: i64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It was appended before, at this offset.
    Duplicate(i64),
    Refuse(ErrorCode),
}

/// The end of a transaction, as its coordinator tells the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) committed: bool,
    pub(crate) coordinator_epoch: i32,
    /// Since transactions of version 2 a marker has an epoch beyond that of the records (KIP-1228).
    pub(crate) transaction_version: i8,
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) first_offset: i64,
    /// Below it every transaction is decided.
    pub(crate) last_stable_offset: i64,
}

/// A batch of a producer, as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendedBatch {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) transactional: bool,
}

impl ProducerStates {
    /// Forgets who has been idle for `expiration_ms` at `check_ms`, the last time at which Kafka would have looked.
    ///
    /// Called before every use, it is as if it were called at every such time.
    pub(crate) fn expire(&mut self, check_ms: i64, expiration_ms: i64) {
        if check_ms <= self.swept_ms {
            return;
        }
        self.swept_ms = check_ms;
        let idle = |since: i64| check_ms.saturating_sub(since) >= expiration_ms;
        self.producers.retain(|_, state| state.transaction.is_some() || !idle(state.last_timestamp));
        self.verifications.retain(|_, verification| !idle(verification.since_ms));
    }

    /// Begins to ask whether the partition is part of the producer's transaction, for a batch with this sequence (-1
    /// without any). False if it has written to it in this epoch already: then there is nothing to ask.
    pub(crate) fn verify(
        &mut self,
        now_ms: i64,
        producer: (i64, i16),
        sequence: i32,
        bumps_epoch: bool,
    ) -> Result<bool, ErrorCode> {
        let (id, epoch) = producer;
        if self.producers.get(&id).is_some_and(|state| epoch < state.epoch) {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if self.is_open(id, epoch) {
            return Ok(false);
        }
        if self.verifications.len() >= MAX_PRODUCERS && !self.verifications.contains_key(&id) {
            self.verifications.pop_first();
        }
        let begun = Verification { epoch, lowest_sequence: sequence, bumps_epoch, since_ms: now_ms };
        let verification = self.verifications.entry(id).or_insert(begun);
        if epoch > verification.epoch {
            verification.epoch = epoch;
            verification.lowest_sequence = sequence;
        } else if epoch == verification.epoch {
            verification.lowest_sequence = verification.lowest_sequence.min(sequence);
        }
        Ok(true)
    }

    /// Holds a client's batch against what is known of its producer.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Verdict {
        let (id, epoch) = (batch.producer_id, batch.producer_epoch);
        let state = self.producers.get(&id);
        if let Some(written) = state.filter(|state| state.epoch == epoch).and_then(|state| state.find(batch))
        {
            return Verdict::Duplicate(written.base_offset);
        }
        if state.is_some_and(|state| epoch < state.epoch) {
            return Verdict::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if !self.in_sequence(state, batch) {
            return Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        let open = state.is_some_and(|state| state.transaction.is_some());
        if open && !batch.attributes.is_transactional() {
            return Verdict::Refuse(ErrorCode::INVALID_TXN_STATE);
        }
        Verdict::Append
    }

    fn in_sequence(&self, state: Option<&ProducerState>, batch: &BatchHeader) -> bool {
        let first = batch.base_sequence;
        if let Some(verification) = self.verifications.get(&batch.producer_id) {
            let is_empty = state.is_none_or(|state| state.batches.is_empty());
            if verification.bumps_epoch && first != 0 && is_empty || first > verification.lowest_sequence {
                return false;
            }
        }
        match state {
            None => true,
            Some(state) if state.epoch != batch.producer_epoch => first == 0,
            Some(state) => match state.batches.back().map(|written| written.last_sequence) {
                None | Some(i32::MAX) => first == 0,
                Some(last) => first == last + 1,
            },
        }
    }

    /// Remembers a batch that was appended.
    pub(crate) fn appended(&mut self, now_ms: i64, batch: &AppendedBatch) {
        let state = self.touch(now_ms, (batch.producer_id, batch.producer_epoch), batch.timestamp);
        if state.batches.len() == REMEMBERED {
            state.batches.pop_front();
        }
        state.batches.push_back(Written {
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence,
            base_offset: batch.base_offset,
        });
        if batch.transactional {
            if state.transaction.is_none() {
                state.transaction = Some(batch.base_offset);
                self.open.insert(batch.base_offset, batch.producer_id);
            }
            self.verifications.remove(&batch.producer_id);
        }
    }

    /// Whether a marker may be appended.
    pub(crate) fn check_marker(&self, marker: &Marker) -> Result<(), ErrorCode> {
        let Some(state) = self.producers.get(&marker.producer_id) else { return Ok(()) };
        let epoch = marker.producer_epoch;
        let fenced = if marker.transaction_version >= 2 {
            // One that comes again, after it did its work, does no harm.
            let repeated = epoch == state.epoch && (state.transaction.is_none() || epoch == i16::MAX);
            epoch <= state.epoch && !repeated
        } else {
            epoch < state.epoch
        };
        if fenced {
            Err(ErrorCode::INVALID_PRODUCER_EPOCH)
        } else if state.coordinator_epoch > marker.coordinator_epoch {
            Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED)
        } else {
            Ok(())
        }
    }

    /// Remembers a marker that was appended, and tells which transaction it ended.
    pub(crate) fn ended(&mut self, now_ms: i64, marker: &Marker, offset: i64) -> Option<Ended> {
        let id = marker.producer_id;
        let state = self.touch(now_ms, (id, marker.producer_epoch), now_ms);
        state.coordinator_epoch = marker.coordinator_epoch;
        let first_offset = state.transaction.take();
        if let Some(first) = first_offset {
            self.open.remove(&first);
        }
        // Where the next transaction was announced already, its first batch is still to come and announces it again.
        self.verifications.remove(&id);
        let last_stable_offset = self.first_open().unwrap_or(offset.saturating_add(1));
        first_offset.map(|first_offset| Ended { first_offset, last_stable_offset })
    }

    /// Remembers a batch or a marker that is in the log already.
    pub(crate) fn replay(&mut self, batch: &Batch) {
        let header = batch.header();
        if header.producer_id < 0 {
            return;
        }
        // It was written when its last record was, as far as the log can tell.
        let written_ms = header.max_timestamp;
        if header.attributes.is_control() {
            if let Some(marker) = marker_of(batch) {
                self.ended(written_ms, &marker, header.base_offset);
            }
            return;
        }
        self.appended(
            written_ms,
            &AppendedBatch {
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                timestamp: header.max_timestamp,
                transactional: header.attributes.is_transactional(),
            },
        );
    }

    /// Where the first open transaction begins.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    /// Whether the producer wrote nothing after the batch at this offset.
    pub(crate) fn is_latest(&self, producer_id: i64, base_offset: i64) -> bool {
        let latest = self.producers.get(&producer_id).and_then(|state| state.batches.back());
        latest.is_some_and(|latest| latest.base_offset == base_offset)
    }

    /// What DescribeProducers tells.
    pub(crate) fn describe(&self) -> Vec<describe_producers::ProducerState> {
        let described = self.producers.iter().map(|(id, state)| describe_producers::ProducerState {
            producer_id: *id,
            producer_epoch: state.epoch.into(),
            last_sequence: state.batches.back().map_or(-1, |written| written.last_sequence),
            last_timestamp: state.last_timestamp,
            coordinator_epoch: state.coordinator_epoch,
            current_txn_start_offset: state.transaction.unwrap_or(-1),
            ..describe_producers::ProducerState::default()
        });
        described.collect()
    }

    fn is_open(&self, id: i64, epoch: i16) -> bool {
        self.producers.get(&id).is_some_and(|state| state.transaction.is_some() && state.epoch == epoch)
    }

    /// The state of a producer that writes in this epoch.
    fn touch(&mut self, now_ms: i64, producer: (i64, i16), timestamp: i64) -> &mut ProducerState {
        let (id, epoch) = producer;
        if self.producers.len() >= MAX_PRODUCERS && !self.producers.contains_key(&id) {
            self.forget_longest_silent();
        }
        let state = self.producers.entry(id).or_insert_with(|| ProducerState {
            epoch,
            batches: VecDeque::new(),
            last_timestamp: timestamp,
            last_used_ms: now_ms,
            coordinator_epoch: -1,
            transaction: None,
        });
        if state.epoch != epoch {
            state.epoch = epoch;
            state.batches.clear();
        }
        state.last_timestamp = timestamp;
        state.last_used_ms = now_ms;
        state
    }

    fn forget_longest_silent(&mut self) {
        let idle = self.producers.iter().filter(|(_, state)| state.transaction.is_none());
        let silent = idle.min_by_key(|(_, state)| state.last_used_ms).map(|(id, _)| *id);
        if let Some(id) = silent {
            self.producers.remove(&id);
        }
    }
}

impl ProducerState {
    fn find(&self, batch: &BatchHeader) -> Option<&Written> {
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        self.batches.iter().find(|written| written.first_sequence == first && written.last_sequence == last)
    }
}

/// The end of a transaction that a control batch tells.
fn marker_of(batch: &Batch) -> Option<Marker> {
    let decoded = batch.decode(&ReadOptions::default()).ok()?;
    let record = decoded.records().next()?.ok()?;
    let control = ControlRecord::parse(&record)?;
    let header = batch.header();
    Some(Marker {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        committed: control.kind == ControlKind::Commit,
        coordinator_epoch: control.coordinator_epoch?,
        transaction_version: 0,
    })
}
