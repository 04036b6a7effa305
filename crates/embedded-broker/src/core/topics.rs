//! The topics of the cluster.

use std::collections::BTreeMap;

use milena_protocol::{
    ErrorCode,
    wire::{ByteString, Uuid},
};

use super::{partition::Partition, topic_config::TopicConfig};

#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<ByteString, Topic>,
    names: BTreeMap<Uuid, ByteString>,
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: ByteString,
    pub(crate) id: Uuid,
    pub(crate) config: TopicConfig,
    pub(crate) partitions: Vec<Partition>,
}

impl Topics {
    pub(crate) fn insert(&mut self, topic: Topic) {
        self.names.insert(topic.id, topic.name.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn named_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(crate) fn with_id(&self, id: Uuid) -> Option<&Topic> {
        self.by_name.get(self.names.get(&id)?)
    }

    /// The topic by its id where the request has one, else by its name; and the error that says which it was.
    pub(crate) fn find(&self, by_id: bool, name: &str, id: Uuid) -> Result<&Topic, ErrorCode> {
        if by_id {
            self.with_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            self.named(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
    }

    /// As [`Self::find`].
    pub(crate) fn find_mut(&mut self, by_id: bool, name: &str, id: Uuid) -> Result<&mut Topic, ErrorCode> {
        let name =
            if by_id { self.names.get(&id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?.clone() } else { name.into() };
        self.by_name.get_mut(&name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_name.values_mut()
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.iter().map(|topic| topic.partitions.len()).sum()
    }
}

impl Topic {
    /// The partition with this number.
    pub(crate) fn partition(&self, index: i32) -> Result<&Partition, ErrorCode> {
        let partition = usize::try_from(index).ok().and_then(|index| self.partitions.get(index));
        partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The partition with this number.
    pub(crate) fn partition_mut(&mut self, index: i32) -> Result<&mut Partition, ErrorCode> {
        let partition = usize::try_from(index).ok().and_then(|index| self.partitions.get_mut(index));
        partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}
