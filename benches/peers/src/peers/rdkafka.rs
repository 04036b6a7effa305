//! rdkafka over librdkafka: `ThreadedProducer` with a context that counts; for one record at a time, `FutureProducer`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, FutureProducer, FutureRecord, Producer as _, ProducerContext, ThreadedProducer},
    util::Timeout,
};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
    member::{self, COMMIT, Taken},
};
use crate::case::{CodecName, GZIP_LEVEL, Variant, Work, ZSTD_LEVEL};

const FLUSH: Duration = Duration::from_secs(60);
/// How long to wait when librdkafka's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(1);

pub(super) struct Producer<'j> {
    job: &'j Job,
    outcome: Arc<Outcome>,
    producer: Kind,
}

enum Kind {
    Throughput(ThreadedProducer<Counting>),
    OneAtATime(FutureProducer),
}

#[derive(Default)]
struct Outcome {
    acknowledged: AtomicU64,
    failure: Mutex<Option<String>>,
}

struct Counting(Arc<Outcome>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, message)) => {
                let mut failure = self.0.failure.lock().unwrap_or_else(|poison| poison.into_inner());
                failure.get_or_insert_with(|| format!("{error}, partition {}", message.partition()));
            }
        }
    }
}

impl<'j> Producer<'j> {
    pub(super) fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let outcome = Arc::<Outcome>::default();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &job.bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.codec", job.case.codec.as_str())
            .set("batch.size", job.case.batch_size().to_string())
            // Else a batch ends at 10,000 records, whatever their size.
            .set("batch.num.messages", "1000000")
            .set("message.max.bytes", MAX_REQUEST.to_string())
            .set("queue.buffering.max.kbytes", (BUFFER_MEMORY / 1024).to_string())
            .set("queue.buffering.max.messages", "10000000")
            .set("max.in.flight.requests.per.connection", IN_FLIGHT.to_string());
        match job.case.codec {
            CodecName::Gzip => {
                config.set("compression.level", GZIP_LEVEL.to_string());
            }
            CodecName::Zstd => {
                config.set("compression.level", ZSTD_LEVEL.to_string());
            }
            CodecName::None | CodecName::Snappy | CodecName::Lz4 => {}
        }
        let producer = match job.case.work {
            Work::Latency => Kind::OneAtATime(config.set("linger.ms", "0").create()?),
            _ => {
                config.set("linger.ms", LINGER_MS.to_string());
                Kind::Throughput(config.create_with_context(Counting(Arc::clone(&outcome)))?)
            }
        };
        Ok(Self { job, outcome, producer })
    }
}

impl Producing for Producer<'_> {
    #[inline]
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        let Kind::Throughput(producer) = &self.producer else { bail!("built for one record at a time") };
        let (key, value) = self.job.payloads.at(index);
        let mut record = BaseRecord::to(&self.job.topic).payload(value.as_ref());
        record.key = key.map(AsRef::as_ref);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(QUEUE_FULL).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        let Kind::Throughput(producer) = &self.producer else { bail!("built for one record at a time") };
        producer.flush(FLUSH)?;
        let failure = self.outcome.failure.lock().unwrap_or_else(|poison| poison.into_inner()).take();
        if let Some(failure) = failure {
            bail!("a record was not acknowledged: {failure}");
        }
        Ok(self.outcome.acknowledged.load(Ordering::Relaxed))
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let Kind::OneAtATime(producer) = &self.producer else { bail!("built for throughput") };
        let (key, value) = self.job.payloads.at(index);
        let mut record = FutureRecord::to(&self.job.topic).payload(value.as_ref());
        record.key = key.map(AsRef::as_ref);
        let sent = producer.send::<[u8], [u8], _>(record, Timeout::Never).await;
        sent.map_err(|(error, _)| error).context("a record was not acknowledged")?;
        Ok(())
    }
}

pub(super) struct Consumer(BaseConsumer);

impl Consumer {
    pub(super) fn connect(job: &Job) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &job.bootstrap)
            // Wanted even where nothing is committed.
            .set("group.id", "peers")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("fetch.message.max.bytes", PARTITION_BYTES.to_string())
            // Else it fetches nothing for a second once its queue has been full.
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        for number in 0..job.case.topic_partitions() {
            partitions.add_partition_offset(&job.topic, number, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        Ok(Self(consumer))
    }
}

impl Consuming for Consumer {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let mut wait = POLL;
        for _ in 0..MOST {
            let Some(message) = self.0.poll(wait) else { break };
            let message = message?;
            seen.record(message.partition(), message.offset(), message.payload());
            wait = Duration::ZERO;
        }
        Ok(())
    }
}

impl member::Member for Consumer {
    async fn join(job: &Job, group: &str) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        match job.case.variant {
            Variant::Kip848 => config.set("group.protocol", "consumer"),
            _ => config.set("partition.assignment.strategy", "cooperative-sticky"),
        };
        let consumer: BaseConsumer = config
            .set("bootstrap.servers", &job.bootstrap)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("auto.commit.interval.ms", COMMIT.as_millis().to_string())
            .set("fetch.message.max.bytes", PARTITION_BYTES.to_string())
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        consumer.subscribe(&[job.topic.as_str()])?;
        Ok(Self(consumer))
    }

    async fn poll(&mut self, wait: Duration, take: &mut impl FnMut(Taken<'_>)) -> anyhow::Result<()> {
        let mut wait = wait;
        for _ in 0..MOST {
            let Some(message) = self.0.poll(wait) else { break };
            let message = message?;
            let (partition, offset) = (message.partition(), message.offset());
            take(Taken { partition, offset, value: message.payload() });
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Dropping it closes it, and waits for that.
    async fn leave(self) -> anyhow::Result<()> {
        drop(self);
        Ok(())
    }
}
