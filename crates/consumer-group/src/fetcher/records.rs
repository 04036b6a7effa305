//! What the application takes: the records of one partition, read in place.

use milena_cluster::TopicPartition;
use milena_protocol::records::{DecodedBatch, Record, RecordPlace, RecordView, Records};

use crate::Position;

/// Records of one partition, in their order. They stay in the buffer they came in (or were decompressed to) until this
/// is dropped; iterating allocates nothing.
#[derive(Clone, Debug)]
pub struct PartitionRecords {
    pub(super) partition: TopicPartition,
    pub(super) pieces: Vec<Piece>,
    pub(super) count: usize,
    pub(super) next: Position,
    pub(super) end_offset: Option<i64>,
}

/// Neighbouring records of one batch.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) batch: DecodedBatch,
    pub(super) start: RecordPlace,
    pub(super) count: usize,
}

impl PartitionRecords {
    /// Where they are from.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// How many there are; at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true: partitions without records are not handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where reading goes on after these: what to commit when they have been processed.
    #[must_use]
    pub fn next_position(&self) -> Position {
        self.next
    }

    /// The end of what could be read when these were fetched (high watermark, or last stable offset under
    /// read_committed).
    #[must_use]
    pub fn end_offset(&self) -> Option<i64> {
        self.end_offset
    }

    /// The records as views. [`RecordView::to_record`] keeps one beyond this.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { pieces: self.pieces.iter(), current: None, leader_epoch: -1 }
    }

    /// The records without the borrow. Each holds on to its whole batch.
    pub fn to_records(&self) -> impl Iterator<Item = Record> + '_ {
        self.iter().map(|record| record.to_record())
    }
}

impl<'a> IntoIterator for &'a PartitionRecords {
    type Item = RecordView<'a>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// The records of a [`PartitionRecords`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    pieces: std::slice::Iter<'a, Piece>,
    current: Option<(Records<'a>, usize)>,
    leader_epoch: i32,
}

impl RecordIter<'_> {
    /// The epoch of the leader that wrote the record handed out last, where its batch tells.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<i32> {
        (self.leader_epoch >= 0).then_some(self.leader_epoch)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = RecordView<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordView<'a>> {
        loop {
            if let Some((records, left @ 1..)) = &mut self.current {
                *left -= 1;
                // They have been walked through when they were taken, so there is no error here.
                if let Some(Ok(record)) = records.next() {
                    return Some(record);
                }
            }
            let piece = self.pieces.next()?;
            self.leader_epoch = piece.batch.header().partition_leader_epoch;
            self.current = Some((piece.batch.records_from(piece.start), piece.count));
        }
    }
}
