//! Every scenario, against a real cluster: what the scenarios say is what Kafka does.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use milena_conformance::{report::verdicts, run::Cluster, run::Subject};
use protocol_tests::{cluster, scenarios};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster: cargo xtask test"]
async fn kafka_does_what_the_scenarios_say() {
    let bootstrap = cluster::Cluster::from_env().unwrap().bootstrap;
    let outcomes = scenarios::run(&bootstrap, Subject::Cluster, 4).await;
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        wrong.extend(outcome.failures.iter().map(ToString::to_string));
        wrong.extend(outcome.left_behind.iter().map(|left| format!("{} leaves {left}", outcome.script)));
        wrong.extend(outcome.skipped.iter().map(|reason| format!("{} is skipped: {reason}", outcome.script)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let offered = Cluster::discover(&bootstrap).await.unwrap().offered().clone();
    let table = milena_conformance::report::table(&verdicts(&outcomes, &offered), &|cell, _| cell.to_owned());
    println!("{table}");
    let checks: usize = outcomes.iter().map(|outcome| outcome.checks.len()).sum();
    println!("{} scripts, {checks} answers", outcomes.len());
}
