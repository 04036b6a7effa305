//! `milena broker`: the embedded broker as a process of its own, for local development.

mod tls;

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::Context;
use milena_embedded_broker::{
    Builder, EmbeddedBroker, StartError,
    core::{KafkaVersion, SaslConfig},
};

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
    /// Offers what this release of Kafka offers: 1.0, 2.1, 2.4, 2.8, 3.3, 3.7, 3.9, 4.0 or 4.1; 4.3 unless it is given
    #[arg(long, value_name = "VERSION")]
    imitate: Option<KafkaVersion>,
    /// Lets in only who logs in (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512); may be given several times
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user)]
    users: Vec<(String, String)>,
    /// Speaks TLS with the certificate in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, in a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
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

fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => Err("expected NAME:PASSWORD".to_owned()),
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
    let broker = builder(&arguments)?.start().await.map_err(|error| match error {
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

fn builder(arguments: &Arguments) -> anyhow::Result<Builder> {
    let mut builder =
        EmbeddedBroker::builder().brokers(arguments.brokers).port(arguments.port).configure(|config| {
            if let Some(version) = arguments.imitate {
                config.imitate(version);
            }
            config.auto_create_topics = arguments.auto_create_topics;
            if !arguments.users.is_empty() {
                config.sasl = Some(SaslConfig::new(arguments.users.iter().cloned()));
            }
        });
    for Topic { name, partitions } in &arguments.topics {
        builder = builder.topic(name, *partitions);
    }
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        builder = builder.tls(tls::server(certificate, key)?);
    }
    Ok(builder)
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

    #[test]
    fn users_as_people_write_them() {
        assert_eq!(user("alice:a:b"), Ok(("alice".to_owned(), "a:b".to_owned())));
        assert!(user("alice").is_err() && user(":secret").is_err());
    }
}
