//! What the encoders of all languages have in common: how a schema gets its id.

use std::sync::Arc;

use crate::{Error, Part, Schema, SchemaId, SchemaRegistry, SubjectNameStrategy};

/// How an encoder comes by the id of its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct EncoderOptions {
    pub(crate) auto_register: bool,
    pub(crate) use_latest_version: bool,
    pub(crate) normalize: bool,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { auto_register: true, use_latest_version: false, normalize: false }
    }
}

impl EncoderOptions {
    /// Registers a schema that is not there (`auto.register.schemas`); on unless told otherwise, as Confluent's clients
    /// have it. Off, an unknown schema is an error: good where schemas are registered by a pipeline.
    pub fn auto_register(mut self, auto_register: bool) -> Self {
        self.auto_register = auto_register;
        self
    }

    /// Writes by the subject's latest version in place of the encoder's schema, and registers nothing
    /// (`use.latest.version`). It is asked for once per subject.
    pub fn use_latest_version(mut self, use_latest_version: bool) -> Self {
        self.use_latest_version = use_latest_version;
        self
    }

    /// Lets the registry bring schemas into a normal form (`normalize.schemas`).
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }
}

/// A schema's way to an id.
pub(crate) struct Registrar {
    pub(crate) registry: SchemaRegistry,
    pub(crate) strategy: SubjectNameStrategy,
    pub(crate) options: EncoderOptions,
    #[cfg(feature = "protobuf")]
    latest_ids: crate::cache::Cache<String, SchemaId>,
}

impl Registrar {
    pub(crate) fn new(registry: SchemaRegistry, strategy: SubjectNameStrategy) -> Self {
        Self {
            registry,
            strategy,
            options: EncoderOptions::default(),
            #[cfg(feature = "protobuf")]
            latest_ids: crate::cache::Cache::new(1000),
        }
    }

    pub(crate) fn subject(&self, topic: &str, part: Part, name: Option<&str>) -> Result<String, Error> {
        self.strategy.subject(topic, part, name)
    }

    /// The id of the encoder's own schema, without a request if it is known.
    pub(crate) async fn id(&self, subject: &str, schema: &Arc<Schema>) -> Result<SchemaId, Error> {
        let (normalize, register) = (self.options.normalize, self.options.auto_register);
        if let Some(id) = self.registry.known_id(subject, schema, normalize, register) {
            return Ok(id);
        }
        if register {
            self.registry.register(subject, schema, normalize).await
        } else {
            self.registry.id(subject, schema, normalize).await
        }
    }

    /// The id of the subject's latest version, which is asked for once.
    #[cfg(feature = "protobuf")]
    pub(crate) async fn latest_id(&self, subject: &str) -> Result<SchemaId, Error> {
        let (registry, asked) = (self.registry.clone(), subject.to_owned());
        let fetch = || async move { Ok(registry.latest(&asked).await?.id) };
        self.latest_ids.get_or_fetch(subject.to_owned(), "asking for the latest schema", fetch).await
    }
}
