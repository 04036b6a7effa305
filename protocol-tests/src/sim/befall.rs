//! How each fault comes about.

use milena_embedded_broker::core::{BrokerId, Rule};

use super::{
    copier::Copier,
    history::Violation,
    ledger::Who,
    member::Member,
    plan::{BROKERS, COPIERS, GROUPS, HEAL, Plan, TOPICS},
    schedule::What,
    seat::{Actor, Seat},
    timeline::Event,
    world::World,
};

/// After how long, in µs, it is looked again whether a member has left.
const STILL_LEAVING: u64 = 500_000;

impl World {
    /// The time of a fault has come.
    pub(super) fn befall(&mut self, number: usize) {
        let Some(fault) = self.faults.get(number).copied() else { return };
        self.timeline.note(format_args!("fault {number}: {:?}", fault.what));
        match fault.what {
            What::Stop { broker, micros } => self.stop_broker(broker, micros),
            What::Elect { topic, partition, broker } => self.elect(topic, partition, broker),
            What::Meet { broker, api, action, times } => {
                self.took_effect += 1;
                self.cluster.faults().add(Rule::new(api, action).at(broker).times(times));
            }
            What::Crash { seat, micros } => self.crash(seat, micros),
            What::Pause { seat, micros } => self.pause(seat, micros),
            What::Busy { seat, micros } => {
                let until = self.timeline.micros() + micros;
                if let Some(actor) = self.seats.get_mut(seat).and_then(|sits| sits.actor.as_mut()) {
                    self.took_effect += 1;
                    actor.stay_busy(until);
                    self.drain(seat);
                }
            }
            What::Leave { seat, micros } => {
                let again = self.timeline.micros() + micros;
                let Some(sits) = self.seats.get_mut(seat).filter(|sits| !sits.is_paused()) else { return };
                if let Some(actor) = &mut sits.actor {
                    self.took_effect += 1;
                    actor.leave(&mut self.timeline);
                    self.timeline.schedule(again, Event::Start { seat });
                    self.drain(seat);
                }
            }
            What::Narrow { topic, bytes } => self.narrow(topic, bytes),
            What::Start { seat } => self.start(seat),
            of_messages => self.network.weather.add(self.timeline.micros(), of_messages),
        }
    }

    fn stop_broker(&mut self, broker: BrokerId, micros: u64) {
        if self.cluster.is_up(broker) {
            self.took_effect += 1;
            self.timeline.note(format_args!("broker {broker} stops"));
            self.network.broker_stops(&mut self.timeline, broker);
            self.cluster.stop_broker(self.timeline.now(), broker);
            self.drain_cluster();
            let at = self.timeline.micros() + micros;
            self.timeline.schedule(at, Event::BrokerStarts { broker });
        }
    }

    pub(super) fn start_broker(&mut self, broker: BrokerId) {
        self.timeline.note(format_args!("broker {broker} starts"));
        self.cluster.start_broker(broker);
        self.drain_cluster();
    }

    fn elect(&mut self, topic: usize, partition: i32, broker: BrokerId) {
        let Some((name, _)) = TOPICS.get(topic) else { return };
        if self.cluster.move_leader(self.timeline.now(), name, partition, broker).is_ok() {
            self.took_effect += 1;
            self.drain_cluster();
        }
    }

    fn narrow(&mut self, topic: usize, bytes: Option<u32>) {
        let Some((name, _)) = TOPICS.get(topic) else { return };
        let value = bytes.map(|bytes| bytes.to_string());
        if self.cluster.configure_topic(name, "max.message.bytes", value.as_deref()).is_ok() {
            self.took_effect += 1;
        }
    }

    pub(super) fn crash(&mut self, seat: usize, micros: u64) {
        if !self.empty(seat) {
            return;
        }
        self.took_effect += 1;
        let at = self.timeline.micros() + micros;
        self.timeline.schedule(at, Event::Start { seat });
    }

    /// The process on a seat is gone. True if there was one.
    fn empty(&mut self, seat: usize) -> bool {
        let Some(mut actor) = self.seats.get_mut(seat).and_then(Seat::stand_up) else { return false };
        self.violations.append(actor.violations());
        let group = self.plan.group_of(seat);
        if let (Some(who), Some(ledger)) = (actor.who(), self.ledgers.get_mut(group)) {
            ledger.died(who);
        }
        self.network.forget(&mut self.timeline, seat);
        true
    }

    fn pause(&mut self, seat: usize, micros: u64) {
        let Some(sits) = self.seats.get_mut(seat) else { return };
        if sits.actor.is_none() || sits.is_paused() {
            return;
        }
        self.took_effect += 1;
        sits.pause();
        let life = sits.life;
        self.sleeps(seat, life, true);
        let at = self.timeline.micros() + micros;
        self.timeline.schedule(at, Event::Resume { seat, life });
    }

    pub(super) fn resume(&mut self, seat: usize, life: u32) {
        let Some(sits) = self.seats.get_mut(seat).filter(|sits| sits.life == life) else { return };
        self.timeline.note(format_args!("s{seat} goes on"));
        let Some(ledger) = self.ledgers.get_mut(self.plan.group_of(seat)) else { return };
        let requests = sits.resume(&mut self.timeline, ledger);
        self.sleeps(seat, life, false);
        self.send(seat, requests);
    }

    fn sleeps(&mut self, seat: usize, life: u32, asleep: bool) {
        if let Some(ledger) = self.ledgers.get_mut(self.plan.group_of(seat)) {
            ledger.sleeps(Who { seat, life }, asleep);
        }
    }

    /// A member or a copier joins, unless one sits there already.
    pub(super) fn start(&mut self, seat: usize) {
        let Some(sits) = self.seats.get(seat) else { return };
        if let Some(actor) = sits.actor.as_ref().filter(|actor| !actor.is_closed()) {
            if actor.is_leaving() {
                let at = self.timeline.micros() + STILL_LEAVING;
                self.timeline.schedule(at, Event::Start { seat });
            }
            return;
        }
        self.empty(seat);
        match self.process(seat) {
            Ok(actor) => self.sit_down(seat, actor),
            Err(error) => self.violations.push(Violation::Misbehaved(error)),
        }
    }

    fn process(&mut self, seat: usize) -> Result<Actor, String> {
        let who = Who { seat, life: self.seats.get(seat).map_or(0, |sits| sits.life) };
        self.timeline.note(format_args!("{who} starts"));
        let number = self.plan.group_of(seat);
        let config = self.plan.member_config(number, &mut self.random);
        let (bug, random) = (self.options.bug, self.random.fork());
        if number == COPIERS {
            let configs = (config, Plan::copier_config(seat, &mut self.random));
            return Ok(Actor::Copier(Box::new(Copier::new(&self.timeline, who, configs, bug, random)?)));
        }
        let group = GROUPS.get(number).copied().ok_or("there is no such group")?;
        Ok(Actor::Member(Box::new(Member::new(&self.timeline, who, group, config, bug, random)?)))
    }

    /// Faults end: who is gone comes back, and nothing breaks any more.
    pub(super) fn heal(&mut self) {
        self.timeline.note(format_args!("faults end"));
        self.network.weather.heal();
        self.cluster.faults().clear();
        for broker in (1..=i32::from(BROKERS)).map(BrokerId) {
            self.cluster.start_broker(broker);
        }
        self.drain_cluster();
        debug_assert_eq!(self.timeline.micros(), HEAL, "faults end when they are to end");
        for seat in self.plan.reader_seats() {
            self.start(seat);
        }
    }
}
