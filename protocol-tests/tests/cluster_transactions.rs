//! Our transactional producer on the real cluster, read back by Java's consumer and ours.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]
#![allow(clippy::print_stdout, reason = "what a run met is of interest when it fails")]

use std::{future::Future, time::Duration};

use milena::{
    AutoOffsetReset, Certainty, Client, IsolationLevel, NewTopic, Record, Remedy, SeekTo, TopicPartition,
    TransactionError,
};
use protocol_tests::{
    cluster::{Cluster, VersionOne},
    java,
};

const PARTITIONS: i32 = 3;
const SOON: Duration = Duration::from_secs(90);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("it hangs"))
}

async fn topic(client: &Client, name: &str, partitions: i32) -> String {
    // The cluster keeps its data between two runs of a test by hand.
    let topic = format!("{name}-{}", std::process::id());
    let admin = client.admin();
    admin.create_topic(NewTopic::new(topic.as_str()).partitions(partitions)).await.unwrap();
    while admin.partition_count(topic.as_str()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    topic
}

/// What Java's console consumer sees: partition and value, in order.
fn java_sees(
    cluster: &Cluster,
    topic: &str,
    level: java::Isolation,
    count: usize,
) -> Vec<(i32, i64, String)> {
    let read = java::consume_at(&cluster.kafka_libs, &cluster.bootstrap, topic, level, count).unwrap();
    let mut seen: Vec<_> =
        read.into_iter().map(|record| (record.partition, record.offset, record.value)).collect();
    seen.sort();
    seen
}

/// What our consumer of committed records sees.
async fn we_see(client: &Client, topic: &str, partitions: i32, count: usize) -> Vec<(i32, i64, String)> {
    let consumer = client
        .consumer_without_group()
        .assign((0..partitions).map(|partition| TopicPartition::new(topic, partition)))
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut seen = Vec::new();
    let mut quiet = 0;
    while seen.len() < count || quiet < 3 {
        let records = within(consumer.poll(Duration::from_secs(1))).await.unwrap().unwrap();
        quiet = if records.is_empty() { quiet + 1 } else { 0 };
        assert!(quiet < 60, "{:?}", consumer.explain());
        seen.extend(records.iter().map(|record| {
            let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            (record.partition(), record.offset(), value)
        }));
    }
    seen.sort();
    seen
}

/// Transactions over three partitions, every third aborted: every committed record is read once and in order, and no
/// other, by Java and by us alike.
async fn java_reads_what_was_committed(cluster: &Cluster, name: &str, transactions: usize) {
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, name, PARTITIONS).await;
    let id = format!("{name}-{}", std::process::id());
    let mut producer = within(client.transactional_producer(id).build()).await.unwrap();
    let (mut kept, mut written) = (Vec::new(), 0);
    for number in 0..transactions {
        let transaction = producer.begin().unwrap();
        for partition in 0..PARTITIONS {
            let value = format!("{number:03}");
            let record = Record::new(topic.as_str()).partition(partition).value(value.clone());
            let at = within(transaction.send(record)).await.unwrap();
            written += 1;
            if number % 3 != 0 {
                kept.push((partition, at.offset.unwrap(), value));
            }
        }
        match number % 3 {
            0 if number % 2 == 0 => within(transaction.abort()).await.unwrap(),
            0 => drop(transaction),
            _ => within(transaction.commit()).await.unwrap(),
        }
    }
    within(producer.close(SOON)).await.unwrap();
    kept.sort();
    assert_eq!(we_see(&client, &topic, PARTITIONS, kept.len()).await, kept);
    // One more than there are, so that it reads to the end.
    assert_eq!(java_sees(cluster, &topic, java::Isolation::Committed, kept.len() + 1), kept);
    assert_eq!(java_sees(cluster, &topic, java::Isolation::All, written).len(), written);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_of_our_transactions_what_was_committed() {
    java_reads_what_was_committed(&Cluster::from_env().unwrap(), "transactions", 200).await;
}

/// T1: as clusters of before 4.0 are, and those that were upgraded and not finalized.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_what_was_committed_in_version_1() {
    let cluster = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    java_reads_what_was_committed(cluster.cluster(), "transactions-v1", 60).await;
}

/// T17: the coordinator fences the older one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_newer_producer_fences_an_older_one() {
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "fenced", 1).await;
    let id = format!("fenced-{}", std::process::id());
    let mut older = within(client.transactional_producer(id.clone()).build()).await.unwrap();
    let transaction = older.begin().unwrap();
    within(transaction.send(Record::new(topic.as_str()).value("of the older"))).await.unwrap();
    let mut newer = within(client.transactional_producer(id).build()).await.unwrap();
    let error = within(transaction.commit()).await.unwrap_err();
    assert_eq!((error.remedy(), error.certainty()), (Remedy::NewProducer, Certainty::NotWritten), "{error}");
    let transaction = newer.begin().unwrap();
    within(transaction.send(Record::new(topic.as_str()).value("of the newer"))).await.unwrap();
    within(transaction.commit()).await.unwrap();
    let values: Vec<_> = we_see(&client, &topic, 1, 1).await.into_iter().map(|(.., value)| value).collect();
    assert_eq!(values, ["of the newer"]);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}

/// T5, T13: what takes too long is aborted by the coordinator, and the producer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_transaction_that_takes_too_long_ends_and_the_producer_goes_on() {
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "slow", 1).await;
    let id = format!("slow-{}", std::process::id());
    let builder = client.transactional_producer(id).transaction_timeout(Duration::from_secs(2));
    let mut producer = within(builder.build()).await.unwrap();
    let transaction = producer.begin().unwrap();
    within(transaction.send(Record::new(topic.as_str()).value("slow"))).await.unwrap();
    // The coordinator looks every second, as the cluster is set up.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let error = within(transaction.commit()).await.unwrap_err();
    assert!(matches!(error, TransactionError::MustAbort(_)), "{error}");
    let transaction = producer.begin().unwrap();
    within(transaction.send(Record::new(topic.as_str()).value("quick"))).await.unwrap();
    within(transaction.commit()).await.unwrap();
    let values: Vec<_> = we_see(&client, &topic, 1, 1).await.into_iter().map(|(.., value)| value).collect();
    assert_eq!(values, ["quick"]);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}

/// W2: a copier that reads, writes and commits its offsets in transactions, under nodes that die and a producer that is
/// left behind in the middle of its work again and again. Each record is copied once, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_copier_copies_each_record_once_though_nodes_die() {
    const RECORDS: usize = 6_000;
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let input = topic(&client, "copier-in", 1).await;
    let output = topic(&client, "copier-out", 1).await;
    let source = client.producer().build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let record = Record::new(input.as_str()).value(format!("{number:05}"));
        deliveries.push(within(source.enqueue(record)).await.unwrap());
    }
    within(source.close(SOON)).await.unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.result().unwrap().is_ok()));

    let breaker = {
        let cluster = cluster.clone();
        std::thread::spawn(move || {
            for node in ["kafka2", "kafka3", "kafka1"] {
                cluster.xtask(&["kill", node]).unwrap();
                cluster.xtask(&["start", node]).unwrap();
            }
        })
    };
    let mut lives = 0;
    let mut done = false;
    while !done || !breaker.is_finished() {
        lives += 1;
        assert!(lives < 200, "no progress");
        done = copy(&client, &input, &output, lives, RECORDS).await;
    }
    breaker.join().unwrap();
    let all: Vec<_> = (0..RECORDS).map(|number| format!("{number:05}")).collect();
    let copies = we_see(&client, &output, 1, RECORDS).await;
    let values: Vec<_> = copies.iter().map(|(.., value)| value.clone()).collect();
    assert_eq!(values, all);
    println!("copied in {lives} lives");
    assert_eq!(java_sees(&cluster, &output, java::Isolation::Committed, RECORDS + 1), copies);
    for topic in [input, output] {
        client.admin().delete_topic(topic.as_str()).await.unwrap();
    }
}

/// One life of the copier, which ends in the middle of a transaction. True when everything is copied.
async fn copy(client: &Client, input: &str, output: &str, life: usize, records: usize) -> bool {
    let from = TopicPartition::new(input, 0);
    let Ok(mut producer) = within(client.transactional_producer(format!("copier-{input}")).build()).await
    else {
        return false;
    };
    let consumer = client
        .consumer(format!("copiers-{input}"))
        .assign([from.clone()])
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .max_poll_records(75)
        .build()
        .unwrap();
    let mut copied = 0;
    let done = loop {
        let Ok(Some(batch)) = within(consumer.poll(Duration::from_secs(5))).await else { break false };
        if batch.is_empty() {
            let at = consumer.position(&from).map_or(0, |position| position.offset);
            break at >= records as i64;
        }
        let transaction = producer.begin().unwrap();
        for record in batch.iter() {
            let record = Record::new(output).value(record.value().unwrap().to_vec());
            if within(transaction.enqueue(record)).await.is_err() {
                break;
            }
        }
        copied += 1;
        // So that it lasts as long as what is done to the nodes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if copied == 8 && !life.is_multiple_of(3) {
            // As if it were killed.
            std::mem::forget(transaction);
            break false;
        }
        let position = consumer.position(&from).unwrap();
        let group = consumer.group_metadata().unwrap();
        let sent = within(transaction.send_offsets(&group, [(from.clone(), position)])).await;
        let outcome = match sent {
            Ok(()) => within(transaction.commit()).await,
            Err(error) => {
                drop(transaction);
                Err(error)
            }
        };
        match outcome.map_err(|error| error.remedy()) {
            Ok(()) => {}
            Err(Remedy::CommitAgain) if within(producer.commit_again()).await.is_ok() => {}
            Err(Remedy::Abort | Remedy::Begin) => {
                let committed = within(consumer.committed([from.clone()])).await.unwrap();
                let back = committed.get(&from).map_or(0, |committed| committed.position.offset);
                consumer.seek(&from, SeekTo::Offset(back)).unwrap();
            }
            Err(_) => break false,
        }
    };
    // Whatever is open is left to the next life.
    std::mem::forget(producer);
    if let Err(error) = within(consumer.close(SOON)).await {
        println!("life {life}: {error}");
    }
    done
}
