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

mod common;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{Arguments, Stage, cpu};
use milena::{Delivery, Producer, Record};

/// Deliveries that a task leaves open before it awaits them, if nothing else is said.
const OPEN: usize = 200_000;

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |size| size.trim().to_owned())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::of_this_program();
    let number = |name, default| arguments.number(name, default);
    let stage = Stage::new(&arguments, "produce").await;
    let Stage { client, topic, .. } = &stage;
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
    stage.end().await;
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
