//! A4: handles that are dropped without close, and runtimes that end under them. Nothing panics, hangs or leaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    future::Future,
    time::{Duration, Instant},
};

use milena::{
    AutoOffsetReset, Client, CloseError, CommitError, Consumer, ErrorCode, Producer, Record, TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, ClusterConfig, Rule},
};
use milena_protocol::ApiKey;
use tokio::runtime::{Builder, Handle, Runtime};

const SOON: Duration = Duration::from_secs(10);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn broker() -> EmbeddedBroker {
    let quick = |config: &mut ClusterConfig| config.consumer_heartbeat_interval = Duration::from_millis(100);
    EmbeddedBroker::builder().configure(quick).topic("letters", 1).start().await.unwrap()
}

fn letter(number: usize) -> Record {
    Record::new("letters").value(number.to_string())
}

fn by_hand(client: &Client) -> Consumer {
    let consumer = client.consumer_without_group().assign([TopicPartition::new("letters", 0)]);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

fn in_a_group(client: &Client, group: impl Into<milena::ByteString>) -> Consumer {
    let consumer = client.consumer(group).subscribe(["letters"]);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

async fn read(consumer: &Consumer, count: usize) {
    let mut seen = 0;
    while seen < count {
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        assert!(!records.is_empty(), "{:?}", consumer.explain());
        seen += records.len();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("it hangs"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dropped_producer_has_accepted_is_written() {
    let broker = broker().await;
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..1_000 {
        deliveries.push(producer.enqueue(letter(number)).await.unwrap());
    }
    drop((producer, client));
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        assert_eq!(within(delivery).await.unwrap().offset, Some(offset));
    }
    broker.shutdown().await;
}

/// Open files and tasks of this process.
fn held() -> (usize, usize) {
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), Handle::current().metrics().num_alive_tasks())
}

/// One test of this process at a time, because it counts what the process holds: `held` sees the others' files.
#[test]
fn two_hundred_clients_leave_no_file_and_no_task_behind() {
    // A process of its own, for the same reason.
    if std::env::var_os("MILENA_COUNTS_FILES").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "two_hundred_clients_leave_no_file_and_no_task_behind", "--nocapture"]);
        assert!(child.env("MILENA_COUNTS_FILES", "1").status().unwrap().success());
        return;
    }
    runtime().block_on(async {
        let broker = broker().await;
        live_and_die(&broker, 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = held();
        for turn in 1..=200 {
            live_and_die(&broker, turn).await;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while held() > before || held().1 > before.1 {
            assert!(Instant::now() < deadline, "(files, tasks) before {before:?}, after {:?}", held());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        broker.shutdown().await;
    });
}

/// A record there and back; every second time without a close, every fourth in a group.
async fn live_and_die(broker: &EmbeddedBroker, turn: usize) {
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    within(producer.send(letter(turn))).await.unwrap();
    let consumer = if turn % 4 < 2 { by_hand(&client) } else { in_a_group(&client, format!("g{turn}")) };
    within(read(&consumer, turn + 1)).await;
    if turn.is_multiple_of(2) {
        producer.close(SOON).await.unwrap();
        consumer.close(SOON).await.unwrap();
    }
}

struct Handles {
    client: Client,
    producer: Producer,
    consumer: Consumer,
}

async fn handles(bootstrap: String) -> Handles {
    let client = Client::connect(bootstrap).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(letter(0)).await.unwrap();
    let consumer = in_a_group(&client, "readers");
    read(&consumer, 1).await;
    Handles { client, producer, consumer }
}

#[test]
fn whoever_waits_is_told_that_the_runtime_has_ended() {
    let ours = runtime();
    let theirs = runtime();
    let broker = ours.block_on(broker());
    let Handles { client, producer, consumer } =
        ours.block_on(async { theirs.spawn(handles(broker.bootstrap())).await.unwrap() });
    // From here on the broker answers nothing that matters.
    for api in [ApiKey::Produce, ApiKey::OffsetCommit, ApiKey::Metadata, ApiKey::CreatePartitions] {
        broker.add_fault(Rule::new(api, Action::Ignore).times(u32::MAX));
    }
    let waiting = ours.block_on(async {
        let delivery = producer.enqueue(letter(1)).await.unwrap();
        let flush = tokio::spawn({
            let producer = producer.clone();
            async move { producer.flush().await }
        });
        let commit = tokio::spawn({
            let consumer = consumer.clone();
            async move { consumer.commit().await }
        });
        let poll = tokio::spawn({
            let consumer = consumer.clone();
            async move { consumer.poll(Duration::MAX).await }
        });
        let admin = tokio::spawn({
            let admin = client.admin();
            // Not one that is asked again.
            async move { admin.create_partitions("letters", 2).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        (delivery, flush, commit, poll, admin)
    });
    theirs.shutdown_timeout(SOON);
    ours.block_on(async {
        let (delivery, flush, commit, poll, admin) = waiting;
        assert!(within(delivery).await.is_err());
        assert_eq!(within(flush).await.unwrap(), Err(CloseError::TaskEnded));
        assert_eq!(within(commit).await.unwrap(), Err(CommitError::Closed));
        assert!(within(poll).await.unwrap().unwrap().is_none());
        assert!(within(admin).await.unwrap().unwrap_err().is_uncertain());

        assert!(within(producer.send(letter(2))).await.is_err());
        assert_eq!(within(producer.flush()).await, Err(CloseError::TaskEnded));
        assert_eq!(within(producer.close(SOON)).await, Err(CloseError::TaskEnded));
        assert!(within(consumer.poll(SOON)).await.unwrap().is_none());
        assert_eq!(within(consumer.commit()).await, Err(CommitError::Closed));
        assert_eq!(within(consumer.committed([])).await, Err(CommitError::Closed));
        assert_eq!(within(consumer.close(SOON)).await, Err(CloseError::TaskEnded));
        broker.with_cluster(|cluster, _| cluster.faults().clear());
        // The client has no task of its own: it goes on where it is asked.
        assert_eq!(within(client.admin().partition_count("letters")).await.unwrap(), 1);
    });
    // Where there is no runtime at all.
    drop((client, producer, consumer));
    ours.block_on(broker.shutdown());
}

#[test]
fn handles_may_outlive_every_runtime() {
    let ours = runtime();
    let broker = ours.block_on(broker());
    let Handles { client, producer, consumer } = ours.block_on(handles(broker.bootstrap()));
    ours.shutdown_timeout(SOON);
    assert!(consumer.commit_async().is_err());
    assert!(producer.try_enqueue(&letter(1)).is_err());
    client.shutdown();
    drop((consumer, producer, client, broker));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_after_a_close_that_did_not_finish_is_answered() {
    let broker = broker().await;
    let Handles { consumer, .. } = handles(broker.bootstrap()).await;
    broker.add_fault(Rule::new(ApiKey::OffsetCommit, Action::Ignore).times(u32::MAX));
    consumer.commit_async().unwrap();
    let timeout = Duration::from_millis(100);
    assert_eq!(consumer.close(timeout).await, Err(CloseError::DeadlinePassed(timeout)));
    assert_eq!(within(consumer.commit()).await, Err(CommitError::Closed));
    assert_eq!(within(consumer.committed([])).await, Err(CommitError::Closed));
    assert!(within(consumer.poll(SOON)).await.unwrap().is_none());
    broker.shutdown().await;
}

/// There is no group to be left any more: closing has nothing to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_has_failed_closes_at_once() {
    let broker = broker().await;
    let refused = Action::Answer(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    broker.add_fault(Rule::new(ApiKey::ConsumerGroupHeartbeat, refused).times(u32::MAX));
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let consumer = in_a_group(&client, "readers");
    assert!(within(consumer.poll(SOON)).await.unwrap_err().is_fatal());
    let begun = Instant::now();
    assert_eq!(consumer.close(SOON).await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(consumer.close(SOON).await, Ok(()));
    broker.shutdown().await;
}
