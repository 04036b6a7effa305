//! Topics, groups and their offsets.

mod describe;
mod group_offsets;
mod groups;
mod offsets;
mod routing;
mod topics;

use std::time::Duration;

use milena_cluster::Target;
use milena_connection::Network;
use milena_protocol::{
    ErrorCode, RequestMessage,
    messages::{
        CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        delete_topics::DeleteTopicState,
        metadata::MetadataRequestTopic,
    },
    wire::ByteString,
};

use crate::AdminError;

pub use describe::{PartitionDescription, TopicDescription};
pub use group_offsets::PartitionLag;
pub use groups::{GroupDescription, GroupListing, GroupListings, GroupType, MemberDescription};
pub use offsets::{ListedOffset, OffsetSpec};
pub use topics::ConfigEntry;

/// How long an admin call takes if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    name: ByteString,
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(ByteString, ByteString)>,
}

impl NewTopic {
    /// A topic with the cluster's default number of partitions and replicas.
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
/// Calls about groups and partitions follow coordinators and leaders that move, until the [timeout](Self::timeout); what a
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

    async fn call<R: RequestMessage>(&self, action: &str, request: R) -> Result<R::Response, AdminError> {
        self.network
            .call(Target::AnyBroker, request, self.timeout)
            .await
            .map_err(|failure| AdminError::Failed { action: action.to_owned(), failure })
    }

    /// Creates a topic. Other brokers may take a moment to hear of it.
    ///
    /// # Errors
    /// When the cluster refuses, with [`ErrorCode::TOPIC_ALREADY_EXISTS`] if there is one, or does not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<(), AdminError> {
        let action = format!("creating the topic {}", topic.name);
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
        let response = self.call(&action, request).await?;
        let result = response.topics.into_iter().next();
        let (code, message) = result.map_or((ErrorCode::UNKNOWN_SERVER_ERROR, None), |topic| {
            (ErrorCode(topic.error_code), topic.error_message)
        });
        refused(action, code, message)
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
        let action = format!("deleting the topic {name}");
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name), ..Default::default() }],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let response = self.call(&action, request).await?;
        let result = response.responses.into_iter().next();
        let (code, message) = result.map_or((ErrorCode::UNKNOWN_SERVER_ERROR, None), |topic| {
            (ErrorCode(topic.error_code), topic.error_message)
        });
        refused(action, code, message)
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
        let action = format!("describing the topic {name}");
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response: MetadataResponse = self.call(&action, request).await?;
        let Some(topic) = response.topics.first() else {
            return refused(action, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None).map(|()| 0);
        };
        refused(action.clone(), ErrorCode(topic.error_code), None)?;
        if topic.partitions.iter().any(|partition| partition.leader_id < 0) {
            refused(action, ErrorCode::LEADER_NOT_AVAILABLE, None)?;
        }
        Ok(topic.partitions.len())
    }
}

fn refused(action: String, code: ErrorCode, message: Option<ByteString>) -> Result<(), AdminError> {
    let message = message.map(|text| text.to_string());
    code.ok().map_err(|code| AdminError::Refused { action, code, message })
}
