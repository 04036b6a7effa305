//! What the members of a group were given, handled and committed: whether that fits together (checker W5).
//!
//! Nothing here knows of machines, brokers or the simulation. What depends on the log (is an offset that was left out a
//! record?) is written down as a suspicion and judged at the end, when the log is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use super::history::{Logs, Place, RecordId};

/// A member: a seat, and the how-manieth process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// The seat.
    pub seat: usize,
    /// Counts the processes there.
    pub life: u32,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.seat, self.life)
    }
}

/// A promise to a group that was broken. Times are in µs since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A partition came to a member while another one that is awake had it.
    TwoOwners {
        /// The partition.
        place: Place,
        /// Who has it.
        owner: Who,
        /// To whom it came.
        other: Who,
        /// When.
        at: u64,
    },
    /// Records were handed out by a member that has not got the partition, or had been told to give it up.
    HandedOutUnowned(Place, Who, i64, u64),
    /// Records were handed out by a member after the partition had come to another one.
    HandedOutLate(Place, Who, i64, u64),
    /// Records were handed out twice, or not in order, within one ownership.
    OutOfOrder {
        /// The partition.
        place: Place,
        /// By whom.
        who: Who,
        /// The offset that was due.
        due: i64,
        /// The offset that came.
        came: i64,
    },
    /// Reading began where nothing was committed.
    BeganElsewhere(Place, Who, i64),
    /// A record was left out by whoever had the partition.
    Skipped(Place, Who, i64),
    /// A commit went past a record that nobody had handled.
    CommittedAhead(Place, i64, u64),
    /// A commit went past the end of the log.
    CommittedBeyond(Place, i64),
    /// A commit was said to have succeeded, and the group has not got it.
    CommitLie(Place, Who, i64),
    /// A record was handed out that is not the one in the log.
    Corrupted(Place, i64),
    /// A record in the log was never handled.
    NeverHandled(Place, i64, RecordId),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The ledger of one group.
#[derive(Debug, Default)]
pub struct Ledger {
    places: BTreeMap<Place, Partition>,
    /// Members that stand still: they can't know.
    asleep: BTreeSet<Who>,
    /// Until when members can't know because the group does not answer them.
    waiting: BTreeMap<Who, u64>,
    breaches: Vec<Breach>,
    suspicions: Vec<(Range<i64>, Breach)>,
    /// Records that were handled once more.
    again: u64,
    /// Times a partition came to a member.
    assigned: u64,
}

#[derive(Debug, Default)]
struct Partition {
    owners: BTreeMap<Who, Ownership>,
    /// To whom it came last.
    latest: Option<Who>,
    handed_out: BTreeMap<i64, RecordId>,
    handled: BTreeSet<i64>,
    /// What was committed since when.
    committed: Vec<(u64, i64)>,
}

#[derive(Debug)]
struct Ownership {
    since: u64,
    /// The offset behind the last record that was handed out.
    next: Option<i64>,
    /// To be given up: nothing is handed out any more.
    revoking: bool,
}

impl Ledger {
    /// A partition has come to a member.
    pub fn assigned(&mut self, at: u64, who: Who, place: Place) {
        self.assigned += 1;
        let partition = self.places.entry(place).or_default();
        for (owner, ownership) in &partition.owners {
            // Whoever gives it up hands out nothing, and the group refuses what it commits too late.
            let waits = self.waiting.get(owner).is_some_and(|until| *until > at);
            if *owner != who && !ownership.revoking && !self.asleep.contains(owner) && !waits {
                self.breaches.push(Breach::TwoOwners { place, owner: *owner, other: who, at });
            }
        }
        partition.latest = Some(who);
        partition.owners.insert(who, Ownership { since: at, next: None, revoking: false });
    }

    /// A member is to give a partition up.
    pub fn revoking(&mut self, who: Who, place: Place) {
        let partition = self.places.entry(place).or_default();
        if let Some(ownership) = partition.owners.get_mut(&who) {
            ownership.revoking = true;
        }
    }

    /// A member has given a partition up, or lost it.
    pub fn released(&mut self, who: Who, place: Place) {
        self.places.entry(place).or_default().owners.remove(&who);
    }

    /// A member stands still, or goes on.
    pub fn sleeps(&mut self, who: Who, asleep: bool) {
        if asleep {
            self.asleep.insert(who);
        } else {
            self.asleep.remove(&who);
        }
    }

    /// A member that keeps partitions through a round of the classic protocol has asked to join, which takes as long as
    /// the others need: until then, in µs since the start, it can't know that the group has gone on without it.
    pub fn waits_for_group(&mut self, who: Who, until: u64) {
        self.waiting.insert(who, until);
    }

    /// A member is gone.
    pub fn died(&mut self, who: Who) {
        self.waiting.remove(&who);
        self.asleep.remove(&who);
        for partition in self.places.values_mut() {
            partition.owners.remove(&who);
        }
    }

    /// A member hands out a record.
    pub fn handed_out(&mut self, at: u64, who: Who, place: Place, offset: i64, id: RecordId) {
        let partition = self.places.entry(place).or_default();
        let known = partition.handed_out.insert(offset, id);
        if known.is_some_and(|known| known != id) {
            self.breaches.push(Breach::Corrupted(place, offset));
        }
        let latest = partition.latest;
        let Some(ownership) = partition.owners.get_mut(&who).filter(|ownership| !ownership.revoking) else {
            return self.breaches.push(Breach::HandedOutUnowned(place, who, offset, at));
        };
        let waits = self.waiting.get(&who).is_some_and(|until| *until > at);
        if latest != Some(who) && !waits {
            self.breaches.push(Breach::HandedOutLate(place, who, offset, at));
        }
        let due = match ownership.next {
            Some(due) if offset < due => {
                return self.breaches.push(Breach::OutOfOrder { place, who, due, came: offset });
            }
            Some(due) => due,
            None => {
                let before = partition.committed.iter().rev().find(|(since, _)| *since <= ownership.since);
                let first = before.map_or(0, |(_, offset)| *offset);
                let since = partition.committed.iter().filter(|(at, _)| *at > ownership.since);
                let mut starts = since.map(|(_, offset)| *offset).chain([first]);
                let start = starts.by_ref().filter(|start| *start <= offset).max();
                let Some(start) = start else {
                    ownership.next = Some(offset + 1);
                    return self.breaches.push(Breach::BeganElsewhere(place, who, offset));
                };
                start
            }
        };
        ownership.next = Some(offset + 1);
        if due < offset {
            self.suspicions.push((due..offset, Breach::Skipped(place, who, due)));
        }
    }

    /// A member reads again from `offset` on, because what it did with the records was undone.
    pub fn went_back(&mut self, who: Who, place: Place, offset: i64) {
        let partition = self.places.entry(place).or_default();
        if let Some(ownership) = partition.owners.get_mut(&who) {
            ownership.next = Some(offset);
        }
    }

    /// A record was handled.
    pub fn handled(&mut self, place: Place, offset: i64) {
        let partition = self.places.entry(place).or_default();
        self.again += u64::from(!partition.handled.insert(offset));
    }

    /// What the group has committed, as often as it is looked at.
    pub fn committed(&mut self, at: u64, place: Place, offset: i64) {
        let partition = self.places.entry(place).or_default();
        let last = partition.committed.last().map(|(_, offset)| *offset);
        if last == Some(offset) {
            return;
        }
        partition.committed.push((at, offset));
        let from = last.unwrap_or(0).min(offset);
        // By runs: what is committed can be as far ahead as a damaged batch says.
        let mut next = from;
        for handled in partition.handled.range(from..offset).copied().chain([offset]) {
            if next < handled {
                self.suspicions.push((next..handled, Breach::CommittedAhead(place, next, at)));
            }
            next = handled.saturating_add(1);
        }
    }

    /// A member was told that its commit has succeeded. It may have gone out together with a later one.
    pub fn told_committed(&mut self, who: Who, place: Place, offset: i64) {
        let partition = self.places.entry(place).or_default();
        if !partition.committed.iter().any(|(_, known)| *known >= offset) {
            self.breaches.push(Breach::CommitLie(place, who, offset));
        }
    }

    /// Why the group is not at rest with a log of which the last record is before `end`, if it is not.
    #[must_use]
    pub fn unrest(&self, place: Place, end: i64) -> Option<String> {
        let none = Partition::default();
        let partition = self.places.get(&place).unwrap_or(&none);
        let committed = partition.committed.last().map_or(0, |(_, offset)| *offset);
        let owners: Vec<_> = partition.owners.keys().map(ToString::to_string).collect();
        if owners.len() != 1 {
            return Some(format!("has {} owners: {owners:?}", owners.len()));
        }
        (committed < end).then(|| format!("is committed up to {committed} of {end}, by {owners:?}"))
    }

    /// Everything that was broken. `ends` are the ends of the logs.
    #[must_use]
    pub fn check(&self, logs: &Logs, ends: &BTreeMap<Place, i64>) -> Vec<Breach> {
        let mut breaches = self.breaches.clone();
        let offsets: BTreeMap<Place, BTreeMap<i64, RecordId>> = logs
            .iter()
            .map(|(place, log)| (*place, log.iter().map(|found| (found.offset, found.id)).collect()))
            .collect();
        let none = BTreeMap::new();
        for (range, breach) in &self.suspicions {
            let place = match breach {
                Breach::Skipped(place, ..) | Breach::CommittedAhead(place, ..) => place,
                _ => continue,
            };
            if offsets.get(place).unwrap_or(&none).range(range.clone()).next().is_some() {
                breaches.push(breach.clone());
            }
        }
        for (place, partition) in &self.places {
            let log = offsets.get(place).unwrap_or(&none);
            for (offset, id) in &partition.handed_out {
                if log.get(offset) != Some(id) {
                    breaches.push(Breach::Corrupted(*place, *offset));
                }
            }
            let end = ends.get(place).copied().unwrap_or_default();
            let beyond = partition.committed.iter().find(|(_, offset)| *offset > end);
            breaches.extend(beyond.map(|(_, offset)| Breach::CommittedBeyond(*place, *offset)));
        }
        for (place, log) in &offsets {
            let handled = self.places.get(place).map(|partition| &partition.handled);
            for (offset, id) in log {
                if !handled.is_some_and(|handled| handled.contains(offset)) {
                    breaches.push(Breach::NeverHandled(*place, *offset, *id));
                }
            }
        }
        breaches
    }

    /// In numbers.
    #[must_use]
    pub fn tally(&self) -> GroupTally {
        let handled = self.places.values().map(|partition| partition.handled.len() as u64).sum();
        let commits = self.places.values().map(|partition| partition.committed.len() as u64).sum();
        GroupTally { handled, again: self.again, commits, assigned: self.assigned }
    }
}

/// What became of a group in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTally {
    /// Records that were handled.
    pub handled: u64,
    /// Times a record was handled once more.
    pub again: u64,
    /// Committed offsets that moved.
    pub commits: u64,
    /// Times a partition came to a member.
    pub assigned: u64,
}

impl GroupTally {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.handled += other.handled;
        self.again += other.again;
        self.commits += other.commits;
        self.assigned += other.assigned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Found;

    const PLACE: Place = Place { topic: 0, partition: 1 };
    const ANNA: Who = Who { seat: 1, life: 0 };
    const BERT: Who = Who { seat: 2, life: 0 };

    fn id(number: i64) -> RecordId {
        RecordId { producer: 0, number: number.unsigned_abs() }
    }

    /// Anna has the partition and hands out `offsets`.
    fn ledger(offsets: Range<i64>) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assigned(0, ANNA, PLACE);
        offsets.for_each(|offset| ledger.handed_out(5, ANNA, PLACE, offset, id(offset)));
        ledger
    }

    fn breaches(ledger: &Ledger, records: &[i64], end: i64) -> Vec<Breach> {
        let found = |offset: &i64| Found { id: id(*offset), meant_for: None, offset: *offset };
        let logs = Logs::from([(PLACE, records.iter().map(found).collect())]);
        ledger.check(&logs, &BTreeMap::from([(PLACE, end)]))
    }

    fn handle(ledger: &mut Ledger, offsets: Range<i64>) {
        offsets.for_each(|offset| ledger.handled(PLACE, offset));
    }

    #[test]
    fn a_hand_over_with_duplicates_inside_the_uncommitted_window_breaks_nothing() {
        let mut ledger = ledger(0..4);
        handle(&mut ledger, 0..4);
        ledger.committed(6, PLACE, 2);
        ledger.told_committed(ANNA, PLACE, 2);
        ledger.died(ANNA);
        ledger.assigned(7, BERT, PLACE);
        (2..5).for_each(|offset| ledger.handed_out(8, BERT, PLACE, offset, id(offset)));
        handle(&mut ledger, 2..5);
        ledger.committed(9, PLACE, 6);
        // Offset 5 is a marker.
        assert_eq!(breaches(&ledger, &[0, 1, 2, 3, 4], 6), []);
        assert_eq!(ledger.unrest(PLACE, 6), None);
        assert_eq!(ledger.tally(), GroupTally { handled: 5, again: 2, commits: 2, assigned: 2 });
    }

    #[test]
    fn two_owners_are_seen_unless_one_is_asleep_or_hands_out_nothing() {
        let mut both = ledger(0..0);
        both.assigned(7, BERT, PLACE);
        assert!(matches!(breaches(&both, &[], 0)[..], [Breach::TwoOwners { owner: ANNA, other: BERT, .. }]));
        let mut asleep = ledger(0..0);
        asleep.sleeps(ANNA, true);
        asleep.assigned(7, BERT, PLACE);
        assert_eq!(breaches(&asleep, &[], 0), []);
        asleep.sleeps(ANNA, false);
        asleep.handed_out(8, ANNA, PLACE, 0, id(0));
        handle(&mut asleep, 0..1);
        assert_eq!(breaches(&asleep, &[0], 1), [Breach::HandedOutLate(PLACE, ANNA, 0, 8)]);
        let mut revoking = ledger(0..0);
        revoking.revoking(ANNA, PLACE);
        revoking.assigned(7, BERT, PLACE);
        assert_eq!(breaches(&revoking, &[], 0), []);
    }

    #[test]
    fn what_a_member_has_given_up_it_does_not_hand_out() {
        for give_up in [Ledger::revoking, Ledger::released] {
            let mut ledger = ledger(0..1);
            give_up(&mut ledger, ANNA, PLACE);
            ledger.handed_out(9, ANNA, PLACE, 1, id(1));
            handle(&mut ledger, 0..2);
            assert_eq!(breaches(&ledger, &[0, 1], 2), [Breach::HandedOutUnowned(PLACE, ANNA, 1, 9)]);
        }
    }

    #[test]
    fn records_come_once_in_order_and_from_where_was_committed() {
        let mut twice = ledger(0..2);
        twice.handed_out(6, ANNA, PLACE, 1, id(1));
        handle(&mut twice, 0..2);
        let breach = Breach::OutOfOrder { place: PLACE, who: ANNA, due: 2, came: 1 };
        assert_eq!(breaches(&twice, &[0, 1], 2), [breach]);
        let mut early = ledger(0..2);
        handle(&mut early, 0..2);
        early.committed(6, PLACE, 2);
        early.released(ANNA, PLACE);
        early.assigned(7, BERT, PLACE);
        early.handed_out(8, BERT, PLACE, 1, id(1));
        assert_eq!(breaches(&early, &[0, 1], 2), [Breach::BeganElsewhere(PLACE, BERT, 1)]);
    }

    #[test]
    fn a_gap_is_one_when_there_is_a_record_in_it() {
        let mut ledger = ledger(0..1);
        ledger.handed_out(6, ANNA, PLACE, 3, id(3));
        handle(&mut ledger, 0..4);
        assert_eq!(breaches(&ledger, &[0, 3], 4), []);
        assert_eq!(breaches(&ledger, &[0, 2, 3], 4), [Breach::Skipped(PLACE, ANNA, 1)]);
    }

    #[test]
    fn commits_follow_the_handling() {
        let mut ahead = ledger(0..2);
        ahead.handled(PLACE, 0);
        ahead.committed(6, PLACE, 2);
        ahead.handled(PLACE, 1);
        assert_eq!(breaches(&ahead, &[0, 1], 2), [Breach::CommittedAhead(PLACE, 1, 6)]);
        assert_eq!(
            breaches(&ahead, &[0], 1),
            [Breach::Corrupted(PLACE, 1), Breach::CommittedBeyond(PLACE, 2)]
        );
        let mut lie = ledger(0..0);
        lie.told_committed(ANNA, PLACE, 1);
        assert_eq!(breaches(&lie, &[], 0), [Breach::CommitLie(PLACE, ANNA, 1)]);
    }

    #[test]
    fn what_was_not_handled_and_what_was_changed_is_seen() {
        let ledger = ledger(0..1);
        assert_eq!(breaches(&ledger, &[0], 1), [Breach::NeverHandled(PLACE, 0, id(0))]);
        assert!(ledger.unrest(PLACE, 1).unwrap().contains("0 of 1"));
        assert!(Ledger::default().unrest(PLACE, 0).unwrap().contains("0 owners"));
        assert_eq!(breaches(&ledger, &[], 1), [Breach::Corrupted(PLACE, 0)]);
    }
}
