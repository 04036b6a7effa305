//! What was sent, what was told about it, and what the logs hold: whether these fit together (checker W1).
//!
//! A pure function over a history. It knows nothing of producers, brokers or the simulation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{copies::Miscopy, ledger::Breach};

/// Names a record: who sent it, and the how-manieth of theirs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// The producer.
    pub producer: u32,
    /// Counts the producer's records in the order in which they were accepted.
    pub number: u64,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic's number.
    pub topic: u32,
    /// The partition of it.
    pub partition: i32,
}

/// What the producer told of a record in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in the log, at this offset if that is known.
    Acknowledged(Option<i64>),
    /// It is not in the log.
    NotWritten,
    /// It may be in the log.
    MaybeWritten,
    /// Nothing was ever told.
    Nothing,
}

/// A record that a producer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub id: RecordId,
    /// Where it was to go.
    pub place: Place,
    /// What became of it.
    pub told: Told,
}

/// A record in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which, as its value says.
    pub id: RecordId,
    /// Where it was to go, as its value says; `None` where the sender left the choice to the producer.
    pub meant_for: Option<Place>,
    /// Where in the log it is.
    pub offset: i64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged, and not in the log.
    Lost(Sent),
    /// In the logs more than once.
    Duplicate(RecordId, Vec<(Place, i64)>),
    /// Acknowledged records of one producer lie in another order than they were sent in.
    Reordered {
        /// The partition.
        place: Place,
        /// The record that was sent first.
        earlier: RecordId,
        /// The record that lies before it.
        later: RecordId,
    },
    /// Acknowledged with an offset that is not the record's.
    OffsetLie {
        /// The record, with what was told.
        sent: Sent,
        /// Where it is.
        found: i64,
    },
    /// Reported as not written, and in the log.
    Phantom(Sent),
    /// In another partition than the one it was to go to.
    Misrouted {
        /// The record.
        id: RecordId,
        /// Where it was to go.
        meant_for: Place,
        /// Where it is.
        place: Place,
    },
    /// In the log, and nobody sent it.
    Unknown(RecordId, Place),
    /// Nothing was ever told of it.
    Unsettled(Sent),
    /// A promise to a group.
    Group(Breach),
    /// A promise to who copies in transactions.
    Copies(Miscopy),
    /// Something that the run saw and that must not be.
    Misbehaved(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misbehaved(what) => f.write_str(what),
            Self::Group(breach) => breach.fmt(f),
            Self::Copies(miscopy) => miscopy.fmt(f),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// The records of every log, in the order of their offsets.
pub type Logs = BTreeMap<Place, Vec<Found>>;

/// The promises that `sent` and `logs` break.
#[must_use]
pub fn check(sent: &[Sent], logs: &Logs) -> Vec<Violation> {
    let known: BTreeMap<RecordId, &Sent> = sent.iter().map(|sent| (sent.id, sent)).collect();
    let mut copies: BTreeMap<RecordId, Vec<(Place, i64)>> = BTreeMap::new();
    let mut violations = Vec::new();
    for (place, log) in logs {
        for found in log {
            copies.entry(found.id).or_default().push((*place, found.offset));
            let Some(sent) = known.get(&found.id) else {
                violations.push(Violation::Unknown(found.id, *place));
                continue;
            };
            for meant_for in
                [Some(sent.place), found.meant_for].into_iter().flatten().collect::<BTreeSet<_>>()
            {
                if meant_for != *place {
                    violations.push(Violation::Misrouted { id: found.id, meant_for, place: *place });
                }
            }
        }
        violations.extend(reordered(*place, log, &known));
    }
    for (id, places) in &copies {
        if places.len() > 1 {
            violations.push(Violation::Duplicate(*id, places.clone()));
        }
    }
    violations.extend(sent.iter().filter_map(|sent| broken_word(sent, copies.get(&sent.id))));
    violations
}

/// What was told of a record, held against where it is.
fn broken_word(sent: &Sent, copies: Option<&Vec<(Place, i64)>>) -> Option<Violation> {
    let first = copies.and_then(|copies| copies.first());
    match (sent.told, first) {
        (Told::Nothing, _) => Some(Violation::Unsettled(*sent)),
        (Told::Acknowledged(_), None) => Some(Violation::Lost(*sent)),
        (Told::Acknowledged(Some(told)), Some(&(_, found))) => {
            let right = copies.is_some_and(|copies| copies.contains(&(sent.place, told)));
            (!right).then_some(Violation::OffsetLie { sent: *sent, found })
        }
        (Told::NotWritten, Some(_)) => Some(Violation::Phantom(*sent)),
        _ => None,
    }
}

/// Acknowledged records of a log that lie behind one that their producer sent later. Copies after the first are
/// duplicates and not counted here.
fn reordered(place: Place, log: &[Found], known: &BTreeMap<RecordId, &Sent>) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut latest: BTreeMap<u32, RecordId> = BTreeMap::new();
    let mut violations = Vec::new();
    for found in log {
        let acknowledged =
            known.get(&found.id).is_some_and(|sent| matches!(sent.told, Told::Acknowledged(_)));
        if !acknowledged || !seen.insert(found.id) {
            continue;
        }
        let last = latest.entry(found.id.producer).or_insert(found.id);
        if found.id < *last {
            violations.push(Violation::Reordered { place, earlier: found.id, later: *last });
        }
        *last = found.id.max(*last);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { topic: 0, partition: 2 };
    const ELSEWHERE: Place = Place { topic: 0, partition: 3 };

    fn id(number: u64) -> RecordId {
        RecordId { producer: 1, number }
    }

    fn sent(number: u64, told: Told) -> Sent {
        Sent { id: id(number), place: PLACE, told }
    }

    fn found(number: u64, offset: i64) -> Found {
        Found { id: id(number), meant_for: Some(PLACE), offset }
    }

    fn log(records: &[Found]) -> Logs {
        Logs::from([(PLACE, records.to_vec())])
    }

    const fn acked(offset: i64) -> Told {
        Told::Acknowledged(Some(offset))
    }

    #[test]
    fn a_history_that_keeps_every_promise_passes() {
        let history = [
            sent(0, acked(0)),
            sent(1, Told::NotWritten),
            sent(2, Told::MaybeWritten),
            sent(3, Told::MaybeWritten),
            sent(4, Told::Acknowledged(None)),
        ];
        let logs = log(&[found(0, 0), found(4, 1), found(2, 2)]);
        assert_eq!(check(&history, &logs), []);
        assert_eq!(check(&[], &Logs::new()), []);
    }

    #[test]
    fn an_acknowledged_record_that_is_missing_is_lost() {
        let history = [sent(0, acked(0)), sent(1, acked(1))];
        assert_eq!(check(&history, &log(&[found(0, 0)])), [Violation::Lost(history[1])]);
    }

    #[test]
    fn a_second_copy_is_a_duplicate_whatever_was_told() {
        for told in [acked(0), Told::MaybeWritten] {
            let logs = log(&[found(0, 0), found(0, 1)]);
            let copies = vec![(PLACE, 0), (PLACE, 1)];
            assert_eq!(check(&[sent(0, told)], &logs), [Violation::Duplicate(id(0), copies)]);
        }
    }

    #[test]
    fn acknowledged_records_keep_their_order_and_others_need_not() {
        let history = [sent(0, acked(1)), sent(1, acked(0))];
        let logs = log(&[found(1, 0), found(0, 1)]);
        let violation = Violation::Reordered { place: PLACE, earlier: id(0), later: id(1) };
        assert_eq!(check(&history, &logs), [violation]);
        let history = [sent(0, Told::MaybeWritten), sent(1, acked(0))];
        assert_eq!(check(&history, &logs), []);
    }

    #[test]
    fn an_offset_that_is_another_records_is_a_lie() {
        let history = [sent(0, acked(1))];
        let violation = Violation::OffsetLie { sent: history[0], found: 0 };
        assert_eq!(check(&history, &log(&[found(0, 0)])), [violation]);
    }

    #[test]
    fn a_record_reported_as_not_written_is_a_phantom_when_it_is() {
        let history = [sent(0, Told::NotWritten)];
        assert_eq!(check(&history, &log(&[found(0, 0)])), [Violation::Phantom(history[0])]);
    }

    #[test]
    fn a_record_in_another_partition_is_misrouted() {
        let history = [sent(0, Told::MaybeWritten)];
        let logs = Logs::from([(ELSEWHERE, vec![found(0, 0)])]);
        let violation = Violation::Misrouted { id: id(0), meant_for: PLACE, place: ELSEWHERE };
        assert_eq!(check(&history, &logs), [violation]);
        // The producer says it chose the place, the value was meant for another.
        let wrong = Found { meant_for: Some(ELSEWHERE), ..found(0, 0) };
        let violation = Violation::Misrouted { id: id(0), meant_for: ELSEWHERE, place: PLACE };
        assert_eq!(check(&history, &log(&[wrong])), [violation]);
    }

    #[test]
    fn a_record_nobody_sent_and_one_nothing_was_told_of_are_seen() {
        assert_eq!(check(&[], &log(&[found(7, 0)])), [Violation::Unknown(id(7), PLACE)]);
        let open = sent(0, Told::Nothing);
        assert_eq!(check(&[open], &Logs::new()), [Violation::Unsettled(open)]);
    }
}
