//! A topic's own compression (`compression.type`).
//!
//! Imitates Kafka 4.3.1: a batch that is compressed otherwise than the topic says is read and written again, by the same
//! producer and with the same numbers; one that is compressed as the topic says stays as it came. Leaves out: levels
//! (`compression.gzip.level` and the like), which nobody can tell from the answers.

use milena_protocol::{
    ErrorCode,
    records::{Batch, BatchBuilder, Batches, Compression, ProducerStamp, ReadOptions},
};

use super::produce::{Refusal, refusal};

/// What `compression.type` says: none when batches stay as their producers send them.
pub(super) fn compression_named(name: &str) -> Option<Compression> {
    Some(match name {
        "uncompressed" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => return None,
    })
}

/// The batch as the topic stores it. Only what has been checked comes here.
pub(super) fn recompressed(batch: Batch, wanted: Option<Compression>) -> Result<Batch, Refusal> {
    match wanted {
        Some(compression) if batch.compression() != Ok(compression) => written_again(&batch, compression)
            .ok_or_else(|| {
                refusal(ErrorCode::CORRUPT_MESSAGE, "The records cannot be compressed as the topic has it.")
            }),
        _ => Ok(batch),
    }
}

fn written_again(batch: &Batch, compression: Compression) -> Option<Batch> {
    let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
    let decoded = batch.decode(&options).ok()?;
    let mut builder = BatchBuilder::new(usize::MAX);
    for record in &decoded {
        let record = record.ok()?;
        builder.append(record.timestamp(), record.key(), record.value(), record.headers()).ok()?;
    }
    let header = batch.header();
    let stamp = ProducerStamp {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.attributes.is_transactional(),
    };
    let bytes = builder.compress(compression).ok()?.stamp(stamp);
    Batches::new(bytes).next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_same_but_for_its_compression() {
        let stamp =
            ProducerStamp { producer_id: 7, producer_epoch: 1, base_sequence: 3, transactional: true };
        let mut builder = BatchBuilder::new(1 << 10);
        for (at, value) in [Some(b"a".as_slice()), None, Some(b"c")].into_iter().enumerate() {
            builder.append(1_000 - at as i64, Some(b"key"), value, []).unwrap();
        }
        let sent = builder.compress(Compression::Lz4).unwrap().stamp(stamp);
        let sent = Batches::new(sent).next().unwrap().unwrap();
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let stored = recompressed(sent.clone(), Some(compression)).ok().unwrap();
            assert_eq!(stored.compression(), Ok(compression));
            let back = recompressed(stored, Some(Compression::Lz4)).ok().unwrap();
            assert_eq!(back.bytes(), sent.bytes(), "{compression}");
        }
        for same in [None, Some(Compression::Lz4)] {
            assert_eq!(
                recompressed(sent.clone(), same).ok().unwrap().bytes().as_ptr(),
                sent.bytes().as_ptr()
            );
        }
    }
}
