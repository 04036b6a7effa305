//! Replication: how far the followers are behind their leader, and what a crash of the leader loses.
//!
//! By default followers have a record as soon as their leader has it. With a [`replication_interval`] they get it later: until
//! then readers do not see it, a Produce with acks all waits for it, and with acks 0 or 1 it is acknowledged and lost when
//! the leader is killed, or when an unclean election cuts the log off.
//!
//! Imitates Kafka 4.3.1: the high watermark waits for `min.insync.replicas`; a Produce with acks all is answered
//! NOT_ENOUGH_REPLICAS_AFTER_APPEND when too few are left in sync by then, NOT_LEADER_OR_FOLLOWER when another leader came
//! between, REQUEST_TIMED_OUT when it takes longer than the request allows.
//!
//! Leaves out: followers that lag apart from each other, which are in sync as long as their brokers are up; the markers of
//! transactions and what coordinators write are replicated at once; a replica that comes back late has everything.
//!
//! [`replication_interval`]: super::ClusterConfig::replication_interval

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena_protocol::{ErrorCode, messages::ProduceResponse, wire::Uuid};

use super::{
    BrokerId, Cluster, ConnectionId, Deadline, UnknownPartition,
    dispatch::{Answer, Context},
    topics::Topics,
};

/// `timeout_ms` beyond which a producer is not believed.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// A Produce that waits for the followers.
#[derive(Debug)]
pub(super) struct ParkedAcks {
    broker: BrokerId,
    deadline: Instant,
    waiting: Vec<Unreplicated>,
    /// The answer, but for what is waiting.
    response: ProduceResponse,
}

/// A batch that followers lack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreplicated {
    pub(super) topic: Uuid,
    pub(super) partition: i32,
    pub(super) leader_epoch: i32,
    /// The offset behind its last record.
    pub(super) end: i64,
    /// The topic's and the partition's place in the answer.
    pub(super) place: (usize, usize),
}

impl Cluster {
    /// Cuts a partition's log off at `offset`, as when a replica that lacks the rest is elected: there is a new leader epoch,
    /// what lay beyond is gone with the producer states and the ends of transactions that were in it, and the next record
    /// gets the offset `offset`. The leader stays; [`Self::move_leader`] moves it. Nothing happens to a log that ends before.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn truncate(
        &mut self,
        now: Instant,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), UnknownPartition> {
        let found = self.topics.named_mut(topic).and_then(|topic| topic.partition_mut(partition).ok());
        let Some(found) = found else { return Err(UnknownPartition { topic: topic.into(), partition }) };
        if offset < found.log.next_offset() {
            found.truncate(offset);
            found.elect(found.leader);
        }
        self.leaders_changed(now);
        Ok(())
    }

    /// Stops a broker as a crash does: as [`Self::stop_broker`], but what its followers lack of the partitions that it leads
    /// is lost, if one of them is there to take over.
    pub fn kill_broker(&mut self, now: Instant, broker: BrokerId) {
        let mut survivors = self.up.clone();
        if !survivors.remove(&broker) {
            return;
        }
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader == Some(broker) && partition.in_sync(&survivors).next().is_some() {
                partition.truncate(partition.replicated);
            }
        }
        self.take_down(now, broker);
    }

    /// Lets the followers have everything that they can.
    pub(super) fn replicate_all(&mut self, now: Instant) {
        self.replication_due = None;
        for topic in self.topics.iter_mut() {
            let wanted = topic.config.limits.min_insync_replicas;
            for partition in &mut topic.partitions {
                if !partition.is_replicated() {
                    partition.replicate(partition.has_enough_replicas(&self.up, wanted));
                }
            }
        }
        self.fetches_may_complete = true;
        self.acknowledge(now);
    }

    /// Something was appended that the followers get at the next tick, if they do not have it already and only too few of
    /// them are in sync.
    pub(super) fn replicate_later(&mut self, now: Instant) {
        if self.config.replication_interval.is_zero() {
            return;
        }
        self.replication_due.get_or_insert(now + self.config.replication_interval);
    }

    pub(super) fn leaders_changed(&mut self, now: Instant) {
        self.acknowledge(now);
        self.fetches_may_complete = true;
        self.settle(now);
    }

    /// Does what is due.
    pub(super) fn advance_replication(&mut self, now: Instant) {
        if self.replication_due.is_some_and(|due| due <= now) {
            self.replicate_all(now);
        }
        let late = self.parked_acks.iter().filter(|(_, parked)| parked.deadline <= now);
        let late: Vec<ConnectionId> = late.map(|(id, _)| *id).collect();
        for id in late {
            if let Some(mut parked) = self.parked_acks.remove(&id) {
                for batch in std::mem::take(&mut parked.waiting) {
                    parked.fail(&batch, ErrorCode::REQUEST_TIMED_OUT);
                }
                self.complete(now, id, parked.response);
            }
        }
    }

    pub(super) fn replication_deadline(&self) -> Option<Deadline> {
        let due = self.replication_due.map(|at| Deadline { at, why: "followers fetch from their leaders" });
        let late = self.parked_acks.values().map(|parked| parked.deadline).min();
        let late = late.map(|at| Deadline { at, why: "a produce has waited long enough for followers" });
        due.into_iter().chain(late).min()
    }

    /// Parks a Produce until its batches are replicated.
    pub(super) fn await_replicas(
        &mut self,
        cx: &Context,
        timeout_ms: i32,
        waiting: Vec<Unreplicated>,
        response: ProduceResponse,
    ) -> Answer {
        let wait = Duration::from_millis(timeout_ms.try_into().unwrap_or(0)).min(MAX_WAIT);
        let parked = ParkedAcks { broker: cx.broker, deadline: cx.now + wait, waiting, response };
        self.parked_acks.insert(cx.connection, parked);
        Answer::Parked
    }

    /// Answers the requests that have nothing left to wait for.
    fn acknowledge(&mut self, now: Instant) {
        let mut answered = Vec::new();
        for (id, parked) in &mut self.parked_acks {
            for batch in std::mem::take(&mut parked.waiting) {
                match outcome(&self.topics, &self.up, parked.broker, &batch) {
                    None => parked.waiting.push(batch),
                    Some(ErrorCode::NONE) => {}
                    Some(error) => parked.fail(&batch, error),
                }
            }
            if parked.waiting.is_empty() {
                answered.push(*id);
            }
        }
        for id in answered {
            if let Some(parked) = self.parked_acks.remove(&id) {
                self.complete(now, id, parked.response);
            }
        }
    }
}

impl ParkedAcks {
    fn fail(&mut self, batch: &Unreplicated, error: ErrorCode) {
        let (topic, partition) = batch.place;
        let topic = self.response.responses.get_mut(topic);
        if let Some(answer) = topic.and_then(|topic| topic.partition_responses.get_mut(partition)) {
            answer.error_code = error.0;
        }
    }
}

/// What became of a batch, if that is known.
fn outcome(
    topics: &Topics,
    up: &BTreeSet<BrokerId>,
    broker: BrokerId,
    batch: &Unreplicated,
) -> Option<ErrorCode> {
    let Some(topic) = topics.with_id(batch.topic) else { return Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) };
    let Ok(partition) = topic.partition(batch.partition) else {
        return Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    if partition.leader_epoch != batch.leader_epoch || partition.leader != Some(broker) {
        return Some(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    if partition.high_watermark < batch.end {
        return None;
    }
    Some(if partition.has_enough_replicas(up, topic.config.limits.min_insync_replicas) {
        ErrorCode::NONE
    } else {
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
    })
}
