//! Gzip, as RFC 1952 has it: one or more members, one after the other.

use std::{
    io::{Read, Write},
    ops::RangeInclusive,
};

use flate2::{bufread::MultiGzDecoder, write::GzEncoder};

use super::{Compression, CompressionError};

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
/// On records it takes little more than half the time of level 6, which is the default elsewhere, and 4 to 6 % more bytes.
const DEFAULT_LEVEL: i32 = 4;
/// How many bytes of room a byte of input is given before it is known what comes out. More is found as it comes.
const EXPECTED_EXPANSION: usize = 4;
/// The least room that is made at once.
const LEAST_GROWTH: usize = 512;

pub(super) fn compress(plain: &[u8], out: Vec<u8>, level: Option<i32>) -> Result<Vec<u8>, CompressionError> {
    let level = flate2::Compression::new(level.unwrap_or(DEFAULT_LEVEL).unsigned_abs());
    let mut encoder = GzEncoder::new(out, level);
    // Writing to a `Vec` does not fail; should the encoder, its output is no gzip.
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.map_err(|_| CompressionError::Corrupt(Compression::Gzip))
}

pub(super) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut plain = Vec::with_capacity(compressed.len().saturating_mul(EXPECTED_EXPANSION).min(limit));
    let mut decoder = MultiGzDecoder::new(compressed);
    while plain.len() <= limit {
        // A buffer that doubles by itself would go past the limit: it grows to one byte more, which tells.
        let most = limit.saturating_add(1).saturating_sub(plain.len());
        if plain.len() == plain.capacity() {
            plain.reserve_exact(plain.capacity().max(LEAST_GROWTH).min(most));
        }
        let room = most.min(plain.capacity().saturating_sub(plain.len()));
        let read = decoder.by_ref().take(room as u64).read_to_end(&mut plain);
        if read.map_err(|_| CompressionError::Corrupt(Compression::Gzip))? < room {
            return Ok(plain);
        }
    }
    Err(CompressionError::OverLimit { compression: Compression::Gzip, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        compress(plain, Vec::new(), None).unwrap()
    }

    #[test]
    fn members_one_after_the_other() {
        let compressed = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(decompress(&compressed, 7).unwrap(), b"one two");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let limit = 1 << 20;
        let over = CompressionError::OverLimit { compression: Compression::Gzip, limit };
        assert_eq!(decompress(&bomb, limit), Err(over));
        // With the end cut off it would be corrupt, if reading ever got that far.
        assert_eq!(decompress(&bomb[..bomb.len() / 2], limit), Err(over));
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        assert_eq!(decompress(&gzip(b"12345"), 5).unwrap(), b"12345");
        assert!(decompress(&gzip(b"12345"), 4).is_err());
    }

    #[test]
    fn cut_off_or_flipped_is_corrupt() {
        let whole = gzip(b"some bytes, some bytes, some bytes");
        let corrupt = Err(CompressionError::Corrupt(Compression::Gzip));
        for len in 1..whole.len() {
            assert_eq!(decompress(&whole[..len], 1000), corrupt, "{len}");
        }
        // The last eight bytes are gzip's own checksum and length.
        let mut flipped = whole.clone();
        flipped[whole.len() - 8] ^= 1;
        assert_eq!(decompress(&flipped, 1000), corrupt);
    }

    #[test]
    fn a_higher_level_makes_it_smaller() {
        let text: Vec<u8> = (0..20_000u32).flat_map(|i| (i * i % 1009).to_string().into_bytes()).collect();
        let len = |level| compress(&text, Vec::new(), Some(level)).unwrap().len();
        assert!(len(9) < len(1));
    }
}
