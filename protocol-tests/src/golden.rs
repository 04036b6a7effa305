//! Golden vectors: bytes that Kafka's own classes wrote, with the values Java read from them.
//!
//! They stand in `fixtures/golden/`; a folder named by the environment variable `MILENA_GOLDEN` is read as well, so that
//! a larger set need not be committed. `fixtures/README.md` describes the lines.
#![expect(
    clippy::panic,
    reason = "a fixture that can't be read is a failed test, and says which file it was"
)]

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// Every line of every golden file, in the order of the files' names.
///
/// # Panics
/// When there is no file, or one can't be read or holds anything but JSON lines.
pub fn lines() -> impl Iterator<Item = Value> {
    lines_of(files())
}

/// The lines whose `json` is what Kafka's `JsonConverter` printed, to the last field. The first file holds the values
/// that the messages were made of, tagged fields at their defaults among them, which the converter leaves out.
///
/// # Panics
/// As [`lines`].
pub fn lines_as_printed() -> impl Iterator<Item = Value> {
    let made_of_values = |path: &PathBuf| path.ends_with("vectors-seed1.jsonl.gz");
    lines_of(files().into_iter().filter(|path| !made_of_values(path)).collect())
}

/// Every line of these golden files.
///
/// # Panics
/// As [`lines`].
pub fn lines_of(files: Vec<PathBuf>) -> impl Iterator<Item = Value> {
    files.into_iter().flat_map(|path| {
        let reader = open(&path);
        reader.lines().enumerate().map(move |(number, line)| {
            let line = line.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{}, line {}: {error}", path.display(), number + 1))
        })
    })
}

/// The bytes that a string of hexadecimal digits stands for.
///
/// # Panics
/// When it is anything else.
#[must_use]
pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: &u8| {
        let value = char::from(*digit).to_digit(16);
        value.unwrap_or_else(|| panic!("{text:?} is not hexadecimal")) as u8
    };
    let (pairs, odd) = text.as_bytes().as_chunks();
    assert!(odd.is_empty(), "{text:?} has an odd number of digits");
    pairs.iter().map(|[high, low]| digit(high) << 4 | digit(low)).collect()
}

fn files() -> Vec<PathBuf> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let folders = [Some(committed), env::var_os("MILENA_GOLDEN").map(PathBuf::from)];
    let mut files: Vec<_> = folders.into_iter().flatten().flat_map(|folder| files_in(&folder)).collect();
    files.sort();
    assert!(!files.is_empty(), "there are no golden files");
    files
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths =
        entries.map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path());
    paths.filter(|path| is_golden(path)).collect()
}

fn is_golden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.ends_with(".jsonl") || name.ends_with(".jsonl.gz"))
}

fn open(path: &Path) -> BufReader<Box<dyn Read>> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    BufReader::new(if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_have_a_kind_and_bytes() {
        let (mut lines, mut bytes) = (0, 0);
        for line in super::lines() {
            assert!(line["kind"].is_string(), "{line}");
            bytes += super::unhex(line["hex"].as_str().unwrap()).len();
            lines += 1;
        }
        assert!(lines >= 2660 + 5199 && bytes > 1_000_000, "{lines} lines, {bytes} bytes");
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(super::unhex("00ff7fA0"), [0, 255, 127, 160]);
    }
}
