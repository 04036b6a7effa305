//! Where in a log each leader epoch begins.
//!
//! Imitates `LeaderEpochFileCache` of Kafka 4.3.1: every leader notes its epoch at the end of the log that it takes over;
//! an epoch without a record is forgotten when the next one begins at the same offset; what a truncation or the log's start
//! cuts off goes, except that the epoch in which the log starts is kept from there on.

use std::collections::BTreeMap;

/// Epochs and the offsets of their first records: both rise together.
#[derive(Debug, Default)]
pub(crate) struct LeaderEpochs(BTreeMap<i32, i64>);

/// An epoch and the offset behind its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: i32,
    pub(crate) end_offset: i64,
}

impl LeaderEpochs {
    /// Notes that `epoch` begins at `start_offset`, the end of the log.
    pub(crate) fn begin(&mut self, epoch: i32, start_offset: i64) {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        self.truncate_end(start_offset);
        self.0.insert(epoch, start_offset);
    }

    /// The latest epoch not after `epoch` that has records, and where it ends in a log that ends at `log_end`. `None` for an
    /// epoch that this log does not know of yet.
    pub(crate) fn end_of(&self, epoch: i32, log_end: i64) -> Option<EpochEnd> {
        if self.latest()? == epoch {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        if epoch < 0 {
            return None;
        }
        let (_, end_offset) = self.0.range(epoch.checked_add(1)?..).next()?;
        // Of an epoch before the first one, the log can only say where it must have ended.
        let known = self.0.range(..=epoch).next_back().map_or(epoch, |(known, _)| *known);
        Some(EpochEnd { epoch: known, end_offset: *end_offset })
    }

    /// The epoch of the record at `offset`.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        self.0.iter().take_while(|(_, start)| **start <= offset).last().map(|(epoch, _)| *epoch)
    }

    /// Forgets the epochs that begin at `end_offset` or later.
    pub(crate) fn truncate_end(&mut self, end_offset: i64) {
        self.0.retain(|_, start| *start < end_offset);
    }

    /// Forgets the epochs that end before the log begins.
    pub(crate) fn truncate_start(&mut self, start_offset: i64) {
        let Some(first) = self.at(start_offset) else { return };
        self.0 = self.0.split_off(&first);
        self.0.insert(first, start_offset);
    }

    fn latest(&self) -> Option<i32> {
        self.0.last_key_value().map(|(epoch, _)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(known: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in known {
            epochs.begin(epoch, start);
        }
        epochs
    }

    fn end(epochs: &LeaderEpochs, epoch: i32) -> Option<(i32, i64)> {
        epochs.end_of(epoch, 100).map(|EpochEnd { epoch, end_offset }| (epoch, end_offset))
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let known = epochs(&[(2, 0), (4, 10), (7, 30)]);
        assert_eq!(end(&known, 2), Some((2, 10)));
        assert_eq!(end(&known, 3), Some((2, 10)), "an epoch without records ends with the one before");
        assert_eq!(end(&known, 6), Some((4, 30)));
        assert_eq!(end(&known, 7), Some((7, 100)));
        assert_eq!(end(&known, 8), None);
        assert_eq!(end(&known, 1), Some((1, 0)));
        assert_eq!(end(&known, -1), None);
        assert_eq!(end(&LeaderEpochs::default(), 0), None);
    }

    #[test]
    fn an_epoch_without_records_is_forgotten() {
        let known = epochs(&[(0, 0), (1, 10), (2, 10)]);
        assert_eq!(known.0, BTreeMap::from([(0, 0), (2, 10)]));
        assert_eq!(epochs(&[(0, 0), (1, 0)]).0, BTreeMap::from([(1, 0)]));
    }

    #[test]
    fn what_is_cut_off_is_forgotten() {
        let mut known = epochs(&[(0, 0), (1, 10), (2, 20)]);
        known.truncate_end(20);
        assert_eq!(known.0, BTreeMap::from([(0, 0), (1, 10)]));
        known.truncate_start(15);
        assert_eq!(known.0, BTreeMap::from([(1, 15)]));
        assert_eq!((known.at(14), known.at(15)), (None, Some(1)));
    }
}
