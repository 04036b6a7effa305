//! Puts Apache Kafka's schemas and the scripts of `fixtures/scenarios` into the library.

use std::{env, error::Error, fs, path::Path};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("schemas.json"), schemas(&crates.join("../protocol/schemas"))?)?;
    let scripts = crates.join("../../fixtures/scenarios");
    let own = list(&scripts, "", out)?;
    let shared = list(&scripts.join("lib"), "lib/", out)?;
    let text = format!(
        "pub(crate) const SCRIPTS: &[(&str, &str)] = &[{own}];\npub(crate) const LIBRARY: &[(&str, &str)] = &[{shared}];\n"
    );
    fs::write(out.join("scripts.rs"), text)?;
    Ok(())
}

/// One schema a line, without comments and descriptions.
fn schemas(folder: &Path) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let mut schema: Value = serde_json::from_str(&code.join("\n"))?;
        strip(&mut schema);
        lines.push(schema.to_string());
    }
    lines.sort();
    Ok(lines.join("\n"))
}

fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("about");
            fields.values_mut().for_each(strip);
        }
        Value::Array(elements) => elements.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Pairs of a name and a text, as Rust.
fn list(folder: &Path, prefix: &str, out: &Path) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            println!("cargo::rerun-if-changed={}", path.display());
            names.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path));
        }
    }
    names.sort();
    let mut pairs = String::new();
    for (name, path) in names {
        let copy = out.join(prefix.replace('/', "-") + &name);
        fs::copy(&path, &copy)?;
        pairs += &format!("(\"{prefix}{name}\", include_str!({:?})), ", copy.display().to_string());
    }
    Ok(pairs)
}
