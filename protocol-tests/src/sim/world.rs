//! The run: clients, the network and the brokers on one clock, and the bad things that befall them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena_embedded_broker::core::{Cluster, Output};

use super::{
    history::Violation,
    ledger::Ledger,
    network::{Answered, From, Network},
    plan::{GROUPS, HEAL, Plan, TOPICS, topic_of},
    report::{Options, Report},
    schedule::{self, Fault},
    seat::{Actor, Seat},
    sender::Sender,
    timeline::{Event, Timeline},
    trace::Trace,
    weather::Weather,
};

/// The time the clock of the brokers starts at, in ms since 1970.
const START: i64 = 1_700_000_000_000;
/// How long after the faults the producers may take to find their way again, in µs: the longest request timeout and a
/// few waits.
const RECOVERY: u64 = 4_000_000;
/// How long a probe and everything before it may take, in µs: more than the longest delivery timeout.
const SETTLED: u64 = 10_000_000;
/// How long a producer may take to close, of which it needs little.
pub(super) const CLOSING: Duration = Duration::from_secs(20);
/// How long after the faults the group may take until everything is read and committed, in µs: a session of a member
/// that has died, a rebalance that waits for one, requests that are given up, and a margin.
const GROUP_SETTLES: u64 = 100_000_000;
/// When a run ends at the latest, in µs. Leaving takes a few requests.
const END: u64 = 600_000_000;
/// After how long a process takes the place of one that can't go on, in µs.
const REPLACED: u64 = 100_000;
/// Events of a run; there are ten times fewer.
const MOST_EVENTS: u64 = 2_000_000;

/// Runs one simulation. The same seed and options give the same run.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let mut world = World::new(seed, options);
    world.run();
    world.report(seed)
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) faults: Vec<Fault>,
    /// Faults that took effect when their time had come.
    pub(super) took_effect: u64,
    pub(super) timeline: Timeline,
    pub(super) cluster: Cluster,
    pub(super) network: Network,
    pub(super) seats: Vec<Seat>,
    /// One for each group.
    pub(super) ledgers: Vec<Ledger>,
    /// For what is set up while the run goes on.
    pub(super) random: fastrand::Rng,
    pub(super) options: Options,
    pub(super) violations: Vec<Violation>,
    has_settled: bool,
}

impl World {
    fn new(seed: u64, options: &Options) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(seed, &mut random);
        let faults = schedule::draw(&plan, &mut random.fork());
        let timeline = Timeline::new(Instant::now(), Trace::new(options.keep_trace));
        let mut cluster = Cluster::new(plan.cluster_config(), timeline.now(), START);
        let mut violations = Vec::new();
        for (name, partitions) in TOPICS {
            let created = cluster.create_topic_with(name, partitions, &[("min.insync.replicas", "2")]);
            violations.extend(created.err().map(|error| Violation::Misbehaved(error.to_string())));
        }
        let network = Network::new(Weather::new(&plan, &mut random));
        let seats = (0..plan.seats()).map(|_| Seat::new(random.fork())).collect();
        Self {
            plan,
            faults,
            took_effect: 0,
            timeline,
            cluster,
            network,
            seats,
            ledgers: GROUPS.iter().map(|_| Ledger::default()).collect(),
            random,
            options: options.clone(),
            violations,
            has_settled: false,
        }
    }

    fn run(&mut self) {
        self.schedule();
        let mut events = 0;
        while let Some(next) = self.next_moment() {
            events += 1;
            if self.is_over() {
                return;
            }
            if next > END || events > MOST_EVENTS {
                let what = format!("the run does not end: {events} events, {next} µs");
                self.violations.push(Violation::Misbehaved(what));
                return self.name_who_hangs();
            }
            self.timeline.advance(next);
            if let Some(event) = self.timeline.take_due() {
                self.happen(event);
                continue;
            }
            let now = self.timeline.now();
            if self.cluster.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
                self.cluster.handle_timeout(now);
                self.drain_cluster();
            }
            for seat in 0..self.seats.len() {
                if self.seats.get(seat).and_then(Seat::due).is_some_and(|at| at <= next) {
                    self.drain(seat);
                }
            }
        }
    }

    fn schedule(&mut self) {
        for seat in self.plan.sender_seats() {
            match Sender::new(
                seat,
                Plan::producer_config(&mut self.random),
                self.options.bug,
                self.random.fork(),
            ) {
                Ok(sender) => self.sit_down(seat, Actor::Sender(Box::new(sender))),
                Err(error) => self.violations.push(Violation::Misbehaved(error.to_string())),
            }
            for (is_second, at) in [(false, RECOVERY), (true, 2 * RECOVERY)] {
                self.timeline.schedule(HEAL + at, Event::Probe { seat, is_second });
            }
            self.timeline.schedule(HEAL + 2 * RECOVERY + SETTLED, Event::Finish { seat });
        }
        let late = self.plan.late_seats();
        for seat in self.plan.reader_seats().filter(|seat| !late.contains(seat)) {
            let at = self.random.u64(0..1_000_000);
            self.timeline.schedule(at, Event::Start { seat });
        }
        for (start, _) in self.plan.storms.clone() {
            self.timeline.schedule(start, Event::Storm);
        }
        let only: Option<BTreeSet<usize>> = self.options.only_faults.clone();
        for Fault { number, at, .. } in &self.faults {
            if only.as_ref().is_none_or(|only| only.contains(number)) {
                self.timeline.schedule(*at, Event::Fault { number: *number });
            }
        }
        self.timeline.schedule(HEAL, Event::Heal);
        self.timeline.schedule(HEAL + GROUP_SETTLES, Event::Settled);
    }

    /// When something happens next.
    fn next_moment(&mut self) -> Option<u64> {
        let cluster = self.cluster.poll_timeout().map(|deadline| self.timeline.micros_of(deadline.at));
        let due = self.seats.iter().filter_map(Seat::due).min();
        [self.timeline.next(), cluster, due].into_iter().flatten().min()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { connection, broker, life, frame } => {
                if self.network.arrives(connection, broker, life) {
                    self.cluster.handle_frame(self.timeline.now(), broker, connection, frame);
                    self.drain_cluster();
                }
            }
            Event::Disconnect { connection } => {
                self.cluster.handle_disconnect(self.timeline.now(), connection);
                self.drain_cluster();
            }
            Event::Reply { connection, frame } => {
                let life = self.network.owner(connection).map_or(0, |seat| self.life(seat));
                let answers = self.network.handle_reply(&mut self.timeline, connection, life, &frame);
                self.answer(answers);
            }
            Event::Closed { connection } => {
                let answers = self.network.cut(&mut self.timeline, connection, "connection closed");
                self.answer(answers);
            }
            Event::RequestTimeout { connection, correlation } => {
                let answers = self.network.handle_timeout(&mut self.timeline, connection, correlation);
                self.answer(answers);
            }
            Event::Unsent { seat, life, id, failure } => {
                if self.life(seat) == life {
                    self.answer(vec![(seat, id, Err(failure))]);
                }
            }
            Event::Storm => self.storm(),
            Event::Work { seat } => self.work(seat),
            Event::Fault { number } => self.befall(number),
            Event::BrokerStarts { broker } => self.start_broker(broker),
            Event::Resume { seat, life } => self.resume(seat, life),
            Event::Start { seat } => self.start(seat),
            Event::Heal => self.heal(),
            Event::Probe { seat, is_second } => {
                self.with_sender(seat, |sender, timeline| sender.probe(timeline, is_second));
            }
            Event::Finish { seat } => {
                self.with_sender(seat, |sender, timeline| sender.close(timeline, CLOSING));
            }
            Event::Settled => self.settled(),
        }
    }

    fn life(&self, seat: usize) -> u32 {
        self.seats.get(seat).map_or(0, |seat| seat.life)
    }

    fn with_sender(&mut self, seat: usize, change: impl FnOnce(&mut Sender, &mut Timeline)) {
        if let Some(sender) = self.seats.get_mut(seat).and_then(Seat::sender) {
            change(sender, &mut self.timeline);
            self.drain(seat);
        }
    }

    /// Every producer gets something to send.
    fn storm(&mut self) {
        for seat in self.plan.sender_seats() {
            let records = self.random.u32(1..=self.plan.records);
            let Some(sender) = self.seats.get_mut(seat).and_then(Seat::sender) else { continue };
            let is_idle = sender.left == 0;
            sender.left = records;
            if is_idle {
                let at = self.timeline.micros() + self.random.u64(0..100_000);
                self.timeline.schedule(at, Event::Work { seat });
            }
        }
    }

    fn work(&mut self, seat: usize) {
        if !self.seats.get(seat).is_some_and(Seat::is_paused) {
            self.with_sender(seat, Sender::work);
        }
        let Some(sender) = self.seats.get_mut(seat).and_then(Seat::sender) else { return };
        if sender.left > 0 && self.timeline.micros() < HEAL {
            let at = self.timeline.micros() + self.random.u64(1..self.plan.pause);
            self.timeline.schedule(at, Event::Work { seat });
        }
    }

    fn answer(&mut self, answers: Vec<Answered>) {
        for (seat, id, result) in answers {
            if let Err(failure) = &result {
                self.timeline.note(format_args!("s{seat} hears of {id:?}: {failure:?}"));
            }
            let ledger = self.ledgers.get_mut(self.plan.group_of(seat));
            let Some((sits, ledger)) = self.seats.get_mut(seat).zip(ledger) else { continue };
            let requests = sits.answer(&mut self.timeline, ledger, id, result);
            self.send(seat, requests);
        }
    }

    /// Lets a process act, and passes on what it wants to send.
    pub(super) fn drain(&mut self, seat: usize) {
        let ledger = self.ledgers.get_mut(self.plan.group_of(seat));
        if let Some((sits, ledger)) = self.seats.get_mut(seat).zip(ledger) {
            let requests = sits.drain(&mut self.timeline, ledger);
            self.send(seat, requests);
        }
    }

    pub(super) fn send(&mut self, seat: usize, requests: Vec<milena_cluster::Outgoing>) {
        let life = self.life(seat);
        for outgoing in requests {
            let actor = self.seats.get(seat).and_then(|sits| sits.actor.as_ref());
            let is_second_machine = actor.is_some_and(|actor| actor.is_second_machine(outgoing.id));
            let from = From { seat, life, is_second_machine };
            self.network.send(&mut self.timeline, &self.cluster, from, outgoing);
        }
        if self.seats.get(seat).and_then(|sits| sits.actor.as_ref()).is_some_and(Actor::has_failed) {
            self.crash(seat, REPLACED);
        }
    }

    pub(super) fn sit_down(&mut self, seat: usize, actor: Actor) {
        if let Some(sits) = self.seats.get_mut(seat) {
            sits.sit_down(actor);
            self.drain(seat);
        }
    }

    pub(super) fn drain_cluster(&mut self) {
        while let Some(reply) = self.cluster.poll_reply() {
            match reply.output {
                Output::Frame(frame) => {
                    self.network.carry_reply(&mut self.timeline, reply.connection, &frame.to_bytes());
                }
                Output::Close => self.network.carry_close(&mut self.timeline, reply.connection),
            }
        }
        for number in self.plan.groups() {
            let Some((group, ledger)) = GROUPS.get(number).zip(self.ledgers.get_mut(number)) else {
                continue;
            };
            for place in group.places() {
                if let Some(known) = self.cluster.committed(group.name, topic_of(place), place.partition) {
                    ledger.committed(self.timeline.micros(), place, known.offset);
                }
            }
        }
    }

    /// The group has had all the time it needs: whoever is not at rest hangs. Then everybody leaves.
    fn settled(&mut self) {
        self.has_settled = true;
        let before = self.violations.len();
        let (logs, ..) = self.read_logs();
        for number in self.plan.groups() {
            let Some((group, ledger)) = GROUPS.get(number).zip(self.ledgers.get(number)) else { continue };
            for place in group.places() {
                let end = logs.get(&place).and_then(|log| log.last()).map_or(0, |last| last.offset + 1);
                if let Some(unrest) = ledger.unrest(place, end) {
                    let (topic, partition) = (topic_of(place), place.partition);
                    let what = format!("{}: {topic}-{partition} {unrest}", group.name);
                    self.violations.push(Violation::Misbehaved(what));
                }
            }
        }
        let senders: Vec<_> = self.plan.sender_seats().filter(|seat| !self.is_closed(*seat)).collect();
        if self.violations.len() > before || !senders.is_empty() {
            self.name_who_hangs();
        }
        for seat in self.plan.reader_seats() {
            if let Some(actor) = self.seats.get_mut(seat).and_then(|sits| sits.actor.as_mut()) {
                actor.leave(&mut self.timeline);
                self.drain(seat);
            }
        }
    }

    fn is_closed(&self, seat: usize) -> bool {
        self.seats.get(seat).is_none_or(|sits| sits.actor.as_ref().is_none_or(Actor::is_closed))
    }

    fn is_over(&self) -> bool {
        self.has_settled && (0..self.seats.len()).all(|seat| self.is_closed(seat))
    }

    fn name_who_hangs(&mut self) {
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if seat.actor.as_ref().is_none_or(Actor::is_closed) {
                continue;
            }
            let why = seat.why();
            let more = seat.actor.as_ref().map(|actor| actor.explain(&self.timeline)).unwrap_or_default();
            let what = format!("s{number} has not come to an end; {why}; {more}");
            self.violations.push(Violation::Misbehaved(what));
        }
    }
}
