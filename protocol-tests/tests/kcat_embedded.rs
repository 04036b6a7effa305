//! librdkafka, as kcat, against the embedded broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{collections::BTreeSet, time::Duration};

use milena_embedded_broker::{
    EmbeddedBroker,
    core::{BrokerId, SaslConfig},
};
use milena_protocol::ApiKey;
use protocol_tests::{
    external::{self, PATIENCE, lines, numbers, run, sorted, spawn},
    proxy::Proxy,
    tls,
};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

fn kcat(broker: &EmbeddedBroker) -> Command {
    external::kcat(&broker.bootstrap())
}

async fn orders(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().brokers(3).topic("orders", partitions).start().await.unwrap()
}

fn written(broker: &EmbeddedBroker, partitions: i32) -> i64 {
    broker.with_cluster(|cluster, _| {
        (0..partitions).map(|partition| cluster.offsets("orders", partition).unwrap().end).sum()
    })
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_sees_the_cluster() {
    let broker = orders(6).await;
    let listed = run(kcat(&broker).arg("-L"), "").await;
    assert!(listed.contains("3 brokers:"), "{listed}");
    assert!(listed.contains("topic \"orders\" with 6 partitions:"), "{listed}");
    assert!(listed.contains("partition 1, leader 2, replicas: 2,3,1, isrs: 2,3,1"), "{listed}");
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_reads_what_it_wrote_with_every_codec() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let broker = orders(6).await;
        let mut producer = kcat(&broker);
        producer.args(["-P", "-t", "orders", "-X", "enable.idempotence=true", "-z", codec]);
        run(&mut producer, &numbers(0..5_000)).await;
        assert_eq!(written(&broker, 6), 5_000, "{codec}");
        let read = run(kcat(&broker).args(["-C", "-t", "orders", "-e", "-q"]), "").await;
        assert_eq!(sorted(&read), (0..5_000).collect::<Vec<_>>(), "{codec}");
    }
}

/// It knows nothing of the proxy, which it is told of by the brokers.
#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_writes_each_record_once_though_its_connections_are_reset() {
    let broker = orders(6).await;
    let proxy = Proxy::default();
    let bootstrap = proxy.front(&broker.bootstrap()).unwrap();
    let mut producer = external::kcat(&bootstrap);
    producer.args([
        "-P",
        "-t",
        "orders",
        "-X",
        "enable.idempotence=true",
        "-X",
        "batch.num.messages=100",
        "-X",
        "sticky.partitioning.linger.ms=0",
    ]);
    // kcat gives up when no broker is left.
    let first = Some(broker.addresses()[0].port());
    external::run_through_resets(&mut producer, &numbers(0..5_000), &proxy, first).await;
    assert_eq!(written(&broker, 6), 5_000);
    let read = run(external::kcat(&bootstrap).args(["-C", "-t", "orders", "-e", "-q"]), "").await;
    assert_eq!(sorted(&read), (0..5_000).collect::<Vec<_>>());
    let asked: BTreeSet<_> = proxy.asked(ApiKey::Produce).iter().map(|asked| asked.broker).collect();
    assert_eq!(asked.len(), 3, "another way leads to the brokers");
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_shares_a_group_and_goes_on_where_it_stopped() {
    let broker = orders(6).await;
    let mut producer = kcat(&broker);
    producer.args(["-P", "-t", "orders", "-p", "-1"]);
    run(&mut producer, &numbers(0..600)).await;
    let group = || {
        let mut command = kcat(&broker);
        command.args(["-G", "shared", "-q", "-X", "auto.offset.reset=earliest"]);
        command
    };
    let read = run(group().args(["-e", "orders"]), "").await;
    assert_eq!(sorted(&read), (0..600).collect::<Vec<_>>());
    run(&mut producer, &numbers(600..700)).await;
    let read = run(group().args(["-e", "orders"]), "").await;
    assert_eq!(sorted(&read), (600..700).collect::<Vec<_>>());
    let (mut one, mut other) =
        (spawn(group().arg("-u").arg("orders")), spawn(group().arg("-u").arg("orders")));
    // Both are in the group once each has got something of what goes to every partition.
    let mut feeding = (700..).step_by(100);
    let feed = async {
        loop {
            let from: u32 = feeding.next().unwrap();
            run(&mut producer, &numbers(from..from + 100)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = feed => {}
        _ = async { tokio::join!(lines(&mut one, 100), lines(&mut other, 100)) } => {}
    }
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_survives_a_broker_that_stops_and_a_leader_that_moves() {
    let broker = orders(3).await;
    let mut child = spawn(kcat(&broker).args([
        "-P",
        "-t",
        "orders",
        "-X",
        "enable.idempotence=true",
        "-X",
        "linger.ms=1",
    ]));
    let mut stdin = child.stdin.take().unwrap();
    for round in 0..30u32 {
        stdin.write_all(numbers(round * 100..(round + 1) * 100).as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        match round {
            5 => broker.stop_broker(BrokerId(2)),
            10 => broker.start_broker(BrokerId(2)),
            15 => broker
                .with_cluster(|cluster, now| cluster.move_leader(now, "orders", 0, BrokerId(2)).unwrap()),
            20 => broker.stop_broker(BrokerId(3)),
            _ => {}
        }
    }
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("kcat hangs").unwrap();
    assert!(output.status.success());
    broker.start_broker(BrokerId(3));
    let read = run(kcat(&broker).args(["-C", "-t", "orders", "-e", "-q"]), "").await;
    assert_eq!(sorted(&read), (0..3_000).collect::<Vec<_>>(), "each once: nothing lost, nothing twice");
}

/// kcat as alice, over TLS or in the clear.
fn kcat_as_alice(broker: &EmbeddedBroker, mechanism: &str, password: &str, is_tls: bool) -> Command {
    let mut command = kcat(broker);
    let protocol = if is_tls { "sasl_ssl" } else { "sasl_plaintext" };
    for (name, value) in [
        ("security.protocol", protocol),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", "alice"),
        ("sasl.password", password),
        ("ssl.ca.location", &tls::authority()),
        ("message.timeout.ms", "3000"),
    ] {
        command.args(["-X", &format!("{name}={value}")]);
    }
    command
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn kcat_says_who_it_is_with_every_mechanism_with_and_without_tls() {
    for is_tls in [false, true] {
        let guard = |config: &mut milena_embedded_broker::core::ClusterConfig| {
            config.sasl = Some(SaslConfig::new([("alice", "sec=ret,")]));
        };
        let builder = EmbeddedBroker::builder().brokers(2).topic("orders", 2).configure(guard);
        let builder = if is_tls { builder.tls(tls::server()) } else { builder };
        let broker = builder.start().await.unwrap();
        for (mechanism, at) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().zip(1..) {
            let mut producer = kcat_as_alice(&broker, mechanism, "sec=ret,", is_tls);
            run(producer.args(["-P", "-t", "orders"]), &numbers(0..100)).await;
            assert_eq!(written(&broker, 2), at * 100, "{mechanism}, TLS: {is_tls}");
            let mut stranger = kcat_as_alice(&broker, mechanism, "guess", is_tls);
            stranger.args(["-P", "-t", "orders"]);
            let output = external::finish(&mut stranger, "1\n").await;
            assert!(!output.status.success(), "{mechanism}, TLS: {is_tls}");
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.contains("Authentication failed"), "{complaint}");
            assert_eq!(written(&broker, 2), at * 100, "{mechanism}, TLS: {is_tls}");
        }
    }
}
