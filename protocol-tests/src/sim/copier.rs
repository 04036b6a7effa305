//! A copier: reads records as a member of a group, and writes them again in transactions that also carry how far it has
//! read. Each record is copied once, whatever happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use milena_cluster::{Deadline, Failure, Machine, Outgoing, RequestId, RequestIds, TopicPartition};
use milena_consumer_group::{Consumer, ConsumerConfig, Event, GroupMembership, Position, QueryId, SeekTo};
use milena_producer::{
    At, EnqueueError, GroupMetadata, GroupOffset, NewRecord, Producer, ProducerConfig, ProducerEvent, Remedy,
    TransactionError, TransactionEvent, TransactionPhase,
};
use milena_protocol::messages::Response;

use super::{
    bug::Bug,
    history::{Place, Violation},
    joining::Joining,
    ledger::{Ledger, Who},
    member::{self, pace},
    plan::{COPIERS, COPIES, GROUPS, TOPICS, place_of},
    sender::{self, found},
    timeline::Timeline,
    world::CLOSING,
};

/// Turns of the machines and the application at one moment; more are a machine that never comes to rest.
const MOST_TURNS: u32 = 1_000;
/// How often a commit is asked for whose outcome is not known, before that is left open.
const COMMITS: u32 = 2;

#[derive(Debug)]
pub(super) struct Copier {
    who: Who,
    consumer: Consumer,
    producer: Producer,
    /// Both machines number their requests by themselves: the network sees numbers of the copier's own.
    ids: RequestIds,
    routes: BTreeMap<RequestId, (Side, RequestId)>,
    joining: Joining,
    doing: Doing,
    owned: BTreeSet<TopicPartition>,
    gives_up_at: Option<u64>,
    /// Until when the batch under way, or the next one, takes.
    busy_until: u64,
    /// Most records of a transaction.
    batch: usize,
    /// The longest it takes over them, in µs.
    slowest: u64,
    leaving: bool,
    consumer_closed: bool,
    producer_closed: bool,
    /// It can't go on: another process takes its place.
    pub(super) has_failed: bool,
    random: fastrand::Rng,
    pub(super) violations: Vec<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Consumer,
    Producer,
}

#[derive(Debug)]
enum Doing {
    /// Waits for records, and for the producer to be ready.
    Waiting,
    /// A transaction is open, and takes the copies.
    Copying(Work),
    /// The transaction is being committed or aborted.
    Ending { work: Work, commits: u32 },
    /// Whether the last one was committed is not known: the group is asked how far it has read.
    Asking(Option<(QueryId, BTreeSet<TopicPartition>)>),
    /// Both machines are closing.
    Closing,
}

/// What a transaction is about.
#[derive(Debug)]
struct Work {
    todo: VecDeque<(i32, Bytes)>,
    until: u64,
    records: Vec<(Place, i64)>,
    /// Where to go on reading if it is aborted, in partitions that are still the member's.
    back: BTreeMap<TopicPartition, i64>,
    next: BTreeMap<TopicPartition, Position>,
    group: GroupMembership,
    /// A partition has been given up meanwhile.
    is_stale: bool,
}

impl Copier {
    pub(super) fn new(
        timeline: &Timeline,
        who: Who,
        configs: (ConsumerConfig, ProducerConfig),
        bug: Option<Bug>,
        mut random: fastrand::Rng,
    ) -> Result<Self, String> {
        let now = timeline.now();
        let joining = Joining::new(who, &configs.0);
        let mut consumer = Consumer::new(now, configs.0).map_err(|error| error.to_string())?;
        let mut producer = Producer::new(configs.1).map_err(|error| error.to_string())?;
        member::plant(&mut consumer, bug);
        sender::plant(&mut producer, bug);
        let topics = GROUPS[COPIERS].topics().map(Into::into);
        consumer.subscribe(now, topics).map_err(|error| error.to_string())?;
        consumer.application_waits(now);
        Ok(Self {
            who,
            consumer,
            producer,
            ids: RequestIds::default(),
            routes: BTreeMap::new(),
            joining,
            doing: Doing::Waiting,
            owned: BTreeSet::new(),
            gives_up_at: None,
            busy_until: 0,
            batch: random.usize(1..20),
            slowest: *random.choice(&[1_000, 50_000, 1_000_000]).unwrap_or(&1_000),
            leaving: false,
            consumer_closed: false,
            producer_closed: false,
            has_failed: false,
            random,
            violations: Vec::new(),
        })
    }

    pub(super) const fn who(&self) -> Who {
        self.who
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.consumer_closed && self.producer_closed
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(super) fn is_from_producer(&self, id: RequestId) -> bool {
        self.routes.get(&id).is_some_and(|(side, _)| *side == Side::Producer)
    }

    pub(super) fn stay_busy(&mut self, until: u64) {
        self.busy_until = until;
        if let Doing::Copying(work) = &mut self.doing {
            work.until = until.max(work.until);
        }
    }

    /// Leaves when the transaction under way has ended.
    pub(super) fn close(&mut self, timeline: &mut Timeline) {
        timeline.note(format_args!("{} leaves", self.who));
        self.leaving = true;
    }

    pub(super) fn answer(
        &mut self,
        timeline: &Timeline,
        ledger: &mut Ledger,
        id: RequestId,
        result: Result<Response, Failure>,
    ) {
        self.joining.hears(timeline, ledger, id, &result);
        match self.routes.remove(&id) {
            Some((Side::Consumer, id)) => self.consumer.handle_response(timeline.now(), id, result),
            Some((Side::Producer, id)) => self.producer.handle_response(timeline.now(), id, result),
            None => {}
        }
    }

    pub(super) fn wake(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> Vec<Outgoing> {
        let now = timeline.now();
        self.consumer.handle_timeout(now);
        self.producer.handle_timeout(now);
        let mut requests = Vec::new();
        for _ in 0..MOST_TURNS {
            let mut is_quiet = !self.act(timeline, ledger);
            while let Some(outgoing) = self.consumer.poll_request(now) {
                let outgoing = self.routed(Side::Consumer, outgoing);
                self.joining.sends(ledger, &outgoing);
                requests.push(outgoing);
            }
            while let Some(outgoing) = self.producer.poll_request(now) {
                requests.push(self.routed(Side::Producer, outgoing));
            }
            while let Some(event) = self.consumer.poll_event() {
                is_quiet = false;
                self.hear(timeline, ledger, event);
            }
            while let Some(event) = self.producer.poll_event() {
                is_quiet &= event == ProducerEvent::Room;
                self.hear_producer(timeline, ledger, event);
            }
            if is_quiet {
                return requests;
            }
        }
        self.misbehaves(format!("{} never comes to rest", self.who));
        requests
    }

    fn routed(&mut self, side: Side, mut outgoing: Outgoing) -> Outgoing {
        let id = self.ids.allocate();
        self.routes.insert(id, (side, outgoing.id));
        outgoing.id = id;
        outgoing
    }

    pub(super) fn deadline(&self, timeline: &Timeline) -> Option<Deadline> {
        let own = match &self.doing {
            Doing::Copying(work) if work.todo.is_empty() => {
                Some(Deadline::new(timeline.at(work.until), "records are copied"))
            }
            Doing::Waiting => {
                self.gives_up_at.map(|at| Deadline::new(timeline.at(at), "partitions are given up"))
            }
            _ => None,
        };
        Deadline::earliest([self.consumer.poll_timeout(), self.producer.poll_timeout(), own])
    }

    pub(super) fn explain(&self, timeline: &Timeline) -> String {
        let lines = self.consumer.explain(timeline.now()).join("; ");
        let phase = self.producer.transaction_phase();
        format!("{}: {:?}; {phase:?}; {lines}", self.who, self.doing)
    }

    /// The application does what it has to do by now. True when that was something.
    fn act(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> bool {
        if self.has_failed {
            return false;
        }
        let now = timeline.micros();
        match &mut self.doing {
            Doing::Waiting if self.gives_up_at.is_some_and(|at| at <= now) => {
                self.gives_up_at = None;
                self.consumer.revoke_done(timeline.now());
                true
            }
            Doing::Waiting if self.leaving => {
                self.consumer.close(timeline.now());
                self.producer.close(timeline.now() + CLOSING);
                self.doing = Doing::Closing;
                true
            }
            Doing::Waiting => match self.producer.transaction_phase() {
                Some(TransactionPhase::Ready) if self.consumer.is_ready() => self.take(timeline, ledger),
                Some(TransactionPhase::Stuck(error)) => {
                    self.ended(timeline, ledger, Err(error));
                    true
                }
                _ => false,
            },
            Doing::Copying(_) => self.copy(timeline, ledger),
            Doing::Asking(query @ None) => match self.producer.transaction_phase() {
                Some(TransactionPhase::Ready) => {
                    let asked = self.consumer.query_committed(timeline.now(), self.owned.iter().cloned());
                    *query = asked.ok().map(|id| (id, self.owned.clone()));
                    query.is_some()
                }
                Some(TransactionPhase::Stuck(error)) if error.remedy() == Remedy::NewProducer => {
                    self.has_failed = true;
                    false
                }
                _ => false,
            },
            Doing::Closing if self.gives_up_at.take().is_some() => {
                self.consumer.revoke_done(timeline.now());
                true
            }
            Doing::Asking(Some(_)) | Doing::Ending { .. } | Doing::Closing => false,
        }
    }

    fn take(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> bool {
        let taken = self.consumer.take(timeline.now(), self.batch);
        while let Some(event) = self.consumer.poll_event() {
            self.hear(timeline, ledger, event);
        }
        if taken.is_empty() {
            // There was nothing for the application in what had come.
            self.consumer.application_waits(timeline.now());
            return false;
        }
        let Some(group) = self.consumer.group_membership() else {
            self.misbehaves(format!("{} hands out records and is in no group", self.who));
            return false;
        };
        let until = timeline.micros() + self.random.u64(100..=pace(timeline, self.slowest));
        let mut work = Work {
            todo: VecDeque::new(),
            until: until.max(self.busy_until),
            records: Vec::new(),
            back: BTreeMap::new(),
            next: BTreeMap::new(),
            group,
            is_stale: false,
        };
        for records in &taken {
            let Some(place) = place_of(records.partition()) else { continue };
            work.next.insert(records.partition().clone(), records.next_position());
            for record in records {
                let (offset, value) = (record.offset(), record.value().unwrap_or_default());
                work.back.entry(records.partition().clone()).or_insert(offset);
                if let Some(found) = found(offset, value) {
                    ledger.handed_out(timeline.micros(), self.who, place, offset, found.id);
                    work.records.push((place, offset));
                }
                let to = place.partition % TOPICS[COPIES].1;
                work.todo.push_back((to, Bytes::copy_from_slice(value)));
            }
        }
        timeline.note(format_args!("{} copies from {:?}", self.who, work.back));
        self.doing = Doing::Copying(work);
        if let Err(error) = self.producer.begin(timeline.now()) {
            self.misbehaves(format!("{} can't begin: {error}", self.who));
        }
        true
    }

    fn copy(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> bool {
        let Doing::Copying(work) = &mut self.doing else { return false };
        if let Some(TransactionPhase::Stuck(error)) = self.producer.transaction_phase() {
            self.ended(timeline, ledger, Err(error));
            return true;
        }
        while let Some((partition, value)) = work.todo.front().filter(|_| !work.is_stale) {
            let record = NewRecord {
                topic: TOPICS[COPIES].0,
                partition: Some(*partition),
                key: None,
                value: Some(value),
                headers: &[],
                timestamp: None,
            };
            match self
                .producer
                .accumulator()
                .enqueue(&At { now: timeline.now(), wall_ms: 1_700_000_000_000 }, &record)
            {
                Ok(_) => _ = work.todo.pop_front(),
                Err(EnqueueError::UnknownTopic(_) | EnqueueError::BufferFull(_)) => return false,
                Err(EnqueueError::Transaction(error)) => {
                    self.ended(timeline, ledger, Err(error));
                    return true;
                }
                Err(error) => {
                    self.has_failed = true;
                    self.misbehaves(format!("{} can't copy: {error}", self.who));
                    return false;
                }
            }
        }
        if work.until > timeline.micros() && !work.is_stale {
            return false;
        }
        let Doing::Copying(work) = std::mem::replace(&mut self.doing, Doing::Waiting) else { return false };
        // Now and then the application changes its mind.
        if work.is_stale || self.random.u8(..8) == 0 {
            self.abort(timeline, work);
        } else {
            self.commit(timeline, ledger, work);
        }
        true
    }

    fn commit(&mut self, timeline: &mut Timeline, ledger: &mut Ledger, work: Work) {
        let offsets = work.next.iter().map(|(partition, next)| {
            let (offset, leader_epoch) = (next.offset, next.leader_epoch);
            (partition.clone(), GroupOffset { offset, leader_epoch, ..Default::default() })
        });
        let GroupMembership { group_id, member_id, generation_or_epoch, group_instance_id } =
            work.group.clone();
        let group = GroupMetadata { group_id, member_id, generation_or_epoch, group_instance_id };
        let sent = self.producer.send_offsets(group, offsets.collect()).map(|_| ());
        work.records.iter().for_each(|(place, offset)| ledger.handled(*place, *offset));
        let asked = sent.and_then(|()| self.producer.commit(timeline.now()));
        timeline.note(format_args!("{} commits {:?}", self.who, work.next));
        self.doing = Doing::Ending { work, commits: 1 };
        if let Err(error) = asked {
            self.ended(timeline, ledger, Err(error));
        }
    }

    fn abort(&mut self, timeline: &mut Timeline, work: Work) {
        timeline.note(format_args!("{} aborts", self.who));
        self.doing = Doing::Ending { work, commits: 0 };
        if let Err(error) = self.producer.abort() {
            self.misbehaves(format!("{} can't abort: {error}", self.who));
            self.has_failed = true;
        }
    }

    /// A transaction has ended, or what was asked of it failed.
    fn ended(&mut self, timeline: &mut Timeline, ledger: &mut Ledger, result: Result<(), TransactionError>) {
        timeline.note(format_args!("{} hears of its transaction: {result:?}", self.who));
        let (work, commits) = match std::mem::replace(&mut self.doing, Doing::Waiting) {
            Doing::Copying(work) => (Some(work), 0),
            Doing::Ending { work, commits } => (Some(work), commits),
            other => {
                self.doing = other;
                (None, 0)
            }
        };
        let remedy = result.as_ref().err().map(TransactionError::remedy);
        match (remedy, work) {
            // What was given up and came back meanwhile may be read from where it was before the commit: a member that
            // joins again can have its old epoch, and then the group takes what it had sent.
            (None, Some(work)) if commits > 0 && work.is_stale => self.doing = Doing::Asking(None),
            (None, Some(_)) if commits > 0 => self.rest(timeline),
            (None | Some(Remedy::Begin), Some(work)) => {
                self.go_back(timeline, ledger, work.back);
                self.rest(timeline);
            }
            (Some(Remedy::Abort), Some(work)) => self.abort(timeline, work),
            (Some(Remedy::Abort), None) => drop(self.producer.abort()),
            (Some(Remedy::CommitAgain), Some(work)) if commits < COMMITS => {
                self.doing = Doing::Ending { work, commits: commits + 1 };
                if self.producer.commit(timeline.now()).is_err() {
                    self.has_failed = true;
                }
            }
            (Some(Remedy::CommitAgain), Some(_)) => {
                self.doing = Doing::Asking(None);
                self.has_failed |= self.producer.reinitialize().is_err();
            }
            (None, None) => {}
            _ => self.has_failed = true,
        }
    }

    /// Reads again what was not copied.
    fn go_back(&mut self, timeline: &Timeline, ledger: &mut Ledger, to: BTreeMap<TopicPartition, i64>) {
        for (partition, offset) in to {
            let sought = self.consumer.seek(timeline.now(), &partition, SeekTo::Offset(offset));
            if let (Ok(()), Some(place)) = (sought, place_of(&partition)) {
                ledger.went_back(self.who, place, offset);
            }
        }
    }

    fn rest(&mut self, timeline: &Timeline) {
        if self.consumer.is_ready() {
            self.consumer.application_polled(timeline.now());
        } else {
            self.consumer.application_waits(timeline.now());
        }
    }

    fn hear_producer(&mut self, timeline: &mut Timeline, ledger: &mut Ledger, event: ProducerEvent) {
        match event {
            ProducerEvent::Transaction(TransactionEvent::Ended(result)) => {
                self.ended(timeline, ledger, result);
            }
            ProducerEvent::Transaction(TransactionEvent::Fatal(error)) => {
                timeline.note(format_args!("{} can't go on: {error}", self.who));
                self.has_failed = true;
            }
            ProducerEvent::Closed => self.producer_closed = true,
            ProducerEvent::Transaction(_)
            | ProducerEvent::Room
            | ProducerEvent::Flushed(_)
            | ProducerEvent::Settled(_) => {}
        }
    }

    fn hear(&mut self, timeline: &mut Timeline, ledger: &mut Ledger, event: Event) {
        let who = self.who;
        if !matches!(event, Event::Fetched) {
            timeline.note(format_args!("{who} hears {}", member::Heard(&event)));
        }
        match event {
            Event::Assigned(partitions) => {
                for partition in partitions {
                    let place = place_of(&partition);
                    place.into_iter().for_each(|place| ledger.assigned(timeline.micros(), who, place));
                    self.owned.insert(partition);
                }
            }
            Event::RevokePending(partitions) => {
                partitions.iter().filter_map(place_of).for_each(|place| ledger.revoking(who, place));
                self.gives_up_at = Some(timeline.micros() + self.random.u64(0..100_000));
            }
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                for partition in partitions {
                    place_of(&partition).into_iter().for_each(|place| ledger.released(who, place));
                    self.owned.remove(&partition);
                    if let Doing::Copying(work) | Doing::Ending { work, .. } = &mut self.doing {
                        work.is_stale |= work.next.contains_key(&partition);
                        work.back.remove(&partition);
                    }
                }
            }
            Event::CommittedOffsets { id, result } => {
                let Doing::Asking(query) = &mut self.doing else { return };
                let Some((_, asked)) = query.take_if(|(asked, _)| *asked == id) else { return };
                if let Ok(known) = result {
                    // What has come since is read from where the group was by then.
                    let kept = asked.intersection(&self.owned).cloned();
                    let to = kept.map(|partition| {
                        let offset = known.get(&partition).map_or(0, |known| known.position.offset);
                        (partition, offset)
                    });
                    let to = to.collect();
                    self.doing = Doing::Waiting;
                    self.go_back(timeline, ledger, to);
                    self.rest(timeline);
                }
            }
            Event::Failed(error) => self.misbehaves(format!("{who} gives up: {error}")),
            Event::Closed => self.consumer_closed = true,
            Event::Joined(_) | Event::Fetched | Event::Committed { .. } => {}
        }
    }

    fn misbehaves(&mut self, what: String) {
        if self.violations.len() < 10 {
            self.violations.push(Violation::Misbehaved(what));
        }
    }
}
