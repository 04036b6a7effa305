//! Every message of the protocol crate against the bytes and the values of Kafka's own classes.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol_tests::{golden, subject::Subject, vector::Vector};

fn vectors() -> impl Iterator<Item = Vector> {
    golden::lines().filter_map(Vector::new)
}

#[test]
fn every_message_equals_javas() {
    let mut seen: BTreeMap<String, BTreeSet<i16>> = BTreeMap::new();
    for vector in vectors() {
        assert_eq!(vector.mismatch(), None, "{}", vector.line);
        seen.entry(vector.subject.name()).or_default().insert(vector.version);
    }
    // A folder that lacks a message or a version would prove nothing about it.
    for subject in Subject::all() {
        let name = subject.name();
        assert_eq!(seen.get(&name), Some(&subject.versions().collect()), "{name}");
    }
    assert_eq!(seen.values().map(BTreeSet::len).sum::<usize>(), 625, "messages in their versions");
}

#[test]
fn json_is_what_kafkas_converter_prints() {
    let mut seen: BTreeSet<(String, i16)> = BTreeSet::new();
    for vector in golden::lines_as_printed().filter_map(Vector::new) {
        let message = vector.subject.decode(&vector.bytes, vector.version).unwrap();
        assert_eq!(message.json(vector.version), vector.line["json"], "{}", vector.line);
        seen.insert((vector.subject.name(), vector.version));
    }
    assert_eq!(seen.len(), 625, "messages in their versions");
}

#[test]
fn the_catalogue_equals_javas() {
    for vector in vectors() {
        let (api, header) = match vector.subject {
            Subject::Request(api) => (api, api.request_header_version(vector.version)),
            Subject::Response(api) => (api, api.response_header_version(vector.version)),
            Subject::Structure(_) => continue,
        };
        let context = format!("{} version {}", vector.subject.name(), vector.version);
        assert_eq!(Some(i64::from(header)), vector.line["headerVersion"].as_i64(), "{context}");
        assert_eq!(Some(api.is_flexible(vector.version)), vector.line["flexible"].as_bool(), "{context}");
        let unstable = vector.line["unstable"].as_bool().unwrap_or_default();
        assert_eq!(api.stable_versions().contains(&vector.version), !unstable, "{context}");
    }
}

#[test]
fn a_message_that_is_cut_short_is_an_error() {
    for vector in vectors() {
        for len in 0..vector.bytes.len().min(4096) {
            let cut = vector.bytes.slice(..len);
            assert!(vector.subject.decode(&cut, vector.version).is_err(), "{len} bytes of {}", vector.line);
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for vector in vectors() {
        let longer: Bytes = [&vector.bytes[..], &[0]].concat().into();
        assert!(vector.subject.decode(&longer, vector.version).is_err(), "{}", vector.line);
    }
}
