//! What people are told of a mistake, kept as texts: a file of names and the whole text of each.
//!
//! `MILENA_BLESS=1` writes what is told into the file in place of comparing, for a person to read the difference.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a file that can't be had fails the test that needs it"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    sync::{Mutex, PoisonError},
};

/// One test at a time changes the file.
static FILE: Mutex<()> = Mutex::new(());
const TITLE: &str = "## ";

/// Compares a text with the one of this name in a file, with what differs from run to run [`masked`].
///
/// # Panics
/// When it is another text, or there is none of the name.
#[track_caller]
pub fn assert_told(file: &str, name: &str, text: &impl ToString) {
    let told = masked(&text.to_string());
    let _guard = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut texts = texts(file);
    let expected = texts.get(name).map_or("", String::as_str);
    if expected == told {
        return;
    }
    if env::var_os("MILENA_BLESS").is_none() {
        panic!("{name}\n  expected: {expected}\n  but told: {told}");
    }
    texts.insert(name.to_owned(), told);
    let written: Vec<_> = texts
        .iter()
        .map(|(name, text)| format!("{TITLE}{name}\n{}\n", text.replace('\n', "\n    ")))
        .collect();
    fs::write(file, written.join("\n")).expect("the file can be written");
}

/// The texts of a file, by their names.
///
/// # Panics
/// When it can't be read.
#[must_use]
pub fn texts(file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).expect("the file of the texts can be read");
    let entries = text.split(TITLE).filter_map(|entry| entry.split_once('\n'));
    entries.map(|(name, text)| (name.to_owned(), text.trim_end().replace("\n    ", "\n"))).collect()
}

/// The text with `PORT`, `TIME`, `MILLISECONDS`, `PID` and `FIXTURES` for what differs from run to run.
#[must_use]
pub fn masked(text: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
    let text = text.replace(folder, "FIXTURES").replace(&format!("-{}", std::process::id()), "-PID");
    let mut masked = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|char: char| char.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        masked.push_str(before);
        if is_time(from) {
            masked.push_str("TIME");
            rest = from.get(TIME.len()..).unwrap_or_default();
            continue;
        }
        let end = from.find(|char: char| !char.is_ascii_digit()).unwrap_or(from.len());
        let (digits, behind) = from.split_at(end);
        // Five digits behind a host are a port that the system has given out; those of the compose file stay.
        let is_port = masked.ends_with(':') && digits.len() == 5 && !("44092"..="44098").contains(&digits);
        masked.push_str(match digits.len() {
            _ if is_port => "PORT",
            13 => "MILLISECONDS",
            _ => digits,
        });
        rest = behind;
    }
    masked + rest
}

/// How the client writes a point in time.
const TIME: &str = "0000-00-00 00:00:00 UTC";

fn is_time(text: &str) -> bool {
    let fits =
        |(seen, wanted): (char, char)| if wanted == '0' { seen.is_ascii_digit() } else { seen == wanted };
    text.len() >= TIME.len() && text.chars().zip(TIME.chars()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
        let told = "127.0.0.1:39123: since 2026-11-29 01:18:12 UTC, no 12 of 127.0.0.1:44093 (os error 111)";
        assert_eq!(masked(told), "127.0.0.1:PORT: since TIME, no 12 of 127.0.0.1:44093 (os error 111)");
    }
}
