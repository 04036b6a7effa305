//! The real cluster, as `cargo xtask test` hands it to the tests that need it.
//!
//! Such a test is marked `#[ignore = "needs the cluster"]` and lives in a file `tests/cluster_*.rs`. The tests run
//! one at a time on one cluster of three nodes: whoever breaks a node mends it again.

#![expect(clippy::print_stderr, reason = "what can't be mended is of interest when the next test fails")]

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::java;

/// The running cluster and the command that breaks and mends it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// What a client is given to find the cluster: `host:port`, separated by commas.
    pub bootstrap: String,
    /// The folder with the jars of Kafka and its command-line tools, for `java -cp "FOLDER/*"`.
    pub kafka_libs: PathBuf,
    xtask: OsString,
}

/// Why the tests cannot reach or change the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The test was not started by `cargo xtask test`.
    #[error("{0} is not set: `cargo xtask test` starts the cluster and sets it")]
    NotSet(&'static str),
    /// The command could not be run.
    #[error("cannot run xtask")]
    Io(#[from] io::Error),
    /// The command ran and failed.
    #[error("cargo xtask cluster {arguments}: {message}")]
    Failed {
        /// What was asked of it.
        arguments: String,
        /// What it printed on standard error.
        message: String,
    },
}

impl Cluster {
    /// The cluster that the environment names (`MILENA_CLUSTER`, `MILENA_KAFKA_LIBS`, `MILENA_XTASK`).
    pub fn from_env() -> Result<Self, ClusterError> {
        let value = |name| env::var_os(name).ok_or(ClusterError::NotSet(name));
        Ok(Self {
            bootstrap: value("MILENA_CLUSTER")?.to_string_lossy().into_owned(),
            kafka_libs: value("MILENA_KAFKA_LIBS")?.into(),
            xtask: value("MILENA_XTASK")?,
        })
    }

    /// Runs `cargo xtask cluster ARGUMENTS` (`["kill", "kafka2"]`) and returns what it printed. Blocks.
    pub fn xtask(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        printed(arguments, self.command(arguments).output()?)
    }

    /// As [`xtask`](Self::xtask), without blocking.
    ///
    /// # Cancellation
    /// Dropping the future does not take back what the command does.
    pub async fn break_node(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let output = tokio::process::Command::from(self.command(arguments)).output().await?;
        printed(arguments, output)
    }

    /// Lets the cluster finalize this version of transactions. Blocks.
    ///
    /// # Errors
    /// When Kafka's own tool fails.
    pub fn finalize_transactions(&self, verb: &str, version: u8) -> Result<String, java::ToolError> {
        let feature = format!("transaction.version={version}");
        let arguments = ["--bootstrap-server", &self.bootstrap, verb, "--feature", &feature];
        java::run(&self.kafka_libs, "org.apache.kafka.tools.FeatureCommand", &arguments, "")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.xtask);
        command.arg("cluster").args(arguments).stdin(Stdio::null());
        command
    }
}

/// A cluster that has finalized version 1 of transactions, until it is dropped.
#[derive(Debug)]
pub struct VersionOne(Cluster);

impl VersionOne {
    /// Takes the cluster back to version 1.
    ///
    /// # Errors
    /// When Kafka's own tool fails.
    pub fn of(cluster: Cluster) -> Result<Self, java::ToolError> {
        let cluster = Self(cluster);
        cluster.0.finalize_transactions("downgrade", 1)?;
        Ok(cluster)
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for VersionOne {
    fn drop(&mut self) {
        if let Err(error) = self.0.finalize_transactions("upgrade", 2) {
            eprintln!("the cluster stays at version 1 of transactions: {error}");
        }
    }
}

fn printed(arguments: &[&str], output: Output) -> Result<String, ClusterError> {
    let Output { status, stdout, stderr } = output;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&stderr).trim_end().to_owned();
    Err(ClusterError::Failed { arguments: arguments.join(" "), message })
}
