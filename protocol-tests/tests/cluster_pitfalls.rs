//! What breaks other producers, provoked on the real cluster in seconds: a proxy between our client and the brokers loses
//! and holds what is needed for it, and the brokers do the rest. What takes minutes is in `faults_pitfalls`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

#[path = "cluster_pitfalls/leaders.rs"]
mod leaders;
#[path = "cluster_pitfalls/offsets.rs"]
mod offsets;
#[path = "cluster_pitfalls/producer_ids.rs"]
mod producer_ids;
#[path = "cluster_pitfalls/retries.rs"]
mod retries;
#[path = "cluster_pitfalls/transactions.rs"]
mod transactions;

use milena::{Certainty, Delivery, Producer, RecordMetadata};
use milena_protocol::{
    ErrorCode,
    messages::{Request, Response},
};
use protocol_tests::{
    proxy::Act,
    stage::{Sent, Stage, until_in_flight, within},
};

/// The broker gets a batch that was damaged on the way, and refuses it as something that passes.
const CORRUPT: Act = Act::Change(corrupt, |_| {});

fn corrupt(request: &mut Request) {
    let Request::Produce(produce) = request else { panic!("{request:?}") };
    let damage = |records: &bytes::Bytes| {
        let mut bytes = records.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.into()
    };
    let topics = produce.topic_data.iter().map(|mut topic| {
        let partitions = topic.partition_data.iter().map(|mut partition| {
            partition.records = partition.records.as_ref().map(damage);
            partition
        });
        topic.partition_data = partitions.collect();
        topic
    });
    produce.topic_data = topics.collect();
}

/// The answer says that the batch is in the log, as its second record.
fn acknowledge(response: &mut Response) {
    let Response::Produce(produce) = response else { panic!("{response:?}") };
    for said in produce.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
        assert_eq!(said.error_code, ErrorCode::CORRUPT_MESSAGE.0);
        (said.error_code, said.error_message, said.base_offset) = (0, None, 1);
    }
}

/// Sends a record that becomes a batch, and a request, of its own.
async fn enqueue(stage: &Stage, producer: &Producer, partition: i32, value: &str) -> Delivery {
    let in_flight = producer.stats().requests_in_flight;
    let delivery = within(producer.enqueue(stage.record(partition, value))).await.unwrap();
    until_in_flight(producer, in_flight + 1).await;
    delivery
}

/// Sends a record and waits until it is written.
async fn send(stage: &Stage, producer: &Producer, partition: i32, value: &str) -> RecordMetadata {
    within(producer.send(stage.record(partition, value))).await.unwrap()
}

/// The record may be in the log, and nobody tries for it any more.
async fn is_given_up(delivery: Delivery) {
    let error = within(delivery).await.unwrap_err();
    assert_eq!(error.certainty, Certainty::MaybeWritten, "{error}");
}

/// The batches of a partition.
fn of_partition(sent: &[Sent], partition: i32) -> Vec<Sent> {
    sent.iter().filter(|batch| batch.partition == partition).cloned().collect()
}

/// The producer that all of the batches are of.
#[track_caller]
fn one_producer(sent: &[Sent]) -> (i64, i16) {
    let producer = sent[0].producer;
    assert!(sent.iter().all(|batch| batch.producer == producer), "{sent:?}");
    producer
}

fn sequences(sent: &[Sent]) -> Vec<i32> {
    sent.iter().map(|batch| batch.base_sequence).collect()
}
