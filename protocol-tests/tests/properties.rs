//! What holds for every message in every version, whatever its values: our generated code against the slow reading of
//! the same schemas in `protocol_tests::schema`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use bytes::Bytes;
use milena_protocol::{DecodeErrorKind, EncodeError};
use proptest::{prop_assert, prop_assert_eq};
use protocol_tests::{
    cases::{for_all, subjects},
    refusal::Outcome,
    schema::{self, Field, Refusal, Schema, Structure, Type, Value, Versions},
};

/// Bytes longer than this are not cut at every place.
const CUTS: usize = 512;

/// In how many places bytes are changed, one at a time.
const CHANGES: usize = 16;

#[test]
fn the_schemas_versions_are_the_crates() {
    for (subject, schema) in subjects() {
        assert_eq!(subject.versions(), schema.valid.first..=schema.valid.last, "{}", schema.name);
    }
}

#[test]
fn values_are_read_and_written_as_the_schemas_say() {
    let pairs = for_all(|case| {
        let message = case.decode()?;
        prop_assert_eq!(message.json(case.version), case.tree.to_json(case.schema, case.version));
        let bytes = message.bytes(case.version);
        prop_assert_eq!(bytes.as_ref(), Ok(&case.bytes));
        prop_assert_eq!(message.encoded_len(case.version), Ok(case.bytes.len()));
        let again = case.subject.decode(&bytes.unwrap(), case.version).unwrap();
        prop_assert!(message.equals(again.as_ref()), "{:?} is not {:?}", message, again);
        Ok(())
    });
    assert_eq!(pairs, 625);
}

#[test]
fn bytes_too_few_or_too_many_are_refused() {
    for_all(|case| {
        for len in 0..case.bytes.len().min(CUTS) {
            let cut = case.subject.decode(&case.bytes.slice(..len), case.version);
            prop_assert!(cut.is_err(), "{} of {} bytes are read: {:?}", len, case.bytes.len(), cut);
        }
        let longer = [&case.bytes[..], &[0]].concat().into();
        let error = case.subject.decode(&longer, case.version).map_err(|error| error.kind);
        prop_assert_eq!(error.unwrap_err(), DecodeErrorKind::LeftOver(1));
        Ok(())
    });
}

#[test]
fn what_is_read_from_changed_bytes_is_written_and_read_alike() {
    for_all(|case| {
        for place in (0..case.bytes.len()).step_by(1 + case.bytes.len() / CHANGES) {
            let mut changed = case.bytes.to_vec();
            changed[place] ^= [0x01, 0x80, 0xff][place % 3];
            let Ok(message) = case.subject.decode(&changed.into(), case.version) else { continue };
            let bytes = match message.bytes(case.version) {
                // Tagged fields are read in any order, as Java reads them, and refused when they are written.
                Err(EncodeError::UnorderedTag(_)) => continue,
                bytes => bytes.unwrap(),
            };
            let again = case.subject.decode(&bytes, case.version).unwrap();
            prop_assert_eq!(again.json(case.version), message.json(case.version), "byte {} changed", place);
            prop_assert_eq!(again.bytes(case.version), Ok(bytes), "byte {} changed", place);
        }
        Ok(())
    });
}

#[test]
fn another_version_carries_the_value_or_refuses_it_by_name() {
    for_all(|case| {
        let message = case.decode()?;
        for version in case.schema.valid.first..=case.schema.valid.last {
            let expected = match schema::write(case.schema, &case.tree, version) {
                Ok(bytes) => Outcome::Written(bytes.into()),
                Err(Refusal::Unsupported(field)) => Outcome::Refused(field),
                Err(Refusal::Null(field)) => Outcome::Null(field),
                Err(Refusal::Tags) => Outcome::Tags,
            };
            let written = message.bytes(version);
            prop_assert_eq!(
                message.encoded_len(version),
                written.as_ref().map(Bytes::len).map_err(|error| *error)
            );
            prop_assert_eq!(Outcome::from(written), expected, "in version {}", version);
        }
        Ok(())
    });
}

#[test]
fn a_version_that_does_not_exist_is_refused_both_ways() {
    for (subject, schema) in subjects() {
        let (first, last) = (schema.valid.first, schema.valid.last);
        let bytes = Bytes::from(schema::write(&schema, &schema.default_value(), last).unwrap());
        let message = subject.decode(&bytes, last).unwrap();
        for version in [first - 1, last + 1, i16::MIN, i16::MAX] {
            let read = subject.decode(&bytes, version).unwrap_err().kind;
            let is_read = matches!(read, DecodeErrorKind::UnknownVersion { message, version: named }
                if message == schema.name && named == version);
            assert!(is_read, "{} version {version}: {read:?}", schema.name);
            let written = message.bytes(version).unwrap_err();
            let is_written = matches!(written, EncodeError::UnknownVersion { message, version: named }
                if message == schema.name && named == version);
            assert!(is_written, "{} version {version}: {written:?}", schema.name);
        }
    }
}

/// C4: that encoding refuses a null is part of `another_version_carries_the_value_or_refuses_it_by_name`.
#[test]
fn a_null_is_refused_where_it_may_not_be() {
    let mut seen = 0;
    for (subject, schema) in subjects() {
        for version in schema.valid.first..=schema.valid.last {
            for (path, tree) in with_a_null(&schema, &schema.fields, version) {
                let bytes = schema::write_with_nulls(&schema, &tree, version).unwrap();
                let read = subject.decode(&bytes.into(), version).map_err(|error| error.kind);
                let context = format!("{}.{path} version {version}", schema.name);
                assert_eq!(read.expect_err(&context), DecodeErrorKind::UnexpectedNull, "{context}");
                seen += 1;
            }
        }
    }
    assert!(seen > 1900, "{seen}");
}

/// A structure for every field in it, however deep, that a null could be sent for and that may not be null.
fn with_a_null(schema: &Schema, fields: &[Field], version: i16) -> Vec<(String, Structure)> {
    let default = schema.default_structure(fields);
    let present = |versions: Versions| versions.contain(version);
    let mut all = Vec::new();
    for (index, field) in fields.iter().enumerate().filter(|(_, field)| present(field.versions)) {
        let mut add = |path: String, value: Value| {
            let mut structure = default.clone();
            structure.fields[index] = value;
            all.push((path, structure));
        };
        let has_length = field.is_array || matches!(field.element, Type::String | Type::Bytes);
        if has_length && !present(field.nullable) {
            add(field.name.clone(), Value::Null);
        }
        let Type::Structure(name) = &field.element else { continue };
        for (path, inside) in with_a_null(schema, schema.structure(name), version) {
            let inside = Value::Structure(inside);
            let value = if field.is_array { Value::Array(vec![inside]) } else { inside };
            add(format!("{}.{path}", field.name), value);
        }
    }
    all
}
