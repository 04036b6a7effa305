//! Milena's client against the embedded broker as each of the older releases that it can imitate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::time::Duration;

use milena::{Client, Record};
use milena_embedded_broker::{EmbeddedBroker, core::KafkaVersion};

#[tokio::test]
async fn what_is_written_to_an_older_broker_is_read_again_in_a_group() {
    for version in KafkaVersion::ALL {
        let starting = EmbeddedBroker::builder()
            .brokers(2)
            .topic("orders", 2)
            .configure(|config| config.imitate(version))
            .start();
        let broker = starting.await.unwrap();
        let exchanged = tokio::time::timeout(Duration::from_secs(30), exchange(&broker)).await;
        assert_eq!(
            exchanged.unwrap_or_else(|_| panic!("{version:?}: never")),
            [0, 1, 2, 3, 4],
            "{version:?}"
        );
        broker.shutdown().await;
    }
}

/// Writes five records and reads them.
async fn exchange(broker: &EmbeddedBroker) -> Vec<u32> {
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    for value in 0..5u32 {
        let record = Record::new("orders").partition((value % 2) as i32).value(value.to_string());
        producer.send(record).await.unwrap();
    }
    let consumer = client.consumer("group").subscribe(["orders"]);
    let consumer = consumer.auto_offset_reset(milena::AutoOffsetReset::Earliest).build().unwrap();
    let mut read = Vec::new();
    while read.len() < 5 {
        let records = consumer.poll(Duration::from_secs(1)).await.unwrap().unwrap();
        for record in records.iter() {
            read.push(std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap());
        }
        consumer.commit().await.unwrap();
    }
    read.sort_unstable();
    read
}
