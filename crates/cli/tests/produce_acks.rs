//! `milena produce --acks`: what is promised, and what is said of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use milena::ErrorCode;
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::{
    ApiKey,
    records::{Batches, ReadOptions},
};
use serde_json::{Value, json};

fn produce(broker: &EmbeddedBroker, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["produce", "-b", &broker.bootstrap(), "-t", "letters"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that is refused does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs the command with `--json`; it must end with this code. Its lines, and the last of them.
fn lines(broker: &EmbeddedBroker, arguments: &[&str], input: &str, code: i32) -> (Vec<Value>, Value) {
    let output = produce(broker, &[&["--json"], arguments].concat(), input);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    let mut lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn letters() -> EmbeddedBroker {
    EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap()
}

/// Values in the log, once there are so many, and whether their batches have a producer's id.
async fn log(broker: &EmbeddedBroker, count: usize) -> (Vec<String>, bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (mut values, mut has_id) = (Vec::new(), false);
        for batch in broker.with_cluster(|cluster, _| cluster.batches("letters", 0)) {
            let batch = Batches::new(batch).next().unwrap().unwrap();
            has_id |= batch.header().producer_id >= 0;
            let decoded = batch.decode(&ReadOptions::default()).unwrap();
            values.extend(decoded.records().map(|record| text(record.unwrap().value().unwrap())));
        }
        if values.len() >= count {
            return (values, has_id);
        }
        assert!(Instant::now() < deadline, "{} of {count} records are there", values.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acks_1_and_all_every_record_has_its_offset_and_only_all_is_idempotent() {
    for (arguments, is_idempotent) in
        [(&[][..], true), (&["--acks", "all"], true), (&["--acks", "-1"], true), (&["--acks", "1"], false)]
    {
        let broker = letters().await;
        let (records, summary) = lines(&broker, arguments, "a\nb\nc\n", 0);
        let offsets: Vec<_> = records.iter().map(|record| record["offset"].as_i64()).collect();
        assert_eq!(offsets, [Some(0), Some(1), Some(2)], "{arguments:?}");
        assert!(records.iter().all(|record| record.get("acknowledged").is_none()), "{records:?}");
        assert_eq!((&summary["acknowledged"], summary.get("sent")), (&json!(3), None), "{summary}");
        assert_eq!(log(&broker, 3).await, (vec!["a".into(), "b".into(), "c".into()], is_idempotent));
    }
}

/// P17.
#[tokio::test(flavor = "multi_thread")]
async fn p17_with_acks_0_records_are_said_to_be_sent_and_no_more() {
    let broker = letters().await;
    let input: String = (0..5_000).map(|number| format!("{number}\n")).collect();
    let (records, summary) = lines(&broker, &["--acks", "0"], &input, 0);
    assert_eq!(records.len(), 5_000);
    for record in &records {
        assert_eq!((&record["offset"], &record["acknowledged"]), (&json!(null), &json!(false)), "{record}");
    }
    let counts = ["records", "acknowledged", "sent", "not_written", "maybe_written"];
    assert_eq!(counts.map(|name| summary[name].as_u64()), [5_000, 0, 5_000, 0, 0].map(Some), "{summary}");
    // The command ends when it has written them: none is lost by that.
    let (values, has_id) = log(&broker, 5_000).await;
    assert!(values.iter().enumerate().all(|(number, value)| *value == number.to_string()));
    assert!(!has_id);
    let output = produce(&broker, &["--acks", "0"], "a\nb\n");
    let said = text(&output.stderr);
    assert!(said.starts_with("letters: 2 records sent, none acknowledged, in "), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

/// P17: a broker refuses such a request by hanging up, which comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn p17_with_acks_0_what_the_broker_refuses_was_sent_all_the_same() {
    let broker = letters().await;
    let refused = Action::Answer(ErrorCode::INVALID_RECORD);
    broker.add_fault(Rule::new(ApiKey::Produce, refused).times(u32::MAX));
    let (_, summary) = lines(&broker, &["--acks", "0"], "a\n", 0);
    assert_eq!((&summary["acknowledged"], &summary["sent"]), (&json!(0), &json!(1)));
    assert_eq!(log(&broker, 0).await.0, [""; 0]);
}

/// P17.
#[tokio::test(flavor = "multi_thread")]
async fn p17_with_acks_0_what_could_not_be_written_fails() {
    let broker = letters().await;
    // The first connection finds the topic; there is never one to write to.
    broker.add_fault(Rule::new(ApiKey::ApiVersions, Action::CloseBefore).after(1).times(u32::MAX));
    let (records, summary) = lines(&broker, &["--acks", "0", "--timeout", "1"], "a\nb\n", 1);
    assert!(records.iter().all(|record| record["certainty"] == "NotWritten"), "{records:?}");
    let counts = ["records", "acknowledged", "sent", "not_written", "maybe_written"];
    assert_eq!(counts.map(|name| summary[name].as_u64()), [2, 0, 0, 2, 0].map(Some), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_needs_acks_all() {
    let broker = letters().await;
    for acks in ["0", "1"] {
        for more in [&[][..], &["--dry-run"]] {
            let arguments = [&["--transactional-id", "t", "--acks", acks], more].concat();
            let output = produce(&broker, &arguments, "a\n");
            let expected = format!(
                "milena: --acks {acks} is not enough for a transaction, which needs all replicas in sync\n\
                 try: leave --acks out, or --transactional-id\n"
            );
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(2), expected));
        }
    }
    assert_eq!(log(&broker, 0).await.0, [""; 0]);
    let (_, summary) = lines(&broker, &["--transactional-id", "t", "--acks", "all"], "a\n", 0);
    assert_eq!(summary["transactions"]["committed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_acks_are_refused_with_those_that_there_are() {
    let broker = letters().await;
    for nonsense in ["2", "none", ""] {
        let output = produce(&broker, &["--acks", nonsense], "a\n");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("[possible values: 0, 1, all]"), "{said}");
    }
}
