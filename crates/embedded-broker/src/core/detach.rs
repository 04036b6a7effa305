//! Copies of what is kept beyond its request.
//!
//! A decoded string or payload is a slice of the buffer that the request came in: kept for long, its few bytes would keep
//! tens of kilobytes alive.

use bytes::Bytes;
use milena_protocol::wire::ByteString;

pub(super) trait Detach {
    /// The same in memory of its own.
    fn detached(&self) -> Self;
}

impl Detach for Bytes {
    fn detached(&self) -> Self {
        Self::copy_from_slice(self)
    }
}

impl Detach for ByteString {
    fn detached(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T: Detach> Detach for Option<T> {
    fn detached(&self) -> Self {
        self.as_ref().map(T::detached)
    }
}

impl<T: Detach> Detach for Vec<T> {
    fn detached(&self) -> Self {
        self.iter().map(T::detached).collect()
    }
}
