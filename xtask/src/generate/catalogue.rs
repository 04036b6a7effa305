//! Writes `messages/mod.rs`: the modules, and the table of APIs that `crate::api` turns into types.

use std::fmt::Write;

use super::{document::MARK, names, role::Role, schema::Schema, versions::Test};

/// An API's name, request and response.
pub(crate) type Api<'s> = (&'s str, &'s Schema, &'s Schema);

pub(crate) fn write(apis: &[Api<'_>], others: &[&Schema]) -> Result<String, std::fmt::Error> {
    let mut out = MARK.to_owned();
    writeln!(
        out,
        "//! Every message, a file an API.\n//!\n//! The structures inside a message are in its file's module: \
         [`metadata::MetadataResponseTopic`].\n//!"
    )?;
    index(apis, &mut out)?;
    let mut modules: Vec<(String, String, &str)> = Vec::new();
    for (api, request, response) in apis {
        let gate = Role::of(request).gate();
        modules.push((names::snake_case(api), format!("{}, {}", request.name, response.name), gate));
    }
    for other in others {
        modules.push((names::snake_case(&other.name), other.name.clone(), ""));
    }
    modules.sort();
    for (module, _, gate) in &modules {
        writeln!(out, "{gate}pub mod {module};")?;
    }
    for (module, messages, gate) in &modules {
        writeln!(out, "{gate}pub use {module}::{{{messages}}};")?;
    }
    writeln!(out, "\ncrate::api::apis! {{")?;
    for (api, request, response) in apis {
        let key = request.api_key.unwrap_or_default();
        let valid = request.valid;
        let stable = request.last_stable();
        // No version is flexible: the first flexible one is past every version.
        let flexible = match request.flexible.test(valid) {
            Test::Never => "i16::MAX".to_owned(),
            _ => request.flexible.first.to_string(),
        };
        let feature = Role::of(request).feature().map(|feature| format!(", feature {feature:?}"));
        writeln!(
            out,
            "{api} = {key}: {}, {}, versions {} to {} (stable to {stable}), flexible from {flexible}{};",
            request.name,
            response.name,
            valid.first,
            valid.last,
            feature.unwrap_or_default()
        )?;
    }
    writeln!(out, "}}")?;
    Ok(out)
}

/// The APIs as a table in the documentation. What a feature may leave out is not linked.
fn index(apis: &[Api<'_>], out: &mut String) -> std::fmt::Result {
    writeln!(out, "//! | key | API | versions | flexible | needs |\n//! |--:|---|---|---|---|")?;
    for (api, request, _) in apis {
        let (valid, module) = (request.valid, names::snake_case(api));
        let feature = Role::of(request).feature();
        let name = match feature {
            None => format!("[`{api}`]({module})"),
            Some(_) => format!("`{api}`"),
        };
        let versions = match request.latest_unstable {
            true => format!("{}–{} (`unstable`: {})", valid.first, request.last_stable(), valid.last),
            false if valid.first == valid.last => valid.first.to_string(),
            false => format!("{}–{}", valid.first, valid.last),
        };
        let flexible = request.flexible.describe(valid);
        let feature = feature.map(|feature| format!("`{feature}`")).unwrap_or_default();
        let key = request.api_key.unwrap_or_default();
        writeln!(out, "//! | {key} | {name} | {versions} | {flexible} | {feature} |")?;
    }
    writeln!(out)
}
