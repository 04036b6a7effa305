//! Brokers that answer wrongly, and scripts that expect the wrong thing: both must be found out, and said so that one sees
//! what is wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena_conformance::{
    report::{FailureKind, Outcome, Verdict, table, to_json, verdicts},
    run::{Cluster, Options, Subject, Suite},
    script::{Source, parse},
};
use milena_protocol::{
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, HeartbeatResponse, MetadataResponse, Request, Response,
        api_versions::ApiVersion, metadata::MetadataResponseBroker,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a planted broker does to the frame of its Heartbeat answers, behind the length.
type Bend = fn(&mut Vec<u8>);

/// A broker that knows ApiVersions, Metadata and Heartbeat, and bends its answers to the last.
async fn broker(bend: Bend) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, address.port(), bend));
        }
    });
    address.to_string()
}

async fn serve(mut stream: TcpStream, port: u16, bend: Bend) {
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let request = decode_request(&frame.into()).unwrap();
        let version = request.header.request_api_version;
        let body = request.body.unwrap();
        let is_heartbeat = matches!(body, Request::Heartbeat(_));
        let response: Response = match body {
            Request::ApiVersions(_) => {
                let offered =
                    |api_key, max_version| ApiVersion { api_key, max_version, ..Default::default() };
                let api_keys = vec![offered(18, 4), offered(3, 12), offered(12, 4)];
                ApiVersionsResponse { api_keys, ..Default::default() }.into()
            }
            Request::Metadata(_) => {
                let host = "127.0.0.1".into();
                let broker =
                    MetadataResponseBroker { node_id: 1, host, port: port.into(), ..Default::default() };
                MetadataResponse { brokers: vec![broker], ..Default::default() }.into()
            }
            _ => HeartbeatResponse::default().into(),
        };
        let answer = encode_response(&response, version, request.header.correlation_id).unwrap();
        let mut answer = answer.to_bytes().to_vec().split_off(4);
        if is_heartbeat {
            bend(&mut answer);
        }
        stream.write_u32(answer.len() as u32).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    }
}

async fn run(bend: Bend, text: &str, subject: Subject) -> (Outcome, Cluster) {
    let cluster = Cluster::discover(&broker(bend).await).await.unwrap();
    let source = Source { file: "planted.txt".into(), text: text.into(), path: None };
    let script = parse(&source, &BTreeMap::new(), false).unwrap();
    let options = Options {
        subject,
        jobs: 1,
        prefix: "planted".into(),
        script_limit: Duration::from_secs(10),
        now_ms: 1,
    };
    let outcomes = Suite::new(cluster.clone(), options).run(vec![script], |_| {}).await;
    (outcomes.into_iter().next().unwrap(), cluster)
}

const BEAT: &str = "# t\nHeartbeat v3\n    groupId=\"g\"\n  -> errorCode=NONE throttleTimeMs=0\n";

#[tokio::test]
async fn a_good_broker_passes() {
    let (outcome, _) = run(|_| {}, BEAT, Subject::Cluster).await;
    assert!(outcome.has_passed(), "{:?}", outcome.failures);
    assert_eq!((outcome.checks.len(), outcome.left_behind.len()), (1, 0));
}

#[tokio::test]
async fn a_wrong_expectation_is_shown_beside_what_came() {
    let text = BEAT.replace("NONE throttleTimeMs=0", "UNKNOWN_MEMBER_ID throttleTimeMs=5..9");
    let (outcome, _) = run(|_| {}, &text, Subject::Cluster).await;
    let [failure] = outcome.failures.as_slice() else { panic!("{:?}", outcome.failures) };
    let shown = "planted.txt:2:1 Heartbeat v3
    errorCode: expected UNKNOWN_MEMBER_ID
               found    NONE
    throttleTimeMs: expected 5..9
                    found    0";
    assert_eq!(failure.to_string(), shown);
}

#[tokio::test]
async fn a_wrong_field_is_found() {
    // The code is behind the correlation id and the throttle time.
    let (outcome, cluster) = run(|frame| frame[9] = 25, BEAT, Subject::Cluster).await;
    let shown = "planted.txt:2:1 Heartbeat v3\n    errorCode: expected NONE\n               found    UNKNOWN_MEMBER_ID";
    assert_eq!(outcome.failures[0].to_string(), shown);
    let outcomes = [outcome];
    let verdicts = verdicts(&outcomes, cluster.offered());
    let table = table(&verdicts, &|cell, _| cell.to_owned());
    let row = table.lines().find(|line| line.starts_with("Heartbeat")).unwrap();
    assert_eq!(row, "Heartbeat      ·    ·    · FAIL    ·");
    assert!(verdicts.values().flat_map(BTreeMap::values).any(|verdict| *verdict == Verdict::Fail));
    let json = to_json(&outcomes, &verdicts);
    assert_eq!(json["passed"], false);
    assert_eq!(json["results"][0]["failures"][0]["differences"][0]["found"], "UNKNOWN_MEMBER_ID");
}

#[tokio::test]
async fn a_byte_too_many_and_one_too_few_are_found() {
    for (bend, said) in [
        ((|frame| frame.push(0)) as Bend, "can't be read"),
        (|frame| frame.truncate(frame.len() - 1), "can't be read"),
        (|frame| frame[3] ^= 0xff, "the answer is to request"),
    ] {
        let (outcome, _) = run(bend, BEAT, Subject::Cluster).await;
        let [failure] = outcome.failures.as_slice() else { panic!("{:?}", outcome.failures) };
        let FailureKind::Stopped(message) = &failure.kind else { panic!("{failure}") };
        assert!(message.contains(said), "{message}");
    }
}

/// Two bytes for a number that fits in one say the same, and are not what the schema's writer writes.
#[tokio::test]
async fn bytes_that_say_the_same_otherwise_are_found() {
    let text = BEAT.replace("Heartbeat v3", "Heartbeat v4");
    let bend: Bend = |frame| {
        frame.pop();
        frame.extend([0x80, 0]);
    };
    let (outcome, _) = run(bend, &text, Subject::Cluster).await;
    let [failure] = outcome.failures.as_slice() else { panic!("{:?}", outcome.failures) };
    let shown = "planted.txt:2:1 Heartbeat v4
    bytes: the body differs from byte 6 on: by the schema 00 00 00 00 00 00 00 (7 bytes), on the wire 00 00 00 00 00 00 80 00 (8 bytes)";
    assert_eq!(failure.to_string(), shown);
}

#[tokio::test]
async fn a_version_that_is_not_offered_is_reported() {
    let text = "# t\nFetch v12\n  -> anything\n";
    let (outcome, cluster) = run(|_| {}, text, Subject::Cluster).await;
    assert_eq!(outcome.skipped.as_deref(), Some("Fetch v12 is not offered"));
    let verdicts = verdicts(&[outcome], cluster.offered());
    assert_eq!(
        table(&verdicts, &|cell, _| cell.to_owned()).lines().filter(|line| line.ends_with('-')).count(),
        1
    );
}

#[tokio::test]
async fn a_known_difference_of_the_core_is_told_apart_and_must_exist() {
    let text = BEAT.to_owned() + "  core differs: it is early\n";
    let bent: Bend = |frame| frame[9] = 25;
    let (outcome, _) = run(bent, &text, Subject::Core).await;
    assert!(outcome.has_passed() && outcome.known.len() == 1 && outcome.stale.is_empty());
    assert!(outcome.known[0].to_string().contains("(known: it is early)"));
    let (outcome, _) = run(|_| {}, &text, Subject::Core).await;
    assert_eq!(outcome.stale.len(), 1);
    // For anybody else it is a difference.
    let (outcome, _) = run(bent, &text, Subject::Cluster).await;
    assert!(!outcome.has_passed());
}

#[tokio::test]
async fn nobody_there_is_said() {
    let error = Cluster::discover("127.0.0.1:1").await.unwrap_err();
    assert!(error.to_string().starts_with("no broker answers: 127.0.0.1:1: can't connect"), "{error}");
}
