//! The answer to a request that a fault gave an error code.

use milena_protocol::{
    ErrorCode,
    messages::{
        ApiVersionsResponse, ConsumerGroupHeartbeatResponse, CreateTopicsResponse, DeleteTopicsResponse,
        DescribeClusterResponse, FindCoordinatorResponse, HeartbeatResponse, InitProducerIdResponse,
        JoinGroupResponse, LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchResponse, ProduceRequest, ProduceResponse,
        Request, SyncGroupResponse, create_topics, delete_topics, find_coordinator, list_offsets, metadata,
        offset_commit, offset_fetch, produce,
    },
    wire::ByteString,
};

use super::dispatch::Answer;

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
