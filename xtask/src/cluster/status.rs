//! What `cargo xtask cluster status` reports.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use serde::Serialize;

use super::Engine;
use super::compose::Compose;
use super::metadata::live_brokers;

/// The cluster as it is seen from outside.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// What runs the brokers.
    engine: &'static str,
    /// The version of Kafka.
    version: String,
    /// Whether every broker reports every broker as alive.
    ready: bool,
    /// What a client is given to find the cluster.
    bootstrap: String,
    nodes: Vec<NodeStatus>,
}

#[derive(Debug, Serialize)]
struct NodeStatus {
    name: String,
    address: SocketAddr,
    #[serde(flatten)]
    process: NodeState,
    /// The ids of the brokers that this one reports as alive; none when it does not answer.
    live_brokers: Option<Vec<i32>>,
}

/// What an engine knows about one node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeState {
    pub(crate) state: State,
    /// Its process on this machine, if it is one.
    pub(crate) pid: Option<u32>,
    pub(crate) resident_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    /// Frozen: it holds its connections and answers nothing.
    Paused,
    Stopped,
}

impl Status {
    /// Asks the engine about its nodes and the brokers about each other.
    pub(crate) fn read(engine: &dyn Engine, compose: &Compose) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for (service, process) in compose.brokers.iter().zip(engine.states()?) {
            let Some(address) = service.address() else { continue };
            let live_brokers = match process.state {
                State::Running => live_brokers(address).ok(),
                State::Paused | State::Stopped => None,
            };
            nodes.push(NodeStatus { name: service.name.clone(), address, process, live_brokers });
        }
        let all = compose.brokers.len();
        let sees_all =
            |node: &NodeStatus| node.live_brokers.as_ref().is_some_and(|brokers| brokers.len() == all);
        Ok(Self {
            engine: engine.name(),
            version: compose.version().to_owned(),
            ready: nodes.len() == all && nodes.iter().all(sees_all),
            bootstrap: bootstrap(compose),
            nodes,
        })
    }
}

/// The addresses of all brokers, as clients take them.
pub(crate) fn bootstrap(compose: &Compose) -> String {
    compose.bootstrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = if self.ready { "ready" } else { "not ready" };
        writeln!(formatter, "Kafka {} by {}: {ready}", self.version, self.engine)?;
        for NodeStatus { name, address, process, live_brokers } in &self.nodes {
            let mut line = format!("{name}  {address}  {:<8}", process.state.to_string());
            if let Some(pid) = process.pid {
                write!(line, " process {pid}")?;
            }
            if let Some(bytes) = process.resident_bytes {
                write!(line, ", {} MiB", bytes >> 20)?;
            }
            if let Some(brokers) = live_brokers {
                write!(line, ", sees brokers {brokers:?}")?;
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        write!(formatter, "bootstrap: {}", self.bootstrap)
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}
