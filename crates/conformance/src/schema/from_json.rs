//! Trees of values out of JSON, as Kafka's JSON converters print it.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Field, Schema, Structure, Type, Value, unbase64};

/// Where in a message something is, such as `topics[0].partitions[1].errorCode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The field of this name in what is here.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The element at this place of the array that is here.
    #[must_use]
    pub fn element(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() { "the message" } else { &self.0 })
    }
}

/// JSON that a field can't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {found} is no {expected}")]
pub struct NotThatField {
    /// Where.
    pub path: Path,
    /// What there is.
    pub found: String,
    /// What the schema says.
    pub expected: String,
}

impl Schema {
    /// The message that this JSON shows. Fields that it leaves out are at their defaults; `unknownTaggedFields`, a list of
    /// `tag` and `data`, is taken for what it says.
    ///
    /// # Errors
    /// When it has a field that the schema has not, or something of another type.
    pub fn structure_of(&self, json: &Json) -> Result<Structure, NotThatField> {
        self.structure_at(&self.fields, json, &Path::default())
    }

    fn structure_at(&self, fields: &[Field], json: &Json, path: &Path) -> Result<Structure, NotThatField> {
        let given = json.as_object().ok_or_else(|| refuse(path, json, "structure"))?;
        let known =
            |name: &str| name == "unknownTaggedFields" || fields.iter().any(|field| field.name == name);
        if let Some(name) = given.keys().find(|name| !known(name)) {
            return Err(refuse(&path.field(name), json, "field of the message"));
        }
        let value = |field: &Field| match given.get(&field.name) {
            None => Ok(self.default_of(field)),
            Some(json) => self.value_at(field, json, &path.field(&field.name)),
        };
        let values: Result<_, _> = fields.iter().map(value).collect();
        Ok(Structure { fields: values?, tags: tags(given, path)? })
    }

    fn value_at(&self, field: &Field, json: &Json, path: &Path) -> Result<Value, NotThatField> {
        if json.is_null() {
            return Ok(Value::Null);
        }
        if !field.is_array {
            return self.element_at(field, json, path);
        }
        let elements = json.as_array().ok_or_else(|| refuse(path, json, "array"))?;
        let element = |(at, json)| self.element_at(field, json, &path.element(at));
        elements.iter().enumerate().map(element).collect::<Result<_, _>>().map(Value::Array)
    }

    fn element_at(&self, field: &Field, json: &Json, path: &Path) -> Result<Value, NotThatField> {
        let value = match &field.element {
            Type::Structure(name) => {
                return self.structure_at(self.structure(name), json, path).map(Value::Structure);
            }
            Type::Bool => json.as_bool().map(Value::Bool),
            Type::Float64 => json.as_f64().map(Value::Float),
            Type::String => json.as_str().map(|text| Value::Text(text.to_owned())),
            Type::Bytes => json.as_str().and_then(unbase64).map(Value::Bytes),
            Type::Uuid => {
                let bytes = json.as_str().and_then(unbase64);
                bytes.and_then(|bytes| bytes.try_into().ok()).map(Value::Uuid)
            }
            number => json.as_i64().filter(|value| number.range().contains(value)).map(Value::Int),
        };
        value.ok_or_else(|| refuse(path, json, &format!("{:?}", field.element).to_lowercase()))
    }
}

impl Type {
    /// The numbers that a field of this type holds.
    #[must_use]
    pub fn range(&self) -> std::ops::RangeInclusive<i64> {
        match self {
            Self::Int8 => i8::MIN.into()..=i8::MAX.into(),
            Self::Int16 => i16::MIN.into()..=i16::MAX.into(),
            Self::Uint16 => 0..=u16::MAX.into(),
            Self::Int32 => i32::MIN.into()..=i32::MAX.into(),
            Self::Uint32 => 0..=u32::MAX.into(),
            _ => i64::MIN..=i64::MAX,
        }
    }
}

fn tags(given: &Map<String, Json>, path: &Path) -> Result<Vec<(u32, Vec<u8>)>, NotThatField> {
    let path = path.field("unknownTaggedFields");
    let listed = given.get("unknownTaggedFields").and_then(Json::as_array);
    let tag = |json: &Json| {
        let tag = json.get("tag").and_then(Json::as_u64).and_then(|tag| u32::try_from(tag).ok());
        let data = json.get("data").and_then(Json::as_str).and_then(unbase64);
        tag.zip(data).ok_or_else(|| refuse(&path, json, "tagged field"))
    };
    listed.into_iter().flatten().map(tag).collect()
}

fn refuse(path: &Path, json: &Json, expected: &str) -> NotThatField {
    NotThatField { path: path.clone(), found: json.to_string(), expected: expected.to_owned() }
}
