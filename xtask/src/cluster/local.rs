//! The cluster as JVMs of this machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::compose::Compose;
use super::jars;
use super::node::{Java, Node};
use super::ports;
use super::process::{self, Process};
use super::status::{NodeState, State};
use super::{Engine, Fresh};
use crate::interrupt::Interrupt;

const POLL: Duration = Duration::from_millis(50);

/// Short, because a test that kills a node measures from there.
const GONE_POLL: Duration = Duration::from_millis(5);

/// A node is ready about 2 s after its start on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Formatting takes about 1 s.
const FORMAT_LIMIT: Duration = Duration::from_secs(60);

/// How long brokers may take to leave in an orderly way. The last ones have no quorum to leave from.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A killed process is gone as soon as the kernel has freed its memory.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long a command waits for another one that changes the cluster.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// The brokers of one compose file as local JVMs.
#[derive(Debug)]
pub(crate) struct Local {
    root: PathBuf,
    compose: Compose,
    nodes: Vec<Node>,
    /// The folder of everything the cluster writes.
    state: PathBuf,
    interrupt: Interrupt,
}

impl Local {
    /// The brokers of `compose`, whose paths are relative to `base`. Touches nothing.
    pub(crate) fn new(
        root: &Path,
        compose: Compose,
        base: &Path,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let state = root.join("target/cluster").join(&compose.name);
        let nodes = compose
            .brokers
            .iter()
            .map(|service| Node::new(&compose, service, base, &state))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { root: root.to_owned(), compose, nodes, state, interrupt })
    }

    /// Whether any broker of this cluster runs on this machine.
    pub(crate) fn is_running(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.process(), Ok(Some(_))))
    }

    fn node(&self, name: &str) -> anyhow::Result<&Node> {
        let service = self.compose.broker(name)?;
        self.nodes.iter().find(|node| node.name == service.name).context("a broker without a node")
    }

    fn java(&self) -> anyhow::Result<Java> {
        let program = jars::java()?;
        let jars = jars::kafka(&self.root, self.compose.version(), &self.interrupt)?;
        Ok(Java { program, jars })
    }

    /// Formats and starts `missing`, waits until `awaited` are ready. Ends what it started when that fails.
    fn bring_up(
        &self,
        java: &Java,
        missing: &[&Node],
        awaited: &[&Node],
        brokers: usize,
    ) -> anyhow::Result<()> {
        let published = self.compose.brokers.iter().flat_map(|broker| &broker.ports);
        ports::reserve(&published.map(|port| port.host).collect::<Vec<_>>());
        for node in missing {
            for address in node.listeners() {
                ports::await_free(&node.name, *address, &self.interrupt)?;
            }
        }
        let begin = Instant::now();
        let result = self.format(java, missing).and_then(|()| {
            for node in missing {
                node.start(java)?;
            }
            self.await_ready(awaited, brokers, begin)
        });
        if result.is_err() {
            // A JVM that formats carries the node's mark like the broker itself.
            kill(missing)?;
        }
        result
    }

    /// Formats what is not formatted yet, all nodes at the same time.
    fn format(&self, java: &Java, nodes: &[&Node]) -> anyhow::Result<()> {
        let mut running = Vec::new();
        let mut result = Ok(());
        for node in nodes {
            match node.is_formatted() {
                Ok(true) => {}
                Ok(false) => running.push((node, node.format(java)?)),
                Err(error) => result = Err(error),
            }
        }
        // All children are waited for, whatever becomes of the first.
        for (node, mut child) in running {
            let ended = process::wait(&mut child, FORMAT_LIMIT, &self.interrupt);
            let ended =
                ended.with_context(|| format!("formatting the data of {}", node.name)).and_then(|status| {
                    ensure!(
                        status.success(),
                        "{} cannot format its data:\n{}",
                        node.name,
                        node.format_log_tail()
                    );
                    eprintln!("{} formatted", node.name);
                    Ok(())
                });
            result = result.and(ended);
        }
        result
    }

    /// Waits until each of `nodes` reports itself and at least `brokers` brokers as alive.
    fn await_ready(&self, nodes: &[&Node], brokers: usize, begin: Instant) -> anyhow::Result<()> {
        let mut waiting = nodes.to_vec();
        while !waiting.is_empty() {
            let mut still_waiting = Vec::new();
            for node in waiting {
                self.interrupt.check()?;
                if node.is_ready(brokers)? {
                    eprintln!("{} ready after {:.1} s", node.name, begin.elapsed().as_secs_f64());
                } else {
                    still_waiting.push(node);
                }
            }
            waiting = still_waiting;
            if let Some(node) = waiting.first() {
                ensure!(
                    begin.elapsed() < START_LIMIT,
                    "{} does not see {brokers} brokers after {} s; {}",
                    node.name,
                    START_LIMIT.as_secs(),
                    node.log_tail()
                );
                sleep(POLL);
            }
        }
        Ok(())
    }

    /// Sends SIGTERM to all nodes at once and SIGKILL to those that are left at the limit.
    fn stop(&self, nodes: &[&Node]) -> anyhow::Result<()> {
        let processes = running(nodes)?;
        for process in &processes {
            process::signal(*process, Signal::TERM)?;
            // A paused process sees SIGTERM when it goes on.
            process::signal(*process, Signal::CONT)?;
        }
        if await_gone(&processes, STOP_LIMIT) {
            return Ok(());
        }
        eprintln!("not stopped after {} s: killing", STOP_LIMIT.as_secs());
        kill(nodes)
    }

    fn all(&self) -> Vec<&Node> {
        self.nodes.iter().collect()
    }

    /// Waits until no other command changes the cluster. The lock goes with the returned file.
    fn lock(&self) -> anyhow::Result<File> {
        fs::create_dir_all(&self.state)?;
        let file = File::create(self.state.with_extension("lock"))?;
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(error)) => return Err(error.into()),
                Err(fs::TryLockError::WouldBlock) => {}
            }
            self.interrupt.check()?;
            ensure!(
                Instant::now() < deadline,
                "another `cargo xtask cluster` command has been at work for too long"
            );
            sleep(POLL);
        }
    }
}

impl Engine for Local {
    fn name(&self) -> &'static str {
        "local JVMs"
    }

    fn up(&self, fresh: Fresh) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let java = self.java()?;
        if fresh == Fresh::Yes {
            kill(&self.all())?;
            remove(&self.state)?;
        }
        let mut missing = Vec::new();
        for node in &self.nodes {
            if node.process()?.is_none() {
                missing.push(node);
            }
        }
        if missing.is_empty() {
            self.await_ready(&self.all(), self.nodes.len(), Instant::now())?;
            eprintln!("the cluster was up already");
            return Ok(());
        }
        if !self.compose.others.is_empty() {
            eprintln!("local JVMs run the brokers only; not started: {}", self.compose.others.join(", "));
        }
        self.bring_up(&java, &missing, &self.all(), self.nodes.len())
    }

    fn down(&self, purge: bool) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let all = self.all();
        if purge {
            // Nobody will read what an orderly stop would save.
            kill(&all)?;
            return remove(&self.state);
        }
        self.stop(&all)
    }

    fn states(&self) -> anyhow::Result<Vec<NodeState>> {
        let mut states = Vec::new();
        for node in &self.nodes {
            let process = node.process()?;
            let state = match process {
                Some(process) if process.paused => State::Paused,
                Some(_) => State::Running,
                None => State::Stopped,
            };
            states.push(NodeState {
                state,
                pid: process.map(|process| process.id),
                resident_bytes: process.and_then(process::resident_bytes),
            });
        }
        Ok(states)
    }

    fn start(&self, name: &str) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let node = self.node(name)?;
        if node.process()?.is_some() {
            eprintln!("{name} was running already");
            return Ok(());
        }
        let java = self.java()?;
        // The others may be down, so it is enough that the broker has registered itself.
        self.bring_up(&java, &[node], &[node], 1)
    }

    fn stop(&self, name: &str) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.stop(&[self.node(name)?])
    }

    fn kill(&self, name: &str) -> anyhow::Result<()> {
        let node = self.node(name)?;
        ensure!(node.process()?.is_some(), "{name} is not running");
        kill(&[node])
    }

    fn pause(&self, name: &str) -> anyhow::Result<()> {
        let process = self.node(name)?.process()?.with_context(|| format!("{name} is not running"))?;
        process::signal(process, Signal::STOP)
    }

    fn resume(&self, name: &str) -> anyhow::Result<()> {
        let process = self.node(name)?.process()?.with_context(|| format!("{name} is not running"))?;
        process::signal(process, Signal::CONT)
    }
}

fn running(nodes: &[&Node]) -> anyhow::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for node in nodes {
        processes.extend(node.processes()?);
    }
    Ok(processes)
}

fn kill(nodes: &[&Node]) -> anyhow::Result<()> {
    let processes = running(nodes)?;
    for process in &processes {
        process::signal(*process, Signal::KILL)?;
    }
    ensure!(
        await_gone(&processes, KILL_LIMIT),
        "a killed broker is still there after {} s",
        KILL_LIMIT.as_secs()
    );
    Ok(())
}

/// Whether all of `processes` ended within `limit`.
fn await_gone(processes: &[Process], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while !processes.iter().all(|process| process::is_gone(*process)) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(GONE_POLL);
    }
    true
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
