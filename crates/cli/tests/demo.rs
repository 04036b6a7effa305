//! The command as a person runs it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn milena(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milena")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_demo_runs_by_itself_and_is_clean() {
    let output = milena(&["demo", "--orders", "20000", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["produced"]["acknowledged"], 20_000);
    let groups = report["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inventory", "email", "analytics"]);
    for group in groups {
        assert_eq!(group["orders"], 20_000);
        for finding in ["lost", "duplicated", "out_of_order", "foreign"] {
            assert_eq!(group[finding], 0, "{group}");
        }
        assert!(group["p50_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(report["clean"], true);
}

#[test]
fn the_report_for_people_ends_with_the_verdict() {
    let output = milena(&["demo", "--orders", "1000", "--compression", "gzip"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().last(), Some("0 lost, 0 duplicated, 0 out of order"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours or bars in what is no terminal: {text}");
}

/// A cluster that is not there is no failed check (1) but a failure to run (2), with the reason in one line and a way
/// out in another.
#[test]
fn a_cluster_that_is_not_there_is_named() {
    let output = milena(&["demo", "--bootstrap", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.starts_with("milena: no broker can be reached: 127.0.0.1:1: can't connect"), "{text}");
    let advice = "try: start a broker with `milena broker`, or leave --bootstrap out; `milena doctor -b 127.0.0.1:1` tells how \
                  far one gets";
    assert_eq!(text.lines().nth(1), Some(advice), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");

    let output = milena(&["demo", "--bootstrap", "localhost"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("`localhost` has no port between 1 and 65535"), "{text}");
}

#[test]
fn nonsense_is_refused() {
    for arguments in [
        ["demo", "--orders", "0"],
        ["demo", "--orders", "18446744073709551615"],
        ["demo", "--compression", "rar"],
        ["demo", "--partitions", "0"],
    ] {
        assert_eq!(milena(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = milena(&["broker", "--port", &port]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains(&format!("broker 1 cannot listen on 127.0.0.1:{port}: ")), "{text}");
    assert!(text.ends_with("\ntry: take another port with --port; 0 takes a free one\n"), "{text}");

    let text = stderr(&milena(&["broker", "--port", "65534", "--brokers", "3"]));
    assert!(text.contains("3 brokers from port 65534 on would end at 65536, over 65535"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    let mut running = command.args(["demo", "--orders", "100"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(running.stdout.take());
    assert!(running.wait().unwrap().success());
}
