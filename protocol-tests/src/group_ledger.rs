//! What the members of a group did, written down by each, and held against each other.
//!
//! Every member is a process with a journal of its own, a line a step, so that what it knew outlives it. Times are those of
//! the machine's monotonic clock, which all processes share. `tests/faults_groups.rs` makes the journals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// More defects than these say nothing new.
const MOST_DEFECTS: usize = 20;

/// Nanoseconds of the machine's monotonic clock.
pub type Nanos = u64;

/// The machine's monotonic clock.
#[must_use]
pub fn nanos() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// A step of a member, in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The partition has come.
    Assigned,
    /// It is about to be given up, or was lost.
    Gone,
    /// The records from `first` to `last` were handed out by a poll that was called at `called`, and are processed.
    Handled {
        /// When the poll was called.
        called: Nanos,
        /// The first offset.
        first: i64,
        /// The last offset.
        last: i64,
    },
    /// The offset is about to be committed.
    Committing(i64),
    /// The commit that was begun at `begun` has succeeded.
    Committed {
        /// When it was begun.
        begun: Nanos,
        /// The offset.
        offset: i64,
    },
}

/// A line of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, or a moment before.
    pub at: Nanos,
    /// The partition.
    pub partition: i32,
    /// What happened.
    pub step: Step,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, partition, step } = self;
        match step {
            Step::Assigned => writeln!(f, "assigned {at} {partition}"),
            Step::Gone => writeln!(f, "gone {at} {partition}"),
            Step::Handled { called, first, last } => {
                writeln!(f, "handled {at} {partition} {called} {first} {last}")
            }
            Step::Committing(offset) => writeln!(f, "committing {at} {partition} {offset}"),
            Step::Committed { begun, offset } => writeln!(f, "committed {at} {partition} {begun} {offset}"),
        }
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let word = words.next()?;
        let mut next = || words.next()?.parse::<i64>().ok();
        let time = |time: Option<i64>| time.and_then(|time| Nanos::try_from(time).ok());
        let at = time(next())?;
        let partition = i32::try_from(next()?).ok()?;
        let step = match word {
            "assigned" => Step::Assigned,
            "gone" => Step::Gone,
            "handled" => Step::Handled { called: time(next())?, first: next()?, last: next()? },
            "committing" => Step::Committing(next()?),
            "committed" => Step::Committed { begun: time(next())?, offset: next()? },
            _ => return None,
        };
        words.next().is_none().then_some(Self { at, partition, step })
    }
}

/// What a member did, from its start to its end.
#[derive(Clone, Debug, Default)]
pub struct Journal(pub Vec<Line>);

impl Journal {
    /// Reads a journal. A last line without its end was cut off by the member's own.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines
            .map(|line| Line::parse(line).ok_or_else(|| format!("not a step: {line:?}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A promise that was not kept. Members are numbered as their journals are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nobody has processed the record.
    Lost {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// A member has left records out, or read some again, although it kept the partition.
    Jumped {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// Where it should have gone on.
        expected: i64,
        /// Where it did.
        found: i64,
    },
    /// What had been committed before the partition came was processed again.
    Again {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// The first offset processed.
        found: i64,
        /// What had been committed.
        committed: i64,
    },
    /// Records were handed out by a poll that was called when the partition had been another's for long.
    TwoOwners {
        /// The member.
        member: usize,
        /// The one that the partition had come to.
        other: usize,
        /// The partition.
        partition: i32,
        /// The first of the records.
        offset: i64,
    },
    /// A member has handled records of a partition that had not come to it.
    Unassigned {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
    },
    /// The commit covers a record that nobody had processed by then.
    CommittedTooMuch {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// What it committed.
        committed: i64,
        /// The first record that was not processed.
        unprocessed: i64,
    },
    /// A commit has taken back one that had succeeded before it was begun.
    Rewound {
        /// The partition.
        partition: i32,
        /// What had been committed.
        from: i64,
        /// What was committed then.
        to: i64,
    },
}

/// What there is to be told of a run beside its defects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records processed, the same one twice counted twice.
    pub handled: u64,
    /// How many of them had been processed before.
    pub again: u64,
    /// Commits that succeeded, by partition.
    pub commits: usize,
    /// How many times a partition came to a member.
    pub assignments: usize,
}

/// Holds the journals against each other and against the ends of the partitions' logs, which begin at 0 and have no gaps.
#[must_use]
pub fn check(journals: &[Journal], ends: &BTreeMap<i32, i64>) -> (Vec<Defect>, Totals) {
    let mut defects = Vec::new();
    let mut totals = Totals::default();
    for (&partition, &end) in ends {
        let history = History::new(journals, partition);
        history.owners(&mut defects);
        history.commits(&mut defects);
        history.coverage(end, &mut defects, &mut totals);
    }
    defects.truncate(MOST_DEFECTS);
    (defects, totals)
}

/// What happened to one partition, in the order of time.
struct History {
    partition: i32,
    /// With the member.
    lines: Vec<(usize, Line)>,
}

impl History {
    fn new(journals: &[Journal], partition: i32) -> Self {
        let mut lines: Vec<_> = journals
            .iter()
            .enumerate()
            .flat_map(|(member, journal)| journal.0.iter().map(move |line| (member, *line)))
            .filter(|(_, line)| line.partition == partition)
            .collect();
        // A member's own steps keep their order.
        lines.sort_by_key(|(_, line)| line.at);
        Self { partition, lines }
    }

    /// Every member goes on where it was, begins no earlier than was committed, and stops when another has come.
    fn owners(&self, defects: &mut Vec<Defect>) {
        /// A partition in the hands of a member.
        struct Hold {
            since: Nanos,
            next: Option<i64>,
        }
        let partition = self.partition;
        let mut holds: BTreeMap<usize, Hold> = BTreeMap::new();
        let mut arrivals: Vec<(Nanos, usize)> = Vec::new();
        for &(member, line) in &self.lines {
            match line.step {
                Step::Assigned => {
                    holds.insert(member, Hold { since: line.at, next: None });
                    arrivals.push((line.at, member));
                }
                Step::Gone => drop(holds.remove(&member)),
                Step::Committing(_) | Step::Committed { .. } => {}
                Step::Handled { called, first, last } => {
                    let Some(hold) = holds.get_mut(&member) else {
                        defects.push(Defect::Unassigned { member, partition });
                        continue;
                    };
                    match hold.next.replace(last + 1) {
                        Some(expected) if expected != first => {
                            defects.push(Defect::Jumped { member, partition, expected, found: first });
                        }
                        Some(_) => {}
                        None => {
                            let committed = self.committed_before(hold.since);
                            if first < committed {
                                defects.push(Defect::Again { member, partition, found: first, committed });
                            }
                        }
                    }
                    let taken = arrivals
                        .iter()
                        .rev()
                        .take_while(|(at, _)| *at > hold.since)
                        .find(|(at, other)| *other != member && *at < called);
                    if let Some(&(_, other)) = taken {
                        defects.push(Defect::TwoOwners { member, other, partition, offset: first });
                    }
                }
            }
        }
    }

    /// The highest offset whose commit had succeeded by then.
    fn committed_before(&self, at: Nanos) -> i64 {
        let before = self.lines.iter().take_while(|(_, line)| line.at < at);
        let offsets = before.filter_map(|(_, line)| match line.step {
            Step::Committed { offset, .. } => Some(offset),
            _ => None,
        });
        offsets.max().unwrap_or(0)
    }

    /// Nothing is committed before it is processed, and no commit takes back another.
    fn commits(&self, defects: &mut Vec<Defect>) {
        let partition = self.partition;
        let mut processed = Covered::default();
        let mut succeeded: Vec<(Nanos, i64)> = Vec::new();
        for &(member, line) in &self.lines {
            match line.step {
                Step::Handled { first, last, .. } => processed.add(first, last + 1),
                Step::Committing(committed) if processed.end() < committed => {
                    let unprocessed = processed.end();
                    defects.push(Defect::CommittedTooMuch { member, partition, committed, unprocessed });
                }
                Step::Committed { begun, offset } => {
                    let earlier = succeeded.iter().filter(|(at, _)| *at < begun).map(|(_, offset)| *offset);
                    if let Some(from) = earlier.max().filter(|from| *from > offset) {
                        defects.push(Defect::Rewound { partition, from, to: offset });
                    }
                    succeeded.push((line.at, offset));
                }
                _ => {}
            }
        }
    }

    /// Every record is processed.
    fn coverage(&self, end: i64, defects: &mut Vec<Defect>, totals: &mut Totals) {
        let mut processed = Covered::default();
        let mut distinct = BTreeSet::new();
        for (_, line) in &self.lines {
            match line.step {
                Step::Handled { first, last, .. } => {
                    processed.add(first, last + 1);
                    totals.handled += (last + 1).abs_diff(first);
                    totals.again += (first..=last).filter(|offset| !distinct.insert(*offset)).count() as u64;
                }
                Step::Committed { .. } => totals.commits += 1,
                Step::Assigned => totals.assignments += 1,
                Step::Gone | Step::Committing(_) => {}
            }
        }
        if processed.end() < end {
            defects.push(Defect::Lost { partition: self.partition, offset: processed.end() });
        }
    }
}

/// How far, from 0 on, everything is covered.
#[derive(Debug, Default)]
struct Covered {
    end: i64,
    /// What lies behind a gap, by its start.
    beyond: BTreeMap<i64, i64>,
}

impl Covered {
    fn add(&mut self, from: i64, to: i64) {
        let reach = self.beyond.entry(from).or_insert(to);
        *reach = (*reach).max(to);
        while let Some(first) = self.beyond.first_entry().filter(|first| *first.key() <= self.end) {
            self.end = self.end.max(first.remove());
        }
    }

    const fn end(&self) -> i64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two members and 100 records: the first handles 0 to 59 and commits 50, then the second takes over.
    fn sound() -> [Vec<Line>; 2] {
        let line = |at, step| Line { at, partition: 0, step };
        let handled = |at, called, first, last| line(at, Step::Handled { called, first, last });
        [
            vec![
                line(10, Step::Assigned),
                handled(20, 12, 0, 49),
                line(21, Step::Committing(50)),
                line(25, Step::Committed { begun: 21, offset: 50 }),
                handled(30, 26, 50, 59),
            ],
            vec![
                line(100, Step::Assigned),
                handled(120, 101, 50, 99),
                line(121, Step::Committing(100)),
                line(130, Step::Committed { begun: 121, offset: 100 }),
                line(140, Step::Gone),
            ],
        ]
    }

    fn defects(lines: [Vec<Line>; 2]) -> Vec<Defect> {
        // As it is read from files.
        let journals = lines.map(|lines| {
            let text: String = lines.iter().map(Line::to_string).collect();
            let journal = Journal::parse(&(text + "handled 7 0 1")).unwrap();
            assert_eq!(journal.0, lines);
            journal
        });
        check(&journals, &BTreeMap::from([(0, 100)])).0
    }

    fn changed(change: impl FnOnce(&mut [Vec<Line>; 2])) -> Vec<Defect> {
        let mut lines = sound();
        change(&mut lines);
        defects(lines)
    }

    #[test]
    fn what_is_sound_has_no_defects() {
        assert_eq!(defects(sound()), []);
        let journals = sound().map(Journal);
        let (_, totals) = check(&journals, &BTreeMap::from([(0, 100)]));
        assert_eq!(totals, Totals { handled: 110, again: 10, commits: 2, assignments: 2 });
        assert!(Journal::parse("handled 1 2\n").is_err());
    }

    #[test]
    fn a_record_that_nobody_processed_is_found() {
        let lost = changed(|[_, second]| second[1].step = Step::Handled { called: 101, first: 60, last: 98 });
        assert!(lost.contains(&Defect::Lost { partition: 0, offset: 99 }), "{lost:?}");
        let gap = changed(|[_, second]| second[1].step = Step::Handled { called: 101, first: 70, last: 99 });
        assert!(gap.contains(&Defect::Lost { partition: 0, offset: 60 }), "{gap:?}");
    }

    #[test]
    fn a_jump_within_an_assignment_is_found() {
        let jumped = changed(|[first, _]| first[4].step = Step::Handled { called: 26, first: 49, last: 59 });
        assert_eq!(jumped, [Defect::Jumped { member: 0, partition: 0, expected: 50, found: 49 }]);
    }

    #[test]
    fn what_was_committed_and_is_read_again_is_found() {
        let again =
            changed(|[_, second]| second[1].step = Step::Handled { called: 101, first: 49, last: 99 });
        assert_eq!(again, [Defect::Again { member: 1, partition: 0, found: 49, committed: 50 }]);
    }

    #[test]
    fn two_owners_are_found_and_a_late_batch_is_not_one() {
        let handled =
            |at, called| Line { at, partition: 0, step: Step::Handled { called, first: 60, last: 61 } };
        // It was handed out before the other came, and the process stood still.
        assert_eq!(changed(|[first, _]| first.push(handled(150, 99))), []);
        let both = changed(|[first, _]| first.push(handled(150, 102)));
        assert_eq!(both, [Defect::TwoOwners { member: 0, other: 1, partition: 0, offset: 60 }]);
    }

    #[test]
    fn a_partition_that_had_not_come_is_found() {
        let unassigned = changed(|[first, _]| {
            first.remove(0);
        });
        assert_eq!(unassigned[0], Defect::Unassigned { member: 0, partition: 0 });
    }

    #[test]
    fn a_commit_of_what_is_not_processed_is_found() {
        let too_much = changed(|[first, _]| first[2].step = Step::Committing(51));
        let expected = Defect::CommittedTooMuch { member: 0, partition: 0, committed: 51, unprocessed: 50 };
        assert_eq!(too_much, [expected]);
    }

    #[test]
    fn a_commit_that_takes_back_another_is_found() {
        let late = |begun| Line { at: 200, partition: 0, step: Step::Committed { begun, offset: 60 } };
        // It was on its way while the other succeeded: which one counts is not known.
        assert_eq!(changed(|[first, _]| first.push(late(129))), []);
        let rewound = changed(|[first, _]| first.push(late(131)));
        assert_eq!(rewound, [Defect::Rewound { partition: 0, from: 100, to: 60 }]);
    }
}
