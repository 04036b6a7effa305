//! The commands of this repository itself: `cargo xtask --help`.
#![expect(clippy::print_stdout, reason = "a command prints its results")]

use clap::{Parser, Subcommand};

mod generate;
mod sim;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of this repository itself")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes crates/protocol/src/messages/ from the vendored schemas of Apache Kafka.
    Generate(generate::Arguments),
    /// Simulates producers and brokers under faults; see protocol-tests/tests/simulation.rs.
    Sim(sim::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
    }
}
