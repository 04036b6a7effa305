//! A Kafka node from Kafka's jars: broker and controller in a JVM of its own, on loopback, with data in a folder that goes
//! with it. A second node joins it where a case wants one.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{child, interrupt::Interrupt, tap::Tap, wire::Wire};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const CLUSTER_ID: &str = "bWlsZW5hLXBlZXJzLXJ1bg";
const HEAP: &str = "-Xmx1g";

/// The first node's id, which is the controller, too, and that of the second, which is a broker alone.
const FIRST: i32 = 1;
/// As [`FIRST`].
const SECOND: i32 = 2;

/// A cluster of one node, or of two.
#[derive(Debug)]
pub(crate) struct Broker {
    // Before the first, without which it cannot take its leave.
    second: Option<Node>,
    first: Node,
    tap: Tap,
    controller: u16,
    jars: PathBuf,
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    process: Child,
    bootstrap: String,
    log: PathBuf,
}

impl Broker {
    pub(crate) fn start(jars: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("milena-peers-").tempdir()?;
        let [broker, controller, tapped] = free_ports()?;
        let tap = Tap::start(tapped)?;
        let config = properties(broker, controller, (tapped, tap.address()), &folder.path().join("data"));
        let first = Node::start(jars, folder.path(), FIRST, broker, &config)?;
        let mut broker = Self { second: None, first, tap, controller, jars: jars.to_owned(), folder };
        broker.await_brokers(1, interrupt)?;
        Ok(broker)
    }

    /// Starts the second node, unless it runs.
    pub(crate) fn start_second(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        if self.second.is_none() {
            let [broker, _, _] = free_ports()?;
            let config = second_properties(broker, self.controller, &self.folder.path().join("data-2"));
            self.second = Some(Node::start(&self.jars, self.folder.path(), SECOND, broker, &config)?);
            self.await_brokers(2, interrupt)?;
        }
        Ok(())
    }

    fn await_brokers(&mut self, count: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let newest = self.second.as_mut().unwrap_or(&mut self.first);
        loop {
            interrupt.check()?;
            if let Some(status) = newest.process.try_wait()? {
                bail!("the broker ended ({status}):\n{}", child::tail(&newest.log));
            }
            // Not by the log: what it says depends on the logging library among the jars, if there is one.
            if Wire::connect(&newest.bootstrap)
                .and_then(|mut wire| wire.brokers())
                .is_ok_and(|brokers| brokers.len() == count)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the broker does not start:\n{}", child::tail(&newest.log));
            child::pause();
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.first.bootstrap
    }

    /// Counts what clients receive that find the first node by its address.
    pub(crate) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The bytes that a topic takes in the first node's log.
    pub(crate) fn stored(&self, topic: &str) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.folder.path().join("data"))? {
            let entry = entry?;
            let name = entry.file_name();
            let partition = name.to_str().and_then(|name| name.strip_prefix(topic)?.strip_prefix('-'));
            if partition.is_some_and(|partition| partition.parse::<u32>().is_ok()) {
                bytes += log_bytes(&entry.path())?;
            }
        }
        Ok(bytes)
    }
}

impl Node {
    fn start(jars: &Path, folder: &Path, id: i32, port: u16, properties: &str) -> anyhow::Result<Self> {
        let config = folder.join(format!("server-{id}.properties"));
        fs::write(&config, properties)?;
        let log = folder.join(format!("format-{id}.log"));
        let status = java(jars)
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .status()
            .context("cannot run java: a broker needs Java 17 or newer")?;
        ensure!(status.success(), "the broker's data cannot be formatted:\n{}", child::tail(&log));

        let log = folder.join(format!("broker-{id}.log"));
        let process = java(jars)
            .args([HEAP, "-Xms256m", "kafka.Kafka"])
            .arg(&config)
            // Ctrl-C is for this process, which then stops the broker.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        Ok(Self { process, bootstrap: format!("127.0.0.1:{port}"), log })
    }
}

impl Drop for Node {
    /// Asks the broker to stop and kills it when it does not.
    fn drop(&mut self) {
        let deadline = Instant::now() + STOP_LIMIT;
        let asked = i32::try_from(self.process.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        while matches!(asked, Ok(Ok(()))) && Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            child::pause();
        }
        child::end(&mut self.process);
    }
}

fn log_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// `java` with Kafka's jars.
pub(crate) fn java(jars: &Path) -> Command {
    let java = match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let mut command = Command::new(java);
    command.arg("-cp").arg(jars.join("*"));
    command
}

/// Where Kafka's jars are: MILENA_KAFKA_LIBS, else what `cargo xtask cluster up` has fetched.
pub(crate) fn jars() -> anyhow::Result<PathBuf> {
    if let Some(jars) = std::env::var_os("MILENA_KAFKA_LIBS") {
        return Ok(jars.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut versions: Vec<PathBuf> = match fs::read_dir(root.join("target/kafka")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
        Err(_) => Vec::new(),
    };
    versions.retain(|path| path.extension().is_none_or(|extension| extension != "partial"));
    versions.sort();
    versions.pop().context(
        "Kafka's jars are not here: run `cargo xtask cluster up` and `down` once, or name their folder in \
         MILENA_KAFKA_LIBS, or give --bootstrap",
    )
}

/// The version in the name of the jar of Kafka's clients.
pub(crate) fn kafka_version() -> Option<String> {
    let names =
        fs::read_dir(jars().ok()?).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .into_iter()
        .find_map(|name| Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_owned()))
}

/// Ports that nobody listens on. Somebody may take one before the broker does; the broker then says so and ends.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let socket = || TcpListener::bind("127.0.0.1:0");
    let [one, two, three] = [socket()?, socket()?, socket()?];
    Ok([one.local_addr()?.port(), two.local_addr()?.port(), three.local_addr()?.port()])
}

/// Of the first node. Clients that come over the second of its listeners for them are told the tap's address.
fn properties(broker: u16, controller: u16, tapped: (u16, SocketAddr), data: &Path) -> String {
    let (tapped, tap) = tapped;
    format!(
        "process.roles=broker,controller\n\
         node.id={FIRST}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},TAPPED://127.0.0.1:{tapped},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker},TAPPED://{tap}\n{}",
        common_properties(controller, data)
    )
}

fn second_properties(broker: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker\n\
         node.id={SECOND}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n{}",
        common_properties(controller, data)
    )
}

fn common_properties(controller: u16, data: &Path) -> String {
    format!(
        "controller.quorum.voters={FIRST}@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TAPPED:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.segment.delete.delay.ms=1000\n\
         log.index.size.max.bytes=1048576\n",
        data.display()
    )
}
