//! What consuming costs the client: CPU and wall clock a record. A topic is filled first, and then read by a group that
//! commits every second.
//!
//! Arguments are `name=value`: `bootstrap` (none: the embedded broker, whose CPU then counts as the client's), `records`,
//! `size`, `partitions`, `poll` (records a poll at most) and `rounds`. With the feature `metrics`, `recorder=1` has a recorder of
//! Prometheus keep what is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program that measures has nobody to report an error to but its reader"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Arguments, Stage, cpu};
use milena::{AutoOffsetReset, Client, Record};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::of_this_program();
    let number = |name, default| arguments.number(name, default);
    let stage = Stage::new(&arguments, "consume").await;
    let Stage { client, topic, .. } = &stage;
    let records = number("records", 3_000_000);
    fill(client, topic, records, number("size", 100)).await;
    for round in 0..number("rounds", 3) {
        let consumer = client
            .consumer(format!("{topic}-{round}"))
            .subscribe([topic.clone()])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .auto_commit(Duration::from_secs(1))
            .max_poll_records(number("poll", 500))
            .build()
            .unwrap();
        while consumer.assignment().is_empty() {
            assert!(consumer.poll(Duration::from_millis(1)).await.unwrap().unwrap().is_empty());
        }
        let (begin, before) = (Instant::now(), cpu());
        let (mut read, mut bytes) = (0, 0);
        while read < records {
            let polled = consumer.poll(Duration::from_secs(1)).await.unwrap().unwrap();
            read += polled.len();
            bytes += polled.iter().map(|record| record.value().map_or(0, <[u8]>::len)).sum::<usize>();
        }
        let (wall, used) = (begin.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
        let (rate, cost) = (read as f64 / wall, used * 1e6 / read as f64);
        println!("{read} records of {} bytes: {rate:.0} records/s, {cost:.4} µs CPU a record", bytes / read);
        consumer.close(Duration::from_secs(10)).await.unwrap();
    }
    stage.end().await;
}

async fn fill(client: &Client, topic: &str, records: usize, size: usize) {
    let producer = client.producer().batch_size(256 << 10).build().unwrap();
    let record = Record::new(topic.to_owned()).value(vec![b'v'; size]);
    for begin in (0..records).step_by(100_000) {
        let chunk = (begin..records.min(begin + 100_000)).map(|_| &record);
        producer.enqueue_all(chunk).await.unwrap().all().await.unwrap();
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
}
