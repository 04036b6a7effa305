//! A service of one of the patterns as a process of its own, to be killed at any moment: what it does with a record is to
//! write the same into another topic. `tests/cluster_patterns.rs` kills it, and counts.
#![expect(clippy::print_stderr, reason = "what the process meets is of interest when the test fails")]

use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use milena::{AutoOffsetReset, Client, ConsumedRecord, ConsumerBuilder, GroupProtocol, Producer, Record};
use milena_patterns::{
    AtLeastOnce, BatchError, DeadLetters, ExactlyOnce, HandlerError, Order, ParallelBatches, Redrive,
    RetryTopics, Runner, Shutdown, Tries,
};
use tokio::signal::unix::{SignalKind, signal};

const DELAYS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// Static members come back to their partitions at once.
const SESSION: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, ValueEnum)]
enum Pattern {
    AtLeastOnce,
    ByKey,
    Batches,
    Retries,
    ExactlyOnce,
    /// Sends back what is in the dead letter topic, and ends.
    Redrive,
}

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    pattern: Pattern,
    /// The topic that is read, and the group's name.
    #[arg(long)]
    topic: String,
    /// The topic that is written.
    #[arg(long)]
    to: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { bootstrap, pattern, topic, to } = Arguments::parse();
    let shutdown = Shutdown::new();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            terminate.recv().await;
            shutdown.begin();
        }
    });
    let client = Client::connect(bootstrap).await.context("no cluster")?;
    let producer = client.producer().linger(Duration::from_millis(1)).build()?;
    let service = Service { client, producer, topic, to };
    let report = match pattern {
        Pattern::AtLeastOnce => service.at_least_once(&shutdown).await?,
        Pattern::ByKey => service.by_key(&shutdown).await?,
        Pattern::Batches => service.batches(&shutdown).await?,
        Pattern::Retries => service.retries(&shutdown).await?,
        Pattern::ExactlyOnce => service.exactly_once(&shutdown).await?,
        Pattern::Redrive => service.redrive(&shutdown).await?,
    };
    eprintln!("{report}");
    Ok(())
}

struct Service {
    client: Client,
    producer: Producer,
    topic: String,
    to: String,
}

impl Service {
    fn consumer(&self, topics: Vec<String>) -> ConsumerBuilder {
        self.client
            .consumer(self.topic.as_str())
            .group_protocol(GroupProtocol::Classic)
            .group_instance_id("worker")
            .subscribe(topics)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(50)
    }

    /// Every 50th record can't be handled.
    fn is_bad(record: &ConsumedRecord) -> bool {
        let number = record.value().and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
        number.is_none_or(|number| number % 50 == 49)
    }

    fn copy(record: &ConsumedRecord, to: &str) -> Record {
        let copy = Record::new(to).value(record.value().cloned().unwrap_or_default());
        record.key().cloned().into_iter().fold(copy, Record::key)
    }

    /// Writes what it reads, in a moment.
    fn handler(&self) -> impl milena_patterns::Handler {
        let (producer, to) = (self.producer.clone(), self.to.clone());
        move |record: ConsumedRecord| {
            let (producer, to) = (producer.clone(), to.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
                if Self::is_bad(&record) {
                    return Err(HandlerError::from("one of fifty"));
                }
                producer.send(Self::copy(&record, &to)).await?;
                Ok(())
            }
        }
    }

    fn quickly(runner: Runner) -> Runner {
        let wait = Duration::from_millis(5);
        runner.tries(Tries::new(3).backoff(wait, wait)).commit_interval(Duration::from_millis(100))
    }

    async fn at_least_once(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let runner = AtLeastOnce::new(self.consumer(vec![self.topic.clone()]), self.producer.clone());
        let runner = runner.configure(Self::quickly);
        Ok(runner.run(self.handler(), shutdown).await?.to_string())
    }

    async fn by_key(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let consumer = self.consumer(vec![self.topic.clone()]).session_timeout(SESSION);
        let runner = Self::quickly(Runner::new(consumer)).concurrency(16).order(Order::Key);
        let runner = runner.fallback(DeadLetters::new(self.producer.clone()));
        Ok(runner.run(self.handler(), shutdown).await?.to_string())
    }

    async fn batches(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let runner = ParallelBatches::new(self.consumer(vec![self.topic.clone()]), self.producer.clone());
        let (producer, to) = (self.producer.clone(), self.to.clone());
        let handler = move |records: Vec<ConsumedRecord>| {
            let (producer, to) = (producer.clone(), to.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..10))).await;
                for (done, record) in records.iter().enumerate() {
                    if Self::is_bad(record) {
                        return Err(BatchError { done, error: "one of fifty".into() });
                    }
                    let sent = producer.send(Self::copy(record, &to)).await;
                    sent.map_err(|error| BatchError { done, error: error.into() })?;
                }
                Ok(())
            }
        };
        Ok(runner.configure(Self::quickly).run(handler, shutdown).await?.to_string())
    }

    async fn retries(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let dead_letters = DeadLetters::new(self.producer.clone());
        let retries = RetryTopics::new(&self.topic, self.producer.clone(), dead_letters).delays(DELAYS);
        let consumer = self.consumer(retries.topics()).session_timeout(SESSION);
        let runner = Self::quickly(Runner::new(consumer)).concurrency(16).tries(Tries::new(1));
        Ok(runner.fallback(retries).run(self.handler(), shutdown).await?.to_string())
    }

    async fn exactly_once(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let wait = Duration::from_millis(5);
        let producer = self.client.transactional_producer(self.topic.as_str());
        let consumer = self.consumer(vec![self.topic.clone()]).session_timeout(SESSION);
        let pipeline =
            ExactlyOnce::new(consumer, producer).tries(Tries::new(2).backoff(wait, wait)).dead_letters();
        let to = self.to;
        let transform = |records: Vec<ConsumedRecord>| {
            let to = &to;
            async move {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..10))).await;
                if records.iter().any(Self::is_bad) {
                    return Err(HandlerError::from("one of fifty"));
                }
                Ok(records.iter().map(|record| Self::copy(record, to)).collect())
            }
        };
        Ok(pipeline.run(transform, shutdown).await?.to_string())
    }

    async fn redrive(self, shutdown: &Shutdown) -> anyhow::Result<String> {
        let redrive = Redrive::new(format!("{}{}", self.topic, DeadLetters::SUFFIX)).to(self.to);
        Ok(format!("{} letters sent back", redrive.run(&self.client, shutdown).await?.sent))
    }
}
