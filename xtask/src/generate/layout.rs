//! The structures of one message and what each field is in Rust.

use std::collections::BTreeSet;

use super::{
    names,
    schema::{Field, Kind, Schema, Structure, Type},
    versions::Versions,
};

/// The messages that are large and hot on the side that reads them: what they list is not built but read in place.
const HOT: [&str; 3] = ["FetchResponse", "ProduceRequest", "ShareFetchResponse"];
/// Single structures of which there are very many in a message.
const MANY: [&str; 1] = ["MetadataResponsePartition"];

/// A structure to be written: the message itself or one inside it.
pub(crate) struct Layout<'s> {
    /// The name in Rust, unique within the file.
    pub(crate) rust_name: String,
    /// The versions in which it can occur.
    pub(crate) valid: Versions,
    pub(crate) fields: &'s [Field],
    /// Set for the message itself.
    pub(crate) is_message: bool,
}

/// A message with the structures inside it, the message first.
pub(crate) struct Message<'s> {
    pub(crate) schema: &'s Schema,
    pub(crate) layouts: Vec<Layout<'s>>,
    /// Structures that must be told apart from others of the same name in the file.
    ambiguous: &'s BTreeSet<String>,
}

/// The names of the structures inside a message.
pub(crate) fn inner_names(schema: &Schema) -> BTreeSet<String> {
    fn walk(fields: &[Field], names: &mut BTreeSet<String>) {
        for field in fields {
            if let (Some(name), false) = (structure_name(&field.type_), field.fields.is_empty()) {
                names.insert(name.to_owned());
                walk(&field.fields, names);
            }
        }
    }
    let mut names: BTreeSet<String> = schema.common.iter().map(|common| common.name.clone()).collect();
    walk(&schema.fields, &mut names);
    schema.common.iter().for_each(|common| walk(&common.fields, &mut names));
    names
}

/// The structure a type is or is an array of.
fn structure_name(type_: &Type) -> Option<&str> {
    match type_ {
        Type::Structure(name) => Some(name),
        Type::Array(element) => structure_name(element),
        _ => None,
    }
}

impl<'s> Message<'s> {
    pub(crate) fn new(schema: &'s Schema, ambiguous: &'s BTreeSet<String>) -> Self {
        let mut message = Self { schema, layouts: Vec::new(), ambiguous };
        message.layouts.push(Layout {
            rust_name: schema.name.clone(),
            valid: schema.valid,
            fields: &schema.fields,
            is_message: true,
        });
        message.add_inner(&schema.fields, schema.valid);
        for common in &schema.common {
            message.add_common(common);
        }
        message
    }

    fn add_common(&mut self, common: &'s Structure) {
        let valid = common.versions.and(self.schema.valid);
        let rust_name = self.rust_structure(&common.name);
        self.layouts.push(Layout { rust_name, valid, fields: &common.fields, is_message: false });
        self.add_inner(&common.fields, valid);
    }

    fn add_inner(&mut self, fields: &'s [Field], outer: Versions) {
        for field in fields.iter().filter(|field| !field.fields.is_empty()) {
            let Some(name) = structure_name(&field.type_) else { continue };
            let valid = field.versions.and(outer);
            let rust_name = self.rust_structure(name);
            self.layouts.push(Layout { rust_name, valid, fields: &field.fields, is_message: false });
            self.add_inner(&field.fields, valid);
        }
    }

    pub(crate) fn rust_structure(&self, name: &str) -> String {
        if !self.ambiguous.contains(name) {
            return name.to_owned();
        }
        match self.schema.kind {
            Kind::Request => format!("Request{name}"),
            Kind::Response => format!("Response{name}"),
            Kind::Header | Kind::Data => name.to_owned(),
        }
    }

    /// True when arrays of the structure, named as in the schema, stay in the frame.
    pub(crate) fn is_listed(&self, structure: &str) -> bool {
        HOT.contains(&self.schema.name.as_str()) || MANY.contains(&structure)
    }

    /// True when the structure is read in place, or is part of one that is.
    pub(crate) fn is_walked(&self, layout: &Layout<'_>) -> bool {
        !layout.is_message && self.is_listed(&layout.rust_name)
    }

    /// The Rust type, not yet optional.
    fn plain_type(&self, type_: &Type) -> String {
        match type_ {
            Type::Bool => "bool".to_owned(),
            Type::Fixed("uuid") => "Uuid".to_owned(),
            Type::Fixed(number) => (*number).to_owned(),
            Type::String => "ByteString".to_owned(),
            Type::Bytes | Type::Records => "Bytes".to_owned(),
            Type::Structure(name) => self.rust_structure(name),
            Type::Array(element) => match element.as_ref() {
                Type::Fixed(_) => format!("Packed<{}>", self.plain_type(element)),
                Type::Structure(name) if self.is_listed(name) => {
                    format!("Listed<{}>", self.rust_structure(name))
                }
                other => format!("Vec<{}>", self.plain_type(other)),
            },
        }
    }

    pub(crate) fn rust_type(&self, field: &Field) -> String {
        let plain = self.plain_type(&field.type_);
        if field.is_optional() { format!("Option<{plain}>") } else { plain }
    }

    /// The default as an expression, and whether it is what `Default::default()` gives.
    pub(crate) fn default_value(&self, field: &Field) -> (String, bool) {
        if field.is_optional() {
            return match field.default.as_deref() {
                Some("null") => ("None".to_owned(), true),
                _ => (format!("Some({}::default())", self.turbofish(&field.type_)), false),
            };
        }
        match (&field.type_, field.default.as_deref()) {
            (Type::Bool, Some("true")) => ("true".to_owned(), false),
            (Type::Bool, _) => ("false".to_owned(), true),
            (Type::Fixed("uuid"), _) => ("Uuid::ZERO".to_owned(), true),
            (Type::Fixed("f64"), None) => ("0.0".to_owned(), true),
            (Type::Fixed(number), default) => number_default(number, default.unwrap_or("0")),
            (other, _) => (format!("{}::default()", self.turbofish(other)), true),
        }
    }

    fn turbofish(&self, type_: &Type) -> String {
        let plain = self.plain_type(type_);
        plain.split_once('<').map_or(plain.clone(), |(outer, _)| outer.to_owned())
    }

    /// An expression that tells whether the field holds something else than its default.
    pub(crate) fn holds_something(&self, field: &Field) -> String {
        let place = format!("self.{}", field.rust_name());
        if field.is_optional() {
            return match (field.default.as_deref(), &field.type_) {
                (Some("null"), _) => format!("{place}.is_some()"),
                (_, Type::Structure(_)) => {
                    format!("{place}.as_ref().is_none_or(|value| *value != Default::default())")
                }
                _ => format!("{place}.as_ref().is_none_or(|value| !value.is_empty())"),
            };
        }
        match &field.type_ {
            Type::Bool if field.default.as_deref() == Some("true") => format!("!{place}"),
            Type::Bool => place,
            Type::Fixed("uuid") => format!("!{place}.is_zero()"),
            Type::Fixed(_) => format!("{place} != {}", self.default_value(field).0),
            Type::Structure(name) => format!("{place} != {}::default()", self.rust_structure(name)),
            _ => format!("!{place}.is_empty()"),
        }
    }

    /// Whether and how lengths are compact for this field, as an expression.
    pub(crate) fn flexible_argument(&self, field: &Field, valid: Versions) -> &'static str {
        use super::versions::Test;
        let flexible = field.flexible.unwrap_or(self.schema.flexible);
        match flexible.test(valid) {
            Test::Always => "true",
            Test::Never => "false",
            Test::When(_) => "flexible",
        }
    }

    /// The fewest bytes a structure takes in any of its versions.
    pub(crate) fn min_len(&self, layout: &Layout<'_>) -> usize {
        (layout.valid.first..=layout.valid.last)
            .map(|version| self.min_len_in(layout.fields, version))
            .min()
            .unwrap_or(0)
    }

    fn min_len_in(&self, fields: &[Field], version: i16) -> usize {
        let flexible = self.schema.flexible.contains(version);
        let present =
            fields.iter().filter(|field| field.versions.contains(version) && !field.tagged.contains(version));
        let section = usize::from(flexible);
        present.map(|field| self.field_min_len(field, version, flexible)).sum::<usize>() + section
    }

    fn field_min_len(&self, field: &Field, version: i16, flexible: bool) -> usize {
        let flexible = field.flexible.map_or(flexible, |own| own.contains(version));
        match &field.type_ {
            Type::Bool => 1,
            Type::Fixed(number) => fixed_len(number),
            Type::Structure(_) if field.nullable.contains(version) => 1,
            Type::Structure(name) => {
                let layout = self.layouts.iter().find(|layout| layout.rust_name == self.rust_structure(name));
                layout.map_or(0, |layout| self.min_len_in(layout.fields, version))
            }
            _ if flexible => 1,
            Type::String => 2,
            Type::Bytes | Type::Records | Type::Array(_) => 4,
        }
    }
}

/// The bytes of a number or UUID.
pub(crate) fn fixed_len(number: &str) -> usize {
    match number {
        "i8" => 1,
        "i16" | "u16" => 2,
        "i32" | "u32" => 4,
        "i64" | "f64" => 8,
        _ => 16,
    }
}

/// A number's default as Rust writes it, and whether it is zero.
fn number_default(number: &str, text: &str) -> (String, bool) {
    let hexadecimal = text.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let value = hexadecimal.or_else(|| text.parse().ok()).unwrap_or(0);
    let named = match (number, value) {
        ("i64", i64::MAX) => "i64::MAX".to_owned(),
        ("i32", value) if value == i64::from(i32::MAX) => "i32::MAX".to_owned(),
        ("i32", value) if value == i64::from(i32::MIN) => "i32::MIN".to_owned(),
        _ => value.to_string(),
    };
    (named, value == 0)
}

impl Field {
    pub(crate) fn rust_name(&self) -> String {
        names::field_name(&self.name)
    }

    pub(crate) fn is_optional(&self) -> bool {
        !self.nullable.is_empty()
    }

    /// The fixed part of the tag test: a field is tagged in all or none of its versions that are flexible.
    pub(crate) fn tagged_in(&self, valid: Versions) -> Option<(u32, Versions)> {
        let tagged = self.tagged.and(valid);
        self.tag.filter(|_| !tagged.is_empty()).map(|tag| (tag, tagged))
    }
}
