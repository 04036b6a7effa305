//! Record batches that other clients wrote, held against what Java read from them. `fixtures/README.md` says who wrote
//! which, and how.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use bytes::Bytes;
use milena_protocol::messages::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use milena_protocol::records::{
    Batch, BatchBuilder, Batches, Compression, ControlKind, ControlRecord, DecodedBatch, ProducerStamp,
    ReadOptions, TimestampType,
};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/batches")
}

fn file(name: &str) -> Bytes {
    fs::read(folder().join(name)).unwrap().into()
}

/// Every file that Java reads, with what it read.
fn files() -> Vec<(String, Bytes, Value)> {
    let lines = fs::read_to_string(folder().join("java-read.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let files: Vec<_> = lines
        .map(|line| {
            let name = line["file"].as_str().unwrap().to_owned();
            let bytes = file(&name);
            (name, bytes, line["batches"].clone())
        })
        .collect();
    assert!(files.len() > 50, "{}", files.len());
    files
}

fn decode(batch: &Batch) -> DecodedBatch {
    batch.decode(&ReadOptions::default()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The records as Java's program prints them, one a line.
fn lines_of(decoded: &DecodedBatch) -> Vec<String> {
    let quoted =
        |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| format!("\"{}\"", hex(bytes)));
    let records = decoded.records().map(Result::unwrap);
    records
        .map(|record| {
            let headers = record.headers();
            let headers: Vec<_> = headers
                .map(|header| format!("[\"{}\",{}]", hex(header.name), quoted(header.value)))
                .collect();
            format!(
                "{{\"offset\":{},\"timestamp\":{},\"key\":{},\"value\":{},\"headers\":[{}]}}",
                record.offset(),
                record.timestamp(),
                quoted(record.key()),
                quoted(record.value()),
                headers.join(",")
            )
        })
        .collect()
}

fn digest(lines: &[String]) -> u32 {
    lines.iter().fold(0, |crc, line| crc32c::crc32c_append(crc, format!("{line}\n").as_bytes()))
}

/// What Java's program prints of a batch, but for the records themselves.
fn summary(batch: &Batch, decoded: &DecodedBatch, lines: &[String]) -> Value {
    let header = decoded.header();
    let timestamp_type = match header.attributes.timestamp_type() {
        _ if batch.magic() == 0 => "NoTimestampType",
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    json!({
        "magic": batch.magic(),
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset(),
        "sizeInBytes": batch.bytes().len(),
        "crc": header.crc,
        "compression": batch.compression().unwrap().to_string(),
        "timestampType": timestamp_type,
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
        "maxTimestamp": header.max_timestamp,
        "deleteHorizon": header.delete_horizon(),
        "count": lines.len(),
        "digest": digest(lines),
    })
}

#[test]
fn every_writers_batches_are_what_java_read() {
    let mut writers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut magics = BTreeSet::new();
    for (name, bytes, expected) in files() {
        let batches: Vec<_> = Batches::new(bytes).map(Result::unwrap).collect();
        let expected = expected.as_array().unwrap();
        assert_eq!(batches.len(), expected.len(), "{name}");
        for (batch, expected) in batches.iter().zip(expected) {
            let decoded = decode(batch);
            let lines = lines_of(&decoded);
            let mut expected = expected.clone();
            if let Some(records) = expected.as_object_mut().unwrap().remove("records") {
                let read: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!(Value::from(read), records, "{name}");
            }
            assert_eq!(summary(batch, &decoded, &lines), expected, "{name}");
            assert_eq!(batch.next_offset(), decoded.header().next_offset(), "{name}");
            let codecs = writers.entry(name.split('-').next().unwrap().to_owned()).or_default();
            codecs.insert(batch.compression().unwrap().to_string());
            magics.insert(batch.magic());
        }
    }
    println!("{writers:?}");
    assert_eq!(magics, BTreeSet::from([0, 1, 2]));
    for writer in ["java", "rdkafka", "franz", "rskafka", "kafka"] {
        assert_eq!(writers[writer].len(), 5, "{writer}");
    }
}

#[test]
fn control_records_are_what_java_wrote() {
    let batches: Vec<_> =
        Batches::new(file("java-control.bin")).map(|batch| decode(&batch.unwrap())).collect();
    let records: Vec<_> = batches.iter().map(|batch| batch.records().next().unwrap().unwrap()).collect();
    let controls: Vec<_> = records.iter().map(|record| ControlRecord::parse(record).unwrap()).collect();
    assert!(batches.iter().all(|batch| batch.header().attributes.is_control()));
    let kinds: Vec<_> = controls.iter().map(|control| control.kind).collect();
    use ControlKind::*;
    let expected = [Commit, Abort, LeaderChange, SnapshotHeader, SnapshotFooter, KRaftVersion, KRaftVoters];
    assert_eq!(kinds, expected);
    assert_eq!((controls[0].coordinator_epoch, controls[1].coordinator_epoch), (Some(11), Some(11)));
    let change: LeaderChangeMessage = controls[2].decode().unwrap();
    let ids = |voters: &[milena_protocol::messages::leader_change_message::Voter]| {
        voters.iter().map(|voter| voter.voter_id).collect::<Vec<_>>()
    };
    assert_eq!(
        (change.leader_id, ids(&change.voters), ids(&change.granting_voters)),
        (2, vec![1, 2], vec![2])
    );
    let header: SnapshotHeaderRecord = controls[3].decode().unwrap();
    assert_eq!(header.last_contained_log_timestamp, 1_700_000_000_000);
    let footer: SnapshotFooterRecord = controls[4].decode().unwrap();
    assert_eq!(footer, SnapshotFooterRecord::default());
    assert_eq!(controls[5].decode::<KRaftVersionRecord>().unwrap().k_raft_version, 1);
    assert_eq!(controls[6].decode::<VotersRecord>().unwrap().voters[0].voter_id, 1);
}

#[test]
fn linked_blocks_are_read_to_what_independent_ones_hold() {
    for size in ["64k", "256k", "1m"] {
        let lines = |suffix: &str| {
            let batch = Batches::new(file(&format!("liblz4-{size}{suffix}.bin"))).next().unwrap().unwrap();
            lines_of(&decode(&batch))
        };
        assert!(lines("").len() > 100);
        assert!(lines("-linked") == lines(""), "{size}");
    }
}

#[test]
fn what_others_wrote_is_written_and_read_again_with_every_codec() {
    for name in ["rdkafka-none.bin", "franz-lz4-large.bin", "java-zstd-level19.bin"] {
        let batch = Batches::new(file(name)).next().unwrap().unwrap();
        let decoded = decode(&batch);
        for compression in (0..5).map(|id| Compression::from_id(id).unwrap()) {
            let mut builder = BatchBuilder::new(usize::MAX);
            for record in decoded.records().map(Result::unwrap) {
                builder.append(record.timestamp(), record.key(), record.value(), record.headers()).unwrap();
            }
            let written = builder.compress(compression).unwrap().stamp(ProducerStamp::NONE);
            let read = decode(&Batches::new(written).next().unwrap().unwrap());
            let values = |decoded: &DecodedBatch| {
                let records = decoded.records().map(Result::unwrap);
                records.map(|record| record.value().map(<[u8]>::to_vec)).collect::<Vec<_>>()
            };
            assert!(values(&read) == values(&decoded), "{name} {compression}");
        }
    }
}

/// A batch has no better checksum than its CRC, which is left out here: what is broken is an error, or other records.
#[test]
fn a_flipped_bit_never_panics() {
    let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
    for (name, bytes, _) in files() {
        let step = (bytes.len() / 60).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            for batch in Batches::new(flipped.into()).flatten() {
                let Ok(decoded) = batch.decode(&options) else { continue };
                let header = *decoded.header();
                for record in decoded.records().flatten() {
                    let range = header.base_offset..=header.last_offset();
                    assert!(range.contains(&record.offset()), "{name}, byte {at}");
                }
            }
        }
    }
}
