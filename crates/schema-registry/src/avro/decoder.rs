//! Bytes to values.

use std::{marker::PhantomData, sync::Arc};

use apache_avro::{from_value, reader::datum::GenericDatumReader, types::Value};
use serde::de::DeserializeOwned;

use super::{
    check::check,
    parsed::{ParsedAvro, Shared, guarded},
};
use crate::{Error, ErrorKind, Schema, SchemaId, SchemaRegistry, cache::Cache, split_header};

/// So deep is decoded on the caller's stack. Unoptimised, `apache-avro` takes 30 KiB of it a level.
const SHALLOW: usize = 12;
/// Enough for the deepest that [`check`] lets through.
const LARGE_STACK: usize = 16 << 20;
/// How many writers' schemas a decoder remembers.
const MOST_SCHEMAS: usize = 1000;

/// Reads records by the schema that they were written by, as the reader's schema has it. All tasks may share one.
///
/// What the writer did not know gets the reader's default, and what the reader does not know is left out.
///
/// # Cancellation
/// Decoding may ask the registry, once per schema. Dropping the future loses nothing.
pub struct AvroDecoder<T> {
    registry: SchemaRegistry,
    reader: Option<Shared>,
    writers: Cache<SchemaId, Shared>,
    decoded: PhantomData<fn() -> T>,
}

impl<T> AvroDecoder<T> {
    /// A decoder. Without a reader's schema, values are as the writer's has them.
    ///
    /// # Errors
    /// When the reader's schema is none in Avro, or what it refers to can't be had.
    pub async fn new(registry: SchemaRegistry, reader_schema: Option<Schema>) -> Result<Self, Error> {
        let reader = match reader_schema {
            Some(schema) => {
                Some(Arc::new(ParsedAvro::fetch(&registry, &schema, "building a decoder of Avro").await?))
            }
            None => None,
        };
        Ok(Self { registry, reader, writers: Cache::new(MOST_SCHEMAS), decoded: PhantomData })
    }

    /// Reads a record without serde.
    ///
    /// # Errors
    /// As those of [`decode`](Self::decode).
    pub async fn decode_value(&self, record: &[u8]) -> Result<Value, Error> {
        let (id, bytes) = split_header(record)?;
        let writer = self.writer(id).await?;
        let invalid = |error: String| Error::data(format!("decoding a record of schema {id}"), error);
        // What was written by the reader's own schema is as it should be.
        let reader = self.reader.as_ref().filter(|reader| reader.schema() != writer.schema());
        let tries = reader.map_or(0, |reader| reader.tries());
        let depth = check(writer.schema(), writer.names(), bytes, tries).map_err(invalid)?;
        let mut rest = bytes;
        let mut work = || {
            guarded(|| {
                let reader = reader.map(|reader| reader.schema());
                let reader =
                    GenericDatumReader::builder(writer.schema()).maybe_reader_schema(reader).build()?;
                reader.read_value(&mut rest)
            })
        };
        let value = if depth <= SHALLOW { work() } else { on_a_large_stack(work) };
        value.map_err(invalid)
    }

    async fn writer(&self, id: SchemaId) -> Result<Shared, Error> {
        if let Some(writer) = self.writers.get(&id) {
            return Ok(writer);
        }
        let doing = format!("getting ready for schema {id}");
        let (registry, described) = (self.registry.clone(), doing.clone());
        let fetch = || async move {
            let schema = registry.schema_by_id(id).await?;
            let parsed = ParsedAvro::fetch(&registry, &schema, &described).await;
            // The caller has no part in what the registry holds.
            let parsed = parsed.map_err(|error| match error.kind() {
                ErrorKind::Misuse => Error::data(described, error),
                _ => error,
            })?;
            Ok(Arc::new(parsed))
        };
        self.writers.get_or_fetch(id, &doing, fetch).await
    }
}

impl<T: DeserializeOwned> AvroDecoder<T> {
    /// Reads a record.
    ///
    /// # Errors
    /// When it has no header, its bytes are not what its schema says or can't be resolved into the reader's schema or
    /// into `T`, or the registry can't be asked or does not know the id.
    pub async fn decode(&self, record: &[u8]) -> Result<T, Error> {
        let value = self.decode_value(record).await?;
        guarded(|| from_value(&value)).map_err(|error| Error::data("decoding a record into its type", error))
    }
}

/// Records that are nested deep are rare, and get a thread for as long as they are decoded.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(LARGE_STACK).spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| format!("no thread for a record that is nested deep: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("the Avro implementation panicked".to_owned()))
    })
}
