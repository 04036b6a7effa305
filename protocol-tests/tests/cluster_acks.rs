//! Producers that are content with less, on the real cluster. P17.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena::{Acks, BrokerId, Client, NewTopic, Producer, Record};
use protocol_tests::{
    cluster::Cluster,
    java::{self, PrintedRecord},
};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(30);
/// How long an election may take after a broker was killed: its session with the controller lasts 9 s.
const ELECTION: Duration = Duration::from_secs(60);

async fn topic(client: &Client, name: &str, partitions: i32) -> String {
    // The cluster keeps its data between two runs of a test by hand.
    let topic = format!("{name}-{}", std::process::id());
    let admin = client.admin();
    let new = NewTopic::new(topic.as_str()).partitions(partitions).replication_factor(3);
    admin.create_topic(new.config("max.message.bytes", "20000")).await.unwrap();
    while admin.partition_count(topic.as_str()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    topic
}

fn plain(client: &Client, acks: Acks) -> Producer {
    client.producer().acks(acks).idempotence(false).batch_size(2_000).build().unwrap()
}

fn read(cluster: &Cluster, topic: &str, count: usize) -> Vec<PrintedRecord> {
    let mut read = java::consume(&cluster.kafka_libs, &cluster.bootstrap, topic, count).unwrap();
    read.sort();
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn p17_java_reads_what_is_sent_with_less_than_acks_all() {
    const COUNT: usize = 3_000;
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    for acks in [Acks::All, Acks::Leader, Acks::None] {
        let topic = topic(&client, &format!("acks-{acks}"), 3).await;
        let producer = plain(&client, acks);
        let mut deliveries = Vec::new();
        for number in 0..COUNT {
            let record = Record::new(topic.as_str()).key("k").value(format!("{number:05}"));
            deliveries.push(producer.enqueue(record.partition((number % 3) as i32)).await.unwrap());
        }
        producer.close(SOON).await.unwrap();
        let read = read(&cluster, &topic, COUNT);
        let mut by_partition = BTreeMap::<i32, Vec<(i64, String)>>::new();
        for record in read {
            by_partition.entry(record.partition).or_default().push((record.offset, record.value));
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let (offset, value) = &by_partition[&((number % 3) as i32)][number / 3];
            assert_eq!(*value, format!("{number:05}"), "acks {acks}: sent in order, each once");
            let told = delivery.await.unwrap().offset;
            assert_eq!(told, (acks != Acks::None).then_some(*offset), "acks {acks}");
        }
        client.admin().delete_topic(topic.as_str()).await.unwrap();
    }
}

/// Kafka hangs up on what it refuses and does not answer; what comes after that is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn p17_with_acks_0_the_producer_goes_on_after_what_kafka_refuses() {
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "acks-0-refused", 1).await;
    let producer = plain(&client, Acks::None);
    let record = |value: String| Record::new(topic.as_str()).partition(0).value(value);
    for round in 0..3 {
        producer.send(record(format!("before {round}"))).await.unwrap();
        let refused = producer.send(record("x".repeat(30_000))).await.unwrap();
        assert_eq!(refused.offset, None, "sent, and not written");
        // What is sent before the end of the connection comes in is lost with it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        producer.send(record(format!("behind {round}"))).await.unwrap();
    }
    producer.close(SOON).await.unwrap();
    let values: Vec<_> = read(&cluster, &topic, 6).into_iter().map(|record| record.value).collect();
    assert_eq!(values, ["before 0", "behind 0", "before 1", "behind 1", "before 2", "behind 2"]);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn p17_with_acks_0_the_leader_that_takes_over_is_found() {
    const PROBES: usize = 200;
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "acks-0-leader", 1).await;
    let producer = plain(&client, Acks::None);
    let record = |value: String| Record::new(topic.as_str()).partition(0).value(value);
    let leader = async || {
        let described = client.admin().describe_topic(topic.as_str()).await.ok()?;
        described.partitions.first()?.leader
    };
    let Some(BrokerId(old)) = leader().await else { panic!("there is no leader") };
    let node = format!("kafka{old}");
    producer.send(record("first".into())).await.unwrap();
    cluster.break_node(&["kill", &node]).await.unwrap();
    let killed = Instant::now();
    let mut deliveries = Vec::new();
    let taken_over = loop {
        if deliveries.len() < 10_000 {
            deliveries.push(producer.enqueue(record("between".into())).await.unwrap());
        }
        match leader().await {
            Some(BrokerId(new)) if new != old => break true,
            _ if killed.elapsed() > ELECTION => break false,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    // What waited is sent, and whoever led no more is known.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for probe in 0..PROBES {
        deliveries.push(producer.enqueue(record(format!("probe {probe:03}"))).await.unwrap());
    }
    let closed = producer.close(SOON).await;
    let between = deliveries.len() - PROBES;
    let sent = |delivery: &&milena::Delivery| matches!(delivery.result(), Some(Ok(_)));
    let probes_sent = deliveries.iter().skip(between).filter(sent).count();
    cluster.break_node(&["start", &node]).await.unwrap();
    assert!(taken_over, "nobody has taken over");
    closed.unwrap();
    assert_eq!(probes_sent, PROBES);
    // How many of those between are there is anybody's guess; java gives up when no other has come for a while.
    let values = read(&cluster, &topic, deliveries.len() + 1).into_iter().map(|record| record.value);
    let probes: Vec<_> = values.filter(|value| value.starts_with("probe")).collect();
    let expected: Vec<_> = (0..PROBES).map(|probe| format!("probe {probe:03}")).collect();
    assert_eq!(probes, expected);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}
