//! What came of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use milena_protocol::records::{Batches, ReadOptions};

use super::{
    bug::Bug,
    history::{Found, Logs, Place, Sent, Violation, check},
    ledger::GroupTally,
    network::Counts,
    plan::{places, topic_of},
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
                Some(Actor::Member(member)) => violations.append(&mut member.violations),
                None => {}
            }
        }
        violations.extend(check(&history, &logs));
        violations.extend(self.ledger.check(&logs, &ends).into_iter().map(Violation::Group));
        let mut counts = self.network.counts;
        counts.faults = self.took_effect + self.network.weather.hits;
        let simulated = Duration::from_micros(self.timeline.micros());
        let (trace, faults, group) = (self.timeline.trace, self.faults, self.ledger.tally());
        Report { seed, violations, trace, faults, tally, group, counts, simulated }
    }

    /// What the brokers have, where their logs end, and what of it can't be read.
    fn read_logs(&mut self) -> (Logs, BTreeMap<Place, i64>, Vec<Violation>) {
        let mut logs = Logs::new();
        let mut ends = BTreeMap::new();
        let mut unreadable = Vec::new();
        for place in places() {
            let mut log = Vec::new();
            for bytes in self.cluster.batches(topic_of(place), place.partition) {
                match records(bytes) {
                    Some(found) => log.extend(found),
                    None => {
                        let what = format!("{place:?} holds a batch that can't be read");
                        unreadable.push(Violation::Misbehaved(what));
                    }
                }
            }
            logs.insert(place, log);
            let offsets = self.cluster.offsets(topic_of(place), place.partition);
            ends.insert(place, offsets.map_or(0, |offsets| offsets.end));
        }
        (logs, ends, unreadable)
    }
}

fn records(bytes: bytes::Bytes) -> Option<Vec<Found>> {
    let mut all = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.ok()?.decode(&ReadOptions::default()).ok()?;
        for record in batch.records() {
            let record = record.ok()?;
            all.push(found(record.offset(), record.value()?)?);
        }
    }
    Some(all)
}
