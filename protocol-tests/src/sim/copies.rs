//! Whether what was copied in transactions is what there was to copy: each record once and in order (checker W2).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::history::{Logs, Place, RecordId};

/// A promise of exactly-once copying that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miscopy {
    /// A record has no copy.
    Missing(Place, RecordId),
    /// A record has more than one.
    Twice(Place, RecordId),
    /// A copy lies behind that of a later record of the same partition.
    OutOfOrder(Place, RecordId),
    /// A copy of nothing.
    Invented(RecordId),
}

impl fmt::Display for Miscopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The promises that `copies` break: the records of committed transactions. Each partition of `originals` is copied to
/// one partition.
#[must_use]
pub fn check(originals: &Logs, copies: &Logs) -> Vec<Miscopy> {
    let mut known = BTreeMap::new();
    for (place, log) in originals {
        known.extend(log.iter().enumerate().map(|(at, found)| (found.id, (*place, at))));
    }
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    let mut latest: BTreeMap<Place, usize> = BTreeMap::new();
    for found in copies.values().flatten() {
        let Some((place, at)) = known.get(&found.id).copied() else {
            broken.push(Miscopy::Invented(found.id));
            continue;
        };
        if !seen.insert(found.id) {
            broken.push(Miscopy::Twice(place, found.id));
            continue;
        }
        let last = latest.entry(place).or_insert(at);
        if at < *last {
            broken.push(Miscopy::OutOfOrder(place, found.id));
        }
        *last = at.max(*last);
    }
    let missing = known.iter().filter(|(id, _)| !seen.contains(id));
    broken.extend(missing.map(|(id, (place, _))| Miscopy::Missing(*place, *id)));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Found;

    const FROM: Place = Place { topic: 0, partition: 0 };
    const TO: Place = Place { topic: 2, partition: 0 };

    fn id(number: u64) -> RecordId {
        RecordId { producer: 0, number }
    }

    fn log(place: Place, numbers: &[u64]) -> Logs {
        let found =
            |(at, number): (usize, &u64)| Found { id: id(*number), meant_for: None, offset: at as i64 };
        Logs::from([(place, numbers.iter().enumerate().map(found).collect())])
    }

    #[test]
    fn each_record_once_and_in_order() {
        let check = |copies: &[u64]| check(&log(FROM, &[3, 1, 2]), &log(TO, copies));
        assert_eq!(check(&[3, 1, 2]), []);
        assert_eq!(check(&[3, 2]), [Miscopy::Missing(FROM, id(1))]);
        assert_eq!(check(&[3, 1, 3, 2]), [Miscopy::Twice(FROM, id(3))]);
        assert_eq!(check(&[3, 2, 1]), [Miscopy::OutOfOrder(FROM, id(1))]);
        assert_eq!(check(&[3, 1, 2, 4]), [Miscopy::Invented(id(4))]);
    }
}
