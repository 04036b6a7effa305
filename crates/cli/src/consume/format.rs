//! Records as text, in the fields of `kcat -f`.

use std::{
    io::{self, Write},
    str::FromStr,
};

use milena::Header;

use crate::escaped::unescape;

use super::shown::Shown;

/// What is printed of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLen,
    Value,
    ValueLen,
    ValueLenBinary,
    Headers,
}

const KNOWN: &str = "%t (topic), %p (partition), %o (offset), %T (timestamp), %k (key), %K (its length), \
                     %s (value), %S (its length), %R (its length, binary), %h (headers) and %%";

impl Format {
    /// A value, perhaps behind its key, and what ends it.
    pub(super) fn plain(key_separator: Option<&[u8]>, delimiter: &[u8]) -> Self {
        let mut pieces = Vec::new();
        if let Some(separator) = key_separator {
            pieces.extend([Piece::Field(Field::Key), Piece::Literal(separator.to_vec())]);
        }
        pieces.extend([Piece::Field(Field::Value), Piece::Literal(delimiter.to_vec())]);
        Self { pieces }
    }

    /// Writes a record, with `null` for a key or a value that is null.
    pub(super) fn write<'a>(
        &self,
        out: &mut impl Write,
        record: &Shown<'a, impl Iterator<Item = Header<'a>> + Clone>,
        null: &[u8],
    ) -> io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.write_all(bytes)?,
                Piece::Field(field) => write_field(out, *field, record, null)?,
            }
        }
        Ok(())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\']) {
            let (before, special) = rest.split_at(at);
            literal.extend_from_slice(before.as_bytes());
            if special.starts_with('\\') {
                let (byte, len) = unescape(special)?;
                literal.push(byte);
                rest = special.get(len..).unwrap_or_default();
                continue;
            }
            let mut after = special.chars();
            after.next();
            match field(after.next())? {
                None => literal.push(b'%'),
                Some(field) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field(field));
                }
            }
            rest = after.as_str();
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }
}

/// What the letter behind `%` stands for; none for `%` itself.
fn field(letter: Option<char>) -> Result<Option<Field>, String> {
    Ok(Some(match letter {
        Some('%') => return Ok(None),
        Some('t') => Field::Topic,
        Some('p') => Field::Partition,
        Some('o') => Field::Offset,
        Some('T') => Field::Timestamp,
        Some('k') => Field::Key,
        Some('K') => Field::KeyLen,
        Some('s') => Field::Value,
        Some('S') => Field::ValueLen,
        Some('R') => Field::ValueLenBinary,
        Some('h') => Field::Headers,
        Some(letter) => return Err(format!("`%{letter}` is none of {KNOWN}")),
        None => return Err(format!("a single `%` at the end is none of {KNOWN}")),
    }))
}

fn write_field<'a>(
    out: &mut impl Write,
    field: Field,
    record: &Shown<'a, impl Iterator<Item = Header<'a>> + Clone>,
    null: &[u8],
) -> io::Result<()> {
    match field {
        Field::Topic => out.write_all(record.topic.as_bytes()),
        Field::Partition => write!(out, "{}", record.partition),
        Field::Offset => write!(out, "{}", record.offset),
        Field::Timestamp => write!(out, "{}", record.timestamp),
        Field::Key => out.write_all(record.key.unwrap_or(null)),
        Field::KeyLen => write!(out, "{}", len(record.key)),
        Field::Value => out.write_all(record.value.unwrap_or(null)),
        Field::ValueLen => write!(out, "{}", len(record.value)),
        Field::ValueLenBinary => out.write_all(&len(record.value).to_be_bytes()),
        Field::Headers => write_headers(out, record.headers.clone()),
    }
}

/// -1 for null. No record is longer than the protocol's lengths are.
fn len(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

/// `a=1,b=2`, where a value that is null is `NULL`, whatever keys and values are.
fn write_headers<'a>(out: &mut impl Write, headers: impl Iterator<Item = Header<'a>>) -> io::Result<()> {
    for (at, header) in headers.enumerate() {
        out.write_all(if at > 0 { b"," } else { b"" })?;
        out.write_all(header.name)?;
        out.write_all(b"=")?;
        out.write_all(header.value.unwrap_or(b"NULL"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &Format, key: Option<&[u8]>, value: Option<&[u8]>, null: &str) -> Vec<u8> {
        let headers = [Header::new("a", Some(b"1")), Header::new("a", None), Header::new("b", Some(b""))];
        let record = Shown {
            topic: "orders",
            partition: 3,
            offset: 42,
            timestamp: -1,
            key,
            value,
            headers: headers.into_iter(),
        };
        let mut out = Vec::new();
        format.write(&mut out, &record, null.as_bytes()).unwrap();
        out
    }

    #[test]
    fn every_field_stands_where_it_is_asked_for() {
        let format: Format = r"%t [%p] at %o, %T: %K %k, %S %s, %h%%%R\t\x41\\é\n".parse().unwrap();
        let expected = b"orders [3] at 42, -1: 1 k, 2 \xff\0, a=1,a=NULL,b=%\0\0\0\x02\tA\\\xc3\xa9\n";
        assert_eq!(shown(&format, Some(b"k"), Some(b"\xff\0"), ""), expected);
        let nulls = b"orders [3] at 42, -1: -1 NIL, 0 , a=1,a=NULL,b=%\0\0\0\0\tA\\\xc3\xa9\n";
        assert_eq!(shown(&format, None, Some(b""), "NIL"), nulls);
        assert_eq!(shown(&"%S%R".parse().unwrap(), None, None, ""), b"-1\xff\xff\xff\xff");
        assert_eq!(shown(&"".parse().unwrap(), None, None, "NULL"), b"");
    }

    #[test]
    fn plainly_a_value_stands_alone_or_behind_its_key() {
        assert_eq!(shown(&Format::plain(None, b"\n"), Some(b"k"), Some(b"v"), ""), b"v\n");
        assert_eq!(shown(&Format::plain(Some(b": "), b"\0"), None, Some(b"v"), "NULL"), b"NULL: v\0");
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_is_known() {
        for (text, complaint) in [
            ("%x", "`%x` is none of %t (topic), %p (partition), %o (offset)"),
            ("%é", "`%é` is none of"),
            ("100%", "a single `%` at the end is none of %t"),
            (r"%s\q", r"`\q` begins with none of \n"),
            (r"%s\", r"`\` begins with none of \n"),
            (r"\x4", r"`\x4` begins with none of"),
        ] {
            let error = text.parse::<Format>().unwrap_err();
            assert!(error.starts_with(complaint), "{text}: {error}");
        }
    }
}
