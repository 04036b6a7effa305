//! What the options of the command are written like.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use clap::ValueEnum;
use milena::Acks;

/// A header as `name=value`, or as `name` alone for one whose value is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: Option<Bytes>,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(Bytes::copy_from_slice(value.as_bytes()))),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("expected NAME=VALUE, or NAME for a header without a value".into());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// Who must have a record before it counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Needed {
    /// Nobody: what is written to the connection counts. Refusals and losses go unnoticed
    #[value(name = "0")]
    Nobody,
    /// The leader: what it has acknowledged may be lost with it
    #[value(name = "1")]
    Leader,
    /// All replicas in sync; only then a retry never repeats or reorders records
    #[value(name = "all", alias = "-1")]
    All,
}

impl Needed {
    pub(super) const fn acks(self) -> Acks {
        match self {
            Self::Nobody => Acks::None,
            Self::Leader => Acks::Leader,
            Self::All => Acks::All,
        }
    }
}

/// A number of bytes as `65536`, `64k` or `64KiB`; k, m and g are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytesize(pub(super) usize);

impl FromStr for Bytesize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let shift = match unit.to_ascii_lowercase().trim_end_matches("ib") {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => return Err("expected a number of bytes, as 65536, 64k or 1MiB".into()),
        };
        let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| "expected a number of bytes over zero".into())
    }
}

impl fmt::Display for Bytesize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(1 << 20) => write!(f, "{}m", bytes >> 20),
            bytes if bytes.is_multiple_of(1 << 10) => write!(f, "{}k", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_a_name_and_perhaps_a_value() {
        let header = |name: &str, value: Option<&'static str>| Header {
            name: name.into(),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        };
        for (text, expected) in [
            ("a=b", header("a", Some("b"))),
            ("a=b=c", header("a", Some("b=c"))),
            ("a=", header("a", Some(""))),
            ("a", header("a", None)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        assert!("=b".parse::<Header>().is_err() && "".parse::<Header>().is_err());
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1", 1), ("64k", 65_536), ("64KiB", 65_536), ("2M", 2 << 20), ("1g", 1 << 30)]
        {
            assert_eq!(text.parse(), Ok(Bytesize(bytes)), "{text}");
        }
        assert_eq!([65_536, 1 << 20, 1000].map(|bytes| Bytesize(bytes).to_string()), ["64k", "1m", "1000"]);
        for nonsense in ["", "0", "k", "1kb", "-1", "1.5m", "99999999999999999999", "99999999999999g"] {
            assert!(nonsense.parse::<Bytesize>().is_err(), "{nonsense}");
        }
    }
}
