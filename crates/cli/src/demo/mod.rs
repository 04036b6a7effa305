//! `milena demo`: an order system, small and whole, whose every claim is counted.
//!
//! Two order services with two versions of a schema; an inventory with retries and dead letters, e-mails in chunks, analytics by the
//! old schema, payments in transactions, and a service that comes late and reads everything again. Without `--bootstrap` a broker runs
//! in this process; with it the very same happens on a real cluster. What is to happen to which order is in a [`plan`]; what did is
//! counted by the [`services`] and an [`audit`], and held against it in [`claims`].

mod audit;
mod bits;
mod board;
mod claims;
mod ledger;
mod metrics;
mod names;
mod order;
mod plan;
mod progress;
mod report;
mod schemas;
mod services;
mod system;
mod watch;

use std::{
    io::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use milena_embedded_broker::EmbeddedBroker;

use crate::{compression, connect::connect, output, security::Security, stop::Stop};
use board::Board;
use metrics::Endpoint;
use names::Names;
use plan::Plan;
use progress::Progress;
use report::{Place, Report};
use schemas::{Refusal, Schemas};
use services::Shop;
use watch::Watch;

/// Each service remembers a bit an order.
const MAX_ORDERS: u64 = 1_000_000_000;
/// The transactions that were aborted are remembered.
const MAX_PAYMENTS: u64 = 1_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A cluster to run on, as host:port[,host:port…]; without it a broker starts in this process
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    #[command(flatten)]
    security: Security,
    /// A schema registry with Confluent's API; without it one starts in this process
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// How many orders are produced; 200,000 take about ten seconds on two cores, in a release build
    #[arg(long, default_value_t = 200_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=MAX_ORDERS))]
    orders: u64,
    /// How many of the orders are paid, in transactions
    #[arg(long, default_value_t = 2_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=MAX_PAYMENTS))]
    payments: u64,
    /// Orders a second at most; without it as many as go
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The topic, which must not exist, and which other topics and groups are named after; by default a new name every time
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
    /// What the orders are drawn from, and what happens to them
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The port of 127.0.0.1 that serves metrics to Prometheus meanwhile; by default a free one
    #[arg(long, value_name = "PORT")]
    metrics: Option<u16>,
    /// Shows rates, lags and what happens on the terminal meanwhile; q quits
    #[arg(long)]
    watch: bool,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.watch {
        watch::needs_terminal()?;
    }
    // Before there is a client: what is counted without a recorder is counted by nobody.
    let endpoint = Endpoint::serve(arguments.metrics)?;
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
    let (shop, refusal) = open_shop(&arguments, &bootstrap, endpoint).await?;
    let report = watched(&arguments, &shop, bootstrap, refusal).await?;
    shop.client.shutdown();
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    let json = arguments.json;
    output::print(&if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() })?;
    Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that the services need: topics, schemas, somewhere to count.
async fn open_shop(
    arguments: &Arguments,
    bootstrap: &str,
    endpoint: Endpoint,
) -> anyhow::Result<(Arc<Shop>, Refusal)> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let names = Names::new(arguments.topic.clone().unwrap_or_else(|| format!("orders-{run:x}")));
    let client = connect(bootstrap, &arguments.security, "milena-demo", "leave --bootstrap out").await?;
    let schemas = Schemas::connect(arguments.registry.as_deref(), &names).await?;
    system::create_topics(&client, &names, arguments.partitions).await?;
    let refusal = schemas.register().await?;
    let plan = Plan::new(arguments.seed, arguments.orders, arguments.payments);
    let shop = Shop {
        client,
        names,
        plan,
        schemas,
        endpoint,
        board: Board::new(plan),
        patience: Duration::from_secs(arguments.patience),
        run: run.to_string(),
    };
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "metrics are at {}", endpoint.url());
    Ok((Arc::new(shop), refusal))
}

/// Runs the system, with the view or the bars beside it.
async fn watched(
    arguments: &Arguments,
    shop: &Arc<Shop>,
    bootstrap: String,
    refusal: Refusal,
) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let running = system::run(shop, refusal, arguments.rate, arguments.compression);
    let findings = if arguments.watch {
        let stop = Stop::on_signals()?;
        let watch = Watch::start(shop)?;
        tokio::select! {
            findings = running => findings?,
            () = watch.quit() => anyhow::bail!("the demo was ended before its time"),
            () = stop.more_than(0) => anyhow::bail!("the demo was interrupted"),
        }
    } else {
        let _progress = Progress::start(shop, arguments.json);
        running.await?
    };
    let place = Place {
        bootstrap,
        embedded: arguments.bootstrap.is_none(),
        registry: shop.schemas.url.clone(),
        topic: shop.names.orders().to_owned(),
    };
    Ok(Report::new(place, findings.produced, findings.groups, findings.claims, begun.elapsed()))
}
