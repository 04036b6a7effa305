//! Arrays of structures that stay in the frame they came in.

use std::fmt;

use bytes::Bytes;

use super::{Decode, Reader};

/// An array of structures, kept as the bytes of the wire until an element is asked for.
///
/// Decoding one walks through its elements once, to check them and to find its end, and allocates nothing. Each element is
/// decoded anew when it is looked at: [`walk`](Self::walk) lends one after the other from a single place, which is the
/// fast way, and iterating hands them out by value. What is inside an element stays in the frame again. It is the form of
/// the messages that are large and hot (fetch responses, produce requests), where building lists of structures would cost
/// more than reading them.
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
    /// What most arrays of a hot message hold, and takes nothing to drop.
    None,
    Built(Vec<T>),
    Frame {
        bytes: Bytes,
        count: usize,
        version: i16,
        /// Kept here, so that an array can be read wherever it came from.
        read: Read<T>,
    },
}

/// [`Decode::decode_into`], true if it succeeds.
type Read<T> = fn(&mut T, &mut Reader<'_>, i16) -> bool;

impl<T> Listed<T> {
    /// `bytes` must hold `count` elements that were checked.
    pub(crate) fn from_frame(bytes: Bytes, count: usize, version: i16) -> Self
    where
        T: Decode,
    {
        let read = |element: &mut T, reader: &mut Reader<'_>, version| {
            // Every element was read once when the array was: the same bytes give the same element.
            element.decode_into(reader, version).is_ok()
        };
        Self { elements: Elements::Frame { bytes, count, version, read } }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::None => 0,
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
            Elements::None => Some(&[]),
            Elements::Built(built) => Some(built),
            Elements::Frame { .. } => None,
        }
    }
}

impl<T: Clone + Default> Listed<T> {
    /// The elements in their order, lent one at a time.
    ///
    /// ```
    /// # use milena_protocol::{messages::fetch::PartitionData, wire::Listed};
    /// # let partitions: Listed<PartitionData> = vec![PartitionData::default(); 2].into();
    /// let mut payloads = Vec::new();
    /// let mut partitions = partitions.walk();
    /// while let Some(partition) = partitions.lend_next() {
    ///     payloads.extend(partition.records.take());
    /// }
    /// # assert_eq!(payloads.len(), 2);
    /// ```
    #[must_use]
    pub fn walk(&self) -> ListedWalk<'_, T> {
        ListedWalk { source: self.source(), left: self.len(), place: T::default() }
    }
}

impl<T> Listed<T> {
    fn source(&self) -> Source<'_, T> {
        match &self.elements {
            Elements::None => Source::Built([].iter()),
            Elements::Built(built) => Source::Built(built.iter()),
            Elements::Frame { bytes, version, read, .. } => {
                Source::Frame { reader: Reader::again(bytes), version: *version, read: *read }
            }
        }
    }
}

impl<T: Clone + Default> Listed<T> {
    /// The elements in their order, decoded one by one.
    pub fn iter(&self) -> ListedIter<'_, T> {
        ListedIter { source: self.source(), left: self.len() }
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
            Elements::None => Vec::new(),
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
    Frame { reader: Reader<'a>, version: i16, read: Read<T> },
}

impl<T: Clone + Default> Iterator for ListedIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Built(built) => built.next().cloned(),
            Source::Frame { reader, version, read } => {
                let mut element = T::default();
                read(&mut element, reader, *version).then_some(element)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Clone + Default> ExactSizeIterator for ListedIter<'_, T> {}

impl<'a, T: Clone + Default> IntoIterator for &'a Listed<T> {
    type Item = T;
    type IntoIter = ListedIter<'a, T>;

    fn into_iter(self) -> ListedIter<'a, T> {
        self.iter()
    }
}

/// The elements of a [`Listed`], lent one after the other from one place.
pub struct ListedWalk<'a, T> {
    source: Source<'a, T>,
    left: usize,
    place: T,
}

impl<T: Clone> ListedWalk<'_, T> {
    /// The next element, until the one after it is asked for. What is taken out of it is the caller's, without a reference
    /// more.
    #[inline]
    pub fn lend_next(&mut self) -> Option<&mut T> {
        self.left = self.left.checked_sub(1)?;
        let found = match &mut self.source {
            Source::Built(built) => built.next().map(|element| self.place.clone_from(element)).is_some(),
            Source::Frame { reader, version, read } => read(&mut self.place, reader, *version),
        };
        found.then_some(&mut self.place)
    }
}

impl<T> fmt::Debug for ListedWalk<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedWalk").field("left", &self.left).finish_non_exhaustive()
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
        Self { elements: Elements::None }
    }
}

impl<T: Clone + Default + PartialEq> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Clone + Default + fmt::Debug> fmt::Debug for Listed<T> {
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
    fn what_is_lent_keeps_nothing_of_the_element_before() {
        let mut elements = partitions();
        elements[0].error_code = 6;
        elements[0].diverging_epoch.epoch = 3;
        elements[0].aborted_transactions = Some(vec![Default::default(); 2].into());
        elements[0].unknown_tags.insert(9, Bytes::from_static(b"nine"));
        elements[1].records = None;
        elements[2].aborted_transactions = None;
        let built: Listed<_> = elements.clone().into();
        let mut writer = Writer::new();
        writer.listed(true, 16, &built).unwrap();
        let bytes = writer.finish().to_bytes();
        let read: Listed<PartitionData> = Reader::new(&bytes).listed(true, 16).unwrap();
        for listed in [built, read] {
            let mut walk = listed.walk();
            for element in &mut elements {
                assert_eq!(walk.lend_next(), Some(element));
            }
            assert_eq!(walk.lend_next(), None);
        }
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
