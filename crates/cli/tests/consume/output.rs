//! How records are shown: values, `--format`, `--json`, nulls and bytes.

use std::{io::Write, process::Stdio};

use milena::{Bytes, Record};
use milena_embedded_broker::EmbeddedBroker;
use serde_json::json;
use tokio::process::Command;

use super::{lines, objects, printed, text, transaction, value, write};

/// Everything that a record can have: null, empty, text, bytes, headers of one name and without a value.
fn odd() -> [Record; 5] {
    let record = || Record::new("orders").partition(0);
    [
        record().key("k").value("v").timestamp(5),
        record().key("").timestamp(6),
        record().value("").timestamp(7),
        record().key(Bytes::from_static(b"\xff\n")).value(Bytes::from_static(b"\0\xfe")).timestamp(8),
        record()
            .value("a\"\\\u{1}\u{e9}\n")
            .header("a", "1")
            .header("a", "2")
            .null_header("a")
            .header("b", "")
            .header("bytes", Bytes::from_static(b"\x80"))
            .timestamp(9),
    ]
}

async fn oddities() -> EmbeddedBroker {
    let broker = EmbeddedBroker::builder().topic("orders", 1).topic("copy", 1).start().await.unwrap();
    write(&broker, odd()).await;
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_lines_and_nulls_are_what_they_are_told_to_be() {
    let broker = oddities().await;
    for (arguments, expected) in [
        (&[][..], &b"v\n\n\n\0\xfe\na\"\\\x01\xc3\xa9\n\n"[..]),
        (&["-Z"], b"v\nNULL\n\n\0\xfe\na\"\\\x01\xc3\xa9\n\n"),
        (&["--print-null", "-c", "2"], b"v\nNULL\n"),
        (&["--null-value", "~", "-K", ":", "-c", "3"], b"k:v\n:~\n~:\n"),
        (&["-Z", "--key-separator", r"\t", "--delimiter", r"\0", "-c", "3"], b"k\tv\0\tNULL\0NULL\t\0"),
        (&["--key-delimiter", " => ", "-D", "|", "-c", "1"], b"k => v|"),
    ] {
        assert_eq!(
            printed(&broker, &[&["orders", "-e"], arguments].concat()).await,
            expected,
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_has_every_field() {
    let broker = oddities().await;
    let format = r"%t [%p] %o %T: %K %k, %S %s, %h 100%%\n";
    let shown = printed(&broker, &["orders", "-e", "--format", format, "-Z"]).await;
    let expected = b"orders [0] 0 5: 1 k, 1 v,  100%\n\
        orders [0] 1 6: 0 , -1 NULL,  100%\n\
        orders [0] 2 7: -1 NULL, 0 ,  100%\n\
        orders [0] 3 8: 2 \xff\n, 2 \0\xfe,  100%\n\
        orders [0] 4 9: -1 NULL, 7 a\"\\\x01\xc3\xa9\n, a=1,a=2,a=NULL,b=,bytes=\x80 100%\n";
    assert_eq!(shown, expected, "{}", String::from_utf8_lossy(&shown));
    let shown = printed(&broker, &["orders", "-c", "2", "-f", r"%R%s\x2c"]).await;
    assert_eq!(shown, b"\0\0\0\x01v,\xff\xff\xff\xff,");
    assert_eq!(printed(&broker, &["orders", "-e", "-f", "."]).await, b".....", "nothing is added");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_tells_null_empty_text_and_bytes_apart() {
    let broker = oddities().await;
    let record = |offset: i64, rest: serde_json::Value| {
        let mut all = json!({ "topic": "orders", "partition": 0, "offset": offset, "timestamp": offset + 5 });
        all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        all
    };
    let headers = json!([
        { "name": "a", "value": "1" }, { "name": "a", "value": "2" }, { "name": "a", "value": null },
        { "name": "b", "value": "" }, { "name": "bytes", "value_base64": "gA==" },
    ]);
    let expected = [
        record(0, json!({ "key": "k", "value": "v" })),
        record(1, json!({ "key": "", "value": null })),
        record(2, json!({ "key": null, "value": "" })),
        record(3, json!({ "key_base64": "/wo=", "value_base64": "AP4=" })),
        record(4, json!({ "key": null, "value": "a\"\\\u{1}\u{e9}\n", "headers": headers })),
    ];
    assert_eq!(objects(&broker, &["orders", "-e"]).await, expected);
    let first = &lines(&broker, &["orders", "--json", "-c", "1"]).await[0];
    assert_eq!(first, r#"{"topic":"orders","partition":0,"offset":0,"timestamp":5,"key":"k","value":"v"}"#);
}

/// `milena consume --json | milena produce --input json`: every byte, null, header and time is the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_as_json_can_be_sent_again() {
    let broker = oddities().await;
    let shown = printed(&broker, &["orders", "-e", "--json"]).await;
    let mut produce = std::process::Command::new(env!("CARGO_BIN_EXE_milena"));
    produce.args(["produce", "-b", &broker.bootstrap(), "-t", "copy", "--input", "json", "-q"]);
    let mut child = produce.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&shown).unwrap();
    assert!(child.wait().unwrap().success());
    let copy = printed(&broker, &["copy", "-e", "--json"]).await;
    assert_eq!(text(&copy).replace(r#""topic":"copy""#, r#""topic":"orders""#), text(&shown));
    assert_eq!(text(&copy).lines().count(), odd().len());
}

/// The pipe of the manual, as a shell runs it.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_can_copy_a_topic() {
    let broker = oddities().await;
    let script = r#""$0" consume -b "$1" orders -e --json | "$0" produce -b "$1" -t copy --input json -q"#;
    let status = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_milena"), &broker.bootstrap()])
        .status()
        .await
        .unwrap();
    assert!(status.success());
    assert_eq!(lines(&broker, &["copy", "-e", "-f", r"%o\n"]).await.len(), odd().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_decides_whether_aborted_records_are_shown() {
    let broker = super::orders(1).await;
    transaction(&broker, ["gone"], false).await;
    transaction(&broker, ["kept"], true).await;
    write(&broker, [value("plain")]).await;
    assert_eq!(lines(&broker, &["orders", "-c", "3"]).await, ["gone", "kept", "plain"]);
    let uncommitted = ["orders", "-c", "3", "--isolation", "read_uncommitted"];
    assert_eq!(lines(&broker, &uncommitted).await, ["gone", "kept", "plain"]);
    let committed = ["orders", "-c", "2", "--isolation", "read_committed"];
    assert_eq!(lines(&broker, &committed).await, ["kept", "plain"]);
}

/// Compressed batches and large values, in the order of their offsets.
#[tokio::test(flavor = "multi_thread")]
async fn many_and_large_records_come_whole_and_in_order() {
    let broker = super::orders(1).await;
    let filler = "z".repeat(300);
    write(&broker, (0..20_000).map(|number| value(&format!("{number} {filler}")))).await;
    let large = "w".repeat(900_000);
    write(&broker, [value(&large)]).await;
    let shown = lines(&broker, &["orders", "-e"]).await;
    assert_eq!(shown.len(), 20_001);
    for (number, line) in shown[..20_000].iter().enumerate() {
        assert_eq!(*line, format!("{number} {filler}"));
    }
    assert_eq!(shown[20_000], large);
}

#[test]
fn the_command_says_how_it_is_used() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_milena")).args(["consume", "--help"]).output();
    let help = text(&help.unwrap().stdout);
    for told in ["--from takes: beginning, end; an offset", "%t topic", "Ends with 0 when", "Examples:"] {
        assert!(help.contains(told), "{told}: {help}");
    }
}
