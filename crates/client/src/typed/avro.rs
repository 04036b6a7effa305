//! Avro, with schemas from a registry.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use milena_schema_registry::{AvroDecoder, AvroEncoder, Error, ErrorKind, Part, Schema, SchemaRegistry};
use serde::{Serialize, de::DeserializeOwned};

use super::{Deserializer, Field, RecordPart, SerdeError, Serializer, present};

/// Values of a type of serde's in Avro, with the five bytes in front that name the writer's schema.
///
/// Writing registers the schema where it is missing, under `TOPIC-value` or `TOPIC-key`; reading resolves what a writer's
/// schema has into this one: what the writer did not know gets its default. Cloning shares what is remembered of the registry.
///
/// ```
/// use milena::{
///     Avro, Deserializer, Field, RecordPart, Serializer,
///     schema_registry::{Schema, SchemaRegistry, server::InProcessRegistry},
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Order { id: i64 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = InProcessRegistry::start().await?;
/// let registry = SchemaRegistry::builder(server.url()).build()?;
/// let schema = Schema::avro(r#"{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}"#);
/// let (orders, field) = (Avro::<Order>::new(&registry, schema).await?, Field::new("orders", RecordPart::Value));
/// let bytes = orders.serialize(&Order { id: 7 }, field).await?;
/// assert_eq!(orders.deserialize(bytes.as_ref(), field).await?, Order { id: 7 });
/// assert_eq!(registry.subjects().await?, ["orders-value"]);
/// # Ok(())
/// # }
/// ```
pub struct Avro<T>(Arc<Both<T>>);

struct Both<T> {
    encoder: AvroEncoder,
    decoder: AvroDecoder<T>,
}

impl<T> Avro<T> {
    /// Writes by this schema, and reads into it.
    ///
    /// # Errors
    /// When the schema is none in Avro, or what it refers to can't be had.
    pub async fn new(registry: &SchemaRegistry, schema: Schema) -> Result<Self, Error> {
        let decoder = AvroDecoder::new(registry.clone(), Some(schema.clone())).await?;
        let encoder = AvroEncoder::new(registry.clone(), schema, Default::default()).await?;
        Ok(Self::of(encoder, decoder))
    }

    /// Writes and reads with these, for other settings: how subjects are named, whether schemas are registered, and so on.
    #[must_use]
    pub fn of(encoder: AvroEncoder, decoder: AvroDecoder<T>) -> Self {
        Self(Arc::new(Both { encoder, decoder }))
    }
}

impl<T: Serialize + Sync + 'static> Serializer for Avro<T> {
    type Input = T;

    async fn serialize(&self, value: &T, field: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        let part = match field.part() {
            RecordPart::Key => Part::Key,
            RecordPart::Value => Part::Value,
        };
        self.0.encoder.encode(field.topic(), part, value).await.map(Some).map_err(blamed)
    }
}

impl<T: DeserializeOwned + Send + 'static> Deserializer for Avro<T> {
    type Output = T;

    async fn deserialize(&self, bytes: Option<&Bytes>, _: Field<'_>) -> Result<T, SerdeError> {
        self.0.decoder.decode(present(bytes)?).await.map_err(blamed)
    }
}

/// A registry that is away or refuses a login says nothing of the record; one that does not know the schema's id does.
fn blamed(error: Error) -> SerdeError {
    let is_the_records = match error.kind() {
        ErrorKind::Refused => error.is_not_found() || error.is_incompatible(),
        ErrorKind::Unavailable | ErrorKind::BadAnswer => false,
        _ => true,
    };
    if is_the_records { SerdeError::invalid(error) } else { SerdeError::transient(error) }
}

impl<T> Clone for Avro<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Avro<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Avro<{}>", std::any::type_name::<T>())
    }
}
