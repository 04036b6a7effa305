//! Values to bytes.

use std::sync::Arc;

use apache_avro::{types::Value, writer::datum::GenericDatumWriter};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::parsed::{ParsedAvro, Shared, guarded};
use crate::{
    EncoderOptions, Error, Part, Schema, SchemaId, SchemaRegistry, SubjectNameStrategy, cache::Cache,
    codec::Registrar, framing::framed,
};

const DOING: &str = "encoding a record in Avro";
/// How many subjects an encoder remembers.
const MOST_SUBJECTS: usize = 1000;

/// Writes records by a schema, with the header that names it. All tasks may share one.
///
/// # Cancellation
/// Encoding may ask the registry, once per subject. When the future is dropped meanwhile, the schema may be registered
/// or not; nothing else has happened.
pub struct AvroEncoder {
    registrar: Registrar,
    schema: Arc<Schema>,
    parsed: Shared,
    name: Option<String>,
    latest: Cache<String, (SchemaId, Shared)>,
}

impl AvroEncoder {
    /// An encoder that registers its schema where it is missing. Gets what the schema refers to.
    ///
    /// # Errors
    /// When the schema is none in Avro, or what it refers to can't be had.
    pub async fn new(
        registry: SchemaRegistry,
        schema: Schema,
        strategy: SubjectNameStrategy,
    ) -> Result<Self, Error> {
        let parsed = Arc::new(ParsedAvro::fetch(&registry, &schema, "building an encoder of Avro").await?);
        let name = parsed.full_name();
        let registrar = Registrar::new(registry, strategy);
        Ok(Self { registrar, schema: Arc::new(schema), parsed, name, latest: Cache::new(MOST_SUBJECTS) })
    }

    /// How the schema gets its id.
    #[must_use]
    pub fn options(mut self, options: EncoderOptions) -> Self {
        self.registrar.options = options;
        self
    }

    /// Writes a record of serde's. Struct fields become those of the same name; `Option` is a union with null. Avro has no number
    /// of 64 bits without a sign: for a `long` take `i64` (or `#[serde(with = …)]`), for `u64` is refused. What is not known before it
    /// runs is better given to [`encode_value`](Self::encode_value): `serde_json::Value` has its numbers as `u64`.
    ///
    /// # Errors
    /// When the value is not as the schema says, or the registry can't be asked or refuses.
    pub async fn encode<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        part: Part,
        value: &T,
    ) -> Result<Bytes, Error> {
        let (id, parsed) = self.writer(topic, part).await?;
        let mut bytes = framed(id).writer();
        guarded(|| GenericDatumWriter::builder(parsed.schema()).build()?.write_ser(&mut bytes, &value))
            .map_err(|error| Error::misuse(DOING, error))?;
        Ok(bytes.into_inner().freeze())
    }

    /// Writes a value that was put together at run time. It is held against the schema first.
    ///
    /// # Errors
    /// As those of [`encode`](Self::encode).
    pub async fn encode_value(&self, topic: &str, part: Part, value: &Value) -> Result<Bytes, Error> {
        let (id, parsed) = self.writer(topic, part).await?;
        let mut bytes: bytes::buf::Writer<BytesMut> = framed(id).writer();
        guarded(|| GenericDatumWriter::builder(parsed.schema()).build()?.write_value_ref(&mut bytes, value))
            .map_err(|error| Error::misuse(DOING, error))?;
        Ok(bytes.into_inner().freeze())
    }

    async fn writer(&self, topic: &str, part: Part) -> Result<(SchemaId, Shared), Error> {
        let subject = self.registrar.subject(topic, part, self.name.as_deref())?;
        if !self.registrar.options.use_latest_version {
            return Ok((self.registrar.id(&subject, &self.schema).await?, Arc::clone(&self.parsed)));
        }
        let (registry, asked) = (self.registrar.registry.clone(), subject.clone());
        let fetch = || async move {
            let latest = registry.latest(&asked).await?;
            let parsed = ParsedAvro::fetch(&registry, &latest.schema, DOING).await?;
            Ok((latest.id, Arc::new(parsed)))
        };
        self.latest.get_or_fetch(subject, DOING, fetch).await
    }
}
