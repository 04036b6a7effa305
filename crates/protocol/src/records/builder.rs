//! Writes a batch: records in place, then compression, then the header.

use bytes::Bytes;
use thiserror::Error;

use super::{
    Codec, CompressionError, HEADER_LEN, Header,
    header::{Attributes, BatchHeader, LENGTH_END},
};
use crate::wire::varint::{zigzag, zigzag_long};

/// Most that a record takes besides its key, value and headers: its length, attributes, timestamp, offset and the
/// count of headers.
const MAX_RECORD_OVERHEAD: usize = 5 + 1 + 10 + 5 + 5;

/// The most bytes a record can add to a batch, wherever in the batch it lands. With [`HEADER_LEN`] it is what a batch
/// of this one record can take at most, before compression.
#[must_use]
pub fn record_upper_bound<'h>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = Header<'h>>,
) -> usize {
    let headers = headers.into_iter().map(|header| header.encoded_len()).fold(0, usize::saturating_add);
    [nullable_len(key), nullable_len(value), headers]
        .into_iter()
        .fold(MAX_RECORD_OVERHEAD, usize::saturating_add)
}

/// A batch that takes records.
///
/// ```
/// # use milena_protocol::records::*;
/// let mut batch = BatchBuilder::new(16 * 1024);
/// let trace = Header::new("trace", Some(b"7f"));
/// assert_eq!(batch.append(1_700_000_000_000, Some(b"key"), Some(b"value"), [trace]), Ok(0));
/// assert_eq!(batch.append(1_700_000_000_005, None, None, []), Ok(1));
/// let bytes = batch.compress(Compression::Gzip)?.stamp(ProducerStamp::NONE);
/// # assert_eq!(Batches::new(bytes).count(), 1);
/// # Ok::<(), CompressionError>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records, then zeros for the records to come.
    buffer: Vec<u8>,
    /// Bytes of header and records.
    len: usize,
    limit: usize,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// Why a record was not taken. The batch is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The record would take the batch past its limit: it belongs in the next one.
    #[error("the batch is full")]
    Full,
    /// No batch can carry the record: a length in it, or the batch's, would be past 2³¹ − 1.
    #[error("a record of {0} bytes is too long")]
    TooLong(usize),
}

impl BatchBuilder {
    /// An empty batch that takes records up to `limit` bytes, header included, before compression. The first record
    /// is taken whatever its size, so that it can be sent at all.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with_capacity(limit, HEADER_LEN)
    }

    /// As [`new`](Self::new), with room for `capacity` bytes from the start. Room for the limit saves copying the
    /// records as the buffer grows, and takes the memory even when the batch stays small.
    #[must_use]
    pub fn with_capacity(limit: usize, capacity: usize) -> Self {
        let buffer = vec![0; capacity.max(HEADER_LEN)];
        Self { buffer, len: HEADER_LEN, limit, count: 0, base_timestamp: -1, max_timestamp: -1 }
    }

    /// Adds a record and says how many stand before it. `timestamp` counts milliseconds since 1970; `headers` are
    /// written in their order, duplicates included.
    ///
    /// # Errors
    /// When the record is not taken. [`AppendError::Full`] never comes from an empty batch.
    #[inline]
    pub fn append<'h, H>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<i32, AppendError>
    where
        H: IntoIterator<Item = Header<'h>>,
        H::IntoIter: Clone,
    {
        let headers = headers.into_iter();
        let offset_delta = self.count;
        let base_timestamp = if offset_delta == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);

        let mut headers_len = 0usize;
        let mut header_count = 0usize;
        for header in headers.clone() {
            header_count = header_count.saturating_add(1);
            headers_len = headers_len.saturating_add(header.encoded_len());
        }
        let lens = [key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len), headers_len];
        if lens.into_iter().chain([header_count]).fold(0, |bits, len| bits | len) > i32::MAX as usize {
            return Err(AppendError::TooLong(lens.into_iter().fold(0, usize::saturating_add)));
        }
        let [key_len, value_len, headers_len] = lens;
        // Each part fits 31 bits, so that no sum of them wraps.
        let front = Front {
            timestamp_delta: zigzag_long(timestamp_delta),
            offset_delta: zigzag(offset_delta).into(),
        };
        let (key_prefix, value_prefix) = (nullable_prefix(key), nullable_prefix(value));
        let header_prefix = zigzag(header_count as i32).into();
        let prefixes = unsigned_len(key_prefix) + unsigned_len(value_prefix) + unsigned_len(header_prefix);
        let len = front.len() + prefixes + key_len + value_len + headers_len;
        let end = self.admit(len)?;

        if self.buffer.len() < end + SLACK {
            self.grow(end + SLACK);
        }
        let mut out = Out { rest: self.buffer.get_mut(self.len..end + SLACK).unwrap_or_default() };
        out.front((len as u64) << 1, front);
        out.unsigned(key_prefix);
        out.bytes(key.unwrap_or_default());
        out.unsigned(value_prefix);
        out.bytes(value.unwrap_or_default());
        out.unsigned(header_prefix);
        for header in headers {
            out.nullable(Some(header.name));
            out.nullable(header.value);
        }
        debug_assert_eq!(out.rest.len(), SLACK, "the record is as long as was computed");

        self.len = end;
        self.base_timestamp = base_timestamp;
        self.max_timestamp = if offset_delta == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.count = offset_delta + 1;
        Ok(offset_delta)
    }

    /// Whether a record whose own length is `len` may be added; if so, where it would end.
    #[inline]
    fn admit(&self, len: usize) -> Result<usize, AppendError> {
        const LONGEST: usize = i32::MAX as usize + LENGTH_END;
        let end = self.len.saturating_add(len).saturating_add(unsigned_len((len as u64) << 1));
        if end <= self.limit.min(LONGEST) && self.count < i32::MAX {
            return Ok(end);
        }
        match self.count {
            0 if end <= LONGEST => Ok(end),
            0 => Err(AppendError::TooLong(len)),
            _ => Err(AppendError::Full),
        }
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        let doubled = self.buffer.len().saturating_mul(2);
        let len = doubled.min(self.limit).max(end);
        self.buffer.reserve_exact(len.saturating_sub(self.buffer.len()));
        self.buffer.resize(len, 0);
    }

    /// Records in the batch.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// True while there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression, header included.
    #[must_use]
    pub const fn uncompressed_len(&self) -> usize {
        self.len
    }

    /// Bytes of memory the batch holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Timestamp of the first record, -1 while there is none.
    #[must_use]
    pub const fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// Largest timestamp, -1 while there is no record.
    #[must_use]
    pub const fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Closes the batch and compresses it: the expensive part of sealing, which no lock should be held for. Without
    /// compression nothing is copied.
    ///
    /// # Errors
    /// When this build can't do the compression, or what comes out is too long.
    pub fn compress(mut self, codec: impl Into<Codec>) -> Result<CompressedBatch, CompressionError> {
        let codec = codec.into();
        let uncompressed_len = self.len;
        self.buffer.truncate(uncompressed_len);
        let buffer = match codec.compression() {
            super::Compression::None => self.buffer,
            _ => {
                let records = self.buffer.get(HEADER_LEN..).unwrap_or_default();
                let mut out = Vec::with_capacity(HEADER_LEN + records.len() / 2);
                out.resize(HEADER_LEN, 0);
                codec.compress(records, out)?
            }
        };
        let length = buffer.len().saturating_sub(LENGTH_END);
        let header = BatchHeader {
            base_offset: 0,
            batch_length: i32::try_from(length).map_err(|_| CompressionError::TooLong(buffer.len()))?,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: Attributes::default().with_compression(codec.compression()),
            last_offset_delta: self.count.saturating_sub(1).max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.count,
        };
        Ok(CompressedBatch { buffer, header, uncompressed_len })
    }
}

/// A closed batch that lacks only what is known when it is first sent.
#[derive(Debug)]
pub struct CompressedBatch {
    /// Room for the header, then the compressed records.
    buffer: Vec<u8>,
    header: BatchHeader,
    uncompressed_len: usize,
}

impl CompressedBatch {
    /// Records in the batch.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the batch, header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when there is no record. Brokers refuse such a batch.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Bytes the batch had before compression, header included.
    #[must_use]
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed_len
    }

    /// Largest timestamp.
    #[must_use]
    pub const fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// Writes the header with `stamp` and the CRC over it and the records, in place.
    ///
    /// The bytes are the batch from here on: keep them and send them again as they are. A batch stamped anew with other
    /// numbers would be another batch to the broker, and a duplicate.
    #[must_use]
    pub fn stamp(self, stamp: ProducerStamp) -> Bytes {
        let mut header = self.header;
        if stamp.transactional {
            header.attributes = header.attributes.with_transactional();
        }
        header.producer_id = stamp.producer_id;
        header.producer_epoch = stamp.producer_epoch;
        header.base_sequence = stamp.base_sequence;
        self.finish(header)
    }

    /// As [`stamp`](Self::stamp), for the batches that a broker writes into a transaction of its own accord.
    pub(super) fn stamp_control(self, producer_id: i64, producer_epoch: i16) -> Bytes {
        let attributes = self.header.attributes.with_transactional().with_control();
        let header = BatchHeader { attributes, producer_id, producer_epoch, ..self.header };
        self.finish(header)
    }

    fn finish(mut self, header: BatchHeader) -> Bytes {
        header.write(&mut self.buffer);
        self.buffer.into()
    }
}

/// What an idempotent or transactional producer writes into a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The id the broker gave the producer.
    pub producer_id: i64,
    /// The epoch that goes with the id.
    pub producer_epoch: i16,
    /// Sequence number of the first record; the others follow, as [`increment_sequence`](super::increment_sequence)
    /// counts.
    pub base_sequence: i32,
    /// The batch belongs to the producer's open transaction.
    pub transactional: bool,
}

impl ProducerStamp {
    /// The stamp of a producer that is not idempotent.
    pub const NONE: Self =
        Self { producer_id: -1, producer_epoch: -1, base_sequence: -1, transactional: false };
}

/// The fields of a record that come before its key, zigzagged.
#[derive(Clone, Copy)]
struct Front {
    timestamp_delta: u64,
    offset_delta: u64,
}

impl Front {
    /// Bytes of the fields, the record's attributes included.
    #[inline]
    fn len(self) -> usize {
        1 + unsigned_len(self.timestamp_delta) + unsigned_len(self.offset_delta)
    }
}

/// The varint in front of a nullable field, zigzagged: its length, or -1.
#[inline]
fn nullable_prefix(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(1, |bytes| (bytes.len() as u64) << 1)
}

/// Bytes of a nullable field with its length.
#[inline]
pub(super) fn nullable_len(bytes: Option<&[u8]>) -> usize {
    unsigned_len(nullable_prefix(bytes)).saturating_add(bytes.unwrap_or_default().len())
}

/// Bytes of an unsigned varint. Two comparisons that are foreseen cost less than counting zeros.
#[inline]
fn unsigned_len(value: u64) -> usize {
    if value < 0x80 {
        1
    } else if value < 0x4000 {
        2
    } else {
        long_len(value)
    }
}

#[cold]
fn long_len(value: u64) -> usize {
    (64 - value.leading_zeros()).div_ceil(7) as usize
}

/// Bytes past the end of a record that [`Out::front`] may write over.
const SLACK: usize = size_of::<u64>();

/// The part of the buffer that one record fills.
///
/// A slice that shrinks stays in registers, where the length of a `Vec` would be a load and a store for each field.
struct Out<'a> {
    rest: &'a mut [u8],
}

impl Out<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some((to, rest)) = std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len()) {
            to.copy_from_slice(bytes);
            self.rest = rest;
        }
    }

    /// The record's length (zigzagged), its attributes, timestamp and offset: at most seven bytes in nearly every record,
    /// which one store writes.
    #[inline]
    fn front(&mut self, len: u64, front: Front) {
        let Front { timestamp_delta, offset_delta } = front;
        match self.rest.first_chunk_mut() {
            Some(to) if len | timestamp_delta | offset_delta < 0x4000 => {
                let mut word = two_byte_varint(len);
                let mut word_len = unsigned_len(len) + 1;
                for value in [timestamp_delta, offset_delta] {
                    word |= two_byte_varint(value) << (8 * word_len);
                    word_len += unsigned_len(value);
                }
                *to = word.to_le_bytes();
                self.skip(word_len);
            }
            _ => {
                self.unsigned(len);
                self.bytes(&[0]);
                self.unsigned(timestamp_delta);
                self.unsigned(offset_delta);
            }
        }
    }

    #[inline]
    fn skip(&mut self, len: usize) {
        self.rest = std::mem::take(&mut self.rest).get_mut(len..).unwrap_or_default();
    }

    #[inline]
    fn nullable(&mut self, bytes: Option<&[u8]>) {
        self.unsigned(nullable_prefix(bytes));
        self.bytes(bytes.unwrap_or_default());
    }

    #[inline]
    fn unsigned(&mut self, value: u64) {
        if value < 0x80 {
            self.bytes(&[value as u8]);
        } else if value < 0x4000 {
            self.bytes(&[value as u8 | 0x80, (value >> 7) as u8]);
        } else {
            self.long(value);
        }
    }

    #[cold]
    fn long(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.bytes(&[value as u8]);
    }
}

/// A varint of at most 14 bits, in the low bytes.
#[inline]
fn two_byte_varint(value: u64) -> u64 {
    value & 0x7f | u64::from(value >= 0x80) << 7 | value >> 7 << 8
}
