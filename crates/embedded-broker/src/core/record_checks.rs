//! The records inside a batch that is to be appended: keys and timestamps.
//!
//! Imitates Kafka 4.3.1's validator: every record that may not be there is named (KIP-467), and none of the batch is kept.

use milena_protocol::{
    ErrorCode,
    messages::produce::BatchIndexAndErrorMessage,
    records::{Batch, BatchError, ReadOptions},
    wire::ByteString,
};

use super::{
    produce::{Refusal, refusal},
    topic_config::Limits,
};

/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;
/// So many errors are told in the message for the whole batch.
const TOLD: usize = 3;

/// Refuses a batch with records that the topic does not take.
pub(super) fn check_records(batch: &Batch, limits: &Limits, unix_ms: i64) -> Result<(), Refusal> {
    let checks_times = !limits.log_append_time && may_miss_the_time(batch, limits, unix_ms);
    if !limits.compacted && !checks_times {
        return Ok(());
    }
    let corrupt = |error: BatchError| refusal(ErrorCode::CORRUPT_MESSAGE, error.to_string());
    let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
    let mut errors = Vec::new();
    let mut has_bad_time = false;
    for (index, record) in (0..).zip(&batch.decode(&options).map_err(corrupt)?) {
        let record = record.map_err(corrupt)?;
        let is_late = checks_times && misses_the_time(record.timestamp(), limits, unix_ms);
        let message = if limits.compacted && record.key().is_none() {
            "Compacted topic cannot accept message without key."
        } else if is_late {
            has_bad_time = true;
            "The timestamp of the record is out of range."
        } else {
            continue;
        };
        errors.push(BatchIndexAndErrorMessage {
            batch_index: index,
            batch_index_error_message: Some(ByteString::from_static(message)),
            ..BatchIndexAndErrorMessage::default()
        });
    }
    if errors.is_empty() {
        return Ok(());
    }
    let (code, message) = if has_bad_time {
        let message = "One or more records have been rejected due to invalid timestamp";
        (ErrorCode::INVALID_TIMESTAMP, message.to_owned())
    } else {
        let first: Vec<_> = errors.iter().take(TOLD).map(|error| error.batch_index.to_string()).collect();
        let message =
            format!("{} records have been rejected, the first of them {}", errors.len(), first.join(", "));
        (ErrorCode::INVALID_RECORD, message)
    };
    Err(Refusal { records: errors, ..refusal(code, message) })
}

/// Whether any record can be out of range, by what the header says and without looking into the batch.
fn may_miss_the_time(batch: &Batch, limits: &Limits, unix_ms: i64) -> bool {
    let header = batch.header();
    let latest = header.max_timestamp.max(header.base_timestamp);
    limits.timestamp_before_max != i64::MAX || misses_the_time(latest, limits, unix_ms)
}

const fn misses_the_time(timestamp: i64, limits: &Limits, unix_ms: i64) -> bool {
    timestamp != NO_TIMESTAMP
        && (unix_ms.saturating_sub(timestamp) > limits.timestamp_before_max
            || timestamp.saturating_sub(unix_ms) > limits.timestamp_after_max)
}
