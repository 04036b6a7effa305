//! The state machines against a broker that lies for ten thousand steps: what only builds up slowly, a queue without a
//! bound or a number that runs over, does not show in the short scripts of the fuzz targets.
//!
//! The seed of a failure is printed. `MILENA_SCRIPT_SEED` begins elsewhere.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]
#![expect(clippy::print_stderr, reason = "it is shown when the test fails: which script it was")]

use std::env;

use protocol_tests::fuzz::Target;

/// A step takes six bytes at most, but for one in eight that also brings a record of up to 31.
const SCRIPT_LEN: usize = 64 << 10;
const SCRIPTS: u64 = 4;

fn run(target: &str) {
    let target = Target::named(target).unwrap();
    let first = env::var("MILENA_SCRIPT_SEED").map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + SCRIPTS {
        // Shown when it fails: which one it was.
        eprintln!("{}: MILENA_SCRIPT_SEED={seed}", target.name);
        let mut script = vec![0; SCRIPT_LEN];
        fastrand::Rng::with_seed(seed).fill(&mut script);
        (target.run)(&script);
    }
}

#[test]
fn a_producer_outlives_ten_thousand_steps() {
    run("producer");
}

#[test]
fn a_consumer_outlives_ten_thousand_steps() {
    run("consumer");
}

#[test]
fn a_broker_outlives_ten_thousand_steps() {
    run("broker");
}
