//! Records as objects of JSON, a line each, as `milena produce --input json` takes them.

use std::io::{self, Write};

use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use milena::Header;

use super::shown::Shown;

/// What brokers and clients say for no timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Writes an object and ends the line.
pub(super) fn write<'a>(
    out: &mut impl Write,
    record: &Shown<'a, impl Iterator<Item = Header<'a>> + Clone>,
) -> io::Result<()> {
    out.write_all(br#"{"topic":"#)?;
    serde_json::to_writer(&mut *out, record.topic)?;
    write!(out, r#","partition":{},"offset":{},"timestamp":"#, record.partition, record.offset)?;
    match record.timestamp {
        NO_TIMESTAMP => out.write_all(b"null")?,
        timestamp => write!(out, "{timestamp}")?,
    }
    out.write_all(b",")?;
    write_content(out, "key", record.key)?;
    out.write_all(b",")?;
    write_content(out, "value", record.value)?;
    for (at, header) in record.headers.clone().enumerate() {
        out.write_all(if at == 0 { br#","headers":["# } else { b"," })?;
        out.write_all(b"{")?;
        write_content(out, "name", Some(header.name))?;
        out.write_all(b",")?;
        write_content(out, "value", header.value)?;
        out.write_all(b"}")?;
    }
    let has_headers = record.headers.clone().next().is_some();
    out.write_all(if has_headers { b"]}\n" } else { b"}\n" })
}

/// Text as it is, other bytes in base64.
fn write_content(out: &mut impl Write, name: &str, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => write!(out, r#""{name}":null"#),
        Some((_, Ok(text))) => {
            write!(out, r#""{name}":"#)?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((bytes, Err(_))) => {
            write!(out, r#""{name}_base64":"{}""#, Base64Display::new(bytes, &BASE64_STANDARD))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Shown<'_, std::vec::IntoIter<Header<'static>>>) -> String {
        let mut out = Vec::new();
        write(&mut out, record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn null_empty_text_and_bytes_are_told_apart() {
        let mut record = Shown {
            topic: "orders",
            partition: 0,
            offset: 7,
            timestamp: 5,
            key: None,
            value: Some(&b""[..]),
            headers: Vec::new().into_iter(),
        };
        let place = r#"{"topic":"orders","partition":0,"offset":7,"timestamp":"#;
        assert_eq!(line(&record), format!("{place}5,\"key\":null,\"value\":\"\"}}\n"));
        record.timestamp = NO_TIMESTAMP;
        record.key = Some(b"\xff\0");
        record.value = Some("a\"\n\u{1}é".as_bytes());
        record.headers = vec![
            Header::new("a", Some(b"1")),
            Header::new("a", None),
            Header { name: b"\xfe", value: Some(b"\xff") },
        ]
        .into_iter();
        let expected = concat!(
            r#"null,"key_base64":"/wA=","value":"a\"\n\u0001é","headers":[{"name":"a","value":"1"},"#,
            r#"{"name":"a","value":null},{"name_base64":"/g==","value_base64":"/w=="}]}"#,
        );
        assert_eq!(line(&record), format!("{place}{expected}\n"));
    }
}
