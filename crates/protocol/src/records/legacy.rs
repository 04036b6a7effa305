//! Messages of magic 0 and 1, which Kafka wrote before 0.11 and which old segments still hold.
//!
//! A message is what a batch is in magic 2: what the log is cut into. A compressed one is a wrapper, with a set of
//! messages for its value. When one is decoded, its messages are written anew as records of magic 2, so that what reads
//! records need not know more than one format; it costs a copy, of data that is rare.
//!
//! - Offsets: in magic 0 the messages of a wrapper have their own; in magic 1 they count from zero, and the wrapper
//!   has that of the last one (KIP-31).
//! - Timestamps: magic 0 has none, so its records have -1. In magic 1 a wrapper's time of appending holds for all of
//!   its messages (KIP-32).
//! - The CRC is CRC-32, not CRC-32C, and each message has one, inside a wrapper too.
//! - A wrapper holds no wrappers: Java refuses them, and so is their depth bounded here.

use bytes::Bytes;

use super::{
    Attributes, BatchErrorKind, BatchHeader, Compression, CompressionError, ReadOptions, RecordErrorKind,
    compression::{self, HeaderChecksum},
    encode::{Measured, SLACK},
    header::LENGTH_END,
};

/// Timestamp of a message that has none.
const NO_TIMESTAMP: i64 = -1;
/// Least bytes of a message from its CRC on: with magic and attributes, a null key and a null value.
pub(super) const MIN_LENGTH: i32 = 14;

/// The header of a message as one of a batch. A wrapper gives its last offset only.
pub(super) fn header(
    base_offset: i64,
    batch_length: i32,
    message: &[u8],
) -> Result<BatchHeader, RecordErrorKind> {
    let message = Message::parse(message.get(LENGTH_END..).unwrap_or_default())?;
    Ok(BatchHeader {
        base_offset,
        batch_length,
        partition_leader_epoch: -1,
        crc: message.crc,
        attributes: Attributes::from_legacy(message.attributes),
        last_offset_delta: 0,
        base_timestamp: message.timestamp,
        max_timestamp: message.timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 1,
    })
}

/// What the CRC of a message gives.
pub(super) fn crc(message: &[u8]) -> u32 {
    crc32fast::hash(message.get(LENGTH_END.saturating_add(size_of::<u32>())..).unwrap_or_default())
}

/// The messages of a message, itself or what it wraps, as a header and records of magic 2. Its own CRC is not looked
/// at.
pub(super) fn decode(
    outer: &BatchHeader,
    message: &[u8],
    limit: usize,
    options: &ReadOptions,
) -> Result<(BatchHeader, Bytes), BatchErrorKind> {
    let body = message.get(LENGTH_END..).unwrap_or_default();
    let read = Message::parse(body).map_err(|kind| BatchErrorKind::Record { index: 0, kind })?;
    let wrapped = match read.compression()? {
        Compression::None => None,
        compression => {
            let compressed = read.value.ok_or(BatchErrorKind::EmptyWrapper)?;
            Some(compression::decompress(compression, compressed, limit, HeaderChecksum::Ignored)?)
        }
    };
    let set = Set {
        messages: wrapped.as_deref().unwrap_or(message),
        check_crc: options.check_crc && wrapped.is_some(),
    };
    let wrapper_magic = wrapped.is_some().then_some(read.magic);
    set.transcode(outer, wrapper_magic)
}

/// Messages one after the other.
struct Set<'a> {
    messages: &'a [u8],
    check_crc: bool,
}

impl Set<'_> {
    fn transcode(
        &self,
        outer: &BatchHeader,
        wrapper_magic: Option<i8>,
    ) -> Result<(BatchHeader, Bytes), BatchErrorKind> {
        let Offsets { first, last } = self.offsets()?;
        // The outer offset is 0 in what some clients produce, whose inner ones count from 0 too.
        let shift = match wrapper_magic {
            Some(1) if outer.base_offset != 0 => outer.base_offset.saturating_sub(last),
            _ => 0,
        };
        let base_offset = first.saturating_add(shift);
        let last_offset = outer.base_offset.max(last.saturating_add(shift));
        let last_offset_delta = i32::try_from(last_offset.saturating_sub(base_offset));
        let last_offset_delta = last_offset_delta.unwrap_or(-1);
        if shift < 0 || base_offset < 0 || last_offset_delta < 0 || last_offset == i64::MAX {
            return Err(BatchErrorKind::InvalidOffsets(last_offset_delta));
        }
        let mut header = BatchHeader { base_offset, last_offset_delta, record_count: 0, ..*outer };
        // A record takes less room than a message.
        let mut records = Vec::with_capacity(self.messages.len().saturating_add(SLACK));
        for entry in self.entries() {
            let index = header.record_count;
            let at = |kind| BatchErrorKind::Record { index, kind };
            let (offset, body) = entry.map_err(at)?;
            let message = Message::parse(body).map_err(at)?;
            if let Some(magic) = wrapper_magic {
                message.check_inner(magic, self.check_crc).map_err(at)?;
            }
            if index == 0 {
                header.base_timestamp = message.timestamp;
            }
            let delta = offset.saturating_add(shift).saturating_sub(base_offset);
            let in_range = i32::try_from(delta).ok().filter(|delta| (0..=last_offset_delta).contains(delta));
            let delta = in_range.ok_or(at(RecordErrorKind::InvalidOffset(delta)))?;
            message
                .write(message.timestamp.wrapping_sub(header.base_timestamp), delta, &mut records)
                .map_err(at)?;
            header.record_count = index.saturating_add(1);
        }
        Ok((header, records.into()))
    }

    /// The offsets of the first message and the last.
    fn offsets(&self) -> Result<Offsets, BatchErrorKind> {
        let mut offsets: Option<Offsets> = None;
        for (index, entry) in (0..).zip(self.entries()) {
            let (last, _) = entry.map_err(|kind| BatchErrorKind::Record { index, kind })?;
            offsets = Some(Offsets { first: offsets.map_or(last, |offsets| offsets.first), last });
        }
        offsets.ok_or(BatchErrorKind::EmptyWrapper)
    }

    fn entries(&self) -> Entries<'_> {
        Entries { rest: self.messages }
    }
}

#[derive(Clone, Copy)]
struct Offsets {
    first: i64,
    last: i64,
}

/// The messages of a set: the offset of each, and its bytes from the CRC on.
struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(i64, &'a [u8]), RecordErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut fields = Fields { rest: self.rest };
        let entry = (|| {
            let offset = i64::from_be_bytes(fields.chunk()?);
            let length = i32::from_be_bytes(fields.chunk()?);
            let len = usize::try_from(length).map_err(|_| RecordErrorKind::InvalidLength(length))?;
            Ok((offset, fields.take(len)?))
        })();
        self.rest = if entry.is_ok() { fields.rest } else { &[] };
        Some(entry)
    }
}

/// One message.
struct Message<'a> {
    crc: u32,
    /// What the CRC is of.
    covered: &'a [u8],
    magic: i8,
    attributes: u8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads a message from its CRC on.
    fn parse(body: &'a [u8]) -> Result<Self, RecordErrorKind> {
        let mut fields = Fields { rest: body };
        let crc = u32::from_be_bytes(fields.chunk()?);
        let covered = fields.rest;
        let magic = i8::from_be_bytes(fields.chunk()?);
        let [attributes] = fields.chunk()?;
        let timestamp = match magic {
            0 => NO_TIMESTAMP,
            1 => i64::from_be_bytes(fields.chunk()?),
            _ => return Err(RecordErrorKind::UnknownMagic(magic)),
        };
        let key = fields.nullable_bytes()?;
        let value = fields.nullable_bytes()?;
        match fields.rest.len() {
            0 => Ok(Self { crc, covered, magic, attributes, timestamp, key, value }),
            left => Err(RecordErrorKind::LeftOver(left)),
        }
    }

    fn compression(&self) -> Result<Compression, CompressionError> {
        let id = Attributes::from_legacy(self.attributes).compression_id();
        // Zstandard came after these formats (KIP-110).
        let known = Compression::from_id(id).filter(|compression| *compression != Compression::Zstd);
        known.ok_or(CompressionError::Unknown(id))
    }

    /// Whether it may stand in a wrapper of this magic.
    fn check_inner(&self, wrapper_magic: i8, check_crc: bool) -> Result<(), RecordErrorKind> {
        if self.magic != wrapper_magic {
            return Err(RecordErrorKind::UnknownMagic(self.magic));
        }
        if self.compression() != Ok(Compression::None) {
            return Err(RecordErrorKind::NestedWrapper);
        }
        let stored = self.crc;
        let computed = if check_crc { crc32fast::hash(self.covered) } else { stored };
        if computed == stored { Ok(()) } else { Err(RecordErrorKind::CrcMismatch { stored, computed }) }
    }

    /// Appends it as a record of magic 2.
    fn write(
        &self,
        timestamp_delta: i64,
        offset_delta: i32,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordErrorKind> {
        let headers = std::iter::empty;
        let record = Measured::new(timestamp_delta, offset_delta, self.key, self.value, headers());
        // Lengths that were read from 31 bits each; only their sum can be too long.
        let record = record.map_err(|_| RecordErrorKind::InvalidLength(i32::MAX))?;
        let start = out.len();
        let len = usize::try_from(record.total()).map_err(|_| RecordErrorKind::InvalidLength(i32::MAX))?;
        let end = start.saturating_add(len);
        out.resize(end.saturating_add(SLACK), 0);
        record.write(out.get_mut(start..).unwrap_or_default(), headers());
        out.truncate(end);
        Ok(())
    }
}

/// What is left of a message, or of a set.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], RecordErrorKind> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(RecordErrorKind::Truncated)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordErrorKind> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordErrorKind::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Bytes behind a length of 32 bits, of which -1 says null.
    fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordErrorKind> {
        let length = i32::from_be_bytes(self.chunk()?);
        match usize::try_from(length) {
            Ok(len) => self.take(len).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(RecordErrorKind::InvalidLength(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batches, Codec};

    const TIME: i64 = 1_700_000_000_000;
    const LOG_APPEND_TIME: u8 = 0x08;

    fn field(bytes: Option<&[u8]>) -> Vec<u8> {
        let length = bytes.map_or(-1, |bytes| bytes.len() as i32);
        [&length.to_be_bytes(), bytes.unwrap_or_default()].concat()
    }

    fn message(offset: i64, magic: u8, attributes: u8, timestamp: i64, value: Option<&[u8]>) -> Vec<u8> {
        let mut covered = vec![magic, attributes];
        if magic == 1 {
            covered.extend_from_slice(&timestamp.to_be_bytes());
        }
        covered.extend_from_slice(&field(Some(b"key")));
        covered.extend_from_slice(&field(value));
        let length = covered.len() as i32 + 4;
        let crc = crc32fast::hash(&covered);
        [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc.to_be_bytes(), &covered].concat()
    }

    fn wrapper(offset: i64, magic: u8, attributes: u8, inner: &[u8]) -> Vec<u8> {
        let value = Codec::from(Compression::Gzip).compress(inner, Vec::new()).unwrap();
        message(offset, magic, attributes | Compression::Gzip.id(), TIME, Some(&value))
    }

    /// Offset and timestamp of each record.
    fn read(bytes: Vec<u8>) -> Result<Vec<(i64, i64)>, BatchErrorKind> {
        let batch = Batches::new(bytes.into()).next().unwrap().map_err(|error| error.kind)?;
        let decoded = batch.decode(&ReadOptions::default()).map_err(|error| error.kind)?;
        let records = decoded.records().map(|record| record.map_err(|error| error.kind));
        records.map(|record| record.map(|record| (record.offset(), record.timestamp()))).collect()
    }

    fn broken(index: i32, kind: RecordErrorKind) -> Result<Vec<(i64, i64)>, BatchErrorKind> {
        Err(BatchErrorKind::Record { index, kind })
    }

    #[test]
    fn offsets_are_absolute_in_magic_0_and_relative_in_magic_1() {
        // Compaction has taken the messages between them.
        let inner =
            |first, last| [message(first, 1, 0, 5, None), message(last, 1, 0, 3, Some(b"v"))].concat();
        assert_eq!(read(wrapper(107, 1, 0, &inner(0, 7))), Ok(vec![(100, 5), (107, 3)]));
        assert_eq!(read(wrapper(107, 1, 0, &inner(2, 7))), Ok(vec![(102, 5), (107, 3)]));
        assert_eq!(read(wrapper(0, 1, 0, &inner(0, 1))), Ok(vec![(0, 5), (1, 3)]));
        let inner = [message(100, 0, 0, 0, None), message(107, 0, 0, 0, Some(b"v"))].concat();
        assert_eq!(read(wrapper(107, 0, 0, &inner)), Ok(vec![(100, -1), (107, -1)]));
    }

    #[test]
    fn a_time_of_appending_holds_for_every_message() {
        let inner = [message(0, 1, 0, 5, None), message(1, 1, 0, 3, None)].concat();
        assert_eq!(read(wrapper(9, 1, LOG_APPEND_TIME, &inner)), Ok(vec![(8, TIME), (9, TIME)]));
        assert_eq!(read(message(9, 1, LOG_APPEND_TIME, 77, None)), Ok(vec![(9, 77)]));
    }

    #[test]
    fn what_java_refuses_is_refused() {
        let plain = message(0, 1, 0, 5, None);
        let nested = wrapper(1, 1, 0, &wrapper(1, 1, 0, &plain));
        assert_eq!(read(nested), broken(0, RecordErrorKind::NestedWrapper));
        assert_eq!(read(wrapper(9, 1, 0, &[])), Err(BatchErrorKind::EmptyWrapper));
        assert_eq!(read(message(9, 1, Compression::Gzip.id(), 0, None)), Err(BatchErrorKind::EmptyWrapper));
        for id in [4, 5, 7] {
            let unknown = Err(BatchErrorKind::Compression(CompressionError::Unknown(id)));
            assert_eq!(read(message(9, 1, id, 0, Some(b"v"))), unknown);
        }
        // The last of them would be before the first offset there is.
        let far = message(20, 1, 0, 5, None);
        assert!(matches!(read(wrapper(9, 1, 0, &far)), Err(BatchErrorKind::InvalidOffsets(_))));
    }

    #[test]
    fn what_is_broken_inside_is_named() {
        let two = |second: Vec<u8>| wrapper(9, 1, 0, &[message(0, 1, 0, 5, None), second].concat());
        let good = message(1, 1, 0, 5, Some(b"v"));
        assert_eq!(read(two(good.clone())), Ok(vec![(8, 5), (9, 5)]));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let error = read(two(flipped)).unwrap_err();
        assert!(matches!(
            error,
            BatchErrorKind::Record { index: 1, kind: RecordErrorKind::CrcMismatch { .. } }
        ));
        for len in 1..good.len() {
            assert_eq!(read(two(good[..len].to_vec())), broken(1, RecordErrorKind::Truncated), "{len}");
        }
        assert_eq!(read(two(message(1, 0, 0, 0, None))), broken(1, RecordErrorKind::UnknownMagic(0)));
        let before = [message(5, 0, 0, 0, None), message(4, 0, 0, 0, None)].concat();
        assert_eq!(read(wrapper(9, 0, 0, &before)), broken(1, RecordErrorKind::InvalidOffset(-1)));
        let mut long = good;
        long.push(0);
        long[11] += 1;
        assert_eq!(read(two(long)), broken(1, RecordErrorKind::LeftOver(1)));
    }

    #[test]
    fn the_crc_of_a_message_is_checked() {
        let mut flipped = message(9, 0, 0, 0, Some(b"v"));
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(read(flipped), Err(BatchErrorKind::CrcMismatch { .. })));
    }
}
