//! DescribeProducers: who writes to a partition, and in which transaction.
//!
//! Imitates Kafka 4.3.1: any replica answers.

use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeProducersRequest, DescribeProducersResponse,
        describe_producers::{PartitionResponse, ProducerState, TopicResponse},
    },
};

use super::{
    Cluster,
    create_topics::is_topic_name,
    dispatch::{Answer, Context},
};

impl Cluster {
    pub(super) fn describe_producers(&mut self, cx: &Context, request: DescribeProducersRequest) -> Answer {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|partition_index| {
                let (error, active_producers) = match self.producers_of(cx, &topic.name, partition_index) {
                    Ok(producers) => (ErrorCode::NONE, producers),
                    Err(error) => (error, Vec::new()),
                };
                PartitionResponse {
                    partition_index,
                    error_code: error.0,
                    active_producers,
                    ..PartitionResponse::default()
                }
            });
            TopicResponse {
                partitions: partitions.collect(),
                name: topic.name.clone(),
                ..TopicResponse::default()
            }
        });
        let topics = topics.collect();
        DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }.into()
    }

    fn producers_of(
        &mut self,
        cx: &Context,
        topic: &str,
        index: i32,
    ) -> Result<Vec<ProducerState>, ErrorCode> {
        if !is_topic_name(topic) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        let (check_ms, expiration_ms) = self.producer_expiry();
        let topic = self.topics.named_mut(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = topic.partition_mut(index)?;
        if !partition.replicas.contains(&cx.broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        partition.producers.expire(check_ms, expiration_ms);
        Ok(partition.producers.describe())
    }
}
