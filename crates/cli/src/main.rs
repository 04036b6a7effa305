//! The `milena` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use advised::Advised;

mod advised;
mod broker;
mod cluster;
mod compression;
mod conformance;
mod connect;
mod consume;
mod decode;
mod demo;
mod doctor;
mod escaped;
mod groups;
mod lag;
mod offsets;
mod output;
mod produce;
mod progress;
mod redrive;
mod security;
mod stop;
mod table;
mod timestamp;
mod topics;

/// A Kafka client in pure Rust.
#[derive(Parser)]
#[command(
    name = "milena",
    version,
    arg_required_else_help = true,
    after_help = "With RUST_LOG=debug in the environment, standard error tells what goes on inside."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a Kafka broker in this process, in memory, for local development
    Broker(broker::Arguments),
    /// Runs scripts of requests against a cluster and shows where it answers otherwise than Kafka
    Conformance(conformance::Arguments),
    /// Prints the records of topics
    Consume(Box<consume::Arguments>),
    /// Shows what is in a frame, a message or a record batch, as JSON
    Decode(decode::Arguments),
    /// Runs an order system on a broker in this process or on a cluster, and checks what every part of it did
    Demo(demo::Arguments),
    /// Tells how far a client gets with a cluster, and what to do where it does not go on
    Doctor(Box<doctor::Arguments>),
    /// Lists, describes and deletes consumer groups
    Groups(groups::Arguments),
    /// Shows how far consumer groups are behind
    Lag(lag::Arguments),
    /// Sets where consumer groups go on reading
    Offsets(offsets::Arguments),
    /// Sends records from standard input or files to a topic
    Produce(Box<produce::Arguments>),
    /// Sends dead letters back to the topic that they are from
    Redrive(Box<redrive::Arguments>),
    /// Lists, describes, creates, changes and deletes topics
    Topics(topics::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let result = match Arguments::parse().command {
        Command::Broker(arguments) => broker::run(arguments).await,
        Command::Conformance(arguments) => conformance::run(arguments).await,
        Command::Consume(arguments) => consume::run(*arguments).await,
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(*arguments).await,
        Command::Groups(arguments) => groups::run(arguments).await,
        Command::Lag(arguments) => lag::run(arguments).await,
        Command::Offsets(arguments) => offsets::run(arguments).await,
        Command::Produce(arguments) => produce::run(*arguments).await,
        Command::Redrive(arguments) => redrive::run(*arguments).await,
        Command::Topics(arguments) => topics::run(arguments).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "errors of the command go to the terminal")]
fn print_error(error: &anyhow::Error) {
    eprintln!("milena: {error:#}");
    if let Some(advice) = error.downcast_ref::<Advised>() {
        eprintln!("try: {}", advice.advice());
    }
}
