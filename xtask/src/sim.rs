//! Runs the simulation of `protocol-tests` for as many seeds as wanted, optimised.

use std::{env, process::Command};

use anyhow::{Context, ensure};

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed only.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut tests = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tests.args(["test", "--release", "-p", "protocol-tests", "--test", "simulation"]);
    tests.args(["every_promise_holds_under_faults", "--", "--nocapture"]);
    match arguments.seed {
        Some(seed) => tests.env("MILENA_SIM_SEED", seed.to_string()),
        None => tests
            .env("MILENA_SIM_SEEDS", arguments.seeds.to_string())
            .env("MILENA_SIM_FROM", arguments.from.to_string()),
    };
    let status = tests.status().context("starting cargo")?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
