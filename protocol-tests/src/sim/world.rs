//! The run: producers, the network and the brokers on one clock, and the bad things that befall them.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use milena_embedded_broker::core::{Action, BrokerId, Cluster, ClusterConfig, Output, Rule};
use milena_protocol::{
    ErrorCode,
    messages::ApiKey,
    records::{Batches, ReadOptions},
};

use super::{
    actor::{Actor, Tally, found},
    history::{Logs, Place, Sent, Violation, check},
    network::{Answered, Counts, Network},
    plan::{Plan, TOPICS},
    saboteur::Bug,
    timeline::{Event, Timeline},
    trace::Trace,
};

const BROKERS: u16 = 3;
/// The time the clock of the brokers starts at, in ms since 1970.
const START: i64 = 1_700_000_000_000;
/// How long after the faults the producers may take to find their way again, in µs: the longest request timeout and a
/// few waits.
const RECOVERY: u64 = 4_000_000;
/// How long a probe and everything before it may take, in µs: more than the longest delivery timeout.
const SETTLED: u64 = 10_000_000;
/// How long a producer may take to close, of which it needs little.
const CLOSING: Duration = Duration::from_secs(20);
/// When a run ends at the latest, in µs: the last fault, recovery, settling, closing, and a stalled message.
const END: u64 = 80_000_000;
/// Events of a run; there are a hundred times fewer.
const MOST_EVENTS: u64 = 2_000_000;

/// How a run is to go, besides what its seed says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug to plant in every producer.
    pub bug: Option<Bug>,
    /// Whether the trace is kept as text.
    pub keep_trace: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// What happened.
    pub trace: Trace,
    /// The producers' records.
    pub tally: Tally,
    /// What the network and the brokers did.
    pub counts: Counts,
    /// Simulated time.
    pub simulated: Duration,
}

impl Report {
    /// Everything a person needs to look into a failure. The trace is there if it was kept.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = format!("seed {} breaks promises:\n", self.seed);
        for violation in &self.violations {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {violation}");
        }
        for line in self.trace.lines() {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// Runs one simulation. The same seed and options give the same run.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options);
    world.run();
    world.report(seed)
}

#[derive(Debug)]
struct World {
    plan: Plan,
    timeline: Timeline,
    cluster: Cluster,
    network: Network,
    actors: Vec<Actor>,
    random: fastrand::Rng,
    violations: Vec<Violation>,
    /// Faults that befell the brokers.
    faults: u64,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut random);
        let timeline = Timeline::new(Instant::now(), Trace::new(options.keep_trace));
        let config = ClusterConfig {
            brokers: BROKERS,
            seed,
            retention_bytes: None,
            max_versions: plan.max_versions.clone(),
            ..ClusterConfig::default()
        };
        let mut cluster = Cluster::new(config, timeline.now(), START);
        let mut violations = Vec::new();
        for (name, partitions) in TOPICS {
            let created = cluster.create_topic_with(name, partitions, &[("min.insync.replicas", "2")]);
            violations.extend(created.err().map(|error| Violation::Misbehaved(error.to_string())));
        }
        let network = Network::new(plan.network.clone(), random.fork());
        let actors = (0..plan.producers).filter_map(|index| {
            let config = Plan::producer_config(&mut random);
            let actor = Actor::new(index, config, options.bug, plan.records, random.fork());
            actor.map_err(|error| violations.push(Violation::Misbehaved(error.to_string()))).ok()
        });
        let actors = actors.collect();
        Self { plan, timeline, cluster, network, actors, random, violations, faults: 0 }
    }

    fn run(&mut self) {
        for producer in 0..self.actors.len() {
            let at = self.random.u64(0..100_000);
            self.timeline.schedule(at, Event::Work { producer });
            for (is_second, at) in [(false, RECOVERY), (true, 2 * RECOVERY)] {
                self.timeline.schedule(self.plan.heal + at, Event::Probe { producer, is_second });
            }
            self.timeline.schedule(self.plan.heal + 2 * RECOVERY + SETTLED, Event::Finish { producer });
        }
        self.timeline.schedule(self.plan.nemesis, Event::Nemesis);
        self.timeline.schedule(self.plan.heal, Event::Heal);
        let mut events = 0;
        while let Some(next) = self.next_moment() {
            events += 1;
            if next > END || events > MOST_EVENTS {
                let what = format!("the run does not end: {events} events, {next} µs");
                return self.violations.push(Violation::Misbehaved(what));
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
            for producer in 0..self.actors.len() {
                if self.deadline(producer).is_some_and(|at| at <= self.timeline.micros()) {
                    self.drain(producer);
                }
            }
        }
    }

    /// When something happens next. After everything is closed only messages on their way are of interest.
    fn next_moment(&mut self) -> Option<u64> {
        let cluster = self.cluster.poll_timeout().map(|deadline| self.timeline.micros_of(deadline.at));
        let deadlines = (0..self.actors.len()).filter_map(|producer| self.deadline(producer)).min();
        [self.timeline.next(), cluster, deadlines].into_iter().flatten().min()
    }

    fn deadline(&mut self, producer: usize) -> Option<u64> {
        let actor = self.actors.get_mut(producer)?;
        if actor.closed { None } else { actor.deadline(&self.timeline) }
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
                let answers = self.network.handle_reply(&mut self.timeline, connection, &frame);
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
            Event::Unsent { producer, id, failure } => self.answer(vec![(producer, id, Err(failure))]),
            Event::Work { producer } => self.work(producer),
            Event::Nemesis => self.befall(),
            Event::Heal => self.heal(),
            Event::Probe { producer, is_second } => {
                self.with_actor(producer, |actor, timeline| actor.probe(timeline, is_second));
            }
            Event::Finish { producer } => {
                self.with_actor(producer, |actor, timeline| actor.close(timeline, CLOSING));
            }
        }
    }

    fn with_actor(&mut self, producer: usize, change: impl FnOnce(&mut Actor, &mut Timeline)) {
        if let Some(actor) = self.actors.get_mut(producer) {
            change(actor, &mut self.timeline);
            self.drain(producer);
        }
    }

    fn work(&mut self, producer: usize) {
        self.with_actor(producer, Actor::work);
        let left = self.actors.get(producer).is_some_and(|actor| actor.left > 0);
        if left && self.timeline.micros() < self.plan.heal {
            let at = self.timeline.micros() + self.random.u64(1..self.plan.pause);
            self.timeline.schedule(at, Event::Work { producer });
        }
    }

    fn answer(&mut self, answers: Vec<Answered>) {
        for (producer, id, result) in answers {
            let Some(actor) = self.actors.get_mut(producer) else { continue };
            if let Err(failure) = &result {
                self.timeline.note(format_args!("p{producer} hears of {id:?}: {failure:?}"));
            }
            actor.answer(&self.timeline, id, result);
            // Whoever drives a machine may have several answers for it before the next turn.
            if self.random.bool() {
                self.drain(producer);
            }
        }
        for producer in 0..self.actors.len() {
            self.drain(producer);
        }
    }

    /// Follows the drain rule, and passes on what the machine wants to send.
    fn drain(&mut self, producer: usize) {
        let Some(actor) = self.actors.get_mut(producer) else { return };
        if actor.closed {
            return;
        }
        for outgoing in actor.wake(&mut self.timeline) {
            self.network.send(&mut self.timeline, &self.cluster, producer, outgoing);
        }
    }

    fn drain_cluster(&mut self) {
        while let Some(reply) = self.cluster.poll_reply() {
            match reply.output {
                Output::Frame(frame) => {
                    self.network.carry_reply(&mut self.timeline, reply.connection, &frame.to_bytes());
                }
                Output::Close => self.network.carry_close(&mut self.timeline, reply.connection),
            }
        }
    }

    /// Something bad happens to the brokers.
    fn befall(&mut self) {
        if self.timeline.micros() >= self.plan.heal {
            return;
        }
        let broker = BrokerId(self.random.i32(1..=BROKERS.into()));
        match self.random.u8(0..3) {
            0 if self.plan.bounces => self.bounce(broker),
            1 if self.plan.elections => self.elect(broker),
            2 if self.plan.refusals => self.refuse(broker),
            _ => {}
        }
        self.drain_cluster();
        let at = self.timeline.micros() + self.random.u64(1..self.plan.nemesis);
        self.timeline.schedule(at, Event::Nemesis);
    }

    fn bounce(&mut self, broker: BrokerId) {
        self.faults += 1;
        if self.cluster.is_up(broker) {
            self.timeline.note(format_args!("broker {broker} stops"));
            self.network.broker_stops(&mut self.timeline, broker);
            self.cluster.stop_broker(self.timeline.now(), broker);
        } else {
            self.timeline.note(format_args!("broker {broker} starts"));
            self.cluster.start_broker(broker);
        }
    }

    fn elect(&mut self, broker: BrokerId) {
        let Some((name, partitions)) = self.random.choice(TOPICS) else { return };
        let partition = self.random.i32(0..partitions);
        if self.cluster.move_leader(self.timeline.now(), name, partition, broker).is_ok() {
            self.faults += 1;
            self.timeline.note(format_args!("broker {broker} leads {name}-{partition}"));
        }
    }

    /// The next requests to a broker meet a fault there.
    fn refuse(&mut self, broker: BrokerId) {
        let api =
            self.random.choice([ApiKey::Produce, ApiKey::Produce, ApiKey::Metadata, ApiKey::InitProducerId]);
        let api = api.unwrap_or(ApiKey::Produce);
        let action = match self.random.u8(0..9) {
            0 => Action::CloseBefore,
            1 => Action::CloseAfter,
            2 => Action::DropReply,
            3 => Action::Ignore,
            4 => Action::Delay(Duration::from_millis(self.random.u64(1..2_000))),
            _ => Action::Answer(self.code()),
        };
        self.faults += 1;
        self.timeline.note(format_args!("broker {broker} will meet {api} with {action:?}"));
        let times = self.random.u32(1..4);
        self.cluster.faults().add(Rule::new(api, action).at(broker).times(times));
    }

    fn code(&mut self) -> ErrorCode {
        if self.plan.desynchronizes && self.random.bool() {
            return ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        }
        let codes = [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::CORRUPT_MESSAGE,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::MESSAGE_TOO_LARGE,
            ErrorCode::INVALID_RECORD,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::INVALID_PRODUCER_EPOCH,
            ErrorCode::UNKNOWN_PRODUCER_ID,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ];
        self.random.choice(codes).unwrap_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)
    }

    fn heal(&mut self) {
        self.timeline.note(format_args!("faults end"));
        self.network.heal();
        self.cluster.faults().clear();
        for broker in (1..=i32::from(BROKERS)).map(BrokerId) {
            self.cluster.start_broker(broker);
        }
        self.drain_cluster();
    }

    fn report(mut self, seed: u64) -> Report {
        let (logs, unreadable) = self.read_logs();
        let mut history: Vec<Sent> = Vec::new();
        let mut tally = Tally::default();
        let mut violations = self.violations;
        violations.extend(unreadable);
        for actor in &mut self.actors {
            let (sent, numbers) = actor.finish(self.plan.desynchronizes);
            history.extend(sent);
            tally.add(&numbers);
            violations.append(&mut actor.violations);
        }
        violations.extend(check(&history, &logs));
        let mut counts = self.network.counts;
        counts.faults += self.faults;
        let simulated = Duration::from_micros(self.timeline.micros());
        Report { seed, violations, trace: self.timeline.trace, tally, counts, simulated }
    }

    /// What the brokers have, and what of it can't be read.
    fn read_logs(&mut self) -> (Logs, Vec<Violation>) {
        let mut logs = Logs::new();
        let mut unreadable = Vec::new();
        for (topic, (name, partitions)) in (0..).zip(TOPICS) {
            for partition in 0..partitions {
                let mut log = Vec::new();
                for bytes in self.cluster.batches(name, partition) {
                    for batch in Batches::new(bytes) {
                        let decoded = batch.and_then(|batch| batch.decode(&ReadOptions::default()));
                        let found = decoded.ok().and_then(|batch| {
                            let records = batch.records().map(|record| {
                                let record = record.ok()?;
                                found(record.offset(), record.value()?)
                            });
                            records.collect::<Option<Vec<_>>>()
                        });
                        match found {
                            Some(found) => log.extend(found),
                            None => {
                                let what = format!("{name}-{partition} holds a batch that can't be read");
                                unreadable.push(Violation::Misbehaved(what));
                            }
                        }
                    }
                }
                logs.insert(Place { topic, partition }, log);
            }
        }
        (logs, unreadable)
    }
}
