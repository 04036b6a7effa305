//! Writes a batch: records in place, then compression, then the header.
#![cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        reason = "sums of lengths that `admit` has held against the longest batch"
    )
)]

use bytes::Bytes;
use thiserror::Error;

use super::{
    Codec, Compression, CompressionError, HEADER_LEN, Header,
    buffers::{BatchBuffers, Buffer},
    encode::{Measured, SLACK, nullable_len},
    header::{Attributes, BatchHeader, LENGTH_END},
};

/// Most that a record takes besides its key, value and headers: its length, attributes, timestamp, offset and the
/// count of headers.
const MAX_RECORD_OVERHEAD: usize = 5 + 1 + 10 + 5 + 5;

/// The longest batch, as its length field can say.
const LONGEST: usize = i32::MAX as usize + LENGTH_END;

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
    /// Room for the header, then the records, then room for the records to come.
    buffer: Buffer,
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
        Self::with_buffer(limit, Buffer::new(room_for(capacity), None))
    }

    /// As [`with_capacity`](Self::with_capacity), with memory from `buffers`, to where it goes back with the last handle
    /// to the batch's bytes.
    #[must_use]
    pub fn in_buffers(limit: usize, capacity: usize, buffers: &BatchBuffers) -> Self {
        Self::with_buffer(limit, Buffer::new(room_for(capacity), Some(buffers)))
    }

    fn with_buffer(limit: usize, buffer: Buffer) -> Self {
        Self {
            buffer,
            len: HEADER_LEN,
            limit: limit.min(LONGEST),
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Adds a record and says how many stand before it. `timestamp` counts milliseconds since 1970; `headers` are
    /// written in their order, duplicates included. They are gone through twice, and must be the same both times.
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

        let record = Measured::new(timestamp_delta, offset_delta, key, value, headers.clone());
        let record = record.map_err(AppendError::TooLong)?;
        let end = self.admit(record.total())?;
        if self.buffer.bytes.len() < end + SLACK {
            self.grow(end);
        }
        if let Some(room) = self.buffer.bytes.get_mut(self.len..end + SLACK) {
            record.write(room, headers);
        }

        self.len = end;
        self.base_timestamp = base_timestamp;
        self.max_timestamp = if offset_delta == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.count = offset_delta + 1;
        Ok(offset_delta)
    }

    /// Whether `len` more bytes may be added; if so, where they end.
    #[inline]
    fn admit(&self, len: u64) -> Result<usize, AppendError> {
        let end = self.len as u64 + len;
        if end <= self.limit as u64 && self.count < i32::MAX {
            return Ok(end as usize);
        }
        match self.count {
            0 if end <= LONGEST as u64 => Ok(end as usize),
            0 => Err(AppendError::TooLong(usize::try_from(len).unwrap_or(usize::MAX))),
            _ => Err(AppendError::Full),
        }
    }

    /// Makes room for records up to `end`, and as many again where the limit lets them in.
    #[cold]
    fn grow(&mut self, end: usize) {
        let doubled = self.buffer.bytes.len().saturating_mul(2).min(self.limit);
        let mut larger = self.buffer.another(room_for(doubled.max(end)));
        if let Some((to, from)) = larger.bytes.get_mut(..self.len).zip(self.buffer.bytes.get(..self.len)) {
            to.copy_from_slice(from);
        }
        self.buffer = larger;
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
        self.buffer.bytes.len()
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
    /// When what comes out is too long.
    pub fn compress(self, codec: impl Into<Codec>) -> Result<CompressedBatch, CompressionError> {
        let codec = codec.into();
        let (count, base_timestamp, max_timestamp) = (self.count, self.base_timestamp, self.max_timestamp);
        let uncompressed_len = self.len;
        let (buffer, len) = match codec.compression() {
            Compression::None => (self.buffer, self.len),
            _ => compressed(codec, &self.buffer, self.len)?,
        };
        let length = len.saturating_sub(LENGTH_END);
        let header = BatchHeader {
            base_offset: 0,
            batch_length: i32::try_from(length).map_err(|_| CompressionError::TooLong(len))?,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: Attributes::default().with_compression(codec.compression()),
            last_offset_delta: count.saturating_sub(1).max(0),
            base_timestamp,
            max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: count,
        };
        Ok(CompressedBatch { buffer, len, header, uncompressed_len })
    }
}

/// What the length of a buffer for `capacity` bytes has to be.
fn room_for(capacity: usize) -> usize {
    capacity.max(HEADER_LEN).saturating_add(SLACK)
}

/// Room for the header and the compressed records of a batch of `len` bytes, and how many bytes that are.
fn compressed(codec: Codec, plain: &Buffer, len: usize) -> Result<(Buffer, usize), CompressionError> {
    let records = plain.bytes.get(HEADER_LEN..len).unwrap_or_default();
    let Some(home) = &plain.home else {
        let mut out = Vec::with_capacity(HEADER_LEN + records.len() / 2);
        out.resize(HEADER_LEN, 0);
        let bytes = codec.compress(records, out)?;
        let len = bytes.len();
        return Ok((Buffer { bytes, home: None }, len));
    };
    let mut workbench = home.take_workbench();
    workbench.resize(HEADER_LEN, 0);
    let out = codec.compress(records, workbench)?;
    let mut buffer = plain.another(out.len());
    if let Some(to) = buffer.bytes.get_mut(..out.len()) {
        to.copy_from_slice(&out);
    }
    let len = out.len();
    home.put_workbench(out);
    Ok((buffer, len))
}

/// A closed batch that lacks only what is known when it is first sent.
#[derive(Debug)]
pub struct CompressedBatch {
    /// Room for the header, then the compressed records.
    buffer: Buffer,
    /// Bytes of both.
    len: usize,
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
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory the batch holds, until the last handle to what [`stamp`](Self::stamp) makes of it is dropped.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.bytes.len()
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
        header.write(self.buffer.bytes.get_mut(..self.len).unwrap_or_default());
        self.buffer.into_bytes(self.len)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_no_batch_can_carry_are_refused() {
        // Never written to, so that it takes no memory.
        let huge = vec![0; i32::MAX as usize + 1];
        let (longest, _) = huge.split_at(i32::MAX as usize);
        let mut batch = BatchBuilder::new(usize::MAX);
        assert_eq!(batch.append(0, Some(&huge), None, []), Err(AppendError::TooLong(huge.len())));
        assert_eq!(batch.append(0, None, Some(&huge), []), Err(AppendError::TooLong(huge.len())));
        // Its own length would fit, the record's does not.
        assert!(matches!(batch.append(0, None, Some(longest), []), Err(AppendError::TooLong(_))));
        assert!(matches!(batch.append(0, Some(longest), Some(longest), []), Err(AppendError::TooLong(_))));
        let header = Header { name: b"n", value: huge.get(..1 << 26) };
        let headers = std::iter::repeat_n(header, 32);
        assert!(matches!(batch.append(0, None, None, headers), Err(AppendError::TooLong(_))));

        assert_eq!(batch.append(0, None, None, []), Ok(0));
        assert_eq!(batch.append(0, None, Some(&longest[..longest.len() - 60]), []), Err(AppendError::Full));
        assert_eq!((batch.count(), batch.uncompressed_len()), (1, HEADER_LEN + 7));
    }

    #[test]
    fn a_batch_with_room_for_its_limit_never_grows() {
        let limit = 1000;
        let mut batch = BatchBuilder::with_capacity(limit, limit);
        let room = batch.capacity();
        while batch.append(0, None, Some(b"fits into the limit to the byte"), []).is_ok() {}
        let rest = vec![0; limit - batch.uncompressed_len() - 7];
        batch.append(0, None, Some(&rest), []).unwrap();
        assert_eq!((batch.uncompressed_len(), batch.capacity()), (limit, room));
        assert_eq!(batch.append(0, None, None, []), Err(AppendError::Full));
    }

    #[test]
    fn a_batch_knows_its_timestamps() {
        let mut batch = BatchBuilder::new(1000);
        assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (-1, -1));
        for timestamp in [50, 70, 30] {
            batch.append(timestamp, None, None, []).unwrap();
        }
        assert_eq!((batch.base_timestamp(), batch.max_timestamp(), batch.count()), (50, 70, 3));
    }
}
