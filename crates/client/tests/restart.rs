//! Brokers that stop and start again under a producer and a consumer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{AutoOffsetReset, Client, GroupProtocol, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{BrokerId, ClusterConfig},
};

const PARTITIONS: i32 = 4;
const LETTERS: u32 = 4_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Each partition's numbers come once and in order, whatever the brokers do.
async fn everything_arrives_once_and_in_order(brokers: u16, protocol: GroupProtocol) {
    let quick = |config: &mut ClusterConfig| config.consumer_heartbeat_interval = Duration::from_millis(100);
    let broker = EmbeddedBroker::builder().brokers(brokers).configure(quick);
    let broker = broker.topic("letters", PARTITIONS).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();

    let producer = client.producer().batch_size(500).build().unwrap();
    let writing = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        for number in 0..LETTERS {
            let record = Record::new("letters").partition(number as i32 % PARTITIONS);
            deliveries.push(producer.enqueue(record.value(number.to_string())).await.unwrap());
            if number % 4 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        producer.flush().await.unwrap();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        producer.close(PATIENCE).await.unwrap();
    });

    let consumer = client
        .consumer("readers")
        .group_protocol(protocol)
        .heartbeat_interval(Duration::from_millis(100))
        .subscribe(["letters"])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let reader = consumer.clone();
    let reading = tokio::spawn(async move {
        let mut next: Vec<u32> = (0..PARTITIONS as u32).collect();
        while next.iter().any(|next| *next < LETTERS) {
            let records = reader.poll(Duration::from_secs(1)).await.unwrap().unwrap();
            for record in records.iter() {
                let number: u32 = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
                let next = &mut next[record.partition() as usize];
                assert_eq!(number, *next, "in partition {}", record.partition());
                *next += PARTITIONS as u32;
            }
            reader.commit_async().unwrap();
        }
    });

    let ids: Vec<BrokerId> = broker.with_cluster(|cluster, _| cluster.brokers().collect());
    for id in ids.iter().cycle().take(4) {
        tokio::time::sleep(Duration::from_millis(150)).await;
        broker.stop_broker(*id);
        tokio::time::sleep(Duration::from_millis(150)).await;
        broker.start_broker(*id);
    }
    tokio::time::timeout(PATIENCE, writing)
        .await
        .unwrap_or_else(|_| panic!("the producer is stuck"))
        .unwrap();
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| panic!("the consumer is stuck: {:#?}", consumer.explain())).unwrap();
    consumer.commit().await.unwrap();
    consumer.close(PATIENCE).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_that_restarts_loses_nothing() {
    everything_arrives_once_and_in_order(1, GroupProtocol::Auto).await;
    everything_arrives_once_and_in_order(1, GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_that_restart_in_turn_lose_nothing() {
    everything_arrives_once_and_in_order(3, GroupProtocol::Auto).await;
    everything_arrives_once_and_in_order(3, GroupProtocol::Classic).await;
}
