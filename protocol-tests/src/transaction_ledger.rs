//! What a process believed of its transactions, held against what readers of committed records find.
//!
//! The process writes a journal, a line a step, so that what it knew outlives it. What a transaction consists of follows
//! from its number.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use milena_cluster::TopicPartition;

use crate::ledger::Logs;

/// More defects than these say nothing new.
const MOST_DEFECTS: usize = 20;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// What transactions consist of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Each transaction has records for all of them.
    pub topics: Vec<String>,
    /// Most records of a transaction.
    pub size: usize,
}

impl Plan {
    /// Where the records of a transaction go, in their order. At least one goes to each topic.
    #[must_use]
    pub fn places(&self, transaction: u64) -> Vec<TopicPartition> {
        let mut random = fastrand::Rng::with_seed(transaction);
        let count = random.usize(self.topics.len()..=self.size.max(self.topics.len()));
        let place = |index: usize| {
            let topic = &self.topics[index % self.topics.len()];
            TopicPartition::new(topic.as_str(), random.i32(0..PARTITIONS))
        };
        (0..count).map(place).collect()
    }

    /// Whether the process itself aborts it: every seventh.
    #[must_use]
    pub fn is_aborted(transaction: u64) -> bool {
        transaction % 7 == 3
    }

    /// The value of a record: its transaction, its place among how many, and a filling that follows from them.
    #[must_use]
    pub fn value(transaction: u64, place: usize, of: usize) -> String {
        let mut random = fastrand::Rng::with_seed(transaction.wrapping_mul(1009) + place as u64);
        let rest: String = (0..80).map(|_| random.alphanumeric()).collect();
        format!("{transaction} {place} {of} {rest}")
    }

    /// Transaction and place of a record, if this plan has it in this partition.
    fn find(&self, partition: &TopicPartition, value: &str) -> Option<(u64, usize)> {
        let mut words = value.split(' ');
        let (transaction, place) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let places = self.places(transaction);
        let is_right =
            places.get(place) == Some(partition) && Self::value(transaction, place, places.len()) == value;
        is_right.then_some((transaction, place))
    }
}

/// What the process wrote down last of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It has begun. Nobody has asked to commit it.
    Begun,
    /// It is about to ask for the commit.
    Committing,
    /// It was told that the outcome is not known.
    Unknown,
    /// It was told that the transaction is committed.
    Committed,
    /// It is about to abort it.
    Aborting,
    /// It was told that the transaction is aborted.
    Aborted,
    /// It was told that the transaction is not committed.
    Refused,
}

impl Step {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Begun, "begun"),
        (Self::Committing, "committing"),
        (Self::Unknown, "unknown"),
        (Self::Committed, "committed"),
        (Self::Aborting, "aborting"),
        (Self::Aborted, "aborted"),
        (Self::Refused, "refused"),
    ];

    /// What readers of committed records must find of such a transaction. `None`: all or nothing.
    #[must_use]
    pub const fn is_visible(self) -> Option<bool> {
        match self {
            Self::Committed => Some(true),
            Self::Committing | Self::Unknown => None,
            Self::Begun | Self::Aborting | Self::Aborted | Self::Refused => Some(false),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(step, _)| step == self).map_or("", |(_, word)| word);
        f.write_str(word)
    }
}

/// The journal: of each transaction the last step.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// By number.
    pub steps: BTreeMap<u64, Step>,
    /// How many times a process wrote that a commit's outcome is not known.
    pub unknown: usize,
}

impl Journal {
    /// The line that tells a step.
    #[must_use]
    pub fn line(transaction: u64, step: Step) -> String {
        format!("{step} {transaction}\n")
    }

    /// Reads a journal. A last line without its end was cut off by the process's own.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut journal = Self::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let parse = || {
                let (word, number) = line.split_once(' ')?;
                let (step, _) = Step::ALL.iter().find(|(_, of)| *of == word)?;
                Some((number.parse().ok()?, *step))
            };
            let (transaction, step) = parse().ok_or_else(|| format!("no line of a journal: {line}"))?;
            journal.unknown += usize::from(step == Step::Unknown);
            journal.steps.insert(transaction, step);
        }
        Ok(journal)
    }

    /// The number of the next transaction.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.steps.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// How many transactions have this as their last step.
    #[must_use]
    pub fn count(&self, step: Step) -> usize {
        self.steps.values().filter(|of| **of == step).count()
    }

    /// What is wrong with what readers of committed records found, the first twenty defects.
    #[must_use]
    pub fn check(&self, plan: &Plan, logs: &Logs) -> Vec<TransactionDefect> {
        let mut found: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        let mut defects = Vec::new();
        for (partition, log) in logs {
            check_partition(plan, partition, log, &mut found, &mut defects);
        }
        let nothing = BTreeSet::new();
        for (&transaction, &step) in &self.steps {
            let (of, seen) = (plan.places(transaction).len(), found.remove(&transaction));
            let seen = seen.as_ref().unwrap_or(&nothing).len();
            match step.is_visible() {
                Some(false) if seen > 0 => defects.push(TransactionDefect::Visible { transaction, step }),
                Some(true) if seen == 0 => defects.push(TransactionDefect::Lost { transaction }),
                Some(true) | None if seen != 0 && seen != of => {
                    defects.push(TransactionDefect::Torn { transaction, seen, of });
                }
                _ => {}
            }
        }
        defects.extend(found.into_keys().map(|transaction| TransactionDefect::NeverBegun { transaction }));
        defects.truncate(MOST_DEFECTS);
        defects
    }
}

fn check_partition(
    plan: &Plan,
    partition: &TopicPartition,
    log: &[(i64, String)],
    found: &mut BTreeMap<u64, BTreeSet<usize>>,
    defects: &mut Vec<TransactionDefect>,
) {
    let (mut newest, mut end) = (None, -1);
    for (offset, value) in log {
        let (partition, offset) = (partition.clone(), *offset);
        let Some((transaction, place)) = plan.find(&partition, value) else {
            defects.push(TransactionDefect::Foreign { partition, offset, value: value.clone() });
            continue;
        };
        if !found.entry(transaction).or_default().insert(place) {
            defects.push(TransactionDefect::Duplicated { partition, offset, transaction, place });
        } else if newest > Some((transaction, place)) || offset <= end {
            defects.push(TransactionDefect::Reordered { partition, offset, transaction, place });
        }
        newest = newest.max(Some((transaction, place)));
        end = end.max(offset);
    }
}

/// What is wrong with what readers of committed records found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionDefect {
    /// Some of its records are there, and some are not.
    Torn {
        /// Its number.
        transaction: u64,
        /// How many of its records are there.
        seen: usize,
        /// How many it has.
        of: usize,
    },
    /// It was committed, and nothing of it is there.
    Lost {
        /// Its number.
        transaction: u64,
    },
    /// It was not committed, and is there.
    Visible {
        /// Its number.
        transaction: u64,
        /// What was written down of it last.
        step: Step,
    },
    /// It is there and was never begun.
    NeverBegun {
        /// Its number.
        transaction: u64,
    },
    /// A record is there twice.
    Duplicated {
        /// Where.
        partition: TopicPartition,
        /// Where the second one is.
        offset: i64,
        /// Of which transaction.
        transaction: u64,
        /// Its place in the transaction.
        place: usize,
    },
    /// A record is behind one that was sent after it.
    Reordered {
        /// Where.
        partition: TopicPartition,
        /// Where in it.
        offset: i64,
        /// Of which transaction.
        transaction: u64,
        /// Its place in the transaction.
        place: usize,
    },
    /// No transaction has this record in this partition.
    Foreign {
        /// Where.
        partition: TopicPartition,
        /// Where in it.
        offset: i64,
        /// The record.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { topics: ["payment", "order", "accounting"].map(str::to_owned).to_vec(), size: 12 }
    }

    /// Twenty transactions, aborted as planned, all others committed, and the logs that have them.
    fn twenty() -> (Journal, Logs) {
        let (mut text, mut logs) = (String::new(), Logs::new());
        for transaction in 0..20 {
            text += &Journal::line(transaction, Step::Begun);
            let is_aborted = Plan::is_aborted(transaction);
            text += &Journal::line(transaction, if is_aborted { Step::Aborted } else { Step::Committed });
            if !is_aborted {
                put(&mut logs, transaction);
            }
        }
        (Journal::parse(&text).unwrap(), logs)
    }

    fn put(logs: &mut Logs, transaction: u64) {
        let places = plan().places(transaction);
        for (place, partition) in places.iter().enumerate() {
            let log = logs.entry(partition.clone()).or_default();
            let offset = log.last().map_or(0, |(offset, _)| offset + 1);
            log.push((offset, Plan::value(transaction, place, places.len())));
        }
    }

    /// The log that has a record of the transaction, and where in it the first one is.
    fn locate(logs: &mut Logs, transaction: u64) -> (&TopicPartition, &mut Vec<(i64, String)>, usize) {
        let first = plan().places(transaction).remove(0);
        let value = Plan::value(transaction, 0, plan().places(transaction).len());
        let (partition, log) = logs.iter_mut().find(|(partition, _)| **partition == first).unwrap();
        let at = log.iter().position(|(_, of)| *of == value).unwrap();
        (partition, log, at)
    }

    #[test]
    fn what_was_committed_is_there_and_nothing_else() {
        let (journal, logs) = twenty();
        assert_eq!(journal.check(&plan(), &logs), []);
        assert_eq!((journal.next(), journal.count(Step::Aborted)), (20, 3));
    }

    #[test]
    fn a_torn_transaction_is_found() {
        let (mut journal, mut logs) = twenty();
        let of = plan().places(8).len();
        let (_, log, at) = locate(&mut logs, 8);
        log.remove(at);
        let torn = [TransactionDefect::Torn { transaction: 8, seen: of - 1, of }];
        assert_eq!(journal.check(&plan(), &logs), torn);
        // Also where the process does not know how it ended.
        for step in [Step::Committing, Step::Unknown] {
            journal.steps.insert(8, step);
            assert_eq!(journal.check(&plan(), &logs), torn);
        }
    }

    #[test]
    fn a_transaction_of_unknown_outcome_may_be_there_or_not() {
        let (mut journal, mut logs) = twenty();
        for transaction in [20, 21] {
            journal.steps.insert(transaction, Step::Unknown);
        }
        put(&mut logs, 21);
        assert_eq!(journal.check(&plan(), &logs), []);
    }

    #[test]
    fn a_lost_transaction_is_found() {
        let (mut journal, logs) = twenty();
        journal.steps.insert(20, Step::Committed);
        assert_eq!(journal.check(&plan(), &logs), [TransactionDefect::Lost { transaction: 20 }]);
    }

    #[test]
    fn an_aborted_transaction_that_is_there_is_found() {
        for step in [Step::Begun, Step::Aborting, Step::Aborted, Step::Refused] {
            let (mut journal, mut logs) = twenty();
            journal.steps.insert(20, step);
            put(&mut logs, 20);
            let visible = [TransactionDefect::Visible { transaction: 20, step }];
            assert_eq!(journal.check(&plan(), &logs), visible);
        }
        let (journal, mut logs) = twenty();
        put(&mut logs, 20);
        assert_eq!(journal.check(&plan(), &logs), [TransactionDefect::NeverBegun { transaction: 20 }]);
    }

    #[test]
    fn a_duplicated_record_is_found() {
        let (journal, mut logs) = twenty();
        let (partition, log, at) = locate(&mut logs, 5);
        let offset = log.last().unwrap().0 + 1;
        log.push((offset, log[at].1.clone()));
        let partition = partition.clone();
        let duplicated = TransactionDefect::Duplicated { partition, offset, transaction: 5, place: 0 };
        assert_eq!(journal.check(&plan(), &logs), [duplicated]);
    }

    #[test]
    fn a_reordered_record_is_found() {
        let (journal, mut logs) = twenty();
        let (partition, log, at) = locate(&mut logs, 5);
        assert!(at > 0);
        let (before, after) = log.split_at_mut(at);
        std::mem::swap(&mut before[at - 1].1, &mut after[0].1);
        let partition = partition.clone();
        let found = journal.check(&plan(), &logs);
        let [TransactionDefect::Reordered { partition: of, offset, .. }] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((of, *offset), (&partition, at as i64));
    }

    #[test]
    fn a_record_that_no_transaction_has_there_is_found() {
        let (journal, mut logs) = twenty();
        let (partition, log, at) = locate(&mut logs, 5);
        let value = format!("{}x", log[at].1);
        log[at].1 = value.clone();
        let (partition, offset) = (partition.clone(), log[at].0);
        let found = journal.check(&plan(), &logs);
        let foreign = TransactionDefect::Foreign { partition, offset, value };
        assert!(found.contains(&foreign), "{found:?}");
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_step_and_nonsense_is_refused() {
        let journal = Journal::parse("begun 1\ncommitting 1\ncommitted 1\nbegun 2\ncommitt").unwrap();
        assert_eq!(journal.steps, BTreeMap::from([(1, Step::Committed), (2, Step::Begun)]));
        assert!(Journal::parse("done 1\n").unwrap_err().contains("done 1"));
    }
}
