//! The answer to a request that a fault gave an error code.

use milena_protocol::{
    ErrorCode,
    messages::{
        AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiVersionsResponse,
        ConsumerGroupHeartbeatResponse, CreateTopicsResponse, DeleteTopicsResponse, DescribeClusterResponse,
        DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsResponse, EndTxnResponse,
        FindCoordinatorResponse, HeartbeatResponse, InitProducerIdResponse, JoinGroupResponse,
        LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse, ListTransactionsResponse,
        MetadataResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchResponse, ProduceRequest,
        ProduceResponse, Request, SaslAuthenticateResponse, SaslHandshakeResponse, SyncGroupResponse,
        TxnOffsetCommitRequest, TxnOffsetCommitResponse, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
        add_partitions_to_txn::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopic,
            AddPartitionsToTxnTopicResult,
        },
        create_topics, delete_topics, describe_producers, describe_transactions, find_coordinator,
        list_offsets, metadata, offset_commit, offset_fetch, produce, txn_offset_commit, write_txn_markers,
    },
    wire::ByteString,
};

use super::{dispatch::Answer, error_reply_admin::admin_error_reply};

/// What answers any `request` but a fetch in this version with `error` in every place that the API has for it.
pub(super) fn error_reply(request: &Request, version: i16, error: ErrorCode) -> Answer {
    let error_code = error.0;
    match request {
        Request::Produce(request) => produced(request, error_code),
        Request::Metadata(request) => {
            let topics = request.topics.iter().flatten().map(|topic| metadata::MetadataResponseTopic {
                error_code,
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                ..Default::default()
            });
            let top = if version >= 13 { error_code } else { 0 };
            MetadataResponse { topics: topics.collect(), error_code: top, ..MetadataResponse::default() }
                .into()
        }
        Request::FindCoordinator(request) if version >= 4 => {
            let coordinators = request.coordinator_keys.iter().map(|key| find_coordinator::Coordinator {
                key: key.clone(),
                node_id: -1,
                port: -1,
                error_code,
                ..Default::default()
            });
            FindCoordinatorResponse {
                coordinators: coordinators.collect(),
                ..FindCoordinatorResponse::default()
            }
            .into()
        }
        Request::FindCoordinator(_) => FindCoordinatorResponse {
            error_code,
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        }
        .into(),
        Request::SaslHandshake(_) => SaslHandshakeResponse { error_code, mechanisms: Vec::new() }.into(),
        Request::SaslAuthenticate(_) => {
            SaslAuthenticateResponse { error_code, ..SaslAuthenticateResponse::default() }.into()
        }
        Request::ApiVersions(_) => {
            ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() }.into()
        }
        Request::InitProducerId(_) => InitProducerIdResponse {
            error_code,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        }
        .into(),
        Request::DescribeCluster(_) => {
            DescribeClusterResponse { error_code, ..DescribeClusterResponse::default() }.into()
        }
        Request::ListOffsets(request) => offsets_unlisted(request, error_code),
        Request::CreateTopics(_) | Request::DeleteTopics(_) => topics_error_reply(request, error_code),
        Request::AddPartitionsToTxn(_)
        | Request::AddOffsetsToTxn(_)
        | Request::EndTxn(_)
        | Request::WriteTxnMarkers(_)
        | Request::TxnOffsetCommit(_)
        | Request::DescribeProducers(_)
        | Request::DescribeTransactions(_)
        | Request::ListTransactions(_) => transaction_error_reply(request, version, error_code),
        Request::DeleteRecords(_)
        | Request::OffsetForLeaderEpoch(_)
        | Request::DescribeConfigs(_)
        | Request::AlterConfigs(_)
        | Request::IncrementalAlterConfigs(_)
        | Request::CreatePartitions(_)
        | Request::DescribeTopicPartitions(_)
        | Request::ListGroups(_)
        | Request::DescribeGroups(_)
        | Request::ConsumerGroupDescribe(_)
        | Request::DeleteGroups(_)
        | Request::OffsetDelete(_) => admin_error_reply(request, error_code),
        request => group_error_reply(request, version, error_code),
    }
}

fn offsets_unlisted(request: &ListOffsetsRequest, error_code: i16) -> Answer {
    let topics = request.topics.iter().map(|topic| list_offsets::ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|wanted| list_offsets::ListOffsetsPartitionResponse {
                partition_index: wanted.partition_index,
                error_code,
                timestamp: -1,
                offset: -1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }.into()
}

fn topics_error_reply(request: &Request, error_code: i16) -> Answer {
    match request {
        Request::CreateTopics(request) => {
            let topics = request.topics.iter().map(|topic| create_topics::CreatableTopicResult {
                name: topic.name.clone(),
                error_code,
                ..Default::default()
            });
            CreateTopicsResponse { topics: topics.collect(), ..CreateTopicsResponse::default() }.into()
        }
        Request::DeleteTopics(request) => {
            let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Default::default()));
            let either = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
            let responses = by_name.chain(either).map(|(name, topic_id)| {
                delete_topics::DeletableTopicResult { name, topic_id, error_code, ..Default::default() }
            });
            DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }.into()
        }
        _ => Answer::Close,
    }
}

fn transaction_error_reply(request: &Request, version: i16, error_code: i16) -> Answer {
    match request {
        Request::AddPartitionsToTxn(request) if version >= 4 => {
            let results = request.transactions.iter().map(|transaction| AddPartitionsToTxnResult {
                transactional_id: transaction.transactional_id.clone(),
                topic_results: partitions_not_added(&transaction.topics, error_code),
                ..Default::default()
            });
            let results_by_transaction = results.collect();
            AddPartitionsToTxnResponse { results_by_transaction, ..AddPartitionsToTxnResponse::default() }
                .into()
        }
        Request::AddPartitionsToTxn(request) => AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: partitions_not_added(&request.v3_and_below_topics, error_code),
            ..AddPartitionsToTxnResponse::default()
        }
        .into(),
        Request::AddOffsetsToTxn(_) => {
            AddOffsetsToTxnResponse { error_code, ..AddOffsetsToTxnResponse::default() }.into()
        }
        Request::EndTxn(_) => EndTxnResponse { error_code, ..EndTxnResponse::default() }.into(),
        Request::WriteTxnMarkers(request) => markers_not_written(request, error_code),
        Request::TxnOffsetCommit(request) => offsets_not_kept(request, error_code),
        Request::DescribeProducers(request) => producers_untold(request, error_code),
        Request::DescribeTransactions(request) => {
            let states = request.transactional_ids.iter().map(|id| describe_transactions::TransactionState {
                transactional_id: id.clone(),
                error_code,
                ..Default::default()
            });
            let transaction_states = states.collect();
            DescribeTransactionsResponse { transaction_states, ..DescribeTransactionsResponse::default() }
                .into()
        }
        Request::ListTransactions(_) => {
            ListTransactionsResponse { error_code, ..ListTransactionsResponse::default() }.into()
        }
        _ => Answer::Close,
    }
}

fn partitions_not_added(
    topics: &[AddPartitionsToTxnTopic],
    partition_error_code: i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = topics.iter().map(|topic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic
            .partitions
            .iter()
            .map(|partition_index| AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    topics.collect()
}

fn markers_not_written(request: &WriteTxnMarkersRequest, error_code: i16) -> Answer {
    let topics = |marker: &write_txn_markers::WritableTxnMarker| {
        let topics = marker.topics.iter().map(|topic| write_txn_markers::WritableTxnMarkerTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|partition_index| write_txn_markers::WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        topics.collect()
    };
    let markers = request.markers.iter().map(|marker| write_txn_markers::WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: topics(marker),
        ..Default::default()
    });
    WriteTxnMarkersResponse { markers: markers.collect(), ..WriteTxnMarkersResponse::default() }.into()
}

fn offsets_not_kept(request: &TxnOffsetCommitRequest, error_code: i16) -> Answer {
    let topics = request.topics.iter().map(|topic| txn_offset_commit::TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| txn_offset_commit::TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }.into()
}

fn producers_untold(request: &DescribeProducersRequest, error_code: i16) -> Answer {
    let topics = request.topics.iter().map(|topic| describe_producers::TopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partition_indexes
            .iter()
            .map(|partition_index| describe_producers::PartitionResponse {
                partition_index,
                error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    DescribeProducersResponse { topics: topics.collect(), ..DescribeProducersResponse::default() }.into()
}

fn group_error_reply(request: &Request, version: i16, error_code: i16) -> Answer {
    match request {
        Request::OffsetCommit(request) => offsets_refused(request, error_code),
        Request::OffsetFetch(request) if version >= 8 => {
            let groups = request.groups.iter().map(|group| offset_fetch::OffsetFetchResponseGroup {
                group_id: group.group_id.clone(),
                error_code,
                ..Default::default()
            });
            OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }.into()
        }
        Request::OffsetFetch(_) => {
            OffsetFetchResponse { error_code, ..OffsetFetchResponse::default() }.into()
        }
        Request::JoinGroup(request) => JoinGroupResponse {
            error_code,
            generation_id: -1,
            protocol_name: (version < 7).then(ByteString::new),
            member_id: request.member_id.clone(),
            ..JoinGroupResponse::default()
        }
        .into(),
        Request::SyncGroup(_) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() }.into(),
        Request::Heartbeat(_) => HeartbeatResponse { error_code, ..HeartbeatResponse::default() }.into(),
        Request::LeaveGroup(_) => LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }.into(),
        Request::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse { error_code, ..ConsumerGroupHeartbeatResponse::default() }.into()
        }
        _ => Answer::Close,
    }
}

fn offsets_refused(request: &OffsetCommitRequest, error_code: i16) -> Answer {
    let topics = request.topics.iter().map(|topic| offset_commit::OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| offset_commit::OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }.into()
}

fn produced(request: &ProduceRequest, error_code: i16) -> Answer {
    if request.acks == 0 {
        return Answer::Close;
    }
    let topics = request.topic_data.iter().map(|topic| produce::TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| produce::PartitionProduceResponse {
                index: partition.index,
                error_code,
                base_offset: -1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ProduceResponse { responses: topics.collect(), ..ProduceResponse::default() }.into()
}
