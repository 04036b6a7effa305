//! The batches of a records field, as scripts see them.

use bytes::Bytes;
use milena_protocol::records::{
    Batch, Batches, Compression, ControlKind, ControlRecord, ReadOptions, RecordView, TimestampType,
};
use serde_json::{Map, Value as Json, json};

use crate::script::{ScriptError, Value};

const BATCH: [&str; 16] = [
    "offset",
    "last",
    "n",
    "pid",
    "epoch",
    "seq",
    "txn",
    "control",
    "codec",
    "timestamps",
    "first-time",
    "max-time",
    "leader-epoch",
    "magic",
    "records",
    "error",
];
const RECORD: [&str; 5] = ["offset", "time", "key", "value", "headers"];

/// Whether a pattern of a batch names only what a batch has.
pub(crate) fn check_view(pattern: &Value) -> Result<(), ScriptError> {
    check(pattern, &BATCH, "batch")
}

fn check(pattern: &Value, known: &[&'static str], what: &str) -> Result<(), ScriptError> {
    let Value::Structure(entries) = pattern else { return Ok(()) };
    for entry in entries {
        if !known.contains(&&*entry.name) {
            let error = ScriptError::new(entry.place.clone(), format!("a {what} has no `{}`", entry.name));
            return Err(error.advise(format!("it has {}", known.join(", "))));
        }
        if let (true, Value::List(records) | Value::Contains(records)) =
            (entry.name == "records", &entry.value)
        {
            records.iter().try_for_each(|record| check(record, &RECORD, "record"))?;
        }
    }
    Ok(())
}

/// Every whole batch, one after the other; what can't be read has an `error`.
pub(crate) fn view(bytes: Vec<u8>) -> Json {
    Batches::new(Bytes::from(bytes))
        .map(|next| match next {
            Ok(next) => batch(&next),
            Err(error) => json!({ "error": error.to_string() }),
        })
        .collect()
}

fn batch(batch: &Batch) -> Json {
    let header = batch.header();
    let attributes = header.attributes;
    let timestamps = match attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let codec = Compression::from_id(attributes.compression_id());
    let mut shown = Map::new();
    let mut show = |name: &str, value: Json| shown.insert(name.to_owned(), value);
    show("offset", header.base_offset.into());
    show("last", header.last_offset().into());
    show("n", header.record_count.into());
    show("pid", header.producer_id.into());
    show("epoch", header.producer_epoch.into());
    show("seq", header.base_sequence.into());
    show("txn", attributes.is_transactional().into());
    show("codec", codec.map_or("unknown".into(), |codec| codec.to_string().into()));
    show("timestamps", timestamps.into());
    show("first-time", header.base_timestamp.into());
    show("max-time", header.max_timestamp.into());
    show("leader-epoch", header.partition_leader_epoch.into());
    show("magic", batch.magic().into());
    let (mut records, mut control) = (Vec::new(), Json::Null);
    match batch.verify_crc().and_then(|()| batch.decode(&ReadOptions::default())) {
        Err(error) => {
            show("error", error.to_string().into());
        }
        Ok(decoded) => {
            for next in decoded.records() {
                match next {
                    Ok(next) => {
                        if attributes.is_control() && control.is_null() {
                            control = kind(&next);
                        }
                        records.push(record(&next));
                    }
                    Err(error) => {
                        show("error", error.to_string().into());
                    }
                }
            }
        }
    }
    show("control", control);
    show("records", records.into());
    shown.into()
}

fn kind(record: &RecordView<'_>) -> Json {
    match ControlRecord::parse(record).map(|control| control.kind) {
        Some(ControlKind::Abort) => "ABORT".into(),
        Some(ControlKind::Commit) => "COMMIT".into(),
        other => format!("{other:?}").into(),
    }
}

fn record(record: &RecordView<'_>) -> Json {
    let headers: Vec<Json> =
        record.headers().map(|header| json!([text(Some(header.name)), text(header.value)])).collect();
    json!({
        "offset": record.offset(),
        "time": record.timestamp(),
        "key": text(record.key()),
        "value": text(record.value()),
        "headers": headers,
    })
}

fn text(bytes: Option<&[u8]>) -> Json {
    bytes.map_or(Json::Null, |bytes| String::from_utf8_lossy(bytes).into())
}
