//! Runs the scenarios that come with the conformance suite.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use milena_conformance::{
    report::Outcome,
    run::{Cluster, Options, Subject, Suite},
    script::{Script, builtin, parse},
};
use milena_embedded_broker::EmbeddedBroker;

/// Three embedded brokers, set up as the cluster of `docker-compose.kraft.yml` is.
///
/// # Panics
/// When they can't start.
#[expect(clippy::expect_used, reason = "without brokers there is no test")]
pub async fn embedded() -> EmbeddedBroker {
    let builder = EmbeddedBroker::builder().brokers(3).configure(|config| {
        config.transaction_abort_interval = Duration::from_secs(1);
        config.initial_rebalance_delay = Duration::ZERO;
        config.min_session_timeout = Duration::from_secs(1);
        config.consumer_session_timeout = Duration::from_secs(10);
        config.consumer_heartbeat_interval = Duration::from_secs(1);
        config.default_partitions = 6;
    });
    builder.start().await.expect("embedded brokers start")
}

/// Runs every scenario.
///
/// # Panics
/// When a scenario is not understood or nobody answers.
#[expect(clippy::expect_used, clippy::panic, reason = "a scenario that is not understood fails the test")]
pub async fn run(bootstrap: &str, subject: Subject, jobs: usize) -> Vec<Outcome> {
    let (sources, shared) = builtin();
    let scripts: Vec<Script> = sources
        .iter()
        .map(|source| parse(source, &shared, false).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or_default();
    let options = Options {
        subject,
        jobs,
        prefix: format!("scenarios-{now_ms:x}"),
        script_limit: Duration::from_secs(180),
        now_ms,
    };
    let cluster = Cluster::discover(bootstrap).await.expect("a broker answers");
    let suite = Suite::new(cluster, options);
    let outcomes = suite.run(scripts, |_| {}).await;
    assert_eq!(suite.clean_up().await, Vec::<String>::new());
    outcomes
}
