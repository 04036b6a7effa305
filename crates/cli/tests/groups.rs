//! `milena topics`, `groups`, `lag` and `offsets` as a script runs them, against brokers in this process.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use milena::{AutoOffsetReset, Client, Position, Record, TopicPartition};
use milena_embedded_broker::EmbeddedBroker;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn milena(words: &str, bootstrap: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(words.split(' ')).args(["-b", bootstrap]).output().unwrap()
}

/// Runs a command that succeeds: what it prints.
fn told(words: &str, bootstrap: &str) -> String {
    let output = milena(words, bootstrap);
    assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that fails before it does anything: what it says.
fn refused(words: &str, bootstrap: &str) -> String {
    let output = milena(words, bootstrap);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{words}");
    text(&output.stderr)
}

fn objects(words: &str, bootstrap: &str) -> Vec<Value> {
    told(words, bootstrap).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_changed_and_deleted() {
    let broker = EmbeddedBroker::builder().start().await.unwrap();
    let bootstrap = broker.bootstrap();
    told("topics create orders --partitions 2 --set retention.ms=60000", &bootstrap);
    assert_eq!(
        told("topics list", &bootstrap),
        "TOPIC   PARTITIONS  REPLICAS\norders           2         1\n"
    );
    told("topics grow orders --partitions 3", &bootstrap);
    told("topics set orders retention.ms=70000 cleanup.policy=compact", &bootstrap);
    let described = told("topics describe orders", &bootstrap);
    assert!(described.ends_with("cleanup.policy=compact\nretention.ms=70000\n"), "{described}");
    let [described] = &objects("topics describe orders --json", &bootstrap)[..] else { unreachable!() };
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    let said = refused("topics describe ordesr", &bootstrap);
    assert_eq!(said, "milena: the cluster has no topic ordesr\ntry: one that is close to it: orders\n");
    let deleted = objects("topics delete orders --json", &bootstrap);
    assert_eq!(deleted, [json!({ "topic": "orders", "deleted": true })]);
    assert!(objects("topics list --json", &bootstrap).is_empty());
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_looked_at_set_back_and_deleted() {
    let broker = EmbeddedBroker::builder().topic("orders", 2).start().await.unwrap();
    let bootstrap = broker.bootstrap();
    let client = Client::connect(&bootstrap).await.unwrap();
    let producer = client.producer().build().unwrap();
    for number in 0..10 {
        let record = Record::new("orders").partition(0).value("v").timestamp(1000 * number);
        producer.send(record).await.unwrap();
    }
    let consumer = client
        .consumer("readers")
        .subscribe(["orders"])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut read = 0;
    while read < 10 {
        read += consumer.poll(SOON).await.unwrap().unwrap().len();
    }
    consumer.commit().await.unwrap();
    producer.send(Record::new("orders").partition(0).value("v")).await.unwrap();
    let [listed] = &objects("groups list --json", &bootstrap)[..] else { unreachable!() };
    assert_eq!((&listed["group"], &listed["state"]), (&json!("readers"), &json!("Stable")));
    let lags = objects("lag readers --json", &bootstrap);
    assert_eq!((&lags[0]["committed"], &lags[0]["lag"]), (&json!(10), &json!(1)));
    assert!(lags[0]["member"].is_string());
    let said = refused("offsets reset readers --topic orders --to earliest", &bootstrap);
    assert!(said.contains("has 1 member,") && said.contains("stop them first"), "{said}");
    assert!(refused("groups delete readers", &bootstrap).contains("stop the members"));
    consumer.close(SOON).await.unwrap();
    // The dry run changes nothing, and says the same as what follows.
    for (words, is_set) in [(" --dry-run", false), ("", true)] {
        let words = format!("offsets reset readers --topic orders:0 --to @3500 --json{words}");
        let expected = json!({
            "group": "readers", "topic": "orders", "partition": 0, "before": 10, "after": 4, "set": is_set,
            "error": null,
        });
        assert_eq!(objects(&words, &bootstrap), [expected]);
    }
    // Beyond the end is the end.
    let moved = objects("offsets reset readers --topic orders:0 --to +100 --json", &bootstrap);
    assert_eq!(moved[0]["after"], json!(11));
    let table = told("offsets reset readers --topic orders:0 --to -1", &bootstrap);
    assert_eq!(table, "TOPIC   PARTITION  BEFORE  AFTER\norders          0      11     10\n");
    assert!(refused("offsets reset readers --topic orders:7 --to 0", &bootstrap).contains("no partition 7"));
    assert!(refused("lag reader", &bootstrap).contains("one that is close to it: readers"));
    told("groups delete readers", &bootstrap);
    assert!(objects("groups list --json", &bootstrap).is_empty());
    broker.shutdown().await;
}

/// Two looks with something new between them, and an interrupt.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lag_that_is_watched_is_told_again_until_an_interrupt() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let partition = TopicPartition::new("orders", 0);
    let start = Position { offset: 0, leader_epoch: None };
    client.admin().alter_group_offsets("readers", [(partition, start.into())]).await.unwrap();
    let mut watching = tokio::process::Command::new(env!("CARGO_BIN_EXE_milena"))
        .args(["lag", "readers", "--watch=1", "--json", "-b", &broker.bootstrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut look = async || {
        let line = timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["lag"].as_i64()
    };
    assert_eq!(look().await, Some(0));
    client.producer().build().unwrap().send(Record::new("orders").value("v")).await.unwrap();
    // The second look may have been on its way.
    assert!(look().await == Some(1) || look().await == Some(1));
    let id = watching.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = timeout(SOON, watching.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    broker.shutdown().await;
}
