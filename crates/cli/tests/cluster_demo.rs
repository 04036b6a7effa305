//! The demo on the real cluster, whole and with a broker that dies under it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use protocol_tests::{
    cluster::Cluster,
    java::{self, Isolation},
};
use serde_json::Value;

fn demo(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["demo", "--json", "--bootstrap", &cluster.bootstrap]).args(arguments);
    command
}

/// Every claim holds, those about groups with every order seen once: each group is one member, which outlives a broker.
fn assert_clean(report: &Value, orders: u64) {
    for claim in report["claims"].as_array().unwrap() {
        assert_eq!(claim["holds"], true, "{report:#}");
    }
    assert_eq!(report["clean"], true, "{report:#}");
    assert_eq!(report["produced"]["acknowledged"], orders);
    for group in report["groups"].as_array().unwrap() {
        let counts =
            ["orders", "lost", "duplicated", "out_of_order"].map(|count| group[count].as_u64().unwrap());
        assert_eq!(counts, [orders, 0, 0, 0], "{group}");
    }
}

#[test]
#[ignore = "needs the cluster"]
fn the_demo_is_clean_and_java_reads_every_order_and_payment() {
    let cluster = Cluster::from_env().unwrap();
    let output = demo(&cluster, &["--orders", "50000"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_clean(&report, 50_000);
    assert!(output.status.success());

    let topic = report["topic"].as_str().unwrap();
    java_reads_orders(&cluster, topic, 50_000);
    for book in ["payments", "status", "accounting"] {
        java_reads_payments(&cluster, &format!("{topic}.{book}"), 2_000);
    }
}

/// Values are Avro, which is nothing to print: keys and headers tell which order it is.
fn java_reads_orders(cluster: &Cluster, topic: &str, count: usize) {
    let most = count.to_string();
    let mut arguments = vec!["--bootstrap-server", &cluster.bootstrap, "--topic", topic, "--from-beginning"];
    arguments.extend(["--max-messages", &most, "--timeout-ms", "30000"]);
    for property in ["print.key=true", "print.headers=true", "print.value=false"] {
        arguments.extend(["--formatter-property", property]);
    }
    let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let printed = java::run(&cluster.kafka_libs, class, &arguments, "").unwrap();
    let mut seen = vec![false; count];
    for line in printed.lines() {
        let (headers, key) = line.split_once('\t').unwrap();
        let names: Vec<_> = headers.split(',').map(|header| header.split_once(':').unwrap()).collect();
        assert_eq!(
            names.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["sentAt", "run", "orderId", "source"]
        );
        let (id, source) = (names[2].1, names[3].1);
        let customer: u32 = key.strip_prefix("cust-").unwrap().parse().unwrap();
        assert_eq!(source, ["order-service-v1", "order-service-v2"][customer as usize % 2]);
        let id: usize = id.parse().unwrap();
        assert!(!std::mem::replace(&mut seen[id], true), "Java has read order {id} twice");
    }
    assert!(seen.into_iter().all(|seen| seen));
}

/// A consumer of committed records sees every payment once, and one of all records sees more.
fn java_reads_payments(cluster: &Cluster, topic: &str, payments: usize) {
    let (libs, bootstrap) = (&cluster.kafka_libs, &cluster.bootstrap);
    let committed = java::consume_at(libs, bootstrap, topic, Isolation::Committed, payments).unwrap();
    let order = |record: &java::PrintedRecord| {
        serde_json::from_str::<Value>(&record.value).unwrap()["orderId"].as_u64().unwrap()
    };
    let orders: BTreeSet<_> = committed.iter().map(order).collect();
    assert_eq!((committed.len(), orders.len()), (payments, payments), "{topic}");
    let all = java::consume_at(libs, bootstrap, topic, Isolation::All, payments + 1).unwrap();
    assert_eq!(all.len(), payments + 1, "{topic} has records of aborted transactions");
}

/// Lets orders flow for eighteen seconds and does something to the cluster meanwhile.
fn under_fault(cluster: &Cluster, fault: impl FnOnce(&Cluster)) {
    let arguments = ["--orders", "45000", "--rate", "2500"];
    let running = demo(cluster, &arguments).stdout(Stdio::piped()).spawn().unwrap();
    thread_sleep(Duration::from_secs(4));
    fault(cluster);
    let output = running.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_clean(&report, 45_000);
    assert!(output.status.success());
}

/// kill −9 of each of the three brokers in turn while orders flow, and its return. One of them leads the partitions of
/// the groups' offsets, one is the active controller.
#[test]
#[ignore = "needs the cluster"]
fn a_broker_that_is_killed_changes_nothing() {
    let cluster = Cluster::from_env().unwrap();
    for node in ["kafka1", "kafka2", "kafka3"] {
        under_fault(&cluster, |cluster| {
            cluster.xtask(&["kill", node]).unwrap();
            thread_sleep(Duration::from_secs(6));
            cluster.xtask(&["start", node]).unwrap();
        });
    }
}

/// A broker that stops answering without hanging up, past its session, and goes on where it was.
#[test]
#[ignore = "needs the cluster"]
fn a_broker_that_is_paused_changes_nothing() {
    let cluster = Cluster::from_env().unwrap();
    under_fault(&cluster, |cluster| {
        cluster.xtask(&["pause", "kafka2"]).unwrap();
        thread_sleep(Duration::from_secs(12));
        cluster.xtask(&["resume", "kafka2"]).unwrap();
    });
}

#[expect(clippy::disallowed_methods, reason = "this thread runs no executor")]
fn thread_sleep(duration: Duration) {
    thread::sleep(duration);
}
