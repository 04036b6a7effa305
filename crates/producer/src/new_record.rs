//! A record on its way in, and the time it comes.

use std::time::Instant;

use bytes::Bytes;
use milena_protocol::{records::Header, wire::ByteString};

/// A record as the caller has it. Nothing is copied before it is written into its batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None` leaves the choice to the key, or to chance without one.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value. `None` is a tombstone to compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers in their order.
    pub headers: &'a [(ByteString, Option<Bytes>)],
    /// When it happened, in ms since 1970; now when `None`.
    pub timestamp: Option<i64>,
}

impl<'a> NewRecord<'a> {
    /// A record for `topic`, with neither key nor value yet.
    #[must_use]
    pub const fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: &[], timestamp: None }
    }

    /// The key. Records with the same key go to the same partition and keep their order.
    #[must_use]
    pub const fn key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The value. Without one the record is a tombstone.
    #[must_use]
    pub const fn value(self, value: &'a [u8]) -> Self {
        Self { value: Some(value), ..self }
    }

    /// The headers, in their order.
    #[must_use]
    pub const fn headers(self, headers: &'a [(ByteString, Option<Bytes>)]) -> Self {
        Self { headers, ..self }
    }

    /// The partition, instead of leaving the choice to the key.
    #[must_use]
    pub const fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// When it happened, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(self, ms: i64) -> Self {
        Self { timestamp: Some(ms), ..self }
    }

    pub(crate) fn wire_headers(&self) -> impl Iterator<Item = Header<'a>> + Clone + use<'a> {
        self.headers.iter().map(|(name, value)| Header::new(name, value.as_deref()))
    }
}

/// What time it is. It is asked only where it matters, for to ask costs as much as to write a record.
pub trait Clock {
    /// The time that deadlines are counted in.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64;

    /// Milliseconds since 1970, a few of them late perhaps where that costs less.
    fn recent_wall_ms(&self) -> i64 {
        self.wall_ms()
    }
}

/// A time that stands still.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// See [`Clock::now`].
    pub now: Instant,
    /// See [`Clock::wall_ms`].
    pub wall_ms: i64,
}

impl Clock for At {
    fn now(&self) -> Instant {
        self.now
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms
    }
}
