//! A golden line about a message, and what must hold for it.

use bytes::Bytes;
use serde_json::Value;

use crate::{golden::unhex, subject::Subject};

/// The bytes of a message as Java wrote them, and the values that it read from them.
#[derive(Debug)]
pub struct Vector {
    /// What the bytes are.
    pub subject: Subject,
    /// The version in which they are written.
    pub version: i16,
    /// The message, without header and size.
    pub bytes: Bytes,
    /// The line.
    pub line: Value,
}

impl Vector {
    /// `None` when the line is about something else than the bytes of one message.
    ///
    /// # Panics
    /// When the message is not known.
    #[must_use]
    #[expect(clippy::panic, reason = "a line that is not understood fails the test")]
    pub fn new(line: Value) -> Option<Self> {
        if !["request", "response", "header", "data"].contains(&line["kind"].as_str()?) {
            return None;
        }
        let read = || {
            let subject = Subject::named(line["name"].as_str()?)?;
            let version = i16::try_from(line["version"].as_i64()?).ok()?;
            Some((subject, version, unhex(line["hex"].as_str()?)))
        };
        let Some((subject, version, bytes)) = read() else { panic!("not understood: {line}") };
        Some(Self { subject, version, bytes: bytes.into(), line })
    }

    /// What is wrong with our reading and writing of it, if anything is. The bytes must decode to the values that Java
    /// printed, and the message must encode to the same bytes. Both are needed: two fields swapped in both directions
    /// survive a round trip.
    #[must_use]
    pub fn mismatch(&self) -> Option<String> {
        let message = match self.subject.decode(&self.bytes, self.version) {
            Ok(message) => message,
            Err(error) => return Some(format!("not decoded: {error}")),
        };
        if let Some(difference) = difference(&self.line["json"], &message.json(self.version)) {
            return Some(difference);
        }
        match message.bytes(self.version) {
            Err(error) => Some(format!("not encoded: {error}")),
            Ok(bytes) => (bytes != self.bytes).then(|| format!("encoded as {bytes:02x?}")),
        }
    }
}

/// Where `ours` differs from Java's values. A field that Java names and we do not must hold a default: the lines of the
/// first golden file name tagged fields that nobody prints.
#[must_use]
pub fn difference(java: &Value, ours: &Value) -> Option<String> {
    match (java, ours) {
        (Value::Object(java), Value::Object(ours)) => {
            for (name, value) in java {
                let Some(our_value) = ours.get(name) else {
                    if is_default(value) {
                        continue;
                    }
                    return Some(format!("{name} is missing"));
                };
                if let Some(inside) = difference(value, our_value) {
                    return Some(format!("{name}: {inside}"));
                }
            }
            let extra = ours.iter().find(|(name, _)| !java.contains_key(*name));
            extra.map(|(name, value)| format!("{name} is not printed by Java and holds {value}"))
        }
        (Value::Array(java), Value::Array(ours)) if java.len() == ours.len() => {
            java.iter().zip(ours).find_map(|(java, ours)| difference(java, ours))
        }
        (java, ours) => (java != ours).then(|| format!("{ours} should be {java}")),
    }
}

/// True for the values that a tagged field has when it is left out.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| matches!(number, -1 | 0 | i64::MAX)),
        Value::String(text) => text.is_empty() || text == "AAAAAAAAAAAAAAAAAAAAAA",
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.values().all(is_default),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_found() {
        let java = json!({"a": 1, "b": [{"c": "x"}]});
        for (ours, expected) in [
            (json!({"a": 1, "b": [{"c": "x"}]}), false),
            (json!({"a": 1, "b": [{"c": "x"}], "d": 0}), true),
            (json!({"a": 2, "b": [{"c": "x"}]}), true),
            (json!({"a": 1, "b": [{"c": "y"}]}), true),
            (json!({"a": 1, "b": []}), true),
            (json!({"a": 1}), true),
            (json!({"a": 1, "b": [{"c": "x"}], "d": 7}), true),
        ] {
            assert_eq!(difference(&java, &ours).is_some(), expected, "{ours}");
        }
    }

    #[test]
    fn a_mismatch_is_found() {
        let line = |name: &str, hex: &str, version: i16, json: Value| {
            Vector::new(json!({"kind": "data", "name": name, "version": version, "hex": hex, "json": json}))
        };
        let marker =
            |hex, epoch| line("EndTxnMarker", hex, 0, json!({"coordinatorEpoch": epoch})).unwrap().mismatch();
        assert_eq!(marker("00000007", 7), None);
        assert!(marker("00000007", 8).unwrap().contains("should be 8"));
        assert!(marker("000007", 7).unwrap().starts_with("not decoded"));
        assert!(Vector::new(json!({"kind": "batch"})).is_none());
    }
}
