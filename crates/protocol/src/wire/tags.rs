//! Tagged fields (KIP-482) this version of the schema does not know, kept so that a proxy can pass them on.

use std::fmt;

use bytes::Bytes;

use super::Reader;

/// One tagged field that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTag {
    /// The field's tag.
    pub tag: u32,
    /// The field's content, without its length.
    pub data: Bytes,
}

/// The tagged fields of a structure that were not understood, in the order they came in.
///
/// Nearly always empty, so a structure pays one pointer for it. What was read stays in the frame: however many fields a
/// peer makes up, a structure keeps one slice.
#[derive(Clone, Default)]
pub struct UnknownTags(Option<Box<Kept>>);

#[derive(Clone)]
enum Kept {
    Built(Vec<RawTag>),
    Frame(Section),
}

/// Tagged fields as they stood in a frame.
#[derive(Clone)]
struct Section {
    /// Whole fields, each with its tag and length, from the first unknown one to the last.
    fields: Bytes,
    /// The tags among them that are known. The schema bounds how many there are, as each is listed once.
    known: Vec<u32>,
}

/// Next to nothing where nothing was kept, which compilers don't see through the box.
impl Drop for UnknownTags {
    #[inline]
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            drop_kept(kept);
        }
    }
}

#[cold]
#[inline(never)]
fn drop_kept(kept: Box<Kept>) {
    drop(kept);
}

impl UnknownTags {
    /// How much a structure that has any allocates for them.
    pub(super) const ROOM: usize = size_of::<Kept>() + 4 * size_of::<u32>();

    /// `fields` must be whole tagged fields, one after the other.
    pub(super) fn in_frame(fields: Bytes, known: Vec<u32>) -> Self {
        Self(Some(Box::new(Kept::Frame(Section { fields, known }))))
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The fields, as they came.
    pub fn iter(&self) -> UnknownTagsIter<'_> {
        UnknownTagsIter(match self.0.as_deref() {
            None => Source::Built([].iter()),
            Some(Kept::Built(built)) => Source::Built(built.iter()),
            Some(Kept::Frame(section)) => {
                Source::Frame { reader: Reader::new(&section.fields), known: &section.known }
            }
        })
    }

    /// Adds a field at its place. Java's writer refuses tags out of order.
    pub fn insert(&mut self, tag: u32, data: Bytes) {
        let mut tags: Vec<RawTag> = self.iter().collect();
        let at = tags.partition_point(|present| present.tag <= tag);
        tags.insert(at, RawTag { tag, data });
        self.0 = Some(Box::new(Kept::Built(tags)));
    }
}

/// The fields of [`UnknownTags`].
#[derive(Clone, Debug)]
pub struct UnknownTagsIter<'t>(Source<'t>);

#[derive(Clone, Debug)]
enum Source<'t> {
    Built(std::slice::Iter<'t, RawTag>),
    Frame { reader: Reader<'t>, known: &'t [u32] },
}

impl Iterator for UnknownTagsIter<'_> {
    type Item = RawTag;

    fn next(&mut self) -> Option<RawTag> {
        match &mut self.0 {
            Source::Built(built) => built.next().cloned(),
            // Each field was read once when its structure was: only the end is an error.
            Source::Frame { reader, known } => loop {
                let tag = reader.unsigned_varint().ok()?;
                let len = reader.unsigned_varint().ok()? as usize;
                if known.contains(&tag) {
                    reader.skip(len).ok()?;
                } else {
                    return Some(RawTag { tag, data: reader.slice(len).ok()? });
                }
            },
        }
    }
}

impl<'t> IntoIterator for &'t UnknownTags {
    type Item = RawTag;
    type IntoIter = UnknownTagsIter<'t>;

    fn into_iter(self) -> UnknownTagsIter<'t> {
        self.iter()
    }
}

impl PartialEq for UnknownTags {
    fn eq(&self, other: &Self) -> bool {
        (self.is_empty() && other.is_empty()) || self.iter().eq(other.iter())
    }
}

impl Eq for UnknownTags {}

impl fmt::Debug for UnknownTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags 0 and 3 are known, whatever they hold.
    fn read(section: &'static [u8]) -> UnknownTags {
        let frame = Bytes::from_static(section);
        let mut reader = Reader::new(&frame);
        let tags = reader
            .tags(|tag, field| {
                let known = [0, 3].contains(&tag);
                if known {
                    field.skip(field.remaining())?;
                }
                Ok(known)
            })
            .unwrap();
        reader.finish().unwrap();
        tags
    }

    fn tag(tag: u32, data: &'static [u8]) -> RawTag {
        RawTag { tag, data: Bytes::from_static(data) }
    }

    #[test]
    fn known_fields_between_unknown_ones_are_left_out() {
        let tags = read(b"\x06\x00\x01a\x01\x01b\x03\x00\x03\x01c\x00\x00\x07\x02de");
        assert_eq!(tags.iter().collect::<Vec<_>>(), [tag(1, b"b"), tag(7, b"de")]);
        let mut built = UnknownTags::default();
        built.insert(7, Bytes::from_static(b"de"));
        built.insert(1, Bytes::from_static(b"b"));
        assert_eq!(tags, built);
        assert_ne!(tags, UnknownTags::default());
    }

    #[test]
    fn nothing_unknown_is_nothing_kept() {
        assert!(read(b"\x02\x00\x01a\x03\x00").is_empty());
        assert!(read(b"\x00").is_empty());
    }

    #[test]
    fn a_field_is_added_to_those_of_a_frame() {
        let mut tags = read(b"\x02\x01\x00\x09\x01z");
        tags.insert(4, Bytes::from_static(b"four"));
        assert_eq!(tags.iter().map(|tag| tag.tag).collect::<Vec<_>>(), [1, 4, 9]);
    }
}
