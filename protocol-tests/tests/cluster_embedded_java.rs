//! Java's own tools against the embedded broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use milena::{Client, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{BrokerId, Cluster, ConnectionId},
};
use milena_protocol::{
    ApiKey,
    frame::encode_request,
    messages::{
        EndTxnRequest, InitProducerIdRequest, ProduceRequest, Request,
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};
use protocol_tests::{
    external::{PATIENCE, java, java_class, lines, numbers, run, run_through_resets, sorted, spawn},
    proxy::Proxy,
};
use tokio::time::timeout;

async fn orders(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::builder().brokers(3).topic("orders", partitions).start().await.unwrap()
}

fn written(broker: &EmbeddedBroker, partitions: i32) -> i64 {
    broker.with_cluster(|cluster, _| {
        (0..partitions).map(|partition| cluster.offsets("orders", partition).unwrap().end).sum()
    })
}

#[tokio::test]
#[ignore = "needs Java"]
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
#[ignore = "needs Java"]
async fn java_describes_topics_and_changes_them() {
    let broker = orders(1).await;
    let tool = |class: &str, arguments: &[&str]| {
        let mut command = java_class(class);
        command.args(["--bootstrap-server", &broker.bootstrap()]).args(arguments);
        command
    };
    let (topics, configs) = ("org.apache.kafka.tools.TopicCommand", "kafka.admin.ConfigCommand");
    let describe = ["--describe", "--topic", "orders"];
    let described = run(&mut tool(topics, &describe), "").await;
    assert!(described.contains("PartitionCount: 1\tReplicationFactor: 3"), "{described}");
    assert!(described.contains("Leader: 1\tReplicas: 1,2,3\tIsr: 1,2,3"), "{described}");
    run(&mut tool(topics, &["--alter", "--topic", "orders", "--partitions", "3"]), "").await;
    let config =
        ["--alter", "--topic", "orders", "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]"];
    run(&mut tool(configs, &config), "").await;
    let described = run(&mut tool(topics, &describe), "").await;
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("cleanup.policy=compact,delete"), "{described}");
    assert!(described.contains("retention.ms=1000"), "{described}");
    let config = ["--alter", "--topic", "orders", "--delete-config", "retention.ms"];
    run(&mut tool(configs, &config), "").await;
    let shown = run(&mut tool(configs, &["--describe", "--topic", "orders"]), "").await;
    assert!(shown.contains("cleanup.policy=compact,delete") && !shown.contains("retention.ms="), "{shown}");
    let all = run(&mut tool(configs, &["--describe", "--all", "--broker", "1"]), "").await;
    assert!(all.contains("message.max.bytes=1048588"), "{all}");
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_deletes_records_and_looks_after_groups() {
    let broker = orders(1).await;
    let tool = |class: &str, arguments: &[&str]| {
        let mut command = java(class);
        command.args(["--bootstrap-server", &broker.bootstrap()]).args(arguments);
        command
    };
    run(&mut tool("ConsoleProducer", &["--topic", "orders"]), &numbers(0..10)).await;
    let groups = "consumer.group.ConsumerGroupCommand";
    for protocol in ["classic", "consumer"] {
        let consume = ["--topic", "orders", "--group", protocol, "--max-messages", "4", "--command-property"];
        let mut consumer = tool("consumer.ConsoleConsumer", &consume);
        consumer.arg(format!("group.protocol={protocol}"));
        consumer.args(["--command-property", "auto.offset.reset=earliest"]);
        run(&mut consumer, "").await;
        let described = run(&mut tool(groups, &["--describe", "--group", protocol]), "").await;
        let row =
            described.lines().find(|line| line.contains("orders")).unwrap_or_else(|| panic!("{described}"));
        assert!(row.split_whitespace().any(|column| column == "10"), "the end of the log: {described}");
        let state = run(&mut tool(groups, &["--describe", "--state", "--group", protocol]), "").await;
        assert!(state.contains("Empty"), "{state}");
    }
    let listed = run(&mut tool(groups, &["--list"]), "").await;
    let mut listed: Vec<&str> = listed.split_whitespace().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["classic", "consumer"]);
    run(&mut tool(groups, &["--delete-offsets", "--group", "classic", "--topic", "orders"]), "").await;
    assert!(broker.with_cluster(|cluster, _| cluster.committed("classic", "orders", 0).is_none()));
    run(&mut tool(groups, &["--delete", "--group", "consumer"]), "").await;
    let listed = run(&mut tool(groups, &["--list"]), "").await;
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["classic"]);
    let file = std::env::temp_dir().join(format!("milena-delete-records-{}.json", std::process::id()));
    std::fs::write(
        &file,
        r#"{"partitions": [{"topic": "orders", "partition": 0, "offset": 7}], "version": 1}"#,
    )
    .unwrap();
    run(&mut tool("DeleteRecordsCommand", &["--offset-json-file", file.to_str().unwrap()]), "").await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(broker.with_cluster(|cluster, _| cluster.offsets("orders", 0)), Some(7..10));
}

#[tokio::test]
#[ignore = "needs Java"]
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

/// It knows nothing of the proxy, which it is told of by the brokers.
#[tokio::test]
#[ignore = "needs Java"]
async fn java_writes_each_record_once_though_its_connections_are_reset() {
    let broker = orders(6).await;
    let proxy = Proxy::default();
    let bootstrap = proxy.front(&broker.bootstrap()).unwrap();
    let mut producer = java("ConsoleProducer");
    producer.args(["--bootstrap-server", &bootstrap, "--topic", "orders", "--batch-size", "500"]);
    run_through_resets(&mut producer, &numbers(0..2_000), &proxy, None).await;
    assert_eq!(written(&broker, 6), 2_000);
    let mut consumer = java("consumer.ConsoleConsumer");
    consumer.args(["--bootstrap-server", &bootstrap, "--topic", "orders", "--max-messages", "2000"]);
    let read =
        run(consumer.args(["--group", "g", "--command-property", "auto.offset.reset=earliest"]), "").await;
    assert_eq!(sorted(&read), (0..2_000).collect::<Vec<_>>());
    let asked: BTreeSet<_> = proxy.asked(ApiKey::Produce).iter().map(|asked| asked.broker).collect();
    assert_eq!(asked.len(), 3, "another way leads to the brokers");
}

#[tokio::test]
#[ignore = "needs Java"]
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
    let producer = Client::connect(broker.bootstrap()).await.unwrap().producer().build().unwrap();
    let feed = async |value: &'static str| {
        for partition in 0..4 {
            producer.send(Record::new("orders").partition(partition).value(value)).await.unwrap();
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
    feed("1").await;
    assert_eq!(lines(&mut first, 4).await, ["1", "1", "1", "1"]);
    let mut second = consumer();
    shares(&[2, 2]).await;
    feed("2").await;
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
    feed("3").await;
    assert_eq!(lines(&mut second, 4).await, ["3", "3", "3", "3"]);
}

/// A request to a broker, past its listener. What is replied is not looked at.
fn request(broker: &EmbeddedBroker, to: BrokerId, version: i16, request: impl Into<Request>) {
    let frame = encode_request(&request.into(), version, 1, None).unwrap().to_bytes().slice(4..);
    // No listener comes to this number.
    broker.with_cluster(|cluster, now| cluster.handle_frame(now, to, ConnectionId(u64::MAX), frame));
}

/// Begins a transaction with one record in the first partition of `orders`.
fn begin(broker: &EmbeddedBroker, id: &str, value: &str) -> (i64, i16) {
    let coordinator = broker.with_cluster(|cluster, _| cluster.transaction_coordinator(id).unwrap());
    let init = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    request(broker, coordinator, 5, init);
    let (producer_id, producer_epoch) =
        broker.with_cluster(|cluster, _| cluster.transactional_producer(id).unwrap());
    let mut batch = BatchBuilder::new(1 << 10);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
    batch.append(now, None, Some(value.as_bytes()), []).unwrap();
    let stamp = ProducerStamp { producer_id, producer_epoch, base_sequence: 0, transactional: true };
    let records = Some(batch.compress(Compression::None).unwrap().stamp(stamp));
    let partition_data = vec![PartitionProduceData { records, ..Default::default() }].into();
    let topic = TopicProduceData { name: "orders".into(), partition_data, ..Default::default() };
    let produce = ProduceRequest {
        transactional_id: Some(id.into()),
        acks: -1,
        topic_data: vec![topic].into(),
        ..Default::default()
    };
    let leader = broker.with_cluster(|cluster, _| cluster.leader("orders", 0).unwrap().0);
    request(broker, leader, 12, produce);
    (producer_id, producer_epoch)
}

fn abort(broker: &EmbeddedBroker, id: &str, (producer_id, producer_epoch): (i64, i16)) {
    let coordinator = broker.with_cluster(|cluster, _| cluster.transaction_coordinator(id).unwrap());
    let end = EndTxnRequest {
        transactional_id: id.into(),
        producer_id,
        producer_epoch,
        committed: false,
        ..Default::default()
    };
    request(broker, coordinator, 5, end);
}

async fn read(broker: &EmbeddedBroker, isolation: &str, count: usize) -> Vec<String> {
    let mut command = java("consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders", "--from-beginning"]);
    command.args(["--isolation-level", isolation, "--max-messages", &count.to_string()]);
    let printed = run(&mut command, "").await;
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// How many values Java writes, each as decimal digits.
const VALUES: usize = 3_000;

/// Java's producer in transactions of a few milliseconds, between one that was aborted and one that is still open.
async fn java_transactions(transaction_version: i16) {
    let broker = EmbeddedBroker::builder()
        .brokers(3)
        .topic("orders", 3)
        .configure(|config| config.transaction_version = transaction_version)
        .start()
        .await
        .unwrap();
    let aborted = begin(&broker, "aborted", "never");
    abort(&broker, "aborted", aborted);
    let mut producer = java("ProducerPerformance");
    producer.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "orders", "--payload-monotonic"]);
    producer.args(["--num-records", &VALUES.to_string(), "--throughput", "6000"]);
    producer.args(["--transactional-id", "perf", "--transaction-duration-ms", "20"]);
    let report = run(&mut producer, "").await;
    assert!(report.contains(&format!("{VALUES} records sent")), "{report}");
    let (_, epoch) = broker.with_cluster(|cluster, _| cluster.transactional_producer("perf").unwrap());
    assert_eq!(epoch > 3, transaction_version == 2, "epoch {epoch}: one for each transaction in version 2");
    begin(&broker, "open", "not yet");
    let committed = read(&broker, "read_committed", VALUES).await;
    let expected: BTreeSet<String> = (0..VALUES).map(|value| value.to_string()).collect();
    assert_eq!(committed.iter().cloned().collect::<BTreeSet<_>>(), expected);
    let everything = read(&broker, "read_uncommitted", VALUES + 2).await;
    assert_eq!(everything[VALUES..], ["never", "not yet"]);
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_commits_transactions_of_version_2() {
    java_transactions(2).await;
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_commits_transactions_of_version_1() {
    java_transactions(1).await;
}

#[tokio::test]
#[ignore = "needs Java"]
async fn java_finds_and_ends_a_transaction_that_hangs() {
    let broker = orders(1).await;
    let (producer_id, _) = begin(&broker, "stuck", "a");
    let tool = |arguments: &[&str]| {
        let mut command = java("TransactionsCommand");
        command.args(["--bootstrap-server", &broker.bootstrap()]).args(arguments);
        command
    };
    let listed = run(&mut tool(&["list"]), "").await;
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[2], row[3]), ("stuck", &*producer_id.to_string(), "Ongoing"), "{listed}");
    let described = run(&mut tool(&["describe", "--transactional-id", "stuck"]), "").await;
    assert!(described.contains("orders-0"), "{described}");
    let producers =
        run(&mut tool(&["describe-producers", "--topic", "orders", "--partition", "0"]), "").await;
    assert!(producers.contains(&producer_id.to_string()), "{producers}");
    assert_eq!(broker.with_cluster(|cluster, _| cluster.last_stable_offset("orders", 0)), Some(0));
    let abort = ["abort", "--topic", "orders", "--partition", "0", "--start-offset", "0"];
    run(&mut tool(&abort), "").await;
    assert_eq!(broker.with_cluster(|cluster, _| cluster.last_stable_offset("orders", 0)), Some(2));
    run(&mut tool(&["forceTerminateTransaction", "--transactionalId", "stuck"]), "").await;
    // The transaction was aborted, and the tool took the id over.
    assert_eq!(broker.with_cluster(|cluster, _| cluster.transaction_state("stuck")), Some("Empty"));
}
