//! Topics, groups and their offsets.

mod describe;
mod group_offsets;
mod groups;
mod offsets;
mod routing;
mod topics;

use std::time::Duration;

use milena_connection::Network;
use milena_protocol::{
    ErrorCode,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        delete_topics::DeleteTopicState,
    },
    wire::ByteString,
};

use crate::AdminError;
use routing::{ANY_VERSION, Twice};

pub use describe::{PartitionDescription, TopicDescription};
pub use group_offsets::PartitionLag;
pub use groups::{GroupDescription, GroupListing, GroupListings, GroupType, MemberDescription};
pub use offsets::{ListedOffset, OffsetSpec};
pub use topics::ConfigEntry;

/// How long an admin call takes if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The first version of CreateTopics that leaves counts to the cluster (KIP-464).
const DEFAULTS_SINCE: i16 = 4;

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    name: ByteString,
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(ByteString, ByteString)>,
}

impl NewTopic {
    /// A topic with the cluster's default number of partitions and replicas. Brokers before 2.4 have none: both must be
    /// named there.
    pub fn new(name: impl Into<ByteString>) -> Self {
        Self { name: name.into(), partitions: -1, replication_factor: -1, configs: Vec::new() }
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = count;
        self
    }

    /// On how many brokers each partition lies.
    #[must_use]
    pub fn replication_factor(mut self, count: i16) -> Self {
        self.replication_factor = count;
        self
    }

    /// A setting of the topic, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }
}

/// Calls that change or describe the cluster.
///
/// Calls about groups and partitions follow coordinators and leaders that move, until the [timeout](Self::timeout), and what
/// every broker knows is asked of another one when one fails; a broker that is silent for a third of that time has failed. What a
/// broker may have done is done again only where that makes no difference. The others are not retried. The error says
/// whether trying again is safe.
#[derive(Clone, Debug)]
pub struct Admin {
    network: Network,
    timeout: Duration,
}

impl Admin {
    pub(crate) fn new(network: Network) -> Self {
        Self { network, timeout: TIMEOUT }
    }

    /// How long a call may take, 30 s if nothing is said.
    ///
    /// ```
    /// # async fn check(client: milena::Client) {
    /// # use std::time::Duration;
    /// let admin = client.admin().timeout(Duration::from_secs(5));
    /// # }
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Creates a topic. Other brokers may take a moment to hear of it.
    ///
    /// # Errors
    /// When the cluster refuses, with [`ErrorCode::TOPIC_ALREADY_EXISTS`] if there is one, or does not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<(), AdminError> {
        let attempt = self.attempt(format!("creating the topic {}", topic.name), Twice::Differs);
        let needs_defaults = topic.partitions < 0 || topic.replication_factor < 0;
        let versions = if needs_defaults { DEFAULTS_SINCE..=i16::MAX } else { ANY_VERSION };
        let config = |(name, value)| CreatableTopicConfig { name, value: Some(value), ..Default::default() };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name,
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: topic.configs.into_iter().map(config).collect(),
                ..Default::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let response: CreateTopicsResponse = self.at_any_within(&attempt, versions, request).await?;
        let result = response.topics.into_iter().next();
        attempt.granted(result.map(|topic| (ErrorCode(topic.error_code), topic.error_message)))
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// When the cluster refuses, with [`ErrorCode::UNKNOWN_TOPIC_OR_PARTITION`] if there is none, or does not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn delete_topic(&self, name: impl Into<ByteString>) -> Result<(), AdminError> {
        let name = name.into();
        let attempt = self.attempt(format!("deleting the topic {name}"), Twice::Differs);
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name), ..Default::default() }],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let response: DeleteTopicsResponse = self.at_any(&attempt, request).await?;
        let result = response.responses.into_iter().next();
        attempt.granted(result.map(|topic| (ErrorCode(topic.error_code), topic.error_message)))
    }

    /// How many partitions a topic has, once every one of them has a leader.
    ///
    /// # Errors
    /// When the topic is not there or not ready, or no broker answers.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn partition_count(&self, name: impl Into<ByteString>) -> Result<usize, AdminError> {
        let name = name.into();
        let attempt = self.attempt(format!("describing the topic {name}"), Twice::IsOnce);
        let topic = self.described_topic(&attempt, name).await?;
        if topic.partitions.iter().any(|partition| partition.leader_id < 0) {
            attempt.granted(Some((ErrorCode::LEADER_NOT_AVAILABLE, None)))?;
        }
        Ok(topic.partitions.len())
    }
}
