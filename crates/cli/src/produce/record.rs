//! A record between the input and the producer, and how it is shown.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use milena::Record;
use serde_json::{Map, Value};

use super::options::Header;

/// What is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NewRecord {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) partition: Option<i32>,
    /// Milliseconds since 1970; the time of sending if not given.
    pub(super) timestamp: Option<i64>,
}

impl NewRecord {
    /// As the producer takes it.
    pub(super) fn into_record(self, topic: &str, timestamp: i64) -> Record {
        let mut record = Record::new(topic).timestamp(timestamp);
        if let Some(key) = self.key {
            record = record.key(key);
        }
        if let Some(value) = self.value {
            record = record.value(value);
        }
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        self.headers.into_iter().fold(record, |record, Header { name, value }| match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        })
    }

    /// As `--input json` takes it.
    pub(super) fn to_json(&self) -> Value {
        let mut json = Map::new();
        put(&mut json, "key", self.key.as_deref());
        put(&mut json, "value", self.value.as_deref());
        if !self.headers.is_empty() {
            let headers = self.headers.iter().map(|header| {
                let mut json = Map::new();
                json.insert("name".into(), header.name.as_str().into());
                put(&mut json, "value", header.value.as_deref());
                Value::from(json)
            });
            json.insert("headers".into(), headers.collect());
        }
        if let Some(partition) = self.partition {
            json.insert("partition".into(), partition.into());
        }
        if let Some(timestamp) = self.timestamp {
            json.insert("timestamp".into(), timestamp.into());
        }
        json.into()
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("key {}, value {}", shown(self.key.as_deref()), shown(self.value.as_deref()));
        for Header { name, value } in &self.headers {
            text += &format!(", header {}={}", name.escape_debug(), shown(value.as_deref()));
        }
        if let Some(partition) = self.partition {
            text += &format!(", partition {partition}");
        }
        if let Some(timestamp) = self.timestamp {
            text += &format!(", timestamp {timestamp}");
        }
        text
    }
}

/// Text as it is, other bytes in base64.
fn put(json: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| BASE64_STANDARD.encode(bytes))) {
        None => json.insert(name.into(), Value::Null),
        Some(Ok(text)) => json.insert(name.into(), text.into()),
        Some(Err(base64)) => json.insert(format!("{name}_base64"), base64.into()),
    };
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".into(),
        Some((_, Ok(text))) => format!("{text:?}"),
        Some((bytes, Err(_))) => format!("b\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NewRecord {
        let header = |name: &str, value| Header { name: name.into(), value };
        NewRecord {
            key: Some("k\t1".into()),
            value: Some(Bytes::from_static(b"\xff\0")),
            headers: vec![header("a", Some("b".into())), header("a", None)],
            partition: Some(2),
            timestamp: Some(7),
        }
    }

    #[test]
    fn people_see_every_byte() {
        let text = r#"key "k\t1", value b"\xff\x00", header a="b", header a=null, partition 2, timestamp 7"#;
        assert_eq!(record().to_text(), text);
        assert_eq!(NewRecord::default().to_text(), "key null, value null");
    }

    #[test]
    fn scripts_see_every_byte() {
        let json = r#"{"key":"k\t1","value_base64":"/wA=","headers":[{"name":"a","value":"b"},{"name":"a","value":null}],"partition":2,"timestamp":7}"#;
        assert_eq!(record().to_json().to_string(), json);
        assert_eq!(NewRecord::default().to_json().to_string(), r#"{"key":null,"value":null}"#);
    }
}
