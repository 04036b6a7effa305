//! Batches on their way: which go out together, and what their answers bring about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use milena_cluster::{BrokerId, Failure, Outgoing, RequestId, Target, TopicPartition};
use milena_protocol::{
    messages::Response,
    records::{Codec, HEADER_LEN},
};

use super::{InFlight, Producer, not_written};
use crate::{
    ProduceFailure, SettledBatch,
    accumulator::OpenBatch,
    partition_queue::{Aftermath, Pace, PartitionQueue},
    planted_bug::PlantedBug,
    request::{self, BatchToSend},
    sent_batch::Unsent,
};

impl Producer {
    /// Tells the accumulator which leaders leave batches lying, when anybody minds.
    fn follow_waits(&mut self, now: Instant, ready: BTreeSet<BrokerId>, served: Option<BrokerId>) {
        if self.accumulator.minds_waits() && (self.waits.set_ready(now, &ready) || served.is_some()) {
            if let Some(leader) = served {
                self.waits.served(now, leader);
            }
            self.accumulator.set_waits(&self.waits);
        }
    }

    /// True while only a new producer id lets the producer go on: everything old is settled first.
    pub(super) fn renewal(&mut self) -> bool {
        if self.transactional.is_some() || !self.queues.values().any(PartitionQueue::needs_new_id) {
            return false;
        }
        if self.queues.values().all(PartitionQueue::is_drained)
            || self.planted.has(PlantedBug::RenewsInFlight)
        {
            self.identity.renew();
        }
        true
    }

    /// The request for the first leader, in turn, that something can be sent to.
    pub(super) fn produce_request(&mut self, now: Instant) -> Option<Outgoing> {
        let renewing = self.renewal();
        let candidates = self.candidates();
        let candidates = self.admitted(candidates);
        let metadata = Arc::clone(self.metadata.metadata());
        for partition in candidates.iter().filter(|known| !metadata.topics.contains_key(&known.topic)) {
            self.want_topic(now, &partition.topic);
        }
        self.numbering()?;
        let mut leaderless = false;
        let mut tried = BTreeSet::new();
        let leader_of =
            |partition: &TopicPartition| metadata.partition(partition).and_then(|known| known.leader);
        for first in &candidates {
            let Some(leader) = leader_of(first) else {
                leaderless = true;
                continue;
            };
            let is_full = self.in_flight_to(leader) >= self.config.max_in_flight;
            if !tried.insert(leader) || is_full || self.unanswered.is_suspect(leader) {
                continue;
            }
            let request = self.ids.allocate();
            let own = candidates.iter().filter(|partition| leader_of(partition) == Some(leader));
            let batches = self.collect(now, leader, request, renewing, own);
            if batches.is_empty() {
                continue;
            }
            let with_id =
                |batch: &BatchToSend| (batch.partition.clone(), metadata.topic_id(&batch.partition.topic));
            let partitions: Vec<_> = batches.iter().map(with_id).collect();
            // The batches of a request agree in this.
            let min_version = partitions.first().map_or(0, |(first, _)| self.min_version(first));
            self.turn = partitions.last().map(|(last, _)| last.clone());
            self.in_flight.insert(request, InFlight { leader, partitions });
            self.accumulator.count(|done| done.requests_sent = done.requests_sent.saturating_add(1));
            let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
            tracing::debug!(leader = leader.0, batches = batches.len(), bytes, "produce");
            let transactional_id = self.config.transactional_id.clone();
            let (acks, timeout) = (self.config.acks, self.config.request_timeout);
            let (body, max_version) = request::build(batches, acks, transactional_id, timeout, &metadata);
            let mut outgoing =
                Outgoing::new(request, Target::Broker(leader), body, self.config.request_timeout);
            outgoing.min_version = min_version;
            outgoing.max_version = max_version;
            outgoing.expects_answer = acks.are_sent();
            self.mark_transactional(&mut outgoing);
            self.follow_waits(now, candidates.iter().filter_map(leader_of).collect(), Some(leader));
            return Some(outgoing);
        }
        self.follow_waits(now, candidates.iter().filter_map(leader_of).collect(), None);
        if leaderless {
            self.metadata.refresh(now, &mut self.random);
        }
        None
    }

    /// Partitions with something to send, beginning behind the one served last.
    fn candidates(&self) -> Vec<TopicPartition> {
        let mut all: BTreeSet<TopicPartition> = self.accumulator.ready().into_iter().collect();
        let waiting = self.queues.iter().filter(|(_, queue)| queue.has_waiting());
        all.extend(waiting.map(|(partition, _)| partition.clone()));
        let Some(turn) = &self.turn else { return all.into_iter().collect() };
        let (before, after): (Vec<_>, Vec<_>) = all.into_iter().partition(|partition| partition <= turn);
        after.into_iter().chain(before).collect()
    }

    /// The oldest version of a request that may carry the partition's batches.
    fn min_version(&self, partition: &TopicPartition) -> i16 {
        request::min_version(self.config.codec_of(&partition.topic).compression())
    }

    pub(super) fn in_flight_to(&self, leader: BrokerId) -> usize {
        self.in_flight.values().filter(|request| request.leader == leader).count()
    }

    /// At most one batch of each partition, up to the size of a request. A broker that is too old for one of them would not
    /// get the others either: those that need a newer one go apart.
    fn collect<'p>(
        &mut self,
        now: Instant,
        leader: BrokerId,
        request: RequestId,
        renewing: bool,
        partitions: impl Iterator<Item = &'p TopicPartition>,
    ) -> Vec<BatchToSend> {
        let mut batches: Vec<BatchToSend> = Vec::new();
        let mut len = 0usize;
        for partition in partitions {
            let alike =
                |first: &BatchToSend| self.min_version(&first.partition) == self.min_version(partition);
            if !batches.first().is_none_or(alike) {
                continue;
            }
            // The first always goes. One that compression makes smaller counts in full: that is known too late.
            let again = self.queues.get(partition).and_then(PartitionQueue::resend_len);
            let most = again.or_else(|| self.accumulator.next_len(partition)).unwrap_or_default();
            if !batches.is_empty() && len.saturating_add(most) > self.config.max_request_size {
                break;
            }
            if let Some(bytes) = self.next_batch(now, partition, leader, request, renewing) {
                len = len.saturating_add(bytes.len()).saturating_add(HEADER_LEN);
                batches.push(BatchToSend { partition: partition.clone(), bytes });
            }
        }
        batches
    }

    fn next_batch(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        leader: BrokerId,
        request: RequestId,
        renewing: bool,
    ) -> Option<Bytes> {
        let numbering = self.numbering()?;
        let (codec, planted) = (self.config.codec_of(&partition.topic), self.planted);
        let queue = self.queues.entry(partition.clone()).or_insert_with(|| {
            let continues = self.config.continue_when_desynchronized;
            PartitionQueue::new(partition.clone(), numbering, codec, planted).continuing(continues)
        });
        queue.meet_topic(self.metadata.metadata().topic_id(&partition.topic));
        if queue.has_waiting() {
            let again = queue.resend(now, leader, request)?;
            self.accumulator.count(|done| done.batches_resent = done.batches_resent.saturating_add(1));
            return Some(again);
        }
        if renewing || !queue.takes_new(now, leader, self.config.max_in_flight) {
            return None;
        }
        let batch = self.accumulator.take(partition)?;
        let unsent = self.seal(now, partition, batch, codec)?;
        Some(self.queues.get_mut(partition)?.send_first(unsent, leader, request))
    }

    /// Compresses a batch that takes no more records. One that can't be is given up.
    fn seal(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        batch: OpenBatch,
        codec: Codec,
    ) -> Option<Unsent> {
        let (held, uncompressed) = (batch.builder.capacity(), batch.builder.uncompressed_len());
        let count = batch.builder.count();
        let OpenBatch { builder, outcome, serial, opened, deadline, .. } = batch;
        match builder.compress(codec) {
            Ok(records) => {
                self.accumulator.recharge(held, records.capacity());
                self.accumulator.count(|done| done.send(records.len(), uncompressed));
                Some(Unsent { records, outcome, serial, opened, sent: now, deadline })
            }
            Err(error) => {
                let cause = ProduceFailure::Compression(error.to_string().into());
                let error = not_written(partition.clone(), cause);
                self.fail_transaction(&error);
                outcome.complete(Err(error.clone()));
                self.accumulator.recharge(held, 0);
                self.accumulator.settled(serial);
                self.accumulator.tell(SettledBatch {
                    partition: partition.clone(),
                    records: count.unsigned_abs().into(),
                    uncompressed_bytes: uncompressed,
                    bytes: None,
                    opened,
                    sent: None,
                    resends: 0,
                    result: Err(error),
                });
                self.tell();
                None
            }
        }
    }

    pub(super) fn handle_produce(&mut self, now: Instant, id: RequestId, result: &Result<Response, Failure>) {
        let Some(InFlight { leader, partitions }) = self.in_flight.remove(&id) else { return };
        let mut answers = match result {
            Ok(Response::Produce(response)) => {
                request::answers(response, leader, &partitions, &mut self.metadata)
            }
            _ => BTreeMap::new(),
        };
        let mut refresh = result.is_err();
        if answers.is_empty() {
            self.accumulator.count(|done| done.requests_failed = done.requests_failed.saturating_add(1));
        }
        for (partition, topic_id) in partitions {
            let Some(queue) = self.queues.get_mut(&partition) else { continue };
            queue.meet_topic(topic_id);
            let mut pace = Pace { backoff: self.config.retry_backoff, random: &mut self.random };
            let accumulator = &self.accumulator;
            let aftermath = match (answers.remove(&partition), result) {
                (Some(answer), _) => queue.handle_answer(now, id, &answer, &mut pace, accumulator),
                (None, Err(failure)) => {
                    queue.handle_failure(now, id, failure, &mut pace, accumulator);
                    Aftermath::default()
                }
                (None, Ok(_)) => {
                    let failure = request::missing(&partition);
                    queue.handle_failure(now, id, &failure, &mut pace, accumulator);
                    Aftermath { refresh: true, stopped: false }
                }
            };
            refresh |= aftermath.refresh;
            if aftermath.stopped
                && let Some(error) = queue.stopped()
            {
                let error = error.clone();
                self.give_up_unsent(&partition, &error);
            }
        }
        if refresh {
            self.metadata.refresh(now, &mut self.random);
        }
    }

    /// What no answer comes to has been written: its batches count as taken.
    pub(super) fn take_for_granted(&mut self, now: Instant, id: RequestId) {
        let Some(InFlight { leader, partitions }) = self.in_flight.remove(&id) else { return };
        self.unanswered.written(leader, id);
        let answer = request::taken_for_granted();
        for (partition, topic_id) in partitions {
            let Some(queue) = self.queues.get_mut(&partition) else { continue };
            queue.meet_topic(topic_id);
            let mut pace = Pace { backoff: self.config.retry_backoff, random: &mut self.random };
            queue.handle_answer(now, id, &answer, &mut pace, &self.accumulator);
        }
    }
}
