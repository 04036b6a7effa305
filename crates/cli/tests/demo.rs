//! The command as a person runs it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use milena::{AutoOffsetReset, Client, ConsumedRecord, Record};
use milena_embedded_broker::EmbeddedBroker;
use serde_json::Value;

fn milena(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milena")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The number that a claim of this name stands on.
fn count(report: &Value, claim: &str, what: &str) -> u64 {
    let claims = report["claims"].as_array().unwrap();
    let claim = claims.iter().find(|known| known["name"] == claim).unwrap();
    claim["counts"][what].as_u64().unwrap()
}

#[test]
fn the_demo_runs_by_itself_and_every_claim_holds() {
    let output = milena(&["demo", "--orders", "20000", "--payments", "1000", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{}{report:#}", stderr(&output));
    assert_eq!(report["produced"]["acknowledged"], 20_000);
    let groups = report["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inventory", "email", "analytics", "recommendations"]);
    for group in groups {
        assert_eq!(group["orders"], 20_000);
        for finding in ["lost", "duplicated", "out_of_order", "foreign", "moved"] {
            assert_eq!(group[finding], 0, "{group}");
        }
        assert_eq!(group["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), group["name"] != "recommendations");
    }
    assert_claims_stand_on_something(&report);
    assert_eq!(report["clean"], true);
}

/// A claim about nothing would hold as well.
fn assert_claims_stand_on_something(report: &Value) {
    for claim in report["claims"].as_array().unwrap() {
        assert_eq!(claim["holds"], true, "{claim:#}");
    }
    assert_eq!(count(report, "an unfit schema is refused", "is the status"), 409);
    assert_eq!(count(report, "late orders are reserved by retries", "reserved as planned"), 200);
    assert_eq!(count(report, "dead letters are what was sent", "as sent"), 80);
    assert_eq!(count(report, "every order is reserved in the end", "letters sent back"), 80);
    assert_eq!(count(report, "every order is reserved in the end", "reserved"), 20_000);
    assert_eq!(count(report, "payments are exactly once", "payments in 3 topics"), 1_000);
    assert!(count(report, "aborted payments are not seen", "aborted") > 0);
    assert!(count(report, "aborted payments are not seen", "of their records in the log") > 0);
    let (v1, v2) = (&report["produced"]["v1"], &report["produced"]["v2"]);
    assert_eq!(count(report, "analytics (v1) reads both schemas", "of v1"), *v1);
    assert_eq!(count(report, "analytics (v1) reads both schemas", "of v2"), *v2);
    // Orders, three retry topics, dead letters, three topics of payments.
    assert_eq!(count(report, "metrics count what was produced", "series"), 8);
    assert!(count(report, "metrics count what was consumed", "series") >= 13);
    assert_eq!(count(report, "no group is behind", "groups"), 5);
}

#[test]
fn the_report_for_people_ends_with_the_verdict() {
    let output = milena(&["demo", "--orders", "1000", "--compression", "gzip"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}{text}", stderr(&output));
    let holding = text.lines().filter(|line| line.starts_with("holds   ")).count();
    assert_eq!(text.lines().last(), Some(format!("all {holding} claims hold").as_str()), "{text}");
    assert!(!text.contains('\u{1b}'), "colours or bars in what is no terminal: {text}");
    let metrics = stderr(&output);
    assert!(metrics.starts_with("metrics are at http://127.0.0.1:"), "{metrics}");
}

/// Fewer orders than there are kinds of them.
#[test]
fn a_single_order_will_do() {
    let output = milena(&["demo", "--orders", "1", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(count(&report, "every order is reserved in the end", "reserved"), 1, "{report:#}");
}

#[test]
fn a_view_without_a_terminal_is_refused() {
    let output = milena(&["demo", "--watch"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "milena: --watch needs a terminal: standard input or output is none\n");
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    for url in ["http://127.0.0.1:1", "nowhere"] {
        let output = milena(&["demo", "--orders", "10", "--registry", url]);
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(text.contains(url), "{text}");
        assert!(text.ends_with("leave --registry out for one in this process\n"), "{text}");
    }
}

#[test]
fn metrics_on_a_port_that_is_taken_are_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = milena(&["demo", "--metrics", &port]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("serving metrics on 127.0.0.1:{port}")), "{}", stderr(&output));
}

/// One record is nobody's order, and an order that is to be paid is there twice: all who read see it, and say so.
#[tokio::test]
async fn what_somebody_else_writes_into_the_topic_fails_the_claims_with_numbers() {
    let broker = EmbeddedBroker::builder().start().await.unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["demo", "--bootstrap", &broker.bootstrap(), "--topic", "orders", "--json"]);
    command.args(["--orders", "6000", "--payments", "6000", "--rate", "1500", "--patience", "20"]);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();

    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let order = first_record(&client, "orders").await;
    let mut again =
        Record::new("orders").key(order.key().unwrap().clone()).value(order.value().unwrap().clone());
    for header in order.headers().iter() {
        again = again.header(str::from_utf8(header.name).unwrap(), header.value.unwrap().to_vec());
    }
    let producer = client.producer().build().unwrap();
    producer.send(again).await.unwrap();
    producer.send(Record::new("orders").key("cust-1").value("no order")).await.unwrap();

    let output = running.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["clean"], false);
    for group in report["groups"].as_array().unwrap() {
        let counts = ["orders", "lost", "duplicated", "foreign"].map(|what| group[what].as_u64().unwrap());
        assert_eq!(counts, [6_000, 0, 1, 1], "{group}");
    }
    assert_eq!(count(&report, "payments are exactly once", "repeated"), 3);
    let failed = report["claims"].as_array().unwrap().iter().filter(|claim| claim["holds"] == false);
    let failed: Vec<_> = failed.map(|claim| claim["name"].as_str().unwrap()).collect();
    for wanted in ["inventory sees every order", "email sees every order", "payments are exactly once"] {
        assert!(failed.contains(&wanted), "{failed:?}");
    }
}

/// Waits for the topic and its first record.
async fn first_record(client: &Client, topic: &str) -> ConsumedRecord {
    while client.admin().partition_count(topic).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let consumer = client.consumer("curious").subscribe([topic]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await.unwrap().unwrap();
        if let Some(record) = records.iter().next() {
            return record.to_record();
        }
    }
}

/// A cluster that is not there is no failed check (1) but a failure to run (2), with the reason in one line and a way
/// out in another.
#[test]
fn a_cluster_that_is_not_there_is_named() {
    let output = milena(&["demo", "--bootstrap", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.starts_with("milena: no broker can be reached: 127.0.0.1:1: can't connect"), "{text}");
    let advice = "try: start a broker with `milena broker`, or leave --bootstrap out; `milena doctor -b 127.0.0.1:1` tells how \
                  far one gets";
    assert_eq!(text.lines().nth(1), Some(advice), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");

    let output = milena(&["demo", "--bootstrap", "localhost"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("`localhost` has no port between 1 and 65535"), "{text}");
}

#[test]
fn nonsense_is_refused() {
    for arguments in [
        ["demo", "--orders", "0"],
        ["demo", "--orders", "18446744073709551615"],
        ["demo", "--compression", "rar"],
        ["demo", "--partitions", "0"],
    ] {
        assert_eq!(milena(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = milena(&["broker", "--port", &port]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains(&format!("broker 1 cannot listen on 127.0.0.1:{port}: ")), "{text}");
    assert!(text.ends_with("\ntry: take another port with --port; 0 takes a free one\n"), "{text}");

    let text = stderr(&milena(&["broker", "--port", "65534", "--brokers", "3"]));
    assert!(text.contains("3 brokers from port 65534 on would end at 65536, over 65535"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    let mut running = command.args(["demo", "--orders", "100"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(running.stdout.take());
    assert!(running.wait().unwrap().success());
}
