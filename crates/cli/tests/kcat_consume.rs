//! What `milena consume` prints is what `kcat -C` prints.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::process::{Output, Stdio};

use milena::{Bytes, Client, Record};
use milena_embedded_broker::EmbeddedBroker;
use protocol_tests::external::{PATIENCE, kcat};
use tokio::process::Command;

async fn finish(command: &mut Command) -> Vec<u8> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Output { status, stdout, stderr } = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    assert!(status.success(), "{:?}: {}", command.as_std(), String::from_utf8_lossy(&stderr));
    stdout
}

async fn broker() -> EmbeddedBroker {
    let broker = EmbeddedBroker::builder().topic("orders", 1).topic("nulls", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    let record = || Record::new("orders");
    for record in [
        record().key("k").value("v").timestamp(1000),
        record().key("").timestamp(2000),
        record().value("").timestamp(3000),
        record().key(Bytes::from_static(b"\xff\n")).value(Bytes::from_static(b"\0\xfe")).timestamp(4000),
        record()
            .value("w")
            .header("a", "1")
            .header("a", "2")
            .null_header("n")
            .header("e", "")
            .timestamp(5000),
    ] {
        producer.send(record).await.unwrap();
    }
    for record in [Record::new("nulls").key("k"), Record::new("nulls").value("v")] {
        producer.send(record.timestamp(1).null_header("n")).await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
    client.shutdown();
    broker
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn the_options_that_have_the_same_letters_print_the_same() {
    let broker = broker().await;
    for arguments in [
        &[][..],
        &["-K", ":"],
        &["-K", r"\t", "-D", r"\x3b"],
        &["-f", r"%t [%p] %o %T: %K %k, %S %s, %h 100%%\n"],
        &["-f", r"%R%s\t\x41\r\n"],
        &["-f", "%s"],
        &["-o", "beginning", "-c", "2"],
        &["-o", "end"],
        &["-o", "3"],
        &["-o", "-2", "-K", "="],
        &["-o", "s@2500"],
        &["-o", "s@2000", "-c", "1", "-K", ":"],
    ] {
        the_same(&broker, "orders", arguments).await;
    }
}

/// For kcat's -Z what is empty is null, too.
#[tokio::test]
#[ignore = "needs kcat"]
async fn nulls_are_marked_the_same() {
    let broker = broker().await;
    for arguments in [
        &["-Z"][..],
        &["-Z", "-K", ":"],
        &["-Z", "-f", r"%K %k, %S %s, %h\n"],
        &["-f", r"%K %k, %S %s, %h\n"],
    ] {
        the_same(&broker, "nulls", arguments).await;
    }
}

async fn the_same(broker: &EmbeddedBroker, topic: &str, arguments: &[&str]) {
    let common = [&["-t", topic, "-p", "0", "-e", "-q"], arguments].concat();
    let theirs = finish(kcat(&broker.bootstrap()).arg("-C").args(&common)).await;
    let mut ours = Command::new(env!("CARGO_BIN_EXE_milena"));
    let ours = finish(ours.args(["consume", "-b", &broker.bootstrap()]).args(&common)).await;
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert_eq!(shown(&ours), shown(&theirs), "{arguments:?}");
}
