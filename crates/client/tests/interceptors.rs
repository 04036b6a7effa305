//! What a producer's interceptors see, and what it says of itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{Client, EnqueueError, ErrorCode, ProducerInterceptor, Record, SettledBatch};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(10);

/// Adds its letter to the value, and keeps what it is told.
struct Watcher {
    letter: u8,
    settled: Arc<Mutex<Vec<SettledBatch>>>,
}

impl ProducerInterceptor for Watcher {
    fn on_send(&self, record: &mut Record) {
        let mut value = record.parts().value.unwrap_or_default().to_vec();
        value.push(self.letter);
        *record = record.clone().value(value);
    }

    fn on_settled(&self, batch: &SettledBatch) {
        self.settled.lock().unwrap().push(batch.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interceptors_change_records_once_and_in_order_and_hear_of_every_batch() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let settled = Arc::default();
    let watcher = |letter| Watcher { letter, settled: Arc::clone(&settled) };
    let producer = client.producer().interceptor(watcher(b'a')).interceptor(watcher(b'b')).build().unwrap();
    // The topic is not known yet: the record has to wait, and is not changed again for that.
    producer.send(Record::new("letters").value("1")).await.unwrap();
    producer.try_enqueue(Record::new("letters").value("2")).unwrap().await.unwrap();
    let records = ["3", "4"].map(|value| Record::new("letters").value(value));
    producer.enqueue_all(&records).await.unwrap().all().await.unwrap();
    let refused = producer.try_enqueue(Record::new("letters").partition(9).value("5")).unwrap_err();
    assert_eq!(refused.record.parts().value, Some(&b"5"[..]), "it comes back as it was");
    assert!(matches!(refused.reason, EnqueueError::NoSuchPartition { .. }));
    broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
    let error = producer.send(Record::new("letters").value("6")).await.unwrap_err();
    producer.close(SOON).await.unwrap();

    let consumer = client.consumer_without_group();
    let consumer = consumer.assign([milena::TopicPartition::new("letters", 0)]);
    let consumer = consumer.auto_offset_reset(milena::AutoOffsetReset::Earliest).build().unwrap();
    let mut values = Vec::new();
    while values.len() < 4 {
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        assert!(!records.is_empty());
        values.extend(
            records.iter().map(|record| String::from_utf8_lossy(record.value().unwrap()).into_owned()),
        );
    }
    assert_eq!(values, ["1ab", "2ab", "3ab", "4ab"]);

    let settled: Vec<SettledBatch> = std::mem::take(&mut settled.lock().unwrap());
    assert!(settled.chunks(2).all(|heard| heard[0] == heard[1]), "both hear the same");
    let heard: Vec<_> = settled.iter().step_by(2).collect();
    let (good, bad): (Vec<_>, Vec<_>) = heard.into_iter().partition(|batch| batch.result.is_ok());
    assert_eq!(good.iter().map(|batch| batch.records).sum::<u64>(), 4);
    assert!(
        good.iter()
            .all(|batch| batch.bytes == Some(batch.uncompressed_bytes) && batch.opened.elapsed() < SOON)
    );
    assert_eq!((bad.len(), bad[0].records), (1, 1));
    let milena::SendError::NotAcknowledged(error) = error else { panic!("{error}") };
    assert_eq!(bad[0].result.as_ref().unwrap_err(), &error);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_counts_what_it_does() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().compression(milena::Compression::Lz4).build().unwrap();
    producer.send(Record::new("letters").value("x".repeat(1000))).await.unwrap();
    broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
    producer.send(Record::new("letters").value("y".repeat(1000))).await.unwrap();
    broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
    producer.send(Record::new("letters")).await.unwrap_err();
    let stats = producer.stats();
    let done = stats.done;
    assert_eq!((done.records_acknowledged, done.records_failed), (2, 1));
    assert_eq!((done.batches_sent, done.batches_resent, done.batches_split), (3, 1, 0));
    assert_eq!((done.requests_sent, done.requests_failed), (4, 0));
    assert!(done.uncompressed_bytes_sent > 2000 && done.bytes_sent < 1000, "{done:?}");
    assert_eq!((stats.buffered_records, stats.buffer_used, stats.requests_in_flight), (0, 0, 0));
    assert!(stats.buffer_idle > 0);

    broker.add_fault(Rule::new(ApiKey::Produce, Action::Delay(SOON)).times(u32::MAX));
    drop(producer.enqueue(Record::new("letters").value("z")).await.unwrap());
    assert_eq!((producer.stats().buffered_records, producer.stats().unsettled_batches), (1, 1));
    while producer.stats().requests_in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = producer.stats();
    assert_eq!((stats.buffered_records, stats.unsettled_batches), (0, 1));
    assert!(stats.buffer_used > 0);
    producer.close(Duration::ZERO).await.unwrap();
    assert_eq!(producer.stats().done.records_failed, 2);
    broker.shutdown().await;
}
