//! A member of the group with its application: records are taken, handled for a while, and committed.

use std::collections::{BTreeMap, BTreeSet};

use milena_cluster::{Deadline, Failure, Machine, Outgoing, RequestId, TopicPartition};
use milena_consumer_group::{CommitId, CommitMode, Consumer, ConsumerConfig, Event, Position};
use milena_protocol::messages::Response;

use super::{
    bug::Bug,
    history::{Place, Violation},
    joining::Joining,
    ledger::{Ledger, Who},
    plan::{Group, HEAL, place_of},
    sender::found,
    timeline::Timeline,
};

/// Turns of machine and application at one moment; more are a machine that never comes to rest.
const MOST_TURNS: u32 = 1_000;
/// How long an application waits before it commits again, in µs.
const AGAIN: u64 = 300_000;

#[derive(Debug)]
pub(super) struct Member {
    who: Who,
    machine: Consumer,
    habits: Habits,
    doing: Doing,
    /// What the machine says the member has.
    owned: BTreeSet<TopicPartition>,
    /// Where handling stands in partitions of which that is not committed.
    handled: BTreeMap<TopicPartition, Position>,
    batches: u32,
    /// When partitions are given up that are to be.
    gives_up_at: Option<u64>,
    /// Until when the batch under way, or the next one, takes.
    busy_until: u64,
    commits: BTreeMap<CommitId, BTreeMap<TopicPartition, Position>>,
    joining: Joining,
    /// The newest offset that was committed, or that it was tried for.
    newest: BTreeMap<TopicPartition, i64>,
    /// When what could not be committed is committed once more.
    commits_again_at: Option<u64>,
    closing: bool,
    pub(super) closed: bool,
    random: fastrand::Rng,
    pub(super) violations: Vec<Violation>,
}

/// How an application goes about it.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Most records it takes at a time.
    batch: usize,
    /// The longest it handles them, in µs.
    slowest: u64,
    /// After how many batches it commits.
    commits_every: u32,
    mode: CommitMode,
    /// Whether it leaves it to the consumer what to commit.
    commits_positions: bool,
}

#[derive(Debug)]
enum Doing {
    /// Waits for records.
    Waiting,
    /// Handles these; the positions are where reading goes on behind them.
    Handling { until: u64, records: Vec<(Place, i64)>, next: Vec<(TopicPartition, Position)> },
}

impl Member {
    pub(super) fn new(
        timeline: &Timeline,
        who: Who,
        group: Group,
        config: ConsumerConfig,
        bug: Option<Bug>,
        mut random: fastrand::Rng,
    ) -> Result<Self, String> {
        let now = timeline.now();
        let joining = Joining::new(who, &config);
        let mut machine = Consumer::new(now, config).map_err(|error| error.to_string())?;
        plant(&mut machine, bug);
        let topics = group.topics().map(Into::into);
        machine.subscribe(now, topics).map_err(|error| error.to_string())?;
        let habits = Habits {
            batch: random.usize(1..30),
            slowest: *random.choice(&[1_000, 50_000, 1_000_000]).unwrap_or(&1_000),
            commits_every: random.u32(1..4),
            mode: if random.bool() { CommitMode::Sync } else { CommitMode::Async },
            commits_positions: random.bool(),
        };
        machine.application_waits(now);
        Ok(Self {
            who,
            machine,
            habits,
            doing: Doing::Waiting,
            owned: BTreeSet::new(),
            handled: BTreeMap::new(),
            batches: 0,
            gives_up_at: None,
            busy_until: 0,
            commits: BTreeMap::new(),
            joining,
            newest: BTreeMap::new(),
            commits_again_at: None,
            closing: false,
            closed: false,
            random,
            violations: Vec::new(),
        })
    }

    pub(super) const fn who(&self) -> Who {
        self.who
    }

    /// The batch under way, or the next one, takes until then.
    pub(super) fn stay_busy(&mut self, until: u64) {
        self.busy_until = until;
        if let Doing::Handling { until: known, .. } = &mut self.doing {
            *known = until.max(*known);
        }
    }

    pub(super) fn close(&mut self, timeline: &mut Timeline) {
        timeline.note(format_args!("{} leaves", self.who));
        self.closing = true;
        self.machine.close(timeline.now());
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.closing
    }

    pub(super) fn answer(
        &mut self,
        timeline: &Timeline,
        ledger: &mut Ledger,
        id: RequestId,
        result: Result<Response, Failure>,
    ) {
        self.joining.hears(timeline, ledger, id, &result);
        self.machine.handle_response(timeline.now(), id, result);
    }

    /// Lets the application have its turn before the machine has noticed what time it is.
    pub(super) fn turn_first(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) {
        self.act(timeline, ledger);
        if matches!(self.doing, Doing::Waiting) && !self.closing {
            self.take(timeline, ledger);
        }
    }

    /// Lets machine and application act until nothing is left to do at this moment.
    pub(super) fn wake(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> Vec<Outgoing> {
        let now = timeline.now();
        self.machine.handle_timeout(now);
        let mut requests = Vec::new();
        for _ in 0..MOST_TURNS {
            let mut is_quiet = !self.act(timeline, ledger);
            while let Some(outgoing) = self.machine.poll_request(now) {
                self.joining.sends(ledger, &outgoing);
                requests.push(outgoing);
                if requests.len() > 1_000 {
                    self.misbehaves(format!("{} never stops sending", self.who));
                    return requests;
                }
            }
            while let Some(event) = self.machine.poll_event() {
                is_quiet = false;
                self.hear(timeline, ledger, event);
            }
            if is_quiet {
                return requests;
            }
        }
        self.misbehaves(format!("{} never comes to rest", self.who));
        requests
    }

    /// What is due next, for the machine or its application.
    pub(super) fn deadline(&self, timeline: &Timeline) -> Option<Deadline> {
        let handled = match &self.doing {
            Doing::Handling { until, .. } => Some(Deadline::new(timeline.at(*until), "records are handled")),
            Doing::Waiting => None,
        };
        let gives_up = self.gives_up_at.filter(|_| handled.is_none());
        let gives_up = gives_up.map(|at| Deadline::new(timeline.at(at), "partitions are given up"));
        let again = self.commits_again_at.filter(|_| handled.is_none());
        let again = again.map(|at| Deadline::new(timeline.at(at), "what could not be committed"));
        Deadline::earliest([self.machine.poll_timeout(), handled, gives_up, again])
    }

    /// Why the member does not do what one expects of it.
    pub(super) fn explain(&self, timeline: &Timeline) -> String {
        format!("{}: {}", self.who, self.machine.explain(timeline.now()).join("; "))
    }

    /// The application does what it has to do by now. True when that was something.
    fn act(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> bool {
        let now = timeline.micros();
        match &self.doing {
            Doing::Handling { until, .. } if *until > now => return false,
            Doing::Handling { .. } => {
                self.finish_handling(timeline, ledger);
                return true;
            }
            Doing::Waiting => {}
        }
        if self.gives_up_at.is_some_and(|at| at <= now) {
            self.gives_up_at = None;
            self.commit(timeline, CommitMode::Sync);
            self.machine.revoke_done(timeline.now());
            return true;
        }
        if self.commits_again_at.is_some_and(|at| at <= now) {
            self.commits_again_at = None;
            self.commit(timeline, CommitMode::Sync);
            return true;
        }
        if self.machine.is_ready() && !self.closing {
            return self.take(timeline, ledger);
        }
        false
    }

    fn take(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) -> bool {
        let taken = self.machine.take(timeline.now(), self.habits.batch);
        // The machine may have found out that it is late: what it says comes before what it hands out.
        while let Some(event) = self.machine.poll_event() {
            self.hear(timeline, ledger, event);
        }
        if taken.is_empty() {
            // There was nothing for the application in what had come.
            self.commit(timeline, self.habits.mode);
            self.machine.application_waits(timeline.now());
            return false;
        }
        let (mut records, mut next) = (Vec::new(), Vec::new());
        for partition in &taken {
            let Some(place) = place_of(partition.partition()) else { continue };
            next.push((partition.partition().clone(), partition.next_position()));
            let first = partition.iter().next().map_or(-1, |record| record.offset());
            let (who, count) = (self.who, partition.len());
            timeline.note(format_args!("{who} takes {count} of {} from {first}", partition.partition()));
            for record in partition {
                let offset = record.offset();
                match record.value().and_then(|value| found(offset, value)) {
                    Some(found) => {
                        ledger.handed_out(timeline.micros(), self.who, place, offset, found.id);
                        records.push((place, offset));
                    }
                    None => self.misbehaves(format!("{who} hands out what nobody wrote at {offset}")),
                }
            }
        }
        let usual = timeline.micros() + self.random.u64(100..=pace(timeline, self.habits.slowest));
        self.doing = Doing::Handling { until: usual.max(self.busy_until), records, next };
        true
    }

    fn finish_handling(&mut self, timeline: &mut Timeline, ledger: &mut Ledger) {
        let Doing::Handling { records, next, .. } = std::mem::replace(&mut self.doing, Doing::Waiting) else {
            return;
        };
        for (place, offset) in records {
            ledger.handled(place, offset);
        }
        let owned = &self.owned;
        self.handled.extend(next.into_iter().filter(|(partition, _)| owned.contains(partition)));
        self.batches += 1;
        if self.batches.is_multiple_of(self.habits.commits_every) || !self.machine.is_ready() {
            self.commit(timeline, self.habits.mode);
        }
        if self.machine.is_ready() {
            self.machine.application_polled(timeline.now());
        } else {
            self.machine.application_waits(timeline.now());
        }
    }

    /// Commits what was handled.
    fn commit(&mut self, timeline: &mut Timeline, mode: CommitMode) {
        let handled = std::mem::take(&mut self.handled);
        if handled.is_empty() {
            return;
        }
        self.newest.extend(handled.iter().map(|(partition, at)| (partition.clone(), at.offset)));
        let now = timeline.now();
        let result = if self.habits.commits_positions {
            self.machine.commit_positions(now, mode)
        } else {
            let offsets = handled.iter().map(|(partition, position)| (partition.clone(), (*position).into()));
            self.machine.commit(now, offsets.collect(), mode)
        };
        match result {
            Ok(id) => {
                // What was lost meanwhile has no position that could be committed.
                let machine = &self.machine;
                let kept = handled.into_iter().filter(|(partition, _)| machine.position(partition).is_some());
                self.commits.insert(id, kept.collect());
            }
            Err(error) => timeline.note(format_args!("{} can't commit: {error}", self.who)),
        }
    }

    fn told(&mut self, timeline: &Timeline, ledger: &mut Ledger, id: CommitId, succeeded: bool) {
        for (partition, position) in self.commits.remove(&id).unwrap_or_default() {
            if let (true, Some(place)) = (succeeded, place_of(&partition)) {
                ledger.told_committed(self.who, place, position.offset);
            } else if self.newest.get(&partition) == Some(&position.offset) {
                // Else a newer commit has overtaken it, and has its own outcome.
                self.handled.entry(partition).or_insert(position);
                self.commits_again_at = Some(timeline.micros() + AGAIN);
            }
        }
    }

    fn hear(&mut self, timeline: &mut Timeline, ledger: &mut Ledger, event: Event) {
        let who = self.who;
        if !matches!(event, Event::Fetched) {
            timeline.note(format_args!("{who} hears {}", Heard(&event)));
        }
        match event {
            Event::Joined(_) | Event::Fetched | Event::CommittedOffsets { .. } => {}
            Event::Assigned(partitions) => {
                for partition in partitions {
                    if let Some(place) = place_of(&partition) {
                        ledger.assigned(timeline.micros(), who, place);
                    }
                    self.owned.insert(partition);
                }
            }
            Event::RevokePending(partitions) => {
                let places = partitions.iter().filter_map(place_of);
                places.for_each(|place| ledger.revoking(who, place));
                let longest = *self.random.choice(&[1, 100_000, 4_000_000]).unwrap_or(&1);
                self.gives_up_at = Some(timeline.micros() + self.random.u64(0..longest));
            }
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                for partition in partitions {
                    if let Some(place) = place_of(&partition) {
                        ledger.released(who, place);
                    }
                    self.owned.remove(&partition);
                    self.handled.remove(&partition);
                    self.newest.remove(&partition);
                    if let Doing::Handling { next, .. } = &mut self.doing {
                        next.retain(|(known, _)| *known != partition);
                    }
                }
            }
            Event::Committed { id, result } => self.told(timeline, ledger, id, result.is_ok()),
            Event::Failed(error) => self.misbehaves(format!("{who} gives up: {error}")),
            Event::Closed => {
                self.closed = true;
                if !self.owned.is_empty() {
                    self.misbehaves(format!("{who} has left and keeps {:?}", self.owned));
                }
            }
        }
    }

    fn misbehaves(&mut self, what: String) {
        if self.violations.len() < 10 {
            self.violations.push(Violation::Misbehaved(what));
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub(super) fn plant(machine: &mut Consumer, bug: Option<Bug>) {
    if let Some(Bug::Consumer(bug)) = bug {
        machine.plant(bug);
    }
}

#[cfg(not(feature = "planted-bugs"))]
pub(super) fn plant(_: &mut Consumer, _: Option<Bug>) {}

/// The longest an application takes, in µs, of which `slowest` is what it is used to. When the faults are over it hurries,
/// so that it is through in time.
pub(super) fn pace(timeline: &Timeline, slowest: u64) -> u64 {
    if timeline.micros() < HEAL { slowest } else { slowest.min(10_000) }
}

/// An event in a few words.
pub(super) struct Heard<'a>(pub(super) &'a Event);

impl std::fmt::Display for Heard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, partitions) = match self.0 {
            Event::Assigned(partitions) => ("assigned", partitions),
            Event::RevokePending(partitions) => ("to give up", partitions),
            Event::Revoked(partitions) => ("given up", partitions),
            Event::Lost(partitions) => ("lost", partitions),
            Event::Committed { result: Ok(()), .. } => return f.write_str("committed"),
            other => return std::fmt::Debug::fmt(other, f),
        };
        f.write_str(what)?;
        partitions.iter().try_for_each(|partition| write!(f, " {partition}"))
    }
}
