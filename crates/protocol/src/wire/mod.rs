//! The primitives every message is made of: a bounded reader, a writer that never copies a payload, and the types
//! that stay inside the frame they came in.
//!
//! Nothing here knows a message; [`messages`](crate::messages) is written in these terms by the generator.
//!
//! # References
//! [Protocol primitive types](https://kafka.apache.org/protocol#protocol_types), KIP-482 for the compact forms and
//! tagged fields.

mod check;
mod listed;
mod packed;
mod reader;
mod tag_reader;
mod tag_writer;
mod tags;
mod uuid;
pub(crate) mod varint;
mod writer;
mod written;

#[cfg(feature = "serde")]
pub mod json;

pub use bytestring::ByteString;
pub use listed::{Listed, ListedIter, ListedWalk};
pub use packed::{Packed, Primitive};
pub use reader::Reader;
pub use tag_writer::TagWriter;
pub use tags::{RawTag, UnknownTags, UnknownTagsIter};
pub use uuid::{InvalidUuid, Uuid};
pub use varint::{unsigned_varint_len, varint_len, varlong_len};
pub use writer::Writer;
pub use written::{Chunks, Frame};

/// What the generated code is written in.
pub(crate) mod codec {
    pub(crate) use super::{
        Decode, Encode, Reader, Writer,
        writer::{refuse, required},
    };
    pub(crate) use crate::{DecodeError, DecodeErrorKind, EncodeError};
}

use crate::{DecodeError, EncodeError};

/// A structure that can be written in any of its versions.
pub trait Encode {
    /// Appends the structure to `writer` as `version` has it.
    ///
    /// # Errors
    /// When the version cannot carry the value. What `writer` holds then is of no use.
    fn encode<'v>(&'v self, writer: &mut Writer<'v>, version: i16) -> Result<(), EncodeError>;

    /// How many bytes [`encode`](Self::encode) appends, exactly.
    ///
    /// It costs what encoding costs, but for the byte fields and records, which are counted and never touched.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encoded_len(&self, version: i16) -> Result<usize, EncodeError> {
        let mut writer = Writer::measuring();
        self.encode(&mut writer, version)?;
        Ok(writer.len())
    }
}

/// A structure that can be read in any of its versions.
pub trait Decode: Default {
    /// The fewest bytes the structure takes in any version: what bounds the count of an array of it.
    const MIN_LEN: usize;

    /// Reads the structure as `version` has it and leaves `reader` behind its last byte.
    ///
    /// # Errors
    /// When the bytes are not that structure.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;

    /// Reads as [`decode`](Self::decode) does, into the place of a structure that was read before: one of many is not moved
    /// about.
    ///
    /// # Errors
    /// When `decode` fails. What the place holds then is of no use.
    fn decode_into(&mut self, reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        *self = Self::decode(reader, version)?;
        Ok(())
    }

    /// Reads as [`decode`](Self::decode) does, accepts and refuses the same bytes, and builds nothing where it can.
    ///
    /// # Errors
    /// When `decode` fails.
    fn check(reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        Self::decode(reader, version).map(drop)
    }
}
