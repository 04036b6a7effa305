//! What an idempotent producer was told of its records, held against what readers find in the log.
//!
//! Records carry a number and what follows from it, so that a record can be told from any other and from a damaged one.

use std::{collections::BTreeMap, fmt};

use milena_cluster::TopicPartition;

/// More defects than these say nothing new.
const MOST_DEFECTS: usize = 20;

/// What readers found, by partition: offset and value, in the order they were handed out.
pub type Logs = BTreeMap<TopicPartition, Vec<(i64, String)>>;

/// What a producer was told of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the log, at this offset if that is known.
    Acknowledged(Option<i64>),
    /// It may be in the log, once.
    MaybeWritten,
    /// It is not in the log.
    NotWritten,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// It was acknowledged and is not there.
    Lost(TopicPartition, u64),
    /// It is there twice.
    Duplicated(TopicPartition, u64, [i64; 2]),
    /// It is behind one that was sent after it.
    Reordered(TopicPartition, u64, i64),
    /// It was acknowledged at another offset: the one that was told, and the one it is at.
    Misplaced(TopicPartition, u64, [i64; 2]),
    /// The producer said that it was not written.
    Phantom(TopicPartition, u64, i64),
    /// Nobody sent it to this partition.
    Foreign(TopicPartition, i64, String),
}

/// The records of a producer, by partition, in the order they were sent.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<TopicPartition, Vec<(u64, Fate)>>,
}

impl Ledger {
    /// Notes what became of a record. The numbers of a partition rise.
    pub fn note(&mut self, partition: TopicPartition, number: u64, fate: Fate) {
        self.sent.entry(partition).or_default().push((number, fate));
    }

    /// How many records have this kind of fate.
    pub fn count(&self, is_wanted: impl Fn(Fate) -> bool) -> usize {
        self.sent.values().flatten().filter(|(_, fate)| is_wanted(*fate)).count()
    }

    /// What is wrong with the logs, the first twenty defects.
    #[must_use]
    pub fn check(&self, logs: &Logs) -> Vec<Defect> {
        let mut defects = Vec::new();
        let none = (Vec::new(), Vec::new());
        for (partition, sent) in &self.sent {
            check_partition(partition, sent, logs.get(partition).unwrap_or(&none.1), &mut defects);
        }
        for (partition, log) in logs.iter().filter(|(partition, _)| !self.sent.contains_key(partition)) {
            check_partition(partition, &none.0, log, &mut defects);
        }
        defects.truncate(MOST_DEFECTS);
        defects
    }
}

fn check_partition(
    partition: &TopicPartition,
    sent: &[(u64, Fate)],
    log: &[(i64, String)],
    defects: &mut Vec<Defect>,
) {
    let mut found: Vec<Option<i64>> = vec![None; sent.len()];
    let mut newest = None;
    let mut end = -1;
    for (offset, value) in log {
        let at = number(value).and_then(|number| sent.binary_search_by_key(&number, |(sent, _)| *sent).ok());
        let Some(at) = at else {
            defects.push(Defect::Foreign(partition.clone(), *offset, value.clone()));
            continue;
        };
        let (number, fate) = sent[at];
        let defect = match (found[at], fate) {
            (Some(first), _) => Some(Defect::Duplicated(partition.clone(), number, [first, *offset])),
            _ if newest > Some(at) || *offset <= end => {
                Some(Defect::Reordered(partition.clone(), number, *offset))
            }
            (None, Fate::NotWritten) => Some(Defect::Phantom(partition.clone(), number, *offset)),
            (None, Fate::Acknowledged(Some(told))) if told != *offset => {
                Some(Defect::Misplaced(partition.clone(), number, [told, *offset]))
            }
            (None, _) => None,
        };
        defects.extend(defect);
        found[at] = found[at].or(Some(*offset));
        newest = newest.max(Some(at));
        end = end.max(*offset);
    }
    let lost = sent
        .iter()
        .zip(&found)
        .filter(|((_, fate), found)| matches!(fate, Fate::Acknowledged(_)) && found.is_none());
    defects.extend(lost.map(|((number, _), _)| Defect::Lost(partition.clone(), *number)));
}

/// The value of a record: its number, and a hundred characters that no other number has.
#[must_use]
pub fn value(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let rest: String = (0..100).map(|_| random.alphanumeric()).collect();
    format!("{number} {rest}")
}

/// The number of a record, if the value is that of one.
#[must_use]
pub fn number(value: &str) -> Option<u64> {
    let number = value.split_once(' ')?.0.parse().ok()?;
    (self::value(number) == value).then_some(number)
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(partition, number) => {
                write!(f, "{partition}: record {number} was acknowledged and is lost")
            }
            Self::Duplicated(partition, number, [first, second]) => {
                write!(f, "{partition}: record {number} is at offset {first} and again at {second}")
            }
            Self::Reordered(partition, number, offset) => {
                write!(f, "{partition}: record {number} is behind newer ones, at offset {offset}")
            }
            Self::Misplaced(partition, number, [told, offset]) => {
                write!(f, "{partition}: record {number} was acknowledged at offset {told} and is at {offset}")
            }
            Self::Phantom(partition, number, offset) => {
                write!(f, "{partition}: record {number} was said not to be written and is at offset {offset}")
            }
            Self::Foreign(partition, offset, value) => {
                write!(f, "{partition}: nobody has sent what is at offset {offset}: {value}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new("orders", 1)
    }

    /// Ten records of a partition, acknowledged at the offsets 100 to 109, and the log that has them.
    fn ten() -> (Ledger, Vec<(i64, String)>) {
        let mut ledger = Ledger::default();
        let mut log = Vec::new();
        for number in 0..10 {
            ledger.note(partition(), number, Fate::Acknowledged(Some(100 + number as i64)));
            log.push((100 + number as i64, value(number)));
        }
        (ledger, log)
    }

    fn check(ledger: &Ledger, log: Vec<(i64, String)>) -> Vec<Defect> {
        ledger.check(&Logs::from([(partition(), log)]))
    }

    #[test]
    fn what_is_as_it_was_told_is_right() {
        let (ledger, log) = ten();
        assert_eq!(check(&ledger, log), []);
    }

    #[test]
    fn a_lost_record_is_found() {
        let (ledger, mut log) = ten();
        log.remove(4);
        assert_eq!(check(&ledger, log), [Defect::Lost(partition(), 4)]);
        assert_eq!(ledger.check(&Logs::new()).len(), 10);
    }

    #[test]
    fn a_duplicated_record_is_found() {
        let (ledger, mut log) = ten();
        log.push((110, value(9)));
        assert_eq!(check(&ledger, log), [Defect::Duplicated(partition(), 9, [109, 110])]);
    }

    #[test]
    fn a_reordered_record_is_found() {
        let mut ledger = Ledger::default();
        for number in 0..3 {
            ledger.note(partition(), number, Fate::Acknowledged(None));
        }
        let log = [(0, 0), (1, 2), (2, 1)].map(|(offset, number)| (offset, value(number)));
        assert_eq!(check(&ledger, log.to_vec()), [Defect::Reordered(partition(), 1, 2)]);
        let backwards = [(1, 0), (0, 1), (2, 2)].map(|(offset, number)| (offset, value(number)));
        assert_eq!(check(&ledger, backwards.to_vec()), [Defect::Reordered(partition(), 1, 0)]);
    }

    #[test]
    fn a_record_at_another_offset_than_was_told_is_found() {
        let (ledger, mut log) = ten();
        log[9].0 = 120;
        assert_eq!(check(&ledger, log), [Defect::Misplaced(partition(), 9, [109, 120])]);
    }

    #[test]
    fn a_record_that_was_said_not_to_be_written_is_found_and_one_that_may_be_is_not() {
        let (mut ledger, mut log) = ten();
        ledger.note(partition(), 10, Fate::NotWritten);
        ledger.note(partition(), 11, Fate::MaybeWritten);
        assert_eq!(check(&ledger, log.clone()), []);
        log.push((110, value(11)));
        assert_eq!(check(&ledger, log.clone()), []);
        log.insert(10, (110, value(10)));
        log[11].0 = 111;
        assert_eq!(check(&ledger, log), [Defect::Phantom(partition(), 10, 110)]);
    }

    #[test]
    fn a_damaged_record_and_one_of_somebody_else_are_found() {
        let (ledger, mut log) = ten();
        let damaged = format!("{}x", value(9));
        log[9].1 = damaged.clone();
        let found = check(&ledger, log);
        assert_eq!(found, [Defect::Foreign(partition(), 109, damaged), Defect::Lost(partition(), 9)]);
        let (ledger, log) = ten();
        let elsewhere = TopicPartition::new("orders", 2);
        let logs = Logs::from([(partition(), log), (elsewhere.clone(), vec![(0, value(3))])]);
        assert_eq!(ledger.check(&logs), [Defect::Foreign(elsewhere, 0, value(3))]);
    }
}
