//! franz-go, by the program in `protocol-tests/go`, against the embedded broker.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use std::time::Duration;

use milena_embedded_broker::{
    Builder, EmbeddedBroker,
    core::{BrokerId, SaslConfig},
};
use protocol_tests::{
    external::{self, run},
    tls,
};
use tokio::process::Command;

fn letters() -> Builder {
    let quick = |config: &mut milena_embedded_broker::core::ClusterConfig| {
        config.consumer_heartbeat_interval = Duration::from_millis(200);
    };
    EmbeddedBroker::builder().brokers(3).topic("letters", 6).topic("letters-copies", 6).configure(quick)
}

fn franz(broker: &EmbeddedBroker, arguments: &[&str]) -> Command {
    let mut command = external::franz(&broker.bootstrap());
    command.args(arguments);
    command
}

#[tokio::test]
#[ignore = "needs Go"]
async fn franz_go_reads_what_it_wrote_with_every_codec() {
    let broker = letters().start().await.unwrap();
    run(&mut franz(&broker, &["records"]), "").await;
}

#[tokio::test]
#[ignore = "needs Go"]
async fn franz_go_shares_a_group_of_either_protocol() {
    for arguments in [["group"].as_slice(), &["-next", "group"]] {
        let broker = letters().start().await.unwrap();
        run(&mut franz(&broker, arguments), "").await;
    }
}

#[tokio::test]
#[ignore = "needs Go"]
async fn franz_go_copies_a_topic_in_transactions() {
    let broker = letters().start().await.unwrap();
    run(&mut franz(&broker, &["copy"]), "").await;
}

#[tokio::test]
#[ignore = "needs Go"]
async fn franz_go_copies_while_leaders_and_brokers_go() {
    let broker = letters().start().await.unwrap();
    let trouble = async {
        for round in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let gone = BrokerId(round % 3 + 1);
            broker.stop_broker(gone);
            tokio::time::sleep(Duration::from_millis(150)).await;
            broker.start_broker(gone);
        }
    };
    let mut copying = franz(&broker, &["-count", "6000", "copy"]);
    tokio::join!(run(&mut copying, ""), trouble);
}

#[tokio::test]
#[ignore = "needs Go"]
async fn franz_go_says_who_it_is_with_every_mechanism_with_and_without_tls() {
    for is_tls in [false, true] {
        let builder =
            letters().configure(|config| config.sasl = Some(SaslConfig::new([("alice", "sec=ret,")])));
        let builder = if is_tls { builder.tls(tls::server()) } else { builder };
        let broker = builder.start().await.unwrap();
        let authority = tls::authority();
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            // A topic for each, since what is read is held against what was written.
            broker.with_cluster(|cluster, _| cluster.create_topic(mechanism, 2)).unwrap();
            let login = |password| {
                let mut command = franz(&broker, &["-topic", mechanism, "-count", "100"]);
                command.args(["-mechanism", mechanism, "-user", "alice", "-password", password]);
                if is_tls {
                    command.args(["-ca", &authority]);
                }
                command.arg("records");
                command
            };
            run(&mut login("sec=ret,"), "").await;
            let refused = external::finish(&mut login("guess"), "").await;
            assert!(!refused.status.success(), "{mechanism}, TLS: {is_tls}");
            let complaint = String::from_utf8_lossy(&refused.stderr).to_lowercase();
            assert!(complaint.contains("sasl_authentication_failed"), "{complaint}");
        }
    }
}
