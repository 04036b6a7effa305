//! The fixed-size front of a batch.

use super::Compression;

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Base offset and length: what stands before the bytes that the length counts.
pub(super) const LENGTH_END: usize = 12;
/// Where the bytes that the CRC covers begin.
pub(super) const CRC_END: usize = 21;
/// What of the header the length field counts.
pub(super) const MIN_LENGTH: usize = HEADER_LEN - LENGTH_END;
/// The only version of the format that is written.
pub(super) const MAGIC: i8 = 2;

/// The front of a batch, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record the batch was written with. Zero until a broker appends it.
    pub base_offset: i64,
    /// Bytes of the batch from `partition_leader_epoch` on.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 until then.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Compression, timestamp type and flags.
    pub attributes: Attributes,
    /// Offset of the last record the batch was written with, less `base_offset`. Compaction keeps it even when it
    /// removes that record.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to, in milliseconds since 1970. With a delete horizon it is that
    /// horizon (KIP-534).
    pub base_timestamp: i64,
    /// Largest timestamp of a record, or the time of appending.
    pub max_timestamp: i64,
    /// -1 when the producer is not idempotent.
    pub producer_id: i64,
    /// -1 when the producer is not idempotent.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 when the producer is not idempotent, and in control batches.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Offset of the last record the batch was written with.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// Where reading goes on after this batch. A count of records does not tell: compaction removes some of them, or
    /// all.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the record at `offset_delta`, or -1 when the batch has none.
    #[must_use]
    pub fn sequence(&self, offset_delta: i32) -> i32 {
        if self.base_sequence < 0 { -1 } else { increment_sequence(self.base_sequence, offset_delta) }
    }

    /// Sequence number of the last record the batch was written with, or -1 when the batch has none.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.sequence(self.last_offset_delta)
    }

    /// When the records can be removed for good, in milliseconds since 1970, if the batch is a tombstone's or marker's
    /// that compaction has seen (KIP-534).
    #[must_use]
    pub fn delete_horizon(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Takes the fields as they stand; nothing is checked.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let base_offset = i64::from_be_bytes(fields.next()?);
        let batch_length = i32::from_be_bytes(fields.next()?);
        let partition_leader_epoch = i32::from_be_bytes(fields.next()?);
        let [_magic] = fields.next()?;
        Some(Self {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: u32::from_be_bytes(fields.next()?),
            attributes: Attributes(i16::from_be_bytes(fields.next()?)),
            last_offset_delta: i32::from_be_bytes(fields.next()?),
            base_timestamp: i64::from_be_bytes(fields.next()?),
            max_timestamp: i64::from_be_bytes(fields.next()?),
            producer_id: i64::from_be_bytes(fields.next()?),
            producer_epoch: i16::from_be_bytes(fields.next()?),
            base_sequence: i32::from_be_bytes(fields.next()?),
            record_count: i32::from_be_bytes(fields.next()?),
        })
    }

    /// Writes the fields and the magic byte over the first bytes of `batch`, and the CRC of what is there then.
    /// `self.crc` is not looked at.
    pub(super) fn write(mut self, batch: &mut [u8]) {
        let covered = batch.get_mut(CRC_END..).unwrap_or_default();
        let fields: [&[u8]; 8] = [
            &self.attributes.0.to_be_bytes(),
            &self.last_offset_delta.to_be_bytes(),
            &self.base_timestamp.to_be_bytes(),
            &self.max_timestamp.to_be_bytes(),
            &self.producer_id.to_be_bytes(),
            &self.producer_epoch.to_be_bytes(),
            &self.base_sequence.to_be_bytes(),
            &self.record_count.to_be_bytes(),
        ];
        put(covered, &fields);
        self.crc = crc(covered);
        self.write_uncovered(batch);
    }

    /// Writes what the CRC does not cover, and the CRC as it is in `self`.
    pub(super) fn write_uncovered(&self, batch: &mut [u8]) {
        let fields: [&[u8]; 5] = [
            &self.base_offset.to_be_bytes(),
            &self.batch_length.to_be_bytes(),
            &self.partition_leader_epoch.to_be_bytes(),
            &MAGIC.to_be_bytes(),
            &self.crc.to_be_bytes(),
        ];
        put(batch, &fields);
    }
}

/// CRC-32C, of Castagnoli.
pub(super) fn crc(covered: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(covered)
}

fn put(to: &mut [u8], fields: &[&[u8]]) {
    let bytes = fields.iter().copied().flatten();
    for (to, byte) in to.iter_mut().zip(bytes) {
        *to = *byte;
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

/// The sixteen bits that say how to read a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(i16);

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, record by record.
    CreateTime,
    /// The broker, once for the whole batch: every record has the batch's `max_timestamp`.
    LogAppendTime,
}

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// Those of a message of magic 0 or 1, which means the same by its lowest four bits and nothing by the others.
    pub(super) const fn from_legacy(attributes: u8) -> Self {
        Self((attributes & 0x0f) as i16)
    }

    /// The bits as they are on the wire.
    #[must_use]
    pub const fn bits(self) -> i16 {
        self.0
    }

    /// The three bits that name the compression; [`Compression::from_id`] knows five of the eight values.
    #[must_use]
    pub const fn compression_id(self) -> u8 {
        (self.0 & Self::COMPRESSION) as u8
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// True when the records belong to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// True when the records are the broker's own (see [`ControlRecord`](super::ControlRecord)), not for users.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// True when the base timestamp is a delete horizon (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    pub(super) const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::COMPRESSION | compression.id() as i16)
    }

    pub(super) const fn with_log_append_time(self) -> Self {
        Self(self.0 | Self::LOG_APPEND_TIME)
    }

    pub(super) const fn with_transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    pub(super) const fn with_control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }
}

/// The sequence number `by` records after `sequence`: after 2³¹ − 1 comes 0.
///
/// ```
/// # use milena_protocol::records::increment_sequence;
/// assert_eq!(increment_sequence(i32::MAX, 1), 0);
/// ```
#[must_use]
pub const fn increment_sequence(sequence: i32, by: i32) -> i32 {
    // Both are below 2^31 where it counts, so the sum wraps at most once and masking the sign bit is the modulo.
    sequence.wrapping_add(by) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_wraps_to_zero() {
        assert_eq!(increment_sequence(i32::MAX - 2, 5), 2);
        assert_eq!(increment_sequence(i32::MAX, 0), i32::MAX);
        assert_eq!(increment_sequence(i32::MAX, i32::MAX), i32::MAX - 1);
    }
}
