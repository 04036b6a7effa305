//! Arrays of numbers that stay in the frame they came in.

use std::{fmt, marker::PhantomData};

use bytes::{BufMut, Bytes, BytesMut};

use super::Uuid;

/// A number (or UUID) of fixed size on the wire.
pub trait Primitive: Copy + private::Sealed {
    /// Bytes it takes.
    const SIZE: usize;
    #[doc(hidden)]
    fn from_wire(bytes: &[u8]) -> Option<Self>;
    #[doc(hidden)]
    fn to_wire(self, out: &mut BytesMut);
}

mod private {
    pub trait Sealed {}
}

macro_rules! primitive {
    ($($type:ty)*) => {$(
        impl private::Sealed for $type {}
        impl Primitive for $type {
            const SIZE: usize = size_of::<$type>();
            fn from_wire(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
            fn to_wire(self, out: &mut BytesMut) {
                out.put_slice(&self.to_be_bytes());
            }
        }
    )*};
}

primitive!(i8 i16 u16 i32 u32 i64 f64);

impl private::Sealed for Uuid {}
impl Primitive for Uuid {
    const SIZE: usize = 16;
    fn from_wire(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
    fn to_wire(self, out: &mut BytesMut) {
        out.put_slice(self.as_bytes());
    }
}

/// An array of [`Primitive`]s, kept as the bytes of the wire.
///
/// Decoding one is a slice of the frame, whatever its length, or a copy if it is short: nothing is allocated, and nothing
/// converted until it is asked for.
///
/// ```
/// # use milena_protocol::wire::Packed;
/// let replicas: Packed<i32> = [1, 2, 3].into();
/// assert_eq!(replicas.iter().max(), Some(3));
/// ```
pub struct Packed<T> {
    stored: Stored,
    element: PhantomData<T>,
}

/// As many bytes as fit where a [`Bytes`] would stand: the replicas of a partition mostly do, and copying them is cheaper
/// than counting a reference to the frame.
const INLINE: usize = 23;

#[derive(Clone)]
enum Stored {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl<T: Primitive> Packed<T> {
    /// No element.
    #[must_use]
    pub const fn new() -> Self {
        Self { stored: Stored::EMPTY, element: PhantomData }
    }

    /// The elements that `bytes`, a part of `frame`, are. A remainder is never read.
    pub(crate) fn in_frame(frame: &Bytes, bytes: &[u8]) -> Self {
        let stored = Stored::inline(bytes).unwrap_or_else(|| Stored::Shared(frame.slice_ref(bytes)));
        Self { stored, element: PhantomData }
    }

    /// The elements that the first `len` bytes of `rest` are, if they are few and as many bytes as a copy takes are there:
    /// one of a fixed size is much cheaper.
    #[inline]
    pub(crate) fn copied(rest: &[u8], len: usize) -> Option<Self> {
        let bytes = rest.first_chunk::<INLINE>().filter(|_| len <= INLINE)?;
        // What stands behind `len` is never looked at.
        let stored = Stored::Inline { len: len as u8, bytes: *bytes };
        Some(Self { stored, element: PhantomData })
    }

    /// The elements as they stand on the wire.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.stored.as_bytes()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len().checked_div(T::SIZE).unwrap_or_default()
    }

    /// True when there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        // `chunks_exact` hands out slices of exactly SIZE bytes, which `from_wire` takes.
        let elements = self.as_bytes().chunks_exact(T::SIZE);
        PackedIter { elements, element: PhantomData }
    }
}

impl Stored {
    const EMPTY: Self = Self::Inline { len: 0, bytes: [0; INLINE] };

    #[inline]
    fn inline(bytes: &[u8]) -> Option<Self> {
        let mut copy = [0; INLINE];
        copy.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self::Inline { len: u8::try_from(bytes.len()).ok()?, bytes: copy })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }
}

struct PackedIter<'a, T> {
    elements: std::slice::ChunksExact<'a, u8>,
    element: PhantomData<T>,
}

impl<T: Primitive> Iterator for PackedIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.elements.next().and_then(T::from_wire)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}

impl<T: Primitive> ExactSizeIterator for PackedIter<'_, T> {}

impl<T: Primitive> FromIterator<T> for Packed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let elements = elements.into_iter();
        let mut bytes = BytesMut::with_capacity(elements.size_hint().0.saturating_mul(T::SIZE));
        for element in elements {
            element.to_wire(&mut bytes);
        }
        let bytes = bytes.freeze();
        Self::in_frame(&bytes, &bytes)
    }
}

impl<T: Primitive> From<Vec<T>> for Packed<T> {
    fn from(elements: Vec<T>) -> Self {
        elements.into_iter().collect()
    }
}

impl<T: Primitive, const N: usize> From<[T; N]> for Packed<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { stored: self.stored.clone(), element: PhantomData }
    }
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { stored: Stored::EMPTY, element: PhantomData }
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.stored.as_bytes() == other.stored.as_bytes()
    }
}

impl<T: Primitive + fmt::Debug> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        let numbers = [i32::MIN, -1, 0, 1, i32::MAX];
        let packed = Packed::from(numbers);
        assert_eq!(packed.len(), 5);
        assert_eq!(packed.iter().collect::<Vec<_>>(), numbers);
        assert_eq!(format!("{packed:?}"), "[-2147483648, -1, 0, 1, 2147483647]");
        assert!(Packed::<i16>::new().is_empty());
    }

    #[test]
    fn few_numbers_take_no_reference_to_the_frame() {
        assert_eq!(size_of::<Packed<i32>>(), size_of::<Bytes>());
        for count in 0..20 {
            let packed: Packed<i32> = (0..count).collect();
            assert!(packed.iter().eq(0..count), "{count}");
            assert_eq!(packed, packed.clone());
            assert_eq!(matches!(packed.stored, Stored::Inline { .. }), count <= 5, "{count}");
        }
    }
}
