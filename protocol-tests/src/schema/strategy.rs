//! Random values of a message in a version.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    strategy::{BoxedStrategy, Union},
};

use super::{Field, Schema, Structure, Type, Value};

/// The first tag that no schema knows in any version.
const FIRST_UNKNOWN: u32 = 16;

/// Messages with every field the version has, null where it may be, and unknown tagged fields where there is room. What
/// the version has not got is at its default.
pub fn value(schema: &Schema, version: i16) -> BoxedStrategy<Structure> {
    structure(schema, &schema.fields, version)
}

fn structure(schema: &Schema, fields: &[Field], version: i16) -> BoxedStrategy<Structure> {
    let values: Vec<_> = fields.iter().map(|value| field(schema, value, version)).collect();
    let tags = if schema.flexible.contain(version) {
        prop_oneof![3 => Just(Vec::new()), 1 => unknown_tags()].boxed()
    } else {
        Just(Vec::new()).boxed()
    };
    (values, tags).prop_map(|(fields, tags)| Structure { fields, tags }).boxed()
}

fn unknown_tags() -> impl Strategy<Value = Vec<(u32, Vec<u8>)>> {
    // Java keeps tags as `int`: from 2^31 on its writer refuses what its reader took.
    let tag = prop_oneof![FIRST_UNKNOWN..300, FIRST_UNKNOWN..0x8000_0000];
    vec((tag, vec(any::<u8>(), 0..6)), 1..3).prop_map(|mut tags| {
        tags.sort_by_key(|(tag, _)| *tag);
        tags.dedup_by_key(|(tag, _)| *tag);
        tags
    })
}

fn field(schema: &Schema, field: &Field, version: i16) -> BoxedStrategy<Value> {
    let default = Just(schema.default_of(field));
    if !field.versions.contain(version) {
        return default.boxed();
    }
    let element = element(schema, &field.element, version);
    let present = if field.is_array { vec(element, 0..3).prop_map(Value::Array).boxed() } else { element };
    let mut choices = vec![(4, present)];
    let nullable = field.nullable.contain(version);
    if nullable {
        choices.push((1, Just(Value::Null).boxed()));
    }
    // The default of a field may be null in versions that do not allow it.
    if nullable || schema.default_of(field) != Value::Null {
        choices.push((1, default.boxed()));
    }
    Union::new_weighted(choices).boxed()
}

fn element(schema: &Schema, type_: &Type, version: i16) -> BoxedStrategy<Value> {
    match type_ {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int8 => number(i8::MIN.into(), i8::MAX.into()),
        Type::Int16 => number(i16::MIN.into(), i16::MAX.into()),
        Type::Uint16 => number(0, u16::MAX.into()),
        Type::Int32 => number(i32::MIN.into(), i32::MAX.into()),
        Type::Uint32 => number(0, u32::MAX.into()),
        Type::Int64 => number(i64::MIN, i64::MAX),
        // What is not a number has no JSON.
        Type::Float64 => proptest::num::f64::NORMAL.prop_map(Value::Float).boxed(),
        Type::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        Type::String => {
            let short = vec(any::<char>(), 0..8);
            // About where a compact length takes another byte.
            let long = vec(proptest::char::range('a', 'z'), 125..130);
            let text = prop_oneof![15 => short, 1 => long];
            text.prop_map(|letters| Value::Text(letters.into_iter().collect())).boxed()
        }
        Type::Bytes => {
            let bytes = prop_oneof![15 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 125..130)];
            bytes.prop_map(Value::Bytes).boxed()
        }
        Type::Structure(name) => {
            structure(schema, schema.structure(name), version).prop_map(Value::Structure).boxed()
        }
    }
}

fn number(min: i64, max: i64) -> BoxedStrategy<Value> {
    let edges = [min, max, min.max(-1), 0, 1];
    let edge = proptest::sample::select(edges.to_vec());
    prop_oneof![edge, min..=max].prop_map(Value::Int).boxed()
}
