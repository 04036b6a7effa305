//! How a piece of the input becomes a record.

use bytes::Bytes;
use memchr::memmem;

use super::{json_record, options::Header, record::NewRecord};

/// What the options say of records.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) format: Format,
    /// For records that have no key of their own.
    pub(super) key: Option<Bytes>,
    /// Behind the record's own.
    pub(super) headers: Vec<Header>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) enum Format {
    /// A value, perhaps with a key before it.
    Plain(Plain),
    /// An object.
    Json,
}

impl Default for Format {
    fn default() -> Self {
        Self::Plain(Plain::default())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// What stands between key and value. Without it in a record, all of that is the value.
    pub(super) key_delimiter: Option<Vec<u8>>,
    /// The value that stands for null.
    pub(super) null_value: Option<Vec<u8>>,
    /// An empty value, or key before a delimiter, is null.
    pub(super) empty_is_null: bool,
    /// A record without a byte is none.
    pub(super) skip_empty: bool,
}

impl Shape {
    /// The record; none for what stands for none.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn record(&self, bytes: Bytes) -> Result<Option<NewRecord>, String> {
        let mut record = match &self.format {
            Format::Plain(plain) if plain.skip_empty && bytes.is_empty() => return Ok(None),
            Format::Plain(plain) => {
                let (key, value) = plain.cut(bytes);
                NewRecord { key: key.or_else(|| self.key.clone()), value, ..NewRecord::default() }
            }
            Format::Json if bytes.trim_ascii().is_empty() => return Ok(None),
            Format::Json => {
                let json = json_record::parse(&bytes)?;
                NewRecord {
                    key: json.key.unwrap_or_else(|| self.key.clone()),
                    value: json.value,
                    headers: json.headers,
                    partition: json.partition,
                    timestamp: json.timestamp,
                }
            }
        };
        record.headers.extend_from_slice(&self.headers);
        record.partition = record.partition.or(self.partition);
        record.timestamp = record.timestamp.or(self.timestamp);
        Ok(Some(record))
    }
}

impl Plain {
    fn cut(&self, mut bytes: Bytes) -> (Option<Bytes>, Option<Bytes>) {
        let delimiter = self.key_delimiter.as_deref();
        let key = delimiter.and_then(|delimiter| {
            let at = memmem::find(&bytes, delimiter)?;
            let key = bytes.split_to(at);
            let _ = bytes.split_to(delimiter.len());
            Some(key)
        });
        let is_null = (self.empty_is_null && bytes.is_empty())
            || self.null_value.as_ref().is_some_and(|null| *null == bytes);
        (key.filter(|key| !(self.empty_is_null && key.is_empty())), (!is_null).then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(plain: Plain, text: &'static str) -> (Option<String>, Option<String>) {
        let shape = Shape { format: Format::Plain(plain), ..Shape::default() };
        let record = shape.record(Bytes::from_static(text.as_bytes())).unwrap().unwrap();
        let text = |bytes: Option<Bytes>| bytes.map(|bytes| String::from_utf8(bytes.into()).unwrap());
        (text(record.key), text(record.value))
    }

    fn both(key: Option<&str>, value: Option<&str>) -> (Option<String>, Option<String>) {
        (key.map(Into::into), value.map(Into::into))
    }

    /// The first four are what kcat makes of them, without and with -Z.
    #[test]
    fn keys_and_nulls() {
        let colon = || Plain { key_delimiter: Some(b":".into()), ..Plain::default() };
        let nulls = || Plain { empty_is_null: true, ..colon() };
        for (text, plain, with_nulls) in [
            ("k:v:w", both(Some("k"), Some("v:w")), both(Some("k"), Some("v:w"))),
            (":v", both(Some(""), Some("v")), both(None, Some("v"))),
            ("k:", both(Some("k"), Some("")), both(Some("k"), None)),
            ("plain", both(None, Some("plain")), both(None, Some("plain"))),
            ("", both(None, Some("")), both(None, None)),
        ] {
            assert_eq!(cut(colon(), text), plain, "{text}");
            assert_eq!(cut(nulls(), text), with_nulls, "{text}");
        }
        let marked = Plain { null_value: Some(b"NULL".into()), ..colon() };
        assert_eq!(cut(marked.clone(), "k:NULL"), both(Some("k"), None));
        assert_eq!(cut(marked, "NULL:"), both(Some("NULL"), Some("")));
        let long = Plain { key_delimiter: Some(b"::".into()), ..Plain::default() };
        assert_eq!(cut(long, "a:b:::c"), both(Some("a:b"), Some(":c")));
    }

    #[test]
    fn what_is_fixed_stands_in_for_what_is_not_given() {
        let header = |name: &str| Header { name: name.into(), value: None };
        let mut shape = Shape {
            format: Format::Plain(Plain { key_delimiter: Some(b":".into()), ..Plain::default() }),
            key: Some("fixed".into()),
            headers: vec![header("h")],
            partition: Some(1),
            timestamp: Some(2),
        };
        let record = |shape: &Shape, text: &'static str| shape.record(text.into()).unwrap().unwrap();
        assert_eq!(record(&shape, "k:v").key, Some("k".into()));
        let plain = record(&shape, "v");
        assert_eq!((plain.key, plain.partition, plain.timestamp), (Some("fixed".into()), Some(1), Some(2)));
        shape.format = Format::Json;
        let json = record(&shape, r#"{"key":null,"headers":{"own":null},"partition":3,"timestamp":4}"#);
        assert_eq!((json.key, json.partition, json.timestamp), (None, Some(3), Some(4)));
        assert_eq!(json.headers, [header("own"), header("h")]);
        assert_eq!(record(&shape, "{}").key, Some("fixed".into()));
        assert_eq!(shape.record(" \r".into()), Ok(None));
    }

    #[test]
    fn empty_records_are_records_unless_they_are_not_wanted() {
        let plain = |skip_empty| Shape {
            format: Format::Plain(Plain { skip_empty, ..Plain::default() }),
            ..Shape::default()
        };
        assert!(plain(false).record(Bytes::new()).unwrap().is_some());
        assert!(plain(true).record(Bytes::new()).unwrap().is_none());
    }
}
