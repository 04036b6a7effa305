//! Where scripts come from: the library itself, or a folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use super::{Script, ScriptError, expand::Expansion};

include!(concat!(env!("OUT_DIR"), "/scripts.rs"));

/// The text of a script.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file, as errors name it.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Where it is, if it is a file.
    pub path: Option<PathBuf>,
}

/// Scripts that can't be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The folder or a file in it can't be read.
    #[error("{path} can't be read")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A script is not understood.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// The scripts that come with Milena, and what they share.
#[must_use]
pub fn builtin() -> (Vec<Source>, BTreeMap<String, String>) {
    let source =
        |(file, text): &(&str, &str)| Source { file: (*file).into(), text: (*text).into(), path: None };
    let shared = LIBRARY.iter().map(|(file, text)| (stem(file), (*text).to_owned()));
    (SCRIPTS.iter().map(source).collect(), shared.collect())
}

/// The scripts `*.txt` of a folder, and what they share: those in its folder `lib`, where it has one, besides those that
/// come with Milena.
///
/// # Errors
/// When something can't be read.
pub fn from_folder(folder: &Path) -> Result<(Vec<Source>, BTreeMap<String, String>), LoadError> {
    let mut shared = builtin().1;
    let own = folder.join("lib");
    if own.is_dir() {
        shared.extend(texts(&own)?.into_iter().map(|source| (stem(&source.file), source.text)));
    }
    Ok((texts(folder)?, shared))
}

/// Understands a script. With `holes`, `__` stands for what is to be filled in.
///
/// # Errors
/// When it is not understood.
pub fn parse(source: &Source, shared: &BTreeMap<String, String>, holes: bool) -> Result<Script, ScriptError> {
    let file: Arc<str> = Arc::from(source.file.as_str());
    let mut expansion = Expansion::new(&stem(&source.file), shared);
    let text = if holes { numbered_holes(&source.text) } else { source.text.clone() };
    expansion.text(&file, &text)?;
    if let Some(name) = expansion.under_way.keys().next() {
        let place = super::Place {
            file,
            line: source.text.lines().count(),
            column: 1,
            called_at: None,
            in_loop: false,
        };
        return Err(ScriptError::new(place, format!("the answer to `{name}` is never awaited")));
    }
    let mut script = expansion.script;
    let first = source.text.lines().next().unwrap_or_default();
    first.trim_start_matches('#').trim().clone_into(&mut script.title);
    Ok(script)
}

fn texts(folder: &Path) -> Result<Vec<Source>, LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Read { path, source }
    };
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sources.push(Source { file, text, path: Some(path) });
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sources)
}

fn stem(file: &str) -> String {
    file.trim_start_matches("lib/").trim_end_matches(".txt").to_owned()
}

/// Every `__` with its line and column, by which it is found again.
fn numbered_holes(text: &str) -> String {
    let number = |(line, text): (usize, &str)| {
        let mut numbered = String::new();
        for (at, letter) in text.char_indices() {
            numbered.push(letter);
            let (before, rest) = text.split_at(at + letter.len_utf8());
            let is_whole = before.ends_with("__")
                && !before
                    .trim_end_matches('_')
                    .ends_with(|letter: char| letter.is_alphanumeric() || letter == '"')
                && !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            if is_whole {
                numbered += &format!("{}_{}", line + 1, before.len() - 1);
            }
        }
        numbered
    };
    text.lines().enumerate().map(number).collect::<Vec<_>>().join("\n")
}
