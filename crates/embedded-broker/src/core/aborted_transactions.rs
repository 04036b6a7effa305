//! Which transactions of a partition were aborted: what a reader of committed records must leave out.
//!
//! Imitates Kafka's transaction index. Entries are in the order of their markers, and go when the log's start has passed
//! them: they are bounded by the batches in the log.

use std::collections::VecDeque;

use milena_protocol::messages::fetch::AbortedTransaction;

#[derive(Debug, Default)]
pub(crate) struct AbortedTransactions(VecDeque<Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    producer_id: i64,
    first_offset: i64,
    /// Of the marker.
    last_offset: i64,
    /// What was stable when the marker was written: no transaction that begins below it comes later in the index.
    last_stable_offset: i64,
}

impl AbortedTransactions {
    pub(crate) fn push(
        &mut self,
        producer_id: i64,
        first_offset: i64,
        last_offset: i64,
        last_stable_offset: i64,
    ) {
        self.0.push_back(Entry { producer_id, first_offset, last_offset, last_stable_offset });
    }

    /// Those that have records between the two offsets, the second one excluded.
    pub(crate) fn between(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        let mut found = Vec::new();
        let first = self.0.partition_point(|entry| entry.last_offset < from);
        for entry in self.0.range(first..) {
            if entry.first_offset < to {
                found.push(AbortedTransaction {
                    producer_id: entry.producer_id,
                    first_offset: entry.first_offset,
                    ..AbortedTransaction::default()
                });
            }
            if entry.last_stable_offset >= to {
                break;
            }
        }
        found
    }

    /// Whether the record of a producer's transaction at `offset` was aborted.
    pub(crate) fn covers(&self, producer_id: i64, offset: i64) -> bool {
        let first = self.0.partition_point(|entry| entry.last_offset < offset);
        let mut entries = self.0.range(first..);
        entries.any(|entry| entry.producer_id == producer_id && entry.first_offset <= offset)
    }

    /// Drops those whose markers lie below `offset`.
    pub(crate) fn forget_below(&mut self, offset: i64) {
        while self.0.front().is_some_and(|entry| entry.last_offset < offset) {
            self.0.pop_front();
        }
    }

    /// Drops those whose markers lie at `offset` or beyond.
    pub(crate) fn truncate(&mut self, offset: i64) {
        while self.0.back().is_some_and(|entry| entry.last_offset >= offset) {
            self.0.pop_back();
        }
    }
}
