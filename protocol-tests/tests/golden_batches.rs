//! Record batches as Kafka's own classes wrote them, held against what Java read from them.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::records::{
    Batch, BatchBuilder, Batches, Codec, Compression, ControlKind, ControlRecord, Header, ProducerStamp,
    ReadOptions, TimestampType, assign_offsets, end_marker,
};
use protocol_tests::{
    buffer::{self, Buffer},
    golden::{self, unhex},
};
use serde_json::Value;

/// Every whole batch, with what Java read from it.
fn batches() -> impl Iterator<Item = (Batch, Value)> {
    golden::lines().filter(|line| line["kind"] == "batch").filter_map(Buffer::new).flat_map(|buffer| {
        let expected = buffer.line["batches"].as_array().unwrap().clone();
        let batches: Vec<_> = Batches::new(buffer.bytes).map(Result::unwrap).collect();
        assert_eq!(batches.len(), expected.len(), "{}", buffer.line);
        batches.into_iter().zip(expected)
    })
}

#[test]
fn batches_and_messages_are_what_java_read() {
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut cut = 0;
    for buffer in golden::lines().filter_map(Buffer::new) {
        assert_eq!(buffer.mismatch(), None, "{}", buffer.line);
        for batch in buffer.line["batches"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            *seen.entry((text(&buffer.line["kind"]), text(&batch["compression"]))).or_default() += 1;
        }
        cut += u32::from(buffer.line["truncatedBy"].as_u64().unwrap_or_default() > 0);
    }
    println!("{seen:?}, {cut} cut off");
    let codecs = |kind: &str| seen.keys().filter(|(of, _)| of == kind).count();
    assert_eq!((codecs("batch"), codecs("legacy")), (5, 4), "every compression occurs");
    assert!(cut >= 40 && seen.values().sum::<u32>() > 450, "{cut}, {seen:?}");
}

#[test]
fn the_next_offset_follows_the_last_one() {
    for (batch, expected) in batches() {
        assert_eq!(batch.next_offset(), expected["lastOffset"].as_i64().unwrap() + 1);
    }
}

#[test]
fn what_java_produced_is_built_byte_for_byte() {
    let produced = |(batch, expected): &(Batch, Value)| is_as_produced(batch, expected);
    let mut same = 0;
    for (batch, expected) in batches().filter(produced) {
        if batch.compression() != Ok(Compression::None) {
            continue;
        }
        let header = batch.header();
        let built = Batches::new(build(&batch, &expected, Compression::None)).next().unwrap().unwrap();
        let log_append_time = None;
        let built = assign_offsets(built, header.base_offset, header.partition_leader_epoch, log_append_time);
        assert_eq!(built, batch.bytes(), "{expected}");
        same += 1;
    }
    println!("{same} uncompressed batches are byte-identical");
    assert!(same >= 17, "{same}");
}

#[test]
fn what_java_compressed_is_built_to_the_same_records() {
    let mut same = 0;
    for (batch, expected) in batches().filter(|(batch, expected)| is_as_produced(batch, expected)) {
        for compression in (1..5).map(|id| Compression::from_id(id).unwrap()) {
            let built = build(&batch, &expected, compression);
            let built = Batches::new(built).next().unwrap().unwrap();
            assert_eq!(built.compression(), Ok(compression));
            let built = assign_offsets(built, batch.header().base_offset, 0, None);
            let built = Batches::new(built).next().unwrap().unwrap();
            let decoded = built.decode(&ReadOptions::default()).unwrap();
            let records: Vec<_> =
                decoded.records().map(|view| buffer::record(&decoded, &view.unwrap())).collect();
            assert_eq!(Value::from(records), expected["records"]);
            same += 1;
        }
    }
    assert!(same > 100, "{same}");
}

/// True when a producer could have written the batch: compaction has taken nothing away, the timestamps are its own.
fn is_as_produced(batch: &Batch, expected: &Value) -> bool {
    let header = batch.header();
    let records = expected["records"].as_array().unwrap();
    header.attributes.timestamp_type() == TimestampType::CreateTime
        && !header.attributes.is_control()
        && records.len() as i64 == i64::from(header.last_offset_delta) + 1
        && records.first().is_some_and(|first| first["timestamp"] == header.base_timestamp)
}

/// The batch as our own builder writes it, from the values that Java read.
fn build(batch: &Batch, expected: &Value, codec: impl Into<Codec>) -> Bytes {
    let nullable = |value: &Value| value.as_str().map(unhex);
    let mut builder = BatchBuilder::new(usize::MAX);
    for record in expected["records"].as_array().unwrap() {
        let headers = record["headers"].as_array().unwrap();
        let values: Vec<_> = headers.iter().map(|header| nullable(&header[1])).collect();
        let headers = headers.iter().zip(&values);
        let headers =
            headers.map(|(header, value)| Header::new(header[0].as_str().unwrap(), value.as_deref()));
        let timestamp = record["timestamp"].as_i64().unwrap();
        let (key, value) = (nullable(&record["key"]), nullable(&record["value"]));
        builder.append(timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    let header = batch.header();
    builder.compress(codec).unwrap().stamp(ProducerStamp {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.attributes.is_transactional(),
    })
}

#[test]
fn end_markers_are_built_byte_for_byte() {
    let mut same = 0;
    for (batch, expected) in batches().filter(|(batch, _)| batch.header().attributes.is_control()) {
        let header = batch.header();
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        // Compaction may have taken the marker out.
        let Some(record) = decoded.records().next() else { continue };
        let control = ControlRecord::parse(&record.unwrap()).unwrap();
        if !matches!(control.kind, ControlKind::Commit | ControlKind::Abort) {
            continue;
        }
        assert_eq!(
            expected["records"][0]["key"],
            if control.kind == ControlKind::Commit { "00000001" } else { "00000000" }
        );
        let epoch = control.coordinator_epoch.unwrap();
        let committed = control.kind == ControlKind::Commit;
        let (id, id_epoch) = (header.producer_id, header.producer_epoch);
        let built = end_marker(committed, epoch, id, id_epoch, header.base_timestamp).unwrap();
        let built = Batches::new(built).next().unwrap().unwrap();
        let built = assign_offsets(built, header.base_offset, header.partition_leader_epoch, None);
        assert_eq!(built, batch.bytes(), "{expected}");
        same += 1;
    }
    assert!(same >= 16, "{same}");
}

#[test]
fn a_time_of_appending_is_set_as_java_sets_it() {
    /// Attributes, the bit in them that says who set the timestamps, and `maxTimestamp`.
    const ATTRIBUTES: usize = 22;
    const LOG_APPEND_TIME: u8 = 0x08;
    const MAX_TIMESTAMP: std::ops::Range<usize> = 35..43;
    let mut same = 0;
    for (batch, _) in batches() {
        let header = batch.header();
        if header.attributes.timestamp_type() != TimestampType::LogAppendTime {
            continue;
        }
        let mut produced = batch.bytes().to_vec();
        produced[ATTRIBUTES] &= !LOG_APPEND_TIME;
        produced[MAX_TIMESTAMP].fill(0);
        produced[..16].fill(0);
        produced[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
        let produced = Batches::new(produced.into()).next().unwrap().unwrap();
        let time = Some(header.max_timestamp);
        let appended = assign_offsets(produced, header.base_offset, header.partition_leader_epoch, time);
        assert_eq!(appended, batch.bytes());
        same += 1;
    }
    assert!(same > 10, "{same}");
}
