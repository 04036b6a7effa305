//! Bytes as they are written on the command line.

use std::str::FromStr;

/// Bytes with escapes, as `\n` or `\x1f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Escaped(pub(crate) Vec<u8>);

impl FromStr for Escaped {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            let (before, escape) = rest.split_at(at);
            bytes.extend_from_slice(before.as_bytes());
            let (byte, len) = unescape(escape)?;
            bytes.push(byte);
            rest = escape.get(len..).unwrap_or_default();
        }
        bytes.extend_from_slice(rest.as_bytes());
        if bytes.is_empty() { Err("a delimiter has at least a byte".into()) } else { Ok(Self(bytes)) }
    }
}

/// The byte that the escape at the front of the text stands for, and how long the escape is.
pub(crate) fn unescape(escape: &str) -> Result<(u8, usize), String> {
    known(escape).ok_or_else(|| {
        format!("`{escape}` begins with none of \\n \\r \\t \\0 \\\\ and \\x with two hexadecimal digits")
    })
}

fn known(escape: &str) -> Option<(u8, usize)> {
    let byte = match escape.as_bytes().get(1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'0' => 0,
        b'\\' => b'\\',
        b'x' => {
            let digits =
                escape.get(2..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            return Some((u8::from_str_radix(digits?, 16).ok()?, 4));
        }
        _ => return None,
    };
    Some((byte, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_have_escapes() {
        for (text, bytes) in [
            (r"\n", &b"\n"[..]),
            (r"\0", b"\0"),
            (r"--\x1F--", b"--\x1f--"),
            (r"\r\n\t\\", b"\r\n\t\\"),
            (";;", b";;"),
            ("\n", b"\n"),
            ("\u{20ac}", "\u{20ac}".as_bytes()),
            (r"\xff", b"\xff"),
        ] {
            assert_eq!(text.parse(), Ok(Escaped(bytes.into())), "{text}");
        }
        for nonsense in ["", r"\", r"\q", r"\x", r"\x1", r"\xg0", r"\x+1", "\\x1\u{e9}"] {
            assert!(nonsense.parse::<Escaped>().is_err(), "{nonsense}");
        }
    }
}
