//! Other people's clients against the embedded broker: kcat (librdkafka) and Java's own tools.
//!
//! kcat is taken from PATH, Java's jars from the folder that MILENA_KAFKA_LIBS names. What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{collections::BTreeSet, env, process::Stdio, time::Duration};

use milena_embedded_broker::{
    EmbeddedBroker,
    core::{BrokerId, Cluster},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Most that any client may take; a JVM on a busy machine needs seconds to start.
const PATIENCE: Duration = Duration::from_secs(120);

fn kcat(broker: &EmbeddedBroker) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap(), "-X", "topic.metadata.refresh.interval.ms=1000"]);
    command
}

fn java(tool: &str) -> Command {
    let libs = env::var("MILENA_KAFKA_LIBS").expect("MILENA_KAFKA_LIBS must name the folder of Kafka's jars");
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
    command.args(["-cp", &format!("{libs}/*"), &format!("org.apache.kafka.tools.{tool}")]);
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().unwrap_or_else(|error| panic!("{program} must be installed to run this test: {error}"))
}

/// Runs a client to its end with this input and gives what it printed.
async fn run(command: &mut Command, input: &str) -> String {
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the client hangs").unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}\n{printed}", command.as_std());
    printed
}

/// Reads lines from a running client until `count` of them are there.
async fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let mut lines = Vec::new();
    timeout(PATIENCE, async {
        while lines.len() < count {
            lines.push(reader.next_line().await.unwrap().expect("the client ended early"));
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {count} lines", lines.len()));
    lines
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

fn sorted(lines: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

async fn orders(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().brokers(3).topic("orders", partitions).start().await.unwrap()
}

fn written(broker: &EmbeddedBroker, partitions: i32) -> i64 {
    broker.with_cluster(|cluster, _| {
        (0..partitions).map(|partition| cluster.offsets("orders", partition).unwrap().end).sum()
    })
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn kcat_sees_the_cluster() {
    let broker = orders(6).await;
    let listed = run(kcat(&broker).arg("-L"), "").await;
    assert!(listed.contains("3 brokers:"), "{listed}");
    assert!(listed.contains("topic \"orders\" with 6 partitions:"), "{listed}");
    assert!(listed.contains("partition 1, leader 2, replicas: 2,3,1, isrs: 2,3,1"), "{listed}");
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn kcat_reads_what_it_wrote_with_every_codec() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let broker = orders(6).await;
        let mut producer = kcat(&broker);
        producer.args(["-P", "-t", "orders", "-X", "enable.idempotence=true", "-z", codec]);
        run(&mut producer, &numbers(0..5_000)).await;
        assert_eq!(written(&broker, 6), 5_000, "{codec}");
        let read = run(kcat(&broker).args(["-C", "-t", "orders", "-e", "-q"]), "").await;
        assert_eq!(sorted(&read), (0..5_000).collect::<Vec<_>>(), "{codec}");
    }
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn kcat_shares_a_group_and_goes_on_where_it_stopped() {
    let broker = orders(6).await;
    let mut producer = kcat(&broker);
    producer.args(["-P", "-t", "orders", "-p", "-1"]);
    run(&mut producer, &numbers(0..600)).await;
    let group = || {
        let mut command = kcat(&broker);
        command.args(["-G", "shared", "-q", "-X", "auto.offset.reset=earliest"]);
        command
    };
    let read = run(group().args(["-e", "orders"]), "").await;
    assert_eq!(sorted(&read), (0..600).collect::<Vec<_>>());
    run(&mut producer, &numbers(600..700)).await;
    let read = run(group().args(["-e", "orders"]), "").await;
    assert_eq!(sorted(&read), (600..700).collect::<Vec<_>>());
    let (mut one, mut other) =
        (spawn(group().arg("-u").arg("orders")), spawn(group().arg("-u").arg("orders")));
    // Both are in the group once each has got something of what goes to every partition.
    let mut feeding = (700..).step_by(100);
    let feed = async {
        loop {
            let from: u32 = feeding.next().unwrap();
            run(&mut producer, &numbers(from..from + 100)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = feed => {}
        _ = async { tokio::join!(lines(&mut one, 100), lines(&mut other, 100)) } => {}
    }
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn kcat_survives_a_broker_that_stops_and_a_leader_that_moves() {
    let broker = orders(3).await;
    let mut child = spawn(kcat(&broker).args([
        "-P",
        "-t",
        "orders",
        "-X",
        "enable.idempotence=true",
        "-X",
        "linger.ms=1",
    ]));
    let mut stdin = child.stdin.take().unwrap();
    for round in 0..30u32 {
        stdin.write_all(numbers(round * 100..(round + 1) * 100).as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        match round {
            5 => broker.stop_broker(BrokerId(2)),
            10 => broker.start_broker(BrokerId(2)),
            15 => broker
                .with_cluster(|cluster, now| cluster.move_leader(now, "orders", 0, BrokerId(2)).unwrap()),
            20 => broker.stop_broker(BrokerId(3)),
            _ => {}
        }
    }
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("kcat hangs").unwrap();
    assert!(output.status.success());
    broker.start_broker(BrokerId(3));
    let read = run(kcat(&broker).args(["-C", "-t", "orders", "-e", "-q"]), "").await;
    assert_eq!(sorted(&read), (0..3_000).collect::<Vec<_>>(), "each once: nothing lost, nothing twice");
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn java_creates_and_deletes_topics() {
    let broker = orders(1).await;
    let topics = |arguments: &[&str]| {
        let mut command = java("TopicCommand");
        command.args(["--bootstrap-server", &broker.bootstrap()]).args(arguments);
        command
    };
    run(&mut topics(&["--create", "--topic", "made", "--partitions", "4", "--replication-factor", "2"]), "")
        .await;
    let listed = run(&mut topics(&["--list"]), "").await;
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["made", "orders"]);
    assert_eq!(broker.with_cluster(|cluster, _| cluster.leader("made", 3)), Some((BrokerId(1), 0)));
    run(&mut topics(&["--delete", "--topic", "made"]), "").await;
    assert_eq!(broker.with_cluster(|cluster, _| cluster.leader("made", 3)), None);
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn java_reads_what_it_wrote_in_both_group_protocols() {
    let broker = orders(6).await;
    let mut producer = java("ConsoleProducer");
    producer.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders"]);
    run(&mut producer, &numbers(0..2_000)).await;
    assert_eq!(written(&broker, 6), 2_000);
    for protocol in ["classic", "consumer"] {
        let consumer = |count: &str| {
            let mut command = java("consumer.ConsoleConsumer");
            command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders"]);
            command.args(["--group", protocol, "--max-messages", count]);
            command.args(["--command-property", &format!("group.protocol={protocol}")]);
            command.args(["--command-property", "auto.offset.reset=earliest"]);
            command
        };
        let mut read = run(&mut consumer("1500"), "").await;
        read += &run(&mut consumer("500"), "").await;
        assert_eq!(
            sorted(&read),
            (0..2_000).collect::<Vec<_>>(),
            "{protocol}: the second goes on where the first stopped"
        );
    }
}

#[tokio::test]
#[ignore = "needs Java or kcat: cargo xtask test"]
async fn java_consumers_hand_partitions_over() {
    let broker = EmbeddedBroker::builder()
        .brokers(3)
        .topic("orders", 4)
        .configure(|config| {
            config.consumer_heartbeat_interval = Duration::from_millis(500);
            config.consumer_session_timeout = Duration::from_secs(6);
        })
        .start()
        .await
        .unwrap();
    let consumer = || {
        let mut command = java("consumer.ConsoleConsumer");
        command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders", "--group", "g"]);
        command.args(["--command-property", "group.protocol=consumer"]);
        command.args(["--command-property", "auto.offset.reset=earliest"]);
        command.args(["--command-property", "auto.commit.interval.ms=100"]);
        spawn(&mut command)
    };
    let feed = async |numbers: &str| {
        for partition in 0..4 {
            let mut producer = kcat(&broker);
            producer.args(["-P", "-t", "orders", "-p", &partition.to_string()]);
            run(&mut producer, numbers).await;
        }
    };
    let shares = async |expected: &[usize]| {
        let reached = async {
            loop {
                let assigned = broker.with_cluster(|cluster, _| cluster.assignments("g"));
                if assigned.values().map(BTreeSet::len).collect::<Vec<_>>() == expected {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {expected:?}"));
    };
    let mut first = consumer();
    feed("1\n").await;
    assert_eq!(lines(&mut first, 4).await, ["1", "1", "1", "1"]);
    let mut second = consumer();
    shares(&[2, 2]).await;
    feed("2\n").await;
    assert_eq!(lines(&mut second, 2).await, ["2", "2"], "the offsets came with the partitions");
    assert_eq!(lines(&mut first, 2).await, ["2", "2"]);
    let committed = async {
        let all = |cluster: &Cluster| {
            (0..4).all(|at| cluster.committed("g", "orders", at).is_some_and(|it| it.offset == 2))
        };
        while !broker.with_cluster(|cluster, _| all(cluster)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, committed).await.expect("the offsets are never committed");
    first.kill().await.unwrap();
    // Killed, it says no goodbye: its session has to end.
    shares(&[4]).await;
    feed("3\n").await;
    assert_eq!(lines(&mut second, 4).await, ["3", "3", "3", "3"]);
}
