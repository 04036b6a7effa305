//! Values as Kafka's JSON converters print them.

use serde_json::Value as Json;

use super::{Field, Schema, Structure, Type, Value};

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
    fn to_json(&self, schema: &Schema, field: &Field, version: i16) -> Json {
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

/// Base64 with these two letters for the last digits.
fn base64(bytes: &[u8], last: &str) -> String {
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(last.chars()).collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut text: String = bits
        .as_bytes()
        .chunks(6)
        .filter_map(|six| {
            let index = (0..6).fold(0, |index, bit| index * 2 + usize::from(six.get(bit) == Some(&b'1')));
            digits.get(index)
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_every_remainder() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(super::base64(bytes.as_bytes(), "+/"), text);
        }
        assert_eq!(super::base64(&[0xff; 3], "-_"), "____");
    }
}
