//! What a broker writes into a batch when it appends it.

use bytes::{Bytes, BytesMut};

use super::{Batch, header::BatchHeader};

/// The batch as it stands in the log: at `base_offset`, appended by the leader of `partition_leader_epoch`, and, where
/// the topic has it so, with the time of appending for all records, in milliseconds since 1970.
///
/// Offset and epoch are outside the CRC; a time is inside it, so that the CRC is made anew. The bytes are copied once,
/// unless nobody else holds them.
#[must_use]
pub fn assign_offsets(
    batch: Batch,
    base_offset: i64,
    partition_leader_epoch: i32,
    log_append_time: Option<i64>,
) -> Bytes {
    let mut header = BatchHeader { base_offset, partition_leader_epoch, ..*batch.header() };
    let bytes = batch.into_bytes();
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    match log_append_time {
        Some(time) => {
            header.attributes = header.attributes.with_log_append_time();
            header.max_timestamp = time;
            header.write(&mut bytes);
        }
        None => header.write_uncovered(&mut bytes),
    }
    bytes.freeze()
}
