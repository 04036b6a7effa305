//! CreatePartitions: more partitions for a topic.
//!
//! Imitates the controller of Kafka 4.3.1: there can only be more; each new one has as many replicas as the first, on the
//! brokers that the request names or on those that are up, going on where the last partition was put; `validate_only` checks
//! and no more.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse,
        create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic, CreatePartitionsTopicResult},
    },
    wire::ByteString,
};

use super::{
    BrokerId, Cluster, create_topics::MAX_PARTITIONS, describe_configs::Refusal, dispatch::Answer,
    partition::Partition,
};

impl Cluster {
    pub(super) fn create_partitions(&mut self, request: CreatePartitionsRequest) -> Answer {
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<ByteString> = request
            .topics
            .iter()
            .filter(|topic| !seen.insert(&topic.name))
            .map(|topic| topic.name.clone())
            .collect();
        let results = request.topics.into_iter().map(|wanted| {
            let planned = if twice.contains(&wanted.name) {
                Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned()))
            } else {
                self.plan_partitions(&wanted)
            };
            let (error, error_message) = match planned {
                Ok(new) => {
                    let topic = self.topics.named_mut(&wanted.name).filter(|_| !request.validate_only);
                    if let Some(topic) = topic {
                        topic.partitions.extend(new);
                    }
                    (ErrorCode::NONE, None)
                }
                Err((error, message)) => (error, Some(message.into())),
            };
            CreatePartitionsTopicResult {
                name: wanted.name,
                error_code: error.0,
                error_message,
                ..CreatePartitionsTopicResult::default()
            }
        });
        CreatePartitionsResponse { results: results.collect(), ..CreatePartitionsResponse::default() }.into()
    }

    fn plan_partitions(&self, wanted: &CreatePartitionsTopic) -> Result<Vec<Partition>, Refusal> {
        let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new());
        let topic = self.topics.named(&wanted.name).ok_or(unknown)?;
        let (name, current) = (&wanted.name, topic.partitions.len());
        let count = usize::try_from(wanted.count).unwrap_or(0);
        if count == current {
            let message = format!("Topic already has {current} partition(s).");
            return Err((ErrorCode::INVALID_PARTITIONS, message));
        }
        let Some(added) = count.checked_sub(current) else {
            let message = format!(
                "The topic {name} currently has {current} partition(s); {} would not be an increase.",
                wanted.count
            );
            return Err((ErrorCode::INVALID_PARTITIONS, message));
        };
        if self.topics.partition_count().saturating_add(added) > MAX_PARTITIONS {
            let message = format!("A cluster in memory holds at most {MAX_PARTITIONS} partitions.");
            return Err((ErrorCode::INVALID_PARTITIONS, message));
        }
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let replicas = match &wanted.assignments {
            Some(assignments) => self.assigned_replicas(assignments, added, factor)?,
            None if factor > self.up.len() => {
                let message = format!("Unable to replicate the partition {factor} time(s).");
                return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message));
            }
            None => (current..count).map(|index| self.replicas_of(index, factor)).collect(),
        };
        Ok(replicas.into_iter().map(|replicas| Partition::new(replicas, &self.up)).collect())
    }

    fn assigned_replicas(
        &self,
        assignments: &[CreatePartitionsAssignment],
        added: usize,
        factor: usize,
    ) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let refuse = |message: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        if assignments.len() != added {
            return refuse(format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            ));
        }
        let mut all = Vec::new();
        for assignment in assignments {
            let replicas: Vec<BrokerId> = assignment.broker_ids.iter().map(BrokerId).collect();
            let distinct: BTreeSet<&BrokerId> = replicas.iter().collect();
            if replicas.len() != factor || distinct.len() != factor {
                return refuse(format!("Every partition of the topic has {factor} different replica(s)."));
            }
            if !replicas.iter().all(|broker| self.up.contains(broker)) {
                return refuse("A replica is assigned to a broker that is not there.".to_owned());
            }
            all.push(replicas);
        }
        Ok(all)
    }
}
