//! What came of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::Range,
    time::Duration,
};

use milena_protocol::records::{Batches, ControlKind, ControlRecord, ReadOptions};

use super::{
    bug::Bug,
    copies,
    history::{Found, Logs, Place, Sent, Violation, check},
    ledger::GroupTally,
    network::Counts,
    plan::{COPIERS, COPIES, GROUPS, places, topic_of},
    schedule::Fault,
    seat::Actor,
    sender::{Tally, found},
    trace::Trace,
    world::World,
};

/// How a run is to go, besides what its seed says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A bug to plant in every client.
    pub bug: Option<Bug>,
    /// Whether the trace is kept as text.
    pub keep_trace: bool,
    /// Only the faults with these numbers befall the run.
    pub only_faults: Option<BTreeSet<usize>>,
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
    /// All faults that the seed has for the run, whether or not they befell it.
    pub faults: Vec<Fault>,
    /// The producers' records.
    pub tally: Tally,
    /// The group's records.
    pub group: GroupTally,
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
        let _ = writeln!(text, "trace hash {:016x}", self.trace.hash());
        text
    }
}

impl World {
    pub(super) fn report(mut self, seed: u64) -> Report {
        let (logs, ends, unreadable) = self.read_logs();
        let mut violations = std::mem::take(&mut self.violations);
        violations.extend(unreadable);
        let mut history: Vec<Sent> = Vec::new();
        let mut tally = Tally::default();
        for seat in &mut self.seats {
            violations.append(&mut seat.violations);
            match &mut seat.actor {
                Some(Actor::Sender(sender)) => {
                    let (sent, numbers) = sender.finish(self.plan.desynchronizes);
                    history.extend(sent);
                    tally.add(&numbers);
                    violations.append(&mut sender.violations);
                }
                Some(actor) => violations.append(actor.violations()),
                None => {}
            }
        }
        let logs_of = |topics: Range<u32>| {
            let some = logs.iter().filter(|(place, _)| topics.contains(&place.topic));
            some.map(|(place, log)| (*place, log.clone())).collect::<Logs>()
        };
        let copies = COPIES as u32;
        violations.extend(check(&history, &logs_of(0..copies)));
        let mut group = GroupTally::default();
        for number in self.plan.groups() {
            let Some((which, ledger)) = GROUPS.get(number).zip(self.ledgers.get(number)) else { continue };
            group.add(&ledger.tally());
            let its: Logs =
                which.places().filter_map(|place| Some((place, logs.get(&place)?.clone()))).collect();
            violations.extend(ledger.check(&its, &ends).into_iter().map(Violation::Group));
        }
        if self.plan.groups().contains(&COPIERS) {
            let miscopies = copies::check(&logs_of(0..1), &logs_of(copies..copies + 1));
            violations.extend(miscopies.into_iter().map(Violation::Copies));
        }
        let mut counts = self.network.counts;
        counts.faults = self.took_effect + self.network.weather.hits;
        let simulated = Duration::from_micros(self.timeline.micros());
        let (trace, faults) = (self.timeline.trace, self.faults);
        Report { seed, violations, trace, faults, tally, group, counts, simulated }
    }

    /// What the brokers have, where their logs end, and what of it can't be read.
    pub(super) fn read_logs(&mut self) -> (Logs, BTreeMap<Place, i64>, Vec<Violation>) {
        let mut logs = Logs::new();
        let mut ends = BTreeMap::new();
        let mut unreadable = Vec::new();
        for place in places() {
            let mut log = Visible::default();
            for bytes in self.cluster.batches(topic_of(place), place.partition) {
                if log.add(bytes).is_none() {
                    let what = format!("{place:?} holds a batch that can't be read");
                    unreadable.push(Violation::Misbehaved(what));
                }
            }
            log.records.sort_unstable_by_key(|found| found.offset);
            logs.insert(place, log.records);
            let offsets = self.cluster.offsets(topic_of(place), place.partition);
            ends.insert(place, offsets.map_or(0, |offsets| offsets.end));
        }
        (logs, ends, unreadable)
    }
}

/// The records of a log that a reader of committed ones sees.
#[derive(Debug, Default)]
struct Visible {
    records: Vec<Found>,
    /// By producer id.
    open: BTreeMap<i64, Vec<Found>>,
}

impl Visible {
    /// Adds batches; `None` if they can't be read.
    fn add(&mut self, bytes: bytes::Bytes) -> Option<()> {
        for batch in Batches::new(bytes) {
            let batch = batch.ok()?.decode(&ReadOptions::default()).ok()?;
            let header = *batch.header();
            for record in batch.records() {
                let record = record.ok()?;
                if header.attributes.is_control() {
                    let transaction = self.open.remove(&header.producer_id).unwrap_or_default();
                    if ControlRecord::parse(&record)?.kind == ControlKind::Commit {
                        self.records.extend(transaction);
                    }
                    continue;
                }
                let found = found(record.offset(), record.value()?)?;
                if header.attributes.is_transactional() {
                    self.open.entry(header.producer_id).or_default().push(found);
                } else {
                    self.records.push(found);
                }
            }
        }
        Some(())
    }
}
