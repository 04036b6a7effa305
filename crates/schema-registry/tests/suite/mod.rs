//! What every registry must do for this client, whichever it is. The differences between registries are not asked for:
//! Apicurio has the level NONE by default, and words of its own.

use milena_schema_registry::{
    AvroDecoder, AvroEncoder, CompatibilityLevel, Deletion, EncoderOptions, Part, Schema, SchemaId,
    SchemaRegistry, SubjectNameStrategy, Version,
};
use serde::{Deserialize, Serialize};

pub(crate) const V1: &str = concat!(
    r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},"#,
    r#"{"name":"item","type":"string"}]}"#
);
pub(crate) const V2: &str = concat!(
    r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},"#,
    r#"{"name":"item","type":"string"},{"name":"couponCode","type":["null","string"],"default":null}]}"#
);
pub(crate) const INCOMPATIBLE: &str = concat!(
    r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},"#,
    r#"{"name":"item","type":"string"},{"name":"price","type":"double"}]}"#
);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderV1 {
    pub id: i64,
    pub item: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderV2 {
    pub id: i64,
    pub item: String,
    #[serde(rename = "couponCode")]
    pub coupon_code: Option<String>,
}

pub(crate) async fn run(registry: &SchemaRegistry) {
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    subjects_and_versions(registry, &format!("{run} é/a?b-value")).await;
    what_is_missing(registry, &format!("{run}-missing")).await;
    compatibility(registry, &format!("{run}-strict")).await;
    references(registry, &run.to_string()).await;
    evolution(registry, &format!("{run}-orders")).await;
    deletes(registry, &format!("{run}-deleted")).await;
}

async fn subjects_and_versions(registry: &SchemaRegistry, subject: &str) {
    let (one, two) = (Schema::avro(V1), Schema::avro(V2));
    let id = registry.register(subject, &one, false).await.unwrap();
    assert_eq!(registry.register(subject, &one, false).await.unwrap(), id);
    let next = registry.register(subject, &two, false).await.unwrap();
    assert_ne!(id, next);
    assert_eq!(registry.schema_by_id(id).await.unwrap().schema, V1);
    assert_eq!(registry.versions(subject).await.unwrap(), [1, 2]);
    assert!(registry.subjects().await.unwrap().contains(&subject.to_owned()));
    let first = registry.version(subject, Version::Number(1)).await.unwrap();
    assert_eq!((first.id, first.version, first.subject.as_str()), (id, 1, subject));
    assert_eq!(first.schema, one);
    assert_eq!(registry.latest(subject).await.unwrap().id, next);
    assert_eq!(registry.lookup(subject, &two, false).await.unwrap().unwrap().version, 2);
    assert_eq!(registry.lookup(subject, &Schema::avro(INCOMPATIBLE), false).await.unwrap(), None);
    assert_eq!(registry.id(subject, &two, false).await.unwrap(), next);
}

async fn what_is_missing(registry: &SchemaRegistry, subject: &str) {
    let code = |error: milena_schema_registry::Error| (error.is_not_found(), error.error_code());
    assert_eq!(code(registry.versions(subject).await.unwrap_err()), (true, Some(40401)));
    assert_eq!(code(registry.schema_by_id(SchemaId(2_000_000_000)).await.unwrap_err()), (true, Some(40403)));
    assert_eq!(registry.lookup(subject, &Schema::avro(V1), false).await.unwrap(), None);
    registry.register(subject, &Schema::avro(V1), false).await.unwrap();
    assert_eq!(code(registry.version(subject, Version::Number(9)).await.unwrap_err()), (true, Some(40402)));
    let invalid = registry.register(subject, &Schema::avro("{"), false).await.unwrap_err();
    assert_eq!((invalid.http_status(), invalid.error_code()), (Some(422), Some(42201)));
}

async fn compatibility(registry: &SchemaRegistry, subject: &str) {
    registry.register(subject, &Schema::avro(V1), false).await.unwrap();
    registry.set_subject_compatibility_level(subject, CompatibilityLevel::Full).await.unwrap();
    assert_eq!(registry.subject_compatibility_level(subject).await.unwrap(), Some(CompatibilityLevel::Full));
    let check = |text| async move {
        registry.check_compatibility(subject, Version::Latest, &Schema::avro(text)).await.unwrap()
    };
    assert!(check(V2).await.is_compatible);
    // Apicurio gives its reasons when registering alone.
    assert!(!check(INCOMPATIBLE).await.is_compatible);
    let error = registry.register(subject, &Schema::avro(INCOMPATIBLE), false).await.unwrap_err();
    assert!(error.is_incompatible(), "{error}");
    assert!(error.to_string().contains("price"), "{error}");

    let level = registry.compatibility_level().await.unwrap();
    registry.set_compatibility_level(CompatibilityLevel::ForwardTransitive).await.unwrap();
    assert_eq!(registry.compatibility_level().await.unwrap(), CompatibilityLevel::ForwardTransitive);
    registry.set_compatibility_level(level).await.unwrap();
}

async fn references(registry: &SchemaRegistry, run: &str) {
    let (money, payment) = (format!("{run}-money"), format!("{run}-payment"));
    let text =
        r#"{"type":"record","name":"Money","namespace":"shop","fields":[{"name":"cents","type":"long"}]}"#;
    registry.register(&money, &Schema::avro(text), false).await.unwrap();
    let text = r#"{"type":"record","name":"Payment","namespace":"shop","fields":[{"name":"sum","type":"shop.Money"}]}"#;
    let schema = Schema::avro(text).reference("shop.Money", &money, 1);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Money {
        cents: i64,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Payment {
        sum: Money,
    }
    let encoder =
        AvroEncoder::new(registry.clone(), schema.clone(), SubjectNameStrategy::TopicName).await.unwrap();
    let sent = Payment { sum: Money { cents: 995 } };
    let bytes = encoder.encode(&payment, Part::Value, &sent).await.unwrap();
    assert_eq!(bytes[5..], [0xc6, 0x0f]);
    let decoder = AvroDecoder::<Payment>::new(registry.clone(), Some(schema.clone())).await.unwrap();
    assert_eq!(decoder.decode(&bytes).await.unwrap(), sent);
    let found = registry.latest(&format!("{payment}-value")).await.unwrap();
    assert_eq!(found.schema.references, schema.references);
    assert_eq!(registry.referenced_by(&money, Version::Number(1)).await.unwrap(), [found.id]);
}

async fn evolution(registry: &SchemaRegistry, topic: &str) {
    let strategy = SubjectNameStrategy::TopicName;
    let old = AvroEncoder::new(registry.clone(), Schema::avro(V1), strategy).await.unwrap();
    let new = AvroEncoder::new(registry.clone(), Schema::avro(V2), strategy).await.unwrap();
    let old_order = OrderV1 { id: 1, item: "tea".to_owned() };
    let new_order = OrderV2 { id: 2, item: "jam".to_owned(), coupon_code: Some("SPRING".to_owned()) };
    let old_bytes = old.encode(topic, Part::Value, &old_order).await.unwrap();
    let new_bytes = new.encode(topic, Part::Value, &new_order).await.unwrap();

    let old_reader = AvroDecoder::<OrderV1>::new(registry.clone(), Some(Schema::avro(V1))).await.unwrap();
    let new_reader = AvroDecoder::<OrderV2>::new(registry.clone(), Some(Schema::avro(V2))).await.unwrap();
    assert_eq!(old_reader.decode(&old_bytes).await.unwrap(), old_order);
    assert_eq!(new_reader.decode(&new_bytes).await.unwrap(), new_order);
    assert_eq!(old_reader.decode(&new_bytes).await.unwrap(), OrderV1 { id: 2, item: "jam".to_owned() });
    let defaulted = OrderV2 { id: 1, item: "tea".to_owned(), coupon_code: None };
    assert_eq!(new_reader.decode(&old_bytes).await.unwrap(), defaulted);

    let latest = AvroEncoder::new(registry.clone(), Schema::avro(V1), strategy).await.unwrap();
    let latest = latest.options(EncoderOptions::default().use_latest_version(true));
    assert_eq!(latest.encode(topic, Part::Value, &new_order).await.unwrap(), new_bytes);

    let unknown = AvroEncoder::new(registry.clone(), Schema::avro(V2), strategy).await.unwrap();
    let unknown = unknown.options(EncoderOptions::default().auto_register(false));
    assert!(unknown.encode(topic, Part::Key, &new_order).await.unwrap_err().is_not_found());
    assert_eq!(unknown.encode(topic, Part::Value, &new_order).await.unwrap(), new_bytes);
}

async fn deletes(registry: &SchemaRegistry, subject: &str) {
    registry.register(subject, &Schema::avro(V1), false).await.unwrap();
    registry.register(subject, &Schema::avro(V2), false).await.unwrap();
    let early = registry.delete_version(subject, Version::Number(1), Deletion::Hard).await.unwrap_err();
    assert!(early.http_status().is_some(), "{early}");
    assert_eq!(registry.delete_version(subject, Version::Number(1), Deletion::Soft).await.unwrap(), 1);
    assert_eq!(registry.versions(subject).await.unwrap(), [2]);
    assert_eq!(registry.delete_version(subject, Version::Number(1), Deletion::Hard).await.unwrap(), 1);
    assert_eq!(registry.delete_subject(subject, Deletion::Soft).await.unwrap(), [2]);
    assert!(registry.latest(subject).await.unwrap_err().is_not_found());
    registry.delete_subject(subject, Deletion::Hard).await.unwrap();
    assert!(!registry.subjects().await.unwrap().contains(&subject.to_owned()));
}
