//! Which partition a record goes to.
//!
//! A key decides as it does in Kafka's Java client: murmur2 of the key, so that producers in both languages put the
//! same key in the same partition. Records without a key stay with one partition until it has taken a batch's worth,
//! then move on (KIP-480, KIP-794): larger batches. Which partition is next is drawn; those whose queues are long come
//! up less often. Other choices: [`Partitioner`].

mod hash;
mod leader_waits;
mod sticky;

use std::sync::Arc;

pub use hash::{crc32_partition_for_key, murmur2, partition_for_key};
pub(crate) use leader_waits::LeaderWaits;
pub(crate) use sticky::{Candidate, Spread, Sticky};

/// How records without a partition of their own are placed.
///
/// The placement of keys is a promise to everybody who reads a topic: changing it sends a key's new records elsewhere than
/// its old ones, and their order is lost.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Partitioner {
    /// Keys by murmur2, as Java and librdkafka's `murmur2_random` do. Records without a key are spread.
    #[default]
    Murmur2,
    /// As `Murmur2`, but a record without a key goes where the empty key goes: librdkafka's `murmur2`.
    Murmur2Always,
    /// Keys by CRC-32, as librdkafka's `consistent_random`, its default. Records without a key, or with an empty one, are
    /// spread. Java's producers put the same keys elsewhere.
    Crc32,
    /// As `Crc32`, but a record without a key goes to partition 0, where the empty key goes: librdkafka's `consistent`.
    Crc32Always,
    /// Every record to the next partition that has a leader, whatever its key. The records of one key lose their order.
    RoundRobin,
    /// Every record is spread as one without a key, whatever its key (Java's `partitioner.ignore.keys`). The records of one
    /// key lose their order.
    IgnoreKeys,
    /// The caller's own.
    Custom(Arc<dyn ChoosePartition>),
    /// Nobody has chosen yet, and any guess may send keys elsewhere. [`ProducerConfig::validate`] refuses it.
    ///
    /// [`ProducerConfig::validate`]: crate::ProducerConfig::validate
    Unchosen,
}

/// A partitioner of the caller's own.
///
/// It is asked for every record that names no partition, in the thread of the caller and under the lock of all who
/// enqueue: it must be quick and must not enqueue anything itself. If it panics, so does the call that enqueues, and nothing
/// of the record is kept.
pub trait ChoosePartition: std::fmt::Debug + Send + Sync {
    /// The partition for a record, from 0. `None` spreads it as a record without a key. A partition that does not exist
    /// fails the record with [`EnqueueError::NoSuchPartition`](crate::EnqueueError::NoSuchPartition).
    fn choose(&self, record: &Unplaced<'_>) -> Option<usize>;
}

/// A record that is not placed yet.
#[derive(Clone, Copy, Debug)]
pub struct Unplaced<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// How many partitions the topic has.
    pub partition_count: usize,
    /// For each partition, whether it has a leader and takes records.
    pub available: &'a [bool],
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    At(usize),
    /// With the others that have no partition of their own.
    Spread,
}

impl Partitioner {
    /// Places a record. `turn` counts the records that went round robin.
    pub(crate) fn place(&self, record: &Unplaced<'_>, turn: &mut usize) -> Placement {
        let count = record.partition_count;
        match (self, record.key) {
            (Self::Murmur2, Some(key)) => Placement::At(partition_for_key(key, count)),
            (Self::Murmur2Always, key) => Placement::At(partition_for_key(key.unwrap_or_default(), count)),
            (Self::Crc32, Some(key)) if !key.is_empty() => Placement::At(crc32_partition_for_key(key, count)),
            (Self::Crc32Always, key) => {
                Placement::At(crc32_partition_for_key(key.unwrap_or_default(), count))
            }
            (Self::RoundRobin, _) => next_in_turn(record.available, count, turn),
            (Self::Custom(chooser), _) => chooser.choose(record).map_or(Placement::Spread, Placement::At),
            (Self::Murmur2 | Self::Crc32 | Self::IgnoreKeys | Self::Unchosen, _) => Placement::Spread,
        }
    }
}

/// The next partition that is available, or just the next if none is.
fn next_in_turn(available: &[bool], count: usize, turn: &mut usize) -> Placement {
    let start = turn.checked_rem(count).unwrap_or(0);
    let round = || (start..count).chain(0..start);
    let next = round().find(|index| available.get(*index).copied().unwrap_or(false)).unwrap_or(start);
    *turn = next.wrapping_add(1);
    Placement::At(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, available: &'a [bool]) -> Unplaced<'a> {
        Unplaced { topic: "letters", key, value: None, partition_count: available.len(), available }
    }

    #[test]
    fn keys_and_their_absence_are_placed_as_the_choice_says() {
        let available = [true; 6];
        let of = |key: &[u8]| (partition_for_key(key, 6), crc32_partition_for_key(key, 6));
        let apart = |key: &String| of(key.as_bytes()).0 != of(key.as_bytes()).1;
        let key = (0..100).map(|number| format!("cust-{number}")).find(apart).unwrap();
        let key = key.as_bytes();
        let (murmur2, crc) = of(key);
        let empty = partition_for_key(b"", 6);
        for (partitioner, with, of_empty, without) in [
            (Partitioner::Murmur2, Placement::At(murmur2), Placement::At(empty), Placement::Spread),
            (Partitioner::Murmur2Always, Placement::At(murmur2), Placement::At(empty), Placement::At(empty)),
            (Partitioner::Crc32, Placement::At(crc), Placement::Spread, Placement::Spread),
            (Partitioner::Crc32Always, Placement::At(crc), Placement::At(0), Placement::At(0)),
            (Partitioner::IgnoreKeys, Placement::Spread, Placement::Spread, Placement::Spread),
        ] {
            let place = |key| partitioner.place(&record(key, &available), &mut 0);
            assert_eq!(place(Some(key)), with, "{partitioner:?}");
            assert_eq!(place(Some(b"")), of_empty, "{partitioner:?}");
            assert_eq!(place(None), without, "{partitioner:?}");
        }
    }

    #[test]
    fn turns_go_round_the_partitions_that_have_leaders() {
        let mut turn = 0;
        let mut round = |available: &[bool]| -> Vec<Placement> {
            (0..6).map(|_| Partitioner::RoundRobin.place(&record(Some(b"k"), available), &mut turn)).collect()
        };
        assert_eq!(round(&[true; 3]), [0, 1, 2, 0, 1, 2].map(Placement::At));
        assert_eq!(round(&[true, false, true]), [0, 2, 0, 2, 0, 2].map(Placement::At));
        assert_eq!(round(&[false; 2]), [1, 0, 1, 0, 1, 0].map(Placement::At));
    }

    #[derive(Debug)]
    struct ByTopic;

    impl ChoosePartition for ByTopic {
        fn choose(&self, record: &Unplaced<'_>) -> Option<usize> {
            record.key.map(|_| record.topic.len())
        }
    }

    #[test]
    fn the_callers_own_may_leave_the_choice() {
        let own = Partitioner::Custom(Arc::new(ByTopic));
        assert_eq!(own.place(&record(Some(b"k"), &[true; 9]), &mut 0), Placement::At(7));
        assert_eq!(own.place(&record(None, &[true; 9]), &mut 0), Placement::Spread);
    }
}
