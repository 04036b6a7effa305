//! Produce.
//!
//! Imitates Kafka 4.3.1: topics by name before version 13 and by id from then on; acks 0, 1 and all; one batch of magic 2 per
//! partition, its size and CRC checked; repeated and out-of-order batches of idempotent producers (see
//! `producer_state`); batches of a transaction only where the coordinator knows of it (`produce_in_transaction`); a
//! broker that does not lead says who does (version 10, KIP-951); an error of a request with acks 0, which has no answer,
//! ends the connection. A request with acks all is answered when its batches are replicated (`replication`). A
//! topic may have a compression of its own (`recompress`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{
        ProduceRequest, ProduceResponse,
        produce::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
            PartitionProduceResponse, TopicProduceResponse,
        },
    },
    records::{Batch, BatchError, Batches, Compression},
    wire::ByteString,
};

use super::{
    BrokerId, Cluster,
    dispatch::{Answer, Context},
    partition::Partition,
    producer_state::Verdict,
    recompress::recompressed,
    record_checks::check_records,
    replication::Unreplicated,
    topic_config::Limits,
    topics::Topic,
    transaction::Participant,
};

const ACKS_ALL: i16 = -1;

impl Cluster {
    /// Appends the batches, except to the partitions that have an error already.
    pub(super) fn append_batches(
        &mut self,
        cx: &Context,
        request: &ProduceRequest,
        refused: &BTreeMap<Participant, ErrorCode>,
    ) -> Answer {
        let by_id = cx.version >= 13;
        let expiry = self.producer_expiry();
        let mut failed = false;
        let mut leaders = BTreeSet::new();
        let mut responses = Vec::with_capacity(request.topic_data.len());
        let mut waiting = Vec::new();
        let replicas = Replicas { up: &self.up, at_once: self.config.replication_interval.is_zero() };
        for data in &request.topic_data {
            let mut topic = self.topics.find_mut(by_id, &data.name, data.topic_id);
            let mut partition_responses = Vec::with_capacity(data.partition_data.len());
            for partition in &data.partition_data {
                let index = partition.index;
                let appended = match (&mut topic, request.acks) {
                    (Ok(topic), acks) => match refused.get(&(topic.name.clone(), index)) {
                        Some(error) => Err((*error).into()),
                        None if !(ACKS_ALL..=1).contains(&acks) => {
                            Err(ErrorCode::INVALID_REQUIRED_ACKS.into())
                        }
                        None => {
                            if let Ok(partition) = topic.partition_mut(index) {
                                partition.producers.expire(expiry.0, expiry.1);
                            }
                            append(cx, topic, &replicas, acks, partition)
                        }
                    },
                    (Err(_), ..ACKS_ALL | 2..) => Err(ErrorCode::INVALID_REQUIRED_ACKS.into()),
                    (Err(error), _) => Err((*error).into()),
                };
                failed |= appended.is_err();
                if let (Ok(topic), Ok(appended)) = (&topic, &appended) {
                    waiting.extend(unreplicated(
                        topic,
                        index,
                        appended,
                        (responses.len(), partition_responses.len()),
                    ));
                }
                let current = topic.as_ref().ok().and_then(|topic| topic.partition(index).ok());
                let response = partition_response(cx.version, index, appended, current);
                leaders.extend(
                    (response.current_leader.leader_id >= 0).then_some(response.current_leader.leader_id),
                );
                partition_responses.push(response);
            }
            if partition_responses.is_empty() {
                continue;
            }
            responses.push(TopicProduceResponse {
                name: data.name,
                topic_id: data.topic_id,
                partition_responses,
                ..TopicProduceResponse::default()
            });
        }
        self.fetches_may_complete = true;
        if !waiting.is_empty() {
            self.replicate_later(cx.now);
        }
        if request.acks == 0 {
            return if failed { Answer::Close } else { Answer::Silence };
        }
        let node_endpoints = leaders.into_iter().filter_map(|id| self.produce_endpoint(id)).collect();
        let response = ProduceResponse { responses, node_endpoints, ..ProduceResponse::default() };
        if request.acks == ACKS_ALL && !waiting.is_empty() {
            return self.await_replicas(cx, request.timeout_ms, waiting, response);
        }
        response.into()
    }

    fn produce_endpoint(&self, node_id: i32) -> Option<NodeEndpoint> {
        let broker = self.brokers.get(&BrokerId(node_id))?;
        Some(NodeEndpoint {
            node_id,
            host: broker.host.clone(),
            port: broker.port,
            ..NodeEndpoint::default()
        })
    }
}

/// What the replicas of a batch do.
struct Replicas<'a> {
    up: &'a BTreeSet<BrokerId>,
    /// They have it as soon as the leader does.
    at_once: bool,
}

struct Appended {
    base_offset: i64,
    last_offset_delta: i32,
    append_time: Option<i64>,
    log_start_offset: i64,
}

pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: Option<ByteString>,
    /// The records that are to blame.
    pub(super) records: Vec<BatchIndexAndErrorMessage>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

pub(super) fn refusal(code: ErrorCode, message: impl Into<ByteString>) -> Refusal {
    Refusal { code, message: Some(message.into()), records: Vec::new() }
}

fn append(
    cx: &Context,
    topic: &mut Topic,
    replicas: &Replicas<'_>,
    acks: i16,
    data: PartitionProduceData,
) -> Result<Appended, Refusal> {
    let limits = topic.config.limits;
    let partition = topic.partition_mut(data.index)?;
    partition.check_leader(cx.broker, -1)?;
    let enough = partition.has_enough_replicas(replicas.up, limits.min_insync_replicas);
    if acks == ACKS_ALL && !enough {
        return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into());
    }
    let batch = only_batch(data.records)?;
    if cx.version < 7 && batch.compression() == Ok(Compression::Zstd) {
        let message = "Produce requests take zstd from version 7 on.";
        return Err(refusal(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, message));
    }
    check_batch(&batch, &limits, cx.unix_ms)?;
    let batch = recompressed(batch, limits.compression)?;
    check_size(&batch, &limits)?;
    let header = batch.header();
    let last_offset_delta = header.last_offset_delta;
    match if header.producer_id >= 0 { partition.producers.check(header) } else { Verdict::Append } {
        Verdict::Refuse(code) => return Err(code.into()),
        Verdict::Duplicate(base_offset) => {
            let log_start_offset = partition.log.start_offset();
            return Ok(Appended { base_offset, last_offset_delta, append_time: None, log_start_offset });
        }
        Verdict::Append => {}
    }
    let append_time = limits.log_append_time.then_some(cx.unix_ms);
    let base_offset = partition.append(cx.unix_ms, &batch, append_time);
    if replicas.at_once || partition.in_sync(replicas.up).count() <= 1 {
        partition.replicate(enough);
    }
    if let Some(bytes) = limits.retention_bytes {
        partition.retain(bytes);
    }
    let log_start_offset = partition.log.start_offset();
    Ok(Appended { base_offset, last_offset_delta, append_time, log_start_offset })
}

/// What the answer to an appended batch waits for, if it does.
fn unreplicated(
    topic: &Topic,
    index: i32,
    appended: &Appended,
    place: (usize, usize),
) -> Option<Unreplicated> {
    let partition = topic.partition(index).ok()?;
    let end = appended.base_offset.saturating_add(appended.last_offset_delta.into()).saturating_add(1);
    (partition.high_watermark < end).then_some(Unreplicated {
        topic: topic.id,
        partition: index,
        leader_epoch: partition.leader_epoch,
        end,
        place,
    })
}

/// Where every format has its magic byte.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// The one batch that the records field of a request holds.
pub(super) fn only_batch(records: Option<Bytes>) -> Result<Batch, Refusal> {
    let records = records.unwrap_or_default();
    // Kafka looks at the magic byte before it looks at what else that magic demands. One that does not exist is no batch.
    if records.get(MAGIC_AT).is_some_and(|&magic| magic < MAGIC) {
        let message = "Produce requests take record batches of magic 2 only.";
        return Err(refusal(ErrorCode::INVALID_RECORD, message));
    }
    let mut batches = Batches::new(records);
    let corrupt = |error: BatchError| refusal(ErrorCode::CORRUPT_MESSAGE, error.to_string());
    let found = batches.next().transpose().map_err(corrupt)?;
    match (found, batches.next(), batches.truncated()) {
        (Some(batch), None, None) => Ok(batch),
        _ => Err(refusal(
            ErrorCode::INVALID_RECORD,
            "Produce requests must have exactly one record batch per partition.",
        )),
    }
}

fn check_size(batch: &Batch, limits: &Limits) -> Result<(), Refusal> {
    let (len, limit) = (batch.bytes().len(), limits.max_message_bytes);
    if len > limit {
        let message = format!("The record batch has {len} bytes, which exceeds the maximum of {limit}.");
        return Err(refusal(ErrorCode::MESSAGE_TOO_LARGE, message));
    }
    if len > limits.segment_bytes {
        let message =
            format!("The record batch has {len} bytes, more than a segment of {}.", limits.segment_bytes);
        return Err(refusal(ErrorCode::RECORD_LIST_TOO_LARGE, message));
    }
    Ok(())
}

fn check_batch(batch: &Batch, limits: &Limits, unix_ms: i64) -> Result<(), Refusal> {
    check_size(batch, limits)?;
    let header = batch.header();
    batch.verify_crc().map_err(|error| refusal(ErrorCode::CORRUPT_MESSAGE, error.to_string()))?;
    batch.compression().map_err(|error| refusal(ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string()))?;
    let invalid =
        |message: &'static str| Err(refusal(ErrorCode::INVALID_RECORD, ByteString::from_static(message)));
    if header.base_offset != 0 {
        return invalid("The base offset of the record batch should be 0.");
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return invalid("The record batch's count of records does not fit its last offset.");
    }
    if header.attributes.is_control() {
        return invalid("Clients are not allowed to write control records.");
    }
    if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return invalid("A record batch with a producer id needs an epoch and a sequence number.");
    }
    check_records(batch, limits, unix_ms)
}

fn partition_response(
    version: i16,
    index: i32,
    appended: Result<Appended, Refusal>,
    partition: Option<&Partition>,
) -> PartitionProduceResponse {
    match appended {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.append_time.unwrap_or(-1),
            log_start_offset: appended.log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(Refusal { code, message, records }) => PartitionProduceResponse {
            index,
            error_code: code.0,
            base_offset: -1,
            log_start_offset: -1,
            record_errors: records,
            error_message: message,
            current_leader: match partition {
                Some(partition) if version >= 10 && code == ErrorCode::NOT_LEADER_OR_FOLLOWER => {
                    LeaderIdAndEpoch {
                        leader_id: partition.leader.map_or(-1, |leader| leader.0),
                        leader_epoch: partition.leader_epoch,
                        ..LeaderIdAndEpoch::default()
                    }
                }
                _ => LeaderIdAndEpoch::default(),
            },
            ..PartitionProduceResponse::default()
        },
    }
}
