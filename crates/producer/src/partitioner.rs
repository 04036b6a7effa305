//! Which partition a record goes to.
//!
//! A key decides as it does in Kafka's Java client: murmur2 of the key, so that producers in both languages put the
//! same key in the same partition. Records without a key stay with one partition until it has taken a batch's worth,
//! then move on (KIP-480, KIP-794): larger batches, evenly spread.

/// The partition of a key among `count` partitions, as Java's `BuiltInPartitioner` has it.
#[must_use]
pub fn partition_for_key(key: &[u8], count: usize) -> usize {
    let positive = murmur2(key) & 0x7fff_ffff;
    (positive as usize).checked_rem(count).unwrap_or(0)
}

/// The 32-bit murmur2 hash with the seed Kafka uses.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0u32, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// The partition that takes the records without a key at the moment.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    current: Option<usize>,
    bytes: usize,
}

impl Sticky {
    /// The partition for the next record; a new one is drawn from those that have a leader, or from all if none has.
    pub(crate) fn choose(&mut self, available: &[bool], random: &mut fastrand::Rng) -> Option<usize> {
        if let Some(current) = self.current.filter(|current| *current < available.len()) {
            return Some(current);
        }
        let leaders = available.iter().filter(|led| **led).count();
        let chosen = match leaders {
            0 if available.is_empty() => return None,
            0 => random.usize(..available.len()),
            _ => {
                let nth = random.usize(..leaders);
                available.iter().enumerate().filter(|(_, led)| **led).map(|(index, _)| index).nth(nth)?
            }
        };
        self.current = Some(chosen);
        self.bytes = 0;
        Some(chosen)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `org.apache.kafka.common.utils.Utils.murmur2` of kafka-clients 4.3.1.
    #[test]
    fn hashes_equal_javas() {
        for (key, hash) in JAVA {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), *hash, "{key}");
        }
    }

    const JAVA: &[(&str, i32)] = &[
        ("", 275646681),
        ("a", -1563381124),
        ("ab", 316155434),
        ("abc", 479470107),
        ("abcd", -1323649548),
        ("abcde", 461995741),
        ("cust-1", 344533579),
        ("cust-42", 1534714832),
        ("letters", -1387601365),
        ("Milena", 238485795),
        ("0123456789abcdef", 1438427052),
        ("éè", -1525060724),
        ("😀 smile", -580186616),
        ("the quick brown fox jumps over the lazy dog", -890066680),
    ];

    #[test]
    fn a_key_always_goes_to_the_same_partition() {
        assert_eq!(partition_for_key(b"cust-1", 6), partition_for_key(b"cust-1", 6));
        let mut seen = [0; 6];
        for customer in 0..6000 {
            seen[partition_for_key(format!("cust-{customer}").as_bytes(), 6)] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn records_without_a_key_stay_until_a_share_is_taken() {
        let mut sticky = Sticky::default();
        let mut random = fastrand::Rng::with_seed(5);
        let available = [false, true, true];
        let first = sticky.choose(&available, &mut random).unwrap();
        assert_ne!(first, 0);
        sticky.took(10, 100);
        assert_eq!(sticky.choose(&available, &mut random), Some(first));
        let mut seen = [0; 3];
        for _ in 0..300 {
            sticky.took(100, 100);
            seen[sticky.choose(&available, &mut random).unwrap()] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1] > 100 && seen[2] > 100, "{seen:?}");
        assert_eq!(sticky.choose(&[], &mut random), None);
    }
}
