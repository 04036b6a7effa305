//! Builds frames: small fields into one buffer, payloads beside it, lengths filled in afterwards.

use bytes::{BufMut, Bytes};
use bytestring::ByteString;

use super::{
    Encode, Listed, Packed, Primitive, UnknownTags, Uuid,
    varint::{zigzag, zigzag_long},
    written::{Chunks, Frame, Payload, Placed},
};
use crate::EncodeError;

/// Payloads of at least this many bytes go out as a slice of their own. Below it, one `memcpy` is cheaper than one
/// more entry in a vectored write.
const SHARE_FROM: usize = 1024;

/// For how many payloads a writer that is used again keeps room.
const MAX_KEPT_PAYLOADS: usize = 1024;

/// Kafka's strings end here in the compact form too.
const MAX_STRING: usize = i16::MAX as usize;
const MAX_BYTES: usize = i32::MAX as usize - 1;

/// Bytes that a frame's length takes.
const PREFIX: usize = 4;

/// Where the fields of one or more messages go.
///
/// A payload (records, mostly) is not copied: the writer remembers where it belongs and borrows it. [`Writer::chunks`]
/// hands out everything as slices for vectored writes; [`Writer::finish`] makes a [`Frame`] that borrows nothing.
#[derive(Debug, Default)]
pub struct Writer<'v> {
    pub(super) buffer: Vec<u8>,
    pub(super) payloads: Vec<Placed<'v>>,
    payload_len: usize,
    /// Positive inside a tagged field, whose bytes may still be moved.
    pub(super) nested: u32,
    /// Payloads are counted and nothing else, wherever they are and however small.
    measuring: bool,
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self, value: $type) {
            self.buffer.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

impl<'v> Writer<'v> {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: Vec::with_capacity(256), ..Self::default() }
    }

    /// An empty writer in the place of this one: it keeps the room that was allocated, up to `max_bytes` of fields, and
    /// borrows nothing yet. What was written is dropped.
    #[must_use]
    pub fn recycle<'n>(mut self, max_bytes: usize) -> Writer<'n> {
        self.buffer.clear();
        self.buffer.shrink_to(max_bytes);
        self.payloads.clear();
        self.payloads.shrink_to(MAX_KEPT_PAYLOADS);
        // A list whose elements borrow from something else: collecting one of the same layout keeps the allocation.
        let payloads = self.payloads.into_iter().map(|placed| placed.shared(0)).collect();
        Writer { buffer: self.buffer, payloads, ..Writer::default() }
    }

    /// A writer that is only asked for its [`len`](Self::len).
    pub(super) fn measuring() -> Self {
        Self { measuring: true, ..Self::default() }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len().saturating_add(self.payload_len)
    }

    /// True while nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that was written, from its start.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(&self.buffer, &self.payloads, self.len())
    }

    /// Everything that was written, as slices that share the payloads and borrow nothing.
    #[must_use]
    pub fn finish(self) -> Frame {
        let len = self.len();
        Frame::new(self.buffer, self.payloads, len)
    }

    /// A frame: what `content` writes, with its length before it.
    ///
    /// # Errors
    /// When `content` fails, or the frame is longer than 2³¹ − 1 bytes. The writer then holds what it held before.
    pub fn frame(
        &mut self,
        content: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let (buffered, placed, payload_len) = (self.buffer.len(), self.payloads.len(), self.payload_len);
        let start = self.len();
        self.buffer.put_i32(0);
        let written = content(self).and_then(|()| self.fill_in_len(buffered, start));
        if written.is_err() {
            self.buffer.truncate(buffered);
            self.payloads.truncate(placed);
            self.payload_len = payload_len;
            self.nested = 0;
        }
        written
    }

    /// Puts the length of all that came after `start` at `at` in the buffer.
    fn fill_in_len(&mut self, at: usize, start: usize) -> Result<(), EncodeError> {
        let len = self.len().saturating_sub(start).saturating_sub(PREFIX);
        let size = i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        if let Some(prefix) = self.buffer.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *prefix = size.to_be_bytes();
        }
        Ok(())
    }

    /// What another writer wrote, as if it had been written here. The payloads are shared.
    fn append(&mut self, other: Writer<'_>) {
        let before = self.buffer.len();
        self.payload_len = self.payload_len.saturating_add(other.payload_len);
        let placed = other.payloads.into_iter().map(|placed| placed.shared(before));
        self.payloads.extend(placed);
        self.buffer.extend_from_slice(&other.buffer);
    }

    pub(crate) fn check_version(
        message: &'static str,
        version: i16,
        first: i16,
        last: i16,
    ) -> Result<(), EncodeError> {
        if (first..=last).contains(&version) {
            return Ok(());
        }
        Err(EncodeError::UnknownVersion { message, version })
    }

    integers! {
        /// A signed byte.
        i8: i8;
        /// Two bytes, signed.
        i16: i16;
        /// Two bytes, unsigned.
        u16: u16;
        /// Four bytes, signed.
        i32: i32;
        /// Four bytes, unsigned.
        u32: u32;
        /// Eight bytes, signed.
        i64: i64;
        /// An IEEE 754 double.
        f64: f64;
    }

    /// One byte, 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(value.into());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.extend_from_slice(value.as_bytes());
    }

    /// An unsigned varint.
    #[inline]
    pub fn unsigned_varint(&mut self, value: u32) {
        put_varint(&mut self.buffer, value.into());
    }

    /// A zigzag varint.
    #[inline]
    pub fn varint(&mut self, value: i32) {
        put_varint(&mut self.buffer, zigzag(value).into());
    }

    /// A zigzag varlong.
    #[inline]
    pub fn varlong(&mut self, value: i64) {
        put_varint(&mut self.buffer, zigzag_long(value));
    }

    /// Bytes as they stand, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The length of something that may be null.
    #[inline]
    fn nullable_len(&mut self, flexible: bool, narrow: bool, len: Option<usize>) -> Result<(), EncodeError> {
        let Some(len) = len else {
            match (flexible, narrow) {
                (true, _) => self.unsigned_varint(0),
                (false, true) => self.i16(-1),
                (false, false) => self.i32(-1),
            }
            return Ok(());
        };
        let max = if narrow { MAX_STRING } else { MAX_BYTES };
        if len > max {
            return Err(EncodeError::TooLong(len));
        }
        match (flexible, narrow) {
            (true, _) => self.unsigned_varint((len as u32).wrapping_add(1)),
            (false, true) => self.i16(len as i16),
            (false, false) => self.i32(len as i32),
        }
        Ok(())
    }

    /// A string that may be null.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn nullable_string(&mut self, flexible: bool, text: Option<&ByteString>) -> Result<(), EncodeError> {
        self.nullable_str(flexible, text.map(|text| &**text))
    }

    /// A string that may be null, wherever it comes from.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn nullable_str(&mut self, flexible: bool, text: Option<&str>) -> Result<(), EncodeError> {
        self.nullable_len(flexible, true, text.map(str::len))?;
        if let Some(text) = text {
            self.buffer.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    /// A string.
    ///
    /// # Errors
    /// When it is longer than 32,767 bytes.
    pub fn string(&mut self, flexible: bool, text: &ByteString) -> Result<(), EncodeError> {
        self.nullable_string(flexible, Some(text))
    }

    /// Bytes (or records) that may be null; large ones are shared, not copied.
    ///
    /// # Errors
    /// When they are longer than a length can say.
    #[inline(always)]
    pub fn nullable_bytes(&mut self, flexible: bool, bytes: Option<&'v Bytes>) -> Result<(), EncodeError> {
        let Some(bytes) = bytes else { return self.nullable_len(flexible, false, None) };
        match bytes.len() {
            // The length of most batches takes three bytes.
            len @ 0x3fff..0x1f_ffff if flexible => {
                let value = len.wrapping_add(1);
                let [first, second] = [value as u8 | 0x80, (value >> 7) as u8 | 0x80];
                self.buffer.extend_from_slice(&[first, second, (value >> 14) as u8]);
            }
            len => self.nullable_len(flexible, false, Some(len))?,
        }
        self.payload(bytes);
        Ok(())
    }

    /// Bytes; large ones are shared, not copied.
    ///
    /// # Errors
    /// When they are longer than a length can say.
    pub fn bytes(&mut self, flexible: bool, bytes: &'v Bytes) -> Result<(), EncodeError> {
        self.nullable_bytes(flexible, Some(bytes))
    }

    #[inline(always)]
    pub(super) fn payload(&mut self, bytes: &'v Bytes) {
        if self.measuring {
            self.payload_len = self.payload_len.saturating_add(bytes.len());
        } else if bytes.len() < SHARE_FROM || self.nested > 0 {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.payloads.push(Placed { at: self.buffer.len(), bytes: Payload::Borrowed(bytes) });
            self.payload_len = self.payload_len.saturating_add(bytes.len());
        }
    }

    /// An array of structures that may be null.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn nullable_structs<T: Encode>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: Option<&'v [T]>,
    ) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, elements.map(<[T]>::len))?;
        elements.unwrap_or_default().iter().try_for_each(|element| element.encode(self, version))
    }

    /// An array of structures.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn structs<T: Encode>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: &'v [T],
    ) -> Result<(), EncodeError> {
        self.nullable_structs(flexible, version, Some(elements))
    }

    /// An array of structures that may be null and may still be in the frame it came in.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn nullable_listed<T: Encode + Clone + Default>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: Option<&'v Listed<T>>,
    ) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, elements.map(Listed::len))?;
        let Some(elements) = elements else { return Ok(()) };
        if let Some(built) = elements.as_built() {
            return built.iter().try_for_each(|element| element.encode(self, version));
        }
        for element in elements {
            // The element lives for this turn only: what it would lend is shared instead.
            let mut part = Writer { nested: self.nested, measuring: self.measuring, ..Writer::default() };
            element.encode(&mut part, version)?;
            self.append(part);
        }
        Ok(())
    }

    /// An array of structures that may still be in the frame it came in.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn listed<T: Encode + Clone + Default>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: &'v Listed<T>,
    ) -> Result<(), EncodeError> {
        self.nullable_listed(flexible, version, Some(elements))
    }

    /// An array of strings that may be null.
    ///
    /// # Errors
    /// When one is too long.
    pub fn nullable_strings(
        &mut self,
        flexible: bool,
        elements: Option<&[ByteString]>,
    ) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, elements.map(<[_]>::len))?;
        elements.unwrap_or_default().iter().try_for_each(|text| self.string(flexible, text))
    }

    /// An array of strings.
    ///
    /// # Errors
    /// When one is too long.
    pub fn strings(&mut self, flexible: bool, elements: &[ByteString]) -> Result<(), EncodeError> {
        self.nullable_strings(flexible, Some(elements))
    }

    /// An array of numbers that may be null.
    ///
    /// # Errors
    /// When it is longer than a length can say.
    pub fn nullable_packed<T: Primitive>(
        &mut self,
        flexible: bool,
        elements: Option<&Packed<T>>,
    ) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, elements.map(Packed::len))?;
        if let Some(elements) = elements {
            self.buffer.extend_from_slice(elements.as_bytes());
        }
        Ok(())
    }

    /// An array of numbers.
    ///
    /// # Errors
    /// When it is longer than a length can say.
    pub fn packed<T: Primitive>(&mut self, flexible: bool, elements: &Packed<T>) -> Result<(), EncodeError> {
        self.nullable_packed(flexible, Some(elements))
    }

    /// A structure.
    ///
    /// # Errors
    /// When it can't be written in this version.
    pub fn structure<T: Encode>(&mut self, version: i16, value: &'v T) -> Result<(), EncodeError> {
        value.encode(self, version)
    }

    /// A structure behind a presence byte.
    ///
    /// # Errors
    /// When the structure can't be written in this version.
    pub fn nullable_structure<T: Encode>(
        &mut self,
        version: i16,
        value: Option<&'v T>,
    ) -> Result<(), EncodeError> {
        match value {
            None => {
                self.i8(-1);
                Ok(())
            }
            Some(value) => {
                self.i8(1);
                value.encode(self, version)
            }
        }
    }

    /// Refuses unknown tagged fields in a version that has no place for them.
    ///
    /// # Errors
    /// When there are any.
    pub fn no_tags(&mut self, unknown: &UnknownTags) -> Result<(), EncodeError> {
        if unknown.is_empty() { Ok(()) } else { Err(EncodeError::UnsupportedTags) }
    }
}

/// Refuses a field that holds something in a version that can't carry it.
pub(crate) fn refuse(
    holds_something: bool,
    message: &'static str,
    field: &'static str,
    version: i16,
) -> Result<(), EncodeError> {
    if holds_something { Err(EncodeError::UnsupportedField { message, field, version }) } else { Ok(()) }
}

/// The value of a field that may not be null in this version.
pub(crate) fn required<'v, T: ?Sized>(
    value: Option<&'v T>,
    message: &'static str,
    field: &'static str,
    version: i16,
) -> Result<&'v T, EncodeError> {
    value.ok_or(EncodeError::NullField { message, field, version })
}

#[inline]
pub(super) fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn a_payload_is_shared_not_copied() {
        let payload = Bytes::from(vec![7; SHARE_FROM]);
        let mut writer = Writer::new();
        writer
            .frame(|writer| {
                writer.i16(3);
                writer.bytes(true, &payload)?;
                writer.i8(1);
                Ok(())
            })
            .unwrap();
        let frame = writer.finish();
        assert_eq!(frame.slices().len(), 3);
        assert_eq!(frame.slices()[1].as_ptr(), payload.as_ptr());
        let whole = frame.to_bytes();
        assert_eq!(whole.len(), frame.len());
        let mut reader = Reader::new(&whole);
        assert_eq!(reader.i32().unwrap() as usize, whole.len() - 4);
        assert_eq!(reader.i16().unwrap(), 3);
        assert_eq!(reader.bytes(true).unwrap(), payload);
        assert_eq!(reader.i8().unwrap(), 1);
        reader.finish().unwrap();
    }

    #[test]
    fn a_recycled_writer_is_empty_and_has_its_room() {
        let payload = Bytes::from(vec![7; SHARE_FROM]);
        let mut writer = Writer::new();
        writer.bytes(true, &payload).unwrap();
        writer.raw(&[1; 1000]);
        let (buffer, payloads) = (writer.buffer.as_ptr(), writer.payloads.as_ptr().addr());
        let writer = writer.recycle(4096);
        assert!(writer.is_empty());
        assert_eq!((writer.buffer.as_ptr(), writer.payloads.as_ptr().addr()), (buffer, payloads));
        let writer = writer.recycle(100);
        assert!(writer.buffer.capacity() < 1000, "{}", writer.buffer.capacity());
    }

    #[test]
    fn a_frame_that_fails_leaves_what_was_there() {
        let (payload, long) = (Bytes::from(vec![7; SHARE_FROM]), "x".repeat(40_000));
        let mut writer = Writer::new();
        writer.frame(|writer| writer.bytes(true, &payload)).unwrap();
        let before = writer.chunks().slices().collect::<Vec<_>>().concat();
        let failed = writer.frame(|writer| {
            writer.bytes(true, &payload)?;
            writer.nullable_str(true, Some(&long))
        });
        assert_eq!(failed, Err(EncodeError::TooLong(40_000)));
        assert_eq!(writer.chunks().slices().collect::<Vec<_>>().concat(), before);
        assert_eq!(writer.len(), before.len());
    }

    #[test]
    fn strings_end_at_32767_bytes_in_either_form() {
        let text = ByteString::from("x".repeat(i16::MAX as usize + 1));
        for flexible in [false, true] {
            assert_eq!(Writer::new().string(flexible, &text), Err(EncodeError::TooLong(text.len())));
        }
    }
}
