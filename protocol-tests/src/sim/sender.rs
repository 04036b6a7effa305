//! A producer with its user: records go in at random times, and what is told about them is kept.

use std::time::Duration;

use milena_cluster::{Deadline, Failure, Machine, Outgoing, RequestId};
use milena_producer::{
    At, Certainty, Delivery, EnqueueError, FlushId, InvalidConfig, NewRecord, ProduceFailure, Producer,
    ProducerConfig, ProducerEvent,
};
use milena_protocol::{messages::Response, wire::ByteString};

use super::{
    bug::Bug,
    history::{Found, Place, RecordId, Sent, Told, Violation},
    plan::{TOPICS, WRITTEN},
    rules::Rules,
    saboteur::Saboteur,
    timeline::Timeline,
};

#[derive(Debug)]
pub(super) struct Sender {
    seat: usize,
    machine: Saboteur,
    rules: Rules,
    topics: Vec<ByteString>,
    records: Vec<Tracked>,
    next_number: u64,
    /// Records that the user still wants to send.
    pub(super) left: u32,
    flushes: Vec<(FlushId, usize)>,
    /// Records that were acknowledged and that failed, as told batch by batch.
    told_in_batches: (u64, u64),
    pub(super) closed: bool,
    random: fastrand::Rng,
    pub(super) violations: Vec<Violation>,
}

#[derive(Debug)]
struct Tracked {
    id: RecordId,
    place: Place,
    delivery: Delivery,
    probe: bool,
}

/// What became of a producer's records in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted.
    pub records: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Acknowledged without an offset.
    pub without_offset: u64,
    /// Told as not written.
    pub not_written: u64,
    /// Told as possibly written.
    pub maybe_written: u64,
}

impl Sender {
    pub(super) fn new(
        seat: usize,
        config: ProducerConfig,
        bug: Option<Bug>,
        random: fastrand::Rng,
    ) -> Result<Self, InvalidConfig> {
        let config = ProducerConfig { report_batches: true, ..config };
        let mut machine = Producer::new(config)?;
        plant(&mut machine, bug);
        Ok(Self {
            seat,
            machine: Saboteur::new(machine, bug.and_then(Bug::on_the_wire)),
            rules: Rules::default(),
            topics: TOPICS.iter().map(|(name, _)| (*name).into()).collect(),
            records: Vec::new(),
            next_number: 0,
            told_in_batches: (0, 0),
            left: 0,
            flushes: Vec::new(),
            closed: false,
            random,
            violations: Vec::new(),
        })
    }

    /// Sends a few records, and flushes now and then.
    pub(super) fn work(&mut self, timeline: &mut Timeline) {
        for _ in 0..self.random.u32(1..=12).min(self.left) {
            let topic = self.random.usize(..WRITTEN);
            let partitions = TOPICS.get(topic).map_or(1, |(_, partitions)| *partitions);
            let partition = match self.random.u8(0..8) {
                0 => None,
                _ => Some(self.random.i32(0..partitions)),
            };
            if !self.enqueue(timeline, topic, partition, false) {
                return;
            }
            self.left -= 1;
        }
        if self.random.u8(0..16) == 0 {
            let id = self.machine.producer.flush();
            timeline.note(format_args!("s{} flushes", self.seat));
            self.flushes.push((id, self.records.len()));
        }
    }

    /// Sends one record to every partition. After a first round, which may run into what has changed meanwhile, every
    /// record of the second has to be acknowledged.
    pub(super) fn probe(&mut self, timeline: &mut Timeline, is_second: bool) {
        for (topic, (name, partitions)) in TOPICS.iter().take(WRITTEN).enumerate() {
            for partition in 0..*partitions {
                if !self.enqueue(timeline, topic, Some(partition), is_second) && is_second {
                    let what = format!("s{} takes no record for {name}-{partition}", self.seat);
                    self.violations.push(Violation::Misbehaved(what));
                }
            }
        }
    }

    /// True when the record was taken, or the partition will never take one.
    fn enqueue(
        &mut self,
        timeline: &mut Timeline,
        topic: usize,
        partition: Option<i32>,
        probe: bool,
    ) -> bool {
        let Some(name) = self.topics.get(topic) else { return false };
        let id = RecordId { producer: self.seat as u32, number: self.next_number };
        let meant_for = partition.unwrap_or(-1);
        let padding = "x".repeat(self.random.usize(0..60));
        let value = format!("{} {} {topic} {meant_for} {padding}", id.producer, id.number);
        let record = NewRecord {
            topic: name,
            partition,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
            timestamp: None,
        };
        match self
            .machine
            .producer
            .accumulator()
            .enqueue(&At { now: timeline.now(), wall_ms: 1_700_000_000_000 }, &record)
        {
            Ok(enqueued) => {
                self.next_number += 1;
                let place = Place { topic: topic as u32, partition: enqueued.delivery.partition() };
                timeline
                    .note(format_args!("s{} takes {} for {name}-{}", self.seat, id.number, place.partition));
                self.records.push(Tracked { id, place, delivery: enqueued.delivery, probe });
                true
            }
            Err(EnqueueError::Stopped(_)) => true,
            Err(_) => false,
        }
    }

    pub(super) fn close(&mut self, timeline: &mut Timeline, patience: Duration) {
        let deadline = timeline.now() + patience;
        timeline.note(format_args!("s{} closes", self.seat));
        self.machine.producer.close(deadline);
    }

    /// Tells the machine what became of a request.
    pub(super) fn answer(&mut self, timeline: &Timeline, id: RequestId, result: Result<Response, Failure>) {
        self.rules.hears(id, &result);
        self.machine.handle_response(timeline.now(), id, result);
    }

    /// Lets the machine act on the time, and hands out all it wants to send.
    pub(super) fn wake(&mut self, timeline: &mut Timeline) -> Vec<Outgoing> {
        let now = timeline.now();
        self.machine.handle_timeout(now);
        let mut requests = Vec::new();
        while let Some(outgoing) = self.machine.poll_request(now) {
            let broken = self.rules.sends(
                outgoing.id,
                outgoing.target,
                &outgoing.request,
                |value| Some(found(0, value)?.id.number),
                |number| {
                    let record = usize::try_from(number).ok().and_then(|number| self.records.get(number));
                    record.is_some_and(|record| record.delivery.result().is_some())
                },
            );
            self.violations.extend(broken);
            requests.push(outgoing);
            if requests.len() > 1_000 {
                self.misbehaves(format!("s{} never stops sending", self.seat));
                break;
            }
        }
        while let Some(event) = self.machine.poll_event() {
            self.hear(timeline, event);
        }
        requests
    }

    fn hear(&mut self, timeline: &mut Timeline, event: ProducerEvent) {
        match event {
            ProducerEvent::Room | ProducerEvent::Transaction(_) => {}
            ProducerEvent::Settled(batch) => {
                let (acknowledged, failed) = &mut self.told_in_batches;
                *if batch.result.is_ok() { acknowledged } else { failed } += batch.records;
            }
            ProducerEvent::Closed => {
                timeline.note(format_args!("s{} is closed", self.seat));
                self.closed = true;
            }
            ProducerEvent::Flushed(id) => {
                timeline.note(format_args!("s{} is flushed", self.seat));
                let Some(at) = self.flushes.iter().position(|(flush, _)| *flush == id) else { return };
                let (_, before) = self.flushes.remove(at);
                let open = self.records.iter().take(before).any(|record| record.delivery.result().is_none());
                if open {
                    self.misbehaves(format!("s{} is flushed before everything is settled", self.seat));
                }
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.machine.poll_timeout()
    }

    fn misbehaves(&mut self, what: String) {
        if self.violations.len() < 10 {
            self.violations.push(Violation::Misbehaved(what));
        }
    }

    /// What was sent and what was told, and what else went wrong. `may_stop` says that a broker claimed to have lost
    /// acknowledged records, so that partitions may have stopped.
    pub(super) fn finish(&mut self, may_stop: bool) -> (Vec<Sent>, Tally) {
        if !self.flushes.is_empty() {
            self.misbehaves(format!("s{} owes a flush", self.seat));
        }
        let mut history = Vec::new();
        let mut tally = Tally::default();
        for record in std::mem::take(&mut self.records) {
            let result = record.delivery.result();
            let told = match &result {
                None => Told::Nothing,
                Some(Ok(metadata)) => Told::Acknowledged(metadata.offset),
                Some(Err(error)) => match error.certainty {
                    Certainty::NotWritten => Told::NotWritten,
                    Certainty::MaybeWritten => Told::MaybeWritten,
                },
            };
            if let Some(Err(error)) = &result {
                let stopped = error.cause == ProduceFailure::Desynchronized;
                if stopped && !may_stop {
                    self.misbehaves(format!("s{} stopped without cause: {error}", self.seat));
                } else if record.probe && !stopped {
                    self.misbehaves(format!("s{} can't send after the faults: {error}", self.seat));
                }
            }
            tally.count(told);
            history.push(Sent { id: record.id, place: record.place, told });
        }
        let used = self.machine.producer.accumulator().used();
        if used != 0 && self.closed {
            self.misbehaves(format!("s{} still holds {used} bytes", self.seat));
        }
        self.check_counts(&tally);
        (history, tally)
    }

    /// What is told batch by batch and what is counted agree with what each record was told.
    fn check_counts(&mut self, tally: &Tally) {
        let expected = (tally.acknowledged, tally.not_written + tally.maybe_written);
        let done = self.machine.producer.stats().done;
        for (how, counts) in [
            ("in events", self.told_in_batches),
            ("in numbers", (done.records_acknowledged, done.records_failed)),
        ] {
            if counts != expected {
                let seat = self.seat;
                self.misbehaves(format!("s{seat} tells {how} of {counts:?} records, not {expected:?}"));
            }
        }
    }
}

impl Tally {
    fn count(&mut self, told: Told) {
        self.records += 1;
        match told {
            Told::Acknowledged(offset) => {
                self.acknowledged += 1;
                self.without_offset += u64::from(offset.is_none());
            }
            Told::NotWritten => self.not_written += 1,
            Told::MaybeWritten => self.maybe_written += 1,
            Told::Nothing => {}
        }
    }

    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.acknowledged += other.acknowledged;
        self.without_offset += other.without_offset;
        self.not_written += other.not_written;
        self.maybe_written += other.maybe_written;
    }
}

#[cfg(feature = "planted-bugs")]
pub(super) fn plant(machine: &mut Producer, bug: Option<Bug>) {
    if let Some(Bug::Producer(bug)) = bug {
        machine.plant(bug);
    }
}

#[cfg(not(feature = "planted-bugs"))]
pub(super) fn plant(_: &mut Producer, _: Option<Bug>) {}

/// Reads what [`Sender::enqueue`] writes into a value.
pub(super) fn found(offset: i64, value: &[u8]) -> Option<Found> {
    let mut words = std::str::from_utf8(value).ok()?.split(' ');
    let id = RecordId { producer: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
    let topic = words.next()?.parse().ok()?;
    let partition: i32 = words.next()?.parse().ok()?;
    let padded = words.next()?.bytes().all(|byte| byte == b'x') && words.next().is_none();
    let meant_for = (partition >= 0).then_some(Place { topic, partition });
    padded.then_some(Found { id, meant_for, offset })
}
