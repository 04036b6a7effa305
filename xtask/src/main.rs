//! The commands of this repository itself: `cargo xtask --help`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cluster;
mod fuzz;
mod generate;
mod golden;
mod interrupt;
mod sim;
mod smoke;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of this repository itself")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts, stops and breaks the Kafka cluster of docker-compose.kraft.yml, or one that asks who you are (--secure).
    Cluster(cluster::Arguments),
    /// Throws what coverage leads to at everything that reads frames; needs a nightly toolchain.
    Fuzz(fuzz::Arguments),
    /// Writes crates/protocol/src/messages/ from the vendored schemas of Apache Kafka.
    Generate(generate::Arguments),
    /// Writes golden vectors with Kafka's own classes into fixtures/golden.
    Golden(golden::Arguments),
    /// Simulates clients and brokers under faults, ten minutes a run; see protocol-tests/src/sim.
    Sim(sim::Arguments),
    /// Throws ten million mutations of golden frames at everything that reads frames.
    Smoke(smoke::Arguments),
    /// Runs every test there is and says how many passed, failed and were skipped.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 130 is what a shell makes of SIGINT.
            if error.is::<interrupt::Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether the command found everything in order.
fn run(command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::Cluster(arguments) => cluster::run(arguments).map(|()| true),
        Command::Fuzz(arguments) => fuzz::run(arguments),
        Command::Generate(arguments) => generate::run(arguments).map(|()| true),
        Command::Golden(arguments) => golden::run(arguments).map(|()| true),
        Command::Sim(arguments) => sim::run(arguments),
        Command::Smoke(arguments) => smoke::run(arguments),
        Command::Test(arguments) => test::run(arguments),
    }
}

/// The folder of the repository. xtask is built and run from the same checkout.
fn workspace_root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.clone(), PathBuf::from)
}
