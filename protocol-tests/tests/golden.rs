//! Every message of the protocol crate against the bytes and the values of Kafka's own classes.
//!
//! Bytes must decode to the values Java printed, and the decoded message must encode to the same bytes. Both are needed:
//! two fields swapped in both directions survive a round trip.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use bytes::Bytes;
use milena_protocol::{
    DecodeError,
    messages::{
        ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, ControlRecordTypeSchema,
        DefaultPrincipalData, EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, Request, RequestHeader,
        Response, ResponseHeader, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    },
    wire::{Decode, Encode, Reader, Writer},
};
use protocol_tests::golden;
use serde_json::Value;

/// The values of some bytes as JSON, and the bytes of encoding them again.
type Read = fn(&mut Reader<'_>, i16) -> Result<(Value, Bytes), DecodeError>;

/// The structures that belong to no API, with their versions.
const STRUCTURES: [(&str, RangeInclusive<i16>, Read); 12] = [
    ("RequestHeader", 1..=2, read::<RequestHeader>),
    ("ResponseHeader", 0..=1, read::<ResponseHeader>),
    ("ConsumerProtocolSubscription", 0..=3, read::<ConsumerProtocolSubscription>),
    ("ConsumerProtocolAssignment", 0..=3, read::<ConsumerProtocolAssignment>),
    ("ControlRecordTypeSchema", 0..=0, read::<ControlRecordTypeSchema>),
    ("EndTxnMarker", 0..=0, read::<EndTxnMarker>),
    ("LeaderChangeMessage", 0..=1, read::<LeaderChangeMessage>),
    ("SnapshotHeaderRecord", 0..=0, read::<SnapshotHeaderRecord>),
    ("SnapshotFooterRecord", 0..=0, read::<SnapshotFooterRecord>),
    ("KRaftVersionRecord", 0..=0, read::<KRaftVersionRecord>),
    ("VotersRecord", 0..=0, read::<VotersRecord>),
    ("DefaultPrincipalData", 0..=0, read::<DefaultPrincipalData>),
];

/// A golden line about a message.
struct Vector {
    name: String,
    version: i16,
    bytes: Bytes,
    subject: Subject,
    line: Value,
}

/// What the bytes are.
#[derive(Clone, Copy)]
enum Subject {
    Request(ApiKey),
    Response(ApiKey),
    Structure(Read),
}

impl Vector {
    /// `None` when the line is about a batch. A message that is not known fails the test.
    fn new(line: Value) -> Option<Self> {
        let name = line["name"].as_str().unwrap().to_owned();
        let api = || ApiKey::from_code(line["apiKey"].as_i64().unwrap().try_into().unwrap()).unwrap();
        let subject = match line["kind"].as_str().unwrap() {
            "request" => Subject::Request(api()),
            "response" => Subject::Response(api()),
            "batch" => return None,
            _ => {
                let known = STRUCTURES.iter().find(|(known, ..)| *known == name);
                assert!(known.is_some(), "{name} is not known");
                Subject::Structure(known.unwrap().2)
            }
        };
        let version = line["version"].as_i64().unwrap().try_into().unwrap();
        let bytes = golden::unhex(line["hex"].as_str().unwrap()).into();
        Some(Self { name, version, bytes, subject, line })
    }

    fn all() -> impl Iterator<Item = Self> {
        golden::lines().filter_map(Self::new)
    }

    /// Decodes `bytes` as the subject.
    fn decode(&self, bytes: &Bytes) -> Result<(Value, Bytes), DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = self.version;
        let both = match self.subject {
            Subject::Request(api) => both(&Request::decode(api, &mut reader, version)?, version),
            Subject::Response(api) => both(&Response::decode(api, &mut reader, version)?, version),
            Subject::Structure(read) => read(&mut reader, version)?,
        };
        reader.finish()?;
        Ok(both)
    }
}

fn read<T: Decode + Encode + serde::Serialize>(
    reader: &mut Reader<'_>,
    version: i16,
) -> Result<(Value, Bytes), DecodeError> {
    Ok(both(&T::decode(reader, version)?, version))
}

fn both<T: Encode + serde::Serialize>(value: &T, version: i16) -> (Value, Bytes) {
    let mut writer = Writer::new();
    value.encode(&mut writer, version).unwrap();
    assert_eq!(value.encoded_len(version), Ok(writer.len()));
    (serde_json::to_value(value).unwrap(), writer.finish().to_bytes())
}

#[test]
fn every_message_equals_javas() {
    let mut seen: BTreeMap<String, BTreeSet<i16>> = BTreeMap::new();
    for vector in Vector::all() {
        let context = format!("{} version {}: {}", vector.name, vector.version, vector.line);
        let (values, bytes) =
            vector.decode(&vector.bytes).unwrap_or_else(|error| panic!("{error} in {context}"));
        if let Some(difference) = difference(&vector.line["json"], &values) {
            panic!("{difference} in {context}");
        }
        assert_eq!(bytes, vector.bytes, "{context}");
        seen.entry(vector.name).or_default().insert(vector.version);
    }
    // A folder that lacks a message or a version would prove nothing about it.
    for &api in ApiKey::ALL {
        for direction in ["Request", "Response"] {
            let name = format!("{api}{direction}");
            let versions: Vec<i16> = seen.get(&name).into_iter().flatten().copied().collect();
            assert_eq!(versions, api.versions().collect::<Vec<_>>(), "{name}");
        }
    }
    for (name, versions, _) in STRUCTURES {
        assert_eq!(seen.get(name), Some(&versions.collect()), "{name}");
    }
    assert_eq!(seen.values().map(BTreeSet::len).sum::<usize>(), 625, "messages in their versions");
}

#[test]
fn the_catalogue_equals_javas() {
    for vector in Vector::all() {
        let (api, header) = match vector.subject {
            Subject::Request(api) => (api, api.request_header_version(vector.version)),
            Subject::Response(api) => (api, api.response_header_version(vector.version)),
            _ => continue,
        };
        let context = format!("{} version {}", vector.name, vector.version);
        assert_eq!(Some(i64::from(header)), vector.line["headerVersion"].as_i64(), "{context}");
        assert_eq!(Some(api.is_flexible(vector.version)), vector.line["flexible"].as_bool(), "{context}");
        let unstable = vector.line["unstable"].as_bool().unwrap_or_default();
        assert_eq!(api.stable_versions().contains(&vector.version), !unstable, "{context}");
    }
}

#[test]
fn a_message_that_is_cut_short_is_an_error() {
    for vector in Vector::all() {
        for len in 0..vector.bytes.len().min(4096) {
            let cut = vector.bytes.slice(..len);
            assert!(vector.decode(&cut).is_err(), "{len} bytes of {}", vector.line);
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for vector in Vector::all() {
        let longer: Bytes = [&vector.bytes[..], &[0]].concat().into();
        assert!(vector.decode(&longer).is_err(), "{}", vector.line);
    }
}

/// Where `ours` differs from Java's values. Java prints the fields a version has; the others must hold a default.
fn difference(java: &Value, ours: &Value) -> Option<String> {
    match (java, ours) {
        (Value::Object(java), Value::Object(ours)) => {
            for (name, value) in java {
                let Some(our_value) = ours.get(name) else { return Some(format!("{name} is missing")) };
                if let Some(inside) = difference(value, our_value) {
                    return Some(format!("{name}: {inside}"));
                }
            }
            let extra = ours.iter().find(|(name, value)| !java.contains_key(*name) && !is_default(value));
            extra.map(|(name, value)| format!("{name} is not in this version and holds {value}"))
        }
        (Value::Array(java), Value::Array(ours)) if java.len() == ours.len() => {
            java.iter().zip(ours).find_map(|(java, ours)| difference(java, ours))
        }
        (java, ours) => (java != ours).then(|| format!("{ours} should be {java}")),
    }
}

/// True for the values a field has when nothing was read into it.
fn is_default(value: &Value) -> bool {
    const NUMBERS: &[i64] = &[0, -1, -2, 1, 16, i32::MAX as i64, i32::MIN as i64, i64::MAX];
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| NUMBERS.contains(&number)),
        Value::String(text) => text.is_empty() || text == "AAAAAAAAAAAAAAAAAAAAAA",
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.values().all(is_default),
    }
}

#[test]
fn a_difference_is_found() {
    let java = serde_json::json!({"a": 1, "b": [{"c": "x"}]});
    for (ours, expected) in [
        (serde_json::json!({"a": 1, "b": [{"c": "x"}], "d": 0}), false),
        (serde_json::json!({"a": 2, "b": [{"c": "x"}]}), true),
        (serde_json::json!({"a": 1, "b": [{"c": "y"}]}), true),
        (serde_json::json!({"a": 1, "b": []}), true),
        (serde_json::json!({"a": 1}), true),
        (serde_json::json!({"a": 1, "b": [{"c": "x"}], "d": 7}), true),
    ] {
        assert_eq!(difference(&java, &ours).is_some(), expected, "{ours}");
    }
}
