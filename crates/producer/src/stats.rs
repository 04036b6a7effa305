//! What a producer has done and has to do, for whoever watches it.

use std::time::Instant;

use milena_cluster::TopicPartition;

use crate::{ProduceError, RecordMetadata, accumulator::OpenBatch};

/// A batch of which it is known what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledBatch {
    /// Where its records were to go.
    pub partition: TopicPartition,
    /// How many records.
    pub records: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: usize,
    /// Bytes as it was sent; `None` if it never was.
    pub bytes: Option<usize>,
    /// When its first record was accepted.
    pub opened: Instant,
    /// When it was sent for the first time; `None` if it never was.
    pub sent: Option<Instant>,
    /// How many times it was sent again.
    pub resends: u32,
    /// Where its first record is, or why the records are not acknowledged.
    pub result: Result<RecordMetadata, ProduceError>,
}

impl SettledBatch {
    /// One that was never sent.
    pub(crate) fn unsent(batch: &OpenBatch, error: ProduceError) -> Self {
        Self {
            partition: batch.outcome.partition().clone(),
            records: batch.builder.count().unsigned_abs().into(),
            uncompressed_bytes: batch.builder.uncompressed_len(),
            bytes: None,
            opened: batch.opened,
            sent: None,
            resends: 0,
            result: Err(error),
        }
    }
}

/// What a producer holds, and what it has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Records that wait to be sent for the first time.
    pub buffered_records: u64,
    /// Bytes of `buffer_memory` in use, by batches that wait and by those on their way.
    pub buffer_used: usize,
    /// Bytes of memory kept for the batches to come.
    pub buffer_idle: usize,
    /// Produce requests without an answer.
    pub requests_in_flight: usize,
    /// Batches that are not settled, those that wait to be sent included.
    pub unsettled_batches: usize,
    /// The counts.
    pub done: Tally,
}

/// Counts that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Records that were acknowledged.
    pub records_acknowledged: u64,
    /// Records that were given up, of which some may be written.
    pub records_failed: u64,
    /// Produce requests that went out.
    pub requests_sent: u64,
    /// Of those, the ones without an answer that could be used.
    pub requests_failed: u64,
    /// Batches that went out for the first time.
    pub batches_sent: u64,
    /// Bytes of those.
    pub bytes_sent: u64,
    /// Bytes of those before compression.
    pub uncompressed_bytes_sent: u64,
    /// Batches that went out again.
    pub batches_resent: u64,
    /// Batches that were too large for their topic and went on in two.
    pub batches_split: u64,
}

impl Tally {
    pub(crate) fn settle(&mut self, batch: &SettledBatch) {
        let count =
            if batch.result.is_ok() { &mut self.records_acknowledged } else { &mut self.records_failed };
        *count = count.saturating_add(batch.records);
    }

    pub(crate) fn send(&mut self, bytes: usize, uncompressed: usize) {
        self.batches_sent = self.batches_sent.saturating_add(1);
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
        self.uncompressed_bytes_sent = self.uncompressed_bytes_sent.saturating_add(uncompressed as u64);
    }
}
