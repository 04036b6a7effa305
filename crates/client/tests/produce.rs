//! The producer handle against the embedded broker, over TCP.

use std::time::Duration;

use milena::{Certainty, Client, Compression, ErrorCode, Record, SendError};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_written_where_the_answer_says() {
    let broker = EmbeddedBroker::builder().topic("letters", 3).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    let record = Record::new("letters").partition(1).key("k").value("v").header("h", "x");
    let first = producer.send(record.clone()).await.unwrap();
    let second = producer.send(record).await.unwrap();
    assert_eq!((first.partition, first.offset, second.offset), (1, Some(0), Some(1)));
    producer.close(SOON).await.unwrap();
    let refused = producer.send(Record::new("letters")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the record was not accepted: the producer is closed");
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_thousand_records_are_acknowledged_in_order() {
    let broker = EmbeddedBroker::builder().brokers(3).topic("letters", 6).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    for id in 0..5 {
        let compression = Compression::from_id(id).unwrap();
        let producer = client.producer().compression(compression).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..100_000u32 {
            let key = (number % 100).to_string();
            let record = Record::new("letters").key(key).value(number.to_string());
            deliveries.push(producer.enqueue(record).await.unwrap());
        }
        producer.flush().await.unwrap();
        let mut last = [-1; 6];
        for delivery in deliveries {
            let written = delivery.result().expect("flushed").unwrap();
            let last = &mut last[written.partition as usize];
            let offset = written.offset.unwrap();
            assert!(offset > *last);
            *last = offset;
        }
        producer.close(SOON).await.unwrap();
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_exist_is_named() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().max_block(Duration::from_millis(300)).build().unwrap();
    let error = producer.send(Record::new("nowhere").value("v")).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::NotWritten);
    assert!(matches!(error, SendError::Blocked { .. }));
    let text = error.to_string();
    assert!(text.contains("nowhere") && text.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{text}");
}

/// A broker without state of a producer takes any sequence number: if the second batch got through before the first,
/// the first could never be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_batch_that_fails_is_not_overtaken() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().batch_size(100).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..50 {
        deliveries
            .push(producer.enqueue(Record::new("letters").value(format!("{number:050}"))).await.unwrap());
    }
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        assert_eq!(delivery.await.unwrap().offset, Some(offset));
    }
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}
