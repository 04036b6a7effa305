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
/// Decoding one is a slice of the frame, whatever its length: nothing is allocated or converted until it is asked for.
///
/// ```
/// # use milena_protocol::wire::Packed;
/// let replicas: Packed<i32> = [1, 2, 3].into();
/// assert_eq!(replicas.iter().max(), Some(3));
/// ```
pub struct Packed<T> {
    bytes: Bytes,
    element: PhantomData<T>,
}

impl<T: Primitive> Packed<T> {
    /// No element.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Bytes::new(), element: PhantomData }
    }

    /// `bytes` must hold a whole number of elements; a remainder is never read.
    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        Self { bytes, element: PhantomData }
    }

    pub(crate) fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / T::SIZE
    }

    /// True when there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        // `chunks_exact` hands out slices of exactly SIZE bytes, which `from_wire` takes.
        let elements = self.bytes.chunks_exact(T::SIZE);
        PackedIter { elements, element: PhantomData }
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
        Self::from_bytes(bytes.freeze())
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
        Self { bytes: self.bytes.clone(), element: PhantomData }
    }
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { bytes: Bytes::new(), element: PhantomData }
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
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
}
