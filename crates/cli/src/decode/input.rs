//! Bytes from a file or standard input, raw or in hexadecimal.

use std::{fmt, fs::File, io::Read, path::Path};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::ValueEnum;

/// The largest frame that a broker takes by default (`socket.request.max.bytes`); in hexadecimal, with spaces.
const LIMIT: u64 = 100 << 20;
const TEXT_LIMIT: u64 = 4 * LIMIT;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Hexadecimal if it is nothing but that, else raw
    Auto,
    /// Hexadecimal digits; white space, `0x`, `:` and `,` between them are passed over
    Hex,
    /// The bytes themselves
    Raw,
}

/// What there is to decode.
pub(super) struct Input {
    pub(super) bytes: Bytes,
    /// Where text stopped being hexadecimal, so that it was taken for the bytes themselves.
    pub(super) not_hex: Option<NotHex>,
}

/// A character in text that is no hexadecimal digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHex {
    at: usize,
    found: Option<char>,
}

impl fmt::Display for NotHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(found) => write!(
                f,
                "byte {} of the input, `{}`, is no hexadecimal digit",
                self.at,
                found.escape_debug()
            ),
            None => f.write_str("the number of hexadecimal digits is odd"),
        }
    }
}

pub(super) fn read(file: Option<&Path>, format: Format) -> anyhow::Result<Input> {
    let mut bytes = Vec::new();
    match file {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
            file.take(TEXT_LIMIT + 1)
                .read_to_end(&mut bytes)
                .with_context(|| format!("can't read {}", path.display()))?
        }
        None => std::io::stdin()
            .take(TEXT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .context("can't read standard input")?,
    };
    let (bytes, not_hex) = match format {
        Format::Raw => (bytes, None),
        Format::Hex => (hex(&bytes).map_err(|why| anyhow::anyhow!("{why}"))?, None),
        Format::Auto => match hex(&bytes) {
            Ok(bytes) => (bytes, None),
            Err(why) => {
                let why = is_text(&bytes).then_some(why);
                (bytes, why)
            }
        },
    };
    ensure!(!bytes.is_empty(), "there are no bytes to decode");
    ensure!(bytes.len() as u64 <= LIMIT, "there are more than {LIMIT} bytes: no frame is that long");
    Ok(Input { bytes: bytes.into(), not_hex })
}

/// Frames hold lengths and counts, so hardly one of them is printable throughout.
fn is_text(bytes: &[u8]) -> bool {
    let is_printable = |text: &str| text.chars().all(|char| char.is_whitespace() || !char.is_control());
    std::str::from_utf8(bytes).is_ok_and(is_printable)
}

/// The bytes that the digits stand for, or where it is something else.
fn hex(text: &[u8]) -> Result<Vec<u8>, NotHex> {
    let mut bytes = Vec::new();
    let mut high = None;
    let mut rest = text.iter().enumerate().peekable();
    while let Some((at, byte)) = rest.next() {
        if byte.is_ascii_whitespace() || b":,".contains(byte) {
            continue;
        }
        // A zero before an x begins a number and is none of its digits.
        if *byte == b'0' && high.is_none() && rest.next_if(|(_, next)| b"xX".contains(next)).is_some() {
            continue;
        }
        let digit =
            char::from(*byte).to_digit(16).ok_or_else(|| NotHex { at, found: character(text, at) })? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    if high.is_some() { Err(NotHex { at: text.len(), found: None }) } else { Ok(bytes) }
}

/// The character that begins at a byte; where it is no UTF-8, the replacement character.
fn character(text: &[u8], at: usize) -> Option<char> {
    let chunk = text.get(at..)?.utf8_chunks().next()?;
    chunk.valid().chars().next().or(Some(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::{NotHex, hex, is_text};

    #[test]
    fn hexadecimal_as_people_paste_it() {
        let expected = Ok(vec![0x00, 0x12, 0xab]);
        for text in ["0012ab", "00 12 AB\n", "0x00, 0x12, 0xab", "00:12:ab", "0x0012ab"] {
            assert_eq!(hex(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(hex(b"0012a"), Err(NotHex { at: 5, found: None }));
        assert_eq!(hex(b"00 1g"), Err(NotHex { at: 4, found: Some('g') }));
        assert_eq!(hex("00\u{00e9}".as_bytes()), Err(NotHex { at: 2, found: Some('\u{00e9}') }));
        assert_eq!(hex(&[0, 0, 0, 1]), Err(NotHex { at: 0, found: Some('\0') }));
    }

    #[test]
    fn text_is_told_from_bytes() {
        assert!(is_text(b"00 1g\n") && is_text("gr\u{fc}n".as_bytes()));
        assert!(!is_text(&[0, 0, 0, 1]) && !is_text(&[0xff, b'a']));
    }
}
