//! The brokers of the cluster, and what tests do to a cluster from outside: create topics, move leaders, stop brokers, look
//! at logs.

use std::time::Instant;

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::create_topics::CreatableTopic,
    wire::{ByteString, Uuid},
};
use thiserror::Error;

use super::{BrokerId, Cluster, ConnectionId, partition::Partition};

#[derive(Clone, Debug)]
pub(crate) struct Broker {
    pub(crate) host: ByteString,
    pub(crate) port: i32,
}

/// A topic's setting was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("can't set {setting} of the topic {topic}: {code}: {message}")]
pub struct ConfigureTopicError {
    /// The topic.
    pub topic: String,
    /// The setting.
    pub setting: String,
    /// What Kafka would answer.
    pub code: ErrorCode,
    /// Its words.
    pub message: String,
}

/// A topic that could not be created.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("topic {topic} was not created: {code}: {message}")]
pub struct CreateTopicError {
    /// The topic.
    pub topic: String,
    /// What a client would have been told.
    pub code: ErrorCode,
    /// The same, in words.
    pub message: String,
}

/// There is no such partition, or no such broker to lead it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no partition {partition} of topic {topic}, or no broker to lead it")]
pub struct UnknownPartition {
    /// The topic asked for.
    pub topic: String,
    /// The partition asked for.
    pub partition: i32,
}

impl Broker {
    pub(crate) fn new(host: &str, port: i32) -> Self {
        Self { host: host.into(), port }
    }
}

impl Cluster {
    /// The brokers, stopped ones included.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.brokers.keys().copied()
    }

    /// Whether the broker is there and not stopped.
    #[must_use]
    pub fn is_up(&self, broker: BrokerId) -> bool {
        self.up.contains(&broker)
    }

    /// What clients are told of where the broker listens.
    pub fn set_address(&mut self, broker: BrokerId, host: &str, port: u16) {
        if let Some(known) = self.brokers.get_mut(&broker) {
            *known = Broker::new(host, port.into());
        }
    }

    /// Creates a topic with the default replication and settings.
    ///
    /// # Errors
    /// As CreateTopics would answer.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<Uuid, CreateTopicError> {
        self.create_topic_with(name, partitions, &[])
    }

    /// Creates a topic with settings, as `("cleanup.policy", "compact")`.
    ///
    /// # Errors
    /// As CreateTopics would answer.
    pub fn create_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<Uuid, CreateTopicError> {
        let configs = settings.iter().map(|(name, value)| {
            let (name, value) = ((*name).into(), Some((*value).into()));
            milena_protocol::messages::create_topics::CreatableTopicConfig {
                name,
                value,
                ..Default::default()
            }
        });
        let request = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        match self.plan_topic(&request) {
            Ok(topic) => {
                let id = topic.id;
                self.topics.insert(topic);
                Ok(id)
            }
            Err((code, message)) => Err(CreateTopicError { topic: name.into(), code, message }),
        }
    }

    /// Sets a setting of a topic, as `"max.message.bytes"`, or gives it its default back; it counts at once.
    ///
    /// # Errors
    /// As IncrementalAlterConfigs would answer.
    pub fn configure_topic(
        &mut self,
        topic: &str,
        setting: &str,
        value: Option<&str>,
    ) -> Result<(), ConfigureTopicError> {
        self.set_of_topic(topic, setting, value).map_err(|(code, message)| ConfigureTopicError {
            topic: topic.into(),
            setting: setting.into(),
            code,
            message,
        })
    }

    /// Makes a broker the leader of a partition, in a new epoch. A broker that holds no replica gets one.
    ///
    /// # Errors
    /// When there is no such partition, or the broker is not up.
    pub fn move_leader(
        &mut self,
        now: Instant,
        topic: &str,
        partition: i32,
        to: BrokerId,
    ) -> Result<(), UnknownPartition> {
        let unknown = || UnknownPartition { topic: topic.into(), partition };
        if !self.up.contains(&to) {
            return Err(unknown());
        }
        self.replicate_all(now);
        let found = self.topics.named_mut(topic).and_then(|topic| topic.partition_mut(partition).ok());
        let found = found.ok_or_else(unknown)?;
        if !found.replicas.contains(&to) {
            found.replicas.push(to);
        }
        found.elect(Some(to));
        self.leaders_changed(now);
        Ok(())
    }

    /// Stops a broker as an operator does: its followers get what they lack, its connections end, and each partition that it leads is led by the next of its replicas whose
    /// broker is up, if there is one. Groups it coordinates move to another broker.
    pub fn stop_broker(&mut self, now: Instant, broker: BrokerId) {
        if self.up.contains(&broker) {
            self.replicate_all(now);
            self.take_down(now, broker);
        }
    }

    pub(super) fn take_down(&mut self, now: Instant, broker: BrokerId) {
        self.up.remove(&broker);
        self.paused.remove(&broker);
        let here = self.connections.iter().filter(|(_, connection)| connection.broker == broker);
        let here: Vec<ConnectionId> = here.map(|(id, _)| *id).collect();
        for connection in here {
            self.close(connection);
        }
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader == Some(broker) {
                let next = partition.in_sync(&self.up).next();
                partition.elect(next);
            }
        }
        self.elect_coordinators(now);
        // Where only the leader is left in sync, there is nobody to wait for.
        self.replicate_all(now);
        self.settle(now);
    }

    /// Starts a broker again. It leads what has no leader and a replica there; it does not take back what it led.
    pub fn start_broker(&mut self, broker: BrokerId) {
        if !self.brokers.contains_key(&broker) || !self.up.insert(broker) {
            return;
        }
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader.is_none() && partition.replicas.contains(&broker) {
                partition.elect(Some(broker));
            }
        }
        self.elect_coordinators(self.now);
        self.replicate_all(self.now);
        self.settle(self.now);
    }

    /// The partitions there are, topic by topic.
    #[must_use]
    pub fn partitions(&self) -> Vec<(ByteString, i32)> {
        let of = |topic: &super::topics::Topic| {
            let name = topic.name.clone();
            (0..topic.partitions.len()).map(move |at| (name.clone(), at as i32)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// Who leads the partition, and in which epoch.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(BrokerId, i32)> {
        let partition = self.partition(topic, partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// The first offset of the partition and the one of its next record.
    #[must_use]
    pub fn offsets(&self, topic: &str, partition: i32) -> Option<std::ops::Range<i64>> {
        let log = &self.partition(topic, partition)?.log;
        Some(log.start_offset()..log.next_offset())
    }

    /// The offset below which records are replicated: readers see no further.
    #[must_use]
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.partition(topic, partition).map(|partition| partition.high_watermark)
    }

    /// The offset below which every transaction in the partition is decided.
    #[must_use]
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.partition(topic, partition).map(Partition::last_stable_offset)
    }

    /// The batches of the partition as they stand in the log.
    pub fn batches(&mut self, topic: &str, partition: i32) -> Vec<Bytes> {
        let found = self.topics.named_mut(topic).and_then(|topic| topic.partition_mut(partition).ok());
        let Some(Partition { log, .. }) = found else { return Vec::new() };
        let entries: Vec<_> = log.entries().copied().collect();
        entries.iter().filter_map(|entry| Some(log.batch(entry)?.bytes().clone())).collect()
    }

    /// The broker that plays the controller: of those that are up, the first.
    pub(super) fn controller(&self) -> i32 {
        self.up.first().map_or(-1, |broker| broker.0)
    }

    /// The brokers that are up, with their addresses.
    pub(super) fn live_brokers(&self) -> impl Iterator<Item = (BrokerId, &Broker)> {
        self.brokers.iter().filter(|(id, _)| self.up.contains(id)).map(|(id, broker)| (*id, broker))
    }

    fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.named(topic)?.partition(partition).ok()
    }
}
