//! A record to send.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use milena_producer::{Clock, NewRecord};
use milena_protocol::wire::ByteString;

/// A record: topic, key, value, headers, timestamp.
///
/// ```
/// use milena::Record;
/// let record = Record::new("orders")
///     .key("cust-1")
///     .value(r#"{"orderId":"o-1"}"#)
///     .header("source", "order-service");
/// assert_eq!(record.topic(), "orders");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub(crate) topic: ByteString,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(ByteString, Option<Bytes>)>,
    pub(crate) timestamp: Option<i64>,
}

impl Record {
    /// A record for `topic`, with neither key nor value yet.
    pub fn new(topic: impl Into<ByteString>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// The key. Records with the same key go to the same partition and keep their order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The value. Without one the record is a tombstone: a compacted topic forgets the key.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds a header behind those that are there; a name may come more than once.
    #[must_use]
    pub fn header(mut self, name: impl Into<ByteString>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Adds a header whose value is null.
    #[must_use]
    pub fn null_header(mut self, name: impl Into<ByteString>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// The partition, instead of leaving the choice to the key.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// When it happened, in milliseconds since 1970. When not set it is the time of enqueuing; on Linux that is exact for
    /// the first record of a batch, and by the tick of the system's clock, of 1 to 10 ms, for those behind it.
    #[must_use]
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.timestamp = Some(ms);
        self
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> NewRecord<'_> {
        self.as_record()
    }

    /// The key, when there is one.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
}

/// What can be sent: a [`Record`], or the parts of one as a [`NewRecord`], or a reference to either.
///
/// It is for these alone: they are taken apart under the producer's lock, where nobody else's code is to run.
pub trait AsRecord: sealed::Sealed {
    /// The parts.
    fn as_record(&self) -> NewRecord<'_>;
}

impl AsRecord for Record {
    #[inline]
    fn as_record(&self) -> NewRecord<'_> {
        NewRecord {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
            timestamp: self.timestamp,
        }
    }
}

impl From<NewRecord<'_>> for Record {
    /// A copy.
    fn from(record: NewRecord<'_>) -> Self {
        Self {
            topic: record.topic.into(),
            partition: record.partition,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: record.headers.to_vec(),
            timestamp: record.timestamp,
        }
    }
}

impl AsRecord for NewRecord<'_> {
    #[inline]
    fn as_record(&self) -> NewRecord<'_> {
        *self
    }
}

impl<R: AsRecord + ?Sized> AsRecord for &R {
    #[inline]
    fn as_record(&self) -> NewRecord<'_> {
        R::as_record(self)
    }
}

mod sealed {
    use super::{NewRecord, Record};

    pub trait Sealed {}

    impl Sealed for Record {}
    impl Sealed for NewRecord<'_> {}
    impl<R: Sealed + ?Sized> Sealed for &R {}
}

/// What time it is for records that do not say.
#[derive(Clone, Default)]
pub(crate) enum WallClock {
    #[default]
    System,
    Given(Arc<dyn Fn() -> i64 + Send + Sync>),
}

impl Clock for WallClock {
    fn now(&self) -> Instant {
        milena_connection::now()
    }

    fn wall_ms(&self) -> i64 {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Self::Given(clock) => clock(),
        }
    }

    /// The system's time at its last tick, a few milliseconds ago at most: to read it costs a tenth.
    #[cfg(target_os = "linux")]
    fn recent_wall_ms(&self) -> i64 {
        match self {
            Self::System => {
                let at = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
                at.tv_sec.saturating_mul(1000).saturating_add(at.tv_nsec / 1_000_000)
            }
            Self::Given(clock) => clock(),
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Given(_) => "Given",
        })
    }
}
