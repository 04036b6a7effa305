//! What breaks other consumers when brokers break: a log that is cut off behind the reader's back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::time::Duration;

use milena::{
    Acks, AutoOffsetReset, Client, ConsumeError, Consumer, ConsumerError, NewTopic, Position, Producer,
    SeekTo, TopicPartition,
};
use protocol_tests::{
    cluster::Cluster,
    nemesis::{Broken, Fault},
    observer::{Observer, PATIENCE},
    stage::Stage,
};
use tokio::time::{sleep, timeout};

const POLL: Duration = Duration::from_millis(100);
/// Longer than a follower lets its leader wait for something new.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// What happens within [`PATIENCE`].
async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it hangs"))
}

fn reader(client: &Client, partition: &TopicPartition, reset: AutoOffsetReset) -> Consumer {
    let builder = client.consumer_without_group().auto_offset_reset(reset);
    let consumer = builder.request_timeout(Duration::from_secs(5)).build().unwrap();
    let beginning = Position { offset: 0, leader_epoch: None };
    consumer.assign([(partition.clone(), Some(beginning))]).unwrap();
    consumer
}

/// Reads until so many records have come, or an error.
async fn read(consumer: &Consumer, count: usize) -> Result<Vec<(i64, String)>, ConsumeError> {
    patiently(async {
        let mut read = Vec::new();
        while read.len() < count {
            let records = consumer.poll(POLL).await?.unwrap();
            let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            read.extend(records.iter().map(|record| (record.offset(), value(record.value().unwrap()))));
        }
        Ok(read)
    })
    .await
}

/// Writes so many records one after the other; whoever leads alone takes them.
async fn write(stage: &Stage, producer: &Producer, word: &str, count: usize) {
    for number in 0..count {
        patiently(producer.send(stage.record(0, format!("{word} {number}")))).await.unwrap();
    }
}

fn expected(from: i64, word: &str, count: usize) -> Vec<(i64, String)> {
    (from..).zip((0..count).map(|number| format!("{word} {number}"))).collect()
}

async fn until_in_sync(observer: &Observer, partition: &TopicPartition, replicas: usize) {
    patiently(async {
        while observer.partitions(&partition.topic).await[&partition.partition].in_sync != replicas {
            sleep(POLL).await;
        }
    })
    .await;
}

/// F8: a follower that has missed records becomes the leader, and other records come in their place. A reader that was behind
/// them goes back to where the logs part and reads on; one that may not is told where that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_log_that_was_cut_off_is_read_on_from_where_the_logs_part() {
    const COMMON: usize = 5;
    const CUT_OFF: usize = 7;
    const OTHERS: usize = 20;
    let cluster = Cluster::from_env().unwrap();
    let unclean = |topic: NewTopic| {
        let topic = topic.partitions(1).replication_factor(2).config("min.insync.replicas", "1");
        topic.config("unclean.leader.election.enable", "true")
    };
    let stage = Stage::set_with(&cluster, "cut-off", unclean).await;
    let (observer, partition) = (stage.observer(), stage.partition(0));
    let builder = stage.direct.producer().linger(Duration::ZERO).idempotence(false).acks(Acks::Leader);
    let producer = builder.delivery_timeout(PATIENCE).build().unwrap();
    write(&stage, &producer, "common", COMMON).await;
    let (leader, replicas) = (observer.leader(&partition).await, observer.replicas(&partition).await);
    let follower = *replicas.iter().find(|replica| **replica != leader).unwrap();
    let policies = [AutoOffsetReset::Earliest, AutoOffsetReset::None];
    let [goes_back, is_told] = policies.map(|reset| reader(&stage.direct, &partition, reset));

    // What can be read the follower has.
    for reader in [&goes_back, &is_told] {
        assert_eq!(read(reader, COMMON).await.unwrap(), expected(0, "common", COMMON));
    }

    let behind = Broken::by(&cluster, Fault::Pause, follower).await;
    sleep(IN_FLIGHT).await;
    until_in_sync(&observer, &partition, 1).await;
    write(&stage, &producer, "cut off", CUT_OFF).await;
    for reader in [&goes_back, &is_told] {
        assert_eq!(read(reader, CUT_OFF).await.unwrap(), expected(COMMON as i64, "cut off", CUT_OFF));
    }

    // Two of the three nodes must be there to elect: one goes as the other comes back.
    let away = Broken::by(&cluster, Fault::Kill, leader).await;
    behind.mend().await;
    patiently(async {
        while observer.leader(&partition).await != follower {
            sleep(POLL).await;
        }
    })
    .await;
    write(&stage, &producer, "other", OTHERS).await;
    assert_eq!(read(&goes_back, OTHERS).await.unwrap(), expected(COMMON as i64, "other", OTHERS));
    let error = read(&is_told, 1).await.unwrap_err();
    let ConsumerError::LogTruncated { partition: of, offset, end } = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!((of, *offset), (&partition, (COMMON + CUT_OFF) as i64));
    assert_eq!(*end, Some(COMMON as i64), "{error}");
    // The application may go there itself.
    is_told.seek(&partition, SeekTo::Offset(COMMON as i64)).unwrap();
    assert_eq!(read(&is_told, OTHERS).await.unwrap(), expected(COMMON as i64, "other", OTHERS));

    away.mend().await;
    observer.await_whole(std::slice::from_ref(&stage.name)).await;
    stage.strike().await;
}
