//! Decompressors: they stop at the limit, take no more memory than it says, and undo what was done.

use bytes::Bytes;
use milena_protocol::records::{
    BatchBuilder, BatchErrorKind, Batches, Compression, CompressionError, HEADER_LEN, ProducerStamp,
    ReadOptions,
};

use super::heap;

/// What an input may decompress to.
const LIMIT: usize = 64 * 1024;
/// The longest input that is also compressed.
const LONGEST_PLAIN: usize = 4096;
/// The header of xerial's framing.
const XERIAL: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

pub(super) fn gzip(input: &[u8]) {
    codec(Compression::Gzip, input);
}

pub(super) fn snappy(input: &[u8]) {
    codec(Compression::Snappy, input);
}

pub(super) fn lz4(input: &[u8]) {
    codec(Compression::Lz4, input);
}

pub(super) fn zstd(input: &[u8]) {
    codec(Compression::Zstd, input);
}

pub(super) fn xerial(input: &[u8]) {
    decompress(Compression::Snappy, &[XERIAL, input].concat());
}

/// What decompressing up to `limit` bytes may allocate: a buffer that has grown to twice the limit, beside the half as
/// large one it grew from, and what the codec itself works with.
pub(super) fn heap_bound(compression: Compression, limit: usize) -> usize {
    let working = match compression {
        Compression::None | Compression::Snappy => 4 << 10,
        // A window of 32 KiB and the tables.
        Compression::Gzip => 96 << 10,
        // Blocks of up to 4 MiB, and a window.
        Compression::Lz4 => 9 << 20,
        Compression::Zstd => 2 << 20,
    };
    limit.saturating_mul(3) + working
}

fn codec(compression: Compression, input: &[u8]) {
    decompress(compression, input);
    if let Some(plain) = input.get(..input.len().min(LONGEST_PLAIN)) {
        there_and_back(compression, plain);
    }
}

/// An empty batch with `input` for its compressed records.
pub(super) fn wrap(compression: Compression, input: &[u8]) -> Bytes {
    let empty = BatchBuilder::new(HEADER_LEN).compress(Compression::None).unwrap();
    let mut batch = empty.stamp(ProducerStamp::NONE).to_vec();
    batch.truncate(HEADER_LEN);
    batch.extend_from_slice(input);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch.splice(8..12, length.to_be_bytes());
    // The low byte of the attributes, and a last offset.
    batch.splice(22..27, [compression.id(), 0, 0, 0, 0]);
    batch.into()
}

fn decompress(compression: Compression, input: &[u8]) {
    let batch = Batches::new(wrap(compression, input)).next().unwrap().unwrap();
    assert_eq!(batch.compression(), Ok(compression));
    let options = ReadOptions { check_crc: false, max_decompressed: Some(LIMIT) };
    match heap::within(heap_bound(compression, LIMIT), || batch.decode(&options)) {
        Ok(decoded) => assert!(decoded.uncompressed_len() <= LIMIT, "more than the limit"),
        Err(error) => {
            if let BatchErrorKind::Compression(CompressionError::OverLimit { limit, .. }) = error.kind {
                assert_eq!(limit, LIMIT);
            }
        }
    }
}

fn there_and_back(compression: Compression, plain: &[u8]) {
    let mut builder = BatchBuilder::new(1 << 20);
    builder.append(7, Some(plain), Some(plain), []).unwrap();
    let batch = builder.compress(compression).unwrap().stamp(ProducerStamp::NONE);
    let batch = Batches::new(batch).next().unwrap().unwrap();
    let decoded = batch.decode(&ReadOptions::default()).unwrap();
    let record = decoded.records().next().unwrap().unwrap();
    assert_eq!((record.key(), record.value()), (Some(plain), Some(plain)), "{compression} changes bytes");
}
