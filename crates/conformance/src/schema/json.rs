//! Values as Kafka's JSON converters print them.

use serde_json::Value as Json;

use super::{Field, Schema, Structure, Type, Value, base64};

impl Structure {
    /// Every field of the version by its name, a tagged one only if it holds something; unknown tagged fields are not
    /// shown.
    #[must_use]
    pub fn to_json(&self, schema: &Schema, version: i16) -> Json {
        self.with_names(schema, &schema.fields, version)
    }

    fn with_names(&self, schema: &Schema, fields: &[Field], version: i16) -> Json {
        let values = fields.iter().zip(&self.fields);
        let shown = values.filter(|(field, value)| {
            let is_written = !field.tagged.contain(version) || **value != schema.default_of(field);
            field.versions.contain(version) && is_written
        });
        let named = shown.map(|(field, value)| (field.name.clone(), value.to_json(schema, field, version)));
        Json::Object(named.collect())
    }
}

impl Value {
    /// The value of a field, or of an element of it.
    #[must_use]
    pub fn to_json(&self, schema: &Schema, field: &Field, version: i16) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Uuid(bytes) => base64(bytes, "-_").trim_end_matches('=').into(),
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => base64(bytes, "+/").into(),
            Self::Array(elements) => {
                elements.iter().map(|element| element.to_json(schema, field, version)).collect()
            }
            Self::Structure(structure) => match &field.element {
                Type::Structure(name) => structure.with_names(schema, schema.structure(name), version),
                other => format!("a structure in a field of {other:?}").into(),
            },
        }
    }
}
