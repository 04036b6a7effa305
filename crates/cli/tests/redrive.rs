//! `milena redrive` as a person and a script run it, against a broker in this process.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    process::{Command, Output},
    time::Duration,
};

use milena::{AutoOffsetReset, Client, ConsumedRecord, Consumer, IsolationLevel, Record};
use milena_embedded_broker::EmbeddedBroker;
use serde_json::{Value, json};
use tokio::time::timeout;

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

fn object(words: &str, bootstrap: &str) -> Value {
    serde_json::from_str(&told(&format!("{words} --json"), bootstrap)).unwrap()
}

/// Runs a command that fails before it does anything: what it says.
fn refused(words: &str, bootstrap: &str) -> String {
    let output = milena(words, bootstrap);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{words}");
    text(&output.stderr)
}

/// A broker with five letters of orders, as `DeadLetters` writes them.
async fn letters() -> (EmbeddedBroker, Client) {
    let broker = EmbeddedBroker::builder().topic("orders", 2).topic("orders.dlq", 2).topic("other", 1);
    let broker = broker.start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    for number in 0..5 {
        let letter = Record::new("orders.dlq").key(format!("key-{number}")).value(vec![0, 0xff, number]);
        let letter = letter.header("source", "shop").header("milena.origin.topic", "elsewhere");
        let letter = letter.header("milena.origin.partition", "0").header("milena.origin.offset", "7");
        let letter = letter.header("milena.origin.timestamp", "1700000000000");
        producer.send(letter.header("milena.origin.tries", "3")).await.unwrap();
    }
    (broker, client)
}

/// So many committed records, and no more.
async fn read(client: &Client, topic: &str, partitions: i32, count: usize) -> Vec<ConsumedRecord> {
    let partitions = (0..partitions).map(|partition| milena::TopicPartition::new(topic, partition));
    let consumer = client.consumer_without_group().assign(partitions);
    let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let mut read = Vec::new();
    while read.len() < count {
        let polled = timeout(SOON, consumer.poll(SOON)).await.unwrap().unwrap().unwrap();
        read.extend(polled.iter().map(|record| record.to_record()));
    }
    let more = consumer.poll(Duration::from_millis(200)).await.unwrap().unwrap();
    assert!(more.is_empty(), "{topic} has more than {count}");
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_counted_and_then_sent_back_once() {
    let (broker, client) = letters().await;
    let bootstrap = broker.bootstrap();
    assert_eq!(
        told("redrive orders.dlq", &bootstrap),
        "5 letters of orders.dlq would be sent back to orders; nothing was sent (--execute sends)\n"
    );
    let expected = |letters: u64, sent: bool| {
        json!({
            "topic": "orders.dlq", "to": "orders", "group": "orders.dlq.redrive", "letters": letters, "sent": sent,
            "interrupted": false,
        })
    };
    assert_eq!(object("redrive orders.dlq", &bootstrap), expected(5, false));
    assert_eq!(object("redrive orders.dlq --limit 2", &bootstrap), expected(2, false));
    read(&client, "orders", 2, 0).await;
    assert_eq!(object("redrive orders.dlq --limit 1 --execute", &bootstrap), expected(1, true));
    assert_eq!(
        told("redrive orders.dlq --execute", &bootstrap),
        "4 letters of orders.dlq sent back to orders\n"
    );
    assert_eq!(object("redrive orders.dlq --execute", &bootstrap), expected(0, true));
    let mut back = read(&client, "orders", 2, 5).await;
    back.sort_by_key(|record| record.value().cloned());
    for (number, record) in (0..).zip(&back) {
        assert_eq!(record.key().unwrap(), format!("key-{number}").as_bytes());
        assert_eq!(record.value().unwrap(), [0, 0xff, number].as_slice());
        assert_eq!(record.timestamp(), 1_700_000_000_000);
        let names: Vec<_> = record.headers().into_iter().map(|header| header.name.to_vec()).collect();
        assert_eq!(names, [b"source".to_vec()]);
    }
    // Another group has sent nothing back, and another topic has them too.
    let again = object("redrive orders.dlq --group again --to other --execute", &bootstrap);
    assert_eq!(
        (&again["letters"], &again["group"], &again["to"]),
        (&json!(5), &json!("again"), &json!("other"))
    );
    read(&client, "other", 1, 5).await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_back_is_said_with_what_to_do() {
    let (broker, client) = letters().await;
    let bootstrap = broker.bootstrap();
    let said = refused("redrive orders", &bootstrap);
    assert!(said.starts_with("milena: orders does not end with .dlq") && said.contains("--to"), "{said}");
    let said = refused("redrive orders.dlq --to orders.dlq", &bootstrap);
    assert!(said.contains("come again with every run\ntry: name the topic"), "{said}");
    let said = refused("redrive order.dlq", &bootstrap);
    assert_eq!(
        said,
        "milena: the cluster has no topic order.dlq\ntry: one that is close to it: orders.dlq, orders\n"
    );
    let said = refused("redrive orders.dlq --to odrers --execute", &bootstrap);
    assert!(said.starts_with("milena: the cluster has no topic odrers\ntry: "), "{said}");
    assert!(refused("redrive orders.dlq --limit 0", &bootstrap).contains("--limit"));

    let reader: Consumer = client.consumer("readers").subscribe(["orders.dlq"]).build().unwrap();
    timeout(SOON, async {
        while reader.assignment().is_empty() {
            reader.poll(Duration::from_millis(50)).await.unwrap();
        }
    })
    .await
    .unwrap();
    let said = refused("redrive orders.dlq --group readers --execute", &bootstrap);
    assert!(said.contains("the group readers has 1 member,") && said.contains("stop them first"), "{said}");
    reader.close(SOON).await.unwrap();
    read(&client, "orders", 2, 0).await;
    broker.shutdown().await;
}
