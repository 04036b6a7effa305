//! Every example runs and says what it promises.
//!
//! They are processes of their own, as a reader starts them. `cargo test` builds them before the tests run; a test alone
//! (`--test examples`) does not, and an executable older than its source is refused rather than believed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeSet,
    env::{consts::EXE_SUFFIX, current_exe},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, SystemTime},
};

use tokio::process::Command;

/// Each example with the lines that it must print.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "at_least_once",
        &[
            "an instance died: 700 orders handled so far, ",
            "42 tries failed; ",
            "2000 orders handled, 0 lost, ",
            "an instance was told to end: 2000 orders handled so far, 2000 of them committed",
        ],
    ),
    ("batching", &["10000 records, ", "records/s while the batches were full"]),
    (
        "idempotent",
        &[
            "20000 orders acknowledged",
            "6 faults met",
            "read back: 20000 orders, 0 lost, 0 twice, 0 out of their order",
        ],
    ),
    (
        "metrics",
        &[
            "2000 orders produced, 2000 consumed",
            r#"kafka_messages_produced_total{topic="orders"} 2000"#,
            r#"kafka_messages_consumed_total{topic="orders",consumer_group="billing"} 2000"#,
            r#"kafka_produce_duration_seconds_bucket{topic="orders",le="+Inf"}"#,
            r#"kafka_consumer_lag{topic="orders",partition="0",consumer_group="billing"} 0"#,
        ],
    ),
    (
        "parallel_partitions",
        &["6 of 6 partitions in order, each e-mail once, all committed", "speed-up: up to "],
    ),
    (
        "replay",
        &[
            "a new group from the beginning: 600 orders",
            "a new group from a time: 120 orders",
            "a new group from an offset: 450 orders",
            "the dry run: 120 orders would be read again",
            "the first group after its reset: 120 orders",
        ],
    ),
    (
        "transactional",
        &[
            "12 payments committed, 4 transactions aborted",
            "the first instance: ",
            "a reader of committed records sees [12, 12, 12] payments, orders and entries in the books",
            "a reader of all records sees [17, 16, 16] payments, orders and entries in the books",
        ],
    ),
];

/// Those that are built with these features.
fn built() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    EXAMPLES.iter().filter(|(name, _)| *name != "metrics" || cfg!(feature = "metrics"))
}

/// They take up to 4 s each.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn no_example_is_left_out() {
    let named: BTreeSet<String> = EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(present(), named, "the examples there are, and those that are tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_does_what_it_promises() {
    for (name, lines) in built() {
        let output = run(name).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{said}\n{complained}", output.status);
        for line in *lines {
            assert!(said.lines().any(|said| said.contains(line)), "{name} does not say {line:?}:\n{said}");
        }
    }
}

#[tokio::test]
async fn an_argument_that_means_nothing_is_refused() {
    for (name, _) in built() {
        let output = command(name).arg("--nonsense").output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(complained.contains(&format!("usage: {name} [--bootstrap HOST:PORT]")), "{complained}");
    }
}

async fn run(name: &str) -> Output {
    let ended = tokio::time::timeout(PATIENCE, command(name).output()).await;
    ended.unwrap_or_else(|_| panic!("{name} has not ended after {PATIENCE:?}")).unwrap()
}

fn command(name: &str) -> Command {
    let mut command = Command::new(executable(name));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Beside this test: `target/PROFILE/deps/examples-…` and `target/PROFILE/examples/NAME`.
fn executable(name: &str) -> PathBuf {
    let test = current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("examples");
    let built = built.join(format!("{name}{EXE_SUFFIX}"));
    let how = "run `cargo build -p milena --examples`, or all tests of the crate";
    assert!(built.is_file(), "{name} is not built: {how}");
    let source = sources().join(format!("{name}.rs"));
    assert!(changed(&built) >= changed(&source), "{name} is older than its source: {how}");
    built
}

fn changed(file: &Path) -> SystemTime {
    fs::metadata(file).and_then(|of_file| of_file.modified()).unwrap()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// As Cargo finds them: `NAME.rs`, or a folder with a `main.rs`.
fn present() -> BTreeSet<String> {
    let found = fs::read_dir(sources()).unwrap().map(|entry| entry.unwrap().path());
    let is_example =
        |path: &PathBuf| path.join("main.rs").is_file() || path.extension().is_some_and(|of| of == "rs");
    let found = found.filter(is_example);
    found.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}
