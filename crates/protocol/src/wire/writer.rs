//! Builds frames: small fields into one buffer, payloads beside it, lengths filled in afterwards.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::{
    Encode, Listed, Packed, Primitive, RawTag, UnknownTags, Uuid,
    varint::{unsigned_varint_len, zigzag, zigzag_long},
};
use crate::EncodeError;

/// Payloads of at least this many bytes go out as a slice of their own. Below it, one `memcpy` is cheaper than one
/// more entry in a vectored write.
const SHARE_FROM: usize = 1024;

/// Where the fields of one message go.
///
/// A payload (records, mostly) is not copied: the writer remembers where it belongs, and [`Writer::finish`] hands
/// out the frame as a list of slices for one vectored write.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Payloads, each with the length `buffer` had when it was written.
    payloads: Vec<(usize, Bytes)>,
    payload_len: usize,
    /// Positive inside a tagged field, whose bytes may still be moved.
    nested: u32,
}

/// Slices that make up one frame, in their order.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    slices: Vec<Bytes>,
    len: usize,
}

impl Frame {
    /// The slices, none of them empty.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// All bytes together.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices as one buffer: a copy, unless there is just one.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.slices.as_slice() {
            return only.clone();
        }
        self.slices.concat().into()
    }
}

impl IntoIterator for Frame {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.slices.into_iter()
    }
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self, value: $type) {
            self.buffer.put_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: BytesMut::with_capacity(256), ..Self::default() }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.payload_len
    }

    /// True while nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that was written, as slices.
    #[must_use]
    pub fn finish(self) -> Frame {
        let len = self.len();
        let mut slices = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut rest = self.buffer.freeze();
        let mut cut = 0;
        for (at, payload) in self.payloads {
            if at > cut {
                slices.push(rest.split_to(at - cut));
                cut = at;
            }
            slices.push(payload);
        }
        if !rest.is_empty() {
            slices.push(rest);
        }
        Frame { slices, len }
    }

    /// Puts the number of bytes behind it before a frame that was started with [`Writer::begin_frame`].
    ///
    /// # Errors
    /// When the frame is longer than 2³¹ − 1 bytes.
    pub fn end_frame(&mut self) -> Result<(), EncodeError> {
        let len = self.len().saturating_sub(4);
        let size = i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        if let Some(prefix) = self.buffer.first_chunk_mut() {
            *prefix = size.to_be_bytes();
        }
        Ok(())
    }

    /// Leaves room for a frame's length, which [`Writer::end_frame`] fills in.
    pub fn begin_frame(&mut self) {
        self.buffer.put_i32(0);
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
        self.buffer.put_u8(value.into());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.put_slice(value.as_bytes());
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
        self.buffer.put_slice(bytes);
    }

    /// The length of something that may be null.
    fn nullable_len(&mut self, flexible: bool, narrow: bool, len: Option<usize>) -> Result<(), EncodeError> {
        let Some(len) = len else {
            match (flexible, narrow) {
                (true, _) => self.unsigned_varint(0),
                (false, true) => self.i16(-1),
                (false, false) => self.i32(-1),
            }
            return Ok(());
        };
        // Kafka's strings end at 2^15 - 1 bytes in the compact form too.
        let max = if narrow { i16::MAX as usize } else { i32::MAX as usize - 1 };
        if len > max {
            return Err(EncodeError::TooLong(len));
        }
        match (flexible, narrow) {
            (true, _) => self.unsigned_varint(len as u32 + 1),
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
        self.nullable_len(flexible, true, text.map(|text| text.len()))?;
        if let Some(text) = text {
            self.buffer.put_slice(text.as_bytes());
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
    pub fn nullable_bytes(&mut self, flexible: bool, bytes: Option<&Bytes>) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, bytes.map(Bytes::len))?;
        if let Some(bytes) = bytes {
            self.payload(bytes);
        }
        Ok(())
    }

    /// Bytes; large ones are shared, not copied.
    ///
    /// # Errors
    /// When they are longer than a length can say.
    pub fn bytes(&mut self, flexible: bool, bytes: &Bytes) -> Result<(), EncodeError> {
        self.nullable_bytes(flexible, Some(bytes))
    }

    fn payload(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_FROM || self.nested > 0 {
            self.buffer.put_slice(bytes);
            return;
        }
        self.payloads.push((self.buffer.len(), bytes.clone()));
        self.payload_len += bytes.len();
    }

    /// An array of structures that may be null.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn nullable_structs<T: Encode>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: Option<&[T]>,
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
        elements: &[T],
    ) -> Result<(), EncodeError> {
        self.nullable_structs(flexible, version, Some(elements))
    }

    /// An array of structures that may be null and may still be in the frame it came in.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn nullable_listed<T: Encode + Clone>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: Option<&Listed<T>>,
    ) -> Result<(), EncodeError> {
        self.nullable_len(flexible, false, elements.map(Listed::len))?;
        elements.map_or(Ok(()), |elements| elements.try_each(|element| element.encode(self, version)))
    }

    /// An array of structures that may still be in the frame it came in.
    ///
    /// # Errors
    /// When an element can't be written in this version.
    pub fn listed<T: Encode + Clone>(
        &mut self,
        flexible: bool,
        version: i16,
        elements: &Listed<T>,
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
            self.buffer.put_slice(elements.as_bytes());
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
    pub fn structure<T: Encode>(&mut self, version: i16, value: &T) -> Result<(), EncodeError> {
        value.encode(self, version)
    }

    /// A structure behind a presence byte.
    ///
    /// # Errors
    /// When the structure can't be written in this version.
    pub fn nullable_structure<T: Encode>(
        &mut self,
        version: i16,
        value: Option<&T>,
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

    /// The tagged fields at the end of a structure: those that `known` writes, in ascending order, and the unknown ones
    /// at their places among them.
    ///
    /// # Errors
    /// When a field can't be written in this version.
    pub fn tags(
        &mut self,
        unknown: &UnknownTags,
        known: impl FnOnce(&mut TagWriter<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.buffer.len();
        let mut tags = TagWriter { writer: self, unknown: unknown.as_slice(), count: 0, least: 0 };
        known(&mut tags)?;
        tags.pass_on(None)?;
        let count = tags.count;
        insert_varint(&mut self.buffer, start, count);
        Ok(())
    }

    /// The tagged fields of a structure that has none of its own.
    ///
    /// # Errors
    /// When they are not in ascending order.
    pub fn unknown_tags(&mut self, unknown: &UnknownTags) -> Result<(), EncodeError> {
        if unknown.is_empty() {
            self.buffer.put_u8(0);
            return Ok(());
        }
        self.tags(unknown, |_| Ok(()))
    }

    /// Refuses unknown tagged fields in a version that has no place for them.
    ///
    /// # Errors
    /// When there are any.
    pub fn no_tags(&mut self, unknown: &UnknownTags) -> Result<(), EncodeError> {
        if unknown.is_empty() { Ok(()) } else { Err(EncodeError::UnsupportedTags) }
    }
}

/// Writes the tagged fields of one structure, counting them.
#[derive(Debug)]
pub struct TagWriter<'w> {
    writer: &'w mut Writer,
    unknown: &'w [RawTag],
    count: u32,
    /// The smallest tag that may come next.
    least: u64,
}

impl TagWriter<'_> {
    /// A field the structure knows. Fields come in ascending order of their tags.
    ///
    /// # Errors
    /// When `content` can't write the field, or an unknown field has the same tag.
    pub fn field(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.pass_on(Some(tag))?;
        self.header(tag)?;
        let start = self.writer.buffer.len();
        self.writer.nested += 1;
        content(self.writer)?;
        self.writer.nested -= 1;
        let len = self.writer.buffer.len() - start;
        let len = u32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        insert_varint(&mut self.writer.buffer, start, len);
        Ok(())
    }

    /// Writes the unknown fields whose tags are below `limit`.
    fn pass_on(&mut self, limit: Option<u32>) -> Result<(), EncodeError> {
        while let Some((next, rest)) = self.unknown.split_first()
            && limit.is_none_or(|limit| next.tag < limit)
        {
            self.unknown = rest;
            self.header(next.tag)?;
            let len = u32::try_from(next.data.len()).map_err(|_| EncodeError::TooLong(next.data.len()))?;
            self.writer.unsigned_varint(len);
            self.writer.raw(&next.data);
        }
        Ok(())
    }

    fn header(&mut self, tag: u32) -> Result<(), EncodeError> {
        if u64::from(tag) < self.least {
            return Err(EncodeError::UnorderedTag(tag));
        }
        self.least = u64::from(tag) + 1;
        self.count += 1;
        self.writer.unsigned_varint(tag);
        Ok(())
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
fn put_varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// Puts a varint before the bytes that start at `at`.
fn insert_varint(buffer: &mut BytesMut, at: usize, value: u32) {
    put_varint(buffer, value.into());
    let len = unsigned_varint_len(value);
    if let Some(section) = buffer.get_mut(at..) {
        section.rotate_right(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn a_payload_is_shared_not_copied() {
        let payload = Bytes::from(vec![7; SHARE_FROM]);
        let mut writer = Writer::new();
        writer.begin_frame();
        writer.i16(3);
        writer.bytes(true, &payload).unwrap();
        writer.i8(1);
        writer.end_frame().unwrap();
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
    fn unknown_tags_keep_their_places() {
        let mut unknown = UnknownTags::default();
        unknown.insert(9, Bytes::from_static(b"nine"));
        unknown.insert(1, Bytes::from_static(b"one"));
        let mut writer = Writer::new();
        writer.tags(&unknown, |tags| tags.field(4, |writer| writer.string(true, &"four".into()))).unwrap();
        let bytes = writer.finish().to_bytes();
        let mut seen = None;
        let mut reader = Reader::new(&bytes);
        let kept = reader
            .tags(|tag, field| {
                if tag == 4 {
                    seen = Some(field.string(true)?);
                }
                Ok(tag == 4)
            })
            .unwrap();
        reader.finish().unwrap();
        assert_eq!(seen.unwrap(), "four");
        assert_eq!(kept, unknown);
    }

    #[test]
    fn a_tag_section_of_more_than_127_fields() {
        let mut unknown = UnknownTags::default();
        for tag in 0..200 {
            unknown.insert(tag, Bytes::from_static(b"x"));
        }
        let mut writer = Writer::new();
        writer.unknown_tags(&unknown).unwrap();
        let bytes = writer.finish().to_bytes();
        assert_eq!(Reader::new(&bytes).unknown_tags().unwrap(), unknown);
    }

    #[test]
    fn a_known_tag_among_the_unknown_is_refused() {
        let mut unknown = UnknownTags::default();
        unknown.insert(4, Bytes::new());
        let written = Writer::new().tags(&unknown, |tags| tags.field(4, |_| Ok(())));
        assert_eq!(written, Err(EncodeError::UnorderedTag(4)));
    }

    #[test]
    fn strings_end_at_32767_bytes_in_either_form() {
        let text = ByteString::from("x".repeat(i16::MAX as usize + 1));
        for flexible in [false, true] {
            assert_eq!(Writer::new().string(flexible, &text), Err(EncodeError::TooLong(text.len())));
        }
    }
}
