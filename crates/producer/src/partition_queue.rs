//! The batches of one partition that have sequence numbers and are not settled.
//!
//! A broker takes the batches of a producer in the order of their sequence numbers and refuses what leaves a gap. So:
//!
//! - A batch keeps its numbers, and its bytes, through every retry. Only when every broker is known to have refused it
//!   may it get others.
//! - When one batch has to be sent again, those behind it may be refused for the gap it leaves. They wait, and only
//!   the first one is sent until it is settled: one in flight instead of five.
//! - A broker that knows nothing of the producer takes any number for the first. If the first batch failed and the second
//!   got through, the first could never be written any more. So until one is acknowledged, one is in flight.
//! - A gap in front of the *first* batch is no such thing: the broker lost what it had acknowledged. The partition
//!   stops, for nobody can say what is in the log.
//! - A batch that is given up leaves a hole. If it is known not to be written, those behind it move up. If not, the
//!   producer asks for a new id, after everything sent under the old one is settled.

use std::{collections::VecDeque, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use milena_cluster::{Backoff, BrokerId, Failure, FailureKind, RequestId, TopicPartition, Verdict};
use milena_protocol::{
    ErrorCode,
    records::{CompressedBatch, ProducerStamp, increment_sequence, restamp},
    wire::ByteString,
};

use crate::{
    Certainty, ProduceError, ProduceFailure,
    accumulator::Accumulator,
    identity::ProducerId,
    outcome::{Outcome, Written},
};

/// What a broker said of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<ByteString>,
    pub(crate) base_offset: i64,
    pub(crate) log_append_time: i64,
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
    /// Whose numbers the batches have.
    id: ProducerId,
    /// The broker has acknowledged a batch under this id, and so keeps the order of the next ones.
    established: bool,
    next_sequence: i32,
    /// In the order of their sequence numbers.
    batches: VecDeque<SentBatch>,
    /// Where the batches in flight went. Nothing goes to another leader before they are settled.
    leader: Option<BrokerId>,
    retry_at: Option<Instant>,
    failures: u32,
    trouble: Trouble,
    last_failure: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Trouble {
    None,
    /// The batch that had this number was not written and is gone: those behind it move up once nothing is in flight.
    Hole {
        sequence: i32,
    },
    /// Whether a batch that is gone was written is not known: only a new producer id helps.
    Uncertain,
    /// The broker's log and ours disagree for good.
    Stopped(Box<ProduceError>),
}

/// A batch on the way from the accumulator to its first try.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) records: CompressedBatch,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    pub(crate) deadline: Instant,
}

#[derive(Debug)]
struct SentBatch {
    bytes: Bytes,
    base_sequence: i32,
    count: i32,
    outcome: Arc<Outcome>,
    serial: u64,
    deadline: Instant,
    in_flight: Option<RequestId>,
    /// A try had no clear end.
    maybe_written: bool,
}

impl SentBatch {
    const fn certainty(&self) -> Certainty {
        if self.maybe_written { Certainty::MaybeWritten } else { Certainty::NotWritten }
    }
}

impl PartitionQueue {
    pub(crate) fn new(partition: TopicPartition, id: ProducerId) -> Self {
        Self {
            partition,
            id,
            established: false,
            next_sequence: 0,
            batches: VecDeque::new(),
            leader: None,
            retry_at: None,
            failures: 0,
            trouble: Trouble::None,
            last_failure: None,
        }
    }

    /// True when a batch waits to be sent again.
    pub(crate) fn has_waiting(&self) -> bool {
        self.batches.iter().any(|batch| batch.in_flight.is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| batch.in_flight.is_some()).count()
    }

    /// True when only a new producer id lets the partition go on.
    pub(crate) fn needs_new_id(&self) -> bool {
        matches!(self.trouble, Trouble::Uncertain)
    }

    /// True when nothing sent under the old producer id is open any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.batches.iter().all(|batch| batch.in_flight.is_none() && !batch.maybe_written)
    }

    /// When a batch may be sent again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    fn may_send_to(&self, now: Instant, leader: BrokerId) -> bool {
        let elsewhere = self.in_flight() > 0 && self.leader != Some(leader);
        !elsewhere && self.retry_at.is_none_or(|at| at <= now)
    }

    /// True when a batch that never was sent may go to `leader`.
    pub(crate) fn takes_new(&self, now: Instant, leader: BrokerId, max_in_flight: usize) -> bool {
        let most = if self.established { max_in_flight } else { 1 };
        matches!(self.trouble, Trouble::None)
            && self.batches.len() < most
            && !self.has_waiting()
            && self.may_send_to(now, leader)
    }

    /// The first batch, when it is to be sent again to `leader`.
    pub(crate) fn resend(&mut self, now: Instant, leader: BrokerId, request: RequestId) -> Option<Bytes> {
        if self.in_flight() > 0 || !self.may_send_to(now, leader) {
            return None;
        }
        let uncertain = matches!(self.trouble, Trouble::Uncertain);
        let first = self.batches.front_mut()?;
        // Under a lost id only what may have been written is worth asking about.
        if uncertain && !first.maybe_written {
            return None;
        }
        first.in_flight = Some(request);
        self.leader = Some(leader);
        Some(first.bytes.clone())
    }

    /// The length of what [`resend`](Self::resend) would hand out.
    pub(crate) fn resend_len(&self) -> Option<usize> {
        self.batches.front().filter(|first| first.in_flight.is_none()).map(|first| first.bytes.len())
    }

    /// Gives a batch its numbers and sends it for the first time.
    pub(crate) fn send_first(&mut self, batch: Unsent, leader: BrokerId, request: RequestId) -> Bytes {
        let count = batch.records.count();
        let base_sequence = self.next_sequence;
        self.next_sequence = increment_sequence(base_sequence, count);
        let bytes = batch.records.stamp(stamp(self.id, base_sequence));
        self.leader = Some(leader);
        self.batches.push_back(SentBatch {
            bytes: bytes.clone(),
            base_sequence,
            count,
            outcome: batch.outcome,
            serial: batch.serial,
            deadline: batch.deadline,
            in_flight: Some(request),
            maybe_written: false,
        });
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
        let refused = || ProduceFailure::Refused { code: answer.code, message: answer.message.clone() };
        let mut aftermath = Aftermath::default();
        match answer.verdict {
            Verdict::Done | Verdict::AlreadyDone => {
                self.established = true;
                self.failures = 0;
                self.retry_at = None;
                self.last_failure = None;
                let written = Written {
                    base_offset: (answer.base_offset >= 0).then_some(answer.base_offset),
                    log_append_time: (answer.log_append_time >= 0).then_some(answer.log_append_time),
                };
                self.remove(index, Ok(written), accumulator);
            }
            Verdict::OutOfSequence => {
                // A broker that misses what comes before has not written this one either.
                self.land(index, |batch| batch.maybe_written = false);
                if index > 0 {
                    self.forget_abandoned(index, accumulator);
                } else if matches!(self.trouble, Trouble::None) {
                    self.stop(accumulator);
                    aftermath.stopped = true;
                }
            }
            Verdict::ProducerStateLost | Verdict::Fenced => {
                self.trouble = Trouble::Uncertain;
                self.note(answer.code.to_string());
                if self.batches.get(index).is_some_and(|batch| batch.maybe_written) {
                    self.give_up(index, refused(), accumulator);
                } else {
                    self.land(index, |_| {});
                }
            }
            Verdict::Retry | Verdict::RefreshMetadata | Verdict::FindCoordinator => {
                let unclear = may_have_written(answer.code);
                self.note(answer.code.to_string());
                self.retry(now, index, unclear, pace, accumulator);
                aftermath.refresh = answer.verdict == Verdict::RefreshMetadata;
            }
            _ => self.give_up(index, refused(), accumulator),
        }
        self.close_hole();
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
        self.last_failure = Some(Arc::clone(&failure.cause));
        match failure.kind {
            FailureKind::NotSent => self.retry(now, index, false, pace, accumulator),
            FailureKind::Unanswered => self.retry(now, index, true, pace, accumulator),
            FailureKind::Unsupported => {
                self.give_up(index, ProduceFailure::Unsupported(Arc::clone(&failure.cause)), accumulator);
            }
        }
        self.close_hole();
    }

    /// Gives up what is past its deadline. What is in flight then stays until it lands: its sequence number is taken.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration, accumulator: &Accumulator) {
        let mut index = 0;
        while let Some(batch) = self.batches.get(index) {
            if batch.deadline > now || batch.outcome.is_done() {
                index += 1;
                continue;
            }
            let last = self.last_failure.clone();
            let cause = ProduceFailure::DeliveryTimeout { timeout, last };
            if batch.in_flight.is_some() {
                let error = self.error(index, Certainty::MaybeWritten, cause);
                self.settle(index, Err(error), accumulator);
                index += 1;
            } else {
                self.give_up(index, cause, accumulator);
            }
        }
        self.close_hole();
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

    /// Takes a new producer id: numbering starts at zero.
    pub(crate) fn adopt(&mut self, id: ProducerId) {
        if matches!(self.trouble, Trouble::Stopped(_)) {
            return;
        }
        self.id = id;
        self.established = false;
        self.trouble = Trouble::None;
        self.renumber(0, 0);
        self.retry_at = None;
    }

    /// What the partition refuses records with.
    pub(crate) fn stopped(&self) -> Option<&ProduceError> {
        match &self.trouble {
            Trouble::Stopped(error) => Some(error),
            _ => None,
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
        unclear: bool,
        pace: &mut Pace<'_>,
        accumulator: &Accumulator,
    ) {
        self.land(index, |batch| batch.maybe_written |= unclear);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pace.backoff.after(self.failures, pace.random));
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
        match (&self.trouble, certainty) {
            (Trouble::Stopped(_), _) => {}
            (_, Certainty::MaybeWritten) => self.trouble = Trouble::Uncertain,
            (Trouble::Uncertain, _) => {}
            (Trouble::Hole { sequence: first }, _) => {
                // The lower of two holes, with wrapping: the one further from the next number.
                let distance = |from: i32| self.next_sequence.wrapping_sub(from) & i32::MAX;
                let lower = if distance(sequence) > distance(*first) { sequence } else { *first };
                self.trouble = Trouble::Hole { sequence: lower };
            }
            (Trouble::None, _) => self.trouble = Trouble::Hole { sequence },
        }
    }

    /// Moves the batches behind a hole up, once none of them is in flight or may have been written.
    fn close_hole(&mut self) {
        let Trouble::Hole { sequence } = self.trouble else { return };
        let behind = |batch: &SentBatch| {
            self.next_sequence.wrapping_sub(batch.base_sequence) & i32::MAX
                < self.next_sequence.wrapping_sub(sequence) & i32::MAX
        };
        let first = self.batches.iter().position(behind).unwrap_or(self.batches.len());
        let moved = self.batches.iter().skip(first);
        if moved.clone().any(|batch| batch.in_flight.is_some()) {
            return;
        }
        if moved.clone().any(|batch| batch.maybe_written) {
            self.trouble = Trouble::Uncertain;
            return;
        }
        self.trouble = Trouble::None;
        self.renumber(first, sequence);
    }

    fn renumber(&mut self, first: usize, sequence: i32) {
        self.next_sequence = sequence;
        for batch in self.batches.iter_mut().skip(first) {
            batch.base_sequence = self.next_sequence;
            self.next_sequence = increment_sequence(self.next_sequence, batch.count);
            let bytes = std::mem::take(&mut batch.bytes);
            batch.bytes = restamp(bytes, stamp(self.id, batch.base_sequence));
        }
    }

    /// The broker's log and ours disagree: everything is given up, and nothing more is taken.
    fn stop(&mut self, accumulator: &Accumulator) {
        let mut first = None;
        for index in 0..self.batches.len() {
            let error = self.error(index, Certainty::MaybeWritten, ProduceFailure::Desynchronized);
            first.get_or_insert_with(|| error.clone());
            self.settle(index, Err(error), accumulator);
        }
        if let Some(error) = first {
            self.trouble = Trouble::Stopped(Box::new(error));
        }
        let landed = |batch: &SentBatch| batch.in_flight.is_none();
        while let Some(index) = self.batches.iter().position(landed) {
            self.drop_batch(index, accumulator);
        }
    }

    fn error(&self, index: usize, certainty: Certainty, cause: ProduceFailure) -> ProduceError {
        let base_sequence = self.batches.get(index).map(|batch| batch.base_sequence);
        ProduceError { partition: self.partition.clone(), certainty, base_sequence, cause }
    }

    /// Tells the owners of the records.
    fn settle(&self, index: usize, result: Result<Written, ProduceError>, accumulator: &Accumulator) {
        if let Some(batch) = self.batches.get(index) {
            batch.outcome.complete(result);
            accumulator.settled(batch.serial);
        }
    }

    fn remove(&mut self, index: usize, result: Result<Written, ProduceError>, accumulator: &Accumulator) {
        self.settle(index, result, accumulator);
        self.drop_batch(index, accumulator);
    }

    fn drop_batch(&mut self, index: usize, accumulator: &Accumulator) {
        if let Some(batch) = self.batches.remove(index) {
            accumulator.recharge(batch.bytes.len(), 0);
        }
    }
}

/// How long to wait between tries.
pub(crate) struct Pace<'a> {
    pub(crate) backoff: Backoff,
    pub(crate) random: &'a mut fastrand::Rng,
}

fn stamp(id: ProducerId, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { producer_id: id.id, producer_epoch: id.epoch, base_sequence, transactional: false }
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
    )
}
