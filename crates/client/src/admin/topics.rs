//! More partitions, and the settings of topics.

use milena_protocol::{
    ErrorCode,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        create_partitions::CreatePartitionsTopic,
        describe_configs::DescribeConfigsResource,
        incremental_alter_configs::{AlterConfigsResource, AlterableConfig},
    },
    wire::ByteString,
};

use super::{Admin, routing::Twice};
use crate::AdminError;

/// What stands for topics among things with settings.
const TOPIC: i8 = 2;
/// What stands for a value of the topic itself, and not of its brokers or of Kafka.
const OF_THE_TOPIC: i8 = 1;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Such as `retention.ms`.
    pub name: ByteString,
    /// Its value; none when it is a secret.
    pub value: Option<ByteString>,
    /// True when it was set for this topic; otherwise it is the cluster's.
    pub is_set: bool,
}

impl Admin {
    /// Gives a topic more partitions, `total` in all. Keys are placed by the number of partitions: records of one key may lie in
    /// two of them afterwards.
    ///
    /// # Errors
    /// When the cluster refuses, with [`ErrorCode::INVALID_PARTITIONS`] if that is not more, or does not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn create_partitions(
        &self,
        topic: impl Into<ByteString>,
        total: i32,
    ) -> Result<(), AdminError> {
        let name = topic.into();
        let attempt = self.attempt(format!("giving the topic {name} {total} partitions"), Twice::Differs);
        let topic = CreatePartitionsTopic { name, count: total, assignments: None, ..Default::default() };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let response: CreatePartitionsResponse = self.at_any(&attempt, request).await?;
        let result = response.results.into_iter().next();
        attempt.granted(result.map(|topic| (ErrorCode(topic.error_code), topic.error_message)))
    }

    /// The settings of a topic, by their names.
    ///
    /// # Errors
    /// When there is no such topic, it may not be seen, or no broker answers.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn topic_configs(&self, topic: impl Into<ByteString>) -> Result<Vec<ConfigEntry>, AdminError> {
        let name = topic.into();
        let attempt = self.attempt(format!("reading the settings of the topic {name}"), Twice::IsOnce);
        let resource = DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: name,
            configuration_keys: None,
            ..Default::default()
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let response: DescribeConfigsResponse = self.look_up(&attempt, &request).await?;
        let result = response.results.into_iter().next();
        attempt.granted(result.as_ref().map(|it| (ErrorCode(it.error_code), it.error_message.clone())))?;
        let mut entries: Vec<_> = result
            .unwrap_or_default()
            .configs
            .into_iter()
            .map(|config| ConfigEntry {
                name: config.name,
                value: config.value,
                is_set: config.config_source == OF_THE_TOPIC,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Changes settings of a topic, all or none; without a value one becomes the cluster's again. Those that are not named
    /// stay (KIP-339).
    ///
    /// # Errors
    /// When the cluster refuses, with [`ErrorCode::INVALID_CONFIG`] for a setting or value that it does not know, or does
    /// not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn alter_topic_configs(
        &self,
        topic: impl Into<ByteString>,
        changes: impl IntoIterator<Item = (ByteString, Option<ByteString>)>,
    ) -> Result<(), AdminError> {
        let name = topic.into();
        let attempt = self.attempt(format!("changing settings of the topic {name}"), Twice::IsOnce);
        let configs = changes.into_iter().map(|(name, value)| AlterableConfig {
            name,
            config_operation: if value.is_some() { SET } else { DELETE },
            value,
            ..Default::default()
        });
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let response: IncrementalAlterConfigsResponse = self.at_any(&attempt, request).await?;
        let result = response.responses.into_iter().next();
        attempt.granted(result.map(|topic| (ErrorCode(topic.error_code), topic.error_message)))
    }
}
