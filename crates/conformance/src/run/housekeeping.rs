//! The requests that are no part of a script: topics are made, leaders and coordinators found, and all is removed.

use std::{collections::BTreeMap, time::Duration};

use milena_protocol::{
    ApiKey, ErrorCode, RequestMessage,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateTopicsRequest,
        DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
        LeaveGroupRequest, MetadataRequest, MetadataResponse,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        leave_group::MemberIdentity,
        metadata::MetadataRequestTopic,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, ask},
    connection::Connection,
};
use crate::script::TopicSpec;

/// How long a topic, a leader or a coordinator may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it takes until the question is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections for housekeeping, one a broker.
#[derive(Debug)]
pub(super) struct Housekeeping {
    cluster: Cluster,
    connections: BTreeMap<String, Connection>,
}

impl Housekeeping {
    pub(super) const fn new(cluster: Cluster) -> Self {
        Self { cluster, connections: BTreeMap::new() }
    }

    async fn ask<R: RequestMessage>(
        &mut self,
        address: &str,
        limit: i16,
        request: R,
    ) -> Result<R::Response, String> {
        let version = self.cluster.highest(R::API_KEY, limit);
        let version =
            version.ok_or_else(|| format!("no version of {} that Milena knows is offered", R::API_KEY))?;
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::open(address).await.map_err(|broken| broken.to_string())?,
        };
        let answer = ask(&mut connection, version, request).await?;
        self.connections.insert(address.to_owned(), connection);
        Ok(answer)
    }

    async fn metadata(&mut self, address: &str, topic: &str) -> Result<MetadataResponse, String> {
        let topic = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        self.ask(address, 12, request).await
    }

    /// Creates a topic, waits until every broker knows the leaders of its partitions, and gives its id.
    pub(super) async fn create_topic(&mut self, name: &str, spec: &TopicSpec) -> Result<String, String> {
        let bootstrap = self.cluster.bootstrap.clone();
        let replicas = match spec.replicas {
            0 => i16::try_from(self.cluster.brokers.len().clamp(1, 3)).unwrap_or(1),
            replicas => replicas,
        };
        let configs = spec.settings.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
            ..Default::default()
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: spec.partitions,
            replication_factor: replicas,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 20_000, ..Default::default() };
        let response = self.ask(&bootstrap, 7, request).await?;
        let code = response.topics.first().map_or(ErrorCode::NONE, |topic| ErrorCode(topic.error_code));
        code.ok().map_err(|code| format!("the topic can't be created: {code:?}"))?;
        let mut id = String::new();
        for address in self.cluster.brokers.values().cloned().collect::<Vec<_>>() {
            id = self.wait_for_leaders(&address, name, spec.partitions).await?;
        }
        Ok(id)
    }

    async fn wait_for_leaders(
        &mut self,
        address: &str,
        name: &str,
        partitions: i32,
    ) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metadata = self.metadata(address, name).await?;
            if let Some(topic) = metadata.topics.first().filter(|topic| topic.error_code == 0) {
                let led = topic.partitions.iter().filter(|partition| partition.leader_id >= 0).count();
                if i32::try_from(led) == Ok(partitions) {
                    return Ok(topic.topic_id.to_string());
                }
            }
            if Instant::now() > deadline {
                return Err(format!("{address} knows no leaders of `{name}` after {PATIENCE:?}"));
            }
            sleep(PAUSE).await;
        }
    }

    pub(super) async fn leader(&mut self, topic: &str, partition: i32) -> Result<String, String> {
        let bootstrap = self.cluster.bootstrap.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metadata = self.metadata(&bootstrap, topic).await?;
            let partitions = metadata.topics.first().map(|topic| &topic.partitions);
            let leader = partitions
                .and_then(|partitions| partitions.iter().find(|found| found.partition_index == partition))
                .map(|partition| partition.leader_id);
            let broker = metadata.brokers.iter().find(|broker| Some(broker.node_id) == leader);
            if let Some(broker) = broker {
                return Ok(format!("{}:{}", broker.host, broker.port));
            }
            if Instant::now() > deadline {
                return Err(format!("partition {partition} of `{topic}` has no leader after {PATIENCE:?}"));
            }
            sleep(PAUSE).await;
        }
    }

    /// The coordinator of a group (`key_type` 0) or of a transactional id (1).
    pub(super) async fn coordinator(&mut self, key: &str, key_type: i8) -> Result<String, String> {
        let bootstrap = self.cluster.bootstrap.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = FindCoordinatorRequest { key: key.into(), key_type, ..Default::default() };
            let found = self.ask(&bootstrap, 3, request).await?;
            if found.error_code == 0 {
                return Ok(format!("{}:{}", found.host, found.port));
            }
            if Instant::now() > deadline {
                let code = ErrorCode(found.error_code);
                return Err(format!("`{key}` has no coordinator after {PATIENCE:?}: {code:?}"));
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes topics; those that do not exist are fine.
    pub(super) async fn delete_topics(&mut self, topics: &[String]) -> Result<(), String> {
        let bootstrap = self.cluster.bootstrap.clone();
        let request = DeleteTopicsRequest {
            topic_names: topics.iter().map(|topic| topic.as_str().into()).collect(),
            timeout_ms: 20_000,
            ..Default::default()
        };
        let response = self.ask(&bootstrap, 5, request).await?;
        let fine = [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION];
        match response.responses.iter().find(|topic| !fine.contains(&ErrorCode(topic.error_code))) {
            None => Ok(()),
            Some(left) => Err(format!("a topic can't be removed: {:?}", ErrorCode(left.error_code))),
        }
    }

    /// Removes a group and whoever is in it. Where the cluster has no DeleteGroups, groups are left to expire.
    pub(super) async fn delete_group(&mut self, group: &str) -> Result<(), String> {
        if self.cluster.highest(ApiKey::DeleteGroups, 2).is_none() {
            return Ok(());
        }
        let coordinator = self.coordinator(group, 0).await?;
        let request = || DeleteGroupsRequest {
            groups_names: [group.into()].into_iter().collect(),
            ..Default::default()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = self.ask(&coordinator, 2, request()).await?;
            let code =
                response.results.first().map_or(ErrorCode::NONE, |result| ErrorCode(result.error_code));
            match code {
                ErrorCode::NONE | ErrorCode::GROUP_ID_NOT_FOUND => return Ok(()),
                code if Instant::now() > deadline => {
                    return Err(format!("`{group}` can't be removed: {code:?}"));
                }
                ErrorCode::NON_EMPTY_GROUP => self.empty(&coordinator, group).await?,
                _ => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn empty(&mut self, coordinator: &str, group: &str) -> Result<(), String> {
        let request =
            DescribeGroupsRequest { groups: [group.into()].into_iter().collect(), ..Default::default() };
        let described = self.ask(coordinator, 5, request).await?;
        for member in described.groups.iter().flat_map(|group| &group.members) {
            let identity = MemberIdentity {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                ..Default::default()
            };
            let request =
                LeaveGroupRequest { group_id: group.into(), members: vec![identity], ..Default::default() };
            self.ask(coordinator, 5, request).await?;
        }
        if self.cluster.highest(ApiKey::ConsumerGroupDescribe, 1).is_none() {
            return Ok(());
        }
        let request = ConsumerGroupDescribeRequest {
            group_ids: [group.into()].into_iter().collect(),
            ..Default::default()
        };
        let described = self.ask(coordinator, 1, request).await?;
        for member in described.groups.iter().flat_map(|group| &group.members) {
            let request = ConsumerGroupHeartbeatRequest {
                group_id: group.into(),
                member_id: member.member_id.clone(),
                instance_id: member.instance_id.clone(),
                member_epoch: -1,
                ..Default::default()
            };
            self.ask(coordinator, 1, request).await?;
        }
        Ok(())
    }
}
