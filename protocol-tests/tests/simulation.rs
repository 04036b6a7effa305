//! Producers against brokers on a virtual clock, with faults from a seed. See `protocol_tests::sim`.
//!
//! `MILENA_SIM_SEEDS=2000` runs that many seeds instead of the usual number, `MILENA_SIM_FROM=500` begins with that
//! seed. `MILENA_SIM_SEED=517` runs that one only. A failure prints its trace. `cargo xtask sim` sets them.
#![allow(clippy::panic, reason = "a failed seed fails the test with its trace")]

use std::{env, time::Instant};

use protocol_tests::sim::{Bug, Counts, Options, Report, Tally, run};

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 400;
/// Within so many seeds a planted bug must be found.
const PATIENCE: u64 = 400;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A seed, again if it fails: with the trace.
fn examine(seed: u64) -> Report {
    let report = run(seed, Options::default());
    if report.violations.is_empty() {
        return report;
    }
    let traced = run(seed, Options { keep_trace: true, ..Options::default() });
    panic!("{}", traced.explain());
}

#[test]
fn every_promise_holds_under_faults() {
    let first = number("MILENA_SIM_FROM").unwrap_or(0);
    let seeds = match number("MILENA_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("MILENA_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (mut tally, mut counts) = (Tally::default(), Counts::default());
    let started = Instant::now();
    let runs = seeds.end - seeds.start;
    for seed in seeds {
        let report = examine(seed);
        tally.add(&report.tally);
        counts.requests += report.counts.requests;
        counts.faults += report.counts.faults;
        counts.late += report.counts.late;
    }
    let rate = runs as f64 / started.elapsed().as_secs_f64();
    println!("{runs} runs, {rate:.0} a second; {counts:?}; {tally:?}");
    // Runs in which nothing goes wrong prove nothing.
    if runs >= 100 {
        assert!(counts.faults > 10 * runs && counts.late > runs / 2, "{counts:?}");
        assert!(tally.acknowledged > tally.records / 2, "{tally:?}");
        assert!(tally.not_written > runs && tally.maybe_written > runs, "{tally:?}");
        assert!(tally.without_offset > 0, "{tally:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut hashes = Vec::new();
    for seed in 0..20 {
        let hash = run(seed, Options::default()).trace.hash();
        let traced = run(seed, Options { keep_trace: true, ..Options::default() });
        assert_eq!(traced.trace.hash(), hash, "seed {seed}");
        assert!(traced.trace.lines().len() > 50, "seed {seed}");
        hashes.push(hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

/// Negative controls: a check that finds nothing in these would find nothing in ours.
#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let options = Options { bug: Some(bug), ..Options::default() };
        let started = Instant::now();
        let found = (0..PATIENCE).map(|seed| run(seed, options)).find(|report| !report.violations.is_empty());
        let Some(report) = found else { panic!("{bug:?} is not found in {PATIENCE} seeds") };
        println!(
            "{bug:?}: seed {}, {} ms, {}",
            report.seed,
            started.elapsed().as_millis(),
            report.violations[0]
        );
    }
}
