//! The batches of one partition that were sent and are not settled.
//!
//! With idempotence they have sequence numbers. A broker takes the batches of a producer in the order of their sequence numbers and refuses what leaves a gap. So:
//!
//! - A batch keeps its numbers, and its bytes, through every retry. Only when every broker is known to have refused it
//!   may it get others.
//! - Until a broker has taken the first batch under a producer id it takes any number for the first. So that one goes out
//!   alone: if it were refused and the next one taken, their order would be lost, or the first would never fit.
//! - A broker remembers the last five batches of a producer. Only so many go out behind one that is not settled, those
//!   that are settled already included: else a repetition of it would be taken for a gap.
//! - When one batch has to be sent again, those behind it may be refused for the gap it leaves. They wait, and only
//!   the first one is sent until it is settled: one in flight instead of five.
//! - A gap in front of the *first* batch is no such thing: the broker lost what it had acknowledged. The partition
//!   stops, for nobody can say what is in the log.
//! - A batch that is given up leaves a hole. If it is known not to be written, those behind it move up. If not, the
//!   producer asks for a new id, after everything sent under the old one is settled.
//!
//! Without idempotence a broker appends what comes. Retries are the same bytes and go out one by one here, too, but those
//! that were in flight behind one that has to be sent again are in the log before it; one whose request had no answer may be
//! there twice. Nothing is ever in [`Trouble`]. The [`Doubt`] is the same: it tells what is possibly written.

mod length;
mod transaction;
mod trouble;

use std::{collections::VecDeque, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use milena_cluster::{Backoff, BrokerId, Failure, FailureKind, RequestId, TopicPartition, Verdict, later};
use milena_protocol::{
    ErrorCode,
    records::Codec,
    wire::{ByteString, Uuid},
};

use crate::{
    Certainty, ProduceError, ProduceFailure,
    accumulator::Accumulator,
    error::refusal,
    identity::Numbering,
    outcome::Written,
    planted_bug::{Planted, PlantedBug},
    sent_batch::{Doubt, SentBatch, Unsent},
};
use length::LearntLength;
use trouble::Trouble;

/// What a broker said of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<ByteString>,
    pub(crate) base_offset: i64,
    pub(crate) log_append_time: i64,
    /// -1 when the broker does not tell.
    pub(crate) log_start_offset: i64,
    /// Another broker than the one that answered is known to lead the partition.
    pub(crate) led_elsewhere: bool,
}

/// What the machine must do after an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aftermath {
    /// What is known of the partition is out of date.
    pub(crate) refresh: bool,
    /// The partition has stopped: what waits for it must be given up.
    pub(crate) stopped: bool,
}

#[derive(Debug)]
pub(crate) struct PartitionQueue {
    partition: TopicPartition,
    planted: Planted,
    /// How the batches are compressed, and their parts when they are split.
    codec: Codec,
    learnt: LearntLength,
    /// The topic that `is_known` and `last_offset` are about.
    topic_id: Uuid,
    /// Whose numbers the batches have.
    numbering: Numbering,
    next_sequence: i32,
    /// Counts the batches sent for the first time.
    next_number: u64,
    /// The broker has taken a batch under `id`, and so knows which number comes next.
    is_known: bool,
    /// In the order of their sequence numbers.
    batches: VecDeque<SentBatch>,
    /// Where the batches in flight went. Nothing goes to another leader before they are settled.
    leader: Option<BrokerId>,
    retry_at: Option<Instant>,
    failures: u32,
    trouble: Trouble,
    /// Whether it goes on when its broker misses what it had acknowledged.
    continues: bool,
    last_failure: Option<Arc<str>>,
    /// Where the batch is that was acknowledged last.
    last_offset: Option<i64>,
    /// A request under `id` has no answer, and may reach its broker yet.
    has_strayed: bool,
    /// What became of the first batch of a transaction that was not acknowledged.
    failed: Option<Box<ProduceError>>,
}

impl PartitionQueue {
    pub(crate) fn new(
        partition: TopicPartition,
        numbering: Numbering,
        codec: Codec,
        planted: Planted,
    ) -> Self {
        Self {
            partition,
            planted,
            codec,
            learnt: LearntLength::default(),
            topic_id: Uuid::ZERO,
            numbering,
            next_sequence: 0,
            next_number: 0,
            is_known: false,
            batches: VecDeque::new(),
            leader: None,
            retry_at: None,
            failures: 0,
            trouble: Trouble::None,
            continues: false,
            last_failure: None,
            last_offset: None,
            has_strayed: false,
            failed: None,
        }
    }

    /// Whether the partition goes on when its broker misses what it had acknowledged.
    pub(crate) fn continuing(self, continues: bool) -> Self {
        Self { continues, ..self }
    }

    /// The partition is one of the topic with this id. Another topic of the same name has no batch of the producer yet; a
    /// topic that was out of sight for a while has all of them, so that the numbers go on.
    pub(crate) fn meet_topic(&mut self, id: Uuid) {
        if self.topic_id != id {
            self.topic_id = id;
            self.is_known = false;
            self.last_offset = None;
        }
    }

    /// True when a batch waits to be sent again.
    pub(crate) fn has_waiting(&self) -> bool {
        self.batches.iter().any(|batch| batch.in_flight.is_none())
    }

    fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| batch.in_flight.is_some()).count()
    }

    /// Batches that are not settled.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// When the oldest batch was begun, and when it is given up.
    pub(crate) fn oldest(&self) -> Option<(Instant, Instant)> {
        self.batches.front().map(|batch| (batch.opened, batch.deadline))
    }

    /// Whose answer on a batch is waited for.
    pub(crate) fn in_flight_at(&self) -> Option<BrokerId> {
        self.leader.filter(|_| self.in_flight() > 0)
    }

    /// Why a batch was not settled last.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// True when nothing sent under the old producer id is open any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.batches.iter().all(|batch| batch.in_flight.is_none() && batch.doubt == Doubt::None)
    }

    /// When a batch may be sent again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    fn may_send_to(&self, now: Instant, leader: BrokerId) -> bool {
        let elsewhere = self.in_flight() > 0 && self.leader != Some(leader);
        !elsewhere && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Batches sent from the oldest that is not settled on.
    fn since_oldest(&self) -> u64 {
        self.batches.front().map_or(0, |oldest| self.next_number - oldest.number)
    }

    /// True when a batch that never was sent may go to `leader`.
    pub(crate) fn takes_new(&self, now: Instant, leader: BrokerId, max_in_flight: usize) -> bool {
        let has_room = match self.numbering {
            Numbering::Under(_) => self.has_number(max_in_flight),
            Numbering::Absent => self.in_flight() < max_in_flight,
        };
        has_room && !self.has_waiting() && self.may_send_to(now, leader)
    }

    /// True when the next batch can have the number behind the last one.
    fn has_number(&self, max_in_flight: usize) -> bool {
        matches!(self.trouble, Trouble::None)
            && self.since_oldest() < if self.is_known { max_in_flight as u64 } else { 1 }
            // How one ends that has expired in flight decides whether its numbers, and the id, are of use any more.
            && !self.batches.iter().any(|batch| batch.outcome.is_done())
    }

    /// The first batch, when it is to be sent again to `leader`.
    pub(crate) fn resend(&mut self, now: Instant, leader: BrokerId, request: RequestId) -> Option<Bytes> {
        if self.in_flight() > 0 || !self.may_send_to(now, leader) {
            return None;
        }
        let uncertain = matches!(self.trouble, Trouble::Uncertain);
        let first = if self.planted.has(PlantedBug::ReordersOnRetry) {
            self.batches.back_mut()?
        } else {
            self.batches.front_mut()?
        };
        // Under a lost id only what may have been written is worth asking about.
        if uncertain && first.doubt == Doubt::None {
            return None;
        }
        first.in_flight = Some(request);
        first.resends = first.resends.saturating_add(1);
        self.leader = Some(leader);
        Some(first.bytes.clone())
    }

    /// The length of what [`resend`](Self::resend) would hand out.
    pub(crate) fn resend_len(&self) -> Option<usize> {
        self.batches.front().filter(|first| first.in_flight.is_none()).map(|first| first.bytes.len())
    }

    /// Gives a batch its numbers and sends it for the first time.
    pub(crate) fn send_first(&mut self, batch: Unsent, leader: BrokerId, request: RequestId) -> Bytes {
        let batch = SentBatch::new(batch, self.next_number, self.numbering, self.next_sequence, request);
        self.next_number += 1;
        self.next_sequence = batch.next_sequence();
        self.leader = Some(leader);
        let bytes = batch.bytes.clone();
        self.batches.push_back(batch);
        bytes
    }

    /// Takes a broker's answer on the batch that went out with `request`.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        request: RequestId,
        answer: &Answer,
        pace: &mut Pace<'_>,
        accumulator: &Accumulator,
    ) -> Aftermath {
        let Some(index) = self.position(request) else { return Aftermath::default() };
        if self.stopped().is_some() {
            self.drop_batch(index, accumulator);
            return Aftermath::default();
        }
        let refused = || ProduceFailure::Refused { code: answer.code, message: answer.message.clone() };
        let mut aftermath = Aftermath::default();
        match answer.verdict {
            Verdict::Done | Verdict::AlreadyDone => {
                self.is_known = true;
                self.failures = 0;
                self.retry_at = None;
                self.last_failure = None;
                let written = Written {
                    base_offset: (answer.base_offset >= 0).then_some(answer.base_offset),
                    log_append_time: (answer.log_append_time >= 0).then_some(answer.log_append_time),
                };
                self.last_offset = written.base_offset.or(self.last_offset);
                self.remove(index, Ok(written), accumulator);
                self.learn_from_success(accumulator);
            }
            Verdict::TooLarge => self.handle_too_large(index, answer, accumulator),
            // What has no number and belongs to no producer can't be out of order, or refused for its producer.
            Verdict::OutOfSequence | Verdict::ProducerStateLost | Verdict::Fenced
                if self.numbering.is_absent() =>
            {
                self.give_up(index, refused(), accumulator);
            }
            Verdict::OutOfSequence => aftermath.stopped = self.handle_gap(index, accumulator),
            // Mid-transaction no other id helps.
            Verdict::ProducerStateLost | Verdict::Fenced if self.numbering.is_transactional() => {
                self.give_up(index, refused(), accumulator);
            }
            Verdict::ProducerStateLost if self.planted.has(PlantedBug::ForgetsProducerState) => {
                self.trouble = Trouble::Uncertain;
                self.batches.iter_mut().for_each(|batch| batch.doubt = Doubt::None);
                self.retry(now, index, Doubt::None, pace, accumulator);
            }
            Verdict::ProducerStateLost if answer.log_start_offset < 0 => {
                self.note(refusal(answer.code, answer.message.as_deref()));
                self.retry(now, index, Doubt::None, pace, accumulator);
            }
            // The broker has forgotten the producer while it still has what it acknowledged last: as bad as a gap.
            Verdict::ProducerStateLost
                if self.last_offset.is_some_and(|last| last >= answer.log_start_offset) =>
            {
                aftermath.stopped = self.handle_gap(index, accumulator);
            }
            Verdict::ProducerStateLost | Verdict::Fenced => {
                self.trouble = Trouble::Uncertain;
                self.note(refusal(answer.code, answer.message.as_deref()));
                if self.batches.get(index).is_some_and(|batch| batch.doubt != Doubt::None) {
                    self.give_up(index, refused(), accumulator);
                } else {
                    // A broker that refuses every id would otherwise be asked without a pause.
                    self.retry(now, index, Doubt::None, pace, accumulator);
                }
            }
            Verdict::Retry | Verdict::RefreshMetadata | Verdict::FindCoordinator => {
                let doubt = if may_have_written(answer.code) { Doubt::Answered } else { Doubt::None };
                self.note(refusal(answer.code, answer.message.as_deref()));
                self.retry(now, index, doubt, pace, accumulator);
                aftermath.refresh = answer.verdict == Verdict::RefreshMetadata;
                if aftermath.refresh && answer.led_elsewhere {
                    // The pause is for the broker that refused (KIP-951).
                    self.retry_at = None;
                }
            }
            _ => self.give_up(index, refused(), accumulator),
        }
        self.settle_trouble();
        aftermath
    }

    /// Takes the news that `request` has no answer.
    pub(crate) fn handle_failure(
        &mut self,
        now: Instant,
        request: RequestId,
        failure: &Failure,
        pace: &mut Pace<'_>,
        accumulator: &Accumulator,
    ) {
        let Some(index) = self.position(request) else { return };
        if self.stopped().is_some() {
            return self.drop_batch(index, accumulator);
        }
        self.last_failure = Some(Arc::clone(&failure.cause));
        match failure.kind {
            FailureKind::NotSent => self.retry(now, index, Doubt::None, pace, accumulator),
            FailureKind::Unanswered => {
                self.has_strayed = true;
                self.retry(now, index, Doubt::Unanswered, pace, accumulator);
            }
            FailureKind::Unsupported => {
                self.give_up(index, ProduceFailure::Unsupported(Arc::clone(&failure.cause)), accumulator);
            }
        }
        self.settle_trouble();
    }

    /// Gives up what is past its deadline. What is in flight then stays until it lands: its sequence number is taken, and its
    /// memory in use. `missing`: what a request in flight lacks.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        timeout: Duration,
        missing: &'static str,
        accumulator: &Accumulator,
    ) {
        let mut index = 0;
        while let Some(batch) = self.batches.get(index) {
            if batch.deadline > now || batch.outcome.is_done() {
                index += 1;
                continue;
            }
            let is_in_flight = batch.in_flight.is_some();
            let unanswered = || is_in_flight.then(|| missing.into());
            let last = self.last_failure.clone().or_else(unanswered);
            let cause = ProduceFailure::DeliveryTimeout { timeout, last };
            if is_in_flight {
                let error = self.error(index, Certainty::MaybeWritten, cause);
                self.settle(index, Err(error), accumulator);
                index += 1;
            } else {
                self.give_up(index, cause, accumulator);
            }
        }
        self.settle_trouble();
    }

    /// Gives up everything, for the producer is closed.
    pub(crate) fn abandon(&mut self, accumulator: &Accumulator) {
        while let Some(batch) = self.batches.front() {
            let certainty =
                if batch.in_flight.is_some() { Certainty::MaybeWritten } else { batch.certainty() };
            let error = self.error(0, certainty, ProduceFailure::Closed);
            self.remove(0, Err(error), accumulator);
        }
    }

    fn position(&self, request: RequestId) -> Option<usize> {
        self.batches.iter().position(|batch| batch.in_flight == Some(request))
    }

    fn note(&mut self, failure: String) {
        self.last_failure = Some(failure.into());
    }

    /// The batch is in flight no more and waits.
    fn land(&mut self, index: usize, change: impl FnOnce(&mut SentBatch)) {
        if let Some(batch) = self.batches.get_mut(index) {
            batch.in_flight = None;
            change(batch);
        }
    }

    fn retry(
        &mut self,
        now: Instant,
        index: usize,
        doubt: Doubt,
        pace: &mut Pace<'_>,
        accumulator: &Accumulator,
    ) {
        self.land(index, |batch| batch.doubt = batch.doubt.max(doubt));
        // One broken connection fails every batch that is in flight: that is one reason to pause.
        if self.retry_at.is_none_or(|at| at <= now) {
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(later(now, pace.backoff.after(self.failures, pace.random)));
        }
        if let Some(batch) = self.batches.get(index) {
            let (sequence, cause) = (batch.base_sequence, self.last_failure.as_deref());
            tracing::debug!(partition = %self.partition, sequence, cause, "a batch waits to be sent again");
        }
        self.forget_abandoned(index, accumulator);
    }

    /// Drops a batch that waits and whose owner has been told that it expired: there is nobody to try for.
    fn forget_abandoned(&mut self, index: usize, accumulator: &Accumulator) {
        if self.batches.get(index).is_some_and(|batch| batch.outcome.is_done()) {
            self.give_up(index, ProduceFailure::Closed, accumulator);
        }
    }

    /// Takes a batch out that will not be written (or not be tried any more).
    fn give_up(&mut self, index: usize, cause: ProduceFailure, accumulator: &Accumulator) {
        let Some(batch) = self.batches.get(index) else { return };
        let (certainty, sequence) = (batch.certainty(), batch.base_sequence);
        let error = self.error(index, certainty, cause);
        self.remove(index, Err(error), accumulator);
        self.leave_hole(certainty, sequence);
    }

    fn error(&self, index: usize, certainty: Certainty, cause: ProduceFailure) -> ProduceError {
        let numbered = self.batches.get(index).filter(|_| !self.numbering.is_absent());
        let base_sequence = numbered.map(|batch| batch.base_sequence);
        ProduceError::new(self.partition.clone(), certainty, base_sequence, cause)
    }

    /// Tells the owners of the records.
    fn settle(&mut self, index: usize, result: Result<Written, ProduceError>, accumulator: &Accumulator) {
        if let Some(batch) = self.batches.get(index) {
            if self.numbering.is_transactional()
                && self.failed.is_none()
                && let Err(error) = &result
            {
                self.failed = Some(Box::new(error.clone()));
            }
            if !batch.outcome.is_done() {
                accumulator.tell(batch.settled(&result));
            }
            batch.outcome.complete(result);
            let serial = batch.serial;
            // The parts of a batch that was split stand for it together.
            let is_open = |other: &SentBatch| other.serial == serial && !other.outcome.is_done();
            if !self.batches.iter().any(is_open) {
                accumulator.settled(serial);
            }
        }
    }

    fn remove(&mut self, index: usize, result: Result<Written, ProduceError>, accumulator: &Accumulator) {
        self.settle(index, result, accumulator);
        self.drop_batch(index, accumulator);
    }

    fn drop_batch(&mut self, index: usize, accumulator: &Accumulator) {
        if let Some(batch) = self.batches.remove(index) {
            accumulator.recharge(batch.held, 0);
        }
    }
}

/// How long to wait between tries.
pub(crate) struct Pace<'a> {
    pub(crate) backoff: Backoff,
    pub(crate) random: &'a mut fastrand::Rng,
}

/// Whether a batch answered with this retriable code may be in the log, or get there yet. A leader that steps down may
/// have passed it on (KAFKA-13574); a broker that says one of these has not taken it.
fn may_have_written(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::CORRUPT_MESSAGE
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::THROTTLING_QUOTA_EXCEEDED
            | ErrorCode::CONCURRENT_TRANSACTIONS
    )
}

#[cfg(test)]
mod tests {
    use milena_cluster::RequestIds;
    use milena_protocol::{
        ApiKey,
        records::{BatchBuilder, Batches, Compression},
    };

    use super::*;
    use crate::{ProducerConfig, identity::ProducerId, outcome::Outcome};

    const ID: Numbering = Numbering::Under(ProducerId { id: 7, epoch: 0, is_transactional: false });
    const LEADER: BrokerId = BrokerId(1);

    struct Numbered {
        queue: PartitionQueue,
        accumulator: Accumulator,
        ids: RequestIds,
        random: fastrand::Rng,
        now: Instant,
    }

    impl Numbered {
        #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
        fn from(next_sequence: i32) -> Self {
            let mut queue = PartitionQueue::new(
                TopicPartition::new("letters", 0),
                ID,
                Codec::default(),
                Planted::default(),
            );
            queue.next_sequence = next_sequence;
            queue.is_known = true;
            Self {
                queue,
                accumulator: Accumulator::new(&ProducerConfig::default()),
                ids: RequestIds::default(),
                random: fastrand::Rng::with_seed(1),
                now: Instant::now(),
            }
        }

        fn send(&mut self, records: i32) -> (RequestId, i32) {
            let mut builder = BatchBuilder::new(1024);
            for _ in 0..records {
                builder.append(5, None, Some(b"value"), []).unwrap();
            }
            let unsent = Unsent {
                records: builder.compress(Compression::None).unwrap(),
                outcome: Outcome::new(TopicPartition::new("letters", 0)),
                serial: 0,
                opened: self.now,
                sent: self.now,
                deadline: self.now + Duration::from_secs(1),
            };
            let request = self.ids.allocate();
            let bytes = self.queue.send_first(unsent, LEADER, request);
            (request, base_sequence(bytes))
        }

        fn answer(&mut self, request: RequestId, code: ErrorCode) {
            let answer = Answer {
                verdict: milena_cluster::verdict(ApiKey::Produce, code),
                code,
                message: None,
                base_offset: -1,
                log_append_time: -1,
                log_start_offset: -1,
                led_elsewhere: false,
            };
            let mut pace = Pace { backoff: Backoff::DEFAULT, random: &mut self.random };
            self.queue.handle_answer(self.now, request, &answer, &mut pace, &self.accumulator);
        }

        fn resend(&mut self) -> (RequestId, i32) {
            let request = self.ids.allocate();
            let bytes = self.queue.resend(self.now, LEADER, request).unwrap();
            (request, base_sequence(bytes))
        }
    }

    fn base_sequence(bytes: Bytes) -> i32 {
        let batch = Batches::new(bytes).next().unwrap().unwrap();
        batch.verify_crc().unwrap();
        batch.header().base_sequence
    }

    /// P8.
    #[test]
    fn sequence_numbers_go_on_at_zero_behind_the_largest() {
        let mut numbered = Numbered::from(i32::MAX - 1);
        let sequences = [numbered.send(1), numbered.send(1), numbered.send(3)].map(|(_, sequence)| sequence);
        assert_eq!(sequences, [i32::MAX - 1, i32::MAX, 0]);
        assert_eq!(numbered.send(1).1, 3);
        let mut numbered = Numbered::from(i32::MAX - 1);
        let sequences = [numbered.send(5), numbered.send(1)].map(|(_, sequence)| sequence);
        assert_eq!(sequences, [i32::MAX - 1, 3]);
    }

    /// P8.
    #[test]
    fn a_hole_where_the_numbers_wrap_is_closed() {
        let mut numbered = Numbered::from(i32::MAX - 2);
        let (before, _) = numbered.send(1);
        let (refused, sequence) = numbered.send(3);
        assert_eq!(sequence, i32::MAX - 1);
        let (behind, sequence) = numbered.send(1);
        assert_eq!(sequence, 1);
        numbered.answer(before, ErrorCode::NONE);
        numbered.answer(refused, ErrorCode::INVALID_RECORD);
        numbered.answer(behind, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(numbered.resend().1, i32::MAX - 1);
        assert_eq!(numbered.send(1).1, i32::MAX);
        assert_eq!(numbered.send(1).1, 0);
    }

    /// Two holes: what is behind the lower one moves up to it.
    #[test]
    fn the_lower_of_two_holes_counts_where_the_numbers_wrap() {
        let mut numbered = Numbered::from(i32::MAX);
        let sent = [numbered.send(1), numbered.send(1), numbered.send(1), numbered.send(1)];
        assert_eq!(sent.map(|(_, sequence)| sequence), [i32::MAX, 0, 1, 2]);
        let [lower, kept, upper, last] = sent.map(|(request, _)| request);
        numbered.answer(upper, ErrorCode::INVALID_RECORD);
        numbered.answer(lower, ErrorCode::INVALID_RECORD);
        numbered.answer(kept, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        numbered.answer(last, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        let (request, sequence) = numbered.resend();
        assert_eq!(sequence, i32::MAX);
        numbered.answer(request, ErrorCode::NONE);
        assert_eq!(numbered.resend().1, 0);
    }
}
