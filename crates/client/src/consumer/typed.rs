//! Keys and values as types of the application's.

use std::{error::Error, fmt, marker::PhantomData, ops::Deref, time::Duration};

use bytes::Bytes;
use milena_cluster::TopicPartition;
use thiserror::Error;

use super::{Consumer, RecordRef, Records};
use crate::ConsumeError;

/// Made of the bytes of a key or value. `None` is null: a record without a key, or a tombstone.
///
/// [`Bytes`] takes them as they are, without copying; `Option<T>` lets them be null; `()` looks at nothing. Numbers are in the
/// form of Java's serializers.
///
/// ```
/// use milena::{Bytes, FromBytes, InvalidBytes};
///
/// struct Celsius(f32);
///
/// impl FromBytes for Celsius {
///     fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
///         let text = String::from_bytes(bytes)?;
///         Ok(Celsius(text.parse().map_err(InvalidBytes::new)?))
///     }
/// }
///
/// assert_eq!(Celsius::from_bytes(Some("21.5".into()))?.0, 21.5);
/// assert!(Celsius::from_bytes(None).is_err());
/// # Ok::<(), InvalidBytes>(())
/// ```
pub trait FromBytes: Sized {
    /// Makes it.
    ///
    /// # Errors
    /// When the bytes are not what they should be.
    fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes>;
}

/// Bytes that a type can't be made of, and why.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct InvalidBytes(Box<dyn Error + Send + Sync>);

impl InvalidBytes {
    /// For this reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

fn present(bytes: Option<Bytes>) -> Result<Bytes, InvalidBytes> {
    bytes.ok_or_else(|| InvalidBytes::new("it is null"))
}

impl FromBytes for () {
    fn from_bytes(_: Option<Bytes>) -> Result<Self, InvalidBytes> {
        Ok(())
    }
}

impl FromBytes for Bytes {
    fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
        present(bytes)
    }
}

impl FromBytes for Vec<u8> {
    fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
        Ok(present(bytes)?.into())
    }
}

impl FromBytes for String {
    fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
        String::from_utf8(present(bytes)?.into()).map_err(|error| InvalidBytes::new(error.utf8_error()))
    }
}

impl<T: FromBytes> FromBytes for Option<T> {
    fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
        bytes.map(|bytes| T::from_bytes(Some(bytes))).transpose()
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl FromBytes for $number {
            fn from_bytes(bytes: Option<Bytes>) -> Result<Self, InvalidBytes> {
                let bytes = present(bytes)?;
                let wanted = size_of::<Self>();
                let array = (*bytes).try_into().map_err(|_| {
                    InvalidBytes::new(format!("it has {} bytes and not {wanted}", bytes.len()))
                })?;
                Ok(Self::from_be_bytes(array))
            }
        }
    )+};
}

numbers!(i16, i32, i64, f32, f64);

/// A key or value of a record is not what it should be. The others are not touched by it, and the position is past it: whoever
/// goes on leaves the record out.
#[derive(Debug, Error)]
#[error("the {part} of the record at offset {offset} of {partition}: {reason}")]
pub struct DeserializeError {
    /// Where the record is.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Of which part of it.
    pub part: RecordPart,
    /// What is wrong.
    pub reason: InvalidBytes,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl fmt::Display for RecordPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// A [`Consumer`] whose records have keys and values of these types; everything else is the consumer's.
pub struct TypedConsumer<K, V> {
    consumer: Consumer,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> TypedConsumer<K, V> {
    pub(super) fn new(consumer: Consumer) -> Self {
        Self { consumer, types: PhantomData }
    }

    /// As [`Consumer::poll`]. Nothing is deserialized before it is looked at.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    ///
    /// # Cancellation
    /// Dropping the future takes nothing.
    pub async fn poll(&self, timeout: Duration) -> Result<Option<TypedRecords<K, V>>, ConsumeError> {
        let records = self.consumer.poll(timeout).await?;
        Ok(records.map(|records| TypedRecords { records, types: PhantomData }))
    }

    /// The consumer, for records as they came.
    #[must_use]
    pub fn into_inner(self) -> Consumer {
        self.consumer
    }
}

impl<K, V> Clone for TypedConsumer<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.consumer.clone())
    }
}

impl<K, V> Deref for TypedConsumer<K, V> {
    type Target = Consumer;

    fn deref(&self) -> &Consumer {
        &self.consumer
    }
}

impl<K, V> fmt::Debug for TypedConsumer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.consumer.fmt(f)
    }
}

/// What a [`TypedConsumer`] hands out; everything else is that of [`Records`].
pub struct TypedRecords<K, V> {
    records: Records,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: FromBytes, V: FromBytes> TypedRecords<K, V> {
    /// All records, partition by partition, each deserialized when its turn comes.
    pub fn iter(&self) -> impl Iterator<Item = Result<TypedRecord<'_, K, V>, DeserializeError>> {
        self.records.iter().map(|record| {
            let kept = record.to_record();
            let invalid = |part, reason| DeserializeError {
                partition: TopicPartition::new(record.topic(), record.partition()),
                offset: record.offset(),
                part,
                reason,
            };
            let key =
                K::from_bytes(kept.key().cloned()).map_err(|reason| invalid(RecordPart::Key, reason))?;
            let value =
                V::from_bytes(kept.value().cloned()).map_err(|reason| invalid(RecordPart::Value, reason))?;
            Ok(TypedRecord { record, key, value })
        })
    }
}

impl<K, V> Deref for TypedRecords<K, V> {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}

impl<K, V> fmt::Debug for TypedRecords<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records.fmt(f)
    }
}

/// A record with its key and value; everything else is that of [`RecordRef`].
#[derive(Clone, Debug)]
pub struct TypedRecord<'a, K, V> {
    record: RecordRef<'a>,
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
}

impl<'a, K, V> Deref for TypedRecord<'a, K, V> {
    type Target = RecordRef<'a>;

    fn deref(&self) -> &RecordRef<'a> {
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's serializers make.
    #[test]
    fn numbers_are_as_java_writes_them() {
        let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
        assert_eq!(i32::from_bytes(bytes(&[0xff, 0xff, 0xff, 0xfe])).unwrap(), -2);
        assert_eq!(i64::from_bytes(bytes(&[0, 0, 0, 0, 0, 0, 1, 2])).unwrap(), 258);
        assert_eq!(
            f64::from_bytes(bytes(&[0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18])).unwrap(),
            std::f64::consts::PI
        );
        let short = i32::from_bytes(bytes(&[1, 2])).unwrap_err();
        assert_eq!(short.to_string(), "it has 2 bytes and not 4");
    }

    #[test]
    fn null_and_empty_are_different() {
        assert_eq!(String::from_bytes(Some(Bytes::new())).unwrap(), "");
        assert_eq!(String::from_bytes(None).unwrap_err().to_string(), "it is null");
        assert_eq!(Option::<String>::from_bytes(None).unwrap(), None);
        assert_eq!(Option::<String>::from_bytes(Some(Bytes::new())).unwrap(), Some(String::new()));
        assert!(String::from_bytes(Some(Bytes::from_static(b"\xff"))).is_err());
    }
}
