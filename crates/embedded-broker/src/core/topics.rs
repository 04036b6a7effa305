//! The topics of the cluster and their partitions.

use std::collections::{BTreeMap, BTreeSet};

use milena_protocol::{
    ErrorCode,
    records::{Batch, Batches, end_marker},
    wire::{ByteString, Uuid},
};

use super::{
    BrokerId,
    aborted_transactions::AbortedTransactions,
    log::{Log, Slice},
    producer_state::{AppendedBatch, Marker, ProducerStates},
    topic_config::TopicConfig,
};

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

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) log: Log,
    pub(crate) producers: ProducerStates,
    pub(crate) aborted: AbortedTransactions,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// To the high watermark.
    Uncommitted,
    /// To the last stable offset.
    Committed,
}

impl Isolation {
    pub(crate) const fn from_wire(level: i8) -> Self {
        if level == 1 { Self::Committed } else { Self::Uncommitted }
    }
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

impl Partition {
    pub(crate) fn new(replicas: Vec<BrokerId>, up: &BTreeSet<BrokerId>) -> Self {
        let leader = replicas.iter().copied().find(|broker| up.contains(broker));
        Self {
            leader,
            leader_epoch: 0,
            replicas,
            log: Log::new(),
            producers: ProducerStates::default(),
            aborted: AbortedTransactions::default(),
        }
    }

    /// Below it every transaction is decided.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        let open = self.producers.first_open().map(|offset| offset.max(self.log.start_offset()));
        open.unwrap_or(self.log.next_offset())
    }

    /// The offset before which a reader must stop.
    pub(crate) fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Uncommitted => self.log.next_offset(),
            Isolation::Committed => self.last_stable_offset(),
        }
    }

    /// As [`Log::read`], as far as the reader may see.
    pub(crate) fn read(
        &mut self,
        from: i64,
        isolation: Isolation,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Slice {
        let to = self.readable_end(isolation);
        self.log.read(from, to, max_bytes, at_least_one)
    }

    /// Appends a batch, and remembers it if it has a producer id.
    pub(crate) fn append(&mut self, unix_ms: i64, batch: &Batch, append_time: Option<i64>) -> i64 {
        let base_offset = self.log.append(batch, self.leader_epoch, append_time);
        let header = batch.header();
        if header.producer_id >= 0 {
            self.producers.appended(
                unix_ms,
                &AppendedBatch {
                    producer_id: header.producer_id,
                    producer_epoch: header.producer_epoch,
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    base_offset,
                    timestamp: append_time.unwrap_or(header.max_timestamp),
                    transactional: header.attributes.is_transactional(),
                },
            );
        }
        base_offset
    }

    /// Appends the end of a transaction.
    pub(crate) fn end_transaction(
        &mut self,
        unix_ms: i64,
        marker: &Marker,
        append_time: Option<i64>,
    ) -> Result<(), ErrorCode> {
        self.producers.check_marker(marker)?;
        let Marker { producer_id, producer_epoch, committed, coordinator_epoch, .. } = *marker;
        let bytes = end_marker(committed, coordinator_epoch, producer_id, producer_epoch, unix_ms);
        let batch = bytes.ok().and_then(|bytes| Batches::new(bytes).next()?.ok());
        let batch = batch.ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let offset = self.log.append(&batch, self.leader_epoch, append_time);
        if let Some(ended) = self.producers.ended(unix_ms, marker, offset)
            && !committed
        {
            self.aborted.push(producer_id, ended.first_offset, offset, ended.last_stable_offset);
        }
        Ok(())
    }

    /// Drops the oldest batches until at most `bytes` are left.
    pub(crate) fn retain(&mut self, bytes: u64) {
        self.log.retain(bytes);
        self.aborted.forget_below(self.log.start_offset());
    }

    /// The replicas that are in sync: those whose brokers are up.
    pub(crate) fn in_sync(&self, up: &BTreeSet<BrokerId>) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().copied().filter(|broker| up.contains(broker))
    }

    /// Makes `leader` the leader, in a new epoch.
    pub(crate) fn elect(&mut self, leader: Option<BrokerId>) {
        self.leader = leader;
        self.leader_epoch = self.leader_epoch.saturating_add(1);
    }

    /// Whether `broker` may serve a request of a client that believes in `epoch` (-1: in none), as Kafka checks it: a
    /// replica looks at the epoch first.
    pub(crate) fn check_leader(&self, broker: BrokerId, epoch: i32) -> Result<(), ErrorCode> {
        if epoch >= 0 && self.replicas.contains(&broker) {
            if epoch < self.leader_epoch {
                return Err(ErrorCode::FENCED_LEADER_EPOCH);
            }
            if epoch > self.leader_epoch {
                return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
            }
        }
        if self.leader == Some(broker) { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }
}
