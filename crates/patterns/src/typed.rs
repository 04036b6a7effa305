//! Handlers of records whose keys and values have types.

use milena::{ConsumedRecord, DeserializeError, Deserializer, Record, RecordDeserializer, TypedRecord};

use crate::{BatchError, BatchHandler, Handler, HandlerError, Transform};

/// A record as a handler gets it that is given these deserializers.
type Of<K, V> = TypedRecord<<K as Deserializer>::Output, <V as Deserializer>::Output>;

impl HandlerError {
    /// A record that can't be deserialized is given up at once; one whose schema can't be had as yet waits until it can
    /// ([`unavailable`](Self::unavailable)).
    #[must_use]
    pub fn not_deserialized(error: DeserializeError) -> Self {
        if error.reason.is_transient() { Self::unavailable(error) } else { Self::permanent(error) }
    }
}

/// A [`Handler`] of records with keys and values of these types. One that can't be deserialized goes to the dead letters, as it
/// came; the handler does not see it.
///
/// ```no_run
/// use milena::{Client, Json, Utf8};
/// use milena_patterns::{AtLeastOnce, HandlerError, Shutdown, typed};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Order { id: u64 }
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.consumer("inventory").subscribe(["orders"]);
/// let reserve = typed(Utf8, Json::<Order>::new(), |order| async move {
///     println!("{} of {} at offset {}", order.value.id, order.key, order.offset());
///     Ok(())
/// });
/// AtLeastOnce::new(orders, client.producer().build()?).run(reserve, &shutdown).await?;
/// # Ok(())
/// # }
/// ```
pub fn typed<K, V, H, F>(key: K, value: V, handler: H) -> impl Handler
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Of<K, V>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), HandlerError>> + Send,
{
    Typed { deserializer: RecordDeserializer::new(key, value), handler }
}

/// As [`typed`], of a [`BatchHandler`]. It gets the records in front of one that can't be deserialized, and after that one
/// those behind it.
pub fn typed_batches<K, V, H, F>(key: K, value: V, handler: H) -> impl BatchHandler
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Vec<Of<K, V>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), BatchError>> + Send,
{
    TypedBatches(Typed { deserializer: RecordDeserializer::new(key, value), handler })
}

/// As [`typed`], of a [`Transform`]. One that can't be deserialized becomes a dead letter in a transaction of its own, if
/// [dead letters](crate::ExactlyOnce::dead_letters) are wanted.
pub fn typed_transform<K, V, H, F>(key: K, value: V, transform: H) -> impl Transform
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Vec<Of<K, V>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Record>, HandlerError>> + Send,
{
    TypedTransform(Typed { deserializer: RecordDeserializer::new(key, value), handler: transform })
}

struct Typed<K, V, H> {
    deserializer: RecordDeserializer<K, V>,
    handler: H,
}

impl<K: Deserializer, V: Deserializer, H> Typed<K, V, H> {
    async fn deserialize(&self, record: ConsumedRecord) -> Result<Of<K, V>, HandlerError> {
        self.deserializer.deserialize(record).await.map_err(HandlerError::not_deserialized)
    }

    /// The records in front of the first that can't be deserialized, and why it can't.
    async fn deserialize_all(&self, records: Vec<ConsumedRecord>) -> (Vec<Of<K, V>>, Option<HandlerError>) {
        let mut made = Vec::with_capacity(records.len());
        for record in records {
            match self.deserialize(record).await {
                Ok(record) => made.push(record),
                Err(error) => return (made, Some(error)),
            }
        }
        (made, None)
    }
}

impl<K, V, H, F> Handler for Typed<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Of<K, V>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, record: ConsumedRecord) -> Result<(), HandlerError> {
        (self.handler)(self.deserialize(record).await?).await
    }
}

struct TypedBatches<K, V, H>(Typed<K, V, H>);

impl<K, V, H, F> BatchHandler for TypedBatches<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Vec<Of<K, V>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), BatchError>> + Send,
{
    async fn handle(&self, records: Vec<ConsumedRecord>) -> Result<(), BatchError> {
        let (made, error) = self.0.deserialize_all(records).await;
        let done = made.len();
        if done > 0 {
            (self.0.handler)(made).await?;
        }
        error.map_or(Ok(()), |error| Err(BatchError { done, error }))
    }
}

struct TypedTransform<K, V, H>(Typed<K, V, H>);

impl<K, V, H, F> Transform for TypedTransform<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Fn(Vec<Of<K, V>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Record>, HandlerError>> + Send,
{
    async fn transform(&self, records: Vec<ConsumedRecord>) -> Result<Vec<Record>, HandlerError> {
        let (made, error) = self.0.deserialize_all(records).await;
        match error {
            Some(error) => Err(error),
            None => (self.0.handler)(made).await,
        }
    }
}
