//! Records that claim, or really have, more than anybody wants to hold: a typed error, and memory that follows the limit
//! and not the claim. One test, so that nothing else allocates meanwhile.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::alloc::System;

use bytes::Bytes;
use milena_protocol::records::{
    Batch, BatchBuilder, BatchErrorKind, Batches, Compression, CompressionError, HEADER_LEN, ProducerStamp,
    ReadOptions,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;
/// What the tables of a codec take, whatever the input.
const TABLES: usize = 160 * 1024;

#[test]
fn memory_follows_the_limit() {
    what_really_expands_stops_at_the_limit();
    the_limit_without_a_number_goes_by_the_batch();
    claims_size_no_allocation();
    a_wrapper_of_an_old_format_has_the_same_limit();
}

/// Bytes allocated while the batch was decoded, all of them as if none had been freed, and the error.
fn decode(batch: &Batch, max_decompressed: Option<usize>) -> (usize, CompressionError) {
    let options = ReadOptions { max_decompressed, ..ReadOptions::default() };
    let region = Region::new(ALLOCATOR);
    let result = std::hint::black_box(batch.decode(&options));
    let allocated = region.change().bytes_allocated;
    match result.unwrap_err().kind {
        BatchErrorKind::Compression(error) => (allocated, error),
        other => (allocated, CompressionError::TooLong(usize::from(other == BatchErrorKind::EmptyWrapper))),
    }
}

fn only_batch(bytes: Bytes) -> Batch {
    Batches::new(bytes).next().unwrap().unwrap()
}

/// A batch of one record with a value of 16 MiB of zeros.
fn zeros(compression: Compression) -> Batch {
    let mut batch = BatchBuilder::new(MIB);
    batch.append(0, None, Some(&vec![0; 16 * MIB]), []).unwrap();
    only_batch(batch.compress(compression).unwrap().stamp(ProducerStamp::NONE))
}

/// A batch with these compressed records, and a CRC that holds.
fn forged(compression: Compression, records: &[u8]) -> Batch {
    let mut batch = BatchBuilder::new(MIB);
    batch.append(0, None, Some(b"v"), []).unwrap();
    let honest = batch.compress(compression).unwrap().stamp(ProducerStamp::NONE);
    let mut forged = [&honest[..HEADER_LEN], records].concat();
    let length = (forged.len() - 12) as i32;
    forged[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&forged[21..]);
    forged[17..21].copy_from_slice(&crc.to_be_bytes());
    only_batch(forged.into())
}

/// 4,000 blocks of a byte that stands for 128 KiB: 512 MiB in 16 KB.
fn rle_bomb() -> Vec<u8> {
    let block = |last: u32| (last | 1 << 1 | (128 << 10) << 3).to_le_bytes();
    let blocks = (1..=4000u32).flat_map(|at| {
        let [low, middle, high, _] = block(u32::from(at == 4000));
        [low, middle, high, b'x']
    });
    b"\x28\xb5\x2f\xfd\0\x58".iter().copied().chain(blocks).collect()
}

fn what_really_expands_stops_at_the_limit() {
    let limit = MIB;
    for compression in (1..5).map(|id| Compression::from_id(id).unwrap()) {
        let (allocated, error) = decode(&zeros(compression), Some(limit));
        assert_eq!(error, CompressionError::OverLimit { compression, limit });
        // A buffer that doubles has asked for twice its size in all.
        assert!(allocated <= 3 * limit + TABLES, "{compression}: {allocated}");
    }
    let (allocated, error) = decode(&forged(Compression::Zstd, &rle_bomb()), Some(limit));
    assert_eq!(error, CompressionError::OverLimit { compression: Compression::Zstd, limit });
    assert!(allocated <= 3 * limit + TABLES, "{allocated}");
}

fn the_limit_without_a_number_goes_by_the_batch() {
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let batch = zeros(compression);
        let limit = 64 * batch.bytes().len() + MIB;
        assert!(limit < 16 * MIB, "{limit}");
        let (_, error) = decode(&batch, None);
        assert_eq!(error, CompressionError::OverLimit { compression, limit });
    }
    // And is 128 MiB at most: 512 MiB of zeros in a batch of 8 MiB or more are over it all the same.
    let mut padded = rle_bomb();
    let skippable = [&b"\x50\x2a\x4d\x18"[..], &(8 * MIB as u32).to_le_bytes(), &vec![0; 8 * MIB]].concat();
    padded.splice(0..0, skippable);
    let (_, error) = decode(&forged(Compression::Zstd, &padded), None);
    assert_eq!(error, CompressionError::OverLimit { compression: Compression::Zstd, limit: 128 * MIB });
}

fn claims_size_no_allocation() {
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\xff\xff\0\0a".as_slice();
    let snappy = b"\xff\xff\xff\xff\x0f\x00a".as_slice();
    let framed_snappy = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff".as_slice(), snappy].concat();
    // One segment with a content size of 2⁴⁰, and a raw block of one byte.
    let zstd = [b"\x28\xb5\x2f\xfd\xe0".as_slice(), &(1u64 << 40).to_le_bytes(), b"\x09\0\0a"].concat();
    let window = b"\x28\xb5\x2f\xfd\0\xff\x09\0\0a".as_slice();
    let cases: [(Compression, &[u8]); 5] = [
        (Compression::Gzip, gzip),
        (Compression::Snappy, snappy),
        (Compression::Snappy, &framed_snappy),
        (Compression::Zstd, &zstd),
        (Compression::Zstd, window),
    ];
    // Blocks of up to 4 MiB, linked, and a content size of 2⁶⁰; then one block, cut off. One of the checksums is right.
    let lz4 = (0..=u8::MAX).map(|checksum| {
        let size = (1u64 << 60).to_le_bytes();
        [b"\x04\x22\x4d\x18\x48\x70".as_slice(), &size, &[checksum], b"\x05\0\0\0\x10a"].concat()
    });
    let lz4: Vec<_> = lz4.collect();
    let lz4 = lz4.iter().map(|records| (Compression::Lz4, &**records));
    for (compression, records) in cases.into_iter().chain(lz4) {
        let (allocated, error) = decode(&forged(compression, records), Some(usize::MAX));
        assert_eq!(error, CompressionError::Corrupt(compression));
        assert!(allocated <= 64 * 1024, "{compression}: {allocated}");
    }
}

/// A message of magic 1 around 16 MiB of zeros.
fn a_wrapper_of_an_old_format_has_the_same_limit() {
    let bomb = zeros(Compression::Gzip).bytes().slice(HEADER_LEN..);
    let mut covered = vec![1, 1];
    covered.extend_from_slice(&0i64.to_be_bytes());
    covered.extend_from_slice(&(-1i32).to_be_bytes());
    covered.extend_from_slice(&(bomb.len() as i32).to_be_bytes());
    covered.extend_from_slice(&bomb);
    let mut message = 7i64.to_be_bytes().to_vec();
    message.extend_from_slice(&(covered.len() as i32 + 4).to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&covered);
    message.extend_from_slice(&crc.sum().to_be_bytes());
    message.extend_from_slice(&covered);
    let (allocated, error) = decode(&only_batch(message.into()), Some(MIB));
    assert_eq!(error, CompressionError::OverLimit { compression: Compression::Gzip, limit: MIB });
    assert!(allocated <= 3 * MIB + TABLES, "{allocated}");
}
