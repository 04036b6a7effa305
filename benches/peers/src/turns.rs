//! Runs the peers in turns, each run in a process of its own, and looks at the topic after each.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use milena::{Admin, Client};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    broker::{self, Broker},
    case::{Case, CodecName, Variant, Work},
    child,
    interrupt::Interrupt,
    measure::Sample,
    payload::Payloads,
    peers::{Peer, fill},
    steady::Steady,
    wire::Wire,
};

/// No run of a case takes a tenth of this on a quiet machine.
const RUN_LIMIT: Duration = Duration::from_secs(180);
const BUILD_LIMIT: Duration = Duration::from_secs(300);
const LEADERS_LIMIT: u32 = 500;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) peers: Vec<Peer>,
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// The peer that claims one record too many.
    pub(crate) plant: Option<Peer>,
}

/// One peer's runs of one case.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(skip)]
    pub(crate) case: Case,
    pub(crate) peer: &'static str,
    pub(crate) samples: Vec<Sample>,
    /// Runs without the idle partition, where the case has one.
    pub(crate) without_idle: Vec<Sample>,
    /// Bytes a record takes in the broker's log, where the broker is ours.
    pub(crate) stored: Option<f64>,
    /// Bytes that a reader received for each byte in the broker's log, where the broker is ours.
    pub(crate) received: Option<f64>,
    /// What the topic said against the peer, or why there are no figures.
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) case: String,
    pub(crate) rows: Vec<Row>,
}

/// Runs all of `plan` against the broker at `bootstrap`.
pub(crate) struct Turns<'r> {
    bootstrap: String,
    broker: Option<&'r mut Broker>,
    interrupt: &'r Interrupt,
    runtime: Runtime,
    admin: Admin,
    folder: tempfile::TempDir,
    topics: u32,
}

impl<'r> Turns<'r> {
    pub(crate) fn new(
        bootstrap: String,
        broker: Option<&'r mut Broker>,
        interrupt: &'r Interrupt,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Client::connect(bootstrap.as_str()))?;
        let admin = client.admin();
        let folder = tempfile::Builder::new().prefix("milena-peers-run-").tempdir()?;
        Ok(Self { bootstrap, broker, interrupt, runtime, admin, folder, topics: 0 })
    }

    pub(crate) fn run(&mut self, plan: &Plan) -> anyhow::Result<Vec<Table>> {
        let foreign = self.build_foreign(plan)?;
        let setup = Setup { plan, foreign, payloads: self.folder.path().join("payloads") };
        let runs = plan.cases.iter().flat_map(|case| plan.peers.iter().filter(|peer| peer.takes(*case)));
        let total = u64::try_from(runs.count() * plan.rounds)?;
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:32}] {pos}/{len} {msg}")?;
        let bar = ProgressBar::new(total).with_style(style);
        let mut tables = Vec::new();
        for case in &plan.cases {
            if case.variant == Variant::Idle
                && let Some(broker) = &mut self.broker
            {
                broker.start_second(self.interrupt)?;
            }
            tables.push(self.case(&setup, *case, &bar)?);
        }
        bar.finish_and_clear();
        Ok(tables)
    }

    /// All peers in turns, `rounds` times.
    fn case(&mut self, setup: &Setup<'_>, case: Case, bar: &ProgressBar) -> anyhow::Result<Table> {
        let plan = setup.plan;
        let payloads = Payloads::of(case);
        payloads.write(&setup.payloads)?;
        let filled = self.filled(plan, case, &payloads)?;
        let peers = plan.peers.iter().filter(|peer| peer.takes(case));
        let mut rows: Vec<(Peer, Row)> = peers.map(|peer| (*peer, Row::of(*peer, case))).collect();
        for round in 1..=plan.rounds {
            for (peer, row) in &mut rows {
                bar.set_message(format!("{case}: {peer}, round {round} of {}", plan.rounds));
                for (case, topic) in &filled {
                    let command = self.command(setup, *case, *peer, topic, &self.bootstrap)?;
                    let run = self.run_child(command, *case, topic)?;
                    self.judge(row, *peer, *case, plan.quick, topic, run);
                }
                if filled.is_empty() {
                    let topic = self.topic(case)?;
                    let command = self.command(setup, case, *peer, &topic, &self.bootstrap)?;
                    let run = self.run_child(command, case, &topic)?;
                    self.judge(row, *peer, case, plan.quick, &topic, run);
                    self.runtime.block_on(self.admin.delete_topic(topic.as_str()))?;
                }
                bar.inc(1);
            }
        }
        let is_plain = case.codec == CodecName::None && case.variant == Variant::Plain;
        for (case, topic) in filled {
            if is_plain {
                for (peer, row) in &mut rows {
                    bar.set_message(format!("{case}: {peer}, bytes received"));
                    self.tap(row, setup, case, *peer, &topic)?;
                }
            }
            self.runtime.block_on(self.admin.delete_topic(topic.as_str()))?;
        }
        Ok(Table { case: case.to_string(), rows: rows.into_iter().map(|(_, row)| row).collect() })
    }

    /// What a peer's process prints, while records are written beside it where the case wants that.
    fn run_child(
        &self,
        mut command: Command,
        case: Case,
        topic: &str,
    ) -> anyhow::Result<anyhow::Result<String>> {
        self.interrupt.check()?;
        let steady = match case.work {
            Work::Rebalance => Some(Steady::start(&self.bootstrap, case, topic)?),
            _ => None,
        };
        let run = child::output(&mut command, self.folder.path(), RUN_LIMIT, self.interrupt);
        let written = steady.map(Steady::end).transpose()?;
        self.interrupt.check()?;
        Ok(match written {
            Some(0) => Err(anyhow!("nothing was written beside it")),
            _ => run,
        })
    }

    /// Runs the peer once more, through what counts its bytes, and takes nothing else from that run.
    fn tap(
        &self,
        row: &mut Row,
        setup: &Setup<'_>,
        case: Case,
        peer: Peer,
        topic: &str,
    ) -> anyhow::Result<()> {
        let Some(broker) = &self.broker else { return Ok(()) };
        let (tap, stored) = (broker.tap(), broker.stored(topic)?);
        let before = tap.received();
        let address = tap.address().to_string();
        let command = self.command(setup, case, peer, topic, &address)?;
        match self.run_child(command, case, topic)? {
            Ok(_) => row.received = Some((tap.received() - before) as f64 / (stored as f64).max(1.0)),
            Err(error) => {
                row.problem.get_or_insert_with(|| format!("FAILED when tapped: {error:#}"));
            }
        }
        Ok(())
    }

    /// Writes down what a run came to. One failure does not end the whole.
    fn judge(
        &mut self,
        row: &mut Row,
        peer: Peer,
        case: Case,
        quick: bool,
        topic: &str,
        run: anyhow::Result<String>,
    ) {
        let sample = run.and_then(|printed| {
            let line = printed.lines().last().context("it printed nothing")?;
            Ok(serde_json::from_str::<Sample>(line)?)
        });
        let sample = match sample {
            Ok(sample) => sample,
            Err(error) => {
                row.problem.get_or_insert_with(|| format!("FAILED: {error:#}"));
                return;
            }
        };
        let outcome = match case.work {
            Work::Consume | Work::Join => {
                read_all(sample.acknowledged, case.records(quick) + case.warm_up(quick))
            }
            // How many there are is not known before; the peer looks for gaps itself.
            Work::Rebalance => moved(sample.pause.map(|pause| pause.partitions), case),
            Work::Produce | Work::Latency if peer.writes(case) => Wire::connect(&self.bootstrap)
                .and_then(|mut wire| wire.end_offsets(topic, case.partitions))
                .and_then(|ends| verdict(&ends, sample.acknowledged)),
            Work::Produce | Work::Latency => Ok(()),
        };
        if let Err(error) = outcome {
            row.problem.get_or_insert_with(|| format!("WRONG: {error:#}"));
        }
        if peer.writes(case)
            && let Some(stored) = self.broker.as_ref().and_then(|broker| broker.stored(topic).ok())
        {
            row.stored = Some(stored as f64 / (sample.acknowledged as f64).max(1.0));
        }
        match case == row.case {
            true => row.samples.push(sample),
            false => row.without_idle.push(sample),
        }
    }

    fn command(
        &self,
        setup: &Setup<'_>,
        case: Case,
        peer: Peer,
        topic: &str,
        bootstrap: &str,
    ) -> anyhow::Result<Command> {
        let (plan, case_text) = (setup.plan, case.to_string());
        let mut command = setup.foreign.command(peer)?;
        command
            .args(["--one", peer.as_str(), &case_text, "--bootstrap", bootstrap, "--topic", topic])
            .args(["--records", &case.records(plan.quick).to_string()])
            .args(["--warm-up", &case.warm_up(plan.quick).to_string()]);
        if matches!(peer, Peer::FranzGo | Peer::Java) {
            command.args(["--batch-size", &case.batch_size().to_string(), "--payloads"]).arg(&setup.payloads);
        }
        if plan.plant == Some(peer) {
            command.arg("--plant");
        }
        Ok(command)
    }

    /// A topic with all its leaders: on the first broker, and what is idle on the second if there is one.
    fn topic(&mut self, case: Case) -> anyhow::Result<String> {
        self.topics += 1;
        let name = format!("peers-{}-{}", std::process::id(), self.topics);
        let mut wire = Wire::connect(&self.bootstrap)?;
        let known = wire.brokers()?;
        let (Some(first), Some(last)) = (known.iter().min(), known.iter().max()) else {
            bail!("there is no broker");
        };
        let on = |partition| if partition < case.partitions { *first } else { *last };
        let brokers = (0..case.topic_partitions()).map(on);
        wire.create_topic(&name, brokers, &[("max.message.bytes", "4194304")])?;
        for _ in 0..LEADERS_LIMIT {
            self.interrupt.check()?;
            if wire.end_offsets(&name, case.partitions).is_ok_and(|ends| ends.iter().all(|end| *end == 0)) {
                return Ok(name);
            }
            child::pause();
        }
        bail!("{name} has no leaders");
    }

    /// Topics to be read, each with its case: where one partition is idle, the same without it, too.
    fn filled(
        &mut self,
        plan: &Plan,
        case: Case,
        payloads: &Payloads,
    ) -> anyhow::Result<Vec<(Case, String)>> {
        let records = case.written_before(plan.quick);
        let cases = match case.variant {
            _ if records == 0 => vec![],
            Variant::Idle => vec![Case { variant: Variant::Plain, ..case }, case],
            _ => vec![case],
        };
        let mut filled = Vec::new();
        for case in cases {
            let topic = self.topic(case)?;
            let mut wire = Wire::connect(&self.bootstrap)?;
            let written = fill(&mut wire, case, &topic, payloads, 0, records)?;
            verdict(&wire.end_offsets(&topic, case.partitions)?, written)?;
            filled.push((case, topic));
        }
        Ok(filled)
    }

    /// Builds the peers that are not Rust.
    fn build_foreign(&self, plan: &Plan) -> anyhow::Result<Foreign> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut foreign = Foreign { franz_go: None, java: None };
        if plan.peers.contains(&Peer::FranzGo) {
            let program = self.folder.path().join("franz-go");
            let mut build = Command::new("go");
            build.args(["build", "-o"]).arg(&program).arg(".").current_dir(source.join("franz-go"));
            child::output(&mut build, self.folder.path(), BUILD_LIMIT, self.interrupt)?;
            foreign.franz_go = Some(program);
        }
        if plan.peers.contains(&Peer::Java) {
            let (jars, classes) = (broker::jars()?, self.folder.path().join("classes"));
            let mut build = Command::new("javac");
            build.arg("-cp").arg(jars.join("*")).arg("-d").arg(&classes).arg(source.join("java/Peer.java"));
            child::output(&mut build, self.folder.path(), BUILD_LIMIT, self.interrupt)?;
            foreign.java = Some((jars, classes));
        }
        Ok(foreign)
    }
}

/// What the runs of all cases have in common.
struct Setup<'p> {
    plan: &'p Plan,
    foreign: Foreign,
    /// The file in which peers in other languages find the payloads.
    payloads: PathBuf,
}

/// The programs of the peers that are not Rust.
struct Foreign {
    franz_go: Option<PathBuf>,
    java: Option<(PathBuf, PathBuf)>,
}

impl Foreign {
    fn command(&self, peer: Peer) -> anyhow::Result<Command> {
        Ok(match peer {
            Peer::FranzGo => Command::new(self.franz_go.as_ref().context("franz-go is not built")?),
            Peer::Java => {
                let (jars, classes) = self.java.as_ref().context("the Java peer is not built")?;
                let path = format!("{}:{}", jars.join("*").display(), classes.display());
                let mut command = Command::new("java");
                command.args(["-Xmx512m", "-cp", &path, "Peer"]);
                command
            }
            _ => Command::new(std::env::current_exe()?),
        })
    }
}

impl Row {
    pub(crate) fn of(peer: Peer, case: Case) -> Self {
        Self {
            case,
            peer: peer.as_str(),
            samples: Vec::new(),
            without_idle: Vec::new(),
            stored: None,
            received: None,
            problem: None,
        }
    }
}

/// Fails unless a topic that was empty holds exactly what was acknowledged.
fn verdict(ends: &[i64], acknowledged: u64) -> anyhow::Result<()> {
    let stored: i64 = ends.iter().sum();
    ensure!(
        u64::try_from(stored)? == acknowledged,
        "{acknowledged} records were acknowledged and the topic has {stored}"
    );
    Ok(())
}

/// Fails unless a peer has read what the topic has, each record once.
fn read_all(read: u64, records: usize) -> anyhow::Result<()> {
    ensure!(read == u64::try_from(records)?, "{read} records were read and the topic has {records}");
    Ok(())
}

/// Fails unless a rebalance has moved some of the partitions and not all.
fn moved(stayed: Option<u32>, case: Case) -> anyhow::Result<()> {
    let stayed = i32::try_from(stayed.context("it does not say how many partitions stayed")?)?;
    ensure!((1..case.partitions).contains(&stayed), "{stayed} of {} partitions stayed", case.partitions);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_another_number_of_records_is_wrong() {
        assert!(verdict(&[3, 0, 4], 7).is_ok());
        for acknowledged in [6, 8, 0] {
            let error = verdict(&[3, 0, 4], acknowledged).unwrap_err().to_string();
            assert_eq!(error, format!("{acknowledged} records were acknowledged and the topic has 7"));
        }
        let case = "rebalance-100b-none-6p-nokey-classic".parse().unwrap();
        assert!(moved(Some(4), case).is_ok());
        assert!([None, Some(0), Some(6)].into_iter().all(|stayed| moved(stayed, case).is_err()));
        assert!(read_all(7, 7).is_ok() && read_all(6, 7).is_err() && read_all(8, 7).is_err());
    }
}
