//! The real cluster, as `cargo xtask test` hands it to the tests that need it.
//!
//! Such a test is marked `#[ignore = "needs the cluster"]` and lives in a file `tests/cluster_*.rs`. The tests run
//! one at a time on one cluster of three nodes: whoever breaks a node mends it again.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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
        let Output { status, stdout, stderr } =
            Command::new(&self.xtask).arg("cluster").args(arguments).stdin(Stdio::null()).output()?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&stderr).trim_end().to_owned();
        Err(ClusterError::Failed { arguments: arguments.join(" "), message })
    }
}
