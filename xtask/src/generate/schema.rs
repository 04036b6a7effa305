//! Apache Kafka's message schemas, as far as the generator asks.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use super::versions::Versions;

/// One schema file: a message and what it is made of.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) api_key: Option<i16>,
    pub(crate) valid: Versions,
    pub(crate) flexible: Versions,
    /// The last version may still change and is only spoken when asked for.
    pub(crate) latest_unstable: bool,
    pub(crate) fields: Vec<Field>,
    pub(crate) common: Vec<Structure>,
    /// What the schema's comments tell of its versions, a line each.
    pub(crate) history: Vec<String>,
    /// Which of Kafka's listeners serve the API.
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Listener {
    Broker,
    Controller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    Request,
    Response,
    Header,
    Data,
}

/// A structure that several fields of a message share.
#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) type_: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tagged: Versions,
    pub(crate) tag: Option<u32>,
    pub(crate) ignorable: bool,
    /// Overrides the message's own, when there.
    pub(crate) flexible: Option<Versions>,
    pub(crate) default: Option<String>,
    /// What a name or number stands for: `topicName`, `brokerId`, …
    pub(crate) entity_type: Option<String>,
    /// The fields of the structure this field defines in place.
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// A number or UUID: the name of the reader's and writer's method.
    Fixed(&'static str),
    String,
    Bytes,
    Records,
    Structure(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Self {
        if let Some(element) = text.strip_prefix("[]") {
            return Self::Array(Box::new(Self::parse(element)));
        }
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Fixed("i8"),
            "int16" => Self::Fixed("i16"),
            "uint16" => Self::Fixed("u16"),
            "int32" => Self::Fixed("i32"),
            "uint32" => Self::Fixed("u32"),
            "int64" => Self::Fixed("i64"),
            "float64" => Self::Fixed("f64"),
            "uuid" => Self::Fixed("uuid"),
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name => Self::Structure(name.to_owned()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSchema {
    api_key: Option<i16>,
    #[serde(rename = "type")]
    kind: Kind,
    name: String,
    valid_versions: String,
    flexible_versions: Option<String>,
    #[serde(default)]
    latest_version_unstable: bool,
    #[serde(default)]
    fields: Vec<RawField>,
    #[serde(default)]
    common_structs: Vec<RawStructure>,
    #[serde(default)]
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStructure {
    name: String,
    versions: String,
    fields: Vec<RawField>,
    #[serde(rename = "about")]
    _about: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    type_: String,
    versions: String,
    #[serde(default)]
    about: String,
    nullable_versions: Option<String>,
    tagged_versions: Option<String>,
    flexible_versions: Option<String>,
    tag: Option<u32>,
    #[serde(default)]
    ignorable: bool,
    default: Option<Value>,
    #[serde(default)]
    fields: Vec<RawField>,
    entity_type: Option<String>,
    /// How Java indexes and shares the field: nothing that reaches the wire.
    #[serde(rename = "mapKey")]
    _map_key: Option<bool>,
    #[serde(rename = "zeroCopy")]
    _zero_copy: Option<bool>,
}

impl Schema {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the schema {}", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let raw: RawSchema = serde_json::from_str(&without_comments(text))?;
        let valid = Versions::parse(&raw.valid_versions)?;
        let flexible = raw.flexible_versions.as_deref().map_or(Ok(Versions::NONE), Versions::parse)?;
        let common = raw.common_structs.into_iter().map(RawStructure::resolve).collect::<Result<_, _>>()?;
        let schema = Self {
            name: raw.name,
            kind: raw.kind,
            api_key: raw.api_key,
            valid,
            flexible,
            latest_unstable: raw.latest_version_unstable,
            fields: raw.fields.into_iter().map(RawField::resolve).collect::<Result<_, _>>()?,
            common,
            history: history(text),
            listeners: raw.listeners,
        };
        if matches!(schema.kind, Kind::Request | Kind::Response) && schema.api_key.is_none() {
            bail!("{} has no API key", schema.name);
        }
        Ok(schema)
    }

    /// The last version whose format is settled.
    pub(crate) fn last_stable(&self) -> i16 {
        self.valid.last - i16::from(self.latest_unstable)
    }

    /// The last version that can be asked for, as an expression.
    pub(crate) fn last_offered(&self) -> String {
        let (stable, last) = (self.last_stable(), self.valid.last);
        match self.latest_unstable {
            true => format!("if cfg!(feature = \"unstable\") {{ {last} }} else {{ {stable} }}"),
            false => last.to_string(),
        }
    }
}

impl RawStructure {
    fn resolve(self) -> anyhow::Result<Structure> {
        Ok(Structure {
            name: self.name,
            versions: Versions::parse(&self.versions)?,
            fields: self.fields.into_iter().map(RawField::resolve).collect::<Result<_, _>>()?,
        })
    }
}

impl RawField {
    fn resolve(self) -> anyhow::Result<Field> {
        let range = |text: Option<&String>| text.map_or(Ok(Versions::NONE), |text| Versions::parse(text));
        let default = match self.default {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        Ok(Field {
            versions: Versions::parse(&self.versions)?,
            nullable: range(self.nullable_versions.as_ref())?,
            tagged: range(self.tagged_versions.as_ref())?,
            flexible: self.flexible_versions.as_deref().map(Versions::parse).transpose()?,
            tag: self.tag,
            ignorable: self.ignorable,
            default,
            entity_type: self.entity_type,
            type_: Type::parse(&self.type_),
            fields: self.fields.into_iter().map(Self::resolve).collect::<Result<_, _>>()?,
            name: self.name,
            about: self.about,
        })
    }
}

/// The schemas' comments take whole lines.
fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The comments between the opening brace and the fields, which tell what each version brought. Paragraphs and items of
/// lists are joined to one line each.
fn history(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut open = false;
    let lines = text.lines().skip_while(|line| line.trim() != "{");
    for line in lines.take_while(|line| !line.contains("\"fields\"")) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            open = false;
            continue;
        };
        let comment = comment.trim();
        match paragraphs.last_mut() {
            Some(last)
                if open
                    && !comment.is_empty()
                    && !["Version ", "- "].iter().any(|start| comment.starts_with(start)) =>
            {
                last.push(' ');
                last.push_str(comment);
            }
            _ if comment.is_empty() => open = false,
            _ => {
                paragraphs.push(comment.to_owned());
                open = true;
            }
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_the_history() {
        let schema = Schema::parse(
            r#"// licence
{
  "apiKey": 7, "type": "request", "name": "LetterRequest",
  // Version 1 adds
  // the sender.
  //
  // Version 2 is flexible.
  "validVersions": "0-2", "flexibleVersions": "2+",
  "fields": [
    // not history
    { "name": "Sender", "type": "[]string", "versions": "1+", "default": null }
  ]
}"#,
        )
        .unwrap();
        assert_eq!(schema.history, ["Version 1 adds the sender.", "Version 2 is flexible."]);
        assert_eq!(schema.fields[0].type_, Type::Array(Box::new(Type::String)));
        assert_eq!(schema.flexible, Versions { first: 2, last: i16::MAX });
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        assert!(
            Schema::parse(r#"{"type": "data", "name": "X", "validVersions": "0", "surprise": 1}"#).is_err()
        );
    }
}
