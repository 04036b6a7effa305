//! `cargo xtask test`: every test there is, with one line at the end that says what ran.
//!
//! First `cargo test --workspace`, which needs nothing but Rust. Then the simulation again, optimised: 2,000 seeds instead
//! of a few, and for as many each planted bug is looked for. Then the tests that are ignored there:
//!
//! - with the cluster up, those that need it or Java: they are marked `#[ignore = "needs the cluster"]` and live in a
//!   file `tests/cluster_*.rs`; and, where there is a Java 21, those that need the schema registry beside it: they live in
//!   `tests/registry_*.rs`, and in the conformance tests of the registry's client. Those of them that are named after fastavro need
//!   a Python that can have it;
//! - when that one is down, with the broker up that asks who you are, those that need it: `#[ignore = "needs the secure cluster"]`,
//!   in `tests/secured_broker_*.rs`;
//! - with `--faults`, those on the cluster that take minutes of killing and freezing brokers: `tests/faults_*.rs`;
//! - where kcat is installed, those that need it: `#[ignore = "needs kcat"]`, in `tests/kcat_*.rs`. Elsewhere they stay
//!   skipped, and that is said;
//! - where Go is installed and franz-go can be had, those that need it: `#[ignore = "needs Go"]`, in `tests/go_*.rs`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cluster::{Cluster, DEFAULT_COMPOSE_FILE, Fresh, SECURE_COMPOSE_FILE};
use crate::interrupt::Interrupt;
use report::{Parser, Part, Total};

mod fastavro;
mod report;

/// A part that takes longer is stuck: it is ended and counts as failed.
const PART_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Its two tests choose the number of seeds by how they are built.
const SIMULATION: [&str; 9] = [
    "--release",
    "--package",
    "protocol-tests",
    "--test",
    "simulation",
    "--test",
    "planted_bugs",
    "--",
    "--nocapture",
];

const POLL: Duration = Duration::from_millis(100);

/// How long the rest of the output may take after the command itself has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leaves out the tests that need Java and the Kafka cluster; they count as skipped.
    #[arg(long)]
    no_cluster: bool,
    /// Runs the tests that kill and freeze brokers for minutes, too. MILENA_RECORDS says for how many records
    #[arg(long, conflicts_with = "no_cluster")]
    faults: bool,
}

/// Whether nothing failed. The counts are the last line of the output, so what went wrong is said before.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let interrupt = Interrupt::install()?;
    let mut parts = vec![cargo_test(&["--workspace", "--no-fail-fast"], &[], &interrupt)?];
    if !interrupt.is_set() {
        println!("\nthe simulation, optimised");
        parts.push(cargo_test(&SIMULATION, &[], &interrupt)?);
    }
    if arguments.no_cluster {
        println!("\nthe tests that need the cluster are left out");
    } else if !interrupt.is_set() {
        println!("\nthe tests that need the cluster");
        parts.push(or_failed(cluster_part(arguments.faults, &interrupt)));
        if !interrupt.is_set() {
            println!("\nthe tests that need the secure cluster");
            parts.push(or_failed(secure_part(&interrupt)));
        }
    }
    if !interrupt.is_set() {
        parts.extend(kcat_part(&interrupt)?);
    }
    if !interrupt.is_set() {
        parts.extend(go_part(&interrupt)?);
    }
    let total = Total::of(&parts);
    if interrupt.is_set() {
        eprintln!("error: interrupted: not everything ran");
    }
    println!("\n{total}");
    Ok(total.failed == 0 && !interrupt.is_set())
}

/// Starts the cluster, runs the tests that need it and stops it again, whatever happened.
fn cluster_part(faults: bool, interrupt: &Interrupt) -> anyhow::Result<Part> {
    if !has_cluster_tests()? {
        println!("there are none: no protocol-tests/tests/cluster_*.rs");
        return Ok(Parser::default().finish(true));
    }
    let file = crate::workspace_root().join(DEFAULT_COMPOSE_FILE);
    let cluster = Cluster::open(&file, false, interrupt.clone())?;
    let mut tests = Tests::of_cluster(&cluster)?;
    if faults {
        tests.files.push("faults_*");
    }
    on(&cluster, || {
        tests.add_registry(&cluster, interrupt)?;
        cargo_test(&tests.selection(), &tests.environment, interrupt)
    })
}

/// Those of a part: files, names that are left out, and what they are told.
struct Tests {
    files: Vec<&'static str>,
    skipped: Vec<&'static str>,
    environment: Vec<(&'static str, std::ffi::OsString)>,
}

impl Tests {
    fn of_cluster(cluster: &Cluster) -> anyhow::Result<Self> {
        let environment = vec![
            ("MILENA_CLUSTER", cluster.bootstrap().into()),
            ("MILENA_KAFKA_LIBS", cluster.jars()?.into_os_string()),
            ("MILENA_XTASK", std::env::current_exe()?.into_os_string()),
        ];
        Ok(Self { files: vec!["cluster_*"], skipped: Vec::new(), environment })
    }

    /// With those that need the schema registry, if there can be one.
    fn add_registry(&mut self, cluster: &Cluster, interrupt: &Interrupt) -> anyhow::Result<()> {
        let Some(url) = cluster.registry_if_possible()? else { return Ok(()) };
        self.files.extend(["registry_*", "conformance"]);
        self.environment.push(("MILENA_REGISTRY", url.into()));
        match fastavro::python(&crate::workspace_root(), interrupt) {
            Ok(python) => self.environment.push(("MILENA_FASTAVRO", python.into_os_string())),
            Err(error) => {
                interrupt.check()?;
                println!("without fastavro: {error:#}");
                self.skipped.push("fastavro");
            }
        }
        Ok(())
    }

    /// The same selection of packages as in the first part, so that nothing is built anew.
    fn selection(&self) -> Vec<&'static str> {
        let mut selection = vec!["--workspace", "--no-fail-fast"];
        selection.extend(self.files.iter().flat_map(|file| ["--test", file]));
        selection.extend(["--", "--ignored", "--test-threads=1"]);
        selection.extend(self.skipped.iter().flat_map(|name| ["--skip", name]));
        selection
    }
}

/// As [`cluster_part`], with the broker that asks who you are.
fn secure_part(interrupt: &Interrupt) -> anyhow::Result<Part> {
    let file = crate::workspace_root().join(SECURE_COMPOSE_FILE);
    let cluster = Cluster::open(&file, false, interrupt.clone())?;
    let secrets = cluster.secrets().context("the broker has no secrets")?;
    let jars = cluster.jars()?;
    let selection = [
        "--workspace",
        "--no-fail-fast",
        "--test",
        "secured_broker_*",
        "--",
        "--ignored",
        "--test-threads=1",
    ];
    let environment =
        [("MILENA_SECRETS", secrets.into_os_string()), ("MILENA_KAFKA_LIBS", jars.into_os_string())];
    on(&cluster, || cargo_test(&selection, &environment, interrupt))
}

/// Runs tests on a cluster that begins with empty data, and stops it again.
fn on(cluster: &Cluster, run: impl FnOnce() -> anyhow::Result<Part>) -> anyhow::Result<Part> {
    cluster.up(Fresh::Yes)?;
    let part = run();
    // The logs stay when something is to be found in them.
    let failed = part.as_ref().map_or(true, |part| !part.succeeded);
    let down = cluster.down(!failed);
    let part = part?;
    down?;
    Ok(part)
}

/// A part that could not run at all has failed.
fn or_failed(part: anyhow::Result<Part>) -> Part {
    part.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Parser::default().finish(false)
    })
}

/// Runs the tests with librdkafka's command-line client, if it is there.
fn kcat_part(interrupt: &Interrupt) -> anyhow::Result<Option<Part>> {
    println!("\nthe tests that need kcat");
    let version = Command::new("kcat").arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).status();
    if version.is_err() {
        println!("left out, for kcat is not installed: apt-get install -y kcat");
        return Ok(None);
    }
    let selection =
        ["--workspace", "--no-fail-fast", "--test", "kcat_*", "--", "--ignored", "--test-threads=1"];
    cargo_test(&selection, &[], interrupt).map(Some)
}

/// Runs the tests with franz-go, if its program can be built.
fn go_part(interrupt: &Interrupt) -> anyhow::Result<Option<Part>> {
    println!("\nthe tests that need Go");
    let root = crate::workspace_root();
    let program = root.join("target/franz");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(root.join("protocol-tests/go"));
    match build.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        Ok(_) => {
            println!("left out, for franz-go cannot be built here");
            return Ok(None);
        }
        Err(_) => {
            println!("left out, for Go is not installed: https://go.dev/dl");
            return Ok(None);
        }
    }
    let selection =
        ["--workspace", "--no-fail-fast", "--test", "go_*", "--", "--ignored", "--test-threads=1"];
    cargo_test(&selection, &[("MILENA_FRANZ", program.into_os_string())], interrupt).map(Some)
}

fn has_cluster_tests() -> anyhow::Result<bool> {
    let folder = crate::workspace_root().join("protocol-tests/tests");
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().any(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("cluster_") && name.ends_with(".rs"))
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Runs `cargo test`; its output goes to the terminal as it comes and is counted on the way.
fn cargo_test(
    arguments: &[&str],
    environment: &[(&str, std::ffi::OsString)],
    interrupt: &Interrupt,
) -> anyhow::Result<Part> {
    println!("cargo test {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // One pipe for both streams: Cargo names the binary on one, the binary prints its result on the other, and the
    // order between them is what tells whose result it is.
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(cargo);
    command
        .arg("test")
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("CARGO_TERM_COLOR", "never")
        .current_dir(crate::workspace_root())
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // A group of its own, so that the test binaries can be ended together with Cargo.
        .process_group(0);
    let mut child = command.spawn().context("cannot run cargo test")?;
    // The command holds the writing ends; as long as it does, the output does not end.
    drop(command);
    let (sender, chunks) = mpsc::sync_channel(16);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            let chunk = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send(chunk).is_err() {
                return;
            }
        }
    });
    relay(&mut child, &chunks, interrupt)
}

/// Passes the output on until the command has ended, or ends it at the limit and when interrupted.
fn relay(child: &mut Child, chunks: &mpsc::Receiver<Vec<u8>>, interrupt: &Interrupt) -> anyhow::Result<Part> {
    let mut parser = Parser::default();
    let begin = Instant::now();
    let mut ended = None;
    let mut told_to_end = false;
    loop {
        match chunks.recv_timeout(POLL) {
            Ok(chunk) => {
                parser.read(&chunk);
                let mut stdout = io::stdout().lock();
                stdout.write_all(&chunk)?;
                stdout.flush()?;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() && child.try_wait()?.is_some() {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|ended| ended.elapsed() > DRAIN_LIMIT) {
            break;
        }
        if !told_to_end && ended.is_none() && (interrupt.is_set() || begin.elapsed() > PART_LIMIT) {
            if !interrupt.is_set() {
                println!("\nnot done after {} minutes: ending it", PART_LIMIT.as_secs() / 60);
            }
            told_to_end = true;
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL)?;
            }
        }
    }
    let status = child.wait()?;
    Ok(parser.finish(status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_is_not_asked_for() {
        let mut tests = Tests { files: vec!["cluster_*"], skipped: Vec::new(), environment: Vec::new() };
        let common =
            ["--workspace", "--no-fail-fast", "--test", "cluster_*", "--", "--ignored", "--test-threads=1"];
        assert_eq!(tests.selection(), common);
        tests.files.push("registry_*");
        tests.skipped.push("fastavro");
        let selection = tests.selection();
        assert_eq!(selection[4..6], ["--test", "registry_*"]);
        assert_eq!(selection[9..], ["--skip", "fastavro"]);
    }
}
