//! Bytes from a file or standard input, raw or in hexadecimal.

use std::{fs::File, io::Read, path::Path};

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

pub(super) fn read(file: Option<&Path>, format: Format) -> anyhow::Result<Bytes> {
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
    let bytes = match format {
        Format::Raw => bytes,
        Format::Hex => {
            hex(&bytes).map_err(|at| anyhow::anyhow!("byte {at} of the input is not hexadecimal"))?
        }
        Format::Auto => hex(&bytes).unwrap_or(bytes),
    };
    ensure!(!bytes.is_empty(), "there are no bytes to decode");
    ensure!(bytes.len() as u64 <= LIMIT, "there are more than {LIMIT} bytes: no frame is that long");
    Ok(bytes.into())
}

/// The bytes that the digits stand for, or where it is something else.
fn hex(text: &[u8]) -> Result<Vec<u8>, usize> {
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
        let digit = char::from(*byte).to_digit(16).ok_or(at)? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    if high.is_some() { Err(text.len()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn hexadecimal_as_people_paste_it() {
        let expected = Ok(vec![0x00, 0x12, 0xab]);
        for text in ["0012ab", "00 12 AB\n", "0x00, 0x12, 0xab", "00:12:ab", "0x0012ab"] {
            assert_eq!(hex(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(hex(b"0012a"), Err(5));
        assert_eq!(hex(b"00 1g"), Err(4));
        assert_eq!(hex(&[0, 0, 0, 1]), Err(0));
    }
}
