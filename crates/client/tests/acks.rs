//! Producers that are content with less, against the embedded broker: what each kind of acks and the lack of idempotence
//! promises, and what it costs.
//!
//! The letter and number in a test's description is the row of the table of corner cases that it stands for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::time::Duration;

use milena::{
    Acks, BuildError, Client, EnqueueError, ErrorCode, NotEnqueued, Producer, ProducerBuilder, Record,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, BrokerId, Rule},
};
use milena_protocol::{
    ApiKey,
    records::{Batches, ReadOptions},
};

const SOON: Duration = Duration::from_secs(10);

async fn client(broker: &EmbeddedBroker) -> Client {
    Client::connect(broker.bootstrap()).await.unwrap()
}

fn plain(client: &Client, acks: Acks) -> ProducerBuilder {
    client.producer().acks(acks).idempotence(false)
}

/// A record in a batch of its own, so that what becomes of one is no other's fate.
fn letter(number: u32) -> Record {
    Record::new("letters").partition(0).value(format!("{number:05}"))
}

/// What is in the log, with the producer ids of its batches.
fn log(broker: &EmbeddedBroker) -> (Vec<String>, Vec<i64>) {
    let batches = broker.with_cluster(|cluster, _| cluster.batches("letters", 0));
    let (mut values, mut producers) = (Vec::new(), Vec::new());
    for batch in batches {
        let batch = Batches::new(batch).next().unwrap().unwrap();
        producers.push(batch.header().producer_id);
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        let value = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        values.extend(decoded.records().map(|record| value(record.unwrap().value().unwrap())));
    }
    (values, producers)
}

/// Waits until the log has so many records: with acks 0 nobody else says so.
async fn log_of(broker: &EmbeddedBroker, count: usize) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (values, producers) = log(broker);
        assert!(producers.iter().all(|producer| *producer == -1), "{producers:?}");
        if values.len() >= count {
            return values;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} records are there", values.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn letters(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{number:05}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_acks_all_and_1_records_have_offsets_and_no_id_is_asked_for() {
    for acks in [Acks::All, Acks::Leader] {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let refused = Action::Answer(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        broker.add_fault(Rule::new(ApiKey::InitProducerId, refused).times(u32::MAX));
        let client = client(&broker).await;
        let producer = plain(&client, acks).batch_size(100).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..500 {
            deliveries.push(producer.enqueue(letter(number)).await.unwrap());
        }
        for (delivery, offset) in deliveries.into_iter().zip(0..) {
            assert_eq!(delivery.await.unwrap().offset, Some(offset), "acks {acks}");
        }
        assert_eq!(log_of(&broker, 500).await, letters(0..500));
        producer.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// P17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_with_acks_0_records_are_sent_in_order_and_have_no_offsets() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = client(&broker).await;
    let producer = plain(&client, Acks::None).batch_size(100).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..2_000 {
        deliveries.push(producer.enqueue(letter(number)).await.unwrap());
    }
    producer.flush().await.unwrap();
    for delivery in deliveries {
        let told = delivery.result().expect("flushed").unwrap();
        assert_eq!((told.offset, told.log_append_time), (None, None));
    }
    // A close right behind them loses none of them.
    producer.close(SOON).await.unwrap();
    client.shutdown();
    assert_eq!(log_of(&broker, 2_000).await, letters(0..2_000));
    broker.shutdown().await;
}

/// P17: the broker refuses a batch by hanging up. It is lost, unless that came before the writer was done with it and it was
/// sent again; the ones behind find the new leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_with_acks_0_a_leader_that_moves_is_found_after_what_it_refused() {
    let broker = EmbeddedBroker::builder().brokers(2).topic("letters", 1).start().await.unwrap();
    let client = client(&broker).await;
    let producer = plain(&client, Acks::None).linger(Duration::ZERO).build().unwrap();
    producer.send(letter(0)).await.unwrap();
    log_of(&broker, 1).await;
    let to = broker.with_cluster(|cluster, now| {
        let (leader, _) = cluster.leader("letters", 0).unwrap();
        let to = if leader == BrokerId(1) { BrokerId(2) } else { BrokerId(1) };
        cluster.move_leader(now, "letters", 0, to).unwrap();
        to
    });
    assert_eq!(producer.send(letter(1)).await.unwrap().offset, None, "it is sent, and refused");
    // The end of the connection is on its way. What is sent before it is seen is lost, too.
    let deadline = tokio::time::Instant::now() + SOON;
    let mut next = 2;
    while log(&broker).0.len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "broker {to} is not found");
        producer.send(letter(next)).await.unwrap();
        next += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (values, _) = log(&broker);
    assert_eq!(values[0], "00000");
    assert!(values.is_sorted_by(|before, after| before < after), "{values:?}");
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// P17, P11: what a broker does not read fills the buffer, no further, and goes out when it reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_with_acks_0_a_broker_that_does_not_read_holds_the_producer_up() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = client(&broker).await;
    let producer = plain(&client, Acks::None)
        .batch_size(256 << 10)
        .buffer_memory(4 << 20)
        .linger(Duration::ZERO)
        .build();
    let producer = producer.unwrap();
    producer.send(Record::new("letters").value("first")).await.unwrap();
    broker.pause_broker(BrokerId(1));
    let large = Record::new("letters").value(vec![b'x'; 200 << 10]);
    let mut deliveries = Vec::new();
    // The sockets take some of it, and what they don't take stays in the buffer.
    while let Ok(accepted) = tokio::time::timeout(SOON / 20, producer.enqueue(large.clone())).await {
        deliveries.push(accepted.unwrap());
        assert!(deliveries.len() < 2_000, "nothing holds it up");
    }
    assert!(matches!(
        producer.try_enqueue(&large),
        Err(NotEnqueued { reason: EnqueueError::BufferFull(_), .. })
    ));
    let held = deliveries.iter().filter(|delivery| delivery.result().is_none()).count();
    assert!((10..=20).contains(&held), "{held} of {}", deliveries.len());
    broker.resume_broker(BrokerId(1));
    let count = deliveries.len() + 1;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(log_of(&broker, count).await.len(), count);
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// Sends a record, and has the leader die at once, before its follower has it.
async fn leader_dies_after(build: impl FnOnce(&Client) -> ProducerBuilder) -> (Option<i64>, Vec<String>) {
    let broker = EmbeddedBroker::builder()
        .brokers(2)
        .topic("letters", 1)
        .configure(|config| config.replication_interval = Duration::from_millis(300))
        .start()
        .await
        .unwrap();
    let client = client(&broker).await;
    let producer = build(&client).linger(Duration::ZERO).build().unwrap();
    let delivery = producer.enqueue(letter(0)).await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    while delivery.result().is_none() && log(&broker).0.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it is not sent");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    broker.with_cluster(|cluster, now| {
        let (leader, _) = cluster.leader("letters", 0).unwrap();
        cluster.kill_broker(now, leader);
    });
    let told = delivery.await.unwrap();
    let values = log(&broker).0;
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
    (told.offset, values)
}

/// What the documentation of [`Acks`] says that each of them costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_leader_had_is_lost_with_it() {
    let (offset, values) = leader_dies_after(|client| plain(client, Acks::Leader)).await;
    assert_eq!((offset, values), (Some(0), Vec::new()), "acknowledged, and gone");
    let (offset, values) = leader_dies_after(Client::producer).await;
    assert_eq!((offset, values), (Some(0), letters(0..1)));
}

async fn answer_is_lost(producer: &Producer, broker: &EmbeddedBroker) -> Vec<String> {
    broker.add_fault(Rule::new(ApiKey::Produce, Action::CloseAfter));
    producer.send(letter(0)).await.unwrap();
    producer.close(SOON).await.unwrap();
    log(broker).0
}

/// What the documentation of [`ProducerBuilder::idempotence`] says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_idempotence_a_lost_answer_makes_a_duplicate() {
    for (is_idempotent, copies) in [(true, 1), (false, 2)] {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let client = client(&broker).await;
        let producer = client.producer().idempotence(is_idempotent).build().unwrap();
        assert_eq!(answer_is_lost(&producer, &broker).await, vec!["00000"; copies]);
        broker.shutdown().await;
    }
}

/// Retries, with one in flight: the order is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_idempotence_one_in_flight_keeps_the_order_through_retries() {
    for acks in [Acks::All, Acks::Leader] {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let refused = Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        broker.add_fault(Rule::new(ApiKey::Produce, refused).one_in(3).times(u32::MAX));
        let client = client(&broker).await;
        let millisecond = Duration::from_millis(1);
        let producer = plain(&client, acks).max_in_flight(1).batch_size(400);
        let producer = producer.retry_backoff(millisecond, millisecond).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..300 {
            deliveries.push(producer.enqueue(letter(number)).await.unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        assert_eq!(log_of(&broker, 300).await, letters(0..300), "acks {acks}");
        producer.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_contradict_each_other_are_refused_by_name() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let client = client(&broker).await;
    for acks in [Acks::Leader, Acks::None] {
        let refused = client.producer().acks(acks).build().unwrap_err();
        assert!(matches!(refused, BuildError::Producer(_)));
        let text = refused.to_string();
        assert!(
            text.starts_with(&format!("the producer can't be built: acks is {acks}; an idempotent")),
            "{text}"
        );
        let configure = |builder: ProducerBuilder| builder.acks(acks).idempotence(false);
        let refused =
            client.transactional_producer("payments").configure(configure).build().await.unwrap_err();
        assert!(refused.to_string().contains(&format!("acks is {acks}; a transaction")), "{refused}");
    }
    let configure = |builder: ProducerBuilder| builder.idempotence(false);
    let refused = client.transactional_producer("payments").configure(configure).build().await.unwrap_err();
    assert!(refused.to_string().contains("idempotence is off"), "{refused}");
    broker.shutdown().await;
}
