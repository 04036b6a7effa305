//! `milena consume` as a person and as a script run it, against brokers in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

mod end;
mod errors;
mod group;
mod output;
mod start;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use milena::{Client, Record, Transaction};
use milena_embedded_broker::EmbeddedBroker;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// More than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(broker: &EmbeddedBroker, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["consume", "-b", &broker.bootstrap()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the command to its end.
async fn consume(broker: &EmbeddedBroker, arguments: &[&str]) -> Output {
    let run = command(broker, arguments).output();
    timeout(PATIENCE, run).await.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap()
}

/// Runs the command to its end, which must be a good one: what it prints.
async fn printed(broker: &EmbeddedBroker, arguments: &[&str]) -> Vec<u8> {
    let output = consume(broker, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    output.stdout
}

/// As [`printed`], by lines.
async fn lines(broker: &EmbeddedBroker, arguments: &[&str]) -> Vec<String> {
    text(&printed(broker, arguments).await).lines().map(str::to_owned).collect()
}

async fn objects(broker: &EmbeddedBroker, arguments: &[&str]) -> Vec<Value> {
    let lines = lines(broker, &[arguments, &["--json"]].concat()).await;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command that does not begin: what it says.
async fn refused(broker: &EmbeddedBroker, arguments: &[&str]) -> String {
    let output = consume(broker, arguments).await;
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(2), &b""[..]),
        "{arguments:?}: {said}"
    );
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A command that runs on, and its lines as they come.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(broker: &EmbeddedBroker, arguments: &[&str]) -> Self {
        let mut child = command(broker, arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.next_line()).await.expect("no line comes").unwrap()
    }

    /// The next line that it says on standard error. What follows is read in the end, up to what came in one piece with it.
    #[cfg(unix)]
    async fn complaint(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stderr.as_mut().unwrap()).lines();
        timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap().unwrap()
    }

    #[cfg(unix)]
    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// How it ends, and what it has said, when what it prints is read.
    #[cfg(unix)]
    async fn end(mut self) -> (Option<i32>, String) {
        while self.line().await.is_some() {}
        self.end_unread().await
    }

    /// How it ends, and what it has said, when nothing of what it prints is read any more.
    async fn end_unread(self) -> (Option<i32>, String) {
        drop(self.lines);
        let output =
            timeout(PATIENCE, self.child.wait_with_output()).await.expect("it does not end").unwrap();
        (output.status.code(), text(&output.stderr))
    }
}

async fn orders(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().topic("orders", partitions).start().await.unwrap()
}

/// Writes records in their order.
async fn write(broker: &EmbeddedBroker, records: impl IntoIterator<Item = Record>) {
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    let mut sent = Vec::new();
    for record in records {
        sent.push(producer.enqueue(record).await.unwrap());
    }
    for delivery in sent {
        delivery.await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
    client.shutdown();
}

/// `orders` with these values in partition 0, a second apart from 1 s on.
async fn written(values: std::ops::Range<i64>) -> EmbeddedBroker {
    let broker = orders(1).await;
    let record = |number: i64| value(&number.to_string()).timestamp(1000 * (number + 1));
    write(&broker, values.map(record)).await;
    broker
}

/// A record of partition 0.
fn value(value: &str) -> Record {
    Record::new("orders").partition(0).value(value.to_owned())
}

/// Writes a transaction to partition 0.
async fn transaction<const N: usize>(broker: &EmbeddedBroker, values: [&str; N], commit: bool) {
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let mut producer = client.transactional_producer("payments").build().await.unwrap();
    let transaction: Transaction<'_> = producer.begin().unwrap();
    for text in values {
        transaction.send(value(text)).await.unwrap();
    }
    if commit {
        transaction.commit().await.unwrap();
    } else {
        transaction.abort().await.unwrap();
    }
    decided(broker).await;
    producer.close(PATIENCE).await.unwrap();
    client.shutdown();
}

/// Waits until no transaction is open in partition 0: its mark comes a moment after its end is answered.
async fn decided(broker: &EmbeddedBroker) {
    let is_decided = || {
        broker.with_cluster(|cluster, _| {
            cluster.last_stable_offset("orders", 0) == cluster.offsets("orders", 0).map(|offsets| offsets.end)
        })
    };
    timeout(PATIENCE, async {
        while !is_decided() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}
