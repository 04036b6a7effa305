//! A seat in a run, and who sits there: a process that drives a machine, follows the drain rule, dies, stands still.

use milena_cluster::{Deadline, Failure, Outgoing, RequestId};
use milena_protocol::messages::Response;

use super::{
    copier::Copier,
    history::Violation,
    ledger::{Ledger, Who},
    member::Member,
    sender::Sender,
    timeline::Timeline,
};

/// Wakes at one moment that are no reason to suspect a machine of spinning.
const PATIENCE: u32 = 64;

/// A machine with its user.
#[derive(Debug)]
pub(super) enum Actor {
    Sender(Box<Sender>),
    Member(Box<Member>),
    Copier(Box<Copier>),
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) actor: Option<Actor>,
    /// Counts the processes that sat here before.
    pub(super) life: u32,
    /// What is due next. A machine changes only when it is told something, so this is asked for after each time.
    deadline: Option<(u64, &'static str)>,
    /// The process stands still, and this is what it will hear of when it goes on.
    paused: Option<Vec<(RequestId, Result<Response, Failure>)>>,
    /// When and how often in a row the machine was woken.
    woken: (u64, u32),
    random: fastrand::Rng,
    pub(super) violations: Vec<Violation>,
}

impl Actor {
    fn answer(
        &mut self,
        timeline: &Timeline,
        ledger: &mut Ledger,
        id: RequestId,
        result: Result<Response, Failure>,
    ) {
        match self {
            Self::Sender(sender) => sender.answer(timeline, id, result),
            Self::Member(member) => member.answer(timeline, ledger, id, result),
            Self::Copier(copier) => copier.answer(timeline, ledger, id, result),
        }
    }

    fn wake(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> Vec<Outgoing> {
        match self {
            Self::Sender(sender) => sender.wake(timeline),
            Self::Member(member) => member.wake(timeline, ledger),
            Self::Copier(copier) => copier.wake(timeline, ledger),
        }
    }

    fn deadline(&self, timeline: &Timeline) -> Option<Deadline> {
        match self {
            Self::Sender(sender) => sender.deadline(),
            Self::Member(member) => member.deadline(timeline),
            Self::Copier(copier) => copier.deadline(timeline),
        }
    }

    /// Whether everything it owes its user is done.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Sender(sender) => sender.closed,
            Self::Member(member) => member.closed,
            Self::Copier(copier) => copier.is_closed(),
        }
    }

    /// Whether it can't go on, and another process has to take its place.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self, Self::Copier(copier) if copier.has_failed)
    }

    /// Whether a request is from the second of its machines.
    pub(super) fn is_second_machine(&self, id: RequestId) -> bool {
        matches!(self, Self::Copier(copier) if copier.is_from_producer(id))
    }

    /// Whether it is about to leave.
    pub(super) fn is_leaving(&self) -> bool {
        match self {
            Self::Sender(_) => false,
            Self::Member(member) => member.is_leaving(),
            Self::Copier(copier) => copier.is_leaving(),
        }
    }

    /// Who it is to its group.
    pub(super) fn who(&self) -> Option<Who> {
        match self {
            Self::Sender(_) => None,
            Self::Member(member) => Some(member.who()),
            Self::Copier(copier) => Some(copier.who()),
        }
    }

    /// Leaves its group.
    pub(super) fn leave(&mut self, timeline: &mut Timeline) {
        match self {
            Self::Sender(_) => {}
            Self::Member(member) => member.close(timeline),
            Self::Copier(copier) => copier.close(timeline),
        }
    }

    /// What it does until then takes as long.
    pub(super) fn stay_busy(&mut self, until: u64) {
        match self {
            Self::Sender(_) => {}
            Self::Member(member) => member.stay_busy(until),
            Self::Copier(copier) => copier.stay_busy(until),
        }
    }

    /// Why it does not do what one expects of it.
    pub(super) fn explain(&self, timeline: &Timeline) -> String {
        match self {
            Self::Sender(_) => String::new(),
            Self::Member(member) => member.explain(timeline),
            Self::Copier(copier) => copier.explain(timeline),
        }
    }

    pub(super) fn violations(&mut self) -> &mut Vec<Violation> {
        match self {
            Self::Sender(sender) => &mut sender.violations,
            Self::Member(member) => &mut member.violations,
            Self::Copier(copier) => &mut copier.violations,
        }
    }
}

impl Seat {
    /// An empty seat.
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self {
            actor: None,
            life: 0,
            deadline: None,
            paused: None,
            woken: (0, 0),
            random,
            violations: Vec::new(),
        }
    }

    /// When the process here wants to be woken.
    pub(super) fn due(&self) -> Option<u64> {
        if self.paused.is_some() { None } else { self.deadline.map(|(at, _)| at) }
    }

    /// What the process waits for.
    pub(super) fn why(&self) -> String {
        match self.deadline {
            Some((at, why)) => format!("next: {why}, at {:.3} s", at as f64 / 1e6),
            None => "nothing is due".to_owned(),
        }
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(super) fn sender(&mut self) -> Option<&mut Sender> {
        match &mut self.actor {
            Some(Actor::Sender(sender)) => Some(sender),
            _ => None,
        }
    }

    /// A process sits down.
    pub(super) fn sit_down(&mut self, actor: Actor) {
        self.actor = Some(actor);
        self.paused = None;
    }

    /// The process ends, whatever it was doing.
    pub(super) fn stand_up(&mut self) -> Option<Actor> {
        self.life += 1;
        self.deadline = None;
        self.paused = None;
        self.actor.take()
    }

    /// The process stands still.
    pub(super) fn pause(&mut self) {
        self.paused.get_or_insert_default();
    }

    /// The process goes on. Whoever drives it looks at the answers first, at the clock, or lets the application act.
    pub(super) fn resume(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> Vec<Outgoing> {
        let Some(inbox) = self.paused.take() else { return Vec::new() };
        let mut requests = Vec::new();
        match self.random.u8(..3) {
            0 => requests.extend(self.drain(timeline, ledger)),
            1 => {
                if let Some(Actor::Member(member)) = &mut self.actor {
                    member.turn_first(timeline, ledger);
                }
            }
            _ => {}
        }
        for (id, result) in inbox {
            requests.extend(self.answer(timeline, ledger, id, result));
        }
        requests.extend(self.drain(timeline, ledger));
        requests
    }

    /// Tells the machine what became of a request. What it wants to send then.
    pub(super) fn answer(
        &mut self,
        timeline: &mut Timeline,
        ledger: &mut Ledger,
        id: RequestId,
        result: Result<Response, Failure>,
    ) -> Vec<Outgoing> {
        if let Some(inbox) = &mut self.paused {
            inbox.push((id, result));
            return Vec::new();
        }
        let Some(actor) = &mut self.actor else { return Vec::new() };
        actor.answer(timeline, ledger, id, result);
        // Whoever drives a machine may have several answers for it before the next turn.
        if self.random.u8(..4) == 0 {
            self.deadline = Some((timeline.micros(), "the machine is drained"));
            return Vec::new();
        }
        self.drain(timeline, ledger)
    }

    /// Follows the drain rule. What the machine wants to send.
    pub(super) fn drain(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> Vec<Outgoing> {
        let Some(actor) = self.actor.as_mut().filter(|_| self.paused.is_none()) else { return Vec::new() };
        if actor.is_closed() {
            self.deadline = None;
            return Vec::new();
        }
        let requests = actor.wake(timeline, ledger);
        let now = timeline.micros();
        let (at, times) = self.woken;
        self.woken = if at == now { (at, times + 1) } else { (now, 1) };
        let next = if actor.is_closed() { None } else { actor.deadline(timeline) };
        self.deadline = next.map(|deadline| (timeline.micros_of(deadline.at).max(now), deadline.why));
        if let Some((at, why)) = self.deadline
            && at == now
            && self.woken.1 > PATIENCE
        {
            self.violations.push(Violation::Misbehaved(format!("a machine spins: {why}")));
            self.deadline = None;
        }
        requests
    }
}
