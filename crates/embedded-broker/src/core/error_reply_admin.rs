//! The answer to a request of an admin's that a fault gave an error code.

use milena_protocol::messages::{
    AlterConfigsResponse, ConsumerGroupDescribeResponse, CreatePartitionsResponse, DeleteGroupsResponse,
    DeleteRecordsResponse, DescribeConfigsResponse, DescribeGroupsResponse, DescribeTopicPartitionsResponse,
    IncrementalAlterConfigsResponse, ListGroupsResponse, OffsetDeleteResponse, OffsetForLeaderEpochResponse,
    Request, alter_configs, consumer_group_describe, create_partitions, delete_groups, delete_records,
    describe_configs, describe_groups, describe_topic_partitions, incremental_alter_configs,
    offset_for_leader_epoch,
};

use super::dispatch::Answer;

pub(super) fn admin_error_reply(request: &Request, error_code: i16) -> Answer {
    match request {
        Request::DeleteRecords(request) => {
            let topics = request.topics.iter().map(|topic| delete_records::DeleteRecordsTopicResult {
                name: topic.name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|wanted| delete_records::DeleteRecordsPartitionResult {
                        partition_index: wanted.partition_index,
                        low_watermark: -1,
                        error_code,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            });
            DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }.into()
        }
        Request::OffsetForLeaderEpoch(request) => {
            let topics =
                request.topics.iter().map(|topic| offset_for_leader_epoch::OffsetForLeaderTopicResult {
                    topic: topic.topic.clone(),
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|wanted| offset_for_leader_epoch::EpochEndOffset {
                            error_code,
                            partition: wanted.partition,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                });
            OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }.into()
        }
        Request::DescribeConfigs(request) => {
            let results = request.resources.iter().map(|resource| describe_configs::DescribeConfigsResult {
                error_code,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..Default::default()
            });
            DescribeConfigsResponse { results: results.collect(), ..Default::default() }.into()
        }
        Request::AlterConfigs(request) => {
            let responses = request.resources.iter().map(|it| alter_configs::AlterConfigsResourceResponse {
                error_code,
                resource_type: it.resource_type,
                resource_name: it.resource_name.clone(),
                ..Default::default()
            });
            AlterConfigsResponse { responses: responses.collect(), ..Default::default() }.into()
        }
        Request::IncrementalAlterConfigs(request) => {
            let responses =
                request.resources.iter().map(|it| incremental_alter_configs::AlterConfigsResourceResponse {
                    error_code,
                    resource_type: it.resource_type,
                    resource_name: it.resource_name.clone(),
                    ..Default::default()
                });
            IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }.into()
        }
        request => group_admin_error_reply(request, error_code),
    }
}

fn group_admin_error_reply(request: &Request, error_code: i16) -> Answer {
    match request {
        Request::ListGroups(_) => ListGroupsResponse { error_code, ..Default::default() }.into(),
        Request::DescribeGroups(request) => {
            let groups = request.groups.iter().map(|id| describe_groups::DescribedGroup {
                error_code,
                group_id: id.clone(),
                ..Default::default()
            });
            DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }.into()
        }
        Request::ConsumerGroupDescribe(request) => {
            let groups = request.group_ids.iter().map(|id| consumer_group_describe::DescribedGroup {
                error_code,
                group_id: id.clone(),
                ..Default::default()
            });
            ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }.into()
        }
        Request::DeleteGroups(request) => {
            let results = request.groups_names.iter().map(|id| delete_groups::DeletableGroupResult {
                group_id: id.clone(),
                error_code,
                ..Default::default()
            });
            DeleteGroupsResponse { results: results.collect(), ..Default::default() }.into()
        }
        Request::OffsetDelete(_) => OffsetDeleteResponse { error_code, ..Default::default() }.into(),
        Request::CreatePartitions(request) => {
            let results = request.topics.iter().map(|topic| create_partitions::CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code,
                ..Default::default()
            });
            CreatePartitionsResponse { results: results.collect(), ..Default::default() }.into()
        }
        Request::DescribeTopicPartitions(request) => {
            let topics = request.topics.iter().map(|topic| {
                describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
                    error_code,
                    name: Some(topic.name.clone()),
                    ..Default::default()
                }
            });
            DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }.into()
        }
        _ => Answer::Close,
    }
}
