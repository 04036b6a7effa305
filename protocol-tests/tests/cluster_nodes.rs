//! The cluster itself: what the conformance tests take for granted when they break a node.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::net::TcpStream;
use std::process::Command;

use protocol_tests::cluster::{Cluster, ClusterError};
use serde_json::Value;

fn status(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.xtask(&["status", "--json"]).unwrap()).unwrap()
}

fn state(cluster: &Cluster, node: usize) -> String {
    status(cluster)["nodes"][node]["state"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs the cluster"]
fn three_brokers_see_each_other_where_clients_are_sent() {
    let cluster = Cluster::from_env().unwrap();
    let status = status(&cluster);
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["bootstrap"], cluster.bootstrap);
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["live_brokers"], serde_json::json!([1, 2, 3]));
    }
    assert_eq!(cluster.bootstrap.split(',').count(), 3);
    for address in cluster.bootstrap.split(',') {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
#[ignore = "needs the cluster"]
fn a_killed_node_refuses_connections_until_it_is_started() {
    let cluster = Cluster::from_env().unwrap();
    let address = cluster.bootstrap.split(',').nth(1).unwrap();
    cluster.xtask(&["kill", "kafka2"]).unwrap();
    let killed = (state(&cluster, 1), TcpStream::connect(address).is_err());
    cluster.xtask(&["start", "kafka2"]).unwrap();
    assert_eq!(killed, ("stopped".to_owned(), true));
    assert_eq!(state(&cluster, 1), "running");
    TcpStream::connect(address).unwrap();
}

#[test]
#[ignore = "needs the cluster"]
fn a_paused_node_keeps_its_port_and_goes_on_when_resumed() {
    let cluster = Cluster::from_env().unwrap();
    let address = cluster.bootstrap.split(',').nth(2).unwrap();
    cluster.xtask(&["pause", "kafka3"]).unwrap();
    let paused = (state(&cluster, 2), TcpStream::connect(address).is_ok());
    cluster.xtask(&["resume", "kafka3"]).unwrap();
    assert_eq!(paused, ("paused".to_owned(), true));
    assert_eq!(state(&cluster, 2), "running");
}

#[test]
#[ignore = "needs the cluster"]
fn an_unknown_node_is_refused_with_the_reason() {
    let cluster = Cluster::from_env().unwrap();
    let Err(ClusterError::Failed { message, .. }) = cluster.xtask(&["kill", "kafka9"]) else {
        panic!("a node that is not there was killed");
    };
    assert!(message.contains("kafka1, kafka2, kafka3"), "{message}");
}

#[test]
#[ignore = "needs the cluster"]
fn kafkas_own_tools_run_from_the_jars() {
    let cluster = Cluster::from_env().unwrap();
    let tool = Command::new("java")
        .args([
            "-Xmx128m",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp",
        ])
        .arg(cluster.kafka_libs.join("*"))
        .args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &cluster.bootstrap, "--list"])
        .output()
        .unwrap();
    assert!(tool.status.success(), "{}", String::from_utf8_lossy(&tool.stderr));
}
