//! Every scenario, against the embedded broker: it must answer as Kafka does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use milena_conformance::run::Subject;
use protocol_tests::scenarios;

/// Where the embedded broker answers otherwise, a script says so and why; nothing else may differ, and nothing that is said
/// to differ may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_does_what_the_scenarios_say() {
    let broker = scenarios::embedded().await;
    let outcomes = scenarios::run(&broker.bootstrap(), Subject::Core, 8).await;
    let (mut checks, mut known, mut skipped) = (0, 0, 0);
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        checks += outcome.checks.len();
        known += outcome.known.len();
        for failure in &outcome.known {
            println!("{failure}");
        }
        wrong.extend(outcome.failures.iter().map(ToString::to_string));
        wrong.extend(outcome.stale.iter().map(|place| format!("{place}: `core differs`, but it does not")));
        wrong.extend(outcome.left_behind.iter().map(|left| format!("{} leaves {left}", outcome.script)));
        // What the broker does not offer at all.
        outcome.skipped.iter().for_each(|reason| println!("{} is skipped: {reason}", outcome.script));
        skipped += usize::from(outcome.skipped.is_some());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} scripts, {checks} answers, {known} known differences, {skipped} skipped", outcomes.len());
    assert!(outcomes.len() - skipped >= 100 && checks >= 1_000);
}
