//! One Kafka node from Kafka's jars: broker and controller in a JVM of its own, on loopback, with data in a folder
//! that goes with it.

use std::{
    fs::{self, File},
    net::TcpListener,
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

use crate::{child, interrupt::Interrupt, wire::Wire};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const CLUSTER_ID: &str = "bWlsZW5hLXBlZXJzLXJ1bg";
const HEAP: &str = "-Xmx1g";

#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    bootstrap: String,
    folder: TempDir,
}

impl Broker {
    pub(crate) fn start(jars: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("milena-peers-").tempdir()?;
        let (broker, controller) = free_ports()?;
        let config = folder.path().join("server.properties");
        fs::write(&config, properties(broker, controller, &folder.path().join("data")))?;
        let log = folder.path().join("format.log");
        let status = java(jars)
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .status()
            .context("cannot run java: a broker needs Java 17 or newer")?;
        ensure!(status.success(), "the broker's data cannot be formatted:\n{}", child::tail(&log));

        let log = folder.path().join("broker.log");
        let process = java(jars)
            .args([HEAP, "-Xms256m", "kafka.Kafka"])
            .arg(&config)
            // Ctrl-C is for this process, which then stops the broker.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        let mut broker = Self { process, bootstrap: format!("127.0.0.1:{broker}"), folder };
        broker.await_ready(&log, interrupt)?;
        Ok(broker)
    }

    fn await_ready(&mut self, log: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            interrupt.check()?;
            if let Some(status) = self.process.try_wait()? {
                bail!("the broker ended ({status}):\n{}", child::tail(log));
            }
            // Not by the log: what it says depends on the logging library among the jars, if there is one.
            if Wire::connect(&self.bootstrap)
                .and_then(|mut wire| wire.brokers())
                .is_ok_and(|brokers| brokers > 0)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the broker does not start:\n{}", child::tail(log));
            child::pause();
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The bytes that a topic takes in the broker's log.
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

impl Drop for Broker {
    /// Asks the broker to stop and kills it when it does not. The folder is removed after that.
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

/// Two ports that nobody listens on. Somebody may take one before the broker does; the broker then says so and ends.
fn free_ports() -> anyhow::Result<(u16, u16)> {
    let sockets = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let [one, other] = sockets;
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

fn properties(broker: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
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
