//! `milena doctor`: how far a client gets with a cluster, and what to do where it does not go on.

use std::{process::ExitCode, time::Duration};

use milena::{Client, ConnectError, DiagnosisOptions, Health};

use crate::{advised::advised, output::print, progress::waiting, security::Security};

const NOTES: &str = "\
Examples:
  milena doctor -b localhost:9092
  milena doctor -b kafka.example:9093 --tls --sasl-mechanism scram-sha-512 --user alice --topic orders --group billing
  milena doctor -b localhost:9092 --json | jq '.checks[] | select(.health != \"fine\")'

Every bootstrap address and every broker at the address that it advertises is connected to: name, TCP, TLS, login, versions.
Then the cluster, its topics and what the client may do with them, groups, and the clock. Nothing is changed.

Ends with 0; with 1 when something is wrong (what is doubtful does not count); with 2 when the options can't be.";

/// Which cluster, and what of it.
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    /// The cluster, as host:port[,host:port…]
    #[arg(short, long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// A topic to look at closely; may be given several times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// A group to look at; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// How long each address may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Prints one object of JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    security: Security,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_secs(arguments.timeout);
    let client = Client::builder(arguments.bootstrap).client_id("milena-doctor").setup_timeout(timeout);
    let client = arguments.security.secure(client)?;
    let options = arguments.topic.into_iter().fold(DiagnosisOptions::new(), DiagnosisOptions::topic);
    let options = arguments.group.into_iter().fold(options, DiagnosisOptions::group);
    let progress = waiting("looking at the cluster");
    let diagnosis = client.diagnose(&options).await;
    progress.finish_and_clear();
    let diagnosis = diagnosis.map_err(|error| match error {
        ConnectError::Address(_) => advised(error, "host:port, several separated by commas"),
        ConnectError::Unsafe(_) => {
            advised(error, "encrypt with --tls or --tls-ca FILE, or take scram-sha-512 with --sasl-mechanism")
        }
        error => error.into(),
    })?;
    if arguments.json {
        print(&(serde_json::to_string(&diagnosis)? + "\n"))?;
    } else {
        print(&diagnosis.to_string())?;
    }
    Ok(ExitCode::from(u8::from(diagnosis.health() == Health::Wrong)))
}
