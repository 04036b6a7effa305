//! Java's clients against an embedded broker that speaks TLS and asks who they are. They check the server's certificate and
//! its signature, which is what a broker of ours could get wrong unseen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{fs, time::Duration};

use milena_embedded_broker::{
    EmbeddedBroker,
    core::{ClusterConfig, SaslConfig},
};
use protocol_tests::{
    external::{finish, java, numbers, run, sorted},
    tls,
};

/// The file with the properties of a client that is alice with this password.
fn properties(mechanism: &str, password: &str) -> String {
    let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
    let jaas = format!(
        "org.apache.kafka.common.security.{module} required username=\"alice\" password=\"{password}\";"
    );
    let lines = [
        "security.protocol=SASL_SSL",
        &format!("sasl.mechanism={mechanism}"),
        &format!("sasl.jaas.config={jaas}"),
        "ssl.truststore.type=PEM",
        &format!("ssl.truststore.location={}", tls::authority()),
    ];
    let path = format!("{}/{mechanism}-{password}.properties", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_says_who_it_is_and_says_it_again() {
    let guard = |config: &mut ClusterConfig| {
        let mut sasl = SaslConfig::new([("alice", "sec=ret,")]);
        // So short that the clients have to authenticate again on the live connection (KIP-368).
        sasl.session_lifetime = Some(Duration::from_millis(1_500));
        config.sasl = Some(sasl);
    };
    let broker = EmbeddedBroker::builder().topic("orders", 2).configure(guard).tls(tls::server());
    let broker = broker.start().await.unwrap();
    for (mechanism, at) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().zip(0u32..) {
        let mut producer = java("ProducerPerformance");
        producer.args([
            "--topic",
            "orders",
            "--num-records",
            "60",
            "--record-size",
            "10",
            "--throughput",
            "15",
        ]);
        producer.args(["--bootstrap-server", &broker.bootstrap()]);
        producer.args(["--command-config", &properties(mechanism, "sec=ret,")]);
        let told = run(&mut producer, "").await;
        assert!(told.contains("60 records sent"), "{mechanism}: {told}");

        let mut writer = java("ConsoleProducer");
        writer.args(["--bootstrap-server", &broker.bootstrap()]);
        broker.with_cluster(|cluster, _| cluster.create_topic(&format!("numbers-{at}"), 1)).unwrap();
        writer.args(["--topic", &format!("numbers-{at}")]);
        let mut reader = java("consumer.ConsoleConsumer");
        reader.args(["--bootstrap-server", &broker.bootstrap(), "--topic", &format!("numbers-{at}")]);
        reader.args(["--from-beginning", "--max-messages", "100"]);
        for client in [&mut writer, &mut reader] {
            client.args(["--command-config", &properties(mechanism, "sec=ret,")]);
        }
        run(&mut writer, &numbers(0..100)).await;
        assert_eq!(sorted(&run(&mut reader, "").await), (0..100).collect::<Vec<_>>(), "{mechanism}");
    }
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_is_told_that_its_password_is_wrong() {
    let guard = |config: &mut ClusterConfig| config.sasl = Some(SaslConfig::new([("alice", "secret")]));
    let broker = EmbeddedBroker::builder().topic("orders", 1).configure(guard).tls(tls::server());
    let broker = broker.start().await.unwrap();
    for (mechanism, complaint) in [
        ("PLAIN", "Authentication failed: Invalid username or password"),
        ("SCRAM-SHA-512", "due to invalid credentials with SASL mechanism SCRAM-SHA-512"),
    ] {
        let mut reader = java("consumer.ConsoleConsumer");
        reader.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders"]);
        reader.args(["--command-config", &properties(mechanism, "guess")]);
        let output = finish(&mut reader, "").await;
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(complaint), "{mechanism}: {said}");
    }
}
