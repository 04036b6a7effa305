//! rskafka: `PartitionClient::produce` with whole batches, which this module fills, and of which it bounds those in flight.
//!
//! rskafka leaves partitions, batches and linger to its user; its `BatchProducer` awaits a future for each record and
//! is slower. It has no idempotence, and keeps no order among batches in flight.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use milena::partition_for_key;
use rskafka::{
    client::{
        ClientBuilder,
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::{Record, RecordAndOffset},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    IN_FLIGHT, Job, LINGER_MS, Producing,
    consume::{Consuming, PARTITION_BYTES, POLL, Seen},
};
use crate::{
    case::{CodecName, Work},
    wire::now_ms,
};

/// How many records pass between looks at the clock.
const LOOK_EVERY: usize = 256;

pub(super) struct Producer<'j> {
    job: &'j Job,
    compression: Compression,
    partitions: Vec<Partition>,
    /// Where records without a key go until the batch is full.
    sticky: usize,
    in_flight: Arc<Semaphore>,
    requests: JoinSet<anyhow::Result<u64>>,
    acknowledged: u64,
}

struct Partition {
    client: Arc<PartitionClient>,
    open: Vec<Record>,
    bytes: usize,
    since: Instant,
}

impl<'j> Producer<'j> {
    pub(super) async fn connect(job: &'j Job) -> anyhow::Result<Self> {
        let compression = match job.case.codec {
            CodecName::None => Compression::NoCompression,
            CodecName::Gzip => Compression::Gzip,
            CodecName::Snappy => Compression::Snappy,
            CodecName::Lz4 => Compression::Lz4,
            CodecName::Zstd => Compression::Zstd,
        };
        let client = ClientBuilder::new(vec![job.bootstrap.clone()]).build().await?;
        let mut partitions = Vec::new();
        for partition in 0..job.case.partitions {
            let client =
                client.partition_client(job.topic.as_str(), partition, UnknownTopicHandling::Retry).await?;
            partitions.push(Partition {
                client: Arc::new(client),
                open: Vec::new(),
                bytes: 0,
                since: Instant::now(),
            });
        }
        // It has no limit of its own; a partition whose batch waits for those of others would not be its doing.
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT.max(partitions.len())));
        let requests = JoinSet::new();
        Ok(Self { job, compression, partitions, sticky: 0, in_flight, requests, acknowledged: 0 })
    }

    fn record(&self, index: usize, timestamp: DateTime<Utc>) -> Record {
        let (key, value) = self.job.payloads.at(index);
        let key = key.map(|key| key.to_vec());
        Record { key, value: Some(value.to_vec()), headers: BTreeMap::new(), timestamp }
    }

    /// Sends what a partition holds once fewer than five requests are in flight.
    async fn dispatch(&mut self, number: usize) -> anyhow::Result<()> {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await?;
        let partition = self.partitions.get_mut(number).context("no such partition")?;
        let records = std::mem::take(&mut partition.open);
        partition.bytes = 0;
        let (client, compression) = (Arc::clone(&partition.client), self.compression);
        self.requests.spawn(async move {
            let sent = records.len();
            let offsets = client.produce(records, compression).await?;
            drop(permit);
            ensure!(offsets.len() == sent, "{} offsets for {sent} records", offsets.len());
            Ok(u64::try_from(sent)?)
        });
        while let Some(done) = self.requests.try_join_next() {
            self.acknowledged += done??;
        }
        Ok(())
    }

    async fn dispatch_lingering(&mut self) -> anyhow::Result<()> {
        for number in 0..self.partitions.len() {
            let lingering = self.partitions.get(number).is_some_and(|partition| {
                !partition.open.is_empty() && partition.since.elapsed() >= Duration::from_millis(LINGER_MS)
            });
            if lingering {
                self.dispatch(number).await?;
            }
        }
        Ok(())
    }
}

impl Producing for Producer<'_> {
    async fn enqueue(&mut self, index: usize) -> anyhow::Result<()> {
        debug_assert!(self.job.case.work == Work::Produce);
        let timestamp = DateTime::from_timestamp_millis(now_ms()).unwrap_or_default();
        let record = self.record(index, timestamp);
        let number = match &record.key {
            Some(key) => partition_for_key(key, self.partitions.len()),
            None => self.sticky,
        };
        let limit = self.job.case.batch_size();
        let partition = self.partitions.get_mut(number).context("no such partition")?;
        if partition.open.is_empty() {
            partition.since = Instant::now();
        }
        // As many bytes as a record takes beside its key and value.
        partition.bytes += record.approximate_size() + 12;
        partition.open.push(record);
        if partition.bytes + 12 + self.job.case.value >= limit {
            self.dispatch(number).await?;
            if self.job.payloads.at(index).0.is_none() {
                self.sticky = (self.sticky + 1) % self.partitions.len().max(1);
            }
        }
        if index.is_multiple_of(LOOK_EVERY) {
            self.dispatch_lingering().await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        for number in 0..self.partitions.len() {
            if self.partitions.get(number).is_some_and(|partition| !partition.open.is_empty()) {
                self.dispatch(number).await?;
            }
        }
        while let Some(done) = self.requests.join_next().await {
            self.acknowledged += done??;
        }
        Ok(self.acknowledged)
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let timestamp = DateTime::from_timestamp_millis(now_ms()).unwrap_or_default();
        let record = self.record(index, timestamp);
        let partition = self.partitions.get(index % self.partitions.len().max(1)).context("no partition")?;
        partition.client.produce(vec![record], self.compression).await?;
        Ok(())
    }
}

/// One `fetch_records` on its way for each partition: rskafka leaves that to its user, too.
pub(super) struct Consumer {
    fetches: JoinSet<anyhow::Result<Fetched>>,
}

struct Fetched {
    client: Arc<PartitionClient>,
    records: Vec<RecordAndOffset>,
    next: i64,
}

impl Consumer {
    pub(super) async fn connect(job: &Job) -> anyhow::Result<Self> {
        let client = ClientBuilder::new(vec![job.bootstrap.clone()]).build().await?;
        let mut fetches = JoinSet::new();
        for partition in 0..job.case.topic_partitions() {
            let client =
                client.partition_client(job.topic.as_str(), partition, UnknownTopicHandling::Retry).await?;
            fetches.spawn(fetch(Arc::new(client), 0));
        }
        Ok(Self { fetches })
    }
}

async fn fetch(client: Arc<PartitionClient>, offset: i64) -> anyhow::Result<Fetched> {
    let wait = i32::try_from(POLL.as_millis())?;
    let (records, _) = client.fetch_records(offset, 1..PARTITION_BYTES, wait).await?;
    let next = records.last().map_or(offset, |last| last.offset + 1);
    Ok(Fetched { client, records, next })
}

impl Consuming for Consumer {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let Fetched { client, records, next } =
            self.fetches.join_next().await.context("no partitions")???;
        let partition = client.partition();
        self.fetches.spawn(fetch(client, next));
        for record in &records {
            seen.record(partition, record.offset, record.record.value.as_deref());
        }
        Ok(())
    }
}
