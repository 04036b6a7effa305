//! Topics and their partitions, as a broker knows them.

use milena_cluster::BrokerId;
use milena_protocol::{
    ErrorCode,
    messages::{
        MetadataRequest, MetadataResponse,
        metadata::{MetadataRequestTopic, MetadataResponsePartition, MetadataResponseTopic},
    },
    wire::{ByteString, Packed, Uuid},
};

use super::{
    Admin,
    routing::{Attempt, Twice},
};
use crate::AdminError;

/// A topic as the broker that was asked knows it. Others may have heard of more, or less.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: ByteString,
    /// What tells it from topics of the same name before and after it (KIP-516). Brokers before 2.8 have none.
    pub id: Option<Uuid>,
    /// True for those of Kafka itself, such as `__consumer_offsets`.
    pub is_internal: bool,
    /// By their numbers.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number, from 0.
    pub partition: i32,
    /// The broker that takes its records and hands them out; none while none can.
    pub leader: Option<BrokerId>,
    /// How often the leader has changed. Brokers before 2.1 do not say.
    pub leader_epoch: Option<i32>,
    /// The brokers it lies on, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that have all of it.
    pub in_sync: Vec<BrokerId>,
    /// Those of them that are down.
    pub offline: Vec<BrokerId>,
}

impl Admin {
    /// All topics that this client may see, those of Kafka itself among them, by their names.
    ///
    /// # Errors
    /// When no broker answers.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let attempt = self.attempt("listing the topics", Twice::IsOnce);
        let response: MetadataResponse = self.look_up(&attempt, &request).await?;
        let mut topics: Vec<_> = response.topics.into_iter().map(TopicDescription::new).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic. It is not created by that.
    ///
    /// # Errors
    /// When there is no such topic ([`ErrorCode::UNKNOWN_TOPIC_OR_PARTITION`]), it may not be seen, or no broker answers.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn describe_topic(&self, name: impl Into<ByteString>) -> Result<TopicDescription, AdminError> {
        let name = name.into();
        let attempt = self.attempt(format!("describing the topic {name}"), Twice::IsOnce);
        Ok(TopicDescription::new(self.described_topic(&attempt, name).await?))
    }

    pub(super) async fn described_topic(
        &self,
        attempt: &Attempt,
        name: ByteString,
    ) -> Result<MetadataResponseTopic, AdminError> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some(name.clone()), ..Default::default() }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response: MetadataResponse = self.look_up(attempt, &request).await?;
        let topic = response.topics.into_iter().find(|topic| topic.name.as_ref() == Some(&name));
        let code =
            topic.as_ref().map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| ErrorCode(topic.error_code));
        attempt.granted(Some((code, None)))?;
        Ok(topic.unwrap_or_default())
    }
}

impl TopicDescription {
    fn new(topic: MetadataResponseTopic) -> Self {
        let mut partitions: Vec<_> = topic.partitions.into_iter().map(PartitionDescription::new).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Self {
            name: topic.name.unwrap_or_default(),
            id: Some(topic.topic_id).filter(|id| !id.is_zero()),
            is_internal: topic.is_internal,
            partitions,
        }
    }
}

impl PartitionDescription {
    fn new(partition: MetadataResponsePartition) -> Self {
        let brokers = |ids: Packed<i32>| ids.iter().map(BrokerId).collect();
        Self {
            partition: partition.partition_index,
            leader: Some(BrokerId(partition.leader_id)).filter(|leader| leader.0 >= 0),
            leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            replicas: brokers(partition.replica_nodes),
            in_sync: brokers(partition.isr_nodes),
            offline: brokers(partition.offline_replicas),
        }
    }
}
