//! Writes tagged fields (KIP-482): the ones a structure knows and those it only passes on, in one ascending row.

use std::iter::Peekable;

use super::{UnknownTags, UnknownTagsIter, Writer, varint::unsigned_varint_len, writer::put_varint};
use crate::EncodeError;

impl<'v> Writer<'v> {
    /// The tagged fields at the end of a structure: those that `known` writes, in ascending order, and the unknown ones
    /// at their places among them.
    ///
    /// # Errors
    /// When a field can't be written in this version.
    pub fn tags(
        &mut self,
        unknown: &UnknownTags,
        known: impl FnOnce(&mut TagWriter<'_, 'v>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let at = self.buffer.len();
        self.buffer.push(0);
        let mut tags = TagWriter { writer: self, unknown: unknown.iter().peekable(), count: 0, least: 0 };
        known(&mut tags)?;
        tags.pass_on(None)?;
        let count = tags.count;
        fill_in_varint(&mut self.buffer, at, count);
        Ok(())
    }

    /// The tagged fields of a structure that has none of its own.
    ///
    /// # Errors
    /// When they are not in ascending order.
    #[inline]
    pub fn unknown_tags(&mut self, unknown: &UnknownTags) -> Result<(), EncodeError> {
        if unknown.is_empty() {
            self.buffer.push(0);
            return Ok(());
        }
        self.tags(unknown, |_| Ok(()))
    }
}

/// Writes the tagged fields of one structure, counting them.
#[derive(Debug)]
pub struct TagWriter<'w, 'v> {
    writer: &'w mut Writer<'v>,
    unknown: Peekable<UnknownTagsIter<'w>>,
    count: u32,
    /// The smallest tag that may come next.
    least: u64,
}

impl<'v> TagWriter<'_, 'v> {
    /// A field the structure knows. Fields come in ascending order of their tags.
    ///
    /// # Errors
    /// When `content` can't write the field, or an unknown field has the same tag.
    pub fn field(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Writer<'v>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.pass_on(Some(tag))?;
        self.header(tag)?;
        let at = self.writer.buffer.len();
        self.writer.buffer.push(0);
        let start = self.writer.len();
        self.writer.nested = self.writer.nested.saturating_add(1);
        content(self.writer)?;
        self.writer.nested = self.writer.nested.saturating_sub(1);
        let len = self.writer.len().saturating_sub(start);
        let len = u32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        fill_in_varint(&mut self.writer.buffer, at, len);
        Ok(())
    }

    /// Writes the unknown fields whose tags are below `limit`.
    fn pass_on(&mut self, limit: Option<u32>) -> Result<(), EncodeError> {
        while let Some(next) = self.unknown.next_if(|next| limit.is_none_or(|limit| next.tag < limit)) {
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
        self.least = u64::from(tag).saturating_add(1);
        self.count = self.count.saturating_add(1);
        self.writer.unsigned_varint(tag);
        Ok(())
    }
}

/// Puts `value` in the place of the byte that was kept free for it at `at`. What stands behind it moves if one byte is not
/// enough.
fn fill_in_varint(buffer: &mut Vec<u8>, at: usize, value: u32) {
    let len = unsigned_varint_len(value);
    put_varint(buffer, value.into());
    if let Some(section) = buffer.get_mut(at..) {
        section.rotate_right(len);
    }
    // The free byte is behind the varint by now.
    buffer.remove(at.saturating_add(len));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::Reader;

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
}
