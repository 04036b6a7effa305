//! Records in JSON, held against their JSON Schema when they are written and when they are read.
//!
//! Nothing is loaded from the network or from files: a schema refers to what the registry holds, or to itself.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use bytes::{BufMut, Bytes};
use jsonschema::{Retrieve, Uri, Validator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    EncoderOptions, Error, ErrorKind, Part, Schema, SchemaId, SchemaRegistry, SchemaType,
    SubjectNameStrategy, cache::Cache, codec::Registrar, framing::framed, split_header,
};

/// How many schemas an encoder or decoder remembers.
const MOST_SCHEMAS: usize = 1000;
/// So many of a value's faults are told.
const MOST_FAULTS: usize = 5;

/// Writes records as JSON, with the header that names the schema. All tasks may share one.
///
/// # Cancellation
/// As of [`AvroEncoder`](crate::AvroEncoder).
pub struct JsonEncoder {
    registrar: Registrar,
    schema: Arc<Schema>,
    validator: Arc<Validator>,
    title: Option<String>,
    latest: Cache<String, (SchemaId, Arc<Validator>)>,
}

impl JsonEncoder {
    /// An encoder that registers its schema where it is missing. The schema's `title` is the record's name.
    ///
    /// # Errors
    /// When the schema is no JSON Schema, or what it refers to can't be had.
    pub async fn new(
        registry: SchemaRegistry,
        schema: Schema,
        strategy: SubjectNameStrategy,
    ) -> Result<Self, Error> {
        let validator = Arc::new(validator(&registry, &schema, "building an encoder of JSON").await?);
        let document: Value = serde_json::from_str(&schema.schema).unwrap_or_default();
        let title = document.get("title").and_then(Value::as_str).map(str::to_owned);
        let registrar = Registrar::new(registry, strategy);
        Ok(Self { registrar, schema: Arc::new(schema), validator, title, latest: Cache::new(MOST_SCHEMAS) })
    }

    /// How the schema gets its id.
    #[must_use]
    pub fn options(mut self, options: EncoderOptions) -> Self {
        self.registrar.options = options;
        self
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When the value is not as the schema says, with what is wrong and where, or the registry can't be asked or refuses.
    pub async fn encode<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        part: Part,
        value: &T,
    ) -> Result<Bytes, Error> {
        const DOING: &str = "encoding a record in JSON";
        let subject = self.registrar.subject(topic, part, self.title.as_deref())?;
        let (id, validator) = if self.registrar.options.use_latest_version {
            let (registry, asked) = (self.registrar.registry.clone(), subject.clone());
            let fetch = || async move {
                let latest = registry.latest(&asked).await?;
                Ok((latest.id, Arc::new(validator(&registry, &latest.schema, DOING).await?)))
            };
            self.latest.get_or_fetch(subject, DOING, fetch).await?
        } else {
            (self.registrar.id(&subject, &self.schema).await?, Arc::clone(&self.validator))
        };
        let value = serde_json::to_value(value).map_err(|error| Error::misuse(DOING, error))?;
        validate(&validator, &value).map_err(|error| Error::misuse(DOING, error))?;
        let mut bytes = framed(id).writer();
        serde_json::to_writer(&mut bytes, &value).map_err(|error| Error::misuse(DOING, error))?;
        Ok(bytes.into_inner().freeze())
    }
}

/// Reads records in JSON, held against the schema that they were written by. All tasks may share one.
///
/// # Cancellation
/// As of [`AvroDecoder`](crate::AvroDecoder).
pub struct JsonDecoder<T> {
    registry: SchemaRegistry,
    validators: Cache<SchemaId, Arc<Validator>>,
    decoded: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonDecoder<T> {
    /// A decoder.
    #[must_use]
    pub fn new(registry: SchemaRegistry) -> Self {
        Self { registry, validators: Cache::new(MOST_SCHEMAS), decoded: PhantomData }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it has no header, is not JSON, not as its schema says or no `T`, or the registry can't be asked or does not
    /// know the id.
    pub async fn decode(&self, record: &[u8]) -> Result<T, Error> {
        let (id, bytes) = split_header(record)?;
        let validator = self.validator(id).await?;
        let doing = || format!("decoding a record of schema {id}");
        let value: Value = serde_json::from_slice(bytes).map_err(|error| Error::data(doing(), error))?;
        validate(&validator, &value).map_err(|error| Error::data(doing(), error))?;
        serde_json::from_value(value).map_err(|error| Error::data(doing(), error))
    }

    async fn validator(&self, id: SchemaId) -> Result<Arc<Validator>, Error> {
        let doing = format!("getting ready for schema {id}");
        let (registry, described) = (self.registry.clone(), doing.clone());
        let fetch = || async move {
            let schema = registry.schema_by_id(id).await?;
            let validator = validator(&registry, &schema, &described).await;
            let validator = validator.map_err(|error| match error.kind() {
                ErrorKind::Misuse => Error::data(described, error),
                _ => error,
            })?;
            Ok(Arc::new(validator))
        };
        self.validators.get_or_fetch(id, &doing, fetch).await
    }
}

/// What the registry holds under the names that a schema has for it.
struct Referenced(BTreeMap<String, Value>);

impl Retrieve for Referenced {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str();
        let is_meant =
            |name: &str| uri.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
        let found = self.0.iter().find(|(name, _)| is_meant(name));
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("{uri} is no reference of the schema").into())
    }
}

async fn validator(registry: &SchemaRegistry, schema: &Schema, doing: &str) -> Result<Validator, Error> {
    if schema.schema_type != SchemaType::Json {
        return Err(Error::misuse(doing, format!("the schema is {:?}, not JSON", schema.schema_type)));
    }
    let invalid = |error: &dyn std::fmt::Display| {
        Error::misuse(doing, format!("the schema is no JSON Schema: {error}"))
    };
    let document: Value = serde_json::from_str(&schema.schema).map_err(|error| invalid(&error))?;
    let mut referenced = BTreeMap::new();
    for (name, schema) in registry.references(schema).await? {
        referenced.insert(name, serde_json::from_str(&schema.schema).map_err(|error| invalid(&error))?);
    }
    // The engine without backtracking: a pattern from the registry may not take for ever.
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .with_retriever(Referenced(referenced))
        .build(&document)
        .map_err(|error| invalid(&error))
}

fn validate(validator: &Validator, value: &Value) -> Result<(), String> {
    let faults: Vec<_> = validator
        .iter_errors(value)
        .take(MOST_FAULTS)
        .map(|fault| match fault.instance_path().as_str() {
            "" => fault.to_string(),
            path => format!("{path}: {fault}"),
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}
