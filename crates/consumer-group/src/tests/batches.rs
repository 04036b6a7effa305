//! Batches as a log has them.

use bytes::Bytes;
use milena_protocol::records::{
    BatchBuilder, Batches, Compression, HEADER_LEN, ProducerStamp, assign_offsets, end_marker,
};

/// A batch of `count` records, transactional when there is a producer.
pub(crate) fn data(producer: Option<i64>, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for index in 0..count {
        builder.append(0, None, Some(format!("v{index}").as_bytes()), []).unwrap();
    }
    let stamp = match producer {
        Some(producer_id) => {
            ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0, transactional: true }
        }
        None => ProducerStamp::NONE,
    };
    builder.compress(Compression::None).unwrap().stamp(stamp)
}

/// A batch of `count` records with values of zeros, and how long its records are when they are decompressed.
pub(crate) fn zeros(count: usize, value: usize) -> (Bytes, usize) {
    let mut builder = BatchBuilder::new(1 << 20);
    for _ in 0..count {
        builder.append(0, None, Some(&vec![0; value]), []).unwrap();
    }
    let len = builder.uncompressed_len() - HEADER_LEN;
    (builder.compress(Compression::Lz4).unwrap().stamp(ProducerStamp::NONE), len)
}

/// The end of a producer's transaction.
pub(crate) fn marker(producer: i64, committed: bool) -> Bytes {
    end_marker(committed, 0, producer, 0, 0).unwrap()
}

/// The batch at an offset, as the leader of an epoch appended it.
pub(crate) fn at(offset: i64, leader_epoch: i32, batch: Bytes) -> Bytes {
    let batch = Batches::new(batch).next().unwrap().unwrap();
    assign_offsets(batch, offset, leader_epoch, None)
}

/// What compaction leaves of a batch of `count` records when it removes all of them.
pub(crate) fn compacted(count: i32) -> Bytes {
    let mut bytes = data(None, 1).slice(..HEADER_LEN).to_vec();
    bytes[8..12].copy_from_slice(&i32::try_from(HEADER_LEN - 12).unwrap().to_be_bytes());
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    let batch = Batches::new(bytes.into()).next().unwrap().unwrap();
    // A time of appending is inside the CRC, so that it is made anew.
    assign_offsets(batch, 0, 0, Some(1))
}
