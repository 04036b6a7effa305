//! How each fault comes about.

use milena_embedded_broker::core::{BrokerId, Rule};

use super::{
    history::Violation,
    ledger::Who,
    member::Member,
    plan::{BROKERS, HEAL, TOPICS},
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
                if let Some(member) = self.seats.get_mut(seat).and_then(Seat::member) {
                    self.took_effect += 1;
                    member.stay_busy(until);
                    self.drain(seat);
                }
            }
            What::Leave { seat, micros } => {
                let again = self.timeline.micros() + micros;
                let Some(sits) = self.seats.get_mut(seat).filter(|sits| !sits.is_paused()) else { return };
                if let Some(member) = sits.member() {
                    self.took_effect += 1;
                    member.close(&mut self.timeline);
                    self.timeline.schedule(again, Event::Start { seat });
                    self.drain(seat);
                }
            }
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

    fn crash(&mut self, seat: usize, micros: u64) {
        let Some(sits) = self.seats.get_mut(seat) else { return };
        let Some(Actor::Member(mut member)) = sits.stand_up() else { return };
        self.took_effect += 1;
        self.violations.append(&mut member.violations);
        self.ledger.died(member.who());
        self.network.forget(&mut self.timeline, seat);
        let at = self.timeline.micros() + micros;
        self.timeline.schedule(at, Event::Start { seat });
    }

    fn pause(&mut self, seat: usize, micros: u64) {
        let Some(sits) = self.seats.get_mut(seat) else { return };
        if sits.actor.is_none() || sits.is_paused() {
            return;
        }
        self.took_effect += 1;
        sits.pause();
        let life = sits.life;
        if sits.member().is_some() {
            self.ledger.sleeps(Who { seat, life }, true);
        }
        let at = self.timeline.micros() + micros;
        self.timeline.schedule(at, Event::Resume { seat, life });
    }

    pub(super) fn resume(&mut self, seat: usize, life: u32) {
        let Some(sits) = self.seats.get_mut(seat).filter(|sits| sits.life == life) else { return };
        self.timeline.note(format_args!("s{seat} goes on"));
        let requests = sits.resume(&mut self.timeline, &mut self.ledger);
        self.ledger.sleeps(Who { seat, life }, false);
        self.send(seat, requests);
    }

    /// A member joins, unless one sits there already.
    pub(super) fn start(&mut self, seat: usize) {
        let Some(sits) = self.seats.get_mut(seat) else { return };
        if let Some(Actor::Member(member)) = &mut sits.actor {
            if !member.closed {
                if member.is_leaving() {
                    let at = self.timeline.micros() + STILL_LEAVING;
                    self.timeline.schedule(at, Event::Start { seat });
                }
                return;
            }
            self.violations.append(&mut member.violations);
            self.ledger.died(member.who());
            sits.stand_up();
            self.network.forget(&mut self.timeline, seat);
        }
        let who = Who { seat, life: sits.life };
        self.timeline.note(format_args!("{who} starts"));
        let config = self.plan.member_config(&mut self.random);
        match Member::new(&self.timeline, who, config, self.options.bug, self.random.fork()) {
            Ok(member) => self.sit_down(seat, Actor::Member(Box::new(member))),
            Err(error) => self.violations.push(Violation::Misbehaved(error)),
        }
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
        for seat in self.plan.member_seats() {
            self.start(seat);
        }
    }
}
