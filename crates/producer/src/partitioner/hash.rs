//! Where a key goes: hashes that equal those of other clients.

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

/// The partition of a key among `count` partitions, as librdkafka's `consistent` has it: CRC-32 of the key.
#[must_use]
pub fn crc32_partition_for_key(key: &[u8], count: usize) -> usize {
    (crc32fast::hash(key) as usize).checked_rem(count).unwrap_or(0)
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

    /// The check value of CRC-32/ISO-HDLC.
    #[test]
    fn a_crc_is_that_of_zip() {
        assert_eq!(crc32_partition_for_key(b"123456789", 1 << 33), 0xcbf4_3926);
        assert_eq!(crc32_partition_for_key(b"", 7), 0);
        assert_eq!(crc32_partition_for_key(b"key", 0), 0);
    }
}
