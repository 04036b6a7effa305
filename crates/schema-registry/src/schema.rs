//! What the registry keeps.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The registry's number of a schema. It is what stands before every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum SchemaType {
    /// Apache Avro.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

/// A schema's text, and the schemas that it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// The text.
    pub schema: String,
    /// The language. The registry leaves it out where it is Avro.
    #[serde(default)]
    pub schema_type: SchemaType,
    /// What the text refers to and does not hold itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_none")]
    pub references: Vec<SchemaReference>,
}

impl Schema {
    /// A schema in Avro.
    pub fn avro(text: impl Into<String>) -> Self {
        Self::new(SchemaType::Avro, text)
    }

    /// A JSON Schema.
    pub fn json(text: impl Into<String>) -> Self {
        Self::new(SchemaType::Json, text)
    }

    /// A `.proto` file.
    pub fn protobuf(text: impl Into<String>) -> Self {
        Self::new(SchemaType::Protobuf, text)
    }

    fn new(schema_type: SchemaType, text: impl Into<String>) -> Self {
        Self { schema: text.into(), schema_type, references: Vec::new() }
    }

    /// Refers to what another subject holds: in Avro by its full name, in JSON by its URL, in Protobuf by the import.
    #[must_use]
    pub fn reference(mut self, name: impl Into<String>, subject: impl Into<String>, version: u32) -> Self {
        self.references.push(SchemaReference { name: name.into(), subject: subject.into(), version });
        self
    }
}

/// A schema that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaReference {
    /// The name by which it is referred to.
    pub name: String,
    /// The subject in which it is registered.
    pub subject: String,
    /// The version there.
    pub version: u32,
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredSchema {
    /// The subject.
    pub subject: String,
    /// The version: 1, 2 and so on.
    pub version: u32,
    /// The id, which all subjects share that have the same schema.
    pub id: SchemaId,
    /// The schema itself.
    #[serde(flatten)]
    pub schema: Schema,
}

/// Which version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// The latest.
    Latest,
    /// This one.
    Number(u32),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// What the versions of a subject must keep to. Backward: new readers read old data; forward: old readers read new data;
/// full: both. Transitive: not only from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "told above")]
#[non_exhaustive]
pub enum CompatibilityLevel {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl fmt::Display for CompatibilityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What the registry says to a schema that is not registered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompatibilityCheck {
    /// Whether it could be registered.
    pub is_compatible: bool,
    /// Why not, in the registry's words.
    #[serde(default, deserialize_with = "null_is_none")]
    pub messages: Vec<String>,
}

/// How thoroughly something is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is no longer listed; its ids can still be asked for, and records be read.
    Soft,
    /// Nothing remains, and records that were written with it can't be read. It must have been deleted softly before.
    Hard,
}

fn null_is_none<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
