//! What a broker writes into a batch when it appends it.

use bytes::{Bytes, BytesMut};

use super::{
    Batch,
    header::{BatchHeader, MAGIC},
};

/// The batch as it stands in the log: at `base_offset`, appended by the leader of `partition_leader_epoch`, and, where
/// the topic has it so, with the time of appending for all records, in milliseconds since 1970.
///
/// `batch` is of magic 2: the older formats are not appended (KIP-724), and come back as they are.
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
    if batch.magic() != MAGIC {
        return batch.into_bytes();
    }
    let header = BatchHeader { base_offset, partition_leader_epoch, ..*batch.header() };
    let bytes = batch.into_bytes();
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    write(header, log_append_time, &mut bytes);
    bytes.freeze()
}

/// As [`assign_offsets`], behind what `log` holds: the one copy that a log of contiguous bytes needs.
pub fn append_assigned(
    batch: &Batch,
    base_offset: i64,
    partition_leader_epoch: i32,
    log_append_time: Option<i64>,
    log: &mut BytesMut,
) {
    let header = BatchHeader { base_offset, partition_leader_epoch, ..*batch.header() };
    let start = log.len();
    log.extend_from_slice(batch.bytes());
    if let Some(bytes) = log.get_mut(start..).filter(|_| batch.magic() == MAGIC) {
        write(header, log_append_time, bytes);
    }
}

fn write(mut header: BatchHeader, log_append_time: Option<i64>, bytes: &mut [u8]) {
    match log_append_time {
        Some(time) => {
            header.attributes = header.attributes.with_log_append_time();
            header.max_timestamp = time;
            header.write(bytes);
        }
        None => header.write_uncovered(bytes),
    }
}
