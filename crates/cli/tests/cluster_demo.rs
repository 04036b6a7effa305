//! The demo on the real cluster, whole and with a broker that dies under it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use protocol_tests::{cluster::Cluster, java};
use serde_json::Value;

fn demo(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["demo", "--json", "--bootstrap", &cluster.bootstrap]).args(arguments);
    command
}

fn assert_clean(report: &Value, orders: u64) {
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
fn the_demo_is_clean_and_java_reads_every_order() {
    let cluster = Cluster::from_env().unwrap();
    let output = demo(&cluster, &["--orders", "200000"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_clean(&report, 200_000);
    assert!(output.status.success());

    let topic = report["topic"].as_str().unwrap();
    let records = java::consume(&cluster.kafka_libs, &cluster.bootstrap, topic, 200_000).unwrap();
    let mut seen = vec![false; 200_000];
    for record in &records {
        let order: Value = serde_json::from_str(&record.value).unwrap();
        assert_eq!(record.key, format!("cust-{}", order["customerId"]), "{record:?}");
        assert!(record.headers.starts_with("sentAt:") && record.headers.ends_with(",source:order-service"));
        let id = order["orderId"].as_u64().unwrap() as usize;
        assert!(!std::mem::replace(&mut seen[id], true), "Java has read order {id} twice");
    }
    assert!(seen.into_iter().all(|seen| seen));
}

/// Lets orders flow for a quarter of a minute and does something to the cluster meanwhile.
fn under_fault(cluster: &Cluster, fault: impl FnOnce(&Cluster)) {
    let running =
        demo(cluster, &["--orders", "300000", "--rate", "20000"]).stdout(Stdio::piped()).spawn().unwrap();
    thread_sleep(Duration::from_secs(4));
    fault(cluster);
    let output = running.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_clean(&report, 300_000);
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
