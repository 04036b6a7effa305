//! The compose file's schema registry as a JVM of this machine, beside the brokers.
//!
//! It is Apicurio, whose jars Maven fetches once. Schemas live in memory and go with the process, as with the container's.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use super::{jars, ports, process};
use crate::interrupt::Interrupt;

/// As in docker-compose.kraft.yml: image and published port.
const VERSION: &str = "3.3.3";
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 48081);
/// Health checks and metrics, which would take a port of all interfaces otherwise.
const MANAGEMENT_PORT: u16 = 48082;
const PATH: &str = "/apis/ccompat/v7";

/// It is ready after 5 to 10 s.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// The registry of a local cluster.
#[derive(Debug)]
pub(crate) struct Registry {
    root: PathBuf,
    /// The folder of its log.
    folder: PathBuf,
    interrupt: Interrupt,
}

/// Where clients find it, whatever runs it.
pub(crate) fn url() -> String {
    format!("http://{ADDRESS}{PATH}")
}

impl Registry {
    pub(crate) fn new(root: &Path, cluster: &str, interrupt: Interrupt) -> Self {
        let folder = root.join("target/cluster-registry").join(cluster);
        Self { root: root.to_owned(), folder, interrupt }
    }

    /// Starts it unless it runs, and waits until it answers.
    pub(crate) fn up(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        if self.process()?.is_none() {
            let java = jars::java_of(jars::REGISTRY_JAVA)?;
            let app = jars::registry(&self.root, VERSION, &self.interrupt)?;
            ports::await_free("the registry", ADDRESS, &self.interrupt)?;
            self.start(&java, &app)?;
        }
        while !is_ready() {
            self.interrupt.check()?;
            let failed = self.process()?.is_none() || begin.elapsed() > START_LIMIT;
            if failed {
                let log = super::tail(&self.log(), "");
                self.down()?;
                bail!("the registry does not answer on {}; the end of its log:\n{log}", url());
            }
            sleep(POLL);
        }
        eprintln!("schema registry up after {:.1} s", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until it answers, whoever runs it.
    pub(crate) fn await_answer(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !is_ready() {
            self.interrupt.check()?;
            ensure!(begin.elapsed() < START_LIMIT, "the registry does not answer on {}", url());
            sleep(POLL);
        }
        Ok(())
    }

    fn start(&self, java: &Path, app: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let log = File::create(self.log())?;
        let mut child = Command::new(java)
            .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg(format!("-Dquarkus.http.port={}", ADDRESS.port()))
            .arg("-Dquarkus.management.host=127.0.0.1")
            .arg(format!("-Dquarkus.management.port={MANAGEMENT_PORT}"))
            .arg(self.mark())
            .arg("-jar")
            .arg(app.join("quarkus-run.jar"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start the registry")?;
        // As with the brokers: `spawn` returns a moment before the command line can be seen.
        while self.process()?.is_none() {
            if let Some(status) = child.try_wait()? {
                bail!("the registry died at once ({status}):\n{}", super::tail(&self.log(), ""));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it if it runs.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        let Some(process) = self.process()? else { return Ok(()) };
        process::signal(process, Signal::TERM)?;
        let begin = Instant::now();
        while !process::is_gone(process) {
            if begin.elapsed() > STOP_LIMIT {
                process::signal(process, Signal::KILL)?;
            }
            ensure!(begin.elapsed() < STOP_LIMIT * 2, "the killed registry is still there");
            sleep(POLL);
        }
        Ok(())
    }

    /// A line for a person, if it runs.
    pub(crate) fn status(&self) -> anyhow::Result<Option<String>> {
        let Some(process) = self.process()? else { return Ok(None) };
        let ready = if is_ready() { "ready" } else { "not ready" };
        Ok(Some(format!("schema registry: {} {ready}, process {}", url(), process.id)))
    }

    fn process(&self) -> anyhow::Result<Option<process::Process>> {
        Ok(process::find(&self.mark())?.into_iter().next())
    }

    fn mark(&self) -> String {
        format!("-Dmilena.registry={}", self.folder.display())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("registry.log")
    }
}

/// Whether Confluent's API answers.
fn is_ready() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&ADDRESS, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET {PATH}/subjects HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
