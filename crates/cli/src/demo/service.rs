//! The services of the demo: one that orders, and those that read.

use std::{
    collections::VecDeque,
    convert::Infallible,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use milena::{AutoOffsetReset, Certainty, Client, Consumer, Delivery, Record, RecordRef};
use tokio::sync::mpsc::Sender;

use super::{
    Arguments,
    ledger::Ledger,
    order::{self, OrderCreated, OrderStream},
    report::Produced,
};
use crate::output::rate;

/// The header that tells when an order was sent, in µs since 1970.
const SENT_AT: &str = "sentAt";
/// The header that tells which run an order belongs to.
const RUN: &str = "run";
/// How often a service commits while it reads.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often a service that joins looks whether it has partitions.
const JOINING: Duration = Duration::from_millis(20);
/// How many deliveries may be open before the oldest is waited for: what bounds the demo's own memory.
const OPEN_DELIVERIES: usize = 65_536;

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// Publishes the orders.
#[derive(Debug)]
pub(crate) struct OrderService {
    topic: String,
    run: u64,
    orders: u64,
    rate: Option<u64>,
    compression: milena::Codec,
    stream: OrderStream,
    bar: ProgressBar,
}

/// What became of the orders.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// A bit an order that was acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) summary: Produced,
}

impl OrderService {
    pub(crate) fn new(arguments: &Arguments, topic: String, run: u64, bar: ProgressBar) -> Self {
        Self {
            topic,
            run,
            orders: arguments.orders,
            rate: arguments.rate,
            compression: arguments.compression,
            stream: OrderStream::new(arguments.seed),
            bar,
        }
    }

    pub(crate) async fn run(mut self, client: &Client) -> anyhow::Result<Outcome> {
        let producer = client.producer().compression(self.compression).batch_size(256 * 1024).build()?;
        let mut tally = Tally::new(self.orders);
        let mut open = VecDeque::new();
        let start = Instant::now();
        let run = self.run.to_string();
        for id in 0..self.orders {
            self.keep_pace(start, id).await;
            let sent_at = now_us();
            let order = self.stream.next(sent_at / 1000);
            let record = Record::new(self.topic.as_str())
                .key(order::key(order.customer_id))
                .value(serde_json::to_vec(&order)?)
                .header(SENT_AT, sent_at.to_string())
                .header(RUN, run.clone())
                .header("source", "order-service");
            match producer.enqueue(record).await {
                Ok(delivery) => open.push_back((id, delivery)),
                Err(error) => tally.failed(error.certainty(), &error),
            }
            if open.len() >= OPEN_DELIVERIES
                && let Some((id, delivery)) = open.pop_front()
            {
                tally.settle(id, delivery).await;
            }
            if id % 1024 == 0 {
                self.bar.set_position(id);
            }
        }
        producer.flush().await?;
        while let Some((id, delivery)) = open.pop_front() {
            tally.settle(id, delivery).await;
        }
        let took = start.elapsed();
        self.bar.finish();
        producer.close(Duration::from_secs(10)).await?;
        Ok(tally.finish(took))
    }

    /// Waits until the order's turn has come, when there is a rate.
    async fn keep_pace(&self, start: Instant, id: u64) {
        let Some(rate) = self.rate else { return };
        let due = start + Duration::from_secs_f64(id as f64 / rate as f64);
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

#[derive(Debug)]
struct Tally {
    acknowledged: Vec<u64>,
    orders: u64,
    count: u64,
    not_written: u64,
    possibly_written: u64,
    first_error: Option<String>,
}

impl Tally {
    fn new(orders: u64) -> Self {
        Self {
            acknowledged: vec![0; orders.div_ceil(64) as usize],
            orders,
            count: 0,
            not_written: 0,
            possibly_written: 0,
            first_error: None,
        }
    }

    async fn settle(&mut self, id: u64, delivery: Delivery) {
        match delivery.await {
            Ok(_) => {
                self.count += 1;
                if let Some(word) = self.acknowledged.get_mut((id / 64) as usize) {
                    *word |= 1 << (id % 64);
                }
            }
            Err(error) => self.failed(error.certainty, &error),
        }
    }

    fn failed(&mut self, certainty: Certainty, error: &dyn std::error::Error) {
        match certainty {
            Certainty::NotWritten => self.not_written += 1,
            Certainty::MaybeWritten => self.possibly_written += 1,
        }
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn finish(self, took: Duration) -> Outcome {
        Outcome {
            acknowledged: self.acknowledged,
            summary: Produced {
                orders: self.orders,
                acknowledged: self.count,
                not_written: self.not_written,
                possibly_written: self.possibly_written,
                seconds: took.as_secs_f64(),
                per_second: rate(self.orders, took),
                error: self.first_error,
            },
        }
    }
}

/// Reads every order in a group of its own.
#[derive(Debug)]
pub(crate) struct ReadingService {
    name: &'static str,
    topic: String,
    run: u64,
    orders: u64,
    patience: Duration,
    bar: ProgressBar,
}

/// What a service read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) ledger: Ledger,
    /// From the send of an order to its handling here, in µs.
    pub(crate) latencies: Histogram<u64>,
    /// From the first order to the last.
    pub(crate) took: Duration,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
}

impl ReadingService {
    pub(crate) fn new(
        name: &'static str,
        topic: &str,
        run: u64,
        orders: u64,
        patience: Duration,
        bar: ProgressBar,
    ) -> Self {
        Self { name, topic: topic.to_owned(), run, orders, patience, bar }
    }

    /// Reads until every order was seen. `ready` is dropped as soon as the group has given out its partitions.
    pub(crate) async fn run(self, client: Client, ready: Sender<Infallible>) -> anyhow::Result<Read> {
        // Up to an hour, with three digits.
        let latencies = Histogram::new_with_max(3_600_000_000, 3)?;
        let mut read =
            Read { ledger: Ledger::new(self.orders), latencies, took: Duration::ZERO, error: None };
        if let Err(error) = self.read_all(&client, ready, &mut read).await {
            read.error = Some(format!("{error:#}"));
        }
        self.bar.finish();
        Ok(read)
    }

    async fn read_all(
        &self,
        client: &Client,
        ready: Sender<Infallible>,
        read: &mut Read,
    ) -> anyhow::Result<()> {
        let consumer = client
            .consumer(format!("{}-{:x}", self.name, self.run))
            .subscribe([self.topic.as_str()])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(10_000)
            .build()?;
        let outcome = self.read_from(&consumer, ready, read).await;
        let closed = consumer.close(Duration::from_secs(10)).await;
        outcome?;
        Ok(closed?)
    }

    async fn read_from(
        &self,
        consumer: &Consumer,
        ready: Sender<Infallible>,
        read: &mut Read,
    ) -> anyhow::Result<()> {
        let mut ready = Some(ready);
        let run = self.run.to_string();
        let mut first = None;
        let mut last_arrival = Instant::now();
        let mut last_commit = Instant::now();
        while read.ledger.distinct() < self.orders {
            let wait = if ready.is_some() { JOINING } else { Duration::from_secs(1) };
            let Some(records) = consumer.poll(wait).await? else {
                anyhow::bail!("the consumer was closed");
            };
            ready = ready.filter(|_| consumer.assignment().is_empty());
            if records.is_empty() {
                if last_arrival.elapsed() > self.patience {
                    anyhow::bail!(
                        "nothing arrived for {:?}; {}",
                        self.patience,
                        consumer.explain().join("; ")
                    );
                }
                continue;
            }
            last_arrival = Instant::now();
            let first = *first.get_or_insert(last_arrival);
            let now = now_us();
            for record in records.iter() {
                handle(&record, &run, now, read);
            }
            read.took = first.elapsed();
            self.bar.set_position(read.ledger.distinct());
            if last_commit.elapsed() > COMMIT_EVERY {
                consumer.commit_async()?;
                last_commit = Instant::now();
            }
        }
        Ok(consumer.commit().await?)
    }
}

fn handle(record: &RecordRef<'_>, run: &str, now: u64, read: &mut Read) {
    let header = |name| record.header(name).flatten().and_then(|value| std::str::from_utf8(value).ok());
    let order = record.value().and_then(|value| serde_json::from_slice::<OrderCreated>(value).ok());
    let (Some(order), Some(sent_at)) = (order, header(SENT_AT).and_then(|text| text.parse::<u64>().ok()))
    else {
        return read.ledger.record_foreign();
    };
    let keyed_by_customer = record.key() == Some(order::key(order.customer_id).as_bytes());
    if header(RUN) != Some(run) || !keyed_by_customer {
        return read.ledger.record_foreign();
    }
    read.ledger.record(&order);
    read.latencies.saturating_record(now.saturating_sub(sent_at).max(1));
}
