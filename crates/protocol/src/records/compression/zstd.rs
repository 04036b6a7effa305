//! Zstandard frames (RFC 8878).

use std::ops::RangeInclusive;

use zrip::{
    DecompressError,
    frame::{MAX_BLOCK_SIZE, header::parse_frame_header},
};

use super::{Compression, CompressionError};

/// The levels that the encoder has: those of the reference implementation that are made for speed.
pub(super) const LEVELS: RangeInclusive<i32> = -7..=4;
/// On records it is smaller than level 3 as often as not, and half as fast again.
const DEFAULT_LEVEL: i32 = 1;
/// Frames of user data, which readers pass over. The low four bits are free.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const CHECKSUM_LEN: usize = 4;

const CORRUPT: CompressionError = CompressionError::Corrupt(Compression::Zstd);

pub(super) fn compress(
    plain: &[u8],
    mut out: Vec<u8>,
    level: Option<i32>,
) -> Result<Vec<u8>, CompressionError> {
    // The level was checked when it was chosen. Should the encoder fail, its output is no frame.
    let compressed = zrip::compress(plain, level.unwrap_or(DEFAULT_LEVEL)).map_err(|_| CORRUPT)?;
    out.extend_from_slice(&compressed);
    Ok(out)
}

/// A window above 128 MiB is refused, as it is by Java. The window's size allocates nothing: what is decompressed is one
/// piece of memory, and its own window.
pub(super) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let over_limit = CompressionError::OverLimit { compression: Compression::Zstd, limit };
    if claims_more_than_its_blocks_hold(compressed)? {
        return Err(CORRUPT);
    }
    zrip::decompress_with_limit(compressed, limit).map_err(|error| match error {
        DecompressError::OutputTooSmall => over_limit,
        _ => CORRUPT,
    })
}

/// Whether a frame claims more content than its blocks could hold. The decoder makes room by the claim.
fn claims_more_than_its_blocks_hold(compressed: &[u8]) -> Result<bool, CompressionError> {
    let mut rest = compressed;
    while !rest.is_empty() {
        rest = match rest.split_first_chunk() {
            Some((magic, behind)) if u32::from_le_bytes(*magic) & !0xf == SKIPPABLE_MAGIC => {
                let (len, behind) = behind.split_first_chunk().ok_or(CORRUPT)?;
                let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| CORRUPT)?;
                behind.get(len..).ok_or(CORRUPT)?
            }
            _ => {
                let header = parse_frame_header(rest).map_err(|_| CORRUPT)?;
                let blocks = rest.get(header.header_size..).ok_or(CORRUPT)?;
                let (most, behind) = most_of_blocks(blocks).ok_or(CORRUPT)?;
                if header.frame_content_size.is_some_and(|claimed| claimed > most) {
                    return Ok(true);
                }
                let checksum_len = if header.content_checksum { CHECKSUM_LEN } else { 0 };
                behind.get(checksum_len..).ok_or(CORRUPT)?
            }
        };
    }
    Ok(false)
}

/// The most that the blocks of a frame can hold, and what stands behind the last of them.
fn most_of_blocks(blocks: &[u8]) -> Option<(u64, &[u8])> {
    const RLE: u32 = 1;
    const COMPRESSED: u32 = 2;
    let mut most = 0u64;
    let mut rest = blocks;
    loop {
        let ([low, middle, high], behind) = rest.split_first_chunk()?;
        let header = u32::from_le_bytes([*low, *middle, *high, 0]);
        let size = header >> 3;
        let (len, holds) = match header >> 1 & 3 {
            RLE => (1, size),
            COMPRESSED => (size, MAX_BLOCK_SIZE as u32),
            _ => (size, size),
        };
        most = most.saturating_add(holds.into());
        rest = behind.get(usize::try_from(len).ok()?..)?;
        if header & 1 == 1 {
            return Some((most, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd(plain: &[u8]) -> Vec<u8> {
        compress(plain, Vec::new(), None).unwrap()
    }

    fn over(limit: usize) -> Result<Vec<u8>, CompressionError> {
        Err(CompressionError::OverLimit { compression: Compression::Zstd, limit })
    }

    fn text(len: usize) -> Vec<u8> {
        let words = (0..)
            .flat_map(|i: u32| format!("order {} of {}, ", i.wrapping_mul(i) % 977, i % 31).into_bytes());
        words.take(len).collect()
    }

    /// A frame with an eight-byte content size and these blocks.
    fn claiming(content_len: u64, blocks: &[u8]) -> Vec<u8> {
        // No window descriptor: the frame is one segment.
        [b"\x28\xb5\x2f\xfd\xe0".as_slice(), &content_len.to_le_bytes(), blocks].concat()
    }

    #[test]
    fn frames_one_after_the_other_and_skippable_ones() {
        let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0any".as_slice();
        let compressed = [&zstd(b"one "), skipped, &zstd(b""), &zstd(b"two"), skipped].concat();
        assert_eq!(decompress(&compressed, 7).unwrap(), b"one two");
        assert_eq!(decompress(&compressed, 6), over(6));
        assert_eq!(decompress(&zstd(b""), 0).unwrap(), b"");
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        for len in [1, 1000, 131_072, 131_073, 1 << 20] {
            let plain = text(len);
            let compressed = zstd(&plain);
            assert!(decompress(&compressed, len).unwrap() == plain);
            assert_eq!(decompress(&compressed, len - 1), over(len - 1));
        }
    }

    #[test]
    fn every_level_is_read_again() {
        let plain = text(300_000);
        let mut lens = Vec::new();
        for level in LEVELS {
            let compressed = compress(&plain, Vec::new(), Some(level)).unwrap();
            assert!(decompress(&compressed, plain.len()).unwrap() == plain, "{level}");
            lens.push(compressed.len());
        }
        assert!(lens.first() > lens.last(), "{lens:?}");
    }

    #[test]
    fn cut_off_is_corrupt() {
        let whole = zstd(&text(3000));
        for len in 1..whole.len() {
            assert_eq!(decompress(&whole[..len], 10_000), Err(CORRUPT), "{len}");
        }
    }

    #[test]
    fn a_checksum_is_held_against_the_content() {
        // One segment, one byte of content size, a checksum; a last raw block of three bytes.
        let mut frame = b"\x28\xb5\x2f\xfd\x24\x03\x19\0\0abc".to_vec();
        // The low four bytes of the XXH64 of "abc", 0x44bc2cf5ad770999.
        frame.extend_from_slice(&0xad77_0999_u32.to_le_bytes());
        assert_eq!(decompress(&frame, 3).unwrap(), b"abc");
        frame[12] ^= 1;
        assert_eq!(decompress(&frame, 3), Err(CORRUPT));
    }

    #[test]
    fn a_claim_that_its_blocks_cannot_keep_is_refused() {
        // A last raw block of one byte.
        for claim in [2, 1 << 20, 1 << 40, u64::MAX] {
            assert_eq!(decompress(&claiming(claim, b"\x09\0\0a"), usize::MAX), Err(CORRUPT), "{claim}");
        }
        assert_eq!(decompress(&claiming(1, b"\x09\0\0a"), 1).unwrap(), b"a");
        // In the second frame as in the first.
        let second = [zstd(b"abc"), claiming(1 << 40, b"\x09\0\0a")].concat();
        assert_eq!(decompress(&second, usize::MAX), Err(CORRUPT));
    }

    #[test]
    fn a_huge_window_is_refused() {
        // Window descriptors of 128 MiB, which is allowed and allocates nothing, and of 3.75 TiB.
        let frame = |window: u8| [b"\x28\xb5\x2f\xfd\0".as_slice(), &[window], b"\x09\0\0a"].concat();
        assert_eq!(decompress(&frame(17 << 3), 10).unwrap(), b"a");
        assert_eq!(decompress(&frame(0xff), 10), Err(CORRUPT));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        // Blocks of one byte that stands for 128 KiB.
        let block = |last: u32| (last | 1 << 1 | (128 << 10) << 3).to_le_bytes()[..3].to_vec();
        let mut bomb = b"\x28\xb5\x2f\xfd\0\x58".to_vec();
        for _ in 0..1000 {
            bomb.extend_from_slice(&block(0));
            bomb.push(b'x');
        }
        bomb.extend_from_slice(&block(1));
        bomb.push(b'x');
        assert_eq!(bomb.len(), 4010);
        assert_eq!(decompress(&bomb, 1 << 20), over(1 << 20));
        assert_eq!(decompress(&bomb, 1001 << 17).unwrap().len(), 1001 << 17);
    }
}
