//! Writes `impl Decode`.

use std::fmt::Write;

use super::{
    check,
    layout::{Layout, Message},
    schema::{Field, Type},
    versions::Test,
};

pub(crate) fn write(
    message: &Message<'_>,
    layout: &Layout<'_>,
    gate: &str,
    out: &mut String,
) -> std::fmt::Result {
    let name = &layout.rust_name;
    let flexible = message.schema.flexible.test(layout.valid);
    let mut body = String::new();
    if layout.is_message {
        let (first, last) = (layout.valid.first, message.schema.last_offered());
        writeln!(body, "reader.check_version({name:?}, version, {first}, {last})?;")?;
    }
    if let Test::When(condition) = &flexible {
        writeln!(body, "let flexible = {condition};")?;
    }
    for field in layout.fields {
        plain_field(message, layout, field, &mut body)?;
    }
    tags(message, layout, &flexible, &mut body)?;
    let decode = if message.is_walked(layout) {
        in_place(&body)
    } else {
        let fields: String = layout.fields.iter().map(|field| format!("{}, ", field.rust_name())).collect();
        let unknown_tags = if flexible == Test::Never { "" } else { "unknown_tags" };
        let argument = version_argument(&body);
        format!(
            "fn decode(reader: &mut Reader<'_>, {argument}: i16) -> Result<Self, DecodeError> {{
                {body} Ok(Self {{ {fields}{unknown_tags} }})
            }}"
        )
    };
    let min_len = message.min_len(layout);
    let check = check::write(message, layout)?;
    writeln!(
        out,
        "{gate}impl Decode for {name} {{
            const MIN_LEN: usize = {min_len};

            {decode}
            {check}
        }}\n"
    )
}

/// The methods of a structure of which there are many: its fields are set where it stands.
fn in_place(body: &str) -> String {
    let argument = version_argument(body);
    format!(
        "fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {{
            let mut value = Self::default();
            value.decode_into(reader, version)?;
            Ok(value)
        }}

        fn decode_into(&mut self, reader: &mut Reader<'_>, {argument}: i16) -> Result<(), DecodeError> {{
            {body} Ok(())
        }}"
    )
}

/// The name of the argument `version` for a body that may not need it.
pub(crate) fn version_argument(body: &str) -> &'static str {
    if uses_version(body) { "version" } else { "_version" }
}

/// True when the text names `version` as a word of its own.
fn uses_version(body: &str) -> bool {
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    body.match_indices("version").any(|(at, found)| {
        let before = body[..at].chars().next_back().is_some_and(word);
        let after = body[at + found.len()..].chars().next().is_some_and(word);
        !before && !after
    })
}

/// A field that stands in its place; a tagged one starts at its default.
fn plain_field(
    message: &Message<'_>,
    layout: &Layout<'_>,
    field: &Field,
    body: &mut String,
) -> std::fmt::Result {
    let name = field.rust_name();
    let default = message.default_value(field).0;
    let tagged = field.tagged_in(layout.valid);
    let untagged = tagged.is_none_or(|(_, tagged)| field.versions.and(layout.valid) != tagged);
    let read = read_field(message, layout, field, "reader");
    let place = match (message.is_walked(layout), tagged) {
        (true, _) => format!("self.{name}"),
        (false, Some(_)) => format!("let mut {name}"),
        (false, None) => format!("let {name}"),
    };
    match field.versions.test(layout.valid) {
        _ if !untagged => writeln!(body, "{place} = {default};"),
        Test::Always if tagged.is_none() => writeln!(body, "{place} = {read};"),
        Test::Never => writeln!(body, "{place} = {default};"),
        present => {
            let condition = match (&present, field.tagged.test_outside(layout.valid)) {
                (Test::Always, Test::When(untagged)) => untagged,
                (other, Test::When(untagged)) => format!("{} && {untagged}", other.expression()),
                (other, _) => other.expression().to_owned(),
            };
            writeln!(body, "{place} = if {condition} {{ {read} }} else {{ {default} }};")
        }
    }
}

fn tags(message: &Message<'_>, layout: &Layout<'_>, flexible: &Test, body: &mut String) -> std::fmt::Result {
    if *flexible == Test::Never {
        return Ok(());
    }
    let walked = message.is_walked(layout);
    let tagged: Vec<_> =
        layout.fields.iter().filter_map(|field| Some((field.tagged_in(layout.valid)?, field))).collect();
    let read = if tagged.is_empty() {
        "reader.unknown_tags()?".to_owned()
    } else {
        let mut arms = String::new();
        let flexible_versions = message.schema.flexible.and(layout.valid);
        for ((tag, versions), field) in &tagged {
            if let Test::When(condition) = versions.test_outside(flexible_versions) {
                writeln!(
                    arms,
                    "{tag} if {condition} => return Err(field.error(DecodeErrorKind::UnexpectedTag(tag))),"
                )?;
            }
            writeln!(
                arms,
                "{tag} => {}{} = {},",
                if walked { "self." } else { "" },
                field.rust_name(),
                read_field(message, layout, field, "field")
            )?;
        }
        format!("reader.tags(|tag, field| {{ match tag {{ {arms} _ => return Ok(false) }} Ok(true) }})?")
    };
    let place = if walked { "self.unknown_tags" } else { "let unknown_tags" };
    match flexible {
        Test::When(_) => {
            writeln!(body, "{place} = if flexible {{ {read} }} else {{ UnknownTags::default() }};")
        }
        _ => writeln!(body, "{place} = {read};"),
    }
}

/// The expression that reads a field.
fn read_field(message: &Message<'_>, layout: &Layout<'_>, field: &Field, reader: &str) -> String {
    let in_tag = reader == "field";
    let flexible = if in_tag { "true" } else { message.flexible_argument(field, layout.valid) };
    let required = read_call(message, &field.type_, flexible, "");
    if !field.is_optional() {
        return format!("{reader}.{required}?");
    }
    let nullable = read_call(message, &field.type_, flexible, "nullable_");
    match field.nullable.test(field.versions.and(layout.valid)) {
        Test::Always => format!("{reader}.{nullable}?"),
        Test::Never => format!("Some({reader}.{required}?)"),
        Test::When(condition) => {
            format!("if {condition} {{ {reader}.{nullable}? }} else {{ Some({reader}.{required}?) }}")
        }
    }
}

fn read_call(message: &Message<'_>, type_: &Type, flexible: &str, nullable: &str) -> String {
    match type_ {
        Type::Bool => "bool()".to_owned(),
        Type::Fixed(number) => format!("{number}()"),
        Type::String => format!("{nullable}string({flexible})"),
        Type::Bytes | Type::Records => format!("{nullable}bytes({flexible})"),
        Type::Structure(_) => format!("{nullable}structure(version)"),
        Type::Array(element) => match element.as_ref() {
            Type::Fixed(_) | Type::Bool => format!("{nullable}packed({flexible})"),
            Type::String => format!("{nullable}strings({flexible})"),
            Type::Structure(name) if message.is_listed(name) => {
                format!("{nullable}listed({flexible}, version)")
            }
            _ => format!("{nullable}structs({flexible}, version)"),
        },
    }
}
