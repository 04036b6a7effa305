//! `milena broker`: the embedded broker as a process of its own, for local development.

use std::{process::ExitCode, str::FromStr};

use anyhow::Context;
use milena_embedded_broker::{EmbeddedBroker, StartError};

use crate::advised::advised;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The first broker's port; the others take those behind it, and 0 takes free ones
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// How many brokers there are
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    brokers: u16,
    /// A topic to begin with; may be given several times
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]")]
    topics: Vec<Topic>,
    /// Creates a topic when a client first asks for it
    #[arg(long)]
    auto_create_topics: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Topic {
    name: String,
    partitions: i32,
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, partitions) = text.split_once(':').unwrap_or((text, "1"));
        let partitions = partitions.parse().ok().filter(|count| (1..=10_000).contains(count));
        let partitions = partitions.ok_or("expected NAME or NAME:PARTITIONS with 1 to 10000 partitions")?;
        Ok(Self { name: name.to_owned(), partitions })
    }
}

/// Serves until Ctrl-C.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let last = u32::from(arguments.port) + u32::from(arguments.brokers) - 1;
    if arguments.port != 0 && last > u32::from(u16::MAX) {
        let (first, count) = (arguments.port, arguments.brokers);
        let error = anyhow::anyhow!("{count} brokers from port {first} on would end at {last}, over 65535");
        return Err(advised(error, "take a lower port with --port; 0 takes free ones"));
    }
    let mut builder = EmbeddedBroker::builder()
        .brokers(arguments.brokers)
        .port(arguments.port)
        .configure(|config| config.auto_create_topics = arguments.auto_create_topics);
    for Topic { name, partitions } in &arguments.topics {
        builder = builder.topic(name, *partitions);
    }
    let broker = builder.start().await.map_err(|error| match error {
        StartError::Listen { .. } => {
            let error = anyhow::Error::new(error).context("starting the broker");
            advised(error, "take another port with --port; 0 takes a free one")
        }
        _ => anyhow::Error::new(error).context("starting the broker"),
    })?;
    announce(&broker.bootstrap());
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    broker.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// The addresses alone on standard output, for scripts; the rest for people.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "where to connect is what the command tells")]
fn announce(bootstrap: &str) {
    println!("{bootstrap}");
    eprintln!("everything is kept in memory and gone at the end; Ctrl-C ends it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_as_people_write_them() {
        let topic = |name: &str, partitions| Topic { name: name.to_owned(), partitions };
        assert_eq!("orders".parse(), Ok(topic("orders", 1)));
        assert_eq!("orders:6".parse(), Ok(topic("orders", 6)));
        for nonsense in ["orders:", "orders:0", "orders:x", "orders:99999"] {
            assert!(nonsense.parse::<Topic>().is_err(), "{nonsense}");
        }
    }
}
