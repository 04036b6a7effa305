//! Batches and records as JSON.

use bytes::Bytes;
use milena_protocol::{
    messages::{Request, Response},
    records::{
        Batch, Batches, Compression, ControlKind, ControlRecord, ReadOptions, RecordView, TimestampType,
    },
};
use serde_json::{Map, Value, json};

use super::{Body, layout::Decoded};

/// The batches of a records field, and whether all could be read.
pub(super) fn batches(bytes: &Bytes) -> (Value, bool) {
    let mut found = Batches::new(bytes.clone());
    let mut shown = Vec::new();
    let mut is_clean = true;
    for next in &mut found {
        match next {
            Ok(next) => shown.push(batch(&next, &mut is_clean)),
            Err(error) => {
                is_clean = false;
                shown.push(json!({ "error": error.to_string() }));
            }
        }
    }
    if let Some(cut) = found.truncated() {
        shown.push(json!({ "truncated": { "bytes": cut.len, "needed": cut.needed } }));
    }
    (shown.into(), is_clean)
}

fn batch(batch: &Batch, is_clean: &mut bool) -> Value {
    let header = batch.header();
    let attributes = header.attributes;
    let time = match attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let compression = Compression::from_id(attributes.compression_id());
    let mut shown = json!({
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset(),
        "batchLength": header.batch_length,
        "partitionLeaderEpoch": header.partition_leader_epoch,
        "crc": format!("{:08x}", header.crc),
        "crcIsValid": batch.verify_crc().is_ok(),
        "attributes": attributes.bits(),
        "compression": compression.map_or("unknown".into(), |compression| compression.to_string()),
        "timestampType": time,
        "isTransactional": attributes.is_transactional(),
        "isControl": attributes.is_control(),
        "deleteHorizonMs": header.delete_horizon(),
        "baseTimestamp": header.base_timestamp,
        "maxTimestamp": header.max_timestamp,
        "producerId": header.producer_id,
        "producerEpoch": header.producer_epoch,
        "baseSequence": header.base_sequence,
        "recordCount": header.record_count,
    });
    let (records, error) = records(batch);
    *is_clean &= error.is_none() && batch.verify_crc().is_ok();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("records".into(), records.into());
        if let Some(error) = error {
            shown.insert("error".into(), error.into());
        }
    }
    shown
}

fn records(batch: &Batch) -> (Vec<Value>, Option<String>) {
    let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
    let decoded = match batch.decode(&options) {
        Ok(decoded) => decoded,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let is_control = batch.header().attributes.is_control();
    let mut shown = Vec::new();
    for next in decoded.records() {
        match next {
            Ok(next) => shown.push(record(&next, is_control)),
            Err(error) => return (shown, Some(error.to_string())),
        }
    }
    (shown, None)
}

fn record(record: &RecordView<'_>, is_control: bool) -> Value {
    let headers: Vec<Value> =
        record.headers().map(|header| json!([payload(Some(header.name)), payload(header.value)])).collect();
    let mut shown = json!({
        "offset": record.offset(),
        "timestamp": record.timestamp(),
        "key": payload(record.key()),
        "value": payload(record.value()),
        "headers": headers,
    });
    if let Some(control) = ControlRecord::parse(record).filter(|_| is_control)
        && let Some(shown) = shown.as_object_mut()
    {
        let kind = match control.kind {
            ControlKind::Abort => "ABORT".into(),
            ControlKind::Commit => "COMMIT".into(),
            ControlKind::Other(id) => json!(id),
            _ => Value::Null,
        };
        shown
            .insert("control".into(), json!({ "type": kind, "coordinatorEpoch": control.coordinator_epoch }));
    }
    shown
}

/// Text where it is text, else hexadecimal; null and empty are different.
fn payload(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|letter| letter.is_control() && !letter.is_whitespace()) => text.into(),
        _ => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

/// Puts batches in the place of the base64 of every records field, and says whether all could be read.
pub(super) fn expand(body: &mut Value, decoded: &Decoded) -> bool {
    let mut fields = fields(&decoded.body).into_iter();
    let mut is_clean = true;
    replace(body, &mut |value| {
        if let Some(Some(bytes)) = fields.next() {
            let (shown, read) = batches(&bytes);
            *value = shown;
            is_clean &= read;
        }
    });
    is_clean
}

/// Every records field of a message, in its order.
fn fields(body: &Body) -> Vec<Option<Bytes>> {
    match body {
        Body::Request(request) => match &**request {
            Request::Produce(produce) => {
                let topics = produce.topic_data.iter();
                topics.flat_map(|topic| topic.partition_data.into_vec()).map(|data| data.records).collect()
            }
            _ => Vec::new(),
        },
        Body::Response(response) => match &**response {
            Response::Fetch(fetch) => {
                let topics = fetch.responses.iter();
                topics.flat_map(|topic| topic.partitions.into_vec()).map(|data| data.records).collect()
            }
            Response::ShareFetch(fetch) => {
                let topics = fetch.responses.iter();
                topics.flat_map(|topic| topic.partitions.into_vec()).map(|data| data.records).collect()
            }
            _ => Vec::new(),
        },
        Body::Structure(_) | Body::Nothing => Vec::new(),
    }
}

/// Calls `found` for every field called `records`, in the order of the message.
fn replace(value: &mut Value, found: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => replace_in(fields, found),
        Value::Array(elements) => elements.iter_mut().for_each(|element| replace(element, found)),
        _ => {}
    }
}

fn replace_in(fields: &mut Map<String, Value>, found: &mut impl FnMut(&mut Value)) {
    for (name, value) in fields {
        if name == "records" { found(value) } else { replace(value, found) }
    }
}
