//! Writes `Decode::check` of the structures that are read in place: a walk that accepts what decoding accepts and builds
//! nothing.

use std::fmt::Write;

use super::{
    layout::{self, Layout, Message},
    schema::{Field, Type},
    versions::{Test, Versions},
};

/// The method, or nothing for a structure that is built when it is read.
pub(crate) fn write(message: &Message<'_>, layout: &Layout<'_>) -> Result<String, std::fmt::Error> {
    if !message.is_walked(layout) {
        return Ok(String::new());
    }
    let flexible = message.schema.flexible.test(layout.valid);
    let mut body = String::new();
    if let Test::When(condition) = &flexible {
        writeln!(body, "let flexible = {condition};")?;
    }
    let mut row = Row { valid: layout.valid, fields: Vec::new() };
    for field in layout.fields {
        if let Some(len) = fixed_len(field) {
            row.fields.push((in_place(field), len));
            continue;
        }
        row.skip(&mut body)?;
        let check = check_field(message, layout, field, "reader");
        for versions in in_place(field) {
            match versions.test(layout.valid) {
                Test::Always => writeln!(body, "{check}?;")?,
                Test::Never => {}
                Test::When(condition) => writeln!(body, "if {condition} {{ {check}?; }}")?,
            }
        }
    }
    row.skip(&mut body)?;
    body.push_str(&tags(message, layout, &flexible)?);
    let argument = super::decode::version_argument(&body);
    Ok(format!(
        "\n#[inline]\nfn check(reader: &mut Reader<'_>, {argument}: i16) -> Result<(), DecodeError> {{ {body} }}"
    ))
}

/// The versions in which a field stands in its place and not among the tagged ones.
fn in_place(field: &Field) -> Vec<Versions> {
    field.versions.without(field.tagged)
}

/// The bytes of a field of fixed size.
fn fixed_len(field: &Field) -> Option<usize> {
    match &field.type_ {
        Type::Bool => Some(1),
        Type::Fixed(number) => Some(layout::fixed_len(number)),
        _ => None,
    }
}

/// Fields of fixed size that follow each other.
struct Row {
    valid: Versions,
    /// Each with the versions that have it.
    fields: Vec<(Vec<Versions>, usize)>,
}

impl Row {
    /// Passes over all of them in one step.
    fn skip(&mut self, body: &mut String) -> std::fmt::Result {
        let fields = std::mem::take(&mut self.fields);
        let len = |version: i16| -> usize {
            let present = |(versions, _): &&(Vec<Versions>, usize)| {
                versions.iter().any(|versions| versions.contains(version))
            };
            fields.iter().filter(present).map(|(_, len)| len).sum()
        };
        // Each length with the last version that has it.
        let mut lens: Vec<(usize, i16)> = Vec::new();
        for version in self.valid.first..=self.valid.last {
            match lens.last_mut() {
                Some((last, until)) if *last == len(version) => *until = version,
                _ => lens.push((len(version), version)),
            }
        }
        match lens.as_slice() {
            [] | [(0, _)] => Ok(()),
            [(len, _)] => writeln!(body, "reader.skip({len})?;"),
            [(0, until), (len, _)] => writeln!(body, "if version > {until} {{ reader.skip({len})?; }}"),
            [others @ .., (last, _)] => {
                let arms: String =
                    others.iter().map(|(len, until)| format!("..={until} => {len},")).collect();
                writeln!(body, "reader.skip(match version {{ {arms} _ => {last} }})?;")
            }
        }
    }
}

fn tags(message: &Message<'_>, layout: &Layout<'_>, flexible: &Test) -> Result<String, std::fmt::Error> {
    if *flexible == Test::Never {
        return Ok("Ok(())".to_owned());
    }
    let mut arms = String::new();
    let flexible_versions = message.schema.flexible.and(layout.valid);
    for field in layout.fields {
        let Some((tag, versions)) = field.tagged_in(layout.valid) else { continue };
        if let Test::When(condition) = versions.test_outside(flexible_versions) {
            writeln!(
                arms,
                "{tag} if {condition} => return Err(field.error(DecodeErrorKind::UnexpectedTag(tag))),"
            )?;
        }
        writeln!(arms, "{tag} => {}?,", check_field(message, layout, field, "field"))?;
    }
    let section = match arms.as_str() {
        "" => "reader.check_unknown_tags()".to_owned(),
        arms => format!(
            "reader.check_tags(|tag, field| {{ match tag {{ {arms} _ => return Ok(false) }} Ok(true) }})"
        ),
    };
    Ok(match flexible {
        Test::When(_) => format!("if flexible {{ {section}?; }} Ok(())"),
        _ => section,
    })
}

/// The expression that checks a field.
fn check_field(message: &Message<'_>, layout: &Layout<'_>, field: &Field, reader: &str) -> String {
    let in_tag = reader == "field";
    let flexible = if in_tag { "true" } else { message.flexible_argument(field, layout.valid) };
    let required = check_call(message, &field.type_, flexible, "");
    let nullable = check_call(message, &field.type_, flexible, "nullable_");
    match field.nullable.test(field.versions.and(layout.valid)) {
        Test::Always => format!("{reader}.{nullable}"),
        Test::Never => format!("{reader}.{required}"),
        Test::When(condition) => {
            format!("if {condition} {{ {reader}.{nullable} }} else {{ {reader}.{required} }}")
        }
    }
}

fn check_call(message: &Message<'_>, type_: &Type, flexible: &str, nullable: &str) -> String {
    match type_ {
        Type::Bool => "skip(1)".to_owned(),
        Type::Fixed(number) => format!("skip({})", layout::fixed_len(number)),
        Type::String => format!("check_{nullable}string({flexible})"),
        Type::Bytes | Type::Records => format!("check_{nullable}bytes({flexible})"),
        Type::Structure(name) => {
            format!("check_{nullable}structure::<{}>(version)", message.rust_structure(name))
        }
        Type::Array(element) => match element.as_ref() {
            Type::Fixed(number) => {
                let number = if *number == "uuid" { "Uuid" } else { number };
                format!("check_{nullable}packed::<{number}>({flexible})")
            }
            Type::Structure(name) => {
                format!("check_{nullable}structs::<{}>({flexible}, version)", message.rust_structure(name))
            }
            // Rare: read and dropped.
            _ => format!("{nullable}strings({flexible}).map(drop)"),
        },
    }
}
