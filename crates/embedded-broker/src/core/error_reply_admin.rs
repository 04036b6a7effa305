//! The answer to a request of an admin's that a fault gave an error code.

use milena_protocol::messages::{
    AlterConfigsResponse, DeleteRecordsResponse, DescribeConfigsResponse, IncrementalAlterConfigsResponse,
    OffsetForLeaderEpochResponse, Request, alter_configs, delete_records, describe_configs,
    incremental_alter_configs, offset_for_leader_epoch,
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
        _ => Answer::Close,
    }
}
