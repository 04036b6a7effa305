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
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
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
        &["-Z"],
        &["-K", ":"],
        &["-K", r"\t", "-D", r"\x3b", "-Z"],
        &["-f", r"%t [%p] %o %T: %K %k, %S %s, %h 100%%\n"],
        &["-f", r"%t [%p] %o %T: %K %k, %S %s, %h 100%%\n", "-Z"],
        &["-f", r"%R%s\t\x41\r\n"],
        &["-f", "%s"],
        &["-o", "beginning", "-c", "2"],
        &["-o", "end"],
        &["-o", "3"],
        &["-o", "-2", "-K", "="],
        &["-o", "s@2500"],
        &["-o", "s@2000", "-c", "1", "-K", ":"],
    ] {
        let mut theirs = kcat(&broker.bootstrap());
        let theirs = finish(theirs.args(["-C", "-t", "orders", "-p", "0", "-e", "-q"]).args(arguments)).await;
        let mut ours = Command::new(env!("CARGO_BIN_EXE_milena"));
        ours.args(["consume", "-b", &broker.bootstrap()]);
        let ours = finish(ours.args(["-t", "orders", "-p", "0", "-e", "-q"]).args(arguments)).await;
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(shown(&ours), shown(&theirs), "{arguments:?}");
    }
}
