//! A golden line about a buffer of record batches or of older messages, and what must hold for it.

use bytes::Bytes;
use milena_protocol::records::{
    Batch, BatchError, Batches, DecodedBatch, Header, ReadOptions, RecordView, TimestampType,
};
use serde_json::{Value, json};

use crate::golden::unhex;

/// Bytes that Java wrote, and what it read from them.
#[derive(Debug)]
pub struct Buffer {
    /// All of them; the last batch may be cut off.
    pub bytes: Bytes,
    /// The line.
    pub line: Value,
}

impl Buffer {
    /// `None` when the line is of another kind.
    #[must_use]
    pub fn new(line: Value) -> Option<Self> {
        let is_buffer = ["batch", "legacy"].contains(&line["kind"].as_str()?);
        is_buffer.then_some(())?;
        Some(Self { bytes: unhex(line["hex"].as_str()?).into(), line })
    }

    /// What is wrong with our reading of it, if anything is.
    #[must_use]
    pub fn mismatch(&self) -> Option<String> {
        match self.read() {
            Ok(read) if read == self.line["batches"] => self.end_mismatch(),
            Ok(read) => Some(format!("read as {read}")),
            Err(error) => Some(format!("not read: {error}")),
        }
    }

    /// The batches as the line has them.
    fn read(&self) -> Result<Value, BatchError> {
        let is_legacy = self.line["kind"] == "legacy";
        let read = |batch: Result<Batch, BatchError>| {
            let batch = batch?;
            batch.verify_crc()?;
            let decoded = batch.decode(&ReadOptions::default())?;
            let mut entry = if is_legacy { message(&batch, &decoded)? } else { header(&batch)? };
            entry["records"] =
                decoded.records().map(|view| Ok(record(&decoded, &view?))).collect::<Result<_, _>>()?;
            Ok(entry)
        };
        Batches::new(self.bytes.clone()).map(read).collect()
    }

    /// What is wrong with the place where the batches end.
    fn end_mismatch(&self) -> Option<String> {
        let mut batches = Batches::new(self.bytes.clone());
        let whole: usize = batches.by_ref().flatten().map(|batch| batch.bytes().len()).sum();
        let left = self.bytes.len() - whole;
        let cut_by = self.line["truncatedBy"].as_u64().unwrap_or_default() as usize;
        let read = batches.truncated().map(|truncated| (truncated.len, truncated.needed));
        // Below twelve bytes nobody can tell how long the batch would be.
        let expected = (cut_by > 0).then_some((left, (left >= 12).then_some(left + cut_by)));
        (read != expected).then(|| format!("the end is read as {read:?} and should be {expected:?}"))
    }
}

fn header(batch: &Batch) -> Result<Value, BatchError> {
    let header = batch.header();
    let mut read = json!({
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset(),
        "sizeInBytes": batch.bytes().len(),
        "partitionLeaderEpoch": header.partition_leader_epoch,
        "crc": header.crc,
        "compression": batch.compression()?.to_string(),
        "timestampType": timestamp_type(header.attributes.timestamp_type()),
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
        "baseTimestamp": header.base_timestamp,
        "maxTimestamp": header.max_timestamp,
        "producerId": header.producer_id,
        "producerEpoch": header.producer_epoch,
        "baseSequence": header.base_sequence,
        "lastSequence": header.last_sequence(),
        "count": header.record_count,
    });
    if let Some(horizon) = header.delete_horizon() {
        read["deleteHorizonMs"] = horizon.into();
    }
    Ok(read)
}

/// What a message of magic 0 or 1 has: one that is compressed tells most of it when it is decoded.
fn message(batch: &Batch, decoded: &DecodedBatch) -> Result<Value, BatchError> {
    let header = decoded.header();
    let timestamp_type = if batch.magic() == 0 {
        "NoTimestampType"
    } else {
        timestamp_type(header.attributes.timestamp_type())
    };
    Ok(json!({
        "baseOffset": header.base_offset,
        "lastOffset": batch.header().last_offset(),
        "sizeInBytes": batch.bytes().len(),
        "crc": batch.header().crc,
        "compression": batch.compression()?.to_string(),
        "timestampType": timestamp_type,
        "maxTimestamp": header.max_timestamp,
    }))
}

fn timestamp_type(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// A record of a batch as the lines have it.
#[must_use]
pub fn record(batch: &DecodedBatch, view: &RecordView<'_>) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let header_json = |header: Header<'_>| json!([header.name_str().ok(), header.value.map(hex)]);
    let delta = view.offset() - batch.header().base_offset;
    json!({
        "offset": view.offset(),
        "sequence": batch.header().sequence(delta as i32),
        "timestamp": view.timestamp(),
        "key": view.key().map(hex),
        "value": view.value().map(hex),
        "headers": view.headers().map(header_json).collect::<Vec<_>>(),
    })
}
