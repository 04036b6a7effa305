//! `milena produce` as a person and as a script run it, against brokers in this process; the client's consumer reads back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use milena::{AutoOffsetReset, Client, Compression, ErrorCode, IsolationLevel, TopicPartition};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, BrokerId, Rule},
};
use milena_protocol::{ApiKey, records::Batches};
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.arg("produce").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command to its end with this input.
fn produce(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments).spawn().unwrap();
    // A command that has enough does not read on.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// As [`produce`], to the topic `letters`; it must succeed.
fn send(broker: &EmbeddedBroker, arguments: &[&str], input: &[u8]) -> String {
    let bootstrap = broker.bootstrap();
    let output = produce(&[&["-b", &bootstrap, "-t", "letters"], arguments].concat(), input);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// As [`produce`], to the topic `letters`; it must end with this code. What it says, and its lines of JSON.
fn fail(broker: &EmbeddedBroker, arguments: &[&str], input: &[u8], code: i32) -> (String, Vec<Value>) {
    let bootstrap = broker.bootstrap();
    let output = produce(&[&["-b", &bootstrap, "-t", "letters"], arguments].concat(), input);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    (said, lines(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn letters(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().topic("letters", partitions).start().await.unwrap()
}

/// Arguments, and the keys and values that come of them.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: i64,
}

/// All that is in `letters`, as a reader of committed records sees it: up to the last stable offset of every partition.
async fn read(broker: &EmbeddedBroker) -> Vec<Read> {
    let partitions: Vec<i32> = broker.with_cluster(|cluster, _| {
        let all = cluster.partitions().into_iter();
        all.filter(|(topic, _)| topic == "letters").map(|(_, partition)| partition).collect()
    });
    let ends = decided(broker, &partitions).await;
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let consumer = client
        .consumer_without_group()
        .assign(ends.iter().map(|(partition, _)| partition.clone()))
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .max_poll_records(10_000)
        .build()
        .unwrap();
    let is_over = || {
        let is_read = |(partition, end): &(TopicPartition, i64)| {
            *end == 0 || consumer.position(partition).is_some_and(|position| position.offset >= *end)
        };
        ends.iter().all(is_read)
    };
    let mut all = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_over() {
        assert!(Instant::now() < deadline, "{} records, then nothing", all.len());
        let records = consumer.poll(Duration::from_millis(50)).await.unwrap().unwrap();
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        all.extend(records.iter().map(|record| Read {
            partition: record.partition(),
            key: owned(record.key()),
            value: owned(record.value()),
            headers: record.headers().map(|header| (text(header.name), owned(header.value))).collect(),
            timestamp: record.timestamp(),
        }));
    }
    consumer.close(Duration::from_secs(5)).await.unwrap();
    client.shutdown();
    all
}

/// The ends of the partitions, once no transaction is open in them: its marks come a moment after its end is answered.
async fn decided(broker: &EmbeddedBroker, partitions: &[i32]) -> Vec<(TopicPartition, i64)> {
    for _ in 0..500 {
        let ends = broker.with_cluster(|cluster, _| {
            let end = |&partition: &i32| {
                let stable = cluster.last_stable_offset("letters", partition).unwrap();
                let end = cluster.offsets("letters", partition).unwrap().end;
                (stable == end).then(|| (TopicPartition::new("letters", partition), end))
            };
            partitions.iter().map(end).collect::<Option<Vec<_>>>()
        });
        if let Some(ends) = ends {
            return ends;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a transaction is left open");
}

/// Keys and values as text, `-` for null.
async fn read_pairs(broker: &EmbeddedBroker) -> Vec<(String, String)> {
    let shown = |bytes: Option<Vec<u8>>| bytes.map_or("-".into(), |bytes| text(&bytes));
    read(broker).await.into_iter().map(|record| (shown(record.key), shown(record.value))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// How many records each batch of partition 0 has, and how they are compressed.
fn batches(broker: &EmbeddedBroker) -> Vec<(i32, Compression)> {
    let batches = broker.with_cluster(|cluster, _| cluster.batches("letters", 0));
    let described = batches.into_iter().flat_map(Batches::new).map(|batch| {
        let batch = batch.unwrap();
        (batch.header().record_count, batch.compression().unwrap())
    });
    described.collect()
}

/// A folder of files, removed in the end.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("milena-produce-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_records_and_the_summary_says_how_many() {
    let broker = letters(1).await;
    let bootstrap = broker.bootstrap();
    let output = produce(&["--bootstrap", &bootstrap, "--topic", "letters"], b"one\n\xff\n\nlast");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("letters: 4 records acknowledged in 0."), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty() && !said.contains('\u{1b}'), "a count in what is no terminal: {said}");
    let values: Vec<_> = read(&broker).await.into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [&b"one"[..], b"\xff", b"", b"last"]);

    let output = produce(&["-b", &bootstrap, "-t", "letters", "-q"], b"quiet\n");
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_nulls_and_empty_lines() {
    let cases: [Case<'_>; 6] = [
        (&["-K", ":"], &[("k", "v:w"), ("", "v"), ("k", ""), ("-", "plain"), ("-", ""), ("a", "NIL")]),
        (
            &["-K", ":", "-Z"],
            &[("k", "v:w"), ("-", "v"), ("k", "-"), ("-", "plain"), ("-", "-"), ("a", "NIL")],
        ),
        (
            &["-K", ":", "-k", "fixed", "--skip-empty"],
            &[("k", "v:w"), ("", "v"), ("k", ""), ("fixed", "plain"), ("a", "NIL")],
        ),
        (
            &["-K", ":", "--null-value", "NIL", "-c", "7"],
            &[("k", "v:w"), ("", "v"), ("k", ""), ("-", "plain"), ("-", ""), ("a", "-")],
        ),
        (&["--key", "all", "--count", "2"], &[("all", "k:v:w"), ("all", ":v")]),
        (&["--key-delimiter", r"\x3av:", "--count", "1"], &[("k", "w")]),
    ];
    for (arguments, expected) in cases {
        let broker = letters(1).await;
        send(&broker, arguments, b"k:v:w\n:v\nk:\nplain\n\na:NIL\n");
        assert_eq!(read_pairs(&broker).await, pairs(expected), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_partition_and_time_are_those_of_the_options() {
    let broker = letters(3).await;
    let arguments =
        ["-p", "2", "-H", "a=b=c", "-H", "n", "--header", "a=", "--timestamp", "1970-01-01T00:00:02.5Z"];
    send(&broker, &arguments, b"v\n");
    let headers = [("a", Some("b=c")), ("n", None), ("a", Some(""))];
    let expected = Read {
        partition: 2,
        key: None,
        value: Some(b"v".to_vec()),
        headers: headers.map(|(name, value)| (name.into(), value.map(Into::into))).to_vec(),
        timestamp: 2500,
    };
    assert_eq!(read(&broker).await, [expected]);

    let before = now_ms();
    send(&broker, &["-p", "0"], b"v\n");
    let timestamp = read(&broker).await.iter().find(|record| record.partition == 0).unwrap().timestamp;
    assert!((before..=now_ms()).contains(&timestamp), "{timestamp}");
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

/// Java's placement, which the client's own partitioner is held to elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn keys_decide_where_records_go() {
    let broker = letters(4).await;
    let input: String = (0..40).map(|number| format!("k{number}={number}\n")).collect();
    send(&broker, &["-K", "="], input.as_bytes());
    let records = read(&broker).await;
    assert_eq!(records.len(), 40);
    for record in records {
        let expected = milena::partition_for_key(&record.key.unwrap(), 4);
        assert_eq!(record.partition, i32::try_from(expected).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_one_after_the_other_and_may_be_records() {
    let files = Files::new(&[("a", b"1\n2"), ("b", b"3\n"), ("empty", b""), ("zero", b"x\0y\nz\0")]);
    let (a, b, empty, zero) = (files.path("a"), files.path("b"), files.path("empty"), files.path("zero"));
    let cases: [Case<'_>; 4] = [
        (&[&a, "-", &b, &empty], &[("-", "1"), ("-", "2"), ("-", "in"), ("-", "3")]),
        (&["--whole-file", &a, &empty, &b], &[("-", "1\n2"), ("-", ""), ("-", "3\n")]),
        (&["--whole-file", "-k", "k"], &[("k", "in\n")]),
        (&["-D", r"\0", &zero], &[("-", "x"), ("-", "y\nz")]),
    ];
    for (arguments, expected) in cases {
        let broker = letters(1).await;
        send(&broker, arguments, b"in\n");
        assert_eq!(read_pairs(&broker).await, pairs(expected), "{arguments:?}");
    }
    let broker = letters(1).await;
    let shown = send(&broker, &["--json", "--count", "3", &a, &b], b"");
    let files: Vec<_> =
        lines(shown.as_bytes()).iter().map(|line| (line["file"].clone(), line["line"].clone())).collect();
    assert_eq!(files[..3], [(json!(a), json!(1)), (json!(a), json!(2)), (json!(b), json!(1))]);
}

/// Every record of a script arrives as it was meant, and what `--dry-run --json` prints means the same.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_can_send_anything_as_json() {
    let input = concat!(
        r#"{"key":"k\u0000\n","value":"v","headers":{"a":"b","a":null},"partition":1,"timestamp":5}"#,
        "\n \n",
        r#"{"key":null,"value_base64":"/wA=","headers":[{"name":"h","value_base64":"gA=="}],"partition":0}"#,
        "\n",
        r#"{"value":{"order": 1.50,"b":[]},"partition":2,"timestamp":"1970-01-01T00:00:07Z"}"#,
        "\n",
        r#"{"key":"gone","value":null,"partition":2}"#,
    );
    let fixed = ["--input", "json", "--key", "fixed", "--timestamp", "6", "-H", "last"];
    let dry = produce(&[&["-t", "nowhere", "--dry-run", "--json"], &fixed[..]].concat(), input.as_bytes());
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry.stderr));
    let mut seen = Vec::new();
    for (arguments, input) in [(&fixed[..], input.as_bytes()), (&["--input", "json"], &dry.stdout)] {
        let broker = letters(3).await;
        send(&broker, arguments, input);
        let mut records = read(&broker).await;
        records.sort_by_key(|record| record.partition);
        seen.push(records);
    }
    assert_eq!(seen[0], seen[1]);
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let record = |partition, key: Option<&str>, value: Option<&[u8]>, headers: &[_], timestamp| Read {
        partition,
        key: key.map(Into::into),
        value: value.map(<[u8]>::to_vec),
        headers: [headers, &[header("last", None)]].concat(),
        timestamp,
    };
    assert_eq!(
        seen[0],
        [
            record(0, None, Some(b"\xff\0"), &[header("h", Some(b"\x80"))], 6),
            record(1, Some("k\0\n"), Some(b"v"), &[header("a", Some(b"b")), header("a", None)], 5),
            record(2, Some("fixed"), Some(br#"{"order": 1.50,"b":[]}"#), &[], 7000),
            record(2, Some("gone"), None, &[], 6),
        ]
    );
}

#[test]
fn a_dry_run_connects_to_nobody_and_shows_every_byte() {
    let arguments = ["-t", "letters", "--dry-run", "-K", ":", "-b", "127.0.0.1:1", "-p", "1", "-c", "2"];
    let output = produce(&arguments, b"k:v\n\xff\nmore\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "line 1: key \"k\", value \"v\", partition 1\nline 2: key null, value b\"\\xff\", partition 1\n"
    );
    assert_eq!(text(&output.stderr), "milena: 2 records would go to letters\n");

    let bad = ["-t", "letters", "--dry-run", "--input", "json", "--on-error", "continue"];
    let output = produce(&bad, b"{}\nx\n{}\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "line 1: key null, value null\nline 3: key null, value null\n");
    let said = text(&output.stderr);
    assert!(said.starts_with("milena: line 2 (1 byte): a record is an object"), "{said}");
    assert!(said.ends_with("milena: 2 records would go to letters; 1 can't be sent\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_compressed_and_as_large_as_they_are_told_to_be() {
    let input = "a line that can be compressed, and another line that can be compressed\n".repeat(100);
    for (codec, compression) in [
        ("none", Compression::None),
        ("gzip:9", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd:-3", Compression::Zstd),
    ] {
        let broker = letters(1).await;
        send(&broker, &["-z", codec, "--linger", "1000"], input.as_bytes());
        assert_eq!(batches(&broker), [(100, compression)], "{codec}");
    }
    let broker = letters(1).await;
    // A file, so that all of it is there at once.
    let files = Files::new(&[("input", input.as_bytes())]);
    send(&broker, &["--linger", "1000", "--batch-size", "1k", &files.path("input")], b"");
    let sizes: Vec<_> = batches(&broker).into_iter().map(|(records, _)| records).collect();
    assert_eq!(sizes.iter().sum::<i32>(), 100);
    assert!(sizes.iter().all(|size| (1..=14).contains(size)), "{sizes:?}");
}

/// The end of the input does not wait for a batch to fill.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_linger_and_the_rate_is_kept() {
    let broker = letters(1).await;
    let begun = Instant::now();
    send(&broker, &["--linger", "60000"], b"v\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let shown = send(&broker, &["--rate", "50", "--json"], "v\n".repeat(51).as_bytes());
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(lines(shown.as_bytes()).last().unwrap()["acknowledged"], 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_told_of_every_record_in_their_order() {
    let broker = letters(2).await;
    let shown = send(&broker, &["--json", "-K", ":", "--timestamp", "9"], b"a:1\nb:2\nc:3\nd:4\n");
    let shown = lines(shown.as_bytes());
    let (summary, records) = shown.split_last().unwrap();
    let numbers: Vec<_> = records.iter().map(|record| record["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    for record in records {
        let fields: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["type", "line", "topic", "partition", "offset", "timestamp"]);
    }
    let mut places: Vec<_> =
        records.iter().map(|record| (record["partition"].as_i64(), record["offset"].as_i64())).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 4, "{shown:?}");
    let seconds = summary["seconds"].clone();
    let expected = json!({
        "type": "summary", "topic": "letters", "records": 4, "acknowledged": 4, "not_written": 0, "maybe_written": 0,
        "ended_by": "input", "seconds": seconds,
    });
    assert_eq!(*summary, expected);
}

/// What is acknowledged is told at once, not when the input ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_waits_for_the_answer_gets_it() {
    let broker = letters(1).await;
    let mut child = command(&["-b", &broker.bootstrap(), "-t", "letters", "--json"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for offset in 0..20 {
        writeln!(stdin, "{offset}").unwrap();
        let line: Value = serde_json::from_str(&next_line(&mut stdout)).unwrap();
        assert_eq!(line["offset"], offset);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

fn next_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_stops_no_record() {
    let broker = letters(1).await;
    let mut child = command(&["-b", &broker.bootstrap(), "-t", "letters", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    let numbers: String = (0..5000).map(|number| format!("{number}\n")).collect();
    child.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(read(&broker).await.len(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_input_is_one_transaction_or_many() {
    for (arguments, committed) in
        [(&[][..], 1), (&["--transaction-records", "4"], 3), (&["--transaction-records", "5"], 2)]
    {
        let broker = letters(1).await;
        let shown = send(
            &broker,
            &[&["--json", "--transactional-id", "t"], arguments].concat(),
            b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n",
        );
        let shown = lines(shown.as_bytes());
        let ended: Vec<_> = shown.iter().filter(|line| line["type"] == "transaction").collect();
        assert_eq!(ended.len(), committed, "{arguments:?}");
        assert!(ended.iter().all(|line| line["outcome"] == "committed"));
        let summary = shown.last().unwrap();
        assert_eq!(summary["acknowledged"], 10);
        assert_eq!(summary["transactions"], json!({"committed": committed, "aborted": 0, "unknown": 0}));
        let values: Vec<_> = read_pairs(&broker).await.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
    let broker = letters(1).await;
    let shown = send(&broker, &["--json", "--transactional-id", "t"], b"");
    assert_eq!(lines(shown.as_bytes()).len(), 1, "no record, no transaction: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_a_bad_record_is_aborted_and_those_before_it_stay() {
    let broker = letters(1).await;
    let arguments = ["--json", "--transactional-id", "t", "--transaction-records", "2", "--input", "json"];
    let input = b"{\"value\":\"1\"}\n{\"value\":\"2\"}\n{\"value\":\"3\"}\nnonsense\n{\"value\":\"5\"}\n";
    let (_, shown) = fail(&broker, &arguments, input, 1);
    let outcomes: Vec<_> =
        shown.iter().filter(|line| line["type"] == "transaction").map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["committed", "aborted"]);
    let summary = shown.last().unwrap();
    let counts =
        ["records", "acknowledged", "not_written", "maybe_written"].map(|name| summary[name].as_u64());
    assert_eq!(counts, [Some(4), Some(2), Some(2), Some(0)], "{summary}");
    assert_eq!(summary["ended_by"], "error");
    assert_eq!(read_pairs(&broker).await, pairs(&[("-", "1"), ("-", "2")]));

    let (said, _) =
        fail(&broker, &["--transactional-id", "t"], &[&[b'x'; 2 << 20][..], b"\nv\n"].concat(), 1);
    assert!(said.contains("line 1 (2,097,152 bytes): the record is longer than --max-record-size"), "{said}");
    let (said, _) = fail(&broker, &["--transactional-id", "t", "--on-error", "continue"], b"", 2);
    assert!(said.starts_with("milena: a transaction has all of its records or none\ntry: "), "{said}");
    assert_eq!(read_pairs(&broker).await.len(), 2);
}

/// A broker that refuses a record of a transaction leaves nothing of it to readers of committed records.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_record_is_refused_is_aborted() {
    let broker = letters(1).await;
    let refuse = Action::Answer(ErrorCode::INVALID_RECORD);
    broker.add_fault(Rule::new(ApiKey::Produce, refuse).after(1));
    let arguments = ["--json", "--transactional-id", "t", "--batch-size", "1"];
    let (_, shown) = fail(&broker, &arguments, b"1\n2\n3\n", 1);
    let transaction = shown.iter().find(|line| line["type"] == "transaction").unwrap();
    assert_eq!(transaction["outcome"], "aborted", "{shown:?}");
    assert_eq!(shown.last().unwrap()["acknowledged"], 0);
    assert!(read(&broker).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_answers_is_not_known() {
    let broker = letters(1).await;
    broker.add_fault(Rule::new(ApiKey::EndTxn, Action::Ignore).times(u32::MAX));
    let (_, shown) = fail(&broker, &["--json", "--transactional-id", "t", "--timeout", "1"], b"1\n2\n", 1);
    let transaction = shown.iter().find(|line| line["type"] == "transaction").unwrap();
    assert_eq!(
        (&transaction["outcome"], &transaction["records"]),
        (&json!("unknown"), &json!(2)),
        "{shown:?}"
    );
    assert!(transaction["error"].as_str().unwrap().contains("is not known"), "{transaction}");
    let summary = shown.last().unwrap();
    assert_eq!((&summary["acknowledged"], &summary["maybe_written"]), (&json!(0), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_begin_ends_with_2_and_says_what_to_do() {
    let broker =
        EmbeddedBroker::builder().topic("letters", 2).topic("letter", 1).topic("x", 1).start().await.unwrap();
    let bootstrap = broker.bootstrap();
    let folder = std::env::temp_dir();
    for (arguments, complaint) in [
        (
            &["-b", "127.0.0.1:1", "-t", "letters"][..],
            "milena: no broker can be reached: 127.0.0.1:1: can't connect",
        ),
        (
            &["-b", "127.0.0.1:1", "-t", "letters"],
            "\ntry: start a broker with `milena broker`, or name another one with --bootstrap; `milena doctor -b 127.0.0.1:1` tells",
        ),
        (&["-b", "localhost", "-t", "letters"], "`localhost` has no port"),
        (
            &["-b", &bootstrap, "-t", "Lettres"],
            "milena: the cluster has no topic Lettres\ntry: create it first, or name one that is close to it: letter",
        ),
        (&["-b", &bootstrap, "-t", "orders"], "\ntry: create it first, or name another one with --topic\n"),
        (
            &["-b", &bootstrap, "-t", "letters", "-p", "2"],
            "milena: the topic letters has no partition 2\ntry: --partition from 0 to 1\n",
        ),
        (&["-b", &bootstrap, "-t", "letters", "nothing-here"], "milena: can't open nothing-here: "),
        (&["-b", &bootstrap, "-t", "letters", folder.to_str().unwrap()], "is a folder"),
        (&["-t", "letters"], "--bootstrap"),
        (&["-b", &bootstrap, "-t", "letters", "-D", r"\q"], "begins with none of"),
        (&["-b", &bootstrap, "-t", "letters", "-z", "rar"], "expected none, gzip, snappy, lz4 or zstd"),
        (&["-b", &bootstrap, "-t", "letters", "--timestamp", "noon"], "`noon` is neither milliseconds"),
        (&["-b", &bootstrap, "-t", "letters", "-H", "=v"], "expected NAME=VALUE"),
        (&["-b", &bootstrap, "-t", "letters", "--rate", "0"], "0 is not in"),
        (&["-b", &bootstrap, "-t", "letters", "--transaction-records", "5"], "--transactional-id"),
        (&["-b", &bootstrap, "-t", "letters", "--whole-file", "-K", ":"], "cannot be used with"),
        (&["-b", &bootstrap, "-t", "letters", "-q", "--json"], "cannot be used with"),
    ] {
        let output = produce(arguments, b"v\n");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
    assert!(read(&broker).await.is_empty());
    let help = text(&produce(&["--help"], b"").stdout);
    assert!(help.contains("Ends with 0 when every record of the input is acknowledged"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_too_long_are_named_and_the_others_go_on_if_they_shall() {
    let broker = letters(1).await;
    let input = [&b"before\n"[..], &[b'x'; 5000], b"\nbehind\n"].concat();
    let (said, _) = fail(&broker, &["--max-record-size", "4k"], &input, 1);
    assert!(
        said.starts_with("milena: line 2 (5,000 bytes): the record is longer than --max-record-size\n"),
        "{said}"
    );
    assert!(
        said.contains("letters: 1 record acknowledged")
            && said.contains("; 1 not written; stopped by an error"),
        "{said}"
    );
    assert_eq!(read_pairs(&broker).await, pairs(&[("-", "before")]));

    let arguments = ["--max-record-size", "4k", "--on-error", "continue", "--json"];
    let (_, shown) = fail(&broker, &arguments, &input, 1);
    let failed = shown.iter().find(|line| line["line"] == 2).unwrap();
    assert_eq!((&failed["bytes"], &failed["certainty"]), (&json!(5000), &json!("NotWritten")), "{failed}");
    let summary = shown.last().unwrap();
    assert_eq!((&summary["acknowledged"], &summary["ended_by"]), (&json!(2), &json!("input")));
    assert_eq!(read_pairs(&broker).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_told_with_its_reason() {
    let limits = [("max.message.bytes", "1000")];
    let broker = EmbeddedBroker::builder().topic_with("letters", 1, &limits).start().await.unwrap();
    let input = [&b"before\n"[..], &[b'x'; 2000], b"\nbehind\n"].concat();
    let arguments = ["--batch-size", "100", "--on-error", "continue", "--json"];
    let (_, shown) = fail(&broker, &arguments, &input, 1);
    let failed = shown.iter().find(|line| line["line"] == 2).unwrap();
    assert!(failed["error"].as_str().unwrap().contains("MESSAGE_TOO_LARGE"), "{failed}");
    assert_eq!((&failed["certainty"], &failed["partition"]), (&json!("NotWritten"), &json!(0)));
    assert_eq!(shown.last().unwrap()["acknowledged"], 2, "{shown:?}");

    let (said, _) = fail(&broker, &["--batch-size", "100"], &input, 1);
    assert!(
        said.starts_with(
            "milena: line 2 (2,000 bytes): letters-0: not written: the record takes 2070 bytes in a batch of its own"
        ),
        "{said}"
    );
}

/// Many errors are not many lines to people.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_shown_the_first_errors() {
    let broker = letters(1).await;
    let input = "nonsense\n".repeat(100);
    let (said, _) = fail(&broker, &["--input", "json", "--on-error", "continue"], input.as_bytes(), 1);
    assert_eq!(said.lines().count(), 12, "{said}");
    assert_eq!(said.lines().nth(10), Some("milena: further errors are counted only"));
    assert!(said.lines().last().unwrap().contains("; 100 not written"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_acknowledged_may_be_written() {
    let broker = letters(1).await;
    broker.add_fault(Rule::new(ApiKey::Produce, Action::DropReply).times(u32::MAX));
    let (_, shown) = fail(&broker, &["--json", "--timeout", "1"], b"1\n2\n", 1);
    let certainties: Vec<_> =
        shown.iter().filter(|line| line["type"] == "record").map(|line| &line["certainty"]).collect();
    assert_eq!(certainties, ["MaybeWritten", "MaybeWritten"], "{shown:?}");
    let summary = shown.last().unwrap();
    assert_eq!((&summary["maybe_written"], &summary["acknowledged"]), (&json!(2), &json!(0)));
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// A child that has sent `1`, is told to end, and what it printed. Its input stays open.
#[cfg(unix)]
fn interrupted(broker: &EmbeddedBroker, arguments: &[&str], name: &str) -> (Option<i32>, Vec<Value>) {
    let bootstrap = broker.bootstrap();
    let arguments = [&["-b", &bootstrap, "-t", "letters", "--json"], arguments].concat();
    let mut child = command(&arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    writeln!(stdin, "1").unwrap();
    let mut shown = vec![serde_json::from_str(&next_line(&mut stdout)).unwrap()];
    signal(&child, name);
    let begun = Instant::now();
    shown.extend(stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()));
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    (status.code(), shown)
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_reading_and_says_so() {
    for name in ["-INT", "-TERM"] {
        let broker = letters(1).await;
        let (code, shown) = interrupted(&broker, &[], name);
        assert_eq!(code, Some(1));
        let summary = shown.last().unwrap();
        assert_eq!((&summary["ended_by"], &summary["acknowledged"]), (&json!("interrupt"), &json!(1)));
        assert_eq!(read_pairs(&broker).await, pairs(&[("-", "1")]));
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_aborts_the_transaction() {
    let broker = letters(1).await;
    let (code, shown) = interrupted(&broker, &["--transactional-id", "t"], "-TERM");
    assert_eq!(code, Some(1));
    let transaction = shown.iter().find(|line| line["type"] == "transaction").unwrap();
    assert_eq!(
        (&transaction["outcome"], &transaction["error"]),
        (&json!("aborted"), &json!("aborted after an interrupt"))
    );
    let summary = shown.last().unwrap();
    assert_eq!((&summary["not_written"], &summary["acknowledged"]), (&json!(1), &json!(0)));
    assert!(read(&broker).await.is_empty());
    // The log has the record and the mark that it is aborted.
    assert_eq!(decided(&broker, &[0]).await[0].1, 2);
}

/// The first interrupt waits for what a hanging broker may still answer, the second for nothing.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_it_at_once() {
    let broker = letters(1).await;
    broker.add_fault(Rule::new(ApiKey::Produce, Action::Ignore).times(u32::MAX));
    let mut child = command(&["-b", &broker.bootstrap(), "-t", "letters", "--json"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(&child, "-INT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(child.try_wait().unwrap().is_none(), "it waits for the broker");
    let begun = Instant::now();
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let shown = lines(&output.stdout);
    let certainties: Vec<_> = shown[..2].iter().map(|line| line["certainty"].as_str().unwrap()).collect();
    assert_eq!(certainties, ["MaybeWritten", "MaybeWritten"], "{shown:?}");
    assert_eq!((&shown[2]["ended_by"], &shown[2]["maybe_written"]), (&json!("interrupt"), &json!(2)));
}

/// The most memory the process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A broker that stands still takes nothing: the command stops reading instead of keeping what it reads. Then all of it
/// arrives.
#[cfg(target_os = "linux")]
async fn held_up(lines: u32, width: usize, partitions: i32) -> (u32, u64) {
    let broker = letters(partitions).await;
    let written = || -> i64 {
        broker.with_cluster(|cluster, _| {
            (0..partitions).map(|partition| cluster.offsets("letters", partition).unwrap().end).sum()
        })
    };
    let mut child = command(&["-b", &broker.bootstrap(), "-t", "letters"]).spawn().unwrap();
    let mut stdin = std::io::BufWriter::new(child.stdin.take().unwrap());
    writeln!(stdin, "first").unwrap();
    stdin.flush().unwrap();
    while written() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.pause_broker(BrokerId(1));
    let taken = std::sync::Arc::new(AtomicU32::new(0));
    let counter = std::sync::Arc::clone(&taken);
    let writer = std::thread::spawn(move || {
        for number in 0..lines {
            writeln!(stdin, "{number:0width$}").unwrap();
            counter.store(number, Ordering::Relaxed);
        }
        stdin
    });
    let mut held_at = u32::MAX;
    while !writer.is_finished() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let so_far = taken.load(Ordering::Relaxed);
        if so_far > 0 && so_far == held_at {
            break;
        }
        held_at = so_far;
    }
    broker.resume_broker(BrokerId(1));
    let stdin = writer.join().unwrap();
    let peak = peak_memory(&child);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(written(), i64::from(lines) + 1);
    (held_at, peak)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_million_short_lines_take_no_more_memory_than_is_allowed() {
    let (held_at, peak) = held_up(1_000_000, 20, 3).await;
    assert!(held_at < 200_000, "{held_at} lines were taken and none sent");
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn long_lines_take_no_more_memory_than_is_allowed() {
    let (held_at, peak) = held_up(4_000, 50_000, 3).await;
    assert!(held_at < 1_600, "{held_at} lines were taken and none sent");
    assert!(peak < 100 << 20, "{} MiB", peak >> 20);
}
