//! `cargo xtask sim`: clients and brokers on a virtual clock, with faults from a seed, for as many seeds as wanted.
//!
//! The work is done by the binary `sim` of `protocol-tests`, optimised; see `protocol-tests/src/sim`.

use std::{env, process::Command};

use anyhow::Context as _;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed only, and prints its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Only these faults of the seed take place, by their numbers: 3,7,12.
    #[arg(long, requires = "seed")]
    only_faults: Option<String>,
    /// No faults of the seed take place at all.
    #[arg(long, requires = "seed", conflicts_with = "only_faults")]
    no_faults: bool,
}

/// Whether every run kept every promise.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut simulation = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    simulation.args([
        "run",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        "protocol-tests",
        "--bin",
        "sim",
    ]);
    simulation.arg("--").current_dir(crate::workspace_root());
    match arguments.seed {
        Some(seed) => simulation.args(["--seed", &seed.to_string()]),
        None => {
            let (seeds, from) = (arguments.seeds.to_string(), arguments.from.to_string());
            simulation.args(["--seeds", &seeds, "--from", &from])
        }
    };
    if let Some(numbers) = &arguments.only_faults {
        simulation.args(["--only-faults", numbers]);
    }
    if arguments.no_faults {
        simulation.arg("--no-faults");
    }
    Ok(simulation.status().context("cannot run cargo")?.success())
}
