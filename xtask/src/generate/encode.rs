//! Writes `impl Encode`.

use std::fmt::Write;

use super::{
    decode::version_argument,
    layout::{Layout, Message},
    names,
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
        writeln!(body, "Writer::check_version({name:?}, version, {first}, {last})?;")?;
    }
    if let Test::When(condition) = &flexible {
        writeln!(body, "let flexible = {condition};")?;
    }
    for field in layout.fields {
        plain_field(message, layout, field, &mut body)?;
    }
    writeln!(body, "{}", tags(message, layout, &flexible)?)?;
    let version = version_argument(&body);
    let writer = if body.contains("writer.") { "writer" } else { "_writer" };
    writeln!(
        out,
        "{gate}impl Encode for {name} {{
            fn encode<'v>(&'v self, {writer}: &mut Writer<'v>, {version}: i16) -> Result<(), EncodeError> {{
                {body}
            }}
        }}\n"
    )
}

/// Writes a field where it stands, and refuses it where it can't.
fn plain_field(
    message: &Message<'_>,
    layout: &Layout<'_>,
    field: &Field,
    body: &mut String,
) -> std::fmt::Result {
    let tagged = field.tagged_in(layout.valid);
    let only_tagged = tagged.is_some_and(|(_, tagged)| field.versions.and(layout.valid) == tagged);
    let present = field.versions.test(layout.valid);
    let refusal = if field.ignorable {
        String::new()
    } else {
        let holds = message.holds_something(field);
        format!("refuse({holds}, {:?}, {:?}, version)?;", layout.rust_name, names::camel_case(&field.name))
    };
    let mut write = write_field(message, layout, field, "writer") + "?;";
    // Fixed sizes can't fail.
    if matches!(field.type_, Type::Bool | Type::Fixed(_)) {
        write = write.replace("?;", ";");
    }
    if only_tagged {
        write.clear();
    } else if let Some(Test::When(untagged)) = tagged.map(|(_, tagged)| tagged.test_outside(layout.valid)) {
        write = format!("if {untagged} {{ {write} }}");
    }
    match present {
        Test::Always => writeln!(body, "{write}"),
        Test::Never => writeln!(body, "{refusal}"),
        Test::When(condition) => match (write.is_empty(), refusal.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => {
                let outside = field.versions.test_outside(layout.valid);
                writeln!(body, "if {} {{ {refusal} }}", outside.expression())
            }
            (false, true) => writeln!(body, "if {condition} {{ {write} }}"),
            (false, false) => writeln!(body, "if {condition} {{ {write} }} else {{ {refusal} }}"),
        },
    }
}

fn tags(message: &Message<'_>, layout: &Layout<'_>, flexible: &Test) -> Result<String, std::fmt::Error> {
    if *flexible == Test::Never {
        return Ok("Ok(())".to_owned());
    }
    let mut tagged: Vec<_> =
        layout.fields.iter().filter_map(|field| Some((field.tagged_in(layout.valid)?, field))).collect();
    tagged.sort_by_key(|((tag, _), _)| *tag);
    let section = if tagged.is_empty() {
        "writer.unknown_tags(&self.unknown_tags)".to_owned()
    } else {
        let mut known = String::new();
        let flexible_versions = message.schema.flexible.and(layout.valid);
        for ((tag, versions), field) in &tagged {
            let holds = message.holds_something(field);
            let condition = match versions.test(flexible_versions) {
                Test::When(condition) => format!("{condition} && {holds}"),
                _ => holds,
            };
            let write = write_field(message, layout, field, "field");
            let write = match field.type_ {
                Type::Bool | Type::Fixed(_) => format!("{{ {write}; Ok(()) }}"),
                _ => write,
            };
            writeln!(known, "if {condition} {{ tags.field({tag}, |field| {write})?; }}")?;
        }
        format!("writer.tags(&self.unknown_tags, |tags| {{ {known} Ok(()) }})")
    };
    Ok(match flexible {
        Test::When(_) => format!("if flexible {{ {section} }} else {{ writer.no_tags(&self.unknown_tags) }}"),
        _ => section,
    })
}

/// The expression that writes a field.
fn write_field(message: &Message<'_>, layout: &Layout<'_>, field: &Field, writer: &str) -> String {
    let in_tag = writer == "field";
    let flexible = if in_tag { "true" } else { message.flexible_argument(field, layout.valid) };
    let place = format!("self.{}", field.rust_name());
    if !field.is_optional() {
        let value = match field.type_ {
            Type::Bool | Type::Fixed(_) => place,
            _ => format!("&{place}"),
        };
        return format!("{writer}.{}", write_call(message, &field.type_, flexible, "", &value));
    }
    let borrowed = match &field.type_ {
        Type::Array(element) => match element.as_ref() {
            Type::Fixed(_) | Type::Bool => format!("{place}.as_ref()"),
            Type::Structure(name) if message.is_listed(name) => format!("{place}.as_ref()"),
            _ => format!("{place}.as_deref()"),
        },
        _ => format!("{place}.as_ref()"),
    };
    let required = format!(
        "required({borrowed}, {:?}, {:?}, version)?",
        layout.rust_name,
        names::camel_case(&field.name)
    );
    let nullable = write_call(message, &field.type_, flexible, "nullable_", &borrowed);
    let plain = write_call(message, &field.type_, flexible, "", &required);
    match field.nullable.test(field.versions.and(layout.valid)) {
        Test::Always => format!("{writer}.{nullable}"),
        Test::Never => format!("{writer}.{plain}"),
        Test::When(condition) => {
            format!("if {condition} {{ {writer}.{nullable} }} else {{ {writer}.{plain} }}")
        }
    }
}

fn write_call(message: &Message<'_>, type_: &Type, flexible: &str, nullable: &str, value: &str) -> String {
    match type_ {
        Type::Bool => format!("bool({value})"),
        Type::Fixed(number) => format!("{number}({value})"),
        Type::String => format!("{nullable}string({flexible}, {value})"),
        Type::Bytes | Type::Records => format!("{nullable}bytes({flexible}, {value})"),
        Type::Structure(_) => format!("{nullable}structure(version, {value})"),
        Type::Array(element) => match element.as_ref() {
            Type::Fixed(_) | Type::Bool => format!("{nullable}packed({flexible}, {value})"),
            Type::String => format!("{nullable}strings({flexible}, {value})"),
            Type::Structure(name) if message.is_listed(name) => {
                format!("{nullable}listed({flexible}, version, {value})")
            }
            _ => format!("{nullable}structs({flexible}, version, {value})"),
        },
    }
}
