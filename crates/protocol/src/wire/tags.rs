//! Tagged fields (KIP-482) this version of the schema does not know, kept so that a proxy can pass them on.

use bytes::Bytes;

/// One tagged field that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTag {
    /// The field's tag.
    pub tag: u32,
    /// The field's content, without its length.
    pub data: Bytes,
}

/// The tagged fields of a structure that were not understood.
///
/// Nearly always empty, so a structure pays one pointer for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "8 bytes in each of thousands of structures instead of 24")]
pub struct UnknownTags(Option<Box<Vec<RawTag>>>);

impl UnknownTags {
    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The fields, as they came.
    #[must_use]
    pub fn as_slice(&self) -> &[RawTag] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Keeps a field in the place it came in: Java reads tags in any order too.
    pub(crate) fn push(&mut self, tag: u32, data: Bytes) {
        self.0.get_or_insert_default().push(RawTag { tag, data });
    }

    /// Adds a field at its place. Java's writer refuses tags out of order.
    pub fn insert(&mut self, tag: u32, data: Bytes) {
        let tags = self.0.get_or_insert_default();
        let at = tags.partition_point(|known| known.tag <= tag);
        tags.insert(at, RawTag { tag, data });
    }
}
