//! The requests of a transaction, and what their answers say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use milena_cluster::TopicPartition;
use milena_protocol::{
    ErrorCode,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiVersionsRequest,
        ApiVersionsResponse, EndTxnRequest, InitProducerIdRequest, Response, TxnOffsetCommitRequest,
        TxnOffsetCommitResponse,
        add_partitions_to_txn::AddPartitionsToTxnTopic,
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    wire::ByteString,
};

use crate::{
    group_offsets::{GroupOffset, PendingOffsets},
    identity::ProducerId,
};

/// Which transactions the cluster has finalized (`transaction.version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Partitions are added by requests of their own, and the epoch stays.
    V1,
    /// Produce and TxnOffsetCommit add what they write to, and every transaction has an epoch of its own (KIP-890).
    V2,
}

/// The first InitProducerId that can say who the producer was (KIP-360).
pub(crate) const INIT_PRODUCER_ID_RENEWS: i16 = 3;
/// The newest InitProducerId that is stable; the one behind it is for two-phase commits (KIP-939).
pub(crate) const INIT_PRODUCER_ID: i16 = 5;
/// The newest AddPartitionsToTxn for clients; brokers ask each other in the ones behind it.
pub(crate) const ADD_PARTITIONS: i16 = 3;

impl Version {
    /// The versions of Produce that go with it: the first of [`V2`](Self::V2) adds partitions.
    pub(crate) const fn produce(self) -> (i16, i16) {
        match self {
            Self::V1 => (3, 11),
            Self::V2 => (12, i16::MAX),
        }
    }

    /// The same of EndTxn and of TxnOffsetCommit.
    pub(crate) const fn end_and_offsets(self) -> (i16, i16) {
        match self {
            Self::V1 => (0, 4),
            Self::V2 => (5, 5),
        }
    }

    /// What the cluster has finalized.
    pub(crate) fn finalized(response: &ApiVersionsResponse) -> Self {
        let mut features = response.finalized_features.iter();
        let has_v2 =
            features.any(|feature| &*feature.name == "transaction.version" && feature.max_version_level >= 2);
        if has_v2 { Self::V2 } else { Self::V1 }
    }
}

pub(crate) fn features() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "milena".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

/// `current`: who the producer was, if it is to go on as that.
pub(crate) fn initialize(
    id: &ByteString,
    timeout: Duration,
    current: Option<ProducerId>,
) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        producer_id: current.map_or(-1, |current| current.id),
        producer_epoch: current.map_or(-1, |current| current.epoch),
        ..Default::default()
    }
}

pub(crate) fn add_partitions(
    id: &ByteString,
    producer: ProducerId,
    partitions: &BTreeSet<TopicPartition>,
) -> AddPartitionsToTxnRequest {
    let mut topics: BTreeMap<&ByteString, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| AddPartitionsToTxnTopic {
        name: name.clone(),
        partitions: partitions.into_iter().collect(),
        ..Default::default()
    });
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.clone(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: topics.collect(),
        ..Default::default()
    }
}

pub(crate) fn add_offsets(
    id: &ByteString,
    producer: ProducerId,
    group_id: &ByteString,
) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: group_id.clone(),
        ..Default::default()
    }
}

pub(crate) fn commit_offsets(
    id: &ByteString,
    producer: ProducerId,
    pending: &PendingOffsets,
) -> TxnOffsetCommitRequest {
    let mut topics: BTreeMap<&ByteString, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, GroupOffset { offset, leader_epoch, metadata }) in &pending.offsets {
        topics.entry(&partition.topic).or_default().push(TxnOffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: *offset,
            committed_leader_epoch: leader_epoch.unwrap_or(-1),
            committed_metadata: Some(metadata.clone()),
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| TxnOffsetCommitRequestTopic {
        name: name.clone(),
        partitions,
        ..Default::default()
    });
    TxnOffsetCommitRequest {
        transactional_id: id.clone(),
        group_id: pending.group.group_id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: pending.group.generation_or_epoch,
        member_id: pending.group.member_id.clone(),
        group_instance_id: pending.group.group_instance_id.clone(),
        topics: topics.collect(),
        ..Default::default()
    }
}

pub(crate) fn end(id: &ByteString, producer: ProducerId, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
        ..Default::default()
    }
}

/// The codes of an answer: one, or one for each partition that it names. `None` for an answer to something else.
pub(crate) fn codes(response: &Response) -> Option<Vec<(Option<TopicPartition>, ErrorCode)>> {
    let one = |code: i16| vec![(None, ErrorCode(code))];
    Some(match response {
        Response::ApiVersions(response) => one(response.error_code),
        Response::InitProducerId(response) => one(response.error_code),
        Response::AddOffsetsToTxn(response) => one(response.error_code),
        Response::EndTxn(response) => one(response.error_code),
        Response::AddPartitionsToTxn(response) => of_partitions(response),
        Response::TxnOffsetCommit(response) => of_offsets(response),
        _ => return None,
    })
}

fn of_partitions(response: &AddPartitionsToTxnResponse) -> Vec<(Option<TopicPartition>, ErrorCode)> {
    let topics = response.results_by_topic_v3_and_below.iter();
    let partitions = topics.flat_map(|topic| {
        topic.results_by_partition.iter().map(|result| {
            let partition = TopicPartition::new(topic.name.clone(), result.partition_index);
            (Some(partition), ErrorCode(result.partition_error_code))
        })
    });
    partitions.collect()
}

fn of_offsets(response: &TxnOffsetCommitResponse) -> Vec<(Option<TopicPartition>, ErrorCode)> {
    let partitions = response.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|result| {
            let partition = TopicPartition::new(topic.name.clone(), result.partition_index);
            (Some(partition), ErrorCode(result.error_code))
        })
    });
    partitions.collect()
}

/// The producer id and epoch that an answer brings, if it brings them.
pub(crate) fn granted(response: &Response) -> Option<ProducerId> {
    let (id, epoch) = match response {
        Response::InitProducerId(response) => (response.producer_id, response.producer_epoch),
        Response::EndTxn(response) => (response.producer_id, response.producer_epoch),
        _ => return None,
    };
    (id >= 0 && epoch >= 0).then_some(ProducerId { id, epoch, is_transactional: true })
}
