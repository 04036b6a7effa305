//! Negative controls: a simulation that finds nothing in clients with bugs would find nothing in ours.
#![allow(clippy::panic, reason = "a bug that is not found fails the test by its name")]

use std::{thread, time::Instant};

use protocol_tests::sim::{Bug, Options, campaign::first_failure};

/// Within so many seeds a planted bug must be found. Optimised code runs them in much less than a minute.
const PATIENCE: u64 = if cfg!(debug_assertions) { 60 } else { 2_000 };

/// Bugs that show in one seed of a hundred or two: they are looked for in optimised code only, as `cargo xtask test` does.
const fn is_rare(bug: Bug) -> bool {
    use milena_producer::PlantedBug::{AbortsUnknownCommit, ForgetsProducerState};
    matches!(bug, Bug::Producer(AbortsUnknownCommit | ForgetsProducerState))
}

#[test]
fn every_planted_bug_is_found() {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut missed = Vec::new();
    for bug in Bug::all() {
        if cfg!(debug_assertions) && is_rare(bug) {
            continue;
        }
        let started = Instant::now();
        match first_failure(0..PATIENCE, &Options { bug: Some(bug), ..Options::default() }, threads) {
            Some(report) => println!(
                "{bug:?}: seed {}, {} ms, {}",
                report.seed,
                started.elapsed().as_millis(),
                report.violations[0]
            ),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {PATIENCE} seeds: {missed:?}");
}
