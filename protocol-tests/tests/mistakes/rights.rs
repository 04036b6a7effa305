//! Rights that the user does not have, as the codes of a broker tell of them. `secured_broker_mistakes` asks a real one.

use milena::{AutoOffsetReset, ErrorCode, Record, TopicPartition};
use milena_protocol::ApiKey;

use super::{always, assert_told, broker, client, send_refusal, stopped};

#[tokio::test]
async fn to_write() {
    let record = || Record::new("orders").value("an order");
    let cluster = broker().start().await.unwrap();
    always(&cluster, ApiKey::InitProducerId, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    assert_told(
        "no IdempotentWrite",
        &send_refusal(&client(&cluster).await, record(), |producer| producer).await,
    );
    let topic = broker().start().await.unwrap();
    always(&topic, ApiKey::Produce, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert_told(
        "no Write on the topic",
        &send_refusal(&client(&topic).await, record(), |producer| producer).await,
    );
    let broker = broker().start().await.unwrap();
    always(&broker, ApiKey::InitProducerId, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let error = client(&broker).await.transactional_producer("payments").build().await.unwrap_err();
    assert_told("no Write on the transactional id", &error);
}

#[tokio::test]
async fn to_read() {
    let topic = broker().start().await.unwrap();
    always(&topic, ApiKey::Fetch, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let consumer = client(&topic).await.consumer_without_group().assign([TopicPartition::new("orders", 0)]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    assert_told("no Read on the topic", &stopped(&consumer).await);
    let broker = broker().start().await.unwrap();
    always(&broker, ApiKey::ConsumerGroupHeartbeat, ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let consumer = client(&broker).await.consumer("readers").subscribe(["orders"]).build().unwrap();
    assert_told("no Read on the group", &stopped(&consumer).await);
}
