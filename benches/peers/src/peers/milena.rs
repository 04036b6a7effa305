//! Milena: `enqueue`, and the deliveries awaited later.

use std::time::Duration;

use anyhow::Context as _;
use milena::{Assignor, AutoOffsetReset, Client, Delivery, GroupProtocol, NewRecord, TopicPartition};

use super::{
    BUFFER_MEMORY, IN_FLIGHT, Job, LINGER_MS, MAX_REQUEST, Producing, Window,
    consume::{Consuming, MOST, PARTITION_BYTES, POLL, Seen},
    member::{self, COMMIT, Taken},
};
use crate::case::{Variant, Work};

/// How long leaving a group may take.
const LEAVE: Duration = Duration::from_secs(10);

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
            (0..job.case.topic_partitions()).map(|number| TopicPartition::new(job.topic.as_str(), number));
        let mut consumer = client
            .consumer_without_group()
            .assign(partitions)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(MOST)
            .max_partition_fetch_bytes(PARTITION_BYTES);
        if let Variant::Budget(mib) = job.case.variant {
            consumer = consumer.max_buffered_bytes(usize::from(mib) << 20);
        }
        Ok(Self(consumer.build()?))
    }
}

impl member::Member for Consumer {
    async fn join(job: &Job, group: &str) -> anyhow::Result<Self> {
        let client = Client::connect(job.bootstrap.as_str()).await?;
        let protocol = match job.case.variant {
            Variant::Kip848 => GroupProtocol::Consumer,
            _ => GroupProtocol::Classic,
        };
        let consumer = client
            .consumer(group.to_owned())
            .subscribe([job.topic.as_str()])
            .group_protocol(protocol)
            .assignors([Assignor::CooperativeSticky])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .auto_commit(COMMIT)
            .max_poll_records(MOST)
            .max_partition_fetch_bytes(PARTITION_BYTES)
            .build()?;
        Ok(Self(consumer))
    }

    async fn poll(&mut self, wait: Duration, take: &mut impl FnMut(Taken<'_>)) -> anyhow::Result<()> {
        let records = self.0.poll(wait).await?.context("the consumer is closed")?;
        for record in records.iter() {
            take(Taken { partition: record.partition(), offset: record.offset(), value: record.value() });
        }
        Ok(())
    }

    async fn leave(self) -> anyhow::Result<()> {
        Ok(self.0.close(LEAVE).await?)
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
