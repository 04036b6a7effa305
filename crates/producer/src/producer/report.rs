//! What a producer does, and why batches are not sent.

use std::{collections::BTreeMap, fmt, time::Instant};

use milena_cluster::{BrokerId, Due, Machine, Reason, TopicPartition, counted, milliseconds};

use super::{Producer, State};
use crate::{accumulator::WaitingBatches, partition_queue::PartitionQueue, transaction::Traffic};

/// What a producer does, and why its batches are not sent or not settled. As a text it has a line for the producer, one for each
/// partition with batches, and one for what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProducerReport {
    /// Its transactional id, if it has one.
    pub transactional_id: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Bytes of memory that its batches hold.
    pub buffer_used: usize,
    /// Bytes that they may hold: callers wait when there is no room.
    pub buffer_memory: usize,
    /// Produce requests without an answer.
    pub requests_in_flight: usize,
    /// Partitions with batches that are not settled, and those that have stopped.
    pub partitions: Vec<ProducedPartition>,
    /// Topics that somebody produces to and nothing is known of, with what brokers say of each.
    pub unknown_topics: Vec<(String, String)>,
    /// What went wrong last on the way to metadata or a producer id.
    pub failure: Option<String>,
    /// What happens next by itself; nothing when an answer or a call is waited for.
    pub next: Option<Due>,
}

/// The batches of one partition that are not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProducedPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Its leader, if one is known.
    pub leader: Option<i32>,
    /// Batches that have never been sent.
    pub unsent_batches: usize,
    /// Their records.
    pub unsent_records: u64,
    /// Batches that were sent and are not settled, those included that wait to be sent again.
    pub sent_batches: usize,
    /// How long ago the oldest of all these was begun, in milliseconds.
    pub oldest_ms: u64,
    /// When it is given up, in milliseconds from now.
    pub expires_in_ms: u64,
    /// Why the oldest is not sent, or not settled.
    pub doing: Reason,
}

impl Producer {
    /// What it does and why it does not do more.
    #[must_use]
    pub fn report_on(&self, now: Instant) -> ProducerReport {
        let mut waiting: BTreeMap<TopicPartition, WaitingBatches> =
            self.accumulator.waiting().into_iter().collect();
        for (partition, queue) in &self.queues {
            if !queue.is_empty() || queue.stopped().is_some() {
                waiting.entry(partition.clone()).or_default();
            }
        }
        let partitions =
            waiting.iter().map(|(partition, waiting)| self.report_partition(now, partition, waiting));
        let stats = self.stats();
        let metadata = self.metadata.metadata();
        let unknown = self.unknown_topics.keys().filter(|topic| !metadata.topics.contains_key(*topic));
        let unknown = unknown.map(|topic| {
            let failure = self.topic_failure(topic);
            (topic.to_string(), failure.unwrap_or_else(|| "no broker has answered yet".to_owned()))
        });
        ProducerReport {
            transactional_id: self.config.transactional_id.as_ref().map(ToString::to_string),
            state: self.explain_state(),
            buffer_used: stats.buffer_used,
            buffer_memory: self.accumulator.memory(),
            requests_in_flight: stats.requests_in_flight,
            partitions: partitions.collect(),
            unknown_topics: unknown.collect(),
            failure: self.last_failure(),
            next: self.poll_timeout().map(|deadline| Due::new(now, deadline)),
        }
    }

    fn explain_state(&self) -> String {
        let of_transactions = match &self.transactional {
            Some(transactional) => transactional.explain(),
            None if !self.config.idempotence => "without idempotence".to_owned(),
            None => match self.identity.known() {
                Some(known) => format!("idempotent: id {}, epoch {}", known.id, known.epoch),
                None => "idempotent: no producer id yet".to_owned(),
            },
        };
        match self.state {
            State::Running => of_transactions,
            State::Closing { .. } => format!("closing; {of_transactions}"),
            State::Closed => "closed".to_owned(),
        }
    }

    fn report_partition(
        &self,
        now: Instant,
        partition: &TopicPartition,
        waiting: &WaitingBatches,
    ) -> ProducedPartition {
        let queue = self.queues.get(partition);
        let leader = self.metadata.metadata().partition(partition).and_then(|known| known.leader);
        let oldest = queue.and_then(PartitionQueue::oldest).or(waiting.oldest);
        let (opened, deadline) = oldest.unwrap_or((now, now));
        ProducedPartition {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            leader: leader.map(|leader| leader.0),
            unsent_batches: waiting.batches,
            unsent_records: waiting.records,
            sent_batches: queue.map_or(0, PartitionQueue::len),
            oldest_ms: milliseconds(now.saturating_duration_since(opened)),
            expires_in_ms: milliseconds(deadline.saturating_duration_since(now)),
            doing: self.reason(now, partition, leader, queue, waiting),
        }
    }

    /// Why the oldest batch of a partition is not settled.
    fn reason(
        &self,
        now: Instant,
        partition: &TopicPartition,
        leader: Option<BrokerId>,
        queue: Option<&PartitionQueue>,
        waiting: &WaitingBatches,
    ) -> Reason {
        if let Some(error) = queue.and_then(PartitionQueue::stopped) {
            return Reason::new("stopped", format!("has stopped: {error}"));
        }
        if let Some(asked) = queue.and_then(PartitionQueue::in_flight_at) {
            return Reason::new("in_flight", format!("waits for the answer of {asked}")).at(asked);
        }
        if !self.metadata.metadata().topics.contains_key(&partition.topic) {
            let why = self.topic_failure(&partition.topic);
            return Reason::new("unknown_topic", "waits until something is known of the topic").because(why);
        }
        let Some(leader) = leader else {
            let since = self.metadata.leaderless_since(partition);
            return Reason::new("no_leader", "has no known leader: waits for metadata").since(now, since);
        };
        if let Some(reason) = self.reason_of_identity(now, partition) {
            return reason;
        }
        if let Some(queue) = queue {
            if queue.needs_new_id() {
                let text = "waits for a new producer id, for which all that was sent has to be settled first";
                return Reason::new("renewing", text);
            }
            if let Some(at) = queue.retry_at().filter(|at| *at > now) {
                return Reason::new("back_off", "is sent again after a wait")
                    .at(leader)
                    .until(now, Some(at))
                    .because(queue.last_failure());
            }
        }
        if self.unanswered.is_suspect(leader) {
            let text = format!("waits for metadata, for {leader} hung up without a word");
            return Reason::new("hung_up", text).at(leader);
        }
        if self.in_flight_to(leader) >= self.config.max_in_flight {
            let text = format!("waits for an answer of {leader}, which has as many requests as it may");
            return Reason::new("broker_busy", text).at(leader);
        }
        match waiting.lingers_until.filter(|_| queue.is_none_or(PartitionQueue::is_empty)) {
            Some(at) if at > now => Reason::new("lingering", "waits for more records").until(now, Some(at)),
            _ => Reason::new("sending", format!("is sent to {leader} next")).at(leader),
        }
    }

    /// What keeps everything from being numbered, or the partition out of its transaction.
    fn reason_of_identity(&self, now: Instant, partition: &TopicPartition) -> Option<Reason> {
        if self.numbering().is_none() {
            let why = match &self.transactional {
                Some(transactional) => transactional.last_failure(),
                None => self.identity.last_failure(),
            };
            let until = self.identity_timeout().map(|deadline| deadline.at);
            return Some(
                Reason::new("no_producer_id", "waits for a producer id").until(now, until).because(why),
            );
        }
        let transactional = self.transactional.as_ref()?;
        match transactional.traffic() {
            Traffic::Rests => Some(Reason::new("no_transaction", "is given up with its transaction")),
            _ if !transactional.is_admitted(partition) => {
                let reason = Reason::new("not_added", "waits to be added to the transaction");
                Some(reason.because(transactional.last_failure()))
            }
            _ => None,
        }
    }
}

impl ProducerReport {
    /// Its text, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let id =
            self.transactional_id.as_ref().map(|id| format!("transactional id {id}, ")).unwrap_or_default();
        let head = format!(
            "{id}{}; {} of {} bytes of memory in use, {} in flight",
            self.state,
            self.buffer_used,
            self.buffer_memory,
            counted(self.requests_in_flight, "request", "requests")
        );
        let unknown = self
            .unknown_topics
            .iter()
            .map(|(topic, why)| format!("nothing is known of topic {topic}: {why}"));
        let next = match self.next {
            Some(due) => due.to_string(),
            None => "nothing is due: an answer or a call is waited for".to_owned(),
        };
        std::iter::once(head)
            .chain(self.partitions.iter().map(ToString::to_string))
            .chain(unknown)
            .chain(self.failure.as_ref().map(|failure| format!("what went wrong last: {failure}")))
            .chain([next])
            .collect()
    }
}

impl fmt::Display for ProducerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl fmt::Display for ProducedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, unsent_batches, unsent_records, sent_batches, oldest_ms, .. } = self;
        write!(
            f,
            "{topic}-{partition}: {} sent, {} with {unsent_records} records not; the oldest is {oldest_ms} ms old and {}",
            counted(*sent_batches, "batch", "batches"),
            counted(*unsent_batches, "batch", "batches"),
            self.doing
        )
    }
}
