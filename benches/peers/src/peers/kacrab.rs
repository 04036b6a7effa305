//! kacrab: `send`, which appends and returns a future, and the futures awaited later.

use std::sync::Arc;

use kacrab::{
    common::TopicPartition,
    producer::{ProducerError, ProducerRecord, SendFuture},
};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing, Window,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
};
use crate::case::{GZIP_LEVEL, Work, ZSTD_LEVEL};

pub(super) struct Producer<'j> {
    job: &'j Job,
    topic: Arc<str>,
    producer: kacrab::producer::Producer,
    window: Window<SendFuture>,
}

impl<'j> Producer<'j> {
    pub(super) async fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let linger = if job.case.work == Work::Latency { 0 } else { LINGER_MS };
        let producer = kacrab::producer::Producer::builder()
            .set("bootstrap.servers", job.bootstrap.as_str())
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", job.case.codec.as_str())
            .set("compression.gzip.level", GZIP_LEVEL.to_string())
            .set("compression.zstd.level", ZSTD_LEVEL.to_string())
            .set("linger.ms", linger.to_string())
            .set("batch.size", job.case.batch_size().to_string())
            .set("buffer.memory", BUFFER_MEMORY.to_string())
            .set("max.request.size", MAX_REQUEST.to_string())
            .set("max.in.flight.requests.per.connection", IN_FLIGHT.to_string())
            .build()
            .await?;
        Ok(Self { job, topic: job.topic.as_str().into(), producer, window: Window::new(job.case) })
    }

    #[inline]
    fn record(&self, index: usize) -> ProducerRecord {
        let (key, value) = self.job.payloads.at(index);
        match key {
            Some(key) => ProducerRecord::topic_key_value(Arc::clone(&self.topic), key.clone(), value.clone()),
            None => ProducerRecord::topic_value(Arc::clone(&self.topic), value.clone()),
        }
    }
}

impl Producing for Producer<'_> {
    #[inline]
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        loop {
            match self.producer.send(self.record(index)) {
                Ok(future) => return self.window.push(future).await,
                // Memory comes free with acknowledgements, and there is none to come when nothing is awaited.
                Err(ProducerError::Backpressure) if self.window.pop().await? => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.producer.flush().await?;
        self.window.drain().await
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        self.producer.send(self.record(index))?.await?;
        Ok(())
    }
}

pub(super) struct Consumer(kacrab::consumer::Consumer);

impl Consumer {
    pub(super) async fn connect(job: &Job) -> anyhow::Result<Self> {
        let settings = [
            ("bootstrap.servers", job.bootstrap.clone()),
            ("auto.offset.reset", "earliest".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("max.poll.records", MOST.to_string()),
            ("max.partition.fetch.bytes", PARTITION_BYTES.to_string()),
        ];
        let mut consumer = kacrab::consumer::Consumer::from_map(settings).await?;
        consumer.assign(
            (0..job.case.topic_partitions()).map(|number| TopicPartition::new(job.topic.as_str(), number)),
        )?;
        Ok(Self(consumer))
    }
}

impl Consuming for Consumer {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        for record in &self.0.poll(POLL).await? {
            seen.record(record.partition, record.offset, record.value.as_deref());
        }
        Ok(())
    }
}
