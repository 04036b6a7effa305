//! LZ4 frames, as the LZ4 frame format has them.
//!
//! The frame is taken apart here, and only its blocks are given to the codec. A frame's header claims blocks of up to
//! 4 MiB, and a decoder that makes room for them up front takes 12 MiB for 20 bytes. Here a block comes out where the
//! records are read from, and where its bytes could hold more than 64 KiB it is walked through first, which tells its
//! exact length without writing a byte.
//!
//! What is written is what Java writes: independent blocks of 64 KiB, no checksums besides the header's (the batch has
//! its CRC). Independent, because Java reads no others; small, because readers may hold a whole block in memory.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};
use twox_hash::XxHash32;

use super::{Compression, CompressionError};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Frames of user data, which readers pass over. The low four bits are free.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Magic, flags (version 1, independent blocks), block size (64 KiB), and their checksum.
const WRITTEN_HEADER: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x60, 0x40, 0x82];
const WRITTEN_BLOCK_LEN: usize = 64 * 1024;
const END_MARK: [u8; 4] = [0; 4];
/// The bit in a block's length that says the block is not compressed.
const STORED: u32 = 1 << 31;
/// How far back a block may refer.
const WINDOW_LEN: usize = 64 * 1024;
/// Most bytes that a byte of a block stands for: a length goes on with bytes of up to 255.
const MAX_EXPANSION: usize = 255;
/// Blocks that may hold more are walked through before there is room for them.
const WALKED_FROM: usize = 64 * 1024;
/// How many bytes of room a byte of input is given before it is known what comes out. More is found as it comes.
const EXPECTED_EXPANSION: usize = 4;
/// Shortest match, which the format leaves out of its lengths.
const MIN_MATCH: usize = 4;

const CORRUPT: CompressionError = CompressionError::Corrupt(Compression::Lz4);

/// What to make of the checksum of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::records) enum HeaderChecksum {
    /// It has to be right.
    Checked,
    /// It is not looked at: for messages of magic 0, clients computed it over the frame's magic as well (KAFKA-3160).
    Ignored,
}

pub(super) fn compress(plain: &[u8], mut out: Vec<u8>) -> Result<Vec<u8>, CompressionError> {
    out.extend_from_slice(&WRITTEN_HEADER);
    let mut table =
        if plain.len() < WRITTEN_BLOCK_LEN { CompressTable::small() } else { CompressTable::large() };
    for block in plain.chunks(WRITTEN_BLOCK_LEN) {
        let block_at = out.len().saturating_add(size_of::<u32>());
        out.resize(block_at.saturating_add(get_maximum_output_size(block.len())), 0);
        let room = out.get_mut(block_at..).unwrap_or_default();
        let too_long = CompressionError::TooLong(block.len());
        let mut len = compress_into_with_table(block, room, &mut table).map_err(|_| too_long)?;
        let mut stored = 0;
        if len >= block.len() {
            len = block.len();
            stored = STORED;
            room.get_mut(..len).ok_or(too_long)?.copy_from_slice(block);
        }
        let word = u32::try_from(len).map_err(|_| too_long)? | stored;
        if let Some(to) = out.get_mut(..block_at).and_then(<[u8]>::last_chunk_mut) {
            *to = word.to_le_bytes();
        }
        out.truncate(block_at.saturating_add(len));
    }
    out.extend_from_slice(&END_MARK);
    Ok(out)
}

pub(super) fn decompress(
    compressed: &[u8],
    limit: usize,
    checksum: HeaderChecksum,
) -> Result<Vec<u8>, CompressionError> {
    let expected = compressed.len().saturating_mul(EXPECTED_EXPANSION).min(limit);
    let mut plain = Plain { bytes: Vec::with_capacity(expected), limit };
    let mut rest = Input(compressed);
    while !rest.0.is_empty() {
        let magic: [u8; 4] = rest.chunk()?;
        if magic == MAGIC {
            Frame::parse(&mut rest, checksum)?.decompress(&mut rest, &mut plain)?;
        } else if u32::from_le_bytes(magic) & !0xf == SKIPPABLE_MAGIC {
            let len = rest.number()?;
            rest.take(len)?;
        } else {
            return Err(CORRUPT);
        }
    }
    Ok(plain.bytes)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: u32) -> Result<&'a [u8], CompressionError> {
        let len = usize::try_from(len).map_err(|_| CORRUPT)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CORRUPT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], CompressionError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(CORRUPT)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn number(&mut self) -> Result<u32, CompressionError> {
        self.chunk().map(u32::from_le_bytes)
    }
}

/// What the header of a frame says of its blocks.
struct Frame {
    /// Blocks may refer to what the frame's blocks before them hold.
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_len: Option<u64>,
    block_max: usize,
}

impl Frame {
    /// Reads a header from behind its magic.
    fn parse(input: &mut Input<'_>, checksum: HeaderChecksum) -> Result<Self, CompressionError> {
        let described = input.0;
        let [flags, block] = input.chunk()?;
        let flag = |bit: u8| flags & bit != 0;
        // Version 1, and no bit that is reserved or asks for a dictionary.
        if flags & 0b1100_0011 != 0b0100_0000 || block & 0b1000_1111 != 0 {
            return Err(CORRUPT);
        }
        let block_max = match block >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(CORRUPT),
        };
        let content_len = if flag(0b1000) { Some(u64::from_le_bytes(input.chunk()?)) } else { None };
        let described = described.get(..described.len().saturating_sub(input.0.len()));
        let [stored] = input.chunk()?;
        let computed = (XxHash32::oneshot(0, described.unwrap_or_default()) >> 8) as u8;
        if stored != computed && checksum == HeaderChecksum::Checked {
            return Err(CORRUPT);
        }
        Ok(Self {
            linked: !flag(0b10_0000),
            block_checksums: flag(0b1_0000),
            content_checksum: flag(0b100),
            content_len,
            block_max,
        })
    }

    /// Reads the blocks and what stands behind them.
    fn decompress(&self, input: &mut Input<'_>, plain: &mut Plain) -> Result<(), CompressionError> {
        let start = plain.bytes.len();
        loop {
            let word = input.number()?;
            if word == 0 {
                break;
            }
            let block = input.take(word & !STORED)?;
            if block.len() > self.block_max {
                return Err(CORRUPT);
            }
            if self.block_checksums && input.number()? != XxHash32::oneshot(0, block) {
                return Err(CORRUPT);
            }
            if word & STORED == 0 {
                plain.add_block(block, self.block_max, if self.linked { start } else { usize::MAX })?;
            } else {
                plain.add_stored(block)?;
            }
        }
        let content = plain.bytes.get(start..).unwrap_or_default();
        if self.content_len.is_some_and(|len| len != content.len() as u64) {
            return Err(CORRUPT);
        }
        if self.content_checksum && input.number()? != XxHash32::oneshot(0, content) {
            return Err(CORRUPT);
        }
        Ok(())
    }
}

/// What has been decompressed so far.
struct Plain {
    bytes: Vec<u8>,
    limit: usize,
}

impl Plain {
    fn check_limit(&self, more: usize) -> Result<usize, CompressionError> {
        let end = self.bytes.len().saturating_add(more);
        if end <= self.limit {
            return Ok(end);
        }
        Err(CompressionError::OverLimit { compression: Compression::Lz4, limit: self.limit })
    }

    fn add_stored(&mut self, block: &[u8]) -> Result<(), CompressionError> {
        self.check_limit(block.len())?;
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    /// Takes a block, which may refer to bytes from `window_start` on.
    fn add_block(
        &mut self,
        block: &[u8],
        block_max: usize,
        window_start: usize,
    ) -> Result<(), CompressionError> {
        let start = self.bytes.len();
        let end = self.end_of(block, block_max)?;
        self.bytes.resize(end, 0);
        let (before, room) = self.bytes.split_at_mut_checked(start).ok_or(CORRUPT)?;
        let window_start = window_start.max(start.saturating_sub(WINDOW_LEN));
        let written = match before.get(window_start..).unwrap_or_default() {
            [] => decompress_into(block, room),
            window => decompress_into_with_dict(block, room, window),
        };
        self.bytes.truncate(start.saturating_add(written.map_err(|_| CORRUPT)?));
        Ok(())
    }

    /// Up to where room is needed for a block: its end, or somewhat behind it.
    fn end_of(&self, block: &[u8], block_max: usize) -> Result<usize, CompressionError> {
        let most = block_max.min(block.len().saturating_mul(MAX_EXPANSION));
        if most <= WALKED_FROM
            && let Ok(end) = self.check_limit(most)
        {
            return Ok(end);
        }
        let len = decompressed_len(block).filter(|len| *len <= block_max).ok_or(CORRUPT)?;
        self.check_limit(len)
    }
}

/// The length that a block decompresses to, from the lengths of its literals and matches. `None` when it is cut off,
/// or does not end in literals.
fn decompressed_len(block: &[u8]) -> Option<usize> {
    let mut len = 0usize;
    let mut rest = block;
    loop {
        let (token, behind) = rest.split_first()?;
        let (literals, behind) = extended(token >> 4, behind)?;
        len = len.saturating_add(literals);
        let behind = behind.get(literals..)?;
        if behind.is_empty() {
            return Some(len);
        }
        let (_offset, behind) = behind.split_first_chunk::<2>()?;
        let (matched, behind) = extended(token & 0xf, behind)?;
        len = len.saturating_add(matched).saturating_add(MIN_MATCH);
        rest = behind;
    }
}

/// A length of four bits, and the bytes that go on with it when it is full.
#[inline]
fn extended(nibble: u8, mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut len = usize::from(nibble);
    if nibble == 0xf {
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            len = len.saturating_add(usize::from(*byte));
            if *byte != u8::MAX {
                break;
            }
        }
    }
    Some((len, rest))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn lz4(plain: &[u8]) -> Vec<u8> {
        compress(plain, Vec::new()).unwrap()
    }

    fn read(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        decompress(compressed, limit, HeaderChecksum::Checked)
    }

    fn over(limit: usize) -> Result<Vec<u8>, CompressionError> {
        Err(CompressionError::OverLimit { compression: Compression::Lz4, limit })
    }

    /// Compressible, with matches across any boundary of blocks.
    fn text(len: usize) -> Vec<u8> {
        let words = (0..)
            .flat_map(|i: u32| format!("order {} of {}, ", i.wrapping_mul(i) % 977, i % 31).into_bytes());
        words.take(len).collect()
    }

    fn frame(info: FrameInfo, plain: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_frame_is_javas() {
        let compressed = lz4(b"abc");
        // Header; a block of three bytes that is not worth compressing; end mark.
        assert_eq!(compressed, b"\x04\x22\x4d\x18\x60\x40\x82\x03\0\0\x80abc\0\0\0\0");
        assert_eq!(lz4(b""), b"\x04\x22\x4d\x18\x60\x40\x82\0\0\0\0");
        assert_eq!(read(&lz4(b""), 0).unwrap(), b"");
    }

    #[test]
    fn every_form_of_frame_is_read() {
        let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
        for (size, len) in sizes.into_iter().zip([64 << 10, 256 << 10, 1 << 20, 4 << 20]) {
            let plain = text(len + len / 8 + 1);
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for checks in 0..8u32 {
                    let info = FrameInfo::new()
                        .block_size(size)
                        .block_mode(mode)
                        .block_checksums(checks & 1 != 0)
                        .content_checksum(checks & 2 != 0)
                        .content_size((checks & 4 != 0).then_some(plain.len() as u64));
                    let compressed = frame(info, &plain);
                    assert!(read(&compressed, plain.len()).unwrap() == plain, "{size:?} {mode:?} {checks}");
                    assert_eq!(read(&compressed, plain.len() - 1), over(plain.len() - 1));
                }
            }
        }
    }

    #[test]
    fn linked_blocks_see_no_further_than_their_frame() {
        let linked = FrameInfo::new().block_mode(BlockMode::Linked).block_size(BlockSize::Max64KB);
        let plain = text(200_000);
        let whole = frame(linked.clone(), &plain);
        let block_at =
            |at: usize| at + 4 + u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
        let (first, second) = (block_at(7), block_at(block_at(7)));
        // The second block alone refers to a first that is not there, whatever stands in another frame before it.
        let torn =
            [&frame(linked, &plain[..65_536])[..], &whole[..7], &whole[first..second], &END_MARK].concat();
        assert_eq!(read(&torn, plain.len()), Err(CORRUPT));
    }

    #[test]
    fn our_frames_are_read_by_the_reference_decoder_too() {
        for len in [0, 1, 1000, 65_535, 65_536, 65_537, 300_000] {
            let plain = text(len);
            let compressed = lz4(&plain);
            let mut read_back = Vec::new();
            let mut decoder = lz4_flex::frame::FrameDecoder::new(&compressed[..]);
            std::io::Read::read_to_end(&mut decoder, &mut read_back).unwrap();
            assert!(read_back == plain, "{len}");
            assert!(read(&compressed, len).unwrap() == plain, "{len}");
        }
    }

    #[test]
    fn frames_one_after_the_other_and_skippable_ones() {
        let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0any".as_slice();
        let compressed = [&lz4(b"one "), skipped, &lz4(b""), &lz4(b"two"), skipped].concat();
        assert_eq!(read(&compressed, 7).unwrap(), b"one two");
        assert_eq!(read(&compressed, 6), over(6));
    }

    #[test]
    fn the_broken_header_checksum_is_read_where_it_is_allowed() {
        let mut broken = lz4(b"abc");
        broken[6] = (XxHash32::oneshot(0, &broken[..6]) >> 8) as u8;
        assert_ne!(broken, lz4(b"abc"));
        assert_eq!(read(&broken, 3), Err(CORRUPT));
        assert_eq!(decompress(&broken, 3, HeaderChecksum::Ignored).unwrap(), b"abc");
    }

    #[test]
    fn cut_off_or_flipped_is_corrupt() {
        let info = FrameInfo::new().block_checksums(true).content_checksum(true).content_size(Some(3000));
        let plain = text(3000);
        let whole = frame(info, &plain);
        for len in 1..whole.len() {
            assert_eq!(read(&whole[..len], 10_000), Err(CORRUPT), "{len}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(read(&flipped, 10_000), Err(CORRUPT), "{at}");
        }
        assert_eq!(read(&[&whole[..], b"\0\0\0\0"].concat(), 10_000), Err(CORRUPT));
    }

    #[test]
    fn a_block_is_no_longer_than_its_frame_says() {
        let large = FrameInfo::new().block_size(BlockSize::Max256KB);
        let mut lying = frame(large, &text(200_000));
        lying[5] = 0x40;
        lying[6] = (XxHash32::oneshot(0, &lying[4..6]) >> 8) as u8;
        assert_eq!(read(&lying, 1 << 20), Err(CORRUPT));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = frame(FrameInfo::new().block_size(BlockSize::Max4MB), &vec![0; 64 << 20]);
        assert!(bomb.len() < 300_000);
        assert_eq!(read(&bomb, 1 << 20), over(1 << 20));
        // With the end cut off it would be corrupt, if reading ever got that far.
        assert_eq!(read(&bomb[..bomb.len() / 2], 1 << 20), over(1 << 20));
    }
}
