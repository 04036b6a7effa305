//! An idempotent producer on the real cluster while leaders are killed and frozen: nothing is lost, duplicated or
//! reordered, as our consumer and Java's find alike.
//!
//! `MILENA_RECORDS` is how many records are sent at least; more are, until every fault of the plan has been.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]
#![allow(clippy::print_stdout, reason = "what a run met is its result")]

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use milena::{Certainty, Client, Delivery, IsolationLevel, NewTopic, Record, TopicPartition};
use protocol_tests::{
    cluster::Cluster,
    ledger::{self, Fate, Ledger},
    nemesis::{Fault, Nemesis},
    observer::{Observer, difference, java_reads, we_read},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

const PARTITIONS: i32 = 6;
const RECORDS: u64 = 100_000;
/// A round of the plan: the leader of each third partition is killed, and one is frozen for longer than the brokers wait
/// for each other and our producer for an answer.
const PLAN: [(Fault, i32, Duration); 4] = [
    (Fault::Kill, 0, Duration::from_secs(3)),
    (Fault::Pause, 1, Duration::from_secs(9)),
    (Fault::Kill, 2, Duration::from_secs(8)),
    (Fault::Kill, 5, Duration::from_secs(1)),
];
/// How long a round takes about, to spread the records over.
const ROUND: u64 = 50;
/// A record that is not acknowledged by then was forgotten.
const DELIVERY: Duration = Duration::from_secs(300);

/// What became of the records, as the producer told it.
#[derive(Default)]
struct Told {
    ledger: Ledger,
    failures: Vec<String>,
    /// The longest that no record was settled.
    stall: Duration,
}

async fn settle(mut sent: mpsc::Receiver<(u64, TopicPartition, Delivery)>, topic: String) -> Told {
    let mut told = Told::default();
    let mut last = Instant::now();
    while let Some((number, partition, delivery)) = sent.recv().await {
        let fate = match timeout(DELIVERY * 2, delivery).await.expect("a delivery hangs") {
            Ok(written) => {
                assert_eq!(written.partition, partition.partition, "of {topic}");
                Fate::Acknowledged(written.offset)
            }
            Err(error) => {
                told.failures.push(error.to_string());
                match error.certainty {
                    Certainty::MaybeWritten => Fate::MaybeWritten,
                    Certainty::NotWritten => Fate::NotWritten,
                }
            }
        };
        told.ledger.note(partition, number, fate);
        told.stall = told.stall.max(last.elapsed());
        last = Instant::now();
    }
    told
}

/// Sends numbered records at a steady pace, `records` of them and on until `enough` is set.
async fn send(
    client: &Client,
    topic: &str,
    records: u64,
    count: &AtomicU64,
    enough: &AtomicBool,
) -> (Told, Duration) {
    // Little memory: what is sent and what is done to the brokers keep step.
    let producer = client
        .producer()
        .buffer_memory(1 << 20)
        .request_timeout(Duration::from_secs(4))
        .delivery_timeout(DELIVERY)
        .max_block(DELIVERY)
        .build()
        .unwrap();
    let (note, sent) = mpsc::channel(20_000);
    let settling = tokio::spawn(settle(sent, topic.to_owned()));
    let begin = Instant::now();
    let mut number = 0;
    while number < records || !enough.load(Ordering::Acquire) {
        let partition = TopicPartition::new(topic, (number % PARTITIONS as u64) as i32);
        let record = Record::new(topic).partition(partition.partition).value(ledger::value(number));
        let delivery = producer.enqueue(record).await.unwrap();
        note.send((number, partition, delivery)).await.unwrap();
        number += 1;
        count.store(number, Ordering::Release);
        if number % 50 == 0 {
            sleep_until(begin + Duration::from_secs(ROUND).mul_f64(number as f64 / records as f64)).await;
        }
    }
    drop(note);
    producer.close(DELIVERY).await.unwrap();
    (settling.await.unwrap(), begin.elapsed())
}

/// Breaks the leaders of the plan, round after round, until `records` are sent and at least once.
async fn break_leaders(nemesis: &mut Nemesis, topic: &str, records: u64, count: &AtomicU64) {
    // Not before there are records to lose.
    while count.load(Ordering::Acquire) < 1000.min(records) {
        sleep(Duration::from_millis(10)).await;
    }
    loop {
        for (fault, partition, outage) in PLAN {
            let leader = nemesis.observer().leader(&TopicPartition::new(topic, partition)).await;
            nemesis.strike(fault, leader, outage).await;
            println!("{} records: {}", count.load(Ordering::Acquire), nemesis.past().last().unwrap());
        }
        if count.load(Ordering::Acquire) >= records {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn nothing_is_lost_duplicated_or_reordered_though_leaders_die() {
    let records = env::var("MILENA_RECORDS").map_or(RECORDS, |count| count.parse().unwrap());
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = format!("producer-faults-{}", std::process::id());
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await.unwrap();
    let observer = Observer::new(&cluster.bootstrap);
    observer.await_whole(std::slice::from_ref(&topic)).await;

    let mut nemesis = Nemesis::new(cluster.clone(), vec![topic.clone()]);
    let (count, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let ((told, took), ()) = tokio::join!(send(&client, &topic, records, &count, &enough), async {
        break_leaders(&mut nemesis, &topic, records, &count).await;
        enough.store(true, Ordering::Release);
    });
    let sent = count.load(Ordering::Acquire);
    let of = |fault| nemesis.past().iter().filter(|past| past.fault == fault).count();
    println!(
        "{sent} records in {:.1} s, {:.0} a second; {} brokers killed, {} frozen; nothing settled for {:.1} s at most; \
         {} not acknowledged",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        of(Fault::Kill),
        of(Fault::Pause),
        told.stall.as_secs_f64(),
        told.failures.len(),
    );
    // Nothing here takes long enough for a record to be given up.
    assert_eq!(told.failures, [] as [String; 0]);
    assert!(sent >= records && told.ledger.count(|fate| matches!(fate, Fate::Acknowledged(Some(_)))) > 0);

    let partitions: Vec<_> =
        (0..PARTITIONS).map(|number| TopicPartition::new(topic.as_str(), number)).collect();
    let ends = observer.await_decided(&partitions).await;
    let ours = we_read(&client, &ends, IsolationLevel::ReadUncommitted).await;
    let java =
        java_reads(&cluster.bootstrap, std::slice::from_ref(&topic), IsolationLevel::ReadUncommitted).await;
    assert_eq!(difference(&ours, &java), None);
    assert_eq!(told.ledger.check(&ours), []);
    assert_eq!(told.ledger.check(&java), []);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}
