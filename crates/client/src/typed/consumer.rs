//! A consumer whose records have types.

use std::{collections::VecDeque, fmt, ops::Deref, time::Duration};

use super::{DeserializeError, Deserializer, RecordDeserializer, TypedRecord};
use crate::{ConsumeError, ConsumedRecord, Consumer};

/// A [`Consumer`] with deserializers for keys and values; everything else is the consumer's.
pub struct TypedConsumer<K, V> {
    consumer: Consumer,
    deserializer: RecordDeserializer<K, V>,
}

impl<K: Deserializer, V: Deserializer> TypedConsumer<K, V> {
    /// Reads what `consumer` does.
    pub fn new(consumer: Consumer, key: K, value: V) -> Self {
        Self { consumer, deserializer: RecordDeserializer::new(key, value) }
    }

    /// As [`Consumer::poll`]. Nothing is deserialized before it is looked at.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    ///
    /// # Cancellation
    /// Dropping the future takes nothing.
    pub async fn poll(&self, timeout: Duration) -> Result<Option<TypedRecords<K, V>>, ConsumeError> {
        let Some(records) = self.consumer.poll(timeout).await? else { return Ok(None) };
        let left = records.iter().map(|record| record.to_record()).collect();
        Ok(Some(TypedRecords { left, deserializer: self.deserializer.clone() }))
    }

    /// The consumer, for records as they came.
    #[must_use]
    pub fn into_inner(self) -> Consumer {
        self.consumer
    }
}

impl<K, V> Clone for TypedConsumer<K, V> {
    fn clone(&self) -> Self {
        Self { consumer: self.consumer.clone(), deserializer: self.deserializer.clone() }
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

/// What a [`TypedConsumer`] hands out.
pub struct TypedRecords<K, V> {
    left: VecDeque<ConsumedRecord>,
    deserializer: RecordDeserializer<K, V>,
}

impl<K, V> TypedRecords<K, V> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left.len()
    }

    /// True when none is left, or nothing has come in time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}

impl<K: Deserializer, V: Deserializer> TypedRecords<K, V> {
    /// The next record, partition by partition. One that is not what it should be is an error that has the record; the
    /// others are not touched by it. `None` when none is left.
    ///
    /// # Cancellation
    /// Dropping the future takes nothing.
    pub async fn next(&mut self) -> Option<Result<TypedRecord<K::Output, V::Output>, DeserializeError>> {
        let made = self.deserializer.parts(self.left.front()?).await;
        let record = self.left.pop_front()?;
        Some(made.into_record(record))
    }
}

impl<K, V> fmt::Debug for TypedRecords<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.left).finish()
    }
}
