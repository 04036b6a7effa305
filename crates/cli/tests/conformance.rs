//! `milena conformance` as a person runs it, against brokers in this process.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use milena_embedded_broker::EmbeddedBroker;
use serde_json::Value;

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milena")).arg("conformance").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of scripts, removed in the end.
struct Scripts(PathBuf);

impl Scripts {
    fn new(scripts: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("milena-scripts-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in scripts {
            fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn folder(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_come_with_milena_run_against_a_cluster() {
    let broker = EmbeddedBroker::builder().brokers(3).start().await.unwrap();
    let arguments =
        ["--bootstrap", &broker.bootstrap(), "--only", "produce-every-*", "--only", "fetch-waits"];
    let output = conformance(&arguments);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    let row = shown.lines().find(|line| line.starts_with("Produce ")).unwrap();
    assert_eq!(row.matches("ok").count(), 11, "{row}");
    assert!(shown.ends_with("2 scripts passed, 0 failed, 0 skipped; 17 answers checked\n"), "{shown}");
    assert!(!shown.contains('\u{1b}') && output.stderr.is_empty(), "colours or bars in what is no terminal");

    let output = conformance(&[&arguments[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["scripts"]["passed"], 2);
    let produce = report["apis"].as_array().unwrap().iter().find(|api| api["api"] == "Produce").unwrap();
    assert_eq!((&produce["apiKey"], &produce["versions"]["13"]), (&0.into(), &"pass".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_shown_and_ends_with_1() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let wrong = "# Nobody is known.\nHeartbeat v4\n    groupId=\"g\" memberId=\"m\"\n  -> errorCode=NONE\n";
    let other = "# Two brokers.\nneeds brokers 2\npause 1ms\n";
    let scripts = Scripts::new(&[("wrong.txt", wrong), ("other.txt", other)]);
    let output = conformance(&["--bootstrap", &broker.bootstrap(), "--scripts", scripts.folder()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}{}", text(&output.stderr));
    let failure = "wrong: Nobody is known.
  wrong.txt:2:1 Heartbeat v4
    errorCode: expected NONE
               found    UNKNOWN_MEMBER_ID
";
    assert!(shown.contains(failure), "{shown}");
    assert!(shown.contains("other is skipped: it needs 2 brokers"), "{shown}");
    assert!(shown.ends_with("0 scripts passed, 1 failed, 1 skipped; 1 answers checked\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_filled_with_what_the_cluster_answers() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let hole = "# t\ntopic T\nMetadata v12\n    topics=[{name=$T}]\n  -> topics=[{errorCode=__ name=__ partitions=count 1}]\n";
    let scripts = Scripts::new(&[("hole.txt", hole)]);
    let arguments = ["--bootstrap", &broker.bootstrap(), "--scripts", scripts.folder()];
    let refused = conformance(&arguments);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("hole.txt:5:25: `__` is still to be filled in"));
    assert!(conformance(&[&arguments[..], &["--fill"]].concat()).status.success());
    let filled = fs::read_to_string(scripts.0.join("hole.txt")).unwrap();
    assert_eq!(filled, hole.replace("errorCode=__ name=__", "errorCode=NONE name=$T"));
    assert!(conformance(&arguments).status.success());
}

#[test]
fn what_can_not_begin_ends_with_2() {
    let output = conformance(&["--bootstrap", "127.0.0.1:1", "--only", "produce-acks"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.starts_with("milena: no broker answers: 127.0.0.1:1: can't connect"), "{said}");
    assert!(said.contains("\ntry: start a broker with `milena broker`"), "{said}");

    let output = conformance(&["--bootstrap", "127.0.0.1:1", "--only", "produce-akcs"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("there is no such script: produce-akcs"), "{said}");
    assert!(said.contains("the nearest is `produce-acks`"), "{said}");

    let scripts = Scripts::new(&[("a.txt", "# t\nHeartbeet v4\n"), ("b.txt", "# t\nend\n")]);
    let output = conformance(&["--bootstrap", "127.0.0.1:1", "--scripts", scripts.folder()]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let errors = "milena: a.txt:2:1: Kafka has no API `Heartbeet`; is `Heartbeat` meant?\nb.txt:2:1: `end` ends nothing\n";
    assert_eq!(said, errors);

    assert_eq!(conformance(&[]).status.code(), Some(2));
}

#[test]
fn the_scripts_are_listed() {
    let output = conformance(&["--list"]);
    let shown = text(&output.stdout);
    assert!(output.status.success());
    assert!(
        shown.lines().any(|line| line.starts_with("txn-commit-v2 ") && line.contains("KIP-890")),
        "{shown}"
    );
    let output = conformance(&["--list", "--json", "--only", "txn-*"]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(listed.as_array().unwrap().len() > 30);
}

/// An interrupt in the middle of a script leaves no topic behind.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_removes_what_was_made() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let bootstrap = broker.bootstrap();
    let endless = Scripts::new(&[("endless.txt", "# t\ntopic T\npause 100s\n")]);
    let topics = |pattern: &str| {
        let all = format!("# t\nMetadata v12 within 20s\n    topics=null\n  -> topics={pattern}\n");
        let scripts = Scripts::new(&[("all.txt", &all)]);
        let output = conformance(&["--bootstrap", &bootstrap, "--scripts", scripts.folder()]);
        assert!(output.status.success(), "{}", text(&output.stdout));
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["conformance", "--bootstrap", &bootstrap, "--scripts", endless.folder()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    topics("[{errorCode=NONE}]");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "milena: interrupted; topics and groups are removed\n");
    topics("[]");
}
