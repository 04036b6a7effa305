//! One broker as a local JVM: its folder, its configuration, its process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::SCRAM_MECHANISMS;
use super::compose::{Compose, Service};
use super::host_view::HostView;
use super::metadata::live_brokers;
use super::process::{self, Process};
use super::properties::server_properties;
use super::tail;

/// Begins the line that precedes each start in a broker's log.
const START_MARK: &str = "---- starting";

/// What the JVMs are started with.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    pub(crate) program: PathBuf,
    /// The folder with Kafka's jars.
    pub(crate) jars: PathBuf,
}

/// One broker and the folder that holds everything it writes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Where clients find the broker.
    pub(crate) address: SocketAddr,
    service: Service,
    view: HostView,
    folder: PathBuf,
}

impl Node {
    /// The node that runs `service`, in `state/SERVICE`. Touches nothing.
    pub(crate) fn new(
        compose: &Compose,
        service: &Service,
        base: &Path,
        state: &Path,
    ) -> anyhow::Result<Self> {
        let folder = state.join(&service.name);
        let view = HostView::new(compose, service, base, &folder)?;
        Ok(Self {
            name: service.name.clone(),
            address: service.address().context("no port is published")?,
            service: service.clone(),
            view,
            folder,
        })
    }

    /// The broker's process, if it runs.
    pub(crate) fn process(&self) -> anyhow::Result<Option<Process>> {
        Ok(self.processes()?.first().copied())
    }

    /// Every process that belongs to the node: the broker, or what formats its data.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        process::find(&self.mark())
    }

    /// Whether the broker reports itself and at least `brokers` brokers as alive. Fails when it cannot get there.
    pub(crate) fn is_ready(&self, brokers: usize) -> anyhow::Result<bool> {
        match self.process()? {
            None => {
                bail!("{} died while starting; {}", self.name, self.log_tail());
            }
            Some(process) if process.paused => {
                bail!("{0} is paused; `cargo xtask cluster resume {0}` lets it go on", self.name);
            }
            Some(_) => {}
        }
        // Being alive is not enough: a broker answers before the controller has unfenced it.
        let id = self.service.required("KAFKA_NODE_ID")?;
        let Ok(live) = live_brokers(self.address) else { return Ok(false) };
        Ok(live.len() >= brokers && live.iter().any(|broker| broker.to_string() == id))
    }

    /// What the broker logged last, since its latest start.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        format!("the end of {}:\n{}", log.display(), tail(&log, START_MARK))
    }

    /// Every address the broker binds.
    pub(crate) fn listeners(&self) -> &[SocketAddr] {
        &self.view.listeners
    }

    /// Whether the data folder is formatted. Fails when it was, but for another cluster, node or version of Kafka.
    pub(crate) fn is_formatted(&self) -> anyhow::Result<bool> {
        let path = self.data()?.join("meta.properties");
        let Ok(meta) = fs::read_to_string(&path) else { return Ok(false) };
        let found = |key: &str| {
            meta.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or("none")
                .to_owned()
        };
        let version = fs::read_to_string(self.version_file()).unwrap_or_else(|_| "unknown".to_owned());
        for (what, found, wanted) in [
            ("cluster", found("cluster.id"), self.service.required("CLUSTER_ID")?),
            ("node", found("node.id"), self.service.required("KAFKA_NODE_ID")?),
            ("Kafka", version, self.service.version.as_str()),
        ] {
            ensure!(
                found == wanted,
                "the data of {} belongs to {what} {found}, the compose file says {wanted}; \
                 `cargo xtask cluster up --fresh` begins with empty data",
                self.name
            );
        }
        Ok(true)
    }

    /// Writes server.properties and begins to format the data folder.
    pub(crate) fn format(&self, java: &Java) -> anyhow::Result<Child> {
        let properties = self.write_properties()?;
        fs::create_dir_all(self.data()?)?;
        fs::write(self.version_file(), &self.service.version)?;
        let log = File::create(self.format_log())?;
        self.jvm(java)?
            .args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id"])
            .arg(self.service.required("CLUSTER_ID")?)
            .arg("--config")
            .arg(properties)
            .args(scram_arguments(&self.service.scram_users))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot format the data of {}", self.name))
    }

    /// What [`format`](Self::format) logged last.
    pub(crate) fn format_log_tail(&self) -> String {
        tail(&self.format_log(), START_MARK)
    }

    /// Starts the broker. It outlives this process.
    pub(crate) fn start(&self, java: &Java) -> anyhow::Result<()> {
        let properties = self.write_properties()?;
        let mut log = OpenOptions::new().create(true).append(true).open(self.log())?;
        writeln!(log, "{START_MARK} {}", self.name)?;
        let mut child = self
            .jvm(java)?
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
            .arg("kafka.Kafka")
            .arg(properties)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        // `spawn` returns from the middle of `exec`, a moment before the kernel shows the new command line, by
        // which everybody else tells whether the broker runs.
        while self.process()?.is_none() {
            if let Some(status) = child.try_wait()? {
                bail!("{} died at once ({status}); {}", self.name, self.log_tail());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn write_properties(&self) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        for volume in &self.view.volumes {
            fs::create_dir_all(volume)?;
        }
        let path = self.folder.join("server.properties");
        fs::write(&path, server_properties(&self.view.environment)?)?;
        Ok(path)
    }

    /// A JVM up to its class path, in a process group of its own: Ctrl-C in the terminal is not meant for brokers.
    fn jvm(&self, java: &Java) -> anyhow::Result<Command> {
        let mut command = Command::new(&java.program);
        for (variable, default) in [
            ("KAFKA_HEAP_OPTS", "-Xms64m -Xmx192m"),
            (
                "KAFKA_JVM_PERFORMANCE_OPTS",
                "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError",
            ),
            ("KAFKA_OPTS", ""),
        ] {
            let options = self.view.environment.get(variable).map_or(default, String::as_str);
            ensure!(
                !options.contains(['"', '\'', '\\']),
                "{variable} of {} is split at spaces: quotes are not understood",
                self.name
            );
            command.args(options.split_whitespace());
        }
        command.arg(self.mark()).arg("-cp").arg(java.jars.join("*"));
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    /// The argument that tells this node's JVMs from all other processes.
    fn mark(&self) -> String {
        format!("-Dmilena.node={}", self.folder.display())
    }

    fn data(&self) -> anyhow::Result<PathBuf> {
        let folders = self
            .view
            .environment
            .get("KAFKA_LOG_DIRS")
            .with_context(|| format!("service {} does not set KAFKA_LOG_DIRS", self.name))?;
        ensure!(!folders.contains(','), "{} has more than one data folder", self.name);
        Ok(PathBuf::from(folders))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn format_log(&self) -> PathBuf {
        self.folder.join("format.log")
    }

    fn version_file(&self) -> PathBuf {
        self.folder.join("kafka.version")
    }
}

/// What makes the formatted log know these users: they can log in at the first start.
fn scram_arguments(users: &BTreeMap<String, String>) -> Vec<String> {
    let mut arguments = Vec::new();
    for (user, password) in users {
        for mechanism in SCRAM_MECHANISMS {
            arguments.push("--add-scram".to_owned());
            arguments.push(format!("{mechanism}=[name={user},password={password}]"));
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_gets_both_kinds_of_scram() {
        let users = [("alice".to_owned(), "secret".to_owned())].into();
        assert_eq!(
            scram_arguments(&users),
            [
                "--add-scram",
                "SCRAM-SHA-256=[name=alice,password=secret]",
                "--add-scram",
                "SCRAM-SHA-512=[name=alice,password=secret]"
            ]
        );
    }
}
