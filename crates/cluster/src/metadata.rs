//! What is known of the cluster: its brokers, its topics and who leads each partition.
//!
//! Brokers answer from their own view, which may lag behind another's. An older leader epoch of the same topic is
//! therefore ignored (KAFKA-12257); a topic that was deleted and made again has a new id and starts afresh.

use std::{collections::BTreeMap, fmt};

use milena_protocol::{
    ErrorCode,
    messages::{MetadataResponse, metadata::MetadataResponseTopic},
    wire::{ByteString, Uuid},
};

/// A broker's id in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl BrokerId {
    /// The id of a field that says "none" with a negative number.
    #[must_use]
    pub fn from_wire(id: i32) -> Option<Self> {
        (id >= 0).then_some(Self(id))
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {}", self.0)
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: ByteString,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<ByteString>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address, as the broker advertises it.
    pub host: ByteString,
    /// TCP port.
    pub port: u16,
    /// The rack, when one is configured.
    pub rack: Option<ByteString>,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The topic's id; zero from a broker too old to have one.
    pub id: Uuid,
    /// The partitions by index. A partition the broker said nothing about has no leader.
    pub partitions: Vec<Partition>,
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The broker to produce to and fetch from, when there is one.
    pub leader: Option<BrokerId>,
    /// The leader's epoch; -1 when the broker is too old to tell.
    pub leader_epoch: i32,
}

impl Partition {
    const UNKNOWN: Self = Self { leader: None, leader_epoch: -1 };
}

/// A snapshot of what is known of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id, when a broker told it.
    pub cluster_id: Option<ByteString>,
    /// The brokers.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// The topics by name.
    pub topics: BTreeMap<ByteString, Topic>,
    /// Why the last answer had nothing of a topic.
    pub topic_errors: BTreeMap<ByteString, ErrorCode>,
    names: BTreeMap<Uuid, ByteString>,
}

impl Metadata {
    /// Takes in an answer. A topic it names replaces what was known, as far as it is not older.
    pub fn apply(&mut self, response: &MetadataResponse) {
        if response.cluster_id.is_some() {
            self.cluster_id.clone_from(&response.cluster_id);
        }
        // An empty list comes from a broker that is starting: what was known is better than nothing.
        if !response.brokers.is_empty() {
            self.brokers = response.brokers.iter().filter_map(known_broker).collect();
        }
        for topic in &response.topics {
            self.apply_topic(topic);
        }
    }

    fn apply_topic(&mut self, answer: &MetadataResponseTopic) {
        let Some(name) = answer.name.clone() else { return };
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                self.topic_errors.remove(&name);
            }
            code => {
                if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION || code == ErrorCode::UNKNOWN_TOPIC_ID {
                    self.forget_topic(&name);
                }
                self.topic_errors.insert(name, code);
                return;
            }
        }
        let known = self.topics.get(&name).filter(|topic| topic.id == answer.topic_id);
        let mut partitions: Vec<Partition> = Vec::new();
        for partition in &answer.partitions {
            // Partitions are numbered without gaps, so an index past their count is not a topic's.
            let Some(index) = usize::try_from(partition.partition_index)
                .ok()
                .filter(|index| *index < answer.partitions.len())
            else {
                continue;
            };
            if partitions.len() <= index {
                partitions.resize(index + 1, Partition::UNKNOWN);
            }
            let told = Partition {
                leader: BrokerId::from_wire(partition.leader_id),
                leader_epoch: partition.leader_epoch,
            };
            let newest = match known.and_then(|topic| topic.partitions.get(index)) {
                Some(known) if told.leader_epoch >= 0 && told.leader_epoch < known.leader_epoch => *known,
                _ => told,
            };
            if let Some(place) = partitions.get_mut(index) {
                *place = newest;
            }
        }
        if let Some(old) = self.topics.get(&name).filter(|topic| topic.id != answer.topic_id) {
            self.names.remove(&old.id);
        }
        if !answer.topic_id.is_zero() {
            self.names.insert(answer.topic_id, name.clone());
        }
        self.topics.insert(name, Topic { id: answer.topic_id, partitions });
    }

    fn forget_topic(&mut self, name: &ByteString) {
        if let Some(topic) = self.topics.remove(name) {
            self.names.remove(&topic.id);
        }
    }

    /// Takes in what a produce or fetch answer says of a partition's new leader (KIP-951); true when it was news.
    pub fn apply_leader(&mut self, partition: &TopicPartition, leader: BrokerId, leader_epoch: i32) -> bool {
        let Some(known) = self.partition_mut(partition) else { return false };
        if leader_epoch <= known.leader_epoch {
            return false;
        }
        *known = Partition { leader: Some(leader), leader_epoch };
        true
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get_mut(&partition.topic)?.partitions.get_mut(index)
    }

    /// What is known of a partition.
    #[must_use]
    pub fn partition(&self, partition: &TopicPartition) -> Option<Partition> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get(&partition.topic)?.partitions.get(index).copied()
    }

    /// The id of a topic; zero when there is none.
    #[must_use]
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// The name of the topic with this id.
    #[must_use]
    pub fn topic_name(&self, id: Uuid) -> Option<&ByteString> {
        self.names.get(&id)
    }

    /// The name of a topic that an answer names by id or, in older versions, by name.
    #[must_use]
    pub fn resolve(&self, id: Uuid, name: &ByteString) -> Option<ByteString> {
        if id.is_zero() { Some(name.clone()) } else { self.topic_name(id).cloned() }
    }
}

fn known_broker(
    broker: &milena_protocol::messages::metadata::MetadataResponseBroker,
) -> Option<(BrokerId, Broker)> {
    let port = u16::try_from(broker.port).ok()?;
    let id = BrokerId::from_wire(broker.node_id)?;
    Some((id, Broker { host: broker.host.clone(), port, rack: broker.rack.clone() }))
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    use super::*;

    fn answer(id: u8, leaders: &[(i32, i32)]) -> MetadataResponse {
        let partitions = leaders.iter().zip(0..).map(|(&(leader_id, leader_epoch), partition_index)| {
            MetadataResponsePartition { partition_index, leader_id, leader_epoch, ..Default::default() }
        });
        let topic = MetadataResponseTopic {
            name: Some("letters".into()),
            topic_id: Uuid::from_bytes([id; 16]),
            partitions: partitions.collect(),
            ..Default::default()
        };
        let broker =
            MetadataResponseBroker { node_id: 1, host: "localhost".into(), port: 9092, ..Default::default() };
        MetadataResponse { brokers: vec![broker], topics: vec![topic], ..Default::default() }
    }

    fn leader(metadata: &Metadata, partition: i32) -> Option<BrokerId> {
        metadata.partition(&TopicPartition::new("letters", partition)).and_then(|known| known.leader)
    }

    /// M1: a broker that lags behind does not undo a newer leader.
    #[test]
    fn an_older_leader_epoch_is_ignored_unless_the_topic_is_another() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(1, &[(1, 5), (-1, 5)]));
        assert_eq!(leader(&metadata, 0), Some(BrokerId(1)));
        assert_eq!(leader(&metadata, 1), None);
        metadata.apply(&answer(1, &[(2, 4), (2, 6)]));
        assert_eq!(leader(&metadata, 0), Some(BrokerId(1)));
        assert_eq!(leader(&metadata, 1), Some(BrokerId(2)));
        metadata.apply(&answer(2, &[(3, 0)]));
        assert_eq!(leader(&metadata, 0), Some(BrokerId(3)));
        assert_eq!(leader(&metadata, 1), None);
        assert_eq!(metadata.topic_name(Uuid::from_bytes([1; 16])), None);
    }

    #[test]
    fn a_leader_told_with_an_answer_counts_only_when_newer() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(1, &[(1, 5)]));
        let partition = TopicPartition::new("letters", 0);
        assert!(!metadata.apply_leader(&partition, BrokerId(2), 5));
        assert!(metadata.apply_leader(&partition, BrokerId(2), 6));
        assert_eq!(leader(&metadata, 0), Some(BrokerId(2)));
    }

    #[test]
    fn a_topic_that_vanished_is_forgotten_and_one_without_leaders_is_not() {
        let mut metadata = Metadata::default();
        metadata.apply(&answer(1, &[(1, 5)]));
        let mut error = answer(1, &[]);
        error.topics[0].error_code = ErrorCode::LEADER_NOT_AVAILABLE.0;
        metadata.apply(&error);
        assert!(metadata.topics.contains_key("letters"));
        error.topics[0].error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        metadata.apply(&error);
        assert!(!metadata.topics.contains_key("letters"));
    }

    #[test]
    fn an_absurd_partition_index_sizes_nothing() {
        let mut metadata = Metadata::default();
        let mut absurd = answer(1, &[(1, 5)]);
        absurd.topics[0].partitions.edit(|partitions| partitions[0].partition_index = i32::MAX);
        metadata.apply(&absurd);
        assert_eq!(metadata.topics["letters"].partitions.len(), 0);
    }
}
