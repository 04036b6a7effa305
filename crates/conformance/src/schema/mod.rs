//! A second, slow reading of Apache Kafka's schemas: what the generated code is held against, and what requests of scripts
//! are written with.
//!
//! It shares nothing with the generator. A message is a tree of values ([`Value`]) that is checked and written field by
//! field as the schema says, in the version asked for, as the classes do that Kafka generates in Java.

mod base64;
mod embedded;
mod from_json;
mod json;
mod locate;
mod value;
mod versions;
mod write;

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub use base64::{base64, unbase64};
pub use from_json::{NotThatField, Path};
pub use locate::locate;
pub use value::{Structure, Value};
pub use versions::Versions;
pub use write::{Refusal, write, write_with_nulls};

/// A message and what it is made of.
#[derive(Debug)]
pub struct Schema {
    /// The name, such as `FetchRequest`.
    pub name: String,
    /// The versions of the message.
    pub valid: Versions,
    /// Those with compact lengths and tagged fields.
    pub flexible: Versions,
    /// The fields of the message itself.
    pub fields: Vec<Field>,
    structures: BTreeMap<String, Vec<Field>>,
}

/// A field of a message or of a structure in it.
#[derive(Debug)]
pub struct Field {
    /// The name as JSON has it, such as `errorCode`.
    pub name: String,
    /// What it holds, or what its elements are.
    pub element: Type,
    /// True when it is an array.
    pub is_array: bool,
    /// The versions that have it.
    pub versions: Versions,
    /// Those in which it may be null.
    pub nullable: Versions,
    /// Those in which it is a tagged field.
    pub tagged: Versions,
    tag: u32,
    ignorable: bool,
    /// Overrides the message's own.
    flexible: Option<Versions>,
    default: Option<String>,
}

/// The types a field or an element can have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the schemas' own")]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    /// Records are bytes to the message that holds them.
    Bytes,
    Structure(String),
}

impl Schema {
    /// `None` when the text is no schema.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let json: Json = serde_json::from_str(&lines.join("\n")).ok()?;
        let mut structures = BTreeMap::new();
        for common in json["commonStructs"].as_array().into_iter().flatten() {
            let fields = parse_fields(&common["fields"], &mut structures)?;
            structures.insert(common["name"].as_str()?.to_owned(), fields);
        }
        Some(Self {
            name: json["name"].as_str()?.to_owned(),
            valid: Versions::parse(json["validVersions"].as_str()?)?,
            flexible: optional_versions(&json["flexibleVersions"])?.unwrap_or(Versions::NONE),
            fields: parse_fields(&json["fields"], &mut structures)?,
            structures,
        })
    }

    /// The fields of a structure inside the message; none for a name that is not known.
    #[must_use]
    pub fn structure(&self, name: &str) -> &[Field] {
        self.structures.get(name).map_or(&[], Vec::as_slice)
    }
}

fn parse_fields(json: &Json, structures: &mut BTreeMap<String, Vec<Field>>) -> Option<Vec<Field>> {
    json.as_array()?.iter().map(|field| parse_field(field, structures)).collect()
}

fn parse_field(json: &Json, structures: &mut BTreeMap<String, Vec<Field>>) -> Option<Field> {
    let type_ = json["type"].as_str()?;
    let element = Type::parse(type_.trim_start_matches("[]"));
    if let (Type::Structure(name), true) = (&element, json["fields"].is_array()) {
        let fields = parse_fields(&json["fields"], structures)?;
        structures.insert(name.clone(), fields);
    }
    let mut letters = json["name"].as_str()?.chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(Field {
        name: std::iter::once(first).chain(letters).collect(),
        element,
        is_array: type_.starts_with("[]"),
        versions: Versions::parse(json["versions"].as_str()?)?,
        nullable: optional_versions(&json["nullableVersions"])?.unwrap_or(Versions::NONE),
        tagged: optional_versions(&json["taggedVersions"])?.unwrap_or(Versions::NONE),
        tag: json["tag"].as_u64().unwrap_or_default().try_into().ok()?,
        ignorable: json["ignorable"].as_bool().unwrap_or_default(),
        flexible: optional_versions(&json["flexibleVersions"])?,
        default: match &json["default"] {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
    })
}

/// `None` within when there is nothing; `None` when it is not understood.
fn optional_versions(json: &Json) -> Option<Option<Versions>> {
    match json {
        Json::Null => Some(None),
        text => Versions::parse(text.as_str()?).map(Some),
    }
}

impl Type {
    fn parse(text: &str) -> Self {
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" | "records" => Self::Bytes,
            name => Self::Structure(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LETTER: &str = r#"// licence
{ "apiKey": 7, "type": "request", "name": "LetterRequest", "validVersions": "0-3", "flexibleVersions": "2+",
  // what it is
  "fields": [
    { "name": "To", "type": "string", "versions": "0+" },
    { "name": "Pages", "type": "[]Page", "versions": "1+", "fields": [
      { "name": "Number", "type": "int16", "versions": "1+", "default": "-1", "ignorable": true } ]},
    { "name": "Seal", "type": "int32", "versions": "2+", "taggedVersions": "2+", "tag": 0, "default": "7" }
  ] }"#;

    fn letter(pages: &[i64], seal: i64) -> Structure {
        let page =
            |&number: &i64| Value::Structure(Structure { fields: vec![Value::Int(number)], tags: vec![] });
        let pages = Value::Array(pages.iter().map(page).collect());
        Structure { fields: vec![Value::Text("me".to_owned()), pages, Value::Int(seal)], tags: vec![] }
    }

    #[test]
    fn bytes_are_as_kafkas_guide_says() {
        let schema = Schema::parse(LETTER).unwrap();
        let bytes = |letter, version| write(&schema, &letter, version);
        assert_eq!(bytes(letter(&[], 7), 0), Ok(b"\0\x02me".to_vec()));
        assert_eq!(bytes(letter(&[5], 7), 1), Ok(b"\0\x02me\0\0\0\x01\0\x05".to_vec()));
        assert_eq!(bytes(letter(&[5], 7), 2), Ok(b"\x03me\x02\0\x05\0\0".to_vec()));
        assert_eq!(bytes(letter(&[], 9), 3), Ok(b"\x03me\x01\x01\0\x04\0\0\0\x09".to_vec()));
        let mut tagged = letter(&[], 7);
        tagged.tags.push((300, vec![1]));
        assert_eq!(bytes(tagged.clone(), 2), Ok(b"\x03me\x01\x01\xac\x02\x01\x01".to_vec()));
        assert_eq!(bytes(tagged, 1), Err(Refusal::Tags));
    }

    #[test]
    fn what_a_version_has_not_got_is_refused() {
        let schema = Schema::parse(LETTER).unwrap();
        let refused = |name: &str| Err(Refusal::Unsupported(name.to_owned()));
        assert_eq!(write(&schema, &letter(&[5], 7), 0), refused("pages"));
        assert_eq!(write(&schema, &letter(&[5], 9), 1), refused("seal"));
        let mut letter = letter(&[], 7);
        letter.fields[0] = Value::Null;
        assert_eq!(write(&schema, &letter, 0), Err(Refusal::Null("to".to_owned())));
        assert_eq!(write_with_nulls(&schema, &letter, 0), Ok(b"\xff\xff".to_vec()));
    }

    #[test]
    fn json_shows_what_a_version_has() {
        let schema = Schema::parse(LETTER).unwrap();
        let json = |letter: Structure, version| letter.to_json(&schema, version);
        assert_eq!(json(schema.default_value(), 0), json!({"to": ""}));
        assert_eq!(json(schema.default_value(), 2), json!({"to": "", "pages": []}));
        assert_eq!(json(letter(&[5], 9), 2), json!({"to": "me", "pages": [{"number": 5}], "seal": 9}));
    }
}
