//! The log of one partition: whole batches, in memory, as contiguous as they came.
//!
//! A batch is copied once, when it is appended behind the open block. Reading freezes what the open block holds so far
//! and hands out slices of it. Time-based retention does not happen; [`Log::retain`] drops the oldest batches by size.
//! What of it is stable is for `partition::Partition` to say.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use milena_protocol::records::{Batch, Batches, append_assigned};

/// First and largest size of a block: small for the many partitions that hold a few records, large for the few that
/// hold many.
const FIRST_BLOCK: usize = 4 << 10;
const LARGEST_BLOCK: usize = 1 << 20;

/// A read that would end with a slice shorter than this goes on into the next one, at the cost of a copy: a consumer
/// that catches up should not need a request for each of the small slices that a consumer at the end left behind.
const WORTH_A_REPLY: usize = 64 << 10;

/// `index.interval.bytes`: so many bytes after an entry of its offset index, Kafka makes the next.
const INDEX_INTERVAL: usize = 4096;

/// A batch in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) max_timestamp: i64,
    /// When compaction may drop the tombstones in it, in Unix time; `None` until it has seen them.
    pub(crate) delete_horizon_ms: Option<i64>,
    /// Whether Kafka's offset index would have an entry of it.
    is_indexed: bool,
    /// Bytes before the batch since the partition was made.
    position: u64,
    len: usize,
}

impl Entry {
    const fn end(&self) -> u64 {
        self.position.saturating_add(self.len as u64)
    }
}

/// Contiguous bytes of whole batches.
#[derive(Debug)]
struct Chunk {
    position: u64,
    bytes: Bytes,
}

#[derive(Debug)]
pub(crate) struct Log {
    start_offset: i64,
    next_offset: i64,
    entries: VecDeque<Entry>,
    chunks: VecDeque<Chunk>,
    open: BytesMut,
    open_position: u64,
    block: usize,
    /// Bytes since the last indexed batch.
    unindexed: usize,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Whole batches.
    pub(crate) bytes: Bytes,
    /// An offset that no record of the batches reaches: as far behind them as an offset index with gaps can tell.
    pub(crate) upper_bound: i64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            start_offset: 0,
            next_offset: 0,
            entries: VecDeque::new(),
            chunks: VecDeque::new(),
            open: BytesMut::new(),
            open_position: 0,
            block: FIRST_BLOCK,
            unindexed: 0,
        }
    }

    /// The first offset that can be read.
    pub(crate) const fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset of the next record.
    pub(crate) const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Appends the batch and says at which offset it begins.
    pub(crate) fn append(&mut self, batch: &Batch, leader_epoch: i32, append_time: Option<i64>) -> i64 {
        let position = self.make_room(batch.bytes().len());
        let base_offset = self.next_offset;
        append_assigned(batch, base_offset, leader_epoch, append_time, &mut self.open);
        let last_offset = base_offset.saturating_add(batch.header().last_offset_delta.into());
        self.enter(Entry {
            base_offset,
            last_offset,
            leader_epoch,
            max_timestamp: append_time.unwrap_or(batch.header().max_timestamp),
            delete_horizon_ms: None,
            is_indexed: false,
            position,
            len: batch.bytes().len(),
        });
        self.next_offset = last_offset.saturating_add(1);
        base_offset
    }

    /// Puts these batches in the place of all that there are. Start and end of the log stay.
    pub(crate) fn rewrite(&mut self, batches: Vec<(Entry, Bytes)>) {
        let (start_offset, next_offset) = (self.start_offset, self.next_offset);
        *self = Self { start_offset, next_offset, ..Self::new() };
        for (entry, bytes) in batches {
            let position = self.make_room(bytes.len());
            self.open.extend_from_slice(&bytes);
            self.enter(Entry { position, len: bytes.len(), ..entry });
        }
    }

    /// Makes the open block have room for a batch, and says where that will stand.
    fn make_room(&mut self, len: usize) -> u64 {
        if self.open.capacity().saturating_sub(self.open.len()) < len {
            self.freeze();
            self.open = BytesMut::with_capacity(self.block.max(len));
            self.block = self.block.saturating_mul(2).min(LARGEST_BLOCK);
        }
        self.open_position.saturating_add(self.open.len() as u64)
    }

    fn enter(&mut self, entry: Entry) {
        let is_indexed = self.unindexed > INDEX_INTERVAL;
        self.unindexed = if is_indexed { entry.len } else { self.unindexed.saturating_add(entry.len) };
        self.entries.push_back(Entry { is_indexed, ..entry });
    }

    /// Bytes of the batches from the one with `from` to the last one below `to`.
    pub(crate) fn available(&self, from: i64, to: i64) -> u64 {
        let Some(first) = self.entries.get(self.index_of(from)) else { return 0 };
        self.end_below(to).saturating_sub(first.position)
    }

    /// Whole batches from the one with `from` on that lie below `to`, of at most `max_bytes`, or the first one whatever its
    /// size if `at_least_one` (KIP-74).
    pub(crate) fn read(&mut self, from: i64, to: i64, max_bytes: usize, at_least_one: bool) -> Slice {
        let bytes = self.read_bytes(from, to, max_bytes, at_least_one);
        let first = self.entries.get(self.index_of(from));
        let (start, first_len) = first.map_or((self.end(), 0), |entry| (entry.position, entry.len));
        // Kafka's replies end where the limit is, in the middle of a batch.
        let end = start.saturating_add(max_bytes.max(first_len) as u64).min(self.end_below(to));
        // At most an interval of batches is passed over.
        let mut beyond = self.entries.range(self.entries.partition_point(|entry| entry.position < end)..);
        let indexed = beyond.find(|entry| entry.is_indexed);
        let upper_bound = indexed.map_or(self.next_offset, |entry| entry.last_offset);
        Slice { bytes, upper_bound }
    }

    fn read_bytes(&mut self, from: i64, to: i64, max_bytes: usize, at_least_one: bool) -> Bytes {
        let Some(first) =
            self.entries.get(self.index_of(from)).copied().filter(|first| first.base_offset < to)
        else {
            return Bytes::new();
        };
        if first.len > max_bytes && !at_least_one {
            return Bytes::new();
        }
        let limit = first.position.saturating_add(max_bytes as u64).min(self.end_below(to));
        let fitting = match self.entries.back() {
            Some(last) if last.end() <= limit => self.entries.len(),
            _ => self.entries.partition_point(|entry| entry.end() <= limit),
        };
        let end = fitting.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, Entry::end);
        self.slice(first.position, end.max(first.end()))
    }

    /// The batch at `entry`.
    pub(crate) fn batch(&mut self, entry: &Entry) -> Option<Batch> {
        Batches::new(self.slice(entry.position, entry.end())).next()?.ok()
    }

    /// Drops the oldest batches that lie below `offset` until at most `bytes` are left, but never the last one.
    pub(crate) fn retain(&mut self, bytes: u64, offset: i64) {
        while let Some(first) = self.entries.front()
            && self.entries.len() > 1
            && first.last_offset < offset
            && self.end().saturating_sub(first.position) > bytes
        {
            let next = first.last_offset.saturating_add(1);
            self.entries.pop_front();
            self.start_offset = self.entries.front().map_or(next, |entry| entry.base_offset);
        }
        self.release();
    }

    /// Moves the start to `offset`, if that is forward and not beyond the end. The batch that holds it stays whole.
    pub(crate) fn start_at(&mut self, offset: i64) {
        self.start_offset = offset.clamp(self.start_offset, self.next_offset);
        while self.entries.front().is_some_and(|first| first.last_offset < self.start_offset) {
            self.entries.pop_front();
        }
        self.release();
    }

    /// Cuts off every batch that has records at `offset` or beyond. The next record gets that offset, also where a batch
    /// with records before it had to go.
    pub(crate) fn truncate(&mut self, offset: i64) {
        self.freeze();
        let at = self.index_of(offset);
        let end = self.entries.get(at).map_or(self.open_position, |entry| entry.position);
        self.entries.truncate(at);
        while let Some(last) = self.chunks.back_mut() {
            let len = end.saturating_sub(last.position);
            if len > 0 {
                last.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                break;
            }
            self.chunks.pop_back();
        }
        self.open_position = end;
        self.next_offset = offset.clamp(self.start_offset, self.next_offset);
    }

    /// Lets go of the blocks that no batch is in.
    fn release(&mut self) {
        let start = self.entries.front().map_or(self.open_position, |entry| entry.position);
        while self.chunks.front().is_some_and(|chunk| chunk.position + chunk.bytes.len() as u64 <= start) {
            self.chunks.pop_front();
        }
    }

    /// Where in the entries the batch is that holds `offset` or, if it is in a gap, the next one.
    fn index_of(&self, offset: i64) -> usize {
        // Most readers are at the end.
        match self.entries.back() {
            Some(last) if last.last_offset < offset => self.entries.len(),
            Some(last) if last.base_offset <= offset => self.entries.len() - 1,
            _ => self.entries.partition_point(|entry| entry.last_offset < offset),
        }
    }

    /// Where the batches end that lie below `offset`.
    fn end_below(&self, offset: i64) -> u64 {
        if offset >= self.next_offset {
            return self.end();
        }
        self.entries.get(self.index_of(offset)).map_or(self.end(), |entry| entry.position)
    }

    fn end(&self) -> u64 {
        self.open_position.saturating_add(self.open.len() as u64)
    }

    /// The bytes between two positions at which batches begin or end. Fewer, if that saves copying many.
    fn slice(&mut self, from: u64, to: u64) -> Bytes {
        if to > self.open_position {
            self.freeze();
        }
        let first = self.chunks.partition_point(|chunk| chunk.position <= from).saturating_sub(1);
        let mut joined = BytesMut::new();
        let mut position = from;
        for chunk in self.chunks.range(first..) {
            let Some(start) = position.checked_sub(chunk.position).map(|start| start as usize) else { break };
            let end = chunk.bytes.len().min(to.saturating_sub(chunk.position) as usize);
            if start >= end {
                break;
            }
            let whole = chunk.position.saturating_add(end as u64) == to;
            if joined.is_empty() && (whole || end - start >= WORTH_A_REPLY) {
                return chunk.bytes.slice(start..end);
            }
            joined.extend_from_slice(chunk.bytes.get(start..end).unwrap_or_default());
            position = chunk.position.saturating_add(end as u64);
            if position >= to || joined.len() >= WORTH_A_REPLY {
                break;
            }
        }
        joined.freeze()
    }

    fn freeze(&mut self) {
        let bytes = self.open.split().freeze();
        if bytes.is_empty() {
            return;
        }
        let position = self.open_position;
        self.open_position = position.saturating_add(bytes.len() as u64);
        self.chunks.push_back(Chunk { position, bytes });
    }
}
