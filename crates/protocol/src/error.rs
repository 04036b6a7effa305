//! What can be wrong with bytes, and with a value that is to become bytes.

use thiserror::Error;

use crate::ApiKey;

/// Bytes that are not the message they were said to be.
///
/// It is always the sender's fault, or the caller's who named the wrong version. `at` counts bytes from the start of
/// the buffer that was handed to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} at byte {at}")]
pub struct DecodeError {
    /// What was wrong.
    pub kind: DecodeErrorKind,
    /// Where reading had got to.
    pub at: usize,
}

/// The ways in which bytes can fail to be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The buffer ended inside a field.
    #[error("{needed} more bytes were expected but {left} are left")]
    Truncated {
        /// Bytes the field asked for.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes stood after the last field.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    /// A length or count is negative, or past what its field may say.
    #[error("the length {0} is out of range")]
    InvalidLength(i64),
    /// More elements are announced than the bytes that are left could hold.
    #[error("{count} elements are announced but only {left} bytes are left")]
    ImpossibleCount {
        /// Elements announced.
        count: usize,
        /// Bytes left.
        left: usize,
    },
    /// Decoding would allocate more than the bound that goes with the input's size.
    #[error("decoding would allocate more than the bound for an input of this size")]
    OverBudget,
    /// A field that may not be null is null.
    #[error("a field that may not be null is null")]
    UnexpectedNull,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    InvalidUtf8,
    /// A variable-length integer does not end, or is too large for its type.
    #[error("a variable-length integer is too long")]
    InvalidVarint,
    /// A tagged field stands in a version of the message that does not have it.
    #[error("the tag {0} does not belong to this version")]
    UnexpectedTag(u32),
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnknownVersion {
        /// The message's name in the schema.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// No message is known by this API key.
    #[error("the API key {0} is not known")]
    UnknownApiKey(i16),
    /// The messages of this API are not compiled in.
    #[error("the messages of {0} are left out: they need another feature of milena-protocol")]
    MissingFeature(ApiKey),
}

/// A value that can't be written in the version asked for.
///
/// It is the caller's fault: nothing has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnknownVersion {
        /// The message's name in the schema.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field holds something, and the version can't carry the field.
    #[error("{message} version {version} cannot carry {field}")]
    UnsupportedField {
        /// The structure's name in the schema.
        message: &'static str,
        /// The field's name in the schema.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null, and in this version it must not be.
    #[error("{field} of {message} may not be null in version {version}")]
    NullField {
        /// The structure's name in the schema.
        message: &'static str,
        /// The field's name in the schema.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Unknown tagged fields were kept, and the version has no room for tagged fields.
    #[error("this version carries no tagged fields")]
    UnsupportedTags,
    /// An unknown tagged field has the tag of a known one, or is out of order.
    #[error("the tagged field {0} is out of order")]
    UnorderedTag(u32),
    /// A string, an array or a whole frame is longer than its length field can say.
    #[error("a length of {0} is more than its field can say")]
    TooLong(usize),
}
