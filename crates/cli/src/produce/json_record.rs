//! A record as a JSON object:
//!
//! ```json
//! {"key": "k", "value_base64": "/wA=", "headers": {"a": "b"}, "partition": 2, "timestamp": "2026-11-27T09:30:00Z"}
//! ```
//!
//! A key, value or header that is no string is sent as the JSON it is, byte by byte; null is null. Where a record was read,
//! `topic` and `offset`, as `milena consume --json` says it, is passed over: the command names the topic.

use std::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{options::Header, timestamp};

/// The standard alphabet, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an object says; `None` is what it says nothing of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JsonRecord {
    /// `Some(None)` is null.
    pub(super) key: Option<Option<Bytes>>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    key: Option<&'a RawValue>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
    #[serde(borrow, default)]
    headers: Headers<'a>,
    partition: Option<i32>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(rename = "topic", default)]
    _topic: IgnoredAny,
    #[serde(rename = "offset", default)]
    _offset: IgnoredAny,
}

#[derive(Default)]
struct Headers<'a>(Vec<HeaderFields<'a>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFields<'a> {
    name: String,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The record.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(bytes: &[u8]) -> Result<JsonRecord, String> {
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(r#"a record is an object, as {"key": "k", "value": "v"}"#.into());
    }
    let fields: Fields<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let header = |header: HeaderFields<'_>| {
        let what = format!("the header `{}`", header.name);
        Ok(Header { value: content(&what, header.value, header.value_base64)?.flatten(), name: header.name })
    };
    Ok(JsonRecord {
        key: content("key", fields.key, fields.key_base64)?,
        value: content("value", fields.value, fields.value_base64)?.flatten(),
        headers: fields.headers.0.into_iter().map(header).collect::<Result<_, String>>()?,
        partition: fields.partition,
        timestamp: fields.timestamp.map(time).transpose()?,
    })
}

/// Bytes, null, or nothing.
fn content(
    what: &str,
    text: Option<&RawValue>,
    base64: Option<String>,
) -> Result<Option<Option<Bytes>>, String> {
    match (text.map(RawValue::get), base64) {
        (Some(_), Some(_)) => Err(format!("{what} is given as text and in base64")),
        (None, None) => Ok(None),
        (None, Some(base64)) => match BASE64.decode(base64) {
            Ok(bytes) => Ok(Some(Some(bytes.into()))),
            Err(error) => Err(format!("{what} is no base64: {error}")),
        },
        (Some("null"), None) => Ok(Some(None)),
        (Some(text), None) if text.starts_with('"') => {
            let text: String = serde_json::from_str(text).map_err(|error| format!("{what}: {error}"))?;
            Ok(Some(Some(text.into())))
        }
        (Some(json), None) => Ok(Some(Some(Bytes::copy_from_slice(json.as_bytes())))),
    }
}

/// A number of milliseconds, or text as on the command line.
fn time(raw: &RawValue) -> Result<i64, String> {
    let text: String = match raw.get() {
        text if text.starts_with('"') => {
            serde_json::from_str(text).map_err(|error| format!("timestamp: {error}"))?
        }
        number => number.to_owned(),
    };
    timestamp::parse(&text).map_err(|error| format!("timestamp: {error}"))
}

/// An object of names and values, or a list of objects, in which names may come more than once and values in base64.
impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers as an object, or as a list of objects with `name` and `value`")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Headers::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, value)) = map.next_entry()? {
            headers.push(HeaderFields { name, value: Some(value), value_base64: None });
        }
        Ok(Headers(headers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some(header) = list.next_element()? {
            headers.push(header);
        }
        Ok(Headers(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: Option<&'static [u8]>) -> Header {
        Header { name: name.into(), value: value.map(Bytes::from_static) }
    }

    #[test]
    fn every_field_is_taken_as_it_stands() {
        let text = r#" {"key":"k\u00e9","value_base64":"/wA","headers":{"a":"b","n":null,"a":1.50},"partition":2,"timestamp":"1970-01-01T00:00:01Z"} "#;
        let record = parse(text.as_bytes()).unwrap();
        assert_eq!(record.key, Some(Some("k\u{e9}".into())));
        assert_eq!(record.value, Some(Bytes::from_static(b"\xff\0")));
        assert_eq!(record.headers, [header("a", Some(b"b")), header("n", None), header("a", Some(b"1.50"))]);
        assert_eq!((record.partition, record.timestamp), (Some(2), Some(1000)));
    }

    #[test]
    fn null_nothing_and_json_are_told_apart() {
        let key = |text: &str| parse(text.as_bytes()).unwrap().key;
        assert_eq!(key("{}"), None);
        assert_eq!(key(r#"{"key":null}"#), Some(None));
        assert_eq!(key(r#"{"key":""}"#), Some(Some(Bytes::new())));
        assert_eq!(key(r#"{"key":12345678901234567890123}"#), Some(Some("12345678901234567890123".into())));
        assert_eq!(key(r#"{"key":{"b": 1, "a":[ ]}}"#), Some(Some(r#"{"b": 1, "a":[ ]}"#.into())));
        assert_eq!(key(r#"{"key_base64":""}"#), Some(Some(Bytes::new())));
        assert_eq!(
            parse(br#"{"headers":null,"timestamp":null,"partition":null}"#),
            Ok(JsonRecord::default())
        );
        let list =
            br#"{"headers":[{"name":"a"},{"name":"a","value_base64":"AA=="},{"name":"b","value":"c"}]}"#;
        let headers = [header("a", None), header("a", Some(b"\0")), header("b", Some(b"c"))];
        assert_eq!(parse(list).unwrap().headers, headers);
    }

    #[test]
    fn where_a_record_was_read_is_passed_over() {
        let text = br#"{"topic":"orders","partition":1,"offset":7,"timestamp":null,"key":null,"value":""}"#;
        let expected = JsonRecord {
            key: Some(None),
            value: Some(Bytes::new()),
            partition: Some(1),
            ..JsonRecord::default()
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, complaint) in [
            ("", "EOF while parsing"),
            ("hello", "a record is an object"),
            (r#"[null,null,"v",null,null,null,null]"#, "a record is an object"),
            ("{key}", "key must be a string at line 1 column 2"),
            (r#"{"hedaers":{}}"#, "unknown field `hedaers`, expected one of `key`"),
            (r#"{"key":"a","key_base64":"AA=="}"#, "key is given as text and in base64"),
            (r#"{"value_base64":"?"}"#, "value is no base64: "),
            (r#"{"partition":4294967296}"#, "invalid value: integer `4294967296`, expected i32"),
            (r#"{"timestamp":"noon"}"#, "timestamp: `noon` is neither"),
            (r#"{"timestamp":1.5}"#, "timestamp: `1.5` is neither"),
            (r#"{"headers":"a"}"#, "expected headers as an object"),
            (r#"{"headers":[{"value":"a"}]}"#, "missing field `name`"),
            (r#"{"key":"a"} {"key":"b"}"#, "trailing characters"),
            ("{\"key\":\"\u{d}\"}", "control character"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
        assert!(parse(b"{\"key\":\"\xff\"}").is_err());
    }
}
