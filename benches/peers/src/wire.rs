//! Kafka's protocol over one blocking socket: what the bound is measured with, and what looks at the outcome of a run
//! without any peer's help.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use milena_protocol::{
    ApiKey,
    frame::{LENGTH_PREFIX, decode_response, encode_request, frame_len},
    messages::{
        CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, Request,
        Response,
        create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        fetch::{FetchPartition, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Codec, Header, ProducerStamp},
};

use crate::{case::Case, payload::Payloads};

/// Versions that every Kafka 4 knows and that name topics by name.
const CREATE_TOPICS: i16 = 5;
const METADATA: i16 = 9;
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const LIST_OFFSETS: i16 = 7;
const LATEST: i64 = -1;
const TIMEOUT: Duration = Duration::from_secs(30);
const FRAME_LIMIT: usize = 64 << 20;
/// Bytes of one answer to a fetch, Kafka's default.
const FETCH_BYTES: i32 = 50 << 20;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub(crate) fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(bootstrap).with_context(|| format!("cannot connect to {bootstrap}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream })
    }

    /// Sends a frame that is written already.
    pub(crate) fn send(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(frame)?)
    }

    /// The next answer's frame without its length.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Bytes> {
        let mut prefix = [0; LENGTH_PREFIX];
        self.stream.read_exact(&mut prefix).context("waiting for the broker's answer")?;
        let mut frame = vec![0; frame_len(prefix, FRAME_LIMIT)?];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// The brokers of the cluster that are not fenced.
    pub(crate) fn brokers(&mut self) -> anyhow::Result<Vec<i32>> {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        self.send(&frame(&request.into(), METADATA)?)?;
        match decode_response(ApiKey::Metadata, METADATA, &self.receive()?)? {
            Response::Metadata(response) => {
                Ok(response.brokers.iter().map(|broker| broker.node_id).collect())
            }
            _ => bail!("the broker answered Metadata with something else"),
        }
    }

    /// Makes a topic whose partitions lie on these brokers, one for each.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        brokers: impl Iterator<Item = i32>,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let assignment = |(partition_index, broker)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: [broker].into_iter().collect(),
            ..Default::default()
        };
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).to_owned().into(),
            value: Some((*value).to_owned().into()),
            ..Default::default()
        };
        let topic = CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: (0..).zip(brokers).map(assignment).collect(),
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        self.send(&frame(&request.into(), CREATE_TOPICS)?)?;
        let Response::CreateTopics(response) =
            decode_response(ApiKey::CreateTopics, CREATE_TOPICS, &self.receive()?)?
        else {
            bail!("the broker answered CreateTopics with something else");
        };
        let topic = response.topics.first().context("the broker's answer names no topic")?;
        let message = topic.error_message.as_deref().unwrap_or_default();
        ensure!(topic.error_code == 0, "{name} cannot be made: error code {} {message}", topic.error_code);
        Ok(())
    }

    /// Where the partitions of a topic end. Fails while one of them has no leader yet.
    pub(crate) fn end_offsets(&mut self, topic: &str, partitions: i32) -> anyhow::Result<Vec<i64>> {
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: LATEST,
            ..Default::default()
        };
        let topics = vec![ListOffsetsTopic {
            name: topic.to_owned().into(),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        self.send(&frame(&request.into(), LIST_OFFSETS)?)?;
        let Response::ListOffsets(response) =
            decode_response(ApiKey::ListOffsets, LIST_OFFSETS, &self.receive()?)?
        else {
            bail!("the broker answered ListOffsets with something else");
        };
        let mut ends = Vec::new();
        for partition in response.topics.into_iter().flat_map(|topic| topic.partitions) {
            ensure!(
                partition.error_code == 0,
                "{topic}-{} has no end offset: error code {}",
                partition.partition_index,
                partition.error_code
            );
            ends.push(partition.offset);
        }
        ensure!(ends.len() == usize::try_from(partitions)?, "{topic} has {} partitions", ends.len());
        Ok(ends)
    }

    /// The records fields of the partitions of a topic from these offsets on, at most `most` bytes of each.
    pub(crate) fn fetch(
        &mut self,
        topic: &str,
        offsets: &[i64],
        most: i32,
        wait: Duration,
    ) -> anyhow::Result<Vec<(i32, Bytes)>> {
        let partition = |(number, offset): (usize, &i64)| {
            Ok(FetchPartition {
                partition: i32::try_from(number)?,
                fetch_offset: *offset,
                partition_max_bytes: most,
                ..Default::default()
            })
        };
        let topics = vec![FetchTopic {
            topic: topic.to_owned().into(),
            partitions: offsets.iter().enumerate().map(partition).collect::<anyhow::Result<_>>()?,
            ..Default::default()
        }];
        let request = FetchRequest {
            max_wait_ms: i32::try_from(wait.as_millis())?,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics,
            ..Default::default()
        };
        self.send(&frame(&request.into(), FETCH)?)?;
        let Response::Fetch(response) = decode_response(ApiKey::Fetch, FETCH, &self.receive()?)? else {
            bail!("the broker answered Fetch with something else");
        };
        let mut fetched = Vec::new();
        for partition in
            response.responses.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>())
        {
            let (number, error) = (partition.partition_index, partition.error_code);
            ensure!(error == 0, "{topic}-{number} cannot be read: error code {error}");
            fetched.push((number, partition.records.unwrap_or_default()));
        }
        Ok(fetched)
    }
}

/// A request's bytes, in one piece.
fn frame(request: &Request, version: i16) -> anyhow::Result<Bytes> {
    Ok(encode_request(request, version, 1, Some("peers".into()))?.to_bytes())
}

/// A Produce request with one batch, for acks=all.
pub(crate) fn produce_frame(topic: &str, partition: i32, batch: Bytes) -> anyhow::Result<Bytes> {
    let data = PartitionProduceData { index: partition, records: Some(batch), ..Default::default() };
    let topic = TopicProduceData {
        name: topic.to_owned().into(),
        partition_data: vec![data].into(),
        ..Default::default()
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic].into(), ..Default::default() };
    frame(&request.into(), PRODUCE)
}

/// Fails unless the answer to a Produce request acknowledges it.
pub(crate) fn acknowledged(answer: &Bytes) -> anyhow::Result<()> {
    let Response::Produce(response) = decode_response(ApiKey::Produce, PRODUCE, answer)? else {
        bail!("the broker answered Produce with something else");
    };
    let mut partitions = response.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let partition = partitions.next().context("the broker's answer names no partition")?;
    ensure!(partition.error_code == 0, "the broker refused a batch: error code {}", partition.error_code);
    Ok(())
}

/// Batches of the records from `first` on, each as full as the case lets it be, with their numbers of records.
pub(crate) fn batches(
    case: Case,
    payloads: &Payloads,
    first: usize,
    records: usize,
) -> anyhow::Result<Vec<BatchBuilder>> {
    let limit = case.batch_size();
    let timestamp = now_ms();
    let mut batches = Vec::new();
    let mut open = BatchBuilder::with_capacity(limit, limit);
    for index in first..first + records {
        let (key, value) = payloads.at(index);
        let (key, value) = (key.map(Bytes::as_ref), Some(value.as_ref()));
        let headers = std::iter::empty::<Header<'_>>;
        if open.append(timestamp, key, value, headers()).is_err() {
            batches.push(std::mem::replace(&mut open, BatchBuilder::with_capacity(limit, limit)));
            open.append(timestamp, key, value, headers())?;
        }
    }
    batches.push(open);
    Ok(batches)
}

/// Compresses a batch and writes its header and CRC. Returns its records, too.
pub(crate) fn seal(batch: BatchBuilder, codec: Codec) -> anyhow::Result<(u64, Bytes)> {
    let batch = batch.compress(codec)?;
    Ok((u64::try_from(batch.count())?, batch.stamp(ProducerStamp::NONE)))
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
