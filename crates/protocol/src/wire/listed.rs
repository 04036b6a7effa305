//! Arrays of structures that stay in the frame they came in.

use std::fmt;

use bytes::Bytes;

use super::{Decode, Reader};

/// An array of structures, kept as the bytes of the wire until an element is asked for.
///
/// Decoding one walks through its elements once, to check them and to find its end, and allocates nothing. Iterating
/// decodes each element anew and hands it out by value; what is inside an element stays in the frame again. It is the
/// form of the messages that are large and hot (fetch responses, produce requests), where building lists of structures
/// would cost more than reading them.
///
/// ```
/// # use milena_protocol::{messages::fetch::PartitionData, wire::Listed};
/// let partitions: Listed<PartitionData> = vec![PartitionData::default()].into();
/// assert_eq!(partitions.len(), 1);
/// assert_eq!(partitions.iter().next(), Some(PartitionData::default()));
/// ```
#[derive(Clone)]
pub struct Listed<T> {
    elements: Elements<T>,
}

#[derive(Clone)]
enum Elements<T> {
    Built(Vec<T>),
    Frame {
        bytes: Bytes,
        count: usize,
        version: i16,
        /// Kept here, so that an array can be read wherever it came from.
        decode: fn(&mut Reader<'_>, i16) -> Option<T>,
    },
}

impl<T> Listed<T> {
    /// `bytes` must hold `count` elements that were checked.
    pub(crate) fn from_frame(bytes: Bytes, count: usize, version: i16) -> Self
    where
        T: Decode,
    {
        let decode = |reader: &mut Reader<'_>, version| T::decode(reader, version).ok();
        Self { elements: Elements::Frame { bytes, count, version, decode } }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::Built(built) => built.len(),
            Elements::Frame { count, .. } => *count,
        }
    }

    /// True when there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are a list already.
    pub(crate) fn as_built(&self) -> Option<&[T]> {
        match &self.elements {
            Elements::Built(built) => Some(built),
            Elements::Frame { .. } => None,
        }
    }
}

impl<T: Clone> Listed<T> {
    /// The elements in their order, decoded one by one.
    pub fn iter(&self) -> ListedIter<'_, T> {
        match &self.elements {
            Elements::Built(built) => ListedIter { source: Source::Built(built.iter()), left: built.len() },
            Elements::Frame { bytes, count, version, decode } => {
                let source =
                    Source::Frame { reader: Reader::again(bytes), version: *version, decode: *decode };
                ListedIter { source, left: *count }
            }
        }
    }

    /// The element at `index`. Those before it in the frame are decoded on the way.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        self.iter().nth(index)
    }

    /// Changes the elements, which become a list of its own for that.
    pub fn edit<R>(&mut self, edit: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut built = std::mem::take(self).into_vec();
        let result = edit(&mut built);
        *self = built.into();
        result
    }

    /// The elements as a list of its own. They are decoded and allocated if they were not yet.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        match self.elements {
            Elements::Built(built) => built,
            Elements::Frame { .. } => self.iter().collect(),
        }
    }
}

/// The elements of a [`Listed`], by value.
#[derive(Clone)]
pub struct ListedIter<'a, T> {
    source: Source<'a, T>,
    left: usize,
}

#[derive(Clone)]
enum Source<'a, T> {
    Built(std::slice::Iter<'a, T>),
    Frame { reader: Reader<'a>, version: i16, decode: fn(&mut Reader<'_>, i16) -> Option<T> },
}

impl<T: Clone> Iterator for ListedIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Built(built) => built.next().cloned(),
            // Every element was read once when the array was: the same bytes give the same element.
            Source::Frame { reader, version, decode } => decode(reader, *version),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Clone> ExactSizeIterator for ListedIter<'_, T> {}

impl<'a, T: Clone> IntoIterator for &'a Listed<T> {
    type Item = T;
    type IntoIter = ListedIter<'a, T>;

    fn into_iter(self) -> ListedIter<'a, T> {
        self.iter()
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    fn from(built: Vec<T>) -> Self {
        Self { elements: Elements::Built(built) }
    }
}

impl<T> FromIterator<T> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Clone + PartialEq> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Clone + fmt::Debug> fmt::Debug for Listed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T> fmt::Debug for ListedIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedIter").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "client", feature = "broker"))]
mod tests {
    use super::*;
    use crate::{messages::fetch::PartitionData, wire::Writer};

    fn partitions() -> Vec<PartitionData> {
        let partition = |partition_index| PartitionData {
            partition_index,
            records: Some(Bytes::from(vec![7; 10])),
            ..Default::default()
        };
        (0..3).map(partition).collect()
    }

    #[test]
    fn what_was_read_equals_what_was_built() {
        let built: Listed<_> = partitions().into();
        let mut writer = Writer::new();
        writer.listed(true, 16, &built).unwrap();
        let bytes = writer.finish().to_bytes();
        let mut reader = Reader::new(&bytes);
        let read: Listed<PartitionData> = reader.listed(true, 16).unwrap();
        reader.finish().unwrap();
        assert_eq!(read, built);
        assert_eq!(read.iter().len(), 3);
        assert_eq!(read.clone().into_vec(), partitions());
        // The payload is a slice of the frame it came in.
        let payload = read.iter().next().and_then(|partition| partition.records).unwrap();
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
        let mut again = Writer::new();
        again.listed(true, 16, &read).unwrap();
        assert_eq!(again.finish().to_bytes(), bytes);
    }

    #[test]
    fn an_array_that_is_cut_short_or_announces_too_much_is_an_error() {
        let built = partitions().into();
        let mut writer = Writer::new();
        writer.listed(true, 16, &built).unwrap();
        let bytes = writer.finish().to_bytes();
        for len in 0..bytes.len() {
            let cut = bytes.slice(..len);
            assert!(Reader::new(&cut).listed::<PartitionData>(true, 16).is_err(), "{len}");
        }
        let many = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(Reader::new(&many).listed::<PartitionData>(true, 16).is_err());
    }
}
