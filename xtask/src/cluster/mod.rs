//! `cargo xtask cluster`: the three brokers of docker-compose.kraft.yml, or the one of docker-compose.secure.yml.
//!
//! The compose file is the one source of truth. Docker runs it where an engine answers; otherwise [`local`] starts
//! the same brokers as JVMs, from the same environment variables.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Subcommand;

use crate::interrupt::Interrupt;
use compose::Compose;
use docker::Docker;
use local::Local;
use registry::Registry;
use status::{NodeState, State, Status};

mod compose;
mod docker;
mod host_view;
pub(crate) mod jars;
mod local;
mod metadata;
mod node;
mod ports;
pub(crate) mod process;
mod properties;
mod registry;
mod secrets;
mod status;

pub(crate) const DEFAULT_COMPOSE_FILE: &str = "docker-compose.kraft.yml";

/// One broker with TLS, logins and ACLs.
pub(crate) const SECURE_COMPOSE_FILE: &str = "docker-compose.secure.yml";

const SCRAM_MECHANISMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The compose file that describes the cluster, relative to the repository.
    #[arg(long, global = true, default_value = DEFAULT_COMPOSE_FILE)]
    file: PathBuf,

    /// The broker with TLS, logins and ACLs in place of the three: docker-compose.secure.yml tells its ports and users.
    #[arg(long, global = true, conflicts_with = "file")]
    secure: bool,

    /// Runs local JVMs even where Docker answers.
    #[arg(long, global = true)]
    local: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts what is not running and ends when every broker reports all brokers as alive.
    ///
    /// With Docker the whole compose file is started. Without, the brokers alone, as JVMs; Maven fetches Kafka's
    /// jars the first time. Logs and data are under target/cluster/. Prints the bootstrap addresses.
    Up {
        /// Ends what is running, deletes its data and begins with an empty cluster.
        #[arg(long)]
        fresh: bool,
        /// Starts the schema registry beside local brokers too: with Docker it is there anyway. It needs Java 21 or newer;
        /// Maven fetches it the first time. Prints its address on standard error.
        #[arg(long, conflicts_with = "secure")]
        registry: bool,
    },
    /// Stops all nodes. Their data and logs stay.
    Down {
        /// Deletes data and logs too; the nodes are killed, as nothing is worth an orderly stop.
        #[arg(long)]
        purge: bool,
    },
    /// Says which nodes run, and which brokers each of them reports as alive.
    Status {
        /// Prints JSON: engine, version, ready, bootstrap, and for each node name, address, state
        /// (running, paused, stopped), pid, resident_bytes and live_brokers.
        #[arg(long)]
        json: bool,
    },
    /// Starts a node that was killed or stopped, with the data it had; ends when the broker answers.
    Start { node: String },
    /// Stops a node in an orderly way: it hands its leaderships over first (SIGTERM).
    Stop { node: String },
    /// Kills a node as a crash would (SIGKILL). The others notice within the broker session timeout.
    Kill { node: String },
    /// Freezes a node: its connections stay open and nothing is answered (SIGSTOP).
    Pause { node: String },
    /// Lets a frozen node go on (SIGCONT).
    Resume { node: String },
}

/// Whether a cluster begins with empty data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    Yes,
    No,
}

/// What runs the brokers. Nodes are named as in the compose file.
pub(crate) trait Engine {
    fn name(&self) -> &'static str;
    /// Starts what is not running and waits until all is ready. Ends what it started when that fails.
    fn up(&self, fresh: Fresh) -> anyhow::Result<()>;
    fn down(&self, purge: bool) -> anyhow::Result<()>;
    /// The state of every broker, in the order of the compose file.
    fn states(&self) -> anyhow::Result<Vec<NodeState>>;
    fn start(&self, node: &str) -> anyhow::Result<()>;
    fn stop(&self, node: &str) -> anyhow::Result<()>;
    fn kill(&self, node: &str) -> anyhow::Result<()>;
    fn pause(&self, node: &str) -> anyhow::Result<()>;
    fn resume(&self, node: &str) -> anyhow::Result<()>;
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let interrupt = Interrupt::install()?;
    let file = if arguments.secure { Path::new(SECURE_COMPOSE_FILE) } else { &arguments.file };
    let cluster = Cluster::open(&crate::workspace_root().join(file), arguments.local, interrupt)?;
    let engine = cluster.engine.as_ref();
    match &arguments.command {
        Command::Up { fresh, registry } => {
            cluster.up(if *fresh { Fresh::Yes } else { Fresh::No })?;
            if *registry {
                cluster.registry_up()?;
            }
            println!("{}", cluster.bootstrap());
            Ok(())
        }
        Command::Down { purge } => cluster.down(*purge),
        Command::Status { json } => {
            let status = Status::read(engine, &cluster.compose)?;
            if *json {
                println!("{}", serde_json::to_string_pretty(&status)?);
            } else {
                println!("{status}");
                if let Some(line) = cluster.registry.status()? {
                    println!("{line}");
                }
            }
            Ok(())
        }
        Command::Start { node } => engine.start(node),
        Command::Stop { node } => engine.stop(node),
        Command::Kill { node } => engine.kill(node),
        Command::Pause { node } => engine.pause(node),
        Command::Resume { node } => engine.resume(node),
    }
}

/// A compose file and what runs it.
pub(crate) struct Cluster {
    compose: Compose,
    /// The folder of the compose file.
    base: PathBuf,
    engine: Box<dyn Engine>,
    /// Beside local brokers. With Docker it is one of the services.
    registry: Registry,
    is_local: bool,
    interrupt: Interrupt,
}

impl Cluster {
    /// Reads `file` and chooses the engine: local JVMs that run already, else Docker if it answers, else local JVMs.
    pub(crate) fn open(file: &Path, force_local: bool, interrupt: Interrupt) -> anyhow::Result<Self> {
        let base = file.parent().unwrap_or(Path::new("."));
        let compose = Compose::read(file)?;
        let local = Local::new(&crate::workspace_root(), compose.clone(), base, interrupt.clone())?;
        let is_local = force_local || local.is_running() || !docker::is_available(&interrupt);
        let engine: Box<dyn Engine> = if is_local {
            Box::new(local)
        } else {
            Box::new(Docker::new(file, compose.clone(), interrupt.clone()))
        };
        let registry = Registry::new(&crate::workspace_root(), &compose.name, interrupt.clone());
        Ok(Self { compose, base: base.to_owned(), engine, registry, is_local, interrupt })
    }

    pub(crate) fn up(&self, fresh: Fresh) -> anyhow::Result<()> {
        let begin = Instant::now();
        eprintln!("starting Kafka {} by {}", self.compose.version(), self.engine.name());
        self.make_secrets()?;
        self.engine.up(fresh)?;
        eprintln!("{} brokers up after {:.1} s", self.compose.brokers.len(), begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn registry_up(&self) -> anyhow::Result<()> {
        if self.is_local {
            self.registry.up()?;
        }
        self.registry.await_answer()?;
        eprintln!("schema registry: {}", registry::url());
        Ok(())
    }

    /// Starts the schema registry if it can be, and gives its URL. Local ones need a Java newer than the brokers': without
    /// one, that is said.
    pub(crate) fn registry_if_possible(&self) -> anyhow::Result<Option<String>> {
        if self.is_local
            && let Err(error) = jars::java_of(jars::REGISTRY_JAVA)
        {
            println!("without the schema registry: {error:#}");
            return Ok(None);
        }
        self.registry_up()?;
        Ok(Some(registry::url()))
    }

    pub(crate) fn down(&self, purge: bool) -> anyhow::Result<()> {
        let begin = Instant::now();
        self.registry.down()?;
        self.engine.down(purge)?;
        eprintln!("cluster down after {:.1} s", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// The folder of the host that the brokers have as `/etc/kafka/secrets`, if they have one.
    pub(crate) fn secrets(&self) -> Option<PathBuf> {
        let mut volumes = self.compose.brokers.iter().flat_map(|broker| &broker.volumes);
        let volume = volumes.find(|volume| volume.target == secrets::MOUNT_POINT)?;
        volume.source.strip_prefix("./").map(|source| self.base.join(source))
    }

    /// Makes new secrets where the brokers want some. Those that run have read theirs, and keep them.
    fn make_secrets(&self) -> anyhow::Result<()> {
        let Some(folder) = self.secrets() else { return Ok(()) };
        if self.engine.states()?.iter().any(|node| node.state != State::Stopped) {
            return Ok(());
        }
        secrets::make(&crate::workspace_root().join("fixtures/tls"), &folder)
    }

    /// The addresses of all brokers, as clients take them.
    pub(crate) fn bootstrap(&self) -> String {
        status::bootstrap(&self.compose)
    }

    /// The folder with Kafka's jars, for tests that run Java's clients. Fetches them if need be.
    pub(crate) fn jars(&self) -> anyhow::Result<PathBuf> {
        jars::java()?;
        jars::kafka(&crate::workspace_root(), self.compose.version(), &self.interrupt)
    }
}

/// The last lines of a log, for an error message; only those after the last line that begins with `mark`, if any.
fn tail(path: &Path, mark: &str) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| format!("(cannot read {}: {error})", path.display()));
    last_lines(&text, mark)
}

fn last_lines(text: &str, mark: &str) -> String {
    const LINES: usize = 25;
    let mut lines: Vec<_> = Vec::new();
    for line in text.lines() {
        if !mark.is_empty() && line.starts_with(mark) {
            lines.clear();
        } else {
            lines.push(format!("  | {line}"));
        }
    }
    if lines.is_empty() {
        return "  | (nothing)".to_owned();
    }
    lines.split_off(lines.len().saturating_sub(LINES)).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_begins_after_the_latest_start() {
        let log = "-- start\nold\n-- start\nnew\n-- not a mark: in the middle -- start\n";
        assert_eq!(last_lines(log, "-- start"), "  | new\n  | -- not a mark: in the middle -- start");
        assert_eq!(last_lines("-- start\nold\n-- start\n", "-- start"), "  | (nothing)");
        assert_eq!(last_lines("a\n", ""), "  | a");
        assert_eq!(last_lines(&"x\n".repeat(99), "").lines().count(), 25);
    }
}
