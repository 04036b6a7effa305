//! What the patterns write, as Java reads it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use milena::{Compression, ConsumedRecord, IsolationLevel, NewTopic, Record, RecordMetadata};
use milena_patterns::{
    BatchCollector, DeadLetters, ExactlyOnce, HandlerError, RetryTopics, Runner, Shutdown, Tries,
};
use protocol_tests::stage::within;
use tokio::time::sleep;

use crate::{Printed, Rows, SOON, text};

const DELAYS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(250), Duration::from_millis(400)];

/// The number, and every byte that does not end a line.
fn bytes(number: u8) -> Vec<u8> {
    std::iter::once(100 + number).chain((0..=255).filter(|byte| *byte != b'\n')).collect()
}

/// Rows 8 and 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_retries_and_dead_letters() {
    let rows = Rows::new().await;
    let topic = rows.topic("retries", 3).await;
    let producer = rows.client.producer().build().unwrap();
    let dead_letters = DeadLetters::new(producer.clone());
    let retries = RetryTopics::new(&topic, producer.clone(), dead_letters).delays(DELAYS);
    for new in retries.new_topics(|name| NewTopic::new(name).partitions(3)) {
        within(rows.client.admin().create_topic(new)).await.unwrap();
    }
    let mut places = BTreeMap::new();
    for number in 0..8 {
        let record = Record::new(topic.as_str()).key(format!("key-{number}")).value(bytes(number));
        let record = record.header("source", "shop").timestamp(1_700_000_000_000 + i64::from(number));
        places.insert(bytes(number), within(producer.send(record)).await.unwrap());
    }

    let shutdown = Shutdown::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (tries, shutdown) = (Arc::clone(&tries), shutdown.clone());
        move |record: ConsumedRecord| {
            // Four of them, which are tried in the topic and in three others.
            let is_bad = record.value().unwrap()[0].is_multiple_of(2);
            if is_bad && tries.fetch_add(1, Ordering::Relaxed) == 15 {
                shutdown.begin();
            }
            std::future::ready(if is_bad { Err(HandlerError::from("the shelf is empty")) } else { Ok(()) })
        }
    };
    let consumer = rows.client.consumer(topic.as_str()).subscribe(retries.topics());
    let consumer = consumer.auto_offset_reset(milena::AutoOffsetReset::Earliest);
    let runner = Runner::new(consumer).concurrency(8).tries(Tries::new(1)).fallback(retries);
    let report = within(runner.run(handler, &shutdown)).await.unwrap();
    assert_eq!((report.handled, report.given_up), (4, 16), "{report}");

    let topics = format!("{topic}(\\.retry-[1-3]|\\.dlq)");
    let mut of_topic: BTreeMap<usize, usize> = BTreeMap::new();
    for record in rows.java_reads(&topics, IsolationLevel::ReadUncommitted, 16).await {
        *of_topic.entry(assert_letter(&record, &topic, &places)).or_default() += 1;
    }
    assert_eq!(of_topic, (1..=4).map(|n| (n, 4)).collect());
}

/// How often the record was tried: its retry topic, or behind them the one for dead letters.
fn assert_letter(record: &Printed, topic: &str, places: &BTreeMap<Vec<u8>, RecordMetadata>) -> usize {
    let place = places.get(&record.value).unwrap_or_else(|| panic!("another value: {record:?}"));
    let number = record.value[0] - 100;
    assert_eq!(record.key, format!("key-{number}"));
    assert_eq!(record.headers[0], ("source".to_owned(), "shop".to_owned()), "its own is the first");
    let said =
        |name: &str| record.header(&format!("milena.origin.{name}")).unwrap_or_else(|| panic!("{record:?}"));
    let tries: usize = said("tries").parse().unwrap();
    assert_eq!(said("topic"), topic);
    assert_eq!(said("partition"), place.partition.to_string());
    assert_eq!(said("offset"), place.offset.unwrap().to_string());
    assert_eq!(said("timestamp"), (1_700_000_000_000 + i64::from(number)).to_string());
    assert_eq!(said("failedAt"), record.timestamp.to_string());
    assert_eq!(said("error"), "the shelf is empty");
    let delay = DELAYS.get(tries - 1);
    let retry_at = delay.map(|delay| (record.timestamp + delay.as_millis() as i64).to_string());
    assert_eq!(record.header("retryAt"), retry_at.as_deref());
    assert_eq!(record.header("retryCount"), delay.map(|_| tries.to_string()).as_deref());
    tries
}

const REQUESTS: usize = 200;

/// Row 6. Every third transaction writes a record that the cluster refuses, beside those that it takes, and is aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_of_exactly_once_what_was_committed() {
    let rows = Rows::new().await;
    let from = rows.topic("requests", 3).await;
    let to = rows.topic("payments", 3).await;
    let narrow = |topic: NewTopic| topic.partitions(1).config("max.message.bytes", "1000");
    let narrow = rows.topic_with("narrow", narrow).await;
    let producer = rows.client.producer().build().unwrap();
    let requests = (0..REQUESTS)
        .map(|number| Record::new(from.as_str()).partition(number as i32 % 3).value(format!("{number:03}")));
    within(within(producer.enqueue_all(requests)).await.unwrap().all()).await.unwrap();
    let aborted = pay(&rows, &from, &to, &narrow).await;

    // What comes behind tells where the end is.
    for partition in 0..3 {
        within(producer.send(Record::new(to.as_str()).partition(partition).value("end"))).await.unwrap();
    }
    let mut expected: Vec<_> = (0..REQUESTS).map(|number| format!("{number:03}")).collect();
    expected.extend(["end", "end", "end"].map(str::to_owned));
    let sorted = |mut values: Vec<String>| {
        values.sort();
        values
    };
    let all = rows.read(&to, IsolationLevel::ReadUncommitted).await;
    let all = sorted(all.iter().map(text).collect());
    assert!(all.len() > expected.len(), "of {aborted} transactions that were aborted nothing is there");
    let (committed, everything) = tokio::join!(
        rows.java_reads(&to, IsolationLevel::ReadCommitted, expected.len()),
        rows.java_reads(&to, IsolationLevel::ReadUncommitted, all.len()),
    );
    assert_eq!(sorted(committed.iter().map(Printed::text).collect()), expected);
    assert_eq!(sorted(everything.iter().map(Printed::text).collect()), all);
    println!(
        "{aborted} transactions were aborted, {} of their records are there",
        all.len() - expected.len()
    );
}

/// Runs until all is committed. How many transactions were aborted.
async fn pay(rows: &Rows, from: &str, to: &str, narrow: &str) -> u64 {
    let shutdown = Shutdown::new();
    let consumer = rows.client.consumer(from).subscribe([from]).max_poll_records(20);
    let consumer = consumer.auto_offset_reset(milena::AutoOffsetReset::Earliest);
    let wait = Duration::from_millis(5);
    let pipeline = ExactlyOnce::new(consumer, rows.client.transactional_producer(from));
    let pipeline = pipeline.tries(Tries::new(5).backoff(wait, wait));
    let transactions = AtomicUsize::new(0);
    let transform = async |records: Vec<ConsumedRecord>| {
        let copy = |record: &ConsumedRecord| Record::new(to).value(record.value().unwrap().clone());
        let mut made: Vec<_> = records.iter().map(copy).collect();
        if transactions.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(2_000).collect();
            made.push(Record::new(narrow).value(noise));
        }
        Ok(made)
    };
    let ending = async {
        let admin = rows.client.admin();
        // A partition without a commit is not done.
        let is_done = async || match admin.group_lag(from).await {
            Ok(lag) => lag.len() == 3 && lag.iter().all(|lag| lag.lag() == Some(0)),
            Err(_) => false,
        };
        while !is_done().await {
            sleep(Duration::from_millis(100)).await;
        }
        shutdown.begin();
    };
    let (report, ()) = within(async { tokio::join!(pipeline.run(transform, &shutdown), ending) }).await;
    let report = report.unwrap();
    assert_eq!(report.records, REQUESTS as u64);
    assert!(report.aborted > 0);
    report.aborted
}

const VIEWS: usize = 10_000;
const USERS: usize = 100;

/// Row 7, with the numbers of its use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_what_was_collected_in_order() {
    let rows = Rows::new().await;
    let topic = rows.topic("views", 6).await;
    let producer = rows.client.producer().compression(Compression::Snappy).build().unwrap();
    let views = BatchCollector::builder(producer).max_events(500).max_wait(Duration::from_secs(2)).start();
    for number in 0..VIEWS {
        let view = Record::new(topic.as_str()).key(format!("user-{}", number % USERS));
        within(views.add(view.value(number.to_string()))).await.unwrap();
    }
    let collected = within(views.close(SOON)).await.unwrap();
    assert_eq!((collected.sent, collected.rejected), (VIEWS as u64, 0));
    let mut read = rows.java_reads(&topic, IsolationLevel::ReadUncommitted, VIEWS).await;
    read.sort();
    let mut of_user: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for view in &read {
        of_user.entry(view.key.clone()).or_default().push(view.text().parse().unwrap());
    }
    let expected = (0..USERS).map(|user| (format!("user-{user}"), (user..VIEWS).step_by(USERS).collect()));
    assert!(of_user == expected.collect(), "each user's views, in their order");
    println!("{VIEWS} views in {} groups", collected.groups);
}
