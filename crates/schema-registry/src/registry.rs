//! The client: what can be asked of a registry.
//!
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::{fmt, sync::Arc};

use hyper::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CompatibilityCheck, Error, ErrorKind, RegisteredSchema, Schema, SchemaId, SchemaRegistryBuilder, Version,
    base_url::encoded, cache::Cache, http::Question, transport::Transport,
};

/// A client of a registry that speaks the API of Confluent Schema Registry. Clones share connections' settings and caches.
///
/// Failures that pass are tried again, at other addresses if there are any, for a bounded time. What is never asked twice
/// is the schema of an id, and the id of a schema under a subject: they don't change.
///
/// # Cancellation
/// Each method sends one request. When its future is dropped, the registry may have acted or not, and asking again is safe.
///
/// ```
/// # async fn example() -> Result<(), milena_schema_registry::Error> {
/// use milena_schema_registry::{Schema, SchemaRegistry};
///
/// let registry = SchemaRegistry::builder("http://localhost:8081").build()?;
/// let id = registry.register("orders-value", &Schema::avro(r#""string""#), false).await?;
/// assert_eq!(registry.schema_by_id(id).await?.schema, r#""string""#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SchemaRegistry(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) by_id: Cache<SchemaId, Arc<Schema>>,
    /// For references alone: what a version holds never changes, unless it is deleted for good.
    pub(crate) by_version: Cache<(String, u32), Arc<Schema>>,
    pub(crate) ids: Cache<IdKey, SchemaId>,
}

/// Under which subject, which schema, and what for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct IdKey {
    pub(crate) subject: String,
    schema: Arc<Schema>,
    normalize: bool,
    is_registered_if_missing: bool,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: SchemaId,
}

impl SchemaRegistry {
    /// Begins with a registry's address, `http[s]://HOST[:PORT][/PATH]`.
    pub fn builder(url: impl Into<String>) -> SchemaRegistryBuilder {
        SchemaRegistryBuilder::new(url)
    }

    /// Registers a schema under a subject, and gives its id. A schema that is there keeps its id.
    ///
    /// `normalize`: the registry brings it into a normal form first, so that white space and order make no difference.
    ///
    /// # Errors
    /// [`Error::is_incompatible`] when the subject's level forbids it, with the registry's reasons; code 42201 when it is
    /// no valid schema.
    pub async fn register(&self, subject: &str, schema: &Schema, normalize: bool) -> Result<SchemaId, Error> {
        self.id_of(subject, schema, normalize, true).await
    }

    /// The id of a schema that is registered under a subject.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it is not.
    pub async fn id(&self, subject: &str, schema: &Schema, normalize: bool) -> Result<SchemaId, Error> {
        self.id_of(subject, schema, normalize, false).await
    }

    pub(crate) fn known_id(
        &self,
        subject: &str,
        schema: &Arc<Schema>,
        normalize: bool,
        register: bool,
    ) -> Option<SchemaId> {
        self.0.ids.get(&id_key(subject, schema, normalize, register))
    }

    async fn id_of(
        &self,
        subject: &str,
        schema: &Schema,
        normalize: bool,
        register: bool,
    ) -> Result<SchemaId, Error> {
        let key = id_key(subject, &Arc::new(schema.clone()), normalize, register);
        let verb = if register { "registering a schema under" } else { "looking for a schema under" };
        let doing = format!("{verb} {subject}");
        let tail = if register { "/versions" } else { "" };
        let path = format!("/subjects/{}{tail}?normalize={normalize}", encoded(subject));
        let (registry, question, described) = (self.clone(), post(path, schema), doing.clone());
        let fetch =
            || async move { Ok(registry.0.transport.ask::<IdAnswer>(&described, question).await?.id) };
        self.0.ids.get_or_fetch(key, &doing, fetch).await
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// [`Error::is_not_found`], code 40403, when the registry has no such id.
    pub async fn schema_by_id(&self, id: SchemaId) -> Result<Arc<Schema>, Error> {
        let doing = format!("asking for schema {id}");
        let (registry, described) = (self.clone(), doing.clone());
        let fetch = || async move {
            registry.ask(&described, Method::GET, format!("/schemas/ids/{id}")).await.map(Arc::new)
        };
        self.0.by_id.get_or_fetch(id, &doing, fetch).await
    }

    /// A version of a subject.
    ///
    /// # Errors
    /// [`Error::is_not_found`], code 40401 or 40402, when there is none.
    pub async fn version(&self, subject: &str, version: Version) -> Result<RegisteredSchema, Error> {
        let doing = format!("asking for version {version} of {subject}");
        self.ask(&doing, Method::GET, version_path(subject, version)).await
    }

    /// The latest version of a subject. As [`version`](Self::version).
    ///
    /// # Errors
    /// As those of [`version`](Self::version).
    pub async fn latest(&self, subject: &str) -> Result<RegisteredSchema, Error> {
        self.version(subject, Version::Latest).await
    }

    pub(crate) async fn referenced(&self, subject: &str, version: u32) -> Result<Arc<Schema>, Error> {
        let key = (subject.to_owned(), version);
        let doing = format!("asking for version {version} of {subject}");
        let (registry, owned) = (self.clone(), key.clone());
        let fetch = || async move {
            let found = registry.version(&owned.0, Version::Number(owned.1)).await?;
            Ok(Arc::new(found.schema))
        };
        self.0.by_version.get_or_fetch(key, &doing, fetch).await
    }

    /// Where a schema is under a subject, if it is.
    ///
    /// # Errors
    /// When the registry can't be asked, or takes it for no schema.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &Schema,
        normalize: bool,
    ) -> Result<Option<RegisteredSchema>, Error> {
        let doing = format!("looking for a schema under {subject}");
        let path = format!("/subjects/{}?normalize={normalize}", encoded(subject));
        match self.0.transport.ask(&doing, post(path, schema)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() && matches!(error.error_code(), Some(40401 | 40403)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a schema is compatible with a version of a subject by the subject's level, and why not.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is no such version.
    pub async fn check_compatibility(
        &self,
        subject: &str,
        version: Version,
        schema: &Schema,
    ) -> Result<CompatibilityCheck, Error> {
        let doing = format!("comparing a schema with version {version} of {subject}");
        let path = format!("/compatibility{}?verbose=true", version_path(subject, version));
        self.0.transport.ask(&doing, post(path, schema)).await
    }

    /// The names of all subjects.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn subjects(&self) -> Result<Vec<String>, Error> {
        self.ask("listing subjects", Method::GET, "/subjects".to_owned()).await
    }

    /// The versions of a subject, in ascending order.
    ///
    /// # Errors
    /// [`Error::is_not_found`], code 40401, when there is no such subject.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Error> {
        let path = format!("/subjects/{}/versions", encoded(subject));
        self.ask(&format!("listing the versions of {subject}"), Method::GET, path).await
    }

    /// The ids of the schemas that refer to a version.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is no such version.
    pub async fn referenced_by(&self, subject: &str, version: Version) -> Result<Vec<SchemaId>, Error> {
        let doing = format!("asking what refers to version {version} of {subject}");
        self.ask(&doing, Method::GET, format!("{}/referencedby", version_path(subject, version))).await
    }

    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        path: String,
    ) -> Result<T, Error> {
        self.0.transport.ask(doing, Question { method, path, body: None }).await
    }

    /// All that a schema refers to, what is referred to before what refers to it, each once.
    pub(crate) async fn references(&self, schema: &Schema) -> Result<Vec<(String, Arc<Schema>)>, Error> {
        let mut found: Vec<(String, Arc<Schema>)> = Vec::new();
        let mut waiting: Vec<_> = schema.references.clone();
        while let Some(reference) = waiting.pop() {
            if found.len() >= MOST_REFERENCES {
                let cause =
                    format!("there are more than {MOST_REFERENCES} references, or they go round in a circle");
                return Err(Error::new(ErrorKind::BadAnswer, "resolving a schema's references", cause));
            }
            let referenced = self.referenced(&reference.subject, reference.version).await?;
            waiting.extend(referenced.references.iter().cloned());
            found.push((reference.name, referenced));
        }
        // What was found last is referred to by what was found before. Of several, the last in this order stays.
        found.reverse();
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|(name, _)| seen.insert(name.clone()));
        Ok(found)
    }
}

/// How many schemas one may refer to, directly or not.
const MOST_REFERENCES: usize = 200;

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SchemaRegistry").field(&self.0.transport.urls).finish()
    }
}

fn id_key(subject: &str, schema: &Arc<Schema>, normalize: bool, is_registered_if_missing: bool) -> IdKey {
    IdKey { subject: subject.to_owned(), schema: Arc::clone(schema), normalize, is_registered_if_missing }
}

pub(crate) fn version_path(subject: &str, version: Version) -> String {
    format!("/subjects/{}/versions/{version}", encoded(subject))
}

fn post(path: String, schema: &Schema) -> Question {
    Question { method: Method::POST, path, body: Some(json(schema)) }
}

pub(crate) fn json(value: &impl Serialize) -> bytes::Bytes {
    // These types have string keys and no failing parts.
    serde_json::to_vec(value).unwrap_or_default().into()
}
