//! krafka: `enqueue`, and the handles awaited later.

use std::time::Duration;

use anyhow::ensure;
use krafka::{
    Compression, Kafka, Record,
    consumer::AutoOffsetReset,
    producer::{Acks, DeliveryHandle},
};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing, Window,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
};
use crate::case::{CodecName, GZIP_LEVEL, Work, ZSTD_LEVEL};

pub(super) struct Producer<'j> {
    job: &'j Job,
    producer: krafka::producer::Producer,
    window: Window<DeliveryHandle>,
}

impl<'j> Producer<'j> {
    pub(super) async fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let (compression, level) = match job.case.codec {
            CodecName::None => (Compression::None, None),
            CodecName::Gzip => (Compression::Gzip, Some(GZIP_LEVEL)),
            CodecName::Snappy => (Compression::Snappy, None),
            CodecName::Lz4 => (Compression::Lz4, None),
            CodecName::Zstd => (Compression::Zstd, Some(ZSTD_LEVEL)),
        };
        let kafka =
            Kafka::builder(job.bootstrap.as_str()).max_in_flight_requests(IN_FLIGHT).connect().await?;
        let linger = if job.case.work == Work::Latency { 0 } else { LINGER_MS };
        let producer = kafka
            .producer()
            .acks(Acks::All)
            .compression(compression)
            .compression_level(level)
            .linger(Duration::from_millis(linger))
            .batch_size(job.case.batch_size())
            .buffer_memory(BUFFER_MEMORY)
            .max_request_size(MAX_REQUEST)
            .build()
            .await?;
        Ok(Self { job, producer, window: Window::new(job.case) })
    }

    #[inline]
    fn record(&self, index: usize) -> Record {
        let (key, value) = self.job.payloads.at(index);
        let record = Record::new(self.job.topic.as_str(), value.clone());
        match key {
            Some(key) => record.key(key.clone()),
            None => record,
        }
    }
}

impl Producing for Producer<'_> {
    #[inline]
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        let handle = self.producer.enqueue(self.record(index)).await?;
        self.window.push(handle).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.producer.flush().await?;
        self.window.drain().await
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let sent = self.producer.send(self.record(index)).await?;
        ensure!(sent.is_persisted(), "the record was not written");
        Ok(())
    }
}

pub(super) struct Consumer(krafka::consumer::Consumer);

impl Consumer {
    pub(super) async fn connect(job: &Job) -> anyhow::Result<Self> {
        let kafka = Kafka::builder(job.bootstrap.as_str()).connect().await?;
        let consumer = kafka
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(i32::try_from(MOST)?)
            // "Raise it to pipeline deeper on high-throughput consumers."
            .max_buffered_records(i32::try_from(4 * MOST)?)
            .max_partition_fetch_bytes(PARTITION_BYTES)
            .build()
            .await?;
        consumer.assign(&job.topic, (0..job.case.topic_partitions()).collect()).await?;
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
