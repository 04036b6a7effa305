//! CreateTopics.
//!
//! Imitates the controller of Kafka 4.3.1: names, counts, assignments and settings are checked, `validate_only` checks and
//! no more, version 5 and later tell what was created. Every broker takes the request, as Kafka's brokers forward it.
//! Replicas and leaders go round the brokers that are up.
//!
//! Leaves out: settings that have no effect here are taken and shown, but their values are not checked; the answer lists
//! only the settings that were set; one name twice in a request is created once and refused once.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse,
        create_topics::{
            CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
        },
    },
};

use super::{
    BrokerId, Cluster,
    detach::Detach,
    dispatch::Answer,
    topic_config::TopicConfig,
    topics::{Partition, Topic},
};

/// Partitions of the whole cluster. Every one costs memory, and a request of a few bytes can ask for 2³¹.
const MAX_PARTITIONS: usize = 100_000;

/// The code in an answer for a setting of the topic's own.
const TOPIC_CONFIG: i8 = 1;

type Refusal = (ErrorCode, String);

impl Cluster {
    pub(super) fn create_topics(&mut self, request: CreateTopicsRequest) -> Answer {
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
                let result = created(&topic);
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
        let mut config = TopicConfig::new(&self.config);
        for setting in &wanted.configs {
            let set = config.set(&setting.name, setting.value.as_ref());
            set.map_err(|message| (ErrorCode::INVALID_CONFIG, message))?;
        }
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
        let up: Vec<BrokerId> = self.up.iter().copied().collect();
        let factor = match replication_factor {
            -1 if self.config.default_replication_factor == 0 => up.len().min(3),
            -1 => usize::try_from(self.config.default_replication_factor).unwrap_or(0),
            factor => usize::try_from(factor).unwrap_or(0),
        };
        if !(1..=up.len()).contains(&factor) {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): {} broker(s) are registered.",
                up.len()
            );
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        Ok((0..count)
            .map(|first| up.iter().copied().cycle().skip(first % up.len()).take(factor).collect())
            .collect())
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

fn created(topic: &Topic) -> CreatableTopicResult {
    let configs = topic.config.set.iter().map(|(name, value)| CreatableTopicConfigs {
        name: name.clone(),
        value: Some(value.clone()),
        config_source: TOPIC_CONFIG,
        ..CreatableTopicConfigs::default()
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
