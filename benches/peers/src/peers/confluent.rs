//! confluent-kafka: the `send` that takes byte slices, with a callback that counts.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::bail;
use bytes::Bytes;
use confluent_kafka::{
    common::{
        TopicPartition,
        serialization::{ByteArraySerializer, BytesDeserializer},
    },
    consumer::{Consumer as _, ConsumerConfig, KafkaConsumer},
    producer::{Callback, KafkaProducer, Producer as _, ProducerConfig, ProducerRecord, callback},
};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
};
use crate::case::{GZIP_LEVEL, Work, ZSTD_LEVEL};

pub(super) struct Producer<'j> {
    job: &'j Job,
    producer: KafkaProducer<Vec<u8>, Vec<u8>>,
    outcome: Arc<Outcome>,
}

#[derive(Default)]
struct Outcome {
    acknowledged: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl<'j> Producer<'j> {
    pub(super) fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let linger = if job.case.work == Work::Latency { 0 } else { LINGER_MS };
        let settings = [
            ("bootstrap.servers", job.bootstrap.clone()),
            ("acks", "all".to_owned()),
            ("enable.idempotence", "true".to_owned()),
            ("compression.type", job.case.codec.as_str().to_owned()),
            ("compression.gzip.level", GZIP_LEVEL.to_string()),
            ("compression.zstd.level", ZSTD_LEVEL.to_string()),
            ("linger.ms", linger.to_string()),
            ("batch.size", job.case.batch_size().to_string()),
            ("buffer.memory", BUFFER_MEMORY.to_string()),
            ("max.request.size", MAX_REQUEST.to_string()),
            ("max.in.flight.requests.per.connection", IN_FLIGHT.to_string()),
        ];
        let settings: HashMap<String, String> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = ProducerConfig::new(&settings)?;
        let producer =
            KafkaProducer::new(config, ByteArraySerializer::default(), ByteArraySerializer::default())?;
        Ok(Self { job, producer, outcome: Arc::default() })
    }

    #[inline]
    fn record(&self, index: usize) -> ProducerRecord<&[u8], &[u8]> {
        let (key, value) = self.job.payloads.at(index);
        let topic = self.job.topic.clone();
        match key {
            Some(key) => ProducerRecord::with_key(topic, Some(key.as_ref()), Some(value.as_ref())),
            None => ProducerRecord::new(topic, Some(value.as_ref())),
        }
    }
}

impl Producing for Producer<'_> {
    #[inline]
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        let outcome = Arc::clone(&self.outcome);
        let count: Box<dyn Callback> = Box::new(callback::new(move |_, error| match error {
            None => {
                outcome.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some(error) => {
                let mut failure = outcome.failure.lock().unwrap_or_else(|poison| poison.into_inner());
                failure.get_or_insert_with(|| error.to_string());
            }
        }));
        self.producer.send(self.record(index), Some(count)).await?;
        Ok(())
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.producer.flush().await?;
        let failure = self.outcome.failure.lock().unwrap_or_else(|poison| poison.into_inner()).take();
        if let Some(failure) = failure {
            bail!("a record was not acknowledged: {failure}");
        }
        Ok(self.outcome.acknowledged.load(Ordering::Relaxed))
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        self.producer.send(self.record(index), None).await?.get().await?;
        Ok(())
    }
}

pub(super) struct Consumer(KafkaConsumer<Bytes, Bytes>);

impl Consumer {
    pub(super) async fn connect(job: &Job) -> anyhow::Result<Self> {
        let settings = [
            ("bootstrap.servers", job.bootstrap.clone()),
            ("group.protocol", "consumer".to_owned()),
            ("auto.offset.reset", "earliest".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("max.poll.records", MOST.to_string()),
            ("max.partition.fetch.bytes", PARTITION_BYTES.to_string()),
        ];
        let settings: HashMap<String, String> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = ConsumerConfig::new(&settings)?;
        let mut consumer =
            KafkaConsumer::new(config, BytesDeserializer::default(), BytesDeserializer::default())?;
        let partitions =
            (0..job.case.topic_partitions()).map(|number| TopicPartition::new(job.topic.as_str(), number));
        consumer.assign(partitions.collect()).await?;
        Ok(Self(consumer))
    }
}

impl Consuming for Consumer {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        for record in &self.0.poll(POLL).await? {
            seen.record(record.partition(), record.offset(), record.value().map(AsRef::as_ref));
        }
        Ok(())
    }
}
