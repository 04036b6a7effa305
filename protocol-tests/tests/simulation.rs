//! Clients against brokers on a virtual clock, with faults from a seed. See `protocol_tests::sim`.
//!
//! `cargo xtask sim` runs more seeds, or one of them with its trace.
#![allow(clippy::panic, reason = "a failed seed fails the test with its trace")]

use std::thread;

use protocol_tests::sim::{Options, Report, campaign, run};

/// How many seeds. Optimised code runs them in minutes.
const SEEDS: u64 = if cfg!(debug_assertions) { 40 } else { 2_000 };

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A seed that fails, with its trace.
fn explain(seed: u64) -> String {
    run(seed, &Options { keep_trace: true, ..Options::default() }).explain()
}

#[test]
fn every_promise_holds_under_faults() {
    let summary = campaign::run_all(0..SEEDS, &Options::default(), threads(), |_| true);
    println!("{summary}");
    if let Some(seed) = summary.failed.first() {
        panic!("{}", explain(*seed));
    }
    // Runs in which nothing goes wrong prove nothing.
    let (counts, tally, group) = (summary.counts, summary.tally, summary.group);
    assert!(counts.faults > 10 * SEEDS && counts.late > SEEDS / 2, "{counts:?}");
    assert!(tally.acknowledged > tally.records / 2, "{tally:?}");
    assert!(tally.not_written > SEEDS && tally.maybe_written > SEEDS, "{tally:?}");
    assert!(tally.without_offset > 0, "{tally:?}");
    assert!(group.handled > tally.acknowledged / 2 && group.again > SEEDS, "{group:?}");
    assert!(group.commits > SEEDS && group.assigned > 10 * SEEDS, "{group:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let hash = |report: &Report| report.trace.hash();
    let mut hashes = Vec::new();
    for seed in 0..8 {
        let first = run(seed, &Options::default());
        let traced = run(seed, &Options { keep_trace: true, ..Options::default() });
        assert_eq!(hash(&traced), hash(&first), "seed {seed}");
        assert!(traced.trace.lines().len() > 50, "seed {seed}");
        hashes.push(hash(&first));
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 8);
}
