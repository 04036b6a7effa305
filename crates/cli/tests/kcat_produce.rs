//! What `milena produce` writes is what `kcat -P` writes, as `kcat -C` reads it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use milena_embedded_broker::EmbeddedBroker;
use protocol_tests::external::{self, kcat, run};
use tokio::process::Command;

const SHOWN: &str = r"%p key %K %k value %S %s headers %h|end\n";

async fn read(broker: &EmbeddedBroker, topic: &str) -> Vec<String> {
    let mut reader = kcat(&broker.bootstrap());
    let shown = run(reader.args(["-C", "-t", topic, "-e", "-q", "-Z", "-f", SHOWN]), "").await;
    let mut lines: Vec<String> = shown.split_terminator("|end\n").map(str::to_owned).collect();
    // Which partition kcat reads first is chance; within one it keeps the order.
    lines.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
    lines
}

/// Writes the same with both, each to a topic of its own, and holds them against each other.
async fn the_same(kcat_arguments: &[&str], milena_arguments: &[&str], input: &str, records: usize) {
    let broker = EmbeddedBroker::builder().topic("theirs", 3).topic("ours", 3).start().await.unwrap();
    let mut theirs = kcat(&broker.bootstrap());
    run(theirs.args(["-P", "-t", "theirs"]).args(kcat_arguments), input).await;
    let mut ours = Command::new(env!("CARGO_BIN_EXE_milena"));
    ours.args(["produce", "-b", &broker.bootstrap(), "-t", "ours", "-q"]).args(milena_arguments);
    let output = external::finish(&mut ours, input).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (theirs, ours) = (read(&broker, "theirs").await, read(&broker, "ours").await);
    assert_eq!(ours, theirs, "{milena_arguments:?}");
    assert_eq!(ours.len(), records, "{milena_arguments:?}: {ours:?}");
}

const LINES: &str = "k1:v1\n:v2\nk3:\nplain\n\nk4:v:w\nlast";

#[tokio::test]
#[ignore = "needs kcat"]
async fn the_options_that_have_the_same_letters_do_the_same() {
    for (arguments, records) in [
        (&["-p", "1"][..], 6),
        (&["-p", "0", "-K", ":"], 6),
        (&["-p", "0", "-K", ":", "-Z"], 6),
        (&["-p", "2", "-K", ":", "-k", "fixed"], 6),
        (&["-p", "0", "-k", "fixed", "-H", "a=b=c", "-H", "none", "-H", "empty="], 6),
        (&["-p", "0", "-D", ":"], 6),
        (&["-p", "0", "-D", "\\x3av"], 4),
        (&["-p", "0", "-c", "2"], 2),
    ] {
        // kcat leaves out empty lines.
        the_same(arguments, &[arguments, &["--skip-empty"]].concat(), LINES, records).await;
    }
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let arguments = ["-p", "0", "-z", codec];
        the_same(&arguments, &arguments, &"a line to compress\n".repeat(500), 500).await;
    }
}

/// With Java's partitioner in both, keys go to the same partitions.
#[tokio::test]
#[ignore = "needs kcat"]
async fn keys_go_where_kcat_puts_them_with_javas_partitioner() {
    let input: String = (0..300).map(|number| format!("key-{number}={number}\n")).collect();
    let theirs = ["-K", "=", "-X", "topic.partitioner=murmur2_random"];
    the_same(&theirs, &["-K", "="], &input, 300).await;
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn transactions_and_whole_files_are_the_same() {
    let theirs = ["-p", "0", "-X", "transactional.id=theirs"];
    the_same(&theirs, &["-p", "0", "--transactional-id", "ours"], "a\nb\n", 2).await;
    let file = std::env::temp_dir().join(format!("milena-kcat-produce-{}", std::process::id()));
    std::fs::write(&file, "one\ntwo").unwrap();
    let path = file.to_str().unwrap();
    the_same(&["-p", "0", path], &["-p", "0", "--whole-file", path], "", 1).await;
    std::fs::remove_file(&file).unwrap();
}
