//! Logs with gaps, with ends of transactions, and with transactions that are open.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use milena::{
    AutoOffsetReset, Consumer, ConsumerBuilder, IsolationLevel, NewTopic, Record, RecordMetadata,
    Transaction, TransactionalProducer,
};
use protocol_tests::{
    cluster::Cluster,
    stage::{PARTITIONS, Stage, within},
};
use tokio::time::{Instant, sleep};

/// The cleaner looks every 15 seconds for something to do.
const CLEANER: Duration = Duration::from_secs(90);
/// Behind it the next record goes into another segment.
const SEGMENT: Duration = Duration::from_millis(100);

fn reader(stage: &Stage, partition: i32) -> ConsumerBuilder {
    let builder = stage.direct.consumer_without_group().assign([stage.partition(partition)]);
    let builder = builder.isolation_level(IsolationLevel::ReadCommitted).fetch_max_wait(SEGMENT);
    builder.auto_offset_reset(AutoOffsetReset::Earliest).max_poll_records(1)
}

/// The values up to the offset `end`, at which the consumer must come to stand.
async fn read_to(consumer: &Consumer, stage: &Stage, partition: i32, end: i64) -> Vec<String> {
    let partition = stage.partition(partition);
    let mut values = Vec::new();
    within(async {
        while consumer.position(&partition).is_none_or(|position| position.offset < end) {
            let records = consumer.poll(SEGMENT).await.unwrap().unwrap();
            let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            values.extend(records.iter().map(|record| value(record.value().unwrap())));
        }
    })
    .await;
    assert_eq!(consumer.position(&partition).unwrap().offset, end);
    values
}

/// Another producer of transactions on the stage.
async fn another(stage: &Stage, name: &str) -> TransactionalProducer {
    within(stage.direct.transactional_producer(format!("{}-{name}", stage.name)).build()).await.unwrap()
}

async fn end(transaction: Transaction<'_>, commits: bool) {
    if commits {
        within(transaction.commit()).await.unwrap();
    } else {
        within(transaction.abort()).await.unwrap();
    }
}

/// F1: a log that compaction has left gaps and empty batches in, and whose last batch says how a transaction ended: readers
/// come to its end. So they do in a log in which there is nothing else than aborted transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn gaps_empty_batches_and_ends_of_transactions_are_read_over() {
    let compacted = |topic: NewTopic| {
        let topic = topic.replication_factor(1).config("min.insync.replicas", "1");
        let topic = topic.config("cleanup.policy", "compact").config("min.cleanable.dirty.ratio", "0.001");
        topic.config("segment.ms", SEGMENT.as_millis().to_string())
    };
    let stage = Stage::set_with(&Cluster::from_env().unwrap(), "compacted", compacted).await;
    let keyed = |key: &str, value: &str| stage.record(0, value).key(key.to_owned());
    // The batch that a producer wrote last is kept without its records: its number counts.
    for records in [
        vec![("a", "1"), ("b", "1"), ("c", "1")],
        vec![("a", "2"), ("c", "2")],
        vec![("a", "3"), ("c", "3"), ("d", "3")],
    ] {
        let producer = stage.direct.producer().linger(SEGMENT);
        let records = records.into_iter().map(|(key, value)| keyed(key, value));
        for result in within(producer.build().unwrap().send_all(records)).await {
            result.unwrap();
        }
        sleep(2 * SEGMENT).await;
    }
    let mut aborting = another(&stage, "aborting").await;
    let transaction = aborting.begin().unwrap();
    for partition in 0..PARTITIONS {
        within(transaction.send(stage.record(partition, "aborted").key("d"))).await.unwrap();
    }
    end(transaction, false).await;

    let begin = Instant::now();
    let batches = loop {
        let batches = stage.observer().batches(&stage.partition(0)).await;
        if batches.iter().any(|batch| batch.record_count == 0) {
            break batches;
        }
        assert!(begin.elapsed() < CLEANER, "nothing was compacted: {batches:?}");
        sleep(SEGMENT).await;
    };
    assert!(batches.iter().any(|batch| batch.record_count <= batch.last_offset_delta), "{batches:?}");
    assert!(batches.last().unwrap().attributes.is_control(), "{batches:?}");
    assert_eq!(batches.last().unwrap().last_offset(), 9, "{batches:?}");
    // All at once, and batch by batch.
    for bytes in [1 << 20, 1] {
        for (partition, end, expected) in [(0, 10, &["1", "3", "3", "3"] as &[_]), (1, 2, &[])] {
            let reader = reader(&stage, partition).max_partition_fetch_bytes(bytes).build().unwrap();
            assert_eq!(read_to(&reader, &stage, partition, end).await, expected, "{bytes} bytes");
        }
    }
    stage.expect_each(&[&["1", "3", "3", "3"] as &[&str], &[]]).await;
    stage.strike().await;
}

/// What was written and counts: a partition, an offset, a value.
type Written = Vec<(usize, i64, String)>;

/// Transactions of one producer, one after the other.
async fn transact(stage: &Stage, name: &str, mut random: fastrand::Rng) -> Written {
    const TRANSACTIONS: usize = 12;
    let mut producer = another(stage, name).await;
    let mut committed = Vec::new();
    for number in 0..TRANSACTIONS {
        let transaction = producer.begin().unwrap();
        let commits = random.bool();
        for part in 0..random.usize(1..5) {
            let value = format!("{name} {number}.{part} {commits} {}", "x".repeat(random.usize(0..100)));
            let written = write(&mut random, &value, |record| transaction.send(record), stage).await;
            committed.extend(commits.then_some(written));
            sleep(Duration::from_millis(random.u64(0..10))).await;
        }
        end(transaction, commits).await;
    }
    committed
}

/// Writes the value to either partition.
async fn write<F: Future<Output = Result<RecordMetadata, E>>, E: Debug>(
    random: &mut fastrand::Rng,
    value: &str,
    send: impl FnOnce(Record) -> F,
    stage: &Stage,
) -> (usize, i64, String) {
    let partition = random.i32(0..PARTITIONS);
    let written = within(send(stage.record(partition, value))).await.unwrap();
    (partition as usize, written.offset.unwrap(), value.to_owned())
}

/// F5: transactions of three producers overlap in both partitions, and between them are records of none. Whoever reads what
/// is committed finds what Java's consumer does, however small the pieces are in which it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn of_transactions_that_overlap_only_those_that_were_committed_are_read() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "overlapping").await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let random = |number| fastrand::Rng::with_seed(seed.wrapping_add(number));
    let plain = async {
        let producer = stage.direct.producer().linger(Duration::ZERO).build().unwrap();
        let (mut random, mut written) = (random(0), Vec::new());
        for number in 0..40 {
            let value = format!("plain {number}");
            written.push(write(&mut random, &value, |record| producer.send(record), &stage).await);
            sleep(Duration::from_millis(random.u64(0..20))).await;
        }
        written
    };
    let (plain, one, two, three) = tokio::join!(
        plain,
        transact(&stage, "one", random(1)),
        transact(&stage, "two", random(2)),
        transact(&stage, "three", random(3))
    );
    let mut expected: [BTreeMap<i64, String>; PARTITIONS as usize] = Default::default();
    for (partition, offset, value) in [plain, one, two, three].into_iter().flatten() {
        expected[partition].insert(offset, value);
    }
    let expected = expected.map(|values| values.into_values().collect::<Vec<_>>());
    stage.expect_each(&expected).await;
    for (partition, expected) in (0..PARTITIONS).zip(&expected) {
        let end = stage.observer().end(&stage.partition(partition), IsolationLevel::ReadUncommitted).await;
        for bytes in [1, 300, 1000] {
            let reader = reader(&stage, partition).max_partition_fetch_bytes(bytes).build().unwrap();
            assert_eq!(read_to(&reader, &stage, partition, end).await, *expected, "{bytes} bytes");
        }
    }
    stage.strike().await;
}

/// F6: while a transaction is open, what was written since it began is not there yet: answers are empty, the reader is at the
/// end as far as it can be, and nothing is wrong. When the transaction has ended the rest is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn an_open_transaction_is_the_end_of_the_log_until_it_ends() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "open").await;
    let plain = stage.direct.producer().linger(Duration::ZERO).build().unwrap();
    let mut producer = stage.producer().await;
    let partition = stage.partition(0);
    let reader = reader(&stage, 0).build().unwrap();
    let lag = || reader.lag(&partition);
    let mut start = 0;
    for commits in [true, false] {
        within(plain.send(stage.record(0, "before"))).await.unwrap();
        let transaction = producer.begin().unwrap();
        within(transaction.send(stage.record(0, "within"))).await.unwrap();
        within(plain.send(stage.record(0, "behind"))).await.unwrap();
        assert_eq!(read_to(&reader, &stage, 0, start + 1).await, ["before"]);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            let records = within(reader.poll(SEGMENT)).await.unwrap().unwrap();
            assert!(records.is_empty(), "{records:?}");
        }
        assert_eq!((reader.position(&partition).unwrap().offset, lag()), (start + 1, Some(0)));
        let [stable, last] = [IsolationLevel::ReadCommitted, IsolationLevel::ReadUncommitted];
        let ends =
            [stage.observer().end(&partition, stable).await, stage.observer().end(&partition, last).await];
        assert_eq!(ends, [start + 1, start + 3]);
        end(transaction, commits).await;
        // Behind the two is what says how the transaction has ended.
        start += 4;
        let expected: &[_] = if commits { &["within", "behind"] } else { &["behind"] };
        assert_eq!(read_to(&reader, &stage, 0, start).await, expected);
        within(async {
            while lag() != Some(0) {
                assert!(reader.poll(SEGMENT).await.unwrap().unwrap().is_empty());
            }
        })
        .await;
    }
    stage.strike().await;
}
