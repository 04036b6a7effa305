//! What producing costs the client: CPU and wall clock a record. Every delivery is awaited.
//!
//! Arguments are `name=value`: `bootstrap` (none: the embedded broker, whose CPU then counts as the client's), `records`,
//! `size`, `tasks`, `batch`, `linger_ms`, `partitions`, `buffer`, `open`, `values` (so many different ones), `all=1` for `enqueue_all`, and `one_by_one`: so many
//! are sent first, each after the one before is acknowledged; `linger_ms=0` goes with it. With the feature `metrics`, `recorder=1`
//! has a recorder of Prometheus keep what is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program that measures has nobody to report an error to but its reader"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena::{Client, Delivery, NewTopic, Producer, Record};
use milena_embedded_broker::EmbeddedBroker;
use rustix::time::{ClockId, clock_gettime};

/// Deliveries that a task leaves open before it awaits them, if nothing else is said.
const OPEN: usize = 200_000;

/// User and system time of this process.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("CPU time is positive")
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |size| size.trim().to_owned())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let pairs = std::env::args().skip(1).filter_map(|argument| {
        argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    });
    let arguments: BTreeMap<_, _> = pairs.collect();
    let number = |name: &str, default: usize| {
        arguments.get(name).map_or(default, |value| value.parse().expect("a number"))
    };
    #[cfg(feature = "metrics")]
    if number("recorder", 0) > 0 {
        let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
        let seconds = metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned());
        let builder = builder.set_buckets_for_metric(seconds, &[0.001, 0.01, 0.1, 1.0, 10.0]).unwrap();
        metrics::set_global_recorder(builder.build_recorder()).unwrap();
    }
    let (bootstrap, embedded) = match arguments.get("bootstrap") {
        Some(bootstrap) => (bootstrap.clone(), None),
        None => {
            let broker = EmbeddedBroker::start().await.unwrap();
            (broker.bootstrap(), Some(broker))
        }
    };
    let client = Client::connect(bootstrap).await.unwrap();
    let topic = format!("produce-{}", std::process::id());
    let wanted =
        NewTopic::new(topic.clone()).partitions(number("partitions", 3) as i32).replication_factor(1);
    client.admin().create_topic(wanted).await.unwrap();
    let producer = client
        .producer()
        .batch_size(number("batch", 1_000_000))
        .linger(Duration::from_millis(number("linger_ms", 5) as u64))
        .buffer_memory(number("buffer", 32 << 20))
        .build()
        .unwrap();
    let value = Bytes::from(vec![b'v'; number("size", 100)]);
    // Each an allocation of its own, as a program's would be.
    let values =
        (0..number("values", 1)).map(|_| Record::new(topic.clone()).value(Bytes::copy_from_slice(&value)));
    let values: Arc<[Record]> = values.collect();
    producer.send(Record::new(topic.clone()).value(value.clone())).await.unwrap();
    let one_by_one = number("one_by_one", 0);
    if one_by_one > 0 {
        let sending = send_one_by_one(producer.clone(), topic.clone(), value.clone(), one_by_one);
        let mut times = tokio::spawn(sending).await.unwrap();
        times.sort();
        let at =
            |part: usize| times.get(times.len() * part / 1000).unwrap_or(&Duration::ZERO).as_secs_f64() * 1e6;
        println!("one by one: p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs", at(500), at(990), at(999));
    }
    let records = number("records", 5_000_000);
    let together = number("all", 0) > 0;
    let most_open = number("open", OPEN);
    for tasks in 1..=number("tasks", 1) {
        let (begin, before, each) = (Instant::now(), cpu(), records / tasks);
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let (producer, values) = (producer.clone(), Arc::clone(&values));
                match together {
                    true => tokio::spawn(produce_all(producer, values, each)),
                    false => tokio::spawn(produce(producer, values, each, most_open)),
                }
            })
            .collect();
        for task in running {
            task.await.unwrap();
        }
        let (wall, used, sent) =
            (begin.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64(), each * tasks);
        let (rate, cost) = (sent as f64 / wall, used * 1e6 / sent as f64);
        println!("{tasks} task(s): {rate:.0} records/s, {cost:.4} µs CPU a record, peak {}", peak_memory());
    }
    let done = producer.stats().done;
    let each = done.uncompressed_bytes_sent / done.batches_sent.max(1);
    println!("{} batches of {each} bytes in {} requests", done.batches_sent, done.requests_sent);
    producer.close(Duration::from_secs(10)).await.unwrap();
    client.admin().delete_topic(topic).await.unwrap();
    client.shutdown();
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
}

/// Of the deliveries that are open the oldest is awaited, as a program does that wants to know of each.
async fn produce(producer: Producer, records: Arc<[Record]>, count: usize, most_open: usize) {
    let mut open = VecDeque::with_capacity(most_open);
    for record in records.iter().cycle().take(count) {
        if open.len() == most_open
            && let Some(oldest) = open.pop_front()
        {
            let oldest: Delivery = oldest;
            oldest.await.unwrap();
        }
        open.push_back(producer.enqueue(record).await.unwrap());
    }
    for delivery in open {
        delivery.await.unwrap();
    }
}

/// The same by chunks.
async fn produce_all(producer: Producer, records: Arc<[Record]>, count: usize) {
    let mut records = records.iter().cycle().take(count);
    for begin in (0..count).step_by(OPEN) {
        let chunk = records.by_ref().take(OPEN.min(count - begin));
        producer.enqueue_all(chunk).await.unwrap().all().await.unwrap();
    }
}

/// How long each took.
async fn send_one_by_one(producer: Producer, topic: String, value: Bytes, count: usize) -> Vec<Duration> {
    let record = Record::new(topic).value(value);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        producer.send(&record).await.unwrap();
        times.push(begin.elapsed());
    }
    times
}
