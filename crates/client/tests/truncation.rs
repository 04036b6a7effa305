//! A log that is cut off when another leader is elected, and who has read what is gone (KIP-320).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{AutoOffsetReset, Client, Consumer, ConsumerError, Record, SeekTo, TopicPartition};
use milena_embedded_broker::{EmbeddedBroker, core::BrokerId};

const SOON: Duration = Duration::from_secs(20);

async fn write(client: &Client, word: &str, count: usize) {
    let producer = client.producer().build().unwrap();
    for number in 0..count {
        let record = Record::new("letters").partition(0).value(format!("{word} {number}"));
        producer.send(record).await.unwrap();
    }
    producer.close(SOON).await.unwrap();
}

async fn read(consumer: &Consumer, count: usize) -> Vec<(i64, String)> {
    let mut seen = Vec::new();
    let reading = async {
        while seen.len() < count {
            let records = consumer.poll(SOON).await.unwrap().unwrap();
            let value = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            seen.extend(records.iter().map(|record| (record.offset(), value(record.value().unwrap()))));
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{:?}", consumer.explain()));
    seen
}

/// The log loses what was written after offset 6, and gets other records in its place.
async fn cut_off_and_written_again(broker: &EmbeddedBroker, client: &Client) {
    broker.with_cluster(|cluster, now| {
        cluster.truncate(now, "letters", 0, 6).unwrap();
        cluster.move_leader(now, "letters", 0, BrokerId(2)).unwrap();
    });
    write(client, "new", 10).await;
}

async fn start() -> (EmbeddedBroker, Client, TopicPartition) {
    let broker = EmbeddedBroker::builder().brokers(3).topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    write(&client, "old", 10).await;
    (broker, client, TopicPartition::new("letters", 0))
}

/// F8: reading goes back to where the logs part: what took the place of what was read is read, and nothing is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_took_the_place_of_what_was_read_is_read() {
    let (broker, client, partition) = start().await;
    let consumer = client.consumer_without_group().assign([partition.clone()]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    assert_eq!(read(&consumer, 10).await.last().unwrap(), &(9, "old 9".to_owned()));
    cut_off_and_written_again(&broker, &client).await;
    let expected: Vec<_> = (0..10).map(|number| (6 + number, format!("new {number}"))).collect();
    assert_eq!(read(&consumer, 10).await, expected);
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// F8, F9: the same when nobody was reading: the commit has kept the epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_behind_the_cut_goes_back_to_it() {
    let (broker, client, partition) = start().await;
    let build = || {
        let consumer = client.consumer("readers").assign([partition.clone()]);
        consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
    };
    let first = build();
    assert_eq!(read(&first, 10).await.len(), 10);
    first.commit().await.unwrap();
    first.close(SOON).await.unwrap();
    cut_off_and_written_again(&broker, &client).await;
    let second = build();
    assert_eq!(read(&second, 10).await[0], (6, "new 0".to_owned()));
    second.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// F8: without a policy the application is told where the logs part, and decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_policy_the_application_is_told() {
    let (broker, client, partition) = start().await;
    let consumer = client.consumer_without_group().auto_offset_reset(AutoOffsetReset::None).build().unwrap();
    let from = milena::Position { offset: 0, leader_epoch: None };
    consumer.assign([(partition.clone(), Some(from))]).unwrap();
    assert_eq!(read(&consumer, 10).await.len(), 10);
    cut_off_and_written_again(&broker, &client).await;
    let error = tokio::time::timeout(SOON, async {
        loop {
            match consumer.poll(SOON).await {
                Ok(records) => assert!(records.unwrap().is_empty()),
                Err(error) => return error,
            }
        }
    });
    let error = error.await.unwrap();
    let ConsumerError::LogTruncated { offset: 10, end: Some(end @ 6), .. } = *error.kind() else {
        panic!("{error}")
    };
    assert!(!error.is_fatal());
    consumer.seek(&partition, SeekTo::Offset(end)).unwrap();
    assert_eq!(read(&consumer, 10).await[0], (6, "new 0".to_owned()));
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}
