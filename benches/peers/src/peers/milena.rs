//! Milena: `enqueue`, and the deliveries awaited later.

use std::time::Duration;

use anyhow::Context as _;
use milena::{AutoOffsetReset, Client, Delivery, NewRecord, TopicPartition};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing, Window,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
};
use crate::case::Work;

pub(super) struct Producer<'j> {
    job: &'j Job,
    producer: milena::Producer,
    window: Window<Delivery>,
}

impl<'j> Producer<'j> {
    pub(super) async fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let client = Client::connect(job.bootstrap.as_str()).await?;
        let linger = if job.case.work == Work::Latency { 0 } else { LINGER_MS };
        let producer = client
            .producer()
            .compression(job.case.codec.codec())
            .linger(Duration::from_millis(linger))
            .batch_size(job.case.batch_size())
            .buffer_memory(BUFFER_MEMORY)
            .max_request_size(MAX_REQUEST)
            .max_in_flight(IN_FLIGHT)
            .build()?;
        Ok(Self { job, producer, window: Window::new(job.case) })
    }

    #[inline]
    fn record(&self, index: usize) -> NewRecord<'_> {
        let (key, value) = self.job.payloads.at(index);
        NewRecord { key: key.map(AsRef::as_ref), ..NewRecord::new(&self.job.topic).value(value) }
    }
}

impl Producing for Producer<'_> {
    #[inline]
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        let delivery = self.producer.enqueue(self.record(index)).await?;
        self.window.push(delivery).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.producer.flush().await?;
        self.window.drain().await
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        self.producer.send(self.record(index)).await?;
        Ok(())
    }
}

pub(super) struct Consumer(milena::Consumer);

impl Consumer {
    pub(super) async fn connect(job: &Job) -> anyhow::Result<Self> {
        let client = Client::connect(job.bootstrap.as_str()).await?;
        let partitions =
            (0..job.case.partitions).map(|number| TopicPartition::new(job.topic.as_str(), number));
        let consumer = client
            .consumer_without_group()
            .assign(partitions)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(MOST)
            .max_partition_fetch_bytes(PARTITION_BYTES)
            .build()?;
        Ok(Self(consumer))
    }
}

impl Consuming for Consumer {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let records = self.0.poll(POLL).await?.context("the consumer is closed")?;
        for record in records.iter() {
            seen.record(record.partition(), record.offset(), record.value());
        }
        Ok(())
    }
}
