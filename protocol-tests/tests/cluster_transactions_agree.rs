//! Transactions and idempotence: the core behind the embedded broker and a real cluster, asked the same, must answer with
//! the same codes, epochs and offsets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "nothing async happens on the thread that sleeps: the broker has threads of its own"
)]

#[path = "cluster_transactions_agree/offsets.rs"]
mod offsets;
#[path = "cluster_transactions_agree/partitions.rs"]
mod partitions;
#[path = "cluster_transactions_agree/requests.rs"]
mod requests;
#[path = "cluster_transactions_agree/scripts.rs"]
mod scripts;
#[path = "cluster_transactions_agree/side.rs"]
mod side;

use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use milena_embedded_broker::EmbeddedBroker;
use scripts::SCRIPTS;
use side::Side;

/// What differs, script by script: ours, then Kafka's.
fn differences(ours: &[String], theirs: &[String]) -> Vec<(String, String)> {
    let scripts = |side: &[String]| -> Vec<Vec<String>> {
        side.split(|line| line.starts_with("==")).map(<[String]>::to_vec).skip(1).collect()
    };
    let mut found = Vec::new();
    for ((name, _), (ours, theirs)) in SCRIPTS.iter().zip(scripts(ours).iter().zip(scripts(theirs))) {
        for at in 0..ours.len().max(theirs.len()) {
            let line = |side: &[String]| side.get(at).cloned().unwrap_or_else(|| "nothing".into());
            if line(ours) != line(&theirs) {
                found.push((format!("{name} {at}: {}", line(ours)), line(&theirs)));
            }
        }
    }
    found
}

#[test]
#[ignore = "needs the cluster: cargo xtask test"]
fn transactions_go_as_they_do_at_kafka() {
    let kafka =
        env::var("MILENA_CLUSTER").expect("MILENA_CLUSTER must name the bootstrap servers of a real cluster");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = EmbeddedBroker::builder()
        .brokers(3)
        // As the cluster is set up.
        .configure(|config| config.transaction_abort_interval = Duration::from_secs(1))
        .start();
    let broker = runtime.block_on(start).unwrap();
    let run = format!("txn-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let [ours, theirs] = [&broker.bootstrap(), &kafka].map(|bootstrap| {
        let mut side = Side::new(bootstrap, &run);
        for (name, script) in SCRIPTS {
            side.begin(name);
            script(&mut side);
        }
        side.seen
    });
    let differ = differences(&ours, &theirs);
    assert!(differ.is_empty(), "(ours, Kafka's): {differ:#?}");
    println!("{} scripts, {} answers", SCRIPTS.len(), ours.len() - SCRIPTS.len());
}
