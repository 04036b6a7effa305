//! The producer as one machine: metadata, producer id, batches and their answers. Its transactions: `transactions`.

mod report;
mod sending;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use milena_cluster::{
    Advised, BrokerId, Deadline, Failure, Machine, MetadataTracker, Outgoing, RequestId, RequestIds,
    TopicPartition,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::Response,
    wire::{ByteString, Uuid},
};

use crate::{
    Certainty, InvalidConfig, ProduceError, ProduceFailure, ProducerConfig, ProducerStats, SettledBatch,
    accumulator::{Accumulator, Leader},
    identity::{Identity, Numbering, ProducerId},
    partition_queue::PartitionQueue,
    partitioner::LeaderWaits,
    planted_bug::Planted,
    transaction_event::TransactionEvent,
    transactional::Transactional,
    unanswered::Unanswered,
};

pub use report::{ProducedPartition, ProducerReport};

/// What the producer tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProducerEvent {
    /// Memory has become free, a topic has become known, or the producer closes: callers that wait may try again.
    Room,
    /// Everything accepted before the flush is settled.
    Flushed(FlushId),
    /// It is known what became of a batch. Only where [`ProducerConfig::report_batches`] asks for it.
    Settled(Box<SettledBatch>),
    /// Of a transaction.
    Transaction(TransactionEvent),
    /// The producer has ended: everything is settled.
    Closed,
}

/// Names a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushId(u64);

/// A producer without IO: idempotent unless the settings say otherwise, and with transactions if it has a transactional id.
///
/// Records come in through [`accumulator`](Self::accumulator), from any thread; everything else follows the drain rule
/// of [`Machine`].
#[derive(Debug)]
pub struct Producer {
    config: ProducerConfig,
    pub(crate) accumulator: Arc<Accumulator>,
    metadata: MetadataTracker,
    /// Topics that are asked for in vain, and since when nobody has wanted to produce to them.
    unknown_topics: BTreeMap<ByteString, Instant>,
    /// Not used by a producer of transactions, whose coordinator gives it its id.
    identity: Identity,
    pub(crate) transactional: Option<Transactional>,
    pub(crate) queues: BTreeMap<TopicPartition, PartitionQueue>,
    in_flight: BTreeMap<RequestId, InFlight>,
    pub(crate) ids: RequestIds,
    random: fastrand::Rng,
    pub(crate) events: VecDeque<ProducerEvent>,
    /// Flushes under way, each with the serial number below which its batches lie.
    flushes: Vec<(FlushId, u64)>,
    next_flush: u64,
    pub(crate) state: State,
    /// The partition the next request starts with, so that none is always the last.
    turn: Option<TopicPartition>,
    /// The earliest moment at which a batch may be sent again.
    next_retry: Option<Instant>,
    waits: LeaderWaits,
    unanswered: Unanswered,
    planted: Planted,
}

#[derive(Debug)]
struct InFlight {
    leader: BrokerId,
    /// With the ids that their topics had.
    partitions: Vec<(TopicPartition, Uuid)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Nothing is accepted any more; what is not settled then is given up.
    Closing {
        deadline: Instant,
    },
    Closed,
}

impl Producer {
    /// A producer with these settings.
    ///
    /// # Errors
    /// When the settings can't be.
    pub fn new(config: ProducerConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self {
            accumulator: Arc::new(Accumulator::new(&config)),
            metadata: MetadataTracker::new(config.metadata),
            unknown_topics: BTreeMap::new(),
            identity: Identity::new(config.retry_backoff, config.request_timeout),
            transactional: config.transactional_id.clone().map(|id| Transactional::new(id, &config)),
            queues: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ids: RequestIds::default(),
            random: fastrand::Rng::with_seed(config.seed),
            events: VecDeque::new(),
            flushes: Vec::new(),
            next_flush: 0,
            state: State::Running,
            turn: None,
            next_retry: None,
            waits: LeaderWaits::default(),
            unanswered: Unanswered::default(),
            planted: Planted::default(),
            config,
        })
    }

    /// Plants a bug, before anything is sent.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::PlantedBug) {
        self.planted = Planted::new(bug);
        if let Some(transactional) = &mut self.transactional {
            transactional.planted = self.planted;
        }
    }

    /// Where records are put. Whoever enqueues wakes the driver when the accumulator says so.
    #[must_use]
    pub fn accumulator(&self) -> &Arc<Accumulator> {
        &self.accumulator
    }

    /// What it holds and what it has done.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        ProducerStats { requests_in_flight: self.in_flight.len(), ..self.accumulator.stats() }
    }

    /// Lets the batches hold so much from here on, and never more than [`ProducerConfig::buffer_memory`]. Where they hold more
    /// already they are sent without waiting for more records, and none are taken until there is room. A record of
    /// `max_request_size` must fit.
    pub fn set_memory(&mut self, bytes: usize) {
        self.accumulator.set_memory(bytes);
        self.tell();
    }

    /// What went wrong last on the way to metadata or a producer id: why nothing moves.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        let metadata = self.metadata.last_failure().map(|failure| format!("asking for metadata: {failure}"));
        let coordinator = self.transactional.as_ref().and_then(Transactional::last_failure);
        metadata.or_else(|| coordinator.or(self.identity.last_failure()).map(str::to_owned))
    }

    /// How many answers to questions for metadata there were.
    #[must_use]
    pub fn metadata_answers(&self) -> u64 {
        self.metadata.answers()
    }

    /// Why the cluster does not tell of a topic, where asking again is of no use until somebody does something about it.
    #[must_use]
    pub fn topic_refusal(&self, topic: &str) -> Option<ErrorCode> {
        let code = self.metadata.metadata().topic_errors.get(topic).copied();
        code.filter(|code| {
            matches!(*code, ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::INVALID_TOPIC_EXCEPTION)
        })
    }

    /// Why nothing is known of a topic: the broker's last answer, or that there was none.
    #[must_use]
    pub fn topic_failure(&self, topic: &str) -> Option<String> {
        let code = self.metadata.metadata().topic_errors.get(topic).copied();
        let said = |code| Advised::new(ApiKey::Metadata, code).to_string();
        code.map(said).or_else(|| self.last_failure())
    }

    /// Sends what has been accepted without waiting for more. [`ProducerEvent::Flushed`] tells when all of it is
    /// settled; what is accepted later does not delay that.
    pub fn flush(&mut self) -> FlushId {
        let id = FlushId(self.next_flush);
        self.next_flush += 1;
        let below = self.accumulator.flush();
        self.flushes.push((id, below));
        self.report_flushes();
        id
    }

    /// Accepts nothing more, sends what there is, and ends with [`ProducerEvent::Closed`], at `deadline` at the latest:
    /// what is not acknowledged by then is given up. Closing again can only bring the deadline forward.
    pub fn close(&mut self, deadline: Instant) {
        match &mut self.state {
            State::Running => {
                self.accumulator.close();
                self.accumulator.flush();
                self.state = State::Closing { deadline };
                self.abort_on_close();
            }
            State::Closing { deadline: known } => *known = deadline.min(*known),
            State::Closed => {}
        }
        self.tell();
    }

    fn report_flushes(&mut self) {
        let oldest = self.accumulator.oldest_unsettled();
        let events = &mut self.events;
        self.flushes.retain(|(id, below)| {
            let pending = oldest.is_some_and(|oldest| oldest < *below);
            if !pending {
                events.push_back(ProducerEvent::Flushed(*id));
            }
            pending
        });
    }

    pub(crate) fn report_end(&mut self) {
        let closing = matches!(self.state, State::Closing { .. });
        if closing && self.accumulator.oldest_unsettled().is_none() && !self.is_transaction_under_way() {
            self.state = State::Closed;
            self.events.push_back(ProducerEvent::Closed);
        }
    }

    /// Tells the owner what a change has brought about.
    pub(crate) fn tell(&mut self) {
        self.follow_transaction();
        let settled = self.accumulator.take_settled().into_iter();
        self.events.extend(settled.map(|batch| ProducerEvent::Settled(Box::new(batch))));
        if !matches!(self.events.back(), Some(ProducerEvent::Room)) {
            self.events.push_back(ProducerEvent::Room);
        }
        self.report_flushes();
        self.report_end();
    }

    pub(crate) fn producer_id(&self) -> Option<ProducerId> {
        match &self.transactional {
            Some(transactional) => transactional.producer(),
            None => self.identity.known(),
        }
    }

    /// How batches are numbered; `None` while that is not known.
    fn numbering(&self) -> Option<Numbering> {
        if self.config.idempotence {
            self.producer_id().map(Numbering::Under)
        } else {
            Some(Numbering::Absent)
        }
    }

    /// True when there is a topic to produce to and batches are numbered: before that no producer id is needed.
    fn needs_id(&self) -> bool {
        self.config.idempotence && !self.metadata.metadata().topics.is_empty()
    }

    fn identity_request(&mut self, now: Instant) -> Option<Outgoing> {
        if self.transactional.is_some() {
            return self.transaction_request(now);
        }
        if self.needs_id() { self.identity.poll_request(now, &mut self.ids) } else { None }
    }

    fn identity_timeout(&self) -> Option<Deadline> {
        match &self.transactional {
            Some(transactional) => transactional.poll_timeout(),
            None if self.needs_id() => self.identity.poll_timeout(),
            None => None,
        }
    }

    /// Asks for a topic, for somebody wants to produce to it.
    fn want_topic(&mut self, now: Instant, topic: &ByteString) {
        self.metadata.want(now, topic);
        self.unknown_topics.insert(topic.clone(), now);
    }

    /// Stops asking for topics that are still unknown when metadata is old and nobody has tried to produce to them again:
    /// a misspelt name, or a topic that was deleted.
    fn forget_topics(&mut self, now: Instant) {
        let known = Arc::clone(self.metadata.metadata());
        for topic in known.topic_errors.keys().filter(|topic| !known.topics.contains_key(*topic)) {
            self.unknown_topics.entry(topic.clone()).or_insert(now);
        }
        let (patience, metadata) = (self.config.metadata.max_age, &mut self.metadata);
        self.unknown_topics.retain(|topic, wanted| {
            if known.topics.contains_key(topic) {
                return false;
            }
            let is_over = now.saturating_duration_since(*wanted) >= patience;
            if is_over {
                metadata.unwant(topic);
            }
            !is_over
        });
    }

    fn learn_topics(&mut self) {
        let metadata = self.metadata.metadata();
        let rack = self.accumulator.rack();
        let rack_of = |broker: &BrokerId| metadata.brokers.get(broker).and_then(|known| known.rack.as_ref());
        for (name, topic) in &metadata.topics {
            let leaders = topic.partitions.iter().map(|partition| {
                let broker = partition.leader?;
                Some(Leader { broker, is_near: rack.is_some() && rack_of(&broker) == rack })
            });
            self.accumulator.set_partitions(name, leaders.collect());
        }
    }

    fn give_up_unsent(&mut self, partition: &TopicPartition, error: &ProduceError) {
        for batch in self.accumulator.stop(partition, error) {
            self.accumulator.give_up(&batch, not_written(partition.clone(), error.cause.clone()));
        }
    }

    /// Gives up what is past its deadline at `now`.
    fn expire(&mut self, now: Instant) {
        let timeout = self.config.delivery_timeout;
        let last = self.last_failure().map(Into::into);
        for queue in self.queues.values_mut() {
            queue.expire(now, timeout, self.config.acks.missing(), &self.accumulator);
        }
        for batch in self.accumulator.take_expired(Some(now)) {
            let partition = batch.outcome.partition().clone();
            let cause = ProduceFailure::DeliveryTimeout { timeout, last: Option::clone(&last) };
            let error = not_written(partition, cause);
            self.fail_transaction(&error);
            self.accumulator.give_up(&batch, error);
        }
    }

    /// Gives everything up.
    fn abandon(&mut self) {
        for queue in self.queues.values_mut() {
            queue.abandon(&self.accumulator);
        }
        self.give_up_all_unsent(&ProduceFailure::Closed);
        if let Some(transactional) = &mut self.transactional {
            transactional.abandon();
        }
    }

    /// Gives up what has never been sent.
    pub(crate) fn give_up_all_unsent(&self, cause: &ProduceFailure) {
        for batch in self.accumulator.take_expired(None) {
            let partition = batch.outcome.partition().clone();
            self.accumulator.give_up(&batch, not_written(partition, cause.clone()));
        }
    }
}

fn not_written(partition: TopicPartition, cause: ProduceFailure) -> ProduceError {
    ProduceError::new(partition, Certainty::NotWritten, None, cause)
}

impl Machine for Producer {
    type Event = ProducerEvent;

    fn handle_response(&mut self, now: Instant, id: RequestId, result: Result<Response, Failure>) {
        if self.in_flight.contains_key(&id) {
            self.handle_produce(now, id, &result);
        } else if self.metadata.handle_response(now, id, &result, &mut self.random) {
            self.learn_topics();
            self.forget_topics(now);
            if result.is_ok() {
                self.unanswered.looked_up();
            }
        } else if let Some(transactional) = &mut self.transactional {
            transactional.handle_response(now, id, &result, &mut self.random);
        } else if let Some(known) = self.identity.handle_response(now, id, &result, &mut self.random) {
            self.queues.values_mut().for_each(|queue| queue.adopt(known));
        }
        self.tell();
    }

    fn handle_written(&mut self, now: Instant, id: RequestId) {
        self.take_for_granted(now, id);
        self.tell();
    }

    fn handle_hangup(&mut self, now: Instant, id: RequestId, _: &Arc<str>) {
        self.unanswered.hung_up(id);
        self.metadata.refresh(now, &mut self.random);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.metadata.handle_timeout(now);
        self.accumulator.handle_timeout(now);
        if self.accumulator.next_expiry().is_some_and(|at| at <= now) {
            self.expire(now);
            self.tell();
        }
        if self.expire_transaction(now) {
            self.tell();
        }
        if let State::Closing { deadline } = self.state
            && deadline <= now
        {
            self.abandon();
            self.tell();
        }
    }

    fn poll_request(&mut self, now: Instant) -> Option<Outgoing> {
        if self.state == State::Closed {
            return None;
        }
        let wanted: BTreeSet<ByteString> = self.accumulator.take_wanted();
        wanted.iter().for_each(|topic| self.want_topic(now, topic));
        if let Some(request) = self.metadata.poll_request(now, &mut self.ids) {
            return Some(request);
        }
        self.renewal();
        if let Some(request) = self.identity_request(now) {
            return Some(request);
        }
        let request = self.produce_request(now);
        if request.is_none() {
            // A queue without a batch counts too: a wait that a batch has left behind holds the next one back.
            let retries = self.queues.values().filter_map(PartitionQueue::retry_at);
            self.next_retry = retries.filter(|at| *at > now).min();
            // Partitions may have been met that have to be added to the transaction.
            return self.transaction_request(now);
        }
        request
    }

    fn poll_event(&mut self) -> Option<ProducerEvent> {
        // The end of the producer is the last event of all.
        let of_transaction = self.transactional.as_mut().and_then(Transactional::poll_event);
        of_transaction.map(ProducerEvent::Transaction).or_else(|| self.events.pop_front())
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let closing = match self.state {
            State::Running => None,
            State::Closing { deadline } => Some(Deadline::new(deadline, "give up what is not acknowledged")),
            State::Closed => return None,
        };
        let deadline = |at: Option<Instant>, why| at.map(|at| Deadline::new(at, why));
        Deadline::earliest([
            self.metadata.poll_timeout(),
            self.identity_timeout(),
            deadline(self.accumulator.next_linger(), "a batch has lingered"),
            deadline(self.accumulator.next_expiry(), "a delivery times out"),
            deadline(self.next_retry, "send a batch again"),
            closing,
        ])
    }
}
