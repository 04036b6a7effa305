//! `cargo xtask generate`: the messages of the protocol crate from Apache Kafka's schemas.
//!
//! The schemas lie in `crates/protocol/schemas`, as Apache publishes them in the `kafka-clients` jar. Every API becomes
//! one file with its request and its response; [`catalogue`] lists them all. The code that is written only strings
//! together the primitives of `milena_protocol::wire`: bounds and formats are decided there, by hand.

mod catalogue;
mod check;
mod decode;
mod document;
mod encode;
mod json;
mod layout;
mod names;
mod role;
mod schema;
mod versions;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use schema::{Kind, Listener, Schema};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Writes nothing; fails when the committed files differ from what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/protocol");
    let target = protocol.join("src/messages");
    let files = files(&read_schemas(&protocol.join("schemas"))?)?;
    if arguments.check { check(&target, &files) } else { replace(&target, &files) }
}

fn read_schemas(folder: &Path) -> anyhow::Result<Vec<Schema>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("reading the folder {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut schemas: Vec<Schema> = paths.iter().map(|path| Schema::read(path)).collect::<Result<_, _>>()?;
    share_with_responses(&mut schemas);
    Ok(schemas)
}

/// Gives the responses what only the requests' schemas tell, of the API as a whole.
fn share_with_responses(schemas: &mut [Schema]) {
    let requests: BTreeMap<Option<i16>, (bool, Vec<Listener>)> = schemas
        .iter()
        .filter(|schema| schema.kind == Kind::Request)
        .map(|request| (request.api_key, (request.latest_unstable, request.listeners.clone())))
        .collect();
    for response in schemas.iter_mut().filter(|schema| schema.kind == Kind::Response) {
        if let Some((latest_unstable, listeners)) = requests.get(&response.api_key) {
            response.latest_unstable = *latest_unstable;
            response.listeners.clone_from(listeners);
        }
    }
}

/// The generated files by name.
fn files(schemas: &[Schema]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut apis: BTreeMap<i16, Vec<&Schema>> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut others = Vec::new();
    for schema in schemas {
        match schema.api_key {
            Some(key) => apis.entry(key).or_default().push(schema),
            None => others.push(schema),
        }
    }
    let mut listed = Vec::new();
    for (key, messages) in &apis {
        let pick = |kind| messages.iter().copied().find(|schema| schema.kind == kind);
        let (Some(request), Some(response)) = (pick(Kind::Request), pick(Kind::Response)) else {
            bail!("the API {key} lacks its request or its response among the schemas");
        };
        let api = request.name.trim_end_matches("Request");
        let text = document::write(&format!("The API `{api}`"), &[request, response])?;
        files.insert(format!("{}.rs", names::snake_case(api)), format_rust(&text)?);
        listed.push((api, request, response));
    }
    for schema in &others {
        let text = document::write(&format!("The structure `{}`", schema.name), &[schema])?;
        files.insert(format!("{}.rs", names::snake_case(&schema.name)), format_rust(&text)?);
    }
    files.insert("mod.rs".to_owned(), format_rust(&catalogue::write(&listed, &others)?)?);
    Ok(files)
}

fn format_rust(text: &str) -> anyhow::Result<String> {
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(configuration)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt (install it with `rustup component add rustfmt`)")?;
    let mut input = rustfmt.stdin.take().context("rustfmt takes no input")?;
    let text = text.to_owned();
    let feeder = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = rustfmt.wait_with_output()?;
    if !output.status.success() {
        bail!("rustfmt refused a generated file");
    }
    feeder.join().map_err(|_| anyhow::anyhow!("feeding rustfmt failed"))??;
    Ok(String::from_utf8(output.stdout)?)
}

fn replace(target: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    for stale in present(target)?.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(target.join(stale))?;
    }
    for (name, text) in files {
        fs::write(target.join(name), text)?;
    }
    println!("{} files written", files.len());
    Ok(())
}

fn check(target: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let present = present(target)?;
    let names = present.keys().chain(files.keys());
    let mut stale: Vec<&String> = names.filter(|name| present.get(*name) != files.get(*name)).collect();
    stale.sort();
    stale.dedup();
    if stale.is_empty() {
        println!("{} generated files are up to date", files.len());
        return Ok(());
    }
    bail!("these files of crates/protocol/src/messages are not what `cargo xtask generate` writes: {stale:?}")
}

fn present(target: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(target).with_context(|| format!("reading the folder {}", target.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(&path)?);
    }
    Ok(files)
}
