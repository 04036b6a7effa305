//! Batches between their arrival and the application.
//!
//! They are kept as they came. Checking the CRC, decompressing and parsing happen when records are taken, in the
//! application's time: the driver, which keeps the member in its group, is not held up. A record is parsed twice, once
//! here to see that it is whole before the position moves past it, and once by who reads it.

use std::collections::{BTreeMap, VecDeque};

use milena_cluster::TopicPartition;
use milena_protocol::records::{Batch, BatchError, DecodedBatch, ReadOptions, RecordPlace};

use super::{
    memory::Memory,
    records::{PartitionRecords, Piece},
};
use crate::{Position, cursors::Cursors};

/// The batches of all partitions, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    partitions: BTreeMap<TopicPartition, Buffered>,
    /// Every partition that has something, once; the next to be served first.
    turns: VecDeque<TopicPartition>,
}

#[derive(Debug)]
struct Buffered {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Where the next fetch goes on.
    next: Position,
}

#[derive(Debug)]
enum Entry {
    Batch(Batch),
    /// A batch of which the front has been taken.
    Begun {
        batch: DecodedBatch,
        place: RecordPlace,
        len: usize,
    },
    /// A batch that has nothing for the application, and moves the position all the same (F1). How far is believed only
    /// when its CRC has been checked.
    Skipped(Batch),
}

/// How batches are opened.
#[derive(Debug)]
pub(super) struct Taking<'a> {
    pub(super) options: ReadOptions,
    pub(super) memory: &'a mut Memory,
    /// Bytes that what is fetched and decompressed may take together.
    pub(super) limit: usize,
    /// One batch is decompressed even without room for it: else nothing would go on.
    pub(super) forces_one: bool,
    pub(super) skips_corrupt: bool,
}

/// A batch that can't be read, and where the partition stands.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) partition: TopicPartition,
    pub(crate) error: BatchError,
}

impl Buffer {
    /// Where fetching goes on, if something of the partition is here.
    pub(crate) fn next(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition).map(|buffered| buffered.next)
    }

    /// Bytes of the partition's batches.
    pub(crate) fn bytes(&self, partition: &TopicPartition) -> usize {
        self.partitions.get(partition).map_or(0, |buffered| buffered.bytes)
    }

    /// Adds a batch; one that is not admitted is passed over when its turn comes.
    pub(crate) fn push(&mut self, partition: &TopicPartition, batch: Batch, admitted: bool) {
        let next = after(&batch);
        let turns = &mut self.turns;
        let buffered = self.partitions.entry(partition.clone()).or_insert_with(|| {
            turns.push_back(partition.clone());
            Buffered { entries: VecDeque::new(), bytes: 0, next }
        });
        buffered.next = next;
        buffered.bytes = buffered.bytes.saturating_add(batch.bytes().len());
        buffered.entries.push_back(if admitted { Entry::Batch(batch) } else { Entry::Skipped(batch) });
    }

    pub(crate) fn discard(&mut self, partition: &TopicPartition) {
        if self.partitions.remove(partition).is_some() {
            self.turns.retain(|waiting| waiting != partition);
        }
    }

    /// The partition whose turn comes last.
    pub(super) fn last_to_be_served(&self) -> Option<TopicPartition> {
        self.turns.back().cloned()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Hands out up to `max` records, partition by partition: each that gives something goes to the back of the row.
    ///
    /// Where there is no room to decompress, partitions with a batch that is decompressed already are read first.
    pub(super) fn take(
        &mut self,
        cursors: &mut Cursors,
        taking: &mut Taking<'_>,
        max: usize,
    ) -> (Vec<PartitionRecords>, Vec<Unreadable>) {
        let (taken, unreadable) = self.take_in_turn(cursors, taking, max);
        if taken.is_empty() && unreadable.is_empty() && self.is_ready(cursors) {
            taking.forces_one = true;
            return self.take_in_turn(cursors, taking, max);
        }
        (taken, unreadable)
    }

    fn take_in_turn(
        &mut self,
        cursors: &mut Cursors,
        taking: &mut Taking<'_>,
        max: usize,
    ) -> (Vec<PartitionRecords>, Vec<Unreadable>) {
        let mut taken = Vec::new();
        let mut unreadable = Vec::new();
        let mut without_room = VecDeque::new();
        let mut left = max;
        for _ in 0..self.turns.len() {
            if left == 0 {
                break;
            }
            let Some(partition) = self.turns.pop_front() else { break };
            let cursor = cursors.get_mut(&partition);
            let (Some(cursor), Some(buffered)) = (cursor, self.partitions.get_mut(&partition)) else {
                self.partitions.remove(&partition);
                continue;
            };
            let Some(position) = cursor.ready() else {
                self.partitions.remove(&partition);
                continue;
            };
            if cursor.paused {
                self.turns.push_back(partition);
                continue;
            }
            let mut records = PartitionRecords {
                partition: partition.clone(),
                pieces: Vec::new(),
                count: 0,
                next: position,
                end_offset: cursor.end_offset,
            };
            let error = buffered.take(&mut records, taking, left);
            if records.next != position {
                cursor.advance(records.next);
            }
            left = left.saturating_sub(records.count);
            let is_served = records.count > 0;
            if is_served {
                taken.push(records);
            }
            if let Some(error) = error {
                self.partitions.remove(&partition);
                unreadable.push(Unreadable { partition, error });
            } else if buffered.entries.is_empty() {
                self.partitions.remove(&partition);
            } else if is_served {
                self.turns.push_back(partition);
            } else {
                without_room.push_back(partition);
            }
        }
        // It stays their turn.
        without_room.append(&mut self.turns);
        self.turns = without_room;
        (taken, unreadable)
    }

    /// True when there is something that [`take`](Self::take) would look at.
    pub(crate) fn is_ready(&self, cursors: &Cursors) -> bool {
        let takes = |partition| {
            cursors.get(partition).is_some_and(|cursor| !cursor.paused && cursor.ready().is_some())
        };
        self.turns.iter().any(takes)
    }
}

/// What became of a batch that is to be read.
enum Opened {
    Batch(DecodedBatch),
    /// It stays as it is: there is no room for what it holds.
    WithoutRoom(Batch),
}

impl Taking<'_> {
    fn open(&mut self, batch: Batch) -> Result<Opened, BatchError> {
        if batch.is_read_in_place() {
            return Ok(Opened::Batch(batch.into_decoded(&self.options)?));
        }
        if !self.memory.has_room_to_decompress(self.limit) && !std::mem::take(&mut self.forces_one) {
            return Ok(Opened::WithoutRoom(batch));
        }
        let decoded = batch.into_decoded(&self.options)?;
        Ok(Opened::Batch(self.memory.decompressed(decoded)))
    }
}

impl Buffered {
    fn take(
        &mut self,
        records: &mut PartitionRecords,
        taking: &mut Taking<'_>,
        max: usize,
    ) -> Option<BatchError> {
        while records.count < max {
            let (batch, place, len) = match self.entries.pop_front()? {
                Entry::Skipped(batch) => {
                    if taking.options.check_crc
                        && let Err(error) = batch.verify_crc()
                    {
                        return Some(error);
                    }
                    self.bytes = self.bytes.saturating_sub(batch.bytes().len());
                    records.next = later(records.next, after(&batch));
                    continue;
                }
                Entry::Batch(batch) => {
                    let len = batch.bytes().len();
                    match taking.open(batch) {
                        Ok(Opened::Batch(decoded)) => (decoded, RecordPlace::default(), len),
                        Ok(Opened::WithoutRoom(batch)) => {
                            self.entries.push_front(Entry::Batch(batch));
                            return None;
                        }
                        Err(_) if taking.skips_corrupt => {
                            records.next.offset += 1;
                            continue;
                        }
                        Err(error) => return Some(error),
                    }
                }
                Entry::Begun { batch, place, len } => (batch, place, len),
            };
            let cut = match cut(&batch, place, records.next.offset, max - records.count) {
                Ok(cut) => cut,
                Err(error) => return Some(error),
            };
            records.count += cut.count;
            records.next = later(records.next, cut.next);
            if cut.count > 0 {
                records.pieces.push(Piece { batch: batch.clone(), start: cut.start, count: cut.count });
            }
            match cut.rest {
                Some(place) => self.entries.push_front(Entry::Begun { batch, place, len }),
                None => self.bytes = self.bytes.saturating_sub(len),
            }
        }
        None
    }
}

/// A position never moves back.
fn later(position: Position, next: Position) -> Position {
    if next.offset > position.offset { next } else { position }
}

fn after(batch: &Batch) -> Position {
    let epoch = batch.header().partition_leader_epoch;
    Position { offset: batch.next_offset(), leader_epoch: (epoch >= 0).then_some(epoch) }
}

/// A part of a batch.
struct Cut {
    start: RecordPlace,
    count: usize,
    /// Where reading goes on.
    next: Position,
    /// Where in the batch, unless it ends here.
    rest: Option<RecordPlace>,
}

/// Up to `max` records from `place` on that are not before `from` (F2).
fn cut(batch: &DecodedBatch, place: RecordPlace, from: i64, max: usize) -> Result<Cut, BatchError> {
    let header = batch.header();
    let epoch = header.partition_leader_epoch;
    let leader_epoch = (epoch >= 0).then_some(epoch);
    let mut records = batch.records_from(place);
    let (mut start, mut count) = (place, 0);
    let mut last = None;
    while count < max {
        let before = records.place();
        let Some(record) = records.next().transpose()? else {
            // The batch may reach further than its last record (F1).
            let next = Position { offset: header.next_offset(), leader_epoch };
            return Ok(Cut { start, count, next, rest: None });
        };
        if record.offset() >= from {
            if count == 0 {
                start = before;
            }
            count += 1;
            last = Some(record.offset());
        }
    }
    let rest = records.place();
    let is_over = records.next().transpose()?.is_none();
    let offset = match last {
        Some(last) if !is_over => last.saturating_add(1),
        _ => header.next_offset(),
    };
    Ok(Cut { start, count, next: Position { offset, leader_epoch }, rest: (!is_over).then_some(rest) })
}
