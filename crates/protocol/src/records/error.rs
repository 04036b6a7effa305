//! What can be wrong with a batch.

use thiserror::Error;

use super::CompressionError;

/// A batch that can't be read.
///
/// It is the fault of whoever wrote the batch, or of what carried it: reading it again from another replica may help,
/// skipping it loses records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the batch at offset {base_offset}: {kind}")]
pub struct BatchError {
    /// The base offset that the batch gives.
    pub base_offset: i64,
    /// What was wrong.
    pub kind: BatchErrorKind,
}

/// The ways in which a batch can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BatchErrorKind {
    /// The length is less than a header's.
    #[error("its length of {0} is out of range")]
    InvalidLength(i32),
    /// No format has this magic byte.
    #[error("its magic byte {0} is not known")]
    UnknownMagic(i8),
    /// The base offset is negative, or the last offset is before it or past 2⁶³ − 1.
    #[error("its last offset is {0} after its base offset, which is out of range")]
    InvalidOffsets(i32),
    /// The count of records is negative, or more than the bytes could hold.
    #[error("it announces {count} records in {len} bytes")]
    ImpossibleCount {
        /// Records announced.
        count: i32,
        /// Bytes of records.
        len: usize,
    },
    /// The bytes are not those the CRC was made of.
    #[error("its CRC is {stored:#010x} but its bytes give {computed:#010x}")]
    CrcMismatch {
        /// What the header says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// The records could not be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A record is broken.
    #[error("record {index}: {kind}")]
    Record {
        /// Place of the record in the batch, from zero.
        index: i32,
        /// What was wrong with it.
        kind: RecordErrorKind,
    },
    /// Bytes stand after the last record.
    #[error("{0} bytes stand after its last record")]
    LeftOver(usize),
    /// A compressed message of magic 0 or 1 wraps no messages.
    #[error("it is a compressed message with none inside")]
    EmptyWrapper,
}

/// The ways in which a record can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordErrorKind {
    /// The bytes end inside the record, or the record inside a field.
    #[error("it is cut off")]
    Truncated,
    /// A variable-length integer does not end, or is too large for its type.
    #[error("a variable-length integer is too long")]
    InvalidVarint,
    /// The record's own length is negative.
    #[error("its length is {0}")]
    InvalidLength(i32),
    /// The count of headers is negative, or more than the bytes could hold.
    #[error("it announces {0} headers")]
    InvalidHeaderCount(i32),
    /// The name of a header is null.
    #[error("the name of a header is null")]
    NullHeaderName,
    /// Bytes of the record stand after its last field.
    #[error("{0} bytes stand after its last field")]
    LeftOver(usize),
    /// The offset is outside the batch.
    #[error("its offset is {0} after the batch's base offset, which is outside the batch")]
    InvalidOffset(i64),
    /// No message of a compressed one has this magic byte, or not inside that one.
    #[error("its magic byte {0} can't be there")]
    UnknownMagic(i8),
    /// A compressed message stands inside a compressed message.
    #[error("it is compressed, inside a compressed message")]
    NestedWrapper,
    /// A message of magic 0 or 1 inside a compressed one is not what its CRC was made of.
    #[error("its CRC is {stored:#010x} but its bytes give {computed:#010x}")]
    CrcMismatch {
        /// What the message says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
}
