//! `milena doctor` as a person runs it, against brokers in this process and what is none.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    process::Output,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use milena::{AutoOffsetReset, Client, Record};
use milena_embedded_broker::{EmbeddedBroker, core::SaslConfig};
use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn doctor(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.env("MILENA_PASSWORD", "guess").arg("doctor").args(words.split(' ')).output().await.unwrap()
}

/// What it says, and how it ends.
async fn said(words: String) -> (String, Option<i32>) {
    let output = doctor(&words).await;
    assert_eq!(text(&output.stderr), "");
    (text(&output.stdout), output.status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_good_health() {
    let broker = EmbeddedBroker::builder().brokers(2).topic("orders", 3).start().await.unwrap();
    let bootstrap = broker.bootstrap();
    let client = Client::connect(&bootstrap).await.unwrap();
    client.producer().build().unwrap().send(Record::new("orders").value("1")).await.unwrap();
    let consumer =
        client.consumer("billing").subscribe(["orders"]).auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer = consumer.build().unwrap();
    let records = consumer.poll(Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(records.iter().count(), 1);
    let (told, code) = said(format!("-b {bootstrap} --topic orders --group billing")).await;
    assert_eq!(code, Some(0), "{told}");
    let first = bootstrap.split(',').next().unwrap();
    for expected in [
        &format!("ok       bootstrap {first}: resolves to 127.0.0.1, connected in "),
        "ok       cluster: ",
        ", 2 brokers\n",
        &format!("ok       broker 1, advertised as {first}: resolves to 127.0.0.1, connected in "),
        "ok       versions: Produce ",
        "ok       topic orders: 3 partitions",
        "ok       group billing: Stable, 1 member, coordinator broker ",
        "ok       clock: no record of those looked at is ahead of it (newest in orders-",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in\n{told}");
    }
    consumer.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_with_what_to_do() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = i64::try_from(wall.as_millis()).unwrap() + 1_800_000;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("orders").value("1").timestamp(soon)).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let bootstrap = format!("no-such-host.invalid:9092,{nobody},{}", broker.bootstrap());
    let (told, code) =
        said(format!("-b {bootstrap} --topic orders --topic odrers --group biling --json")).await;
    assert_eq!(code, Some(1), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let check = |about: &str| checks.iter().find(|check| check["about"] == about).unwrap();
    let expect = |about: &str, health: &str, stage: Option<&str>, found: &str, advice: &str| {
        let check = check(about);
        assert_eq!(check["health"], health, "{check}");
        assert_eq!(check.get("stage").and_then(Value::as_str), stage, "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{found:?} is not in {check}");
        assert!(check["advice"].as_str().unwrap().contains(advice), "{advice:?} is not in {check}");
    };
    expect("bootstrap no-such-host.invalid:9092", "wrong", Some("DNS"), "can't be resolved", "getent hosts");
    expect(
        &format!("bootstrap {nobody}"),
        "wrong",
        Some("TCP"),
        "can't connect",
        "check that the broker runs",
    );
    expect("topic odrers", "wrong", None, "there is none", "milena topics create");
    expect("group biling", "wrong", None, "GROUP_ID_NOT_FOUND", "check the name");
    expect("clock", "doubtful", None, "the newest record of orders-0 is 17", "timedatectl");
    assert_eq!(check(&format!("bootstrap {}", broker.bootstrap()))["health"], "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_is_told_with_its_stage() {
    let sasl = SaslConfig::new([("alice", "secret")]);
    let broker =
        EmbeddedBroker::builder().configure(|config| config.sasl = Some(sasl)).start().await.unwrap();
    let bootstrap = broker.bootstrap();
    let (told, code) = said(format!("-b {bootstrap} --sasl-mechanism scram-sha-256 --user alice")).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains(&format!("WRONG    bootstrap {bootstrap}: failed at the stage SASL after ")),
        "{told}"
    );
    assert!(told.contains("refused the login by SCRAM-SHA-256"), "{told}");
    assert!(told.contains("\n         try: check mechanism, user and password"), "{told}");
    assert!(!told.contains("guess") && !told.contains("cluster"), "{told}");
}

#[tokio::test]
async fn options_that_cannot_be_are_said_so() {
    for (words, error, advice) in [
        ("-b here", "`here` has no port between 1 and 65535", "host:port, several separated by commas"),
        ("-b here:1 --sasl-mechanism plain --user alice", "PLAIN without TLS shows the password", "--tls"),
    ] {
        let output = doctor(words).await;
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
        let said = text(&output.stderr);
        assert!(said.contains(error) && said.contains("try: ") && said.contains(advice), "{said}");
    }
}
