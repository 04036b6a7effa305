use super::{Field, Schema, Type};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, where a version allows it.
    Null,
    /// A truth.
    Bool(bool),
    /// A whole number of any width.
    Int(i64),
    /// A real number.
    Float(f64),
    /// The sixteen bytes of a UUID.
    Uuid([u8; 16]),
    /// A string.
    Text(String),
    /// Bytes or records.
    Bytes(Vec<u8>),
    /// An array of any type.
    Array(Vec<Value>),
    /// A structure.
    Structure(Structure),
}

/// The values of a structure, or of the message itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    /// One for every field of the schema, in its order, whether the version has it or not.
    pub fields: Vec<Value>,
    /// Tagged fields that the schema does not know, in the order of their tags.
    pub tags: Vec<(u32, Vec<u8>)>,
}

impl Schema {
    /// The message with every field at its default.
    #[must_use]
    pub fn default_value(&self) -> Structure {
        self.default_structure(&self.fields)
    }

    /// A structure with every field at its default.
    #[must_use]
    pub fn default_structure(&self, fields: &[Field]) -> Structure {
        Structure { fields: fields.iter().map(|field| self.default_of(field)).collect(), tags: Vec::new() }
    }

    /// What a field holds when nobody sets it.
    #[must_use]
    pub fn default_of(&self, field: &Field) -> Value {
        let default = field.default.as_deref().filter(|text| !text.is_empty());
        if default == Some("null") {
            return Value::Null;
        }
        if field.is_array {
            return Value::Array(Vec::new());
        }
        let number = || {
            let text = default.unwrap_or("0");
            let hexadecimal = text.strip_prefix("0x").map(|digits| i64::from_str_radix(digits, 16));
            hexadecimal.unwrap_or_else(|| text.parse()).unwrap_or_default()
        };
        match &field.element {
            Type::Bool => Value::Bool(default == Some("true")),
            Type::Float64 => Value::Float(default.and_then(|text| text.parse().ok()).unwrap_or_default()),
            Type::Uuid => Value::Uuid([0; 16]),
            Type::String => Value::Text(default.unwrap_or_default().to_owned()),
            Type::Bytes => Value::Bytes(Vec::new()),
            Type::Structure(name) => Value::Structure(self.default_structure(self.structure(name))),
            Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Uint32 | Type::Int64 => {
                Value::Int(number())
            }
        }
    }
}
