//! DescribeTopicPartitions: topics, some partitions at a time (KIP-966).
//!
//! Imitates Kafka 4.3.1: topics in the order of their names, all of them if none is asked for; so many partitions as the
//! request wants, at most 2,000, and then where to go on.
//!
//! Leaves out: authorized operations; replicas that are eligible to lead beside those in sync, which there are none of here.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        describe_topic_partitions::{
            DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, RequestCursor,
            ResponseCursor,
        },
    },
    wire::ByteString,
};

use super::{Cluster, create_topics::is_topic_name, dispatch::Answer, partition::Partition, topics::Topic};

/// `max.request.partition.size.limit`.
const MAX_PARTITIONS: usize = 2_000;

impl Cluster {
    pub(super) fn describe_topic_partitions(&self, request: DescribeTopicPartitionsRequest) -> Answer {
        let all = request.topics.is_empty();
        let names: BTreeSet<ByteString> = if all {
            self.topics.iter().map(|topic| topic.name.clone()).collect()
        } else {
            request.topics.into_iter().map(|topic| topic.name).collect()
        };
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MAX_PARTITIONS);
        let cursor = request.cursor.unwrap_or_default();
        let RequestCursor { topic_name: from, partition_index: first, .. } = cursor;
        let mut left = limit;
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names.range(from.clone()..) {
            let Some(topic) = self.topics.named(name) else {
                response.topics.push(unknown(name));
                continue;
            };
            if left == 0 {
                response.next_cursor = Some(cursor_at(name, 0));
                break;
            }
            let skipped = if *name == from { usize::try_from(first).unwrap_or(0) } else { 0 };
            let described = self.some_partitions(topic, skipped, left);
            let next = skipped.saturating_add(described.partitions.len());
            left = left.saturating_sub(described.partitions.len());
            response.topics.push(described);
            if next < topic.partitions.len() {
                response.next_cursor = Some(cursor_at(name, i32::try_from(next).unwrap_or(i32::MAX)));
                break;
            }
        }
        response.into()
    }

    fn some_partitions(
        &self,
        topic: &Topic,
        skipped: usize,
        limit: usize,
    ) -> DescribeTopicPartitionsResponseTopic {
        let partitions = (0..).zip(&topic.partitions).skip(skipped).take(limit);
        DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            partitions: partitions.map(|(index, partition)| self.one_partition(index, partition)).collect(),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    }

    fn one_partition(
        &self,
        partition_index: i32,
        partition: &Partition,
    ) -> DescribeTopicPartitionsResponsePartition {
        let error =
            if partition.leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
        let offline = partition.replicas.iter().filter(|broker| !self.up.contains(broker));
        DescribeTopicPartitionsResponsePartition {
            error_code: error.0,
            partition_index,
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.iter().map(|broker| broker.0).collect(),
            isr_nodes: partition.in_sync(&self.up).map(|broker| broker.0).collect(),
            eligible_leader_replicas: Some(Default::default()),
            last_known_elr: Some(Default::default()),
            offline_replicas: offline.map(|broker| broker.0).collect(),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    }
}

fn cursor_at(name: &ByteString, partition_index: i32) -> ResponseCursor {
    ResponseCursor { topic_name: name.clone(), partition_index, ..ResponseCursor::default() }
}

fn unknown(name: &ByteString) -> DescribeTopicPartitionsResponseTopic {
    let error = if is_topic_name(name) {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    } else {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.0,
        name: Some(name.clone()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
