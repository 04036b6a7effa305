//! The bytes of a tree of values, or why a version can't carry it: as Kafka's generated `write` does it.

use super::{Field, Schema, Structure, Type, Value};

/// Why a value has no bytes in a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The version has not got the field of this name, it holds something and must not be lost.
    Unsupported(String),
    /// The field of this name is null and may not be.
    Null(String),
    /// There are unknown tagged fields, and the version has no room for them.
    Tags,
}

/// The bytes of a message.
///
/// # Errors
/// When the version can't carry it.
pub fn write(schema: &Schema, message: &Structure, version: i16) -> Result<Vec<u8>, Refusal> {
    let writer = Writer { schema, version, nulls_anywhere: false };
    writer.structure(&schema.fields, message)
}

/// The bytes of a message with nulls as they stand, also where they may not: what a faulty peer could send.
///
/// # Errors
/// When the version can't carry the message for another reason than a null, or the null has no bytes.
pub fn write_with_nulls(schema: &Schema, message: &Structure, version: i16) -> Result<Vec<u8>, Refusal> {
    let writer = Writer { schema, version, nulls_anywhere: true };
    writer.structure(&schema.fields, message)
}

struct Writer<'s> {
    schema: &'s Schema,
    version: i16,
    nulls_anywhere: bool,
}

impl Writer<'_> {
    fn structure(&self, fields: &[Field], structure: &Structure) -> Result<Vec<u8>, Refusal> {
        let flexible = self.schema.flexible.contain(self.version);
        let (mut bytes, mut tagged) = (Vec::new(), Vec::new());
        for (field, value) in fields.iter().zip(&structure.fields) {
            let is_default = *value == self.schema.default_of(field);
            if !field.versions.contain(self.version) {
                if !field.ignorable && !is_default {
                    return Err(Refusal::Unsupported(field.name.clone()));
                }
            } else if field.tagged.contain(self.version) {
                if !is_default {
                    tagged.push((field, value));
                }
            } else {
                let flexible = field.flexible.map_or(flexible, |own| own.contain(self.version));
                bytes.extend(self.field(field, flexible, value)?);
            }
        }
        if !flexible {
            return if structure.tags.is_empty() { Ok(bytes) } else { Err(Refusal::Tags) };
        }
        let mut section: Vec<(u32, Vec<u8>)> = structure.tags.clone();
        for (field, value) in tagged {
            section.push((field.tag, self.field(field, true, value)?));
        }
        section.sort_by_key(|(tag, _)| *tag);
        bytes.extend(varint(section.len()));
        for (tag, content) in section {
            bytes.extend(varint(tag as usize));
            bytes.extend(varint(content.len()));
            bytes.extend(content);
        }
        Ok(bytes)
    }

    fn field(&self, field: &Field, flexible: bool, value: &Value) -> Result<Vec<u8>, Refusal> {
        let is_structure = matches!(field.element, Type::Structure(_)) && !field.is_array;
        let nullable = field.nullable.contain(self.version);
        match value {
            // A structure that may not be null has no byte that could say that it is.
            Value::Null if !nullable && (is_structure || !self.nulls_anywhere) => {
                Err(Refusal::Null(field.name.clone()))
            }
            Value::Null if is_structure => Ok(vec![0xff]),
            Value::Null => Ok(length(field, flexible, None)),
            Value::Array(elements) => {
                let mut bytes = length(field, flexible, Some(elements.len()));
                for element in elements {
                    bytes.extend(self.element(field, flexible, element)?);
                }
                Ok(bytes)
            }
            Value::Structure(_) if nullable => {
                let mut bytes = vec![1];
                bytes.extend(self.element(field, flexible, value)?);
                Ok(bytes)
            }
            value => self.element(field, flexible, value),
        }
    }

    fn element(&self, field: &Field, flexible: bool, value: &Value) -> Result<Vec<u8>, Refusal> {
        let prefixed = |content: &[u8]| {
            let length_size = if field.element == Type::String { 2 } else { 4 };
            [length_of(length_size, flexible, Some(content.len())), content.to_vec()].concat()
        };
        Ok(match (value, &field.element) {
            (Value::Bool(value), _) => vec![u8::from(*value)],
            (Value::Int(value), type_) => {
                let width = match type_ {
                    Type::Int8 => 1,
                    Type::Int16 | Type::Uint16 => 2,
                    Type::Int32 | Type::Uint32 => 4,
                    _ => 8,
                };
                value.to_be_bytes().into_iter().skip(8 - width).collect()
            }
            (Value::Float(value), _) => value.to_bits().to_be_bytes().to_vec(),
            (Value::Uuid(bytes), _) => bytes.to_vec(),
            (Value::Text(text), _) => prefixed(text.as_bytes()),
            (Value::Bytes(content), _) => prefixed(content),
            (Value::Structure(inside), Type::Structure(name)) => {
                return self.structure(self.schema.structure(name), inside);
            }
            (Value::Null | Value::Array(_) | Value::Structure(_), _) => {
                return Err(Refusal::Null(field.name.clone()));
            }
        })
    }
}

/// The length of an array, string or bytes; `None` is null.
fn length(field: &Field, flexible: bool, length: Option<usize>) -> Vec<u8> {
    let size = if field.element == Type::String && !field.is_array { 2 } else { 4 };
    length_of(size, flexible, length)
}

fn length_of(size: usize, flexible: bool, length: Option<usize>) -> Vec<u8> {
    if flexible {
        return varint(length.map_or(0, |length| length + 1));
    }
    let number = length.map_or(-1, |length| length as i64);
    number.to_be_bytes().into_iter().skip(8 - size).collect()
}

/// Seven bits a byte, the lowest first; all but the last have the eighth bit set.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number % 0x80) as u8 + 0x80);
        number /= 0x80;
    }
    bytes.push(number as u8);
    bytes
}
