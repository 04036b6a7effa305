//! Writes the table for `wire::json`: which fields a version prints as JSON, as Java's `JsonConverter` does.

use std::fmt::Write;

use super::{
    layout::{Layout, Message},
    names,
    schema::Field,
    versions::Test,
};

pub(crate) fn write(message: &Message<'_>, layout: &Layout<'_>, out: &mut String) -> std::fmt::Result {
    let name = &layout.rust_name;
    writeln!(out, "#[cfg(feature = \"serde\")]\ncrate::wire::json::fields! {{ {name}, this, version;")?;
    for field in layout.fields {
        let print = format!("{:?} {}", names::camel_case(&field.name), field.rust_name());
        match condition(message, layout, field) {
            Test::Always => writeln!(out, "    {print};")?,
            Test::Never => {}
            Test::When(condition) => {
                writeln!(out, "    {print} if {};", condition.replace("self.", "this."))?;
            }
        }
    }
    let tagged = message.schema.flexible.test(layout.valid) != Test::Never;
    writeln!(out, "{}}}\n", if tagged { "    unknown_tags\n" } else { "" })
}

/// A field is printed in its versions; where it is tagged, only when it holds something.
fn condition(message: &Message<'_>, layout: &Layout<'_>, field: &Field) -> Test {
    let present = field.versions.test(layout.valid);
    let Some((_, tagged)) = field.tagged_in(layout.valid) else { return present };
    let holds = message.holds_something(field);
    let printed = match tagged.test_outside(field.versions.and(layout.valid)) {
        Test::When(untagged) => format!("({untagged} || {holds})"),
        _ => holds,
    };
    match present {
        Test::Never => Test::Never,
        Test::Always => Test::When(printed),
        Test::When(condition) => Test::When(format!("{condition} && {printed}")),
    }
}
