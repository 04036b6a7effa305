//! Records that nothing else places: a batch's worth to one partition, then to another.

use std::time::{Duration, Instant};

use milena_protocol::wire::ByteString;

/// How records without a key are spread. What is turned off falls back to equal chances.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// A long queue makes a partition come up less often.
    pub(crate) is_adaptive: bool,
    /// For how long a leader may leave batches lying before it is left out.
    pub(crate) availability_timeout: Option<Duration>,
    /// Partitions whose leader is in this rack come first (KIP-1123).
    pub(crate) rack: Option<ByteString>,
}

/// A partition that may be next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// It has a leader and takes records.
    pub(crate) is_available: bool,
    /// Its leader is in the client's rack.
    pub(crate) is_near: bool,
    /// Batches that wait in it.
    pub(crate) queue: usize,
    /// Since when its leader has left batches lying.
    pub(crate) waits_since: Option<Instant>,
}

/// The partition that takes the records without a key at the moment.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    current: Option<usize>,
    bytes: usize,
}

impl Sticky {
    /// The partition for the next record, when it is not to be drawn.
    pub(crate) fn current(&self, count: usize) -> Option<usize> {
        self.current.filter(|current| *current < count)
    }

    /// Draws the partition for the next records from those that have a leader, or from all if none has.
    pub(crate) fn draw(
        &mut self,
        now: Instant,
        spread: &Spread,
        candidates: &[Candidate],
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        self.current = spread.draw(now, candidates, random);
        self.bytes = 0;
        self.current
    }

    /// The partition takes no more records.
    pub(crate) fn leave(&mut self, partition: usize) {
        self.current = self.current.filter(|current| *current != partition);
    }

    /// `len` bytes went to the current partition; after `share` of them another one's turn comes.
    pub(crate) fn took(&mut self, len: usize, share: usize) {
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes >= share {
            self.current = None;
        }
    }
}

impl Spread {
    /// The narrowest set that is not empty: near partitions of leaders that keep up, such partitions anywhere, those that
    /// have a leader, all.
    fn draw(&self, now: Instant, candidates: &[Candidate], random: &mut fastrand::Rng) -> Option<usize> {
        let keeps_up = |candidate: &Candidate| candidate.is_available && !self.is_left_out(now, candidate);
        let is_near = |candidate: &Candidate| candidate.is_near && keeps_up(candidate);
        let is_available = |candidate: &Candidate| candidate.is_available;
        self.draw_from(candidates, is_near, random)
            .or_else(|| self.draw_from(candidates, keeps_up, random))
            .or_else(|| self.draw_from(candidates, is_available, random))
            .or_else(|| self.draw_from(candidates, |_| true, random))
    }

    fn is_left_out(&self, now: Instant, candidate: &Candidate) -> bool {
        let waited = candidate.waits_since.map(|since| now.saturating_duration_since(since));
        waited.zip(self.availability_timeout).is_some_and(|(waited, timeout)| waited >= timeout)
    }

    /// One of those that are `eligible`. The longest queue still has a weight of one: no partition starves.
    fn draw_from(
        &self,
        candidates: &[Candidate],
        eligible: impl Fn(&Candidate) -> bool,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let among = || candidates.iter().enumerate().filter(|(_, candidate)| eligible(candidate));
        let longest = among().map(|(_, candidate)| candidate.queue).max()?;
        let weight = |candidate: &Candidate| match self.is_adaptive {
            true => (longest.saturating_sub(candidate.queue) as u64).saturating_add(1),
            false => 1,
        };
        let total = among().fold(0u64, |total, (_, candidate)| total.saturating_add(weight(candidate)));
        let mut left = random.u64(..total.max(1));
        for (index, candidate) in among() {
            match left.checked_sub(weight(candidate)) {
                Some(rest) => left = rest,
                None => return Some(index),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Spread = Spread { is_adaptive: true, availability_timeout: None, rack: None };
    const IDLE: Candidate = Candidate { is_available: true, is_near: false, queue: 0, waits_since: None };

    #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    /// How often each candidate comes up in 10,000 draws.
    fn counts<const N: usize>(spread: &Spread, now: Instant, candidates: [Candidate; N]) -> [usize; N] {
        let mut random = fastrand::Rng::with_seed(794);
        let mut seen = [0; N];
        for _ in 0..10_000 {
            seen[spread.draw(now, &candidates, &mut random).unwrap()] += 1;
        }
        seen
    }

    #[track_caller]
    fn assert_near<const N: usize>(seen: [usize; N], expected: [usize; N]) {
        for (seen_once, expected_once) in seen.iter().zip(expected) {
            let off = seen_once.abs_diff(expected_once);
            assert!(off <= expected_once / 10 + usize::from(expected_once > 0), "{seen:?}, not {expected:?}");
        }
    }

    #[test]
    fn a_long_queue_comes_up_in_proportion_and_still_does() {
        // Weights 10, 8, 6 and 1 of 25.
        let queues = [0, 2, 4, 9].map(|queue| Candidate { queue, ..IDLE });
        assert_near(counts(&PLAIN, start(), queues), [4_000, 3_200, 2_400, 400]);
        let even = Spread { is_adaptive: false, ..PLAIN };
        assert_near(counts(&even, start(), queues), [2_500; 4]);
    }

    #[test]
    fn equal_queues_have_equal_chances_whatever_their_length() {
        for queue in [0, 1, 1_000_000] {
            assert_near(counts(&PLAIN, start(), [Candidate { queue, ..IDLE }; 4]), [2_500; 4]);
        }
    }

    #[test]
    fn a_leader_that_leaves_batches_lying_is_left_out_unless_all_do() {
        let now = start() + Duration::from_secs(60);
        let spread = Spread { availability_timeout: Some(Duration::from_secs(10)), ..PLAIN };
        let waits = |seconds| Candidate { waits_since: Some(now - Duration::from_secs(seconds)), ..IDLE };
        assert_near(counts(&spread, now, [IDLE, waits(9), waits(10)]), [5_000, 5_000, 0]);
        assert_near(counts(&PLAIN, now, [IDLE, waits(9), waits(10)]), [3_333; 3]);
        let gone = Candidate { is_available: false, ..IDLE };
        assert_near(counts(&spread, now, [gone, waits(20), waits(10)]), [0, 5_000, 5_000]);
        assert_near(counts(&spread, now, [gone, gone]), [5_000, 5_000]);
    }

    #[test]
    fn near_leaders_come_first_as_long_as_they_keep_up() {
        let now = start() + Duration::from_secs(60);
        let spread = Spread { availability_timeout: Some(Duration::from_secs(10)), ..PLAIN };
        let near = Candidate { is_near: true, ..IDLE };
        assert_near(counts(&spread, now, [near, IDLE, near]), [5_000, 0, 5_000]);
        let lagging = Candidate { waits_since: Some(now - Duration::from_secs(10)), ..near };
        assert_near(counts(&spread, now, [lagging, IDLE, IDLE]), [0, 5_000, 5_000]);
        // A queue among the far ones does not count for the near ones.
        let busy = Candidate { queue: 50, ..near };
        assert_near(counts(&spread, now, [busy, Candidate { queue: 9, ..IDLE }]), [10_000, 0]);
    }

    #[test]
    fn records_without_a_key_stay_until_a_share_is_taken() {
        let mut sticky = Sticky::default();
        let mut random = fastrand::Rng::with_seed(5);
        let now = start();
        assert_eq!(sticky.current(3), None);
        let first = sticky.draw(now, &PLAIN, &[IDLE; 3], &mut random).unwrap();
        sticky.took(99, 100);
        assert_eq!(sticky.current(3), Some(first));
        assert_eq!(sticky.current(first), None, "a partition that is not there");
        sticky.took(1, 100);
        assert_eq!(sticky.current(3), None);
        let next = sticky.draw(now, &PLAIN, &[IDLE; 3], &mut random).unwrap();
        sticky.leave(next);
        assert_eq!(sticky.current(3), None);
        assert_eq!(sticky.draw(now, &PLAIN, &[], &mut random), None);
    }
}
