//! Waits without end are settings like any other.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{AutoOffsetReset, BuildError, Client, Record, TopicPartition};
use milena_embedded_broker::EmbeddedBroker;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_and_a_consumer_may_wait_for_ever() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = Client::builder(broker.bootstrap()).setup_timeout(Duration::MAX).connect().await.unwrap();
    let producer = client
        .producer()
        .linger(Duration::MAX)
        .delivery_timeout(Duration::MAX)
        .request_timeout(Duration::MAX)
        .retry_backoff(Duration::MAX, Duration::MAX)
        .max_block(Duration::MAX)
        .build()
        .unwrap();
    let delivery = producer.enqueue(Record::new("letters").value("v")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(delivery.result().unwrap().unwrap().offset, Some(0));
    producer.close(Duration::MAX).await.unwrap();

    let by_hand = client.consumer_without_group().assign([TopicPartition::new("letters", 0)]);
    let grouped = client.consumer("readers").subscribe(["letters"]).max_poll_interval(Duration::MAX);
    for consumer in [by_hand, grouped] {
        let consumer = consumer
            .request_timeout(Duration::MAX)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .unwrap();
        let records = tokio::time::timeout(SOON, consumer.poll(Duration::MAX)).await;
        assert_eq!(records.unwrap().unwrap().unwrap().len(), 1);
        consumer.close(Duration::MAX).await.unwrap();
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn what_the_wire_cannot_carry_is_refused_at_build() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    for refused in [
        client.consumer("readers").session_timeout(Duration::MAX).build(),
        client.consumer("readers").heartbeat_interval(Duration::MAX).build(),
        client.consumer("readers").fetch_max_wait(Duration::MAX).build(),
    ] {
        assert!(matches!(refused, Err(BuildError::Consumer(_))));
    }
}

/// Memory comes back only from what is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_buffer_does_not_linger() {
    let broker = EmbeddedBroker::builder().topic("letters", 8).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client
        .producer()
        .linger(Duration::from_secs(3600))
        .delivery_timeout(Duration::from_secs(7200))
        .buffer_memory(64 * 1024)
        .batch_size(32 * 1024)
        .max_block(Duration::from_secs(5))
        .build()
        .unwrap();
    for number in 0..200 {
        let record = Record::new("letters").partition(number % 8).value(vec![b'x'; 1000]);
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}
