//! Metadata: brokers, topics, leaders.
//!
//! Imitates Kafka 4.3.1: an empty list is every topic in version 0 and none later, null is every topic; ids are taken from
//! version 12; a topic that is created on the way is unknown in this answer and there in the next; brokers that are down
//! are left out and their replicas offline.
//!
//! Leaves out: authorized operations (never known here), internal topics (there are none), listeners (there is one).

use milena_protocol::{
    ErrorCode,
    messages::{
        MetadataRequest, MetadataResponse,
        create_topics::CreatableTopic,
        metadata::{
            MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
    wire::ByteString,
};

use super::{
    Cluster,
    create_topics::is_topic_name,
    dispatch::{Answer, Context},
    partition::Partition,
    topics::Topic,
};

impl Cluster {
    pub(super) fn metadata(&mut self, cx: &Context, request: MetadataRequest) -> Answer {
        let wanted = match request.topics {
            Some(topics) if !(topics.is_empty() && cx.version == 0) => Some(topics),
            _ => None,
        };
        let create = self.config.auto_create_topics && request.allow_auto_topic_creation;
        let topics = match wanted {
            None => self.topics.iter().map(|topic| self.describe(topic)).collect(),
            Some(wanted) => wanted.into_iter().map(|topic| self.metadata_of(topic, create)).collect(),
        };
        let brokers = self.live_brokers().map(|(id, broker)| MetadataResponseBroker {
            node_id: id.0,
            host: broker.host.clone(),
            port: broker.port,
            ..MetadataResponseBroker::default()
        });
        MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(self.config.cluster_id.as_str().into()),
            controller_id: self.controller(),
            topics,
            ..MetadataResponse::default()
        }
        .into()
    }

    fn metadata_of(&mut self, wanted: MetadataRequestTopic, create: bool) -> MetadataResponseTopic {
        let by_id = wanted.name.is_none();
        let name = wanted.name.unwrap_or_default();
        let error = match self.topics.find(by_id, &name, wanted.topic_id) {
            Ok(topic) => return self.describe(topic),
            Err(_) if !by_id && !is_topic_name(&name) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            Err(error) => error,
        };
        if create && error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            self.create_on_the_way(name.clone());
        }
        MetadataResponseTopic {
            error_code: error.0,
            // Null is for those asked for by their id, and only the versions that take ids can say it.
            name: (!by_id).then_some(name),
            topic_id: wanted.topic_id,
            ..MetadataResponseTopic::default()
        }
    }

    fn create_on_the_way(&mut self, name: ByteString) {
        let request =
            CreatableTopic { name, num_partitions: -1, replication_factor: -1, ..CreatableTopic::default() };
        if let Ok(topic) = self.plan_topic(&request) {
            self.topics.insert(topic);
        }
    }

    fn describe(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = (0..).zip(&topic.partitions);
        MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            partitions: partitions
                .map(|(index, partition)| self.describe_partition(index, partition))
                .collect(),
            ..MetadataResponseTopic::default()
        }
    }

    fn describe_partition(&self, partition_index: i32, partition: &Partition) -> MetadataResponsePartition {
        let error =
            if partition.leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
        let offline = partition.replicas.iter().filter(|broker| !self.up.contains(broker));
        MetadataResponsePartition {
            error_code: error.0,
            partition_index,
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.iter().map(|broker| broker.0).collect(),
            isr_nodes: partition.in_sync(&self.up).map(|broker| broker.0).collect(),
            offline_replicas: offline.map(|broker| broker.0).collect(),
            ..MetadataResponsePartition::default()
        }
    }
}
