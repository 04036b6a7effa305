//! The cluster as containers: Docker reads the compose file itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::compose::Compose;
use super::metadata::live_brokers;
use super::process;
use super::status::{NodeState, State};
use super::{Engine, Fresh, SCRAM_MECHANISMS};
use crate::interrupt::Interrupt;

/// An engine that does not answer within this time counts as absent.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// The first `up` pulls images.
const COMMAND_LIMIT: Duration = Duration::from_secs(900);

/// How long brokers that are healthy may take to find each other.
const READY_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(100);

/// `docker compose` on one file.
#[derive(Debug)]
pub(crate) struct Docker {
    file: PathBuf,
    compose: Compose,
    interrupt: Interrupt,
}

/// Whether an engine answers and the client has the compose plugin.
pub(crate) fn is_available(interrupt: &Interrupt) -> bool {
    [["info", "--format={{.ServerVersion}}"], ["compose", "version"]].iter().all(|arguments| {
        Command::new("docker")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok_and(|mut child| {
                process::wait(&mut child, PROBE_LIMIT, interrupt).is_ok_and(|status| status.success())
            })
    })
}

impl Docker {
    pub(crate) fn new(file: &Path, compose: Compose, interrupt: Interrupt) -> Self {
        Self { file: file.to_owned(), compose, interrupt }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--file"]).arg(&self.file).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str], interrupt: &Interrupt) -> anyhow::Result<()> {
        let what = format!("docker compose {}", arguments.join(" "));
        let mut child = self
            .command(arguments)
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {what}"))?;
        let status = process::wait(&mut child, COMMAND_LIMIT, interrupt).with_context(|| what.clone())?;
        ensure!(status.success(), "{what} failed ({status})");
        Ok(())
    }

    /// Waits until each of `addresses` reports at least `brokers` brokers as alive. Docker's health check ends when a
    /// broker answers, which may be before it knows the others.
    fn await_ready(&self, addresses: &[SocketAddr], brokers: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        for address in addresses {
            while !live_brokers(*address).is_ok_and(|live| live.len() >= brokers) {
                self.interrupt.check()?;
                ensure!(
                    Instant::now() < deadline,
                    "the broker on {address} does not see {brokers} brokers after {} s",
                    READY_LIMIT.as_secs()
                );
                sleep(POLL);
            }
        }
        Ok(())
    }

    /// Makes the SCRAM users. The image formats the metadata log itself and takes no `--add-scram`, so they come to be when
    /// the broker is up: whoever logs in before that is refused, and brokers could not use SCRAM among themselves.
    fn make_scram_users(&self) -> anyhow::Result<()> {
        for broker in &self.compose.brokers {
            let port = broker.ports.first().context("no port is published")?.container;
            let bootstrap = format!("--bootstrap-server=localhost:{port}");
            for (user, password) in &broker.scram_users {
                let credentials =
                    SCRAM_MECHANISMS.map(|mechanism| format!("{mechanism}=[password={password}]"));
                let credentials = format!("--add-config={}", credentials.join(","));
                let user = format!("--entity-name={user}");
                self.run(
                    &[
                        "exec",
                        "-T",
                        &broker.name,
                        "/opt/kafka/bin/kafka-configs.sh",
                        &bootstrap,
                        "--alter",
                        "--entity-type=users",
                        &user,
                        &credentials,
                    ],
                    &self.interrupt,
                )?;
            }
        }
        Ok(())
    }

    fn run_on(&self, arguments: &[&str], node: &str) -> anyhow::Result<()> {
        let service = self.compose.broker(node)?;
        self.run(&[arguments, &[service.name.as_str()]].concat(), &self.interrupt)
    }
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    fn up(&self, fresh: Fresh) -> anyhow::Result<()> {
        if fresh == Fresh::Yes {
            self.down(true)?;
        }
        let all = self.compose.brokers.len();
        let result = self
            .run(&["up", "--detach", "--wait"], &self.interrupt)
            .and_then(|()| self.await_ready(&self.compose.bootstrap(), all))
            .and_then(|()| self.make_scram_users());
        if result.is_err() {
            self.command(&["logs", "--tail=20"]).stdout(std::io::stderr()).status()?;
            self.down(false)?;
        }
        result
    }

    fn down(&self, purge: bool) -> anyhow::Result<()> {
        // The interrupt that ended something else must not end this too.
        self.run(if purge { &["down", "--volumes", "--timeout=0"] } else { &["down"] }, &Interrupt::never())
    }

    fn states(&self) -> anyhow::Result<Vec<NodeState>> {
        let output = self.command(&["ps", "--all", "--format=json"]).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "docker compose ps failed ({})", output.status);
        node_states(&self.compose, &String::from_utf8_lossy(&output.stdout))
    }

    fn start(&self, name: &str) -> anyhow::Result<()> {
        let service = self.compose.broker(name)?;
        self.run_on(&["up", "--detach", "--wait", "--no-deps"], name)?;
        self.await_ready(service.address().as_slice(), 1)
    }

    fn stop(&self, name: &str) -> anyhow::Result<()> {
        self.run_on(&["stop"], name)
    }

    fn kill(&self, name: &str) -> anyhow::Result<()> {
        self.run_on(&["kill", "--signal=SIGKILL"], name)
    }

    fn pause(&self, name: &str) -> anyhow::Result<()> {
        self.run_on(&["pause"], name)
    }

    fn resume(&self, name: &str) -> anyhow::Result<()> {
        self.run_on(&["unpause"], name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    service: String,
    state: String,
}

/// Reads what `docker compose ps --format=json` prints: an object a line.
fn node_states(compose: &Compose, output: &str) -> anyhow::Result<Vec<NodeState>> {
    let containers = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(serde_json::from_str)
        .collect::<Result<Vec<Container>, _>>()
        .context("docker compose ps does not print what we expect")?;
    let state = |service: &str| match containers.iter().find(|container| container.service == service) {
        Some(container) if container.state == "running" => State::Running,
        Some(container) if container.state == "paused" => State::Paused,
        _ => State::Stopped,
    };
    Ok(compose
        .brokers
        .iter()
        .map(|service| NodeState { state: state(&service.name), pid: None, resident_bytes: None })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_read_line_by_line() {
        let file = crate::workspace_root().join(crate::cluster::DEFAULT_COMPOSE_FILE);
        let output = "{\"Service\":\"kafka3\",\"State\":\"paused\",\"Health\":\"healthy\"}\n\
                      {\"Service\":\"kafka1\",\"State\":\"running\"}\n\n\
                      {\"Service\":\"kafka2\",\"State\":\"exited\"}\n";
        let states = node_states(&Compose::read(&file).unwrap(), output).unwrap();
        let states: Vec<_> = states.iter().map(|node| node.state).collect();
        assert_eq!(states, [State::Running, State::Stopped, State::Paused]);
        assert!(node_states(&Compose::read(&file).unwrap(), "no such command").is_err());
    }
}
