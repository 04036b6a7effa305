//! Milena and other Kafka clients on one broker, with the same payloads, in turns. README.md says how to read it.

mod broker;
mod case;
mod cells;
mod child;
mod interrupt;
mod measure;
mod payload;
mod peers;
mod report;
mod steady;
mod tap;
mod turns;
mod wire;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::{
    broker::Broker,
    case::Case,
    interrupt::Interrupt,
    payload::Payloads,
    peers::{Job, Peer},
    turns::{Plan, Table, Turns},
};

#[derive(Debug, Parser)]
#[command(about = "Measures Milena and other Kafka clients on one broker, in turns")]
struct Arguments {
    /// What the clients do
    #[arg(value_enum, required_unless_present = "one")]
    what: Option<What>,

    /// A broker that runs already, alone in its cluster; without it one is started from Kafka's jars
    #[arg(long)]
    bootstrap: Option<String>,

    /// These peers, with commas between them
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,

    /// The cases whose name contains this; may be given more than once
    #[arg(long)]
    case: Vec<String>,

    /// A choice of cases with fewer records, in five minutes or so
    #[arg(long)]
    quick: bool,

    /// How often each case is repeated; 3, or 2 with --quick
    #[arg(long)]
    rounds: Option<usize>,

    /// Every sample as JSON instead of tables
    #[arg(long)]
    json: bool,

    /// Puts the tables between the marks of this document, too
    #[arg(long)]
    markdown: Option<PathBuf>,

    /// One peer's run of one case, in this process: what the program calls itself for
    #[arg(long, num_args = 2, value_names = ["PEER", "CASE"], hide = true, requires_all = ["bootstrap", "topic", "records", "warm_up"])]
    one: Option<Vec<String>>,
    #[arg(long, hide = true)]
    topic: Option<String>,
    #[arg(long, hide = true)]
    records: Option<usize>,
    #[arg(long, hide = true)]
    warm_up: Option<usize>,
    #[arg(long, hide = true, requires = "one")]
    plant: bool,

    /// This peer claims one record that it did not send: its rows must be marked WRONG
    #[arg(long, hide = true)]
    plant_in: Option<Peer>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Producer,
    Consumer,
}

impl What {
    fn marks(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(one) = &arguments.one {
        return run_one(one, &arguments);
    }
    let what = arguments.what.context("say what to measure")?;
    let tables = run_all(what, &arguments)?;
    let wrong = tables.iter().flat_map(|table| &table.rows).filter(|row| row.problem.is_some()).count();
    ensure!(wrong == 0, "{wrong} rows are wrong or failed: what the last column says");
    Ok(())
}

/// The child's part.
fn run_one(one: &[String], arguments: &Arguments) -> anyhow::Result<()> {
    let [peer, case] = one else { bail!("--one takes a peer and a case") };
    let case: Case = case.parse()?;
    // The process ends with it.
    let job: &'static Job = Box::leak(Box::new(Job {
        case,
        bootstrap: arguments.bootstrap.clone().context("--bootstrap is missing")?,
        topic: arguments.topic.clone().context("--topic is missing")?,
        records: arguments.records.context("--records is missing")?,
        warm_up: arguments.warm_up.context("--warm-up is missing")?,
        // Its memory is not to be that of a pool which nobody asks for.
        payloads: if case.writes() { Payloads::of(case) } else { Payloads::none() },
        plant: arguments.plant,
    }));
    let sample = peers::run(peer.parse()?, job)?;
    println!("{}", serde_json::to_string(&sample)?);
    // Clients that are still closing would only take time from the next.
    std::process::exit(0)
}

fn run_all(what: What, arguments: &Arguments) -> anyhow::Result<Vec<Table>> {
    let interrupt = Interrupt::install()?;
    let plan = plan(what, arguments)?;
    let load = report::load();
    let mut broker = match arguments.bootstrap {
        Some(_) => None,
        None => Some(Broker::start(&broker::jars()?, &interrupt)?),
    };
    let own = broker.as_ref().map(Broker::bootstrap);
    let bootstrap = own.or(arguments.bootstrap.as_deref()).context("there is no broker")?.to_owned();
    let tables = Turns::new(bootstrap, broker.as_mut(), &interrupt)?.run(&plan)?;
    drop(broker);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&tables)?);
    } else {
        print!("{}", report::terminal(&tables)?);
    }
    if let Some(path) = &arguments.markdown {
        report::rewrite(path, what.marks(), &report::markdown(&tables, &report::about(&load))?)?;
    }
    Ok(tables)
}

fn plan(what: What, arguments: &Arguments) -> anyhow::Result<Plan> {
    let quick = arguments.quick;
    let mut cases = Case::all(matches!(what, What::Consumer), quick);
    if !arguments.case.is_empty() {
        // A name in full is a case even where the choice of this run has it not.
        let named: Vec<Case> = arguments.case.iter().filter_map(|text| text.parse().ok()).collect();
        cases.retain(|case| arguments.case.iter().any(|part| case.to_string().contains(part.as_str())));
        let missing = named.into_iter().filter(|named| !cases.contains(named)).collect::<Vec<_>>();
        cases.extend(missing);
    }
    ensure!(!cases.is_empty(), "no case has such a name");
    let mut peers = if arguments.only.is_empty() { Peer::ALL.to_vec() } else { arguments.only.clone() };
    peers.sort_unstable();
    peers.dedup();
    let rounds = arguments.rounds.unwrap_or(if quick { 2 } else { 3 });
    ensure!(rounds > 0, "--rounds must be at least 1");
    Ok(Plan { peers, cases, rounds, quick, plant: arguments.plant_in })
}
