//! Java's own tools against the embedded broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{collections::BTreeSet, time::Duration};

use milena::{Client, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{BrokerId, Cluster},
};
use protocol_tests::external::{PATIENCE, java, lines, numbers, run, sorted, spawn};
use tokio::time::timeout;

async fn orders(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().brokers(3).topic("orders", partitions).start().await.unwrap()
}

fn written(broker: &EmbeddedBroker, partitions: i32) -> i64 {
    broker.with_cluster(|cluster, _| {
        (0..partitions).map(|partition| cluster.offsets("orders", partition).unwrap().end).sum()
    })
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_creates_and_deletes_topics() {
    let broker = orders(1).await;
    let topics = |arguments: &[&str]| {
        let mut command = java("TopicCommand");
        command.args(["--bootstrap-server", &broker.bootstrap()]).args(arguments);
        command
    };
    run(&mut topics(&["--create", "--topic", "made", "--partitions", "4", "--replication-factor", "2"]), "")
        .await;
    let listed = run(&mut topics(&["--list"]), "").await;
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["made", "orders"]);
    assert_eq!(broker.with_cluster(|cluster, _| cluster.leader("made", 3)), Some((BrokerId(1), 0)));
    run(&mut topics(&["--delete", "--topic", "made"]), "").await;
    assert_eq!(broker.with_cluster(|cluster, _| cluster.leader("made", 3)), None);
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_reads_what_it_wrote_in_both_group_protocols() {
    let broker = orders(6).await;
    let mut producer = java("ConsoleProducer");
    producer.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders"]);
    run(&mut producer, &numbers(0..2_000)).await;
    assert_eq!(written(&broker, 6), 2_000);
    for protocol in ["classic", "consumer"] {
        let consumer = |count: &str| {
            let mut command = java("consumer.ConsoleConsumer");
            command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders"]);
            command.args(["--group", protocol, "--max-messages", count]);
            command.args(["--command-property", &format!("group.protocol={protocol}")]);
            command.args(["--command-property", "auto.offset.reset=earliest"]);
            command
        };
        let mut read = run(&mut consumer("1500"), "").await;
        read += &run(&mut consumer("500"), "").await;
        assert_eq!(
            sorted(&read),
            (0..2_000).collect::<Vec<_>>(),
            "{protocol}: the second goes on where the first stopped"
        );
    }
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_consumers_hand_partitions_over() {
    let broker = EmbeddedBroker::builder()
        .brokers(3)
        .topic("orders", 4)
        .configure(|config| {
            config.consumer_heartbeat_interval = Duration::from_millis(500);
            config.consumer_session_timeout = Duration::from_secs(6);
        })
        .start()
        .await
        .unwrap();
    let consumer = || {
        let mut command = java("consumer.ConsoleConsumer");
        command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders", "--group", "g"]);
        command.args(["--command-property", "group.protocol=consumer"]);
        command.args(["--command-property", "auto.offset.reset=earliest"]);
        command.args(["--command-property", "auto.commit.interval.ms=100"]);
        spawn(&mut command)
    };
    let producer = Client::connect(broker.bootstrap()).await.unwrap().producer().build().unwrap();
    let feed = async |value: &'static str| {
        for partition in 0..4 {
            producer.send(Record::new("orders").partition(partition).value(value)).await.unwrap();
        }
    };
    let shares = async |expected: &[usize]| {
        let reached = async {
            loop {
                let assigned = broker.with_cluster(|cluster, _| cluster.assignments("g"));
                if assigned.values().map(BTreeSet::len).collect::<Vec<_>>() == expected {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {expected:?}"));
    };
    let mut first = consumer();
    feed("1").await;
    assert_eq!(lines(&mut first, 4).await, ["1", "1", "1", "1"]);
    let mut second = consumer();
    shares(&[2, 2]).await;
    feed("2").await;
    assert_eq!(lines(&mut second, 2).await, ["2", "2"], "the offsets came with the partitions");
    assert_eq!(lines(&mut first, 2).await, ["2", "2"]);
    let committed = async {
        let all = |cluster: &Cluster| {
            (0..4).all(|at| cluster.committed("g", "orders", at).is_some_and(|it| it.offset == 2))
        };
        while !broker.with_cluster(|cluster, _| all(cluster)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, committed).await.expect("the offsets are never committed");
    first.kill().await.unwrap();
    // Killed, it says no goodbye: its session has to end.
    shares(&[4]).await;
    feed("3").await;
    assert_eq!(lines(&mut second, 4).await, ["3", "3", "3", "3"]);
}
