//! What a partition remembers of idempotent producers, and the checks that follow from it (KIP-98).
//!
//! Imitates `ProducerStateManager` and `ProducerAppendInfo` of Kafka 4.3.1 for producers without a transaction: the last
//! five batches of every producer id are known again, a gap is refused, an old epoch is fenced, a new one starts at
//! sequence 0. A producer id without state may begin at any sequence, as it may in Kafka: its state can have expired.
//! So UNKNOWN_PRODUCER_ID is never answered (Kafka has not answered it since 2.5).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use milena_protocol::{ErrorCode, records::BatchHeader};

/// Batches by which a repetition is recognised, as in Kafka: a client has at most five requests in flight.
const REMEMBERED: usize = 5;

/// `producer.id.expiration.ms`.
const EXPIRATION: Duration = Duration::from_hours(24);

/// Producers remembered per partition; the one that was silent longest goes first. Kafka has no such bound.
const MAX_PRODUCERS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct ProducerStates(BTreeMap<i64, ProducerState>);

#[derive(Debug)]
struct ProducerState {
    epoch: i16,
    batches: VecDeque<Written>,
    last_used: Instant,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It was appended before, at this offset.
    Duplicate(i64),
    Refuse(ErrorCode),
}

impl ProducerStates {
    /// Holds a batch against what is known of its producer.
    pub(crate) fn check(&self, now: Instant, batch: &BatchHeader) -> Verdict {
        let known = self.0.get(&batch.producer_id);
        let Some(state) = known.filter(|state| now.duration_since(state.last_used) < EXPIRATION) else {
            return Verdict::Append;
        };
        if batch.producer_epoch < state.epoch {
            return Verdict::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if batch.producer_epoch > state.epoch {
            let restarts = batch.base_sequence == 0;
            return if restarts {
                Verdict::Append
            } else {
                Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            };
        }
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        let same = |written: &&Written| written.first_sequence == first && written.last_sequence == last;
        if let Some(written) = state.batches.iter().find(same) {
            return Verdict::Duplicate(written.base_offset);
        }
        let follows = state.batches.back().is_none_or(|written| match written.last_sequence {
            i32::MAX => first == 0,
            last => first == last + 1,
        });
        if follows { Verdict::Append } else { Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) }
    }

    /// Remembers a batch that was appended at `base_offset`.
    pub(crate) fn appended(&mut self, now: Instant, batch: &BatchHeader, base_offset: i64) {
        if self.0.len() >= MAX_PRODUCERS && !self.0.contains_key(&batch.producer_id) {
            self.forget_longest_silent();
        }
        let epoch = batch.producer_epoch;
        let state = self.0.entry(batch.producer_id).or_insert_with(|| ProducerState {
            epoch,
            batches: VecDeque::with_capacity(REMEMBERED),
            last_used: now,
        });
        if state.epoch != epoch || now.duration_since(state.last_used) >= EXPIRATION {
            state.epoch = epoch;
            state.batches.clear();
        }
        if state.batches.len() == REMEMBERED {
            state.batches.pop_front();
        }
        state.last_used = now;
        state.batches.push_back(Written {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        });
    }

    fn forget_longest_silent(&mut self) {
        let silent = self.0.iter().min_by_key(|(_, state)| state.last_used).map(|(id, _)| *id);
        if let Some(id) = silent {
            self.0.remove(&id);
        }
    }
}
