//! CreateTopics.
//!
//! Imitates the controller of Kafka 4.3.1: names, counts, assignments and settings are checked, `validate_only` checks and
//! no more, version 5 and later tell what was created. Every broker takes the request, as Kafka's brokers forward it.
//! Replicas and leaders go round the brokers that are up.
//!
//! Leaves out: settings that have no effect here are checked and shown.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse,
        create_topics::{
            CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
        },
    },
    wire::ByteString,
};

use super::{
    BrokerId, Cluster,
    alter_configs::checked,
    describe_configs::{Described, Refusal, TOPIC_RESOURCE},
    detach::Detach,
    dispatch::{Answer, Context},
    partition::Partition,
    topic_config::{Set, TopicConfig},
    topics::Topic,
};

/// Partitions of the whole cluster. Every one costs memory, and a request of a few bytes can ask for 2³¹.
pub(super) const MAX_PARTITIONS: usize = 100_000;

impl Cluster {
    pub(super) fn create_topics(&mut self, cx: &Context, request: CreateTopicsRequest) -> Answer {
        let named = |name: &str| request.topics.iter().filter(|topic| *topic.name == *name).count();
        // A name that is there twice is answered once.
        let (once, twice): (Vec<_>, Vec<_>) =
            request.topics.iter().partition(|topic| named(&topic.name) == 1);
        let twice: BTreeSet<_> = twice.into_iter().map(|topic| &topic.name).collect();
        let twice = twice.into_iter().map(|name| CreatableTopicResult {
            name: name.clone(),
            error_code: ErrorCode::INVALID_REQUEST.0,
            error_message: Some("Duplicate topic name.".into()),
            ..CreatableTopicResult::default()
        });
        let topics = once.into_iter().map(|wanted| match self.plan_topic(wanted) {
            Ok(topic) => {
                let result = created(&topic, &self.topic_settings(cx.broker, &topic));
                if !request.validate_only {
                    self.topics.insert(topic);
                }
                result
            }
            Err((code, message)) => CreatableTopicResult {
                name: wanted.name.clone(),
                error_code: code.0,
                error_message: Some(message.into()),
                ..CreatableTopicResult::default()
            },
        });
        CreateTopicsResponse { topics: topics.chain(twice).collect(), ..CreateTopicsResponse::default() }
            .into()
    }

    /// The topic that `wanted` asks for, not yet in the cluster.
    pub(super) fn plan_topic(&mut self, wanted: &CreatableTopic) -> Result<Topic, Refusal> {
        let name = &wanted.name;
        if !is_topic_name(name) {
            let message = format!("Topic name {name:?} is illegal");
            return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
        if self.topics.named(name).is_some() {
            return Err((ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
        }
        let mut set = Set::new();
        for setting in &wanted.configs {
            let (name, value) = checked(TOPIC_RESOURCE, &setting.name, setting.value.as_ref())?;
            set.insert(name, value);
        }
        let config = TopicConfig::new(set, &self.broker_config);
        let replicas = if wanted.assignments.is_empty() {
            self.spread(wanted.num_partitions, wanted.replication_factor)?
        } else {
            self.assigned(wanted)?
        };
        if self.topics.partition_count().saturating_add(replicas.len()) > MAX_PARTITIONS {
            let message = format!("A cluster in memory holds at most {MAX_PARTITIONS} partitions.");
            return Err((ErrorCode::INVALID_PARTITIONS, message));
        }
        let partitions = replicas.into_iter().map(|replicas| Partition::new(replicas, &self.up)).collect();
        Ok(Topic { name: name.detached(), id: self.random.uuid(), config, partitions })
    }

    fn spread(&self, partitions: i32, replication_factor: i16) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let partitions = if partitions == -1 { self.config.default_partitions } else { partitions };
        let Some(count) =
            usize::try_from(partitions).ok().filter(|count| (1..=MAX_PARTITIONS).contains(count))
        else {
            let message = format!("Number of partitions was set to an invalid value: {partitions}.");
            return Err((ErrorCode::INVALID_PARTITIONS, message));
        };
        let factor = match replication_factor {
            -1 => self.default_replication_factor(),
            factor => usize::try_from(factor).unwrap_or(0),
        };
        if !(1..=self.up.len()).contains(&factor) {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): {} broker(s) are registered.",
                self.up.len()
            );
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        Ok((0..count).map(|index| self.replicas_of(index, factor)).collect())
    }

    /// So many brokers of those that are up, each partition beginning with the next.
    pub(super) fn replicas_of(&self, index: usize, factor: usize) -> Vec<BrokerId> {
        self.up.iter().copied().cycle().skip(index % self.up.len().max(1)).take(factor).collect()
    }

    /// Replicas of a topic that is created without a count.
    pub(super) fn default_replication_factor(&self) -> usize {
        match self.config.default_replication_factor {
            0 => self.up.len().min(3),
            factor => usize::try_from(factor).unwrap_or(0),
        }
    }

    fn assigned(&self, wanted: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let refuse = |message: &str| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, message.to_owned()));
        if wanted.num_partitions != -1 || wanted.replication_factor != -1 {
            let message = "Both assignments and a number of partitions or replicas were given.".to_owned();
            return Err((ErrorCode::INVALID_REQUEST, message));
        }
        let mut assignments: Vec<&CreatableReplicaAssignment> = wanted.assignments.iter().collect();
        assignments.sort_by_key(|assignment| assignment.partition_index);
        let mut all = Vec::new();
        for (index, assignment) in (0..).zip(assignments) {
            let mut replicas: Vec<BrokerId> = Vec::new();
            for broker in assignment.broker_ids.iter().map(BrokerId) {
                if !self.up.contains(&broker) || replicas.contains(&broker) {
                    return refuse("A replica is assigned twice, or to a broker that is not there.");
                }
                replicas.push(broker);
            }
            if assignment.partition_index != index || replicas.is_empty() {
                return refuse("Partitions are not numbered from 0 without gaps, or one has no replica.");
            }
            all.push(replicas);
        }
        Ok(all)
    }
}

/// Kafka's rule for names: 1 to 249 of `[a-zA-Z0-9._-]`, but not `.` or `..`.
pub(super) fn is_topic_name(name: &str) -> bool {
    let legal = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

fn created(topic: &Topic, settings: &[Described]) -> CreatableTopicResult {
    let configs = settings.iter().map(|described| {
        let (value, config_source) = described.holding();
        let name = ByteString::from_static(described.name);
        CreatableTopicConfigs { name, value, config_source, ..CreatableTopicConfigs::default() }
    });
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.id,
        num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        error_message: None,
        ..CreatableTopicResult::default()
    }
}
