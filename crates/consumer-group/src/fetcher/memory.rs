//! What fetched records hold, counted until the last handle to their bytes is dropped.
//!
//! A batch that waits here keeps the whole answer it came in, and a record that the application keeps does so too. So
//! answers are counted and not batches, by the bytes themselves: [`Bytes`] that give up their charge when they go.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use milena_cluster::BrokerId;
use milena_protocol::records::DecodedBatch;

/// What is held: answers by the broker they are from, and what was decompressed out of them.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: BTreeMap<BrokerId, Answers>,
    decompressed: Count,
    /// The largest batch so far, decompressed: room is kept for the next one.
    largest: usize,
}

/// The answers of one broker.
#[derive(Debug, Default)]
struct Answers {
    held: Count,
    longest: usize,
}

/// What is asked of a broker that has not answered yet.
const FIRST_ANSWER: usize = 1 << 20;

/// Bytes that somebody has.
#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// An answer, whose memory is one piece: it is held for as long as any of its partitions' records are.
#[derive(Clone, Debug)]
pub(super) struct Answer(Arc<Charge>);

#[derive(Debug)]
struct Charge {
    count: Count,
    bytes: AtomicUsize,
}

impl Charge {
    fn new(count: &Count) -> Self {
        Self { count: count.clone(), bytes: AtomicUsize::new(0) }
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.count.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.count.0.fetch_sub(*self.bytes.get_mut(), Ordering::Release);
    }
}

/// Bytes, and the charge for them.
struct Charged {
    bytes: Bytes,
    _charge: Arc<Charge>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answer {
    /// Records of one of the answer's partitions.
    pub(super) fn charge(&self, bytes: Bytes) -> Bytes {
        self.0.add(bytes.len());
        Bytes::from_owner(Charged { bytes, _charge: Arc::clone(&self.0) })
    }
}

impl Memory {
    /// An answer of `broker`, of which nothing is charged yet.
    pub(super) fn answer(&mut self, broker: BrokerId) -> Answer {
        Answer(Arc::new(Charge::new(&self.answers.entry(broker).or_default().held)))
    }

    /// An answer of `broker` has brought so many bytes.
    pub(super) fn answered(&mut self, broker: BrokerId, answer: &Answer) {
        let bytes = answer.0.bytes.load(Ordering::Relaxed);
        let answers = self.answers.entry(broker).or_default();
        answers.longest = answers.longest.max(bytes);
    }

    /// The next connection to `broker` is another one.
    pub(super) fn disconnected(&mut self, broker: BrokerId) {
        if let Some(answers) = self.answers.get_mut(&broker) {
            answers.longest = 0;
        }
    }

    /// The longest answer to ask `broker` for: twice what has come. A connection makes room for no more before it
    /// comes, and what is longer is copied on the way, which takes the memory twice.
    pub(super) fn longest_of(&self, broker: BrokerId) -> usize {
        let longest = self.answers.get(&broker).map_or(0, |answers| answers.longest);
        FIRST_ANSWER.max(longest.saturating_mul(2))
    }

    /// A batch that was decompressed into memory of its own.
    pub(super) fn decompressed(&mut self, batch: DecodedBatch) -> DecodedBatch {
        self.largest = self.largest.max(batch.uncompressed_len());
        let charge = Arc::new(Charge::new(&self.decompressed));
        batch.map_payload(|bytes| {
            charge.add(bytes.len());
            Bytes::from_owner(Charged { bytes, _charge: charge })
        })
    }

    /// Bytes of the answers of `broker`.
    pub(super) fn of(&self, broker: BrokerId) -> usize {
        self.answers.get(&broker).map_or(0, |answers| answers.held.bytes())
    }

    /// Bytes of all that is held.
    pub(super) fn total(&self) -> usize {
        let answers = self.answers.values().map(|answers| answers.held.bytes());
        answers.fold(self.decompressed.bytes(), usize::saturating_add)
    }

    /// Of `limit` bytes those that may be fetched and are not taken by answers. Room is kept to decompress in, which takes
    /// half of it at most.
    pub(super) fn room(&self, limit: usize) -> usize {
        let fetched = self.total().saturating_sub(self.decompressed.bytes());
        self.for_answers(limit).saturating_sub(fetched)
    }

    /// Of `limit` bytes those that answers may take.
    pub(super) fn for_answers(&self, limit: usize) -> usize {
        limit.saturating_sub(self.largest.min(limit / 2).max(self.decompressed.bytes()))
    }

    /// Whether another batch may be decompressed while the application has not read those that are.
    pub(super) fn has_room_to_decompress(&self, limit: usize) -> bool {
        self.total().saturating_add(self.largest) <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BrokerId = BrokerId(1);
    const TWO: BrokerId = BrokerId(2);

    #[test]
    fn an_answer_is_held_until_the_last_of_its_records_is_dropped() {
        let mut memory = Memory::default();
        let answer = memory.answer(ONE);
        let first = answer.charge(Bytes::from_static(b"first"));
        let second = answer.charge(Bytes::from_static(b"second"));
        drop(answer);
        assert_eq!((memory.of(ONE), memory.of(TWO), memory.total()), (11, 0, 11));
        let kept = second.slice(2..3);
        drop((first, second));
        assert_eq!(memory.of(ONE), 11, "a slice keeps it all");
        drop(kept);
        assert_eq!((memory.of(ONE), memory.total()), (0, 0));
    }

    #[test]
    fn room_is_kept_to_decompress_in_and_no_more_than_half() {
        let mut memory = Memory { largest: 30, ..Memory::default() };
        assert_eq!((memory.room(100), memory.room(40)), (70, 20));
        let held = memory.answer(TWO).charge(Bytes::from_static(&[0; 60]));
        assert_eq!(memory.room(100), 10);
        assert!(memory.has_room_to_decompress(90) && !memory.has_room_to_decompress(89));
        drop(held);
        assert_eq!(memory.room(100), 70);
    }
}
