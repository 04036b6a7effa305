//! `milena demo`: an order service and three services that each read every order.
//!
//! Without `--bootstrap` a broker runs in this process; with it the very same happens on a real cluster. What each
//! group saw is counted in a [`ledger`], not assumed.

mod ledger;
mod order;
mod progress;
mod report;
mod service;

use std::{
    convert::Infallible,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use milena::{Client, ErrorCode, NewTopic};
use milena_embedded_broker::EmbeddedBroker;
use tokio::sync::mpsc;

use crate::{advised::advised, compression, connect::connect, output, security::Security};
use progress::Progress;
use report::{Group, Report};
use service::{OrderService, ReadingService};

/// The services that read the orders, each in a group of its own.
const SERVICES: [&str; 3] = ["inventory", "email", "analytics"];

/// Each service remembers a bit an order.
const MAX_ORDERS: u64 = 1_000_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A cluster to run on, as host:port[,host:port…]; without it a broker starts in this process
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    #[command(flatten)]
    security: Security,
    /// How many orders are produced
    #[arg(long, default_value_t = 200_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=MAX_ORDERS))]
    orders: u64,
    /// Orders a second at most; without it as many as go
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The topic, which must not exist; by default a new name every time
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Partitions of the topic
    #[arg(long, value_name = "COUNT", default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How orders are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none", value_parser = compression::codec)]
    compression: milena::Codec,
    /// How long nothing may arrive before a service gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// What the orders are drawn from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let topic = arguments.topic.clone().unwrap_or_else(|| format!("orders-{run:x}"));
    let broker = match &arguments.bootstrap {
        Some(_) => None,
        None => {
            Some(EmbeddedBroker::builder().brokers(3).start().await.context("starting the embedded broker")?)
        }
    };
    let bootstrap = match (&arguments.bootstrap, &broker) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, Some(broker)) => broker.bootstrap(),
        (None, None) => String::new(),
    };
    let report = on_cluster(&arguments, bootstrap, topic, run).await?;
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    let json = arguments.json;
    output::print(&if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() })?;
    Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn on_cluster(
    arguments: &Arguments,
    bootstrap: String,
    topic: String,
    run: u64,
) -> anyhow::Result<Report> {
    let client = connect(&bootstrap, &arguments.security, "milena-demo", "leave --bootstrap out").await?;
    create_topic(&client, &topic, arguments.partitions).await?;

    let progress = Progress::new(arguments.json);
    let orders = OrderService::new(arguments, topic.clone(), run, progress.bar("orders", arguments.orders));
    let patience = Duration::from_secs(arguments.patience);
    let (ready, mut all_ready) = mpsc::channel::<Infallible>(1);
    let mut readers = Vec::new();
    for name in SERVICES {
        let bar = progress.bar(name, arguments.orders);
        let service = ReadingService::new(name, &topic, run, arguments.orders, patience, bar);
        readers.push(tokio::spawn(service.run(client.clone(), ready.clone())));
    }
    drop(ready);
    // Latencies are those of groups that are there, not the time it takes to join.
    let _ = tokio::time::timeout(patience, all_ready.recv()).await;
    let produced = orders.run(&client).await?;

    let mut groups = Vec::new();
    for (reader, name) in readers.into_iter().zip(SERVICES) {
        let read = reader.await.context("a service has panicked")??;
        let findings = read.ledger.findings(&produced.acknowledged);
        groups
            .push((findings, Group::new(name.to_owned(), findings, read.took, &read.latencies, read.error)));
    }
    client.shutdown();
    let clean = groups.iter().all(|(findings, group)| findings.are_clean() && group.error.is_none())
        && produced.summary.acknowledged == arguments.orders;
    Ok(Report {
        embedded: arguments.bootstrap.is_none(),
        bootstrap,
        topic,
        produced: produced.summary,
        groups: groups.into_iter().map(|(_, group)| group).collect(),
        clean,
    })
}

/// Creates the topic and waits until every partition has a leader that all brokers may know of.
async fn create_topic(client: &Client, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let admin = client.admin();
    admin.create_topic(NewTopic::new(topic).partitions(partitions)).await.map_err(|error| {
        match error.code() {
            Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                advised(error, "name another one with --topic, or leave --topic out")
            }
            _ => error.into(),
        }
    })?;
    let mut ready = admin.partition_count(topic).await;
    for _ in 0..100 {
        match &ready {
            Ok(_) => return Ok(()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        ready = admin.partition_count(topic).await;
    }
    ready.map(|_| ()).context("the topic was created and does not become ready")
}
