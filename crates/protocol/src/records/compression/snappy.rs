//! Snappy in two forms: bare, and in the framing of the xerial library, which is what Java writes.
//!
//! The framing is a header of 16 bytes (magic, version and lowest compatible version), then blocks: four bytes of
//! length, big-endian, and as many bytes of bare snappy. Streams may follow one another, each with its header. It has
//! nothing to do with the official framing format, which Kafka does not use.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, CompressionError};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: [u8; 4] = 1u32.to_be_bytes();
/// The versions before the first block, of which every one is 1 so far.
const VERSIONS_LEN: usize = 8;
/// What Java puts in one block.
const BLOCK_LEN: usize = 32 * 1024;
/// A copy of up to 64 bytes takes three, and nothing expands more: a claim beyond this is a lie.
const MAX_EXPANSION: usize = 64_usize.div_ceil(3);

pub(super) fn compress(plain: &[u8], mut out: Vec<u8>) -> Result<Vec<u8>, CompressionError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&VERSION);
    let mut encoder = Encoder::new();
    for block in plain.chunks(BLOCK_LEN) {
        let len_at = out.len();
        let block_at = len_at.saturating_add(4);
        out.resize(block_at.saturating_add(max_compress_len(block.len())), 0);
        let room = out.get_mut(block_at..).unwrap_or_default();
        let len = encoder.compress(block, room).map_err(|_| CompressionError::TooLong(block.len()))?;
        if let Some(to) = out.get_mut(len_at..).and_then(<[u8]>::first_chunk_mut) {
            *to = (len as u32).to_be_bytes();
        }
        out.truncate(block_at.saturating_add(len));
    }
    Ok(out)
}

pub(super) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut plain = Plain { bytes: Vec::new(), limit };
    match compressed.strip_prefix(&MAGIC) {
        Some(rest) => plain.add_framed(rest)?,
        None => plain.add_block(compressed)?,
    }
    Ok(plain.bytes)
}

/// What has been decompressed so far.
struct Plain {
    bytes: Vec<u8>,
    limit: usize,
}

impl Plain {
    /// Takes a stream from behind its magic.
    fn add_framed(&mut self, framed: &[u8]) -> Result<(), CompressionError> {
        let mut rest = after_versions(framed)?;
        while !rest.is_empty() {
            if let Some(next_stream) = rest.strip_prefix(&MAGIC) {
                rest = after_versions(next_stream)?;
                continue;
            }
            let (len, behind) = rest.split_first_chunk().ok_or(CORRUPT)?;
            let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| CORRUPT)?;
            let (block, behind) = behind.split_at_checked(len).ok_or(CORRUPT)?;
            self.add_block(block)?;
            rest = behind;
        }
        Ok(())
    }

    /// Takes bare snappy, which starts with the length it claims to expand to.
    fn add_block(&mut self, block: &[u8]) -> Result<(), CompressionError> {
        let claimed = decompress_len(block).map_err(|_| CORRUPT)?;
        if claimed > block.len().saturating_mul(MAX_EXPANSION) {
            return Err(CORRUPT);
        }
        let len = self.bytes.len().saturating_add(claimed);
        if len > self.limit {
            return Err(CompressionError::OverLimit { compression: Compression::Snappy, limit: self.limit });
        }
        let start = self.bytes.len();
        self.bytes.resize(len, 0);
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        let written = Decoder::new().decompress(block, room).map_err(|_| CORRUPT)?;
        if written == claimed { Ok(()) } else { Err(CORRUPT) }
    }
}

const CORRUPT: CompressionError = CompressionError::Corrupt(Compression::Snappy);

/// Java writes 1 for both versions and reads any version from 1 on.
fn after_versions(stream: &[u8]) -> Result<&[u8], CompressionError> {
    let (versions, blocks) = stream.split_at_checked(VERSIONS_LEN).ok_or(CORRUPT)?;
    let version = versions.first_chunk().copied().map(i32::from_be_bytes);
    if version.is_some_and(|version| version >= 1) { Ok(blocks) } else { Err(CORRUPT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(plain: &[u8]) -> Vec<u8> {
        compress(plain, Vec::new()).unwrap()
    }

    fn bare(plain: &[u8]) -> Vec<u8> {
        Encoder::new().compress_vec(plain).unwrap()
    }

    #[test]
    fn the_framing_is_xerials() {
        let mut expected = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05".to_vec();
        // Length 3, then a literal of 3 bytes.
        expected.extend_from_slice(b"\x03\x08abc");
        assert_eq!(framed(b"abc"), expected);
        assert_eq!(framed(b"").len(), 16);
    }

    #[test]
    fn blocks_are_of_32_kib() {
        let plain: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let compressed = framed(&plain);
        let mut rest = &compressed[16..];
        let mut blocks = Vec::new();
        while let Some((len, behind)) = rest.split_first_chunk() {
            let (block, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
            blocks.push(decompress_len(block).unwrap());
            rest = behind;
        }
        assert_eq!(blocks, [32_768, 32_768, 32_768, 1_696]);
        assert_eq!(decompress(&compressed, plain.len()).unwrap(), plain);
    }

    #[test]
    fn bare_and_concatenated_streams_are_read() {
        assert_eq!(decompress(&bare(b"abc"), 3).unwrap(), b"abc");
        assert_eq!(
            decompress(&[framed(b"abc"), framed(b""), framed(b"def")].concat(), 6).unwrap(),
            b"abcdef"
        );
    }

    #[test]
    fn a_claim_that_no_snappy_can_keep_is_refused() {
        let four_gib = b"\xff\xff\xff\xff\x0f\x00a";
        assert_eq!(decompress_len(four_gib).unwrap(), u32::MAX as usize);
        assert_eq!(decompress(four_gib, usize::MAX), Err(CORRUPT));
        let in_a_frame = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07".as_slice(), four_gib].concat();
        assert_eq!(decompress(&in_a_frame, usize::MAX), Err(CORRUPT));
    }

    #[test]
    fn the_densest_snappy_is_within_the_bound() {
        // Copies of 64 bytes from one byte back, three bytes each.
        let plain = vec![b'a'; 32 * 1024];
        let compressed = bare(&plain);
        assert!(plain.len() <= compressed.len() * MAX_EXPANSION);
        assert_eq!(decompress(&compressed, plain.len()).unwrap(), plain);
    }

    #[test]
    fn the_limit_counts_all_blocks() {
        let compressed = framed(&vec![7; 100_000]);
        let limit = 99_999;
        let over = CompressionError::OverLimit { compression: Compression::Snappy, limit };
        assert_eq!(decompress(&compressed, limit), Err(over));
        assert_eq!(decompress(&compressed, 100_000).unwrap().len(), 100_000);
    }

    #[test]
    fn broken_framing_is_corrupt() {
        let whole = framed(b"some bytes, some bytes");
        for len in (0..16).chain(17..whole.len()) {
            assert_eq!(decompress(&whole[..len], 1000), Err(CORRUPT), "{len}");
        }
        let mut version_0 = whole.clone();
        version_0[11] = 0;
        assert_eq!(decompress(&version_0, 1000), Err(CORRUPT));
        let mut negative = whole;
        negative[16] = 0x80;
        assert_eq!(decompress(&negative, 1000), Err(CORRUPT));
    }
}
