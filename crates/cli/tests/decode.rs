//! `milena decode` over frames that Kafka's own classes wrote.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use protocol_tests::golden;
use serde_json::{Value, json};

fn decode(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.arg("decode").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The error and the advice, of an attempt that ended with `code`.
fn refused(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// A golden line of a message, in a version, with as many bytes as there are.
fn golden_line(kind: &str, name: &str, version: i16) -> Value {
    let is_it = |line: &Value| line["kind"] == kind && line["name"] == name && line["version"] == version;
    let lines = golden::lines_as_printed().filter(is_it);
    lines.max_by_key(|line| line["hex"].as_str().map(str::len)).unwrap()
}

fn bytes(line: &Value) -> Vec<u8> {
    golden::unhex(line["hex"].as_str().unwrap())
}

/// The body behind a header of its version, and a length.
fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header.len() + body.len()).unwrap();
    [&len.to_be_bytes(), header, body].concat()
}

#[test]
fn a_response_is_shown_as_java_shows_it_whatever_stands_before_it() {
    let line = golden_line("response", "FetchResponse", 16);
    let body = bytes(&line);
    let whole = frame(&[0, 0, 0, 7, 0], &body);
    let arguments = ["--api", "fetch", "--version", "16", "--kind", "response"];
    let of_body = stdout(&decode(&arguments, &body));
    assert_eq!((&of_body["api"], &of_body["apiKey"]), (&json!("Fetch"), &json!(1)));
    assert_eq!(without_unknown_tags(&of_body["response"]), line["json"]);
    assert_eq!(of_body["layout"], "body");
    for (layout, input) in [("length, header, body", &whole[..]), ("header, body", &whole[4..])] {
        let shown = stdout(&decode(&arguments, input));
        assert_eq!(shown["response"], of_body["response"]);
        assert_eq!((&shown["layout"], &shown["header"]), (&json!(layout), &json!({"correlationId": 7})));
    }
    let hex: String = whole.iter().map(|byte| format!("0x{byte:02x}, ")).collect();
    assert_eq!(stdout(&decode(&arguments, hex.as_bytes()))["response"], of_body["response"]);
}

/// Java's converter does not know of them.
fn without_unknown_tags(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(name, _)| *name != "unknownTaggedFields");
            known.map(|(name, value)| (name.clone(), without_unknown_tags(value))).collect()
        }
        Value::Array(elements) => elements.iter().map(without_unknown_tags).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_request_says_itself_what_it_is() {
    let line = golden_line("request", "MetadataRequest", 12);
    let input = frame(&[0, 3, 0, 12, 0, 0, 0, 9, 0, 1, b'm', 0], &bytes(&line));
    let shown = stdout(&decode(&["--kind", "request"], &input));
    assert_eq!((&shown["api"], &shown["version"]), (&json!("Metadata"), &json!(12)));
    assert_eq!(shown["header"]["clientId"], "m");
    assert_eq!(without_unknown_tags(&shown["request"]), line["json"]);
    let header = stdout(&decode(&["--kind", "header"], &input));
    assert_eq!(header["header"]["correlationId"], 9);
    assert_eq!(header["bytesThatFollow"], bytes(&line).len());
    let other = refused(&decode(&["--kind", "request", "--api", "Fetch", "--layout", "frame"], &input), 1);
    assert!(other.contains("a request of Metadata, as the header says"), "{other}");
}

#[test]
fn unknown_tagged_fields_are_shown() {
    let has_tags = |line: &Value| line["kind"] == "response" && !line["unknownTags"].is_null();
    let line = golden::lines().find(has_tags).unwrap();
    let (api, version) = (line["apiKey"].to_string(), line["version"].to_string());
    let shown = decode(&["--kind", "response", "--api", &api, "--version", &version], &bytes(&line));
    let tags = stdout(&shown)["response"]["unknownTaggedFields"].clone();
    assert_eq!(tags[0]["tag"], line["unknownTags"][0]["tag"], "{tags}");
}

#[test]
fn records_are_expanded_in_place() {
    let field = batch();
    let mut response = vec![0; 10];
    // One topic `t` with partition 3, its records, nothing else.
    response.extend_from_slice(&[2, 2, b't', 2, 0, 0, 0, 3, 0, 0]);
    response.extend_from_slice(&[0; 24]);
    response.push(1);
    response.extend_from_slice(&[0xff; 4]);
    let len = u8::try_from(field.len() + 1).unwrap();
    assert!(len < 0x80);
    response.push(len);
    response.extend_from_slice(&field);
    response.extend_from_slice(&[0, 0, 0]);
    let arguments = ["--kind", "response", "--api", "1", "--version", "12", "--layout", "body"];
    let plain = stdout(&decode(&arguments, &response));
    assert!(plain["response"]["responses"][0]["partitions"][0]["records"].is_string());
    let shown = stdout(&decode(&[&arguments[..], &["--records"]].concat(), &response));
    let batches = &shown["response"]["responses"][0]["partitions"][0]["records"];
    assert_eq!(batches[0]["recordCount"], 1);
    assert_eq!(batches[0]["records"][0]["key"], "key");
    assert_eq!(batches[0]["records"][0]["value"], json!({"hex": "00ff"}));
    assert_eq!(*batches, stdout(&decode(&["--kind", "batch"], &field)));
}

/// A batch of one record.
fn batch() -> Vec<u8> {
    use milena_protocol::records::{BatchBuilder, Compression, ProducerStamp};
    let mut batch = BatchBuilder::new(1024);
    batch.append(5, Some(b"key"), Some(&[0, 0xff]), []).unwrap();
    batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE).to_vec()
}

#[test]
fn batches_are_what_java_reads_from_them() {
    let is_plain = |line: &Value| {
        let batches = line["batches"].as_array();
        line["kind"] == "batch"
            && batches.is_some_and(|batches| {
                !batches.is_empty() && batches.iter().all(|batch| batch["compression"] == "none")
            })
    };
    let mut seen = 0;
    for line in golden::lines().filter(is_plain).take(8) {
        let shown = stdout(&decode(&["--kind", "batch", "--format", "raw"], &bytes(&line)));
        for (java, ours) in line["batches"].as_array().unwrap().iter().zip(shown.as_array().unwrap()) {
            assert_eq!(ours["baseOffset"], java["baseOffset"]);
            assert_eq!(ours["crcIsValid"], true);
            let offsets = |batch: &Value| -> Vec<Value> {
                batch["records"].as_array().unwrap().iter().map(|record| record["offset"].clone()).collect()
            };
            assert_eq!(offsets(ours), offsets(java));
            seen += offsets(ours).len();
        }
    }
    assert!(seen > 0, "no golden batch without compression");
}

#[test]
fn a_broken_batch_is_shown_and_counts_as_a_failure() {
    let mut field = batch();
    *field.last_mut().unwrap() ^= 1;
    let output = decode(&["--kind", "batch"], &field);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown[0]["crcIsValid"], false);
    assert!(refused(&output, 1).contains("not every batch could be read"));
}

#[test]
fn bytes_that_are_something_else_are_placed_and_another_version_is_named() {
    let heartbeat = ["--kind", "response", "--api", "Heartbeat"];
    let text = refused(&decode(&[&heartbeat[..], &["--version", "1"]].concat(), b"00 00 00 00 00 00 00"), 1);
    assert!(text.contains("are not HeartbeatResponse version 1"), "{text}");
    assert!(text.contains("at byte 6 of the input: 00 00 00 00 00 00 >00"), "{text}");
    assert!(text.contains("try: --version 4: they decode to the last byte"), "{text}");
    let text = refused(&decode(&[&heartbeat[..], &["--version", "1"]].concat(), b"00 00 00"), 1);
    assert!(text.contains("more bytes were expected"), "{text}");
    let text = refused(&decode(&["--kind", "request"], b"7f ff 00 00 00 00 00 00"), 1);
    assert!(text.contains("the API key 32767 is not known"), "{text}");
}

#[test]
fn an_error_names_the_field() {
    let line = golden_line("response", "FetchResponse", 12);
    let body = bytes(&line);
    let arguments = ["--api", "Fetch", "--version", "12", "--kind", "response", "--layout", "body"];
    // The golden message ends with tags of nobody's.
    let text = refused(&decode(&arguments, &body[..body.len() - 3]), 1);
    assert!(text.contains("are left, in tagged fields, at byte"), "{text}");
    let text = refused(&decode(&arguments, &body[..9]), 1);
    assert!(
        text.contains("are left, in sessionId, at byte") || text.contains(", in errorCode, at byte"),
        "{text}"
    );
    let whole = frame(&[0, 0, 0, 7, 0], &body[..9]);
    let arguments = ["--api", "Fetch", "--version", "12", "--kind", "response"];
    let framed = refused(&decode(&arguments, &whole), 1);
    assert!(framed.contains("are left, in sessionId, at byte 15 of the input"), "{framed}");
}

#[test]
fn text_that_is_almost_hexadecimal_says_where_it_is_not() {
    let arguments = ["--kind", "response", "--api", "Heartbeat", "--version", "1"];
    let text = refused(&decode(&arguments, b"0000: 00 00 00 00  |....|"), 1);
    assert!(
        text.contains("taken for raw bytes, because byte 19 of the input, `|`, is no hexadecimal"),
        "{text}"
    );
    assert!(text.contains("try: the hexadecimal digits alone"), "{text}");
    let text = refused(&decode(&arguments, b"00 00 0"), 1);
    assert!(text.contains("the number of hexadecimal digits is odd"), "{text}");
}

#[test]
fn what_there_is_not_is_told_with_what_there_is() {
    let response = |api: &str, version: &str| {
        refused(&decode(&["--kind", "response", "--api", api, "--version", version], b"00"), 2)
    };
    assert!(response("metadta", "1").contains("try: `Metadata`?"));
    assert!(response("999", "1").contains("no API with the key 999"));
    assert!(response("Fetch", "99").contains("try: a version from 4 to 18"));
    let text = refused(&decode(&["--kind", "response", "--api", "Fetch"], b"00"), 2);
    assert!(text.contains("--version, from 4 to 18"), "{text}");
    let text = refused(&decode(&["--kind", "data"], b"00"), 2);
    assert!(text.contains("ConsumerProtocolSubscription"), "{text}");
    let text = refused(&decode(&["--kind", "batch", "--format", "hex"], b"00 zz"), 2);
    assert!(text.contains("byte 3 of the input, `z`, is no hexadecimal digit"), "{text}");
    assert!(refused(&decode(&["--kind", "batch"], b""), 2).contains("no bytes"));
    assert!(
        refused(&decode(&["--kind", "batch", "--file", "nowhere"], b""), 2).contains("can't open nowhere")
    );
}

#[test]
fn everything_that_can_be_decoded_is_listed() {
    let output = decode(&["--list"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["  1  Fetch", " 68  ConsumerGroupHeartbeat", "ConsumerProtocolSubscription"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn every_golden_structure_is_decoded() {
    let mut seen = std::collections::BTreeSet::new();
    for line in golden::lines_as_printed().filter(|line| line["kind"] == "data") {
        let (name, version) = (line["name"].as_str().unwrap(), line["version"].to_string());
        if bytes(&line).is_empty() || !seen.insert((name.to_owned(), version.clone())) {
            continue;
        }
        let shown = stdout(&decode(&["--kind", "data", "--api", name, "--version", &version], &bytes(&line)));
        assert_eq!(without_unknown_tags(&shown["data"]), line["json"]);
    }
    assert!(seen.len() >= 15, "{seen:?}");
}
