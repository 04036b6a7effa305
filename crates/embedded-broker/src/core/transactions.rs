//! The transactional ids of the cluster, and what happens to their transactions as time passes.
//!
//! Imitates Kafka 4.3.1's transaction coordinators: the markers of a transaction are written some time after its end was
//! answered ([`ClusterConfig::transaction_marker_delay`](super::ClusterConfig)), partition by partition as their leaders
//! can; every [`ClusterConfig::transaction_abort_interval`](super::ClusterConfig) transactions that are open for too long
//! are aborted; an id that is not used for [`ClusterConfig::transactional_id_expiration`](super::ClusterConfig) is
//! forgotten.
//!
//! Leaves out: the log of the coordinator (`__transaction_state`), so nothing is lost or late when it moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_protocol::{ErrorCode, wire::ByteString};

use super::{
    BrokerId, Cluster, Deadline,
    coordinators::{Kind, partition_of},
    detach::Detach,
    producer_state::Marker,
    transaction::{At, Outcome, Participant, Producer, Transaction, Version},
};

/// Transactional ids that the cluster holds; a new one makes room of one that has nothing open, or is refused. Kafka has
/// no such bound.
const MAX_TRANSACTIONAL_IDS: usize = 10_000;

/// How often Kafka looks for transactional ids that have expired.
const EXPIRATION_CHECK: Duration = Duration::from_hours(1);

/// How long a marker waits for a leader that is not there.
const MARKER_RETRY: Duration = Duration::from_millis(20);

/// The topic whose partitions stand for the groups.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

#[derive(Debug, Default)]
pub(super) struct Transactions(BTreeMap<ByteString, Transaction>);

impl Transactions {
    pub(super) fn named(&self, id: &str) -> Option<&Transaction> {
        self.0.get(id)
    }

    pub(super) fn named_mut(&mut self, id: &str) -> Option<&mut Transaction> {
        self.0.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ByteString, &Transaction)> {
        self.0.iter()
    }

    /// The transactional id, made if it is not there.
    pub(super) fn entry(
        &mut self,
        id: &ByteString,
        make: impl FnOnce() -> Transaction,
    ) -> Result<&mut Transaction, ErrorCode> {
        if self.0.len() >= MAX_TRANSACTIONAL_IDS && !self.0.contains_key(id) {
            let idle = self.0.iter().find(|(_, transaction)| transaction.is_idle(i64::MAX, 0));
            let idle = idle.map(|(id, _)| id.clone()).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
            self.0.remove(&idle);
        }
        Ok(self.0.entry(id.detached()).or_insert_with(make))
    }
}

impl Cluster {
    /// The transaction's state as Kafka names it, from `Empty` to `CompleteAbort`.
    #[must_use]
    pub fn transaction_state(&self, transactional_id: &str) -> Option<&'static str> {
        self.transactions.named(transactional_id).map(Transaction::state_name)
    }

    /// The transactional id's producer id and epoch, once it was initialised.
    #[must_use]
    pub fn transactional_producer(&self, transactional_id: &str) -> Option<(i64, i16)> {
        let producer = self.transactions.named(transactional_id)?.producer;
        Some((producer.id, producer.epoch))
    }

    /// The transactional id at its coordinator.
    pub(super) fn coordinated(&mut self, broker: BrokerId, id: &str) -> Result<&mut Transaction, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_coordinator(broker, Kind::Transaction, id)?;
        self.expire_transactional_id(id);
        self.transactions.0.get_mut(id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    }

    /// Drops the id if Kafka would have dropped it by now.
    pub(super) fn expire_transactional_id(&mut self, id: &str) {
        let check_ms = self.clock.last_tick_ms(self.now, EXPIRATION_CHECK);
        let expiration_ms = millis(self.config.transactional_id_expiration);
        if self.transactions.named(id).is_some_and(|transaction| transaction.is_idle(check_ms, expiration_ms))
        {
            self.transactions.0.remove(id);
        }
    }

    /// The time of a transition now.
    pub(super) fn transition(&self) -> At {
        let markers = self.now + self.config.transaction_marker_delay;
        At { unix_ms: self.clock.unix_ms(self.now), markers }
    }

    /// What the brokers themselves speak.
    pub(super) const fn server_version(&self) -> Version {
        if self.transaction_version >= 2 { Version::V2 } else { Version::V1 }
    }

    /// When a transaction has something to do without a request.
    pub(super) fn transactions_deadline(&self) -> Option<Deadline> {
        let deadlines = self.transactions.iter().filter_map(|(id, transaction)| {
            let seat = self.coordinators.seat(Kind::Transaction, id);
            let (at, why) = match (transaction.ending(), transaction.overdue_from()) {
                (Some(ending), _) if ending.refused == Some(seat.epoch) => return None,
                (Some(ending), _) => (ending.due, "the end of a transaction is due"),
                (None, Some(from)) => {
                    let interval = self.config.transaction_abort_interval;
                    (self.clock.tick_after(from, interval), "a transaction has taken too long")
                }
                (None, None) => return None,
            };
            seat.ready(at).map(|at| Deadline { at, why })
        });
        deadlines.min()
    }

    /// Aborts the transactions that have taken too long, and writes the markers that are due.
    pub(super) fn advance_transactions(&mut self, now: Instant) {
        self.abort_overdue(now);
        let due = self.transactions.iter().filter(|(id, transaction)| {
            let seat = self.coordinators.seat(Kind::Transaction, id);
            let ending = transaction.ending().filter(|ending| ending.refused != Some(seat.epoch));
            ending.and_then(|ending| seat.ready(ending.due)).is_some_and(|due| due <= now)
        });
        let due: Vec<ByteString> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.write_markers(now, &id);
        }
    }

    fn abort_overdue(&mut self, now: Instant) {
        let check_ms = self.clock.last_tick_ms(now, self.config.transaction_abort_interval);
        let (at, server) = (self.transition(), self.server_version());
        let Self { transactions, coordinators, next_producer_id, .. } = self;
        for (id, transaction) in &mut transactions.0 {
            let seat = coordinators.seat(Kind::Transaction, id);
            if transaction.is_overdue(check_ms) && seat.broker.is_some() && !seat.is_loading(now) {
                transaction.fence(at, server, &mut || take_id(next_producer_id));
            }
        }
    }

    /// Writes the markers of a transaction to the partitions whose leaders take them.
    fn write_markers(&mut self, now: Instant, id: &ByteString) {
        let unix_ms = self.clock.unix_ms(now);
        let coordinator_epoch = self.coordinators.seat(Kind::Transaction, id).epoch;
        let Some(transaction) = self.transactions.named(id) else { return };
        let Some(ending) = transaction.ending() else { return };
        let marker = Marker {
            producer_id: transaction.producer.id,
            producer_epoch: transaction.producer.epoch,
            committed: ending.outcome == Outcome::Commit,
            coordinator_epoch,
            transaction_version: if ending.version == Version::V2 { 2 } else { 0 },
        };
        let mut left = BTreeSet::new();
        let mut refused = None;
        for participant in ending.partitions.clone() {
            match self.write_marker(unix_ms, &participant, &marker) {
                // Whoever deleted the topic has decided about its records.
                Ok(()) | Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {}
                Err(error) => {
                    let is_final = matches!(
                        error,
                        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::TRANSACTION_COORDINATOR_FENCED
                    );
                    refused = refused.or(is_final.then_some(coordinator_epoch));
                    left.insert(participant);
                }
            }
        }
        let retry = now + self.config.transaction_marker_delay.max(MARKER_RETRY);
        let Some(transaction) = self.transactions.0.get_mut(id) else { return };
        if let Some(ending) = transaction.ending_mut() {
            ending.partitions = left;
            ending.due = retry;
            ending.refused = refused;
        }
        transaction.finish(unix_ms);
        self.fetches_may_complete = true;
    }

    /// Ends a transaction in one partition, as its leader.
    pub(super) fn write_marker(
        &mut self,
        unix_ms: i64,
        participant: &Participant,
        marker: &Marker,
    ) -> Result<(), ErrorCode> {
        let (topic, index) = participant;
        if &**topic == OFFSETS_TOPIC {
            return self.end_offsets(unix_ms, *index, marker);
        }
        let topic = self.topics.named_mut(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let limits = topic.config.limits;
        let partition = topic.partition_mut(*index)?;
        if partition.leader.is_none() {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if partition.in_sync(&self.up).count() < limits.min_insync_replicas {
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS);
        }
        partition.end_transaction(unix_ms, marker, limits.log_append_time.then_some(unix_ms))
    }

    /// Adds partitions to a transaction (version 2), or asks whether they are part of it, on behalf of the broker that is
    /// about to write to them. The errors are those of the partitions that it must not write to.
    pub(super) fn join_transaction(
        &mut self,
        id: &str,
        producer: Producer,
        partitions: BTreeSet<Participant>,
        asks: Asks,
    ) -> BTreeMap<Participant, ErrorCode> {
        let at = self.transition();
        let Some(broker) = self.coordinators.seat(Kind::Transaction, id).broker else {
            return all(partitions, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        };
        let errors = match self.coordinated(broker, id) {
            Err(error) => all(partitions, error),
            Ok(transaction) if asks == Asks::Add => match transaction.add(at, producer, &partitions) {
                Ok(()) => BTreeMap::new(),
                Err(error) => all(partitions, error),
            },
            Ok(transaction) => {
                let verified = partitions.into_iter().map(|participant| {
                    let error = transaction.verify(producer, &participant).err();
                    error.map(|error| (participant, error))
                });
                verified.flatten().collect()
            }
        };
        let translated = errors.into_iter().map(|(participant, error)| (participant, asks.translate(error)));
        translated.collect()
    }

    pub(super) fn next_producer_id(&mut self) -> i64 {
        take_id(&mut self.next_producer_id)
    }
}

/// What a broker asks a coordinator on behalf of a client, which follows from the version of the client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// To say whether the partition is part of the transaction; the client knows no error that says that it is not.
    VerifyForOld,
    /// The same for a client that knows TRANSACTION_ABORTABLE.
    Verify,
    /// To add the partition.
    Add,
}

impl Asks {
    const fn translate(self, error: ErrorCode) -> ErrorCode {
        match (self, error) {
            (_, ErrorCode::PRODUCER_FENCED) => ErrorCode::INVALID_PRODUCER_EPOCH,
            (Self::VerifyForOld, ErrorCode::TRANSACTION_ABORTABLE) => ErrorCode::INVALID_TXN_STATE,
            (_, error) => error,
        }
    }
}

/// The partition of `__consumer_offsets` where the group lives.
pub(super) fn offsets_participant(group: &str) -> Participant {
    (ByteString::from_static(OFFSETS_TOPIC), partition_of(group).into())
}

/// A code that older clients do not know, as the one that they do (KIP-588).
pub(super) fn for_version(error: ErrorCode, knows_fenced: bool) -> ErrorCode {
    if error == ErrorCode::PRODUCER_FENCED && !knows_fenced {
        ErrorCode::INVALID_PRODUCER_EPOCH
    } else {
        error
    }
}

pub(super) fn take_id(next: &mut i64) -> i64 {
    let id = *next;
    *next = id.saturating_add(1);
    id
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn all(partitions: BTreeSet<Participant>, error: ErrorCode) -> BTreeMap<Participant, ErrorCode> {
    partitions.into_iter().map(|participant| (participant, error)).collect()
}
