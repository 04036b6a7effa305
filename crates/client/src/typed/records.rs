//! Whole records of values, and values of whole records.

use std::{fmt, ops::Deref, sync::Arc};

use milena_protocol::wire::ByteString;
use thiserror::Error;

use super::{Deserializer, Field, RecordPart, SerdeError, Serializer};
use crate::{ConsumedRecord, Record};

/// Makes the records of a topic of keys and values.
///
/// ```
/// use milena::{Json, Producer, RecordSerializer, Utf8};
/// # use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Order { id: u64 }
///
/// async fn publish(producer: &Producer, orders: &[Order]) -> Result<(), Box<dyn std::error::Error>> {
///     let topic = RecordSerializer::new("orders", Utf8, Json::<Order>::new());
///     for order in orders {
///         let record = topic.record("cust-1", order).await?.header("source", "shop");
///         producer.enqueue(record).await?;
///     }
///     Ok(producer.flush().await?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RecordSerializer<K, V> {
    topic: ByteString,
    key: K,
    value: V,
}

impl<K, V> RecordSerializer<K, V> {
    /// For records of this topic.
    pub fn new(topic: impl Into<ByteString>, key: K, value: V) -> Self {
        Self { topic: topic.into(), key, value }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    async fn serialize<S: Serializer>(
        &self,
        with: &S,
        value: &S::Input,
        part: RecordPart,
    ) -> Result<Option<bytes::Bytes>, SerializeError> {
        let serialized = with.serialize(value, Field::new(&self.topic, part)).await;
        serialized.map_err(|reason| SerializeError { topic: self.topic.to_string(), part, reason })
    }

    fn assemble(&self, key: Option<bytes::Bytes>, value: Option<bytes::Bytes>) -> Record {
        Record { key, value, ..Record::new(self.topic.clone()) }
    }
}

impl<K: Serializer, V: Serializer> RecordSerializer<K, V> {
    /// A record with this key and this value.
    ///
    /// # Errors
    /// When one of them can't be written.
    ///
    /// # Cancellation
    /// As [`Serializer::serialize`].
    pub async fn record(&self, key: &K::Input, value: &V::Input) -> Result<Record, SerializeError> {
        let key = self.serialize(&self.key, key, RecordPart::Key).await?;
        Ok(self.assemble(key, self.serialize(&self.value, value, RecordPart::Value).await?))
    }
}

impl<K, V: Serializer> RecordSerializer<K, V> {
    /// A record without a key.
    ///
    /// # Errors
    /// When the value can't be written.
    ///
    /// # Cancellation
    /// As [`Serializer::serialize`].
    pub async fn keyless(&self, value: &V::Input) -> Result<Record, SerializeError> {
        Ok(self.assemble(None, self.serialize(&self.value, value, RecordPart::Value).await?))
    }
}

impl<K: Serializer, V> RecordSerializer<K, V> {
    /// A record without a value: a compacted topic forgets the key.
    ///
    /// # Errors
    /// When the key can't be written.
    ///
    /// # Cancellation
    /// As [`Serializer::serialize`].
    pub async fn tombstone(&self, key: &K::Input) -> Result<Record, SerializeError> {
        Ok(self.assemble(self.serialize(&self.key, key, RecordPart::Key).await?, None))
    }
}

/// A key or value that can't be written.
#[derive(Debug, Error)]
#[error("the {part} of a record for {topic}: {reason}")]
pub struct SerializeError {
    /// Where the record was to go.
    pub topic: String,
    /// Which part of it.
    pub part: RecordPart,
    /// What is wrong.
    pub reason: SerdeError,
}

/// Makes keys and values of records. Cloning shares the deserializers.
#[derive(Debug)]
pub struct RecordDeserializer<K, V>(Arc<(K, V)>);

impl<K, V> RecordDeserializer<K, V> {
    /// With these for keys and values.
    pub fn new(key: K, value: V) -> Self {
        Self(Arc::new((key, value)))
    }
}

impl<K: Deserializer, V: Deserializer> RecordDeserializer<K, V> {
    /// The record with its key and value.
    ///
    /// # Errors
    /// When one of them is not what it should be: the error has the record.
    ///
    /// # Cancellation
    /// Dropping the future drops the record with it.
    pub async fn deserialize(
        &self,
        record: ConsumedRecord,
    ) -> Result<TypedRecord<K::Output, V::Output>, DeserializeError> {
        let made = self.parts(&record).await;
        made.into_record(record)
    }

    /// The key and value, without taking the record.
    pub(super) async fn parts(&self, record: &ConsumedRecord) -> Parts<K::Output, V::Output> {
        let (keys, values) = &*self.0;
        let field = |part| Field::new(record.topic(), part);
        let key = match keys.deserialize(record.key(), field(RecordPart::Key)).await {
            Ok(key) => key,
            Err(reason) => return Parts(Err((RecordPart::Key, reason))),
        };
        let value = values.deserialize(record.value(), field(RecordPart::Value)).await;
        Parts(value.map(|value| (key, value)).map_err(|reason| (RecordPart::Value, reason)))
    }
}

/// What became of a record's key and value.
pub(super) struct Parts<K, V>(Result<(K, V), (RecordPart, SerdeError)>);

impl<K, V> Parts<K, V> {
    pub(super) fn into_record(self, record: ConsumedRecord) -> Result<TypedRecord<K, V>, DeserializeError> {
        match self.0 {
            Ok((key, value)) => Ok(TypedRecord { key, value, record }),
            Err((part, reason)) => Err(DeserializeError { record: Box::new(record), part, reason }),
        }
    }
}

impl<K, V> Clone for RecordDeserializer<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A record with its key and value; everything else is that of [`ConsumedRecord`].
#[derive(Clone, Debug)]
pub struct TypedRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    record: ConsumedRecord,
}

impl<K, V> TypedRecord<K, V> {
    /// The record as it came.
    #[must_use]
    pub const fn record(&self) -> &ConsumedRecord {
        &self.record
    }
}

impl<K, V> Deref for TypedRecord<K, V> {
    type Target = ConsumedRecord;

    fn deref(&self) -> &ConsumedRecord {
        &self.record
    }
}

/// A key or value of a record is not what it should be, or can't be read as yet ([`SerdeError::is_transient`]).
#[derive(Debug, Error)]
pub struct DeserializeError {
    /// The record as it came.
    pub record: Box<ConsumedRecord>,
    /// Which part of it.
    pub part: RecordPart,
    /// What is wrong.
    pub reason: SerdeError,
}

impl fmt::Display for DeserializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, part, reason } = self;
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        write!(f, "the {part} of the record at offset {offset} of {topic}-{partition}: {reason}")
    }
}
