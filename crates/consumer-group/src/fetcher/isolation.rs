//! Which batches of an answer hold records for the application.
//!
//! Control batches never do. Under read_committed neither do those of aborted transactions: the answer lists these by
//! producer and first offset, and the abort marker in the log ends each.
//!
//! # References
//! KIP-98, "Reading transactional messages".

use std::collections::{BTreeSet, VecDeque};

use milena_protocol::{
    messages::fetch::AbortedTransaction,
    records::{Batch, BatchError, ControlKind, ControlRecord, ReadOptions},
    wire::Listed,
};

/// Goes through the batches of one partition of one answer, in the order of the log.
#[derive(Debug)]
pub(super) struct Isolation {
    /// Aborted transactions that begin further on, by first offset.
    ahead: VecDeque<(i64, i64)>,
    /// Producers inside an aborted transaction.
    aborted: BTreeSet<i64>,
}

impl Isolation {
    /// `aborted` as the answer lists it: null, and in no matter which order.
    pub(super) fn new(aborted: Option<&Listed<AbortedTransaction>>) -> Self {
        let listed = aborted.into_iter().flatten();
        let mut ahead: Vec<_> = listed.map(|entry| (entry.first_offset, entry.producer_id)).collect();
        ahead.sort_unstable();
        Self { ahead: ahead.into(), aborted: BTreeSet::new() }
    }

    /// True when the application is to see the records of `batch`.
    ///
    /// # Errors
    /// When a control batch can't be read: what it ends is not known.
    pub(super) fn admits(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        while let Some((first, producer)) = self.ahead.front().copied()
            && first <= header.last_offset()
        {
            self.aborted.insert(producer);
            self.ahead.pop_front();
        }
        let is_aborted = header.attributes.is_transactional() && self.aborted.contains(&header.producer_id);
        if !header.attributes.is_control() {
            return Ok(!is_aborted);
        }
        if is_aborted && is_abort_marker(batch)? {
            self.aborted.remove(&header.producer_id);
        }
        Ok(false)
    }
}

/// A control batch holds one record; compaction may have taken it away.
fn is_abort_marker(batch: &Batch) -> Result<bool, BatchError> {
    let decoded = batch.decode(&ReadOptions::default())?;
    let first = decoded.records().next().transpose()?;
    let marker = first.and_then(|record| ControlRecord::parse(&record));
    Ok(marker.is_some_and(|marker| marker.kind == ControlKind::Abort))
}

#[cfg(test)]
mod tests {
    use milena_protocol::records::{Batches, assign_offsets};

    use super::*;
    use crate::tests::batches::{data, marker};

    fn check(aborted: &[(i64, i64)], log: &[bytes::Bytes], expected: &[i64]) {
        let aborted = aborted.iter().map(|&(first_offset, producer_id)| AbortedTransaction {
            first_offset,
            producer_id,
            ..Default::default()
        });
        let mut isolation = Isolation::new(Some(&aborted.collect()));
        let mut admitted = Vec::new();
        let mut next = 0;
        for bytes in log {
            let batch = Batches::new(bytes.clone()).next().unwrap().unwrap();
            let batch = Batches::new(assign_offsets(batch, next, 0, None)).next().unwrap().unwrap();
            next = batch.next_offset();
            if isolation.admits(&batch).unwrap() {
                admitted.push(batch.header().base_offset);
            }
        }
        assert_eq!(admitted, expected);
    }

    /// F5: an aborted transaction ends at its marker, and the same producer's next one is another.
    #[test]
    fn an_aborted_transaction_ends_at_its_marker() {
        let log = [data(Some(7), 2), marker(7, false), data(Some(7), 1), marker(7, true)];
        check(&[(0, 7)], &log, &[3]);
    }

    /// F5: the list is in no order, and two producers interleave; what is not transactional is always seen.
    #[test]
    fn producers_interleave_and_the_list_is_unsorted() {
        let log = [
            data(Some(7), 1),
            data(Some(8), 1),
            data(None, 1),
            marker(8, false),
            data(Some(8), 1),
            data(Some(7), 1),
            marker(7, false),
            marker(8, true),
        ];
        check(&[(1, 8), (0, 7)], &log, &[2, 4]);
    }

    /// F5: an entry counts from the batch that holds its first offset, not only from a batch that begins there.
    #[test]
    fn a_transaction_listed_from_inside_a_batch_counts_for_it() {
        check(&[(1, 7)], &[data(Some(7), 3), marker(7, false)], &[]);
        check(&[(3, 7)], &[data(Some(7), 3), data(Some(7), 1), marker(7, false)], &[0]);
    }
}
