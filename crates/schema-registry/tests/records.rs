//! Records: hostile bytes, values at run time, JSON, Protobuf, and what another implementation of Avro wrote.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::sync::LazyLock;

use milena_schema_registry::{
    AvroDecoder, AvroEncoder, ErrorKind, JsonDecoder, JsonEncoder, MessageIndexes, Part, ProtobufDecoder,
    ProtobufEncoder, Schema, SchemaRegistry, SubjectNameStrategy, apache_avro::types::Value,
    server::InProcessRegistry,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

/// Every kind of type, one that contains itself among them.
const EVERYTHING: &str = include_str!("fixtures/everything.avsc");
const TREE: &str = r#"{"type":"record","name":"Tree","fields":[{"name":"next","type":["null","Tree"]}]}"#;
const ENDLESS: &str = r#"{"type":"record","name":"Endless","fields":[{"name":"next","type":"Endless"}]}"#;
const NULLS: &str = r#"{"type":"array","items":"null"}"#;

async fn served() -> (InProcessRegistry, SchemaRegistry) {
    let served = InProcessRegistry::start().await.unwrap();
    let registry = SchemaRegistry::builder(served.url()).build().unwrap();
    (served, registry)
}

fn framed(id: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), bytes].concat()
}

#[tokio::test]
async fn hostile_bytes_are_refused_before_they_cost_anything() {
    let (_served, registry) = served().await;
    let decoder = AvroDecoder::<serde::de::IgnoredAny>::new(registry.clone(), None).await.unwrap();
    for (name, schema, bytes, expected) in [
        ("long", r#""string""#, &b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7fa"[..], "are left"),
        ("negative", r#""bytes""#, b"\x01", "a length of -1"),
        ("rest", r#""int""#, b"\x02\x02", "1 bytes are left over"),
        ("early", r#""boolean""#, b"", "1 bytes are due and 0 are left"),
        ("wide", r#""int""#, b"\xfe\xff\xff\xff\xff\x01", "is no int"),
        ("endless", r#""long""#, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than 10 bytes"),
        ("deep", TREE, &[2; 100_000], "nested deeper"),
        ("circle", ENDLESS, b"", "nested deeper"),
        ("nulls", NULLS, b"\xfe\xff\xff\xff\x0f\x00", "elements without bytes"),
        ("least", NULLS, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "elements without bytes"),
        ("block", r#"{"type":"array","items":"int"}"#, b"\x01\x06\x02\x00", "not as long as it says"),
        ("utf8", r#""string""#, b"\x02\xff", "UTF-8"),
        ("branch", r#"["null","int"]"#, b"\x04", "no branch 2"),
        ("symbol", r#"{"type":"enum","name":"E","symbols":["A"]}"#, b"\x02", "no symbol 1"),
    ] {
        let id = registry.register(name, &Schema::avro(schema), false).await.unwrap();
        let error = decoder.decode(&framed(id.0, bytes)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    let error = decoder.decode(&framed(99, b"")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

/// As deep as is allowed, on half the stack that a thread of tokio has, and without trying for ever.
#[test]
fn the_deepest_values_fit_on_the_stack_and_end() {
    const OTHER: &str = r#"{"type":"record","name":"Tree","fields":[
        {"name":"next","type":["null","Tree"]},{"name":"more","type":"int","default":0}]}"#;
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_served, registry) = served().await;
            let id = registry.register("t", &Schema::avro(TREE), false).await.unwrap();
            let record = |depth| framed(id.0, &[vec![2; depth], vec![0]].concat());
            let same = AvroDecoder::<serde::de::IgnoredAny>::new(registry.clone(), Some(Schema::avro(TREE)));
            let other = AvroDecoder::<serde::de::IgnoredAny>::new(registry, Some(Schema::avro(OTHER)));
            let (same, other) = (same.await.unwrap(), other.await.unwrap());
            // Of three levels each, 42 fit into 128.
            same.decode(&record(42)).await.unwrap();
            let error = same.decode(&record(43)).await.unwrap_err();
            assert!(error.to_string().contains("nested deeper"), "{error}");
            other.decode(&record(14)).await.unwrap();
            let error = other.decode(&record(42)).await.unwrap_err();
            assert!(error.to_string().contains("resolved into the reader's schema within bounds"), "{error}");
        });
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

struct Fixture {
    runtime: Runtime,
    decoder: AvroDecoder<serde::de::IgnoredAny>,
    ids: Vec<u32>,
    _served: InProcessRegistry,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (served, decoder, ids) = runtime.block_on(async {
        let (served, registry) = served().await;
        let mut ids = Vec::new();
        for (name, schema) in [("everything", EVERYTHING), ("tree", TREE), ("nulls", NULLS)] {
            ids.push(registry.register(name, &Schema::avro(schema), false).await.unwrap().0);
        }
        (served, AvroDecoder::new(registry, None).await.unwrap(), ids)
    });
    Fixture { runtime, decoder, ids, _served: served }
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..6], 0..200),
        which in 0_usize..3,
    ) {
        let record = framed(FIXTURE.ids[which], &bytes);
        let decoded = FIXTURE.runtime.block_on(FIXTURE.decoder.decode_value(&record));
        if let Err(error) = decoded {
            prop_assert!(!error.to_string().contains("panicked"), "{error}");
        }
    }
}

/// The bytes are fastavro's: see fixtures/README.md.
#[tokio::test]
async fn what_another_implementation_wrote_is_read_and_written_alike() {
    let (_served, registry) = served().await;
    let id = registry.register("t-value", &Schema::avro(EVERYTHING), false).await.unwrap();
    let golden = framed(id.0, include_bytes!("fixtures/everything.bin"));
    let decoder = AvroDecoder::<serde::de::IgnoredAny>::new(registry.clone(), None).await.unwrap();
    let value = decoder.decode_value(&golden).await.unwrap();
    let Value::Record(fields) = &value else { panic!("{value:?}") };
    assert_eq!(fields[2], ("text".to_owned(), Value::String("grüße".to_owned())));
    let encoder =
        AvroEncoder::new(registry, Schema::avro(EVERYTHING), SubjectNameStrategy::TopicName).await.unwrap();
    assert_eq!(encoder.encode_value("t", Part::Value, &value).await.unwrap()[..], golden[..]);
    let wrong = encoder.encode_value("t", Part::Value, &Value::Long(1)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Misuse);
}

#[tokio::test]
async fn the_record_names_its_subject() {
    let (_served, registry) = served().await;
    for (strategy, expected) in
        [(SubjectNameStrategy::RecordName, "a.Tree"), (SubjectNameStrategy::TopicRecordName, "t-a.Tree")]
    {
        let schema = Schema::avro(TREE.replace("\"Tree\",\"fields", "\"Tree\",\"namespace\":\"a\",\"fields"));
        let encoder = AvroEncoder::new(registry.clone(), schema, strategy).await.unwrap();
        let value = Value::Record(vec![("next".to_owned(), Value::Union(0, Box::new(Value::Null)))]);
        encoder.encode_value("t", Part::Value, &value).await.unwrap();
        registry.latest(expected).await.unwrap();
        let nameless = AvroEncoder::new(registry.clone(), Schema::avro(r#""int""#), strategy).await.unwrap();
        assert_eq!(nameless.encode("t", Part::Key, &1).await.unwrap_err().kind(), ErrorKind::Misuse);
    }
}

#[tokio::test]
async fn json_is_held_against_its_schema_on_both_sides() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Person {
        age: i64,
    }
    let (_served, registry) = served().await;
    registry.register("age", &Schema::json(r#"{"type":"integer","minimum":0}"#), false).await.unwrap();
    let text =
        r#"{"title":"Person","type":"object","properties":{"age":{"$ref":"age.json"}},"required":["age"]}"#;
    let schema = Schema::json(text).reference("age.json", "age", 1);
    let encoder = JsonEncoder::new(registry.clone(), schema, SubjectNameStrategy::RecordName).await.unwrap();
    let bytes = encoder.encode("t", Part::Value, &Person { age: 7 }).await.unwrap();
    assert_eq!(bytes[..], framed(2, br#"{"age":7}"#));
    registry.latest("Person").await.unwrap();
    let decoder = JsonDecoder::<Person>::new(registry.clone());
    assert_eq!(decoder.decode(&bytes).await.unwrap(), Person { age: 7 });
    let refused = encoder.encode("t", Part::Value, &Person { age: -7 }).await.unwrap_err();
    assert_eq!(refused.to_string(), "encoding a record in JSON: /age: -7 is less than the minimum of 0");
    for bytes in [&br#"{"age":-7}"#[..], b"{}", b"{", b""] {
        assert_eq!(decoder.decode(&framed(2, bytes)).await.unwrap_err().kind(), ErrorKind::InvalidData);
    }
    // Nothing is loaded from elsewhere.
    for elsewhere in ["file:///etc/passwd", "http://127.0.0.1:1/a"] {
        let schema = Schema::json(format!(r#"{{"$ref":"{elsewhere}"}}"#));
        let Err(error) = JsonEncoder::new(registry.clone(), schema, SubjectNameStrategy::TopicName).await
        else {
            panic!("{elsewhere}")
        };
        assert!(error.to_string().contains("is no reference of the schema"), "{error}");
    }
}

#[tokio::test]
async fn protobuf_names_the_message_in_the_schema() {
    let (_served, registry) = served().await;
    let schema = Schema::protobuf("syntax = \"proto3\"; message A {} message B { string text = 1; }");
    let second = MessageIndexes::new(vec![1]).unwrap();
    let strategy = SubjectNameStrategy::TopicName;
    let encoder = ProtobufEncoder::new(registry.clone(), schema.clone(), second.clone(), strategy).unwrap();
    // prost has `String` as a message with the text in field 1.
    let bytes = encoder.encode("t", Part::Value, &"hi".to_owned()).await.unwrap();
    assert_eq!(bytes[..], framed(1, &[2, 2, 0x0a, 2, b'h', b'i']));
    assert_eq!(ProtobufDecoder::<String>::new(Some(second)).decode(&bytes).unwrap(), "hi");
    let other = ProtobufDecoder::<String>::new(Some(MessageIndexes::first()));
    assert!(other.decode(&bytes).unwrap_err().to_string().contains("it is message [1], not [0]"));
    let first = ProtobufEncoder::new(registry, schema, MessageIndexes::first(), strategy).unwrap();
    assert_eq!(first.encode_bytes("t", Part::Value, b"").await.unwrap()[..], framed(1, &[0]));
}
