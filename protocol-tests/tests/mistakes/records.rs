//! Records that are not taken, and topics that are not there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use milena::{AutoOffsetReset, ErrorCode, Record, TopicPartition};
use milena_embedded_broker::{EmbeddedBroker, core::BrokerId};
use milena_protocol::ApiKey;

use super::{always, assert_told, broker, client, explained, send_refusal, stopped};

#[tokio::test]
async fn a_topic_that_is_not_there() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let record = Record::new("oders").value("an order");
    assert_told("unknown topic of a producer", &send_refusal(&client, record, |producer| producer).await);
    let record = Record::new("orders").partition(7).value("an order");
    assert_told("unknown partition of a producer", &send_refusal(&client, record, |producer| producer).await);
    let record = Record::new("or ders").value("an order");
    assert_told("no name of a topic", &send_refusal(&client, record, |producer| producer).await);
    let consumer = client.consumer_without_group().assign([TopicPartition::new("oders", 0)]).build().unwrap();
    assert_told("unknown topic of a consumer", &explained(&client, "UNKNOWN_TOPIC").await);
    drop(consumer);
}

#[tokio::test]
async fn a_record_that_is_too_large() {
    let starting = EmbeddedBroker::builder().topic_with("orders", 1, &[("max.message.bytes", "2000")]);
    let broker = starting.start().await.unwrap();
    let client = client(&broker).await;
    let record = || Record::new("orders").value(vec![b'x'; 5000]);
    let told = send_refusal(&client, record(), |producer| producer.max_request_size(4000)).await;
    assert_told("record larger than max_request_size", &told);
    assert_told(
        "record larger than the topic allows",
        &send_refusal(&client, record(), |producer| producer).await,
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let limit = [("message.timestamp.after.max.ms", "3600000")];
    let broker = EmbeddedBroker::builder().topic_with("orders", 1, &limit).start().await.unwrap();
    let tomorrow = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_hours(24);
    let record = Record::new("orders").value("an order").timestamp(tomorrow.as_millis() as i64);
    let told = send_refusal(&client(&broker).await, record, |producer| producer).await;
    assert_told("timestamp of a clock that is ahead", &told);
}

#[tokio::test]
async fn too_few_replicas() {
    let limit = [("min.insync.replicas", "2")];
    let broker = EmbeddedBroker::builder().brokers(2).topic_with("orders", 1, &limit).start().await.unwrap();
    let client = client(&broker).await;
    broker.stop_broker(BrokerId(2));
    let told = send_refusal(&client, Record::new("orders").value("v"), |producer| producer).await;
    assert_told("min.insync.replicas unmet", &told);
}

#[tokio::test]
async fn a_broker_that_is_too_old() {
    let broker = broker().configure(|config| {
        config.max_versions.insert(ApiKey::Produce, 2);
    });
    let broker = broker.start().await.unwrap();
    let told =
        send_refusal(&client(&broker).await, Record::new("orders").value("v"), |producer| producer).await;
    assert_told("broker that is too old", &told);
}

#[tokio::test]
async fn an_offset_that_is_not_there() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let consumer = client.consumer("readers").assign([TopicPartition::new("orders", 0)]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::None).build().unwrap();
    assert_told("no committed offset, and no reset", &stopped(&consumer).await);
    always(&broker, ApiKey::Fetch, ErrorCode::OFFSET_OUT_OF_RANGE);
    let consumer = client.consumer_without_group().assign([TopicPartition::new("orders", 0)]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::None).build().unwrap();
    consumer.seek(&TopicPartition::new("orders", 0), milena::SeekTo::Offset(7)).unwrap();
    assert_told("offset that is not in the log, and no reset", &stopped(&consumer).await);
}
