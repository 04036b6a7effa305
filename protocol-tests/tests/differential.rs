//! Our messages and batches against those of another implementation, the crate `kafka-protocol`: both read the same
//! bytes and write the same bytes again.
//!
//! It is fed with bytes that Java wrote or that the schemas make, nothing else: a few wrong bytes can make it reserve
//! memory without limit, which aborts the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey as TheirKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, DefaultPrincipalData,
        EndTxnMarker, KRaftVersionRecord, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
        SnapshotFooterRecord, SnapshotHeaderRecord,
    },
    protocol::{Decodable, Encodable},
    records::{Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions},
};
use milena_protocol::{
    ApiKey,
    records::{Batch, Batches, ReadOptions, TimestampType},
};
use proptest::{prop_assert, prop_assert_eq};
use protocol_tests::{cases::for_all, golden, subject::Subject, vector::Vector};
use serde_json::{Value, json};

/// What of Kafka 4.3.1 the other crate has not got, or can't read: the first and last version of each.
const MISSING: &[(&str, i16, i16)] = &[
    ("AddRaftVoterRequest", 1, 1),
    ("AddRaftVoterResponse", 1, 1),
    ("BrokerHeartbeatRequest", 2, 2),
    ("BrokerHeartbeatResponse", 2, 2),
    ("ControlRecordTypeSchema", 0, 0),
    ("DescribeLogDirsRequest", 5, 5),
    ("DescribeLogDirsResponse", 5, 5),
    ("DescribeShareGroupOffsetsRequest", 1, 1),
    ("DescribeShareGroupOffsetsResponse", 1, 1),
    ("InitProducerIdRequest", 6, 6),
    ("LeaderChangeMessage", 0, 1),
    ("ListOffsetsRequest", 11, 11),
    ("ListOffsetsResponse", 11, 11),
    ("OffsetCommitRequest", 10, 10),
    ("OffsetFetchRequest", 10, 10),
    ("ReadShareGroupStateSummaryRequest", 1, 1),
    ("ReadShareGroupStateSummaryResponse", 1, 1),
    ("ShareAcknowledgeRequest", 2, 2),
    ("ShareAcknowledgeResponse", 2, 2),
    ("ShareFetchRequest", 2, 2),
    ("ShareFetchResponse", 2, 2),
    ("StreamsGroupDescribeRequest", 0, 0),
    ("StreamsGroupDescribeResponse", 0, 0),
    ("StreamsGroupHeartbeatRequest", 0, 0),
    ("StreamsGroupHeartbeatResponse", 0, 0),
    ("VotersRecord", 0, 0),
    ("WriteShareGroupStateRequest", 1, 1),
    ("WriteShareGroupStateResponse", 1, 1),
    ("WriteTxnMarkersRequest", 2, 2),
    ("WriteTxnMarkersResponse", 2, 2),
];

fn is_missing(name: &str, version: i16) -> bool {
    MISSING.iter().any(|(missing, first, last)| *missing == name && (*first..=*last).contains(&version))
}

/// What the other crate makes of the bytes and writes again. `None` when it has not got the message or the version.
fn reencoded(subject: Subject, version: i16, bytes: &Bytes) -> Option<Bytes> {
    let (mut left, mut out) = (bytes.clone(), BytesMut::new());
    let (from, to) = (&mut left, &mut out);
    let key = |api: ApiKey| TheirKey::try_from(api.code()).ok();
    let outcome = match subject {
        Subject::Request(api) => {
            let request = RequestKind::decode(key(api)?, from, version);
            request.map(|request| request.encode(to, version).unwrap())
        }
        Subject::Response(api) => {
            let response = ResponseKind::decode(key(api)?, from, version);
            response.map(|response| response.encode(to, version).unwrap())
        }
        Subject::Structure(_) => match subject.name().as_str() {
            "RequestHeader" => structure::<RequestHeader>(from, to, version),
            "ResponseHeader" => structure::<ResponseHeader>(from, to, version),
            "ConsumerProtocolSubscription" => structure::<ConsumerProtocolSubscription>(from, to, version),
            "ConsumerProtocolAssignment" => structure::<ConsumerProtocolAssignment>(from, to, version),
            "DefaultPrincipalData" => structure::<DefaultPrincipalData>(from, to, version),
            "EndTxnMarker" => structure::<EndTxnMarker>(from, to, version),
            "KRaftVersionRecord" => structure::<KRaftVersionRecord>(from, to, version),
            "SnapshotFooterRecord" => structure::<SnapshotFooterRecord>(from, to, version),
            "SnapshotHeaderRecord" => structure::<SnapshotHeaderRecord>(from, to, version),
            // In the structures of LeaderChangeMessage and VotersRecord a field `Version` hides the version they are read
            // in; ControlRecordTypeSchema is not there.
            _ => return None,
        },
    };
    match outcome {
        // The request and the response of an API differ in their versions there, and it tells neither's.
        Err(error) if format!("{error:#}").contains("specified version not supported") => return None,
        Err(error) => panic!("{} version {version}: {error:#}: {bytes:02x?}", subject.name()),
        Ok(()) => {}
    }
    assert!(left.is_empty(), "{} bytes of {} version {version} are left", left.len(), subject.name());
    Some(out.freeze())
}

fn structure<T: Decodable + Encodable>(
    from: &mut Bytes,
    to: &mut BytesMut,
    version: i16,
) -> anyhow::Result<()> {
    let read = T::decode(from, version)?;
    read.encode(to, version).unwrap();
    Ok(())
}

#[test]
fn javas_bytes_are_written_alike() {
    let (mut seen, mut missing) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<i16>>::new());
    for vector in golden::lines().filter_map(Vector::new) {
        let (name, version) = (vector.subject.name(), vector.version);
        let Some(theirs) = reencoded(vector.subject, version, &vector.bytes) else {
            missing.entry(name).or_default().insert(version);
            continue;
        };
        let ours = vector.subject.decode(&vector.bytes, version).unwrap().bytes(version).unwrap();
        assert_eq!(theirs, ours, "{}", vector.line);
        seen.insert((name, version));
    }
    let missing: Vec<_> = missing
        .iter()
        .map(|(name, versions)| (name.as_str(), *versions.first().unwrap(), *versions.last().unwrap()))
        .collect();
    assert_eq!(missing, MISSING);
    let pairs: i16 = MISSING.iter().map(|(_, first, last)| last - first + 1).sum();
    assert_eq!((seen.len(), pairs), (625 - pairs as usize, 31));
}

#[test]
fn random_values_are_written_alike() {
    for_all(|case| {
        let ours = case.decode()?.bytes(case.version).unwrap();
        match reencoded(case.subject, case.version, &case.bytes) {
            Some(theirs) => prop_assert_eq!(theirs, ours),
            None => prop_assert!(is_missing(&case.schema.name, case.version)),
        }
        Ok(())
    });
}

/// The batches of Java that the other crate can show as they are. Its records lose: the second of two headers with one
/// name, the time of appending (records keep their own), offsets behind the last record, batches without records, and
/// sequence numbers that begin at 0 again. Its codecs are not compiled in, as some are C.
fn comparable_batches() -> impl Iterator<Item = Batch> {
    let lines = golden::lines().filter(|line| line["kind"] == "batch");
    let buffers = lines.map(|line| Bytes::from(golden::unhex(line["hex"].as_str().unwrap())));
    let batches = buffers.flat_map(Batches::new).map(Result::unwrap);
    batches.filter(|batch| {
        let header = batch.header();
        if batch.compression().map(|compression| compression.to_string()) != Ok("none".to_owned())
            || header.attributes.timestamp_type() == TimestampType::LogAppendTime
            || header.last_sequence() < header.base_sequence
        {
            return false;
        }
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        let records: Vec<_> = decoded.records().map(Result::unwrap).collect();
        let has_twice = records.iter().any(|record| {
            let names: BTreeSet<_> = record.headers().map(|header| header.name_str().unwrap()).collect();
            names.len() < record.headers().count()
        });
        records.last().is_some_and(|last| last.offset() == header.last_offset()) && !has_twice
    })
}

#[test]
fn batches_are_read_alike() {
    let mut seen = 0;
    for batch in comparable_batches() {
        let theirs = RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap().records;
        assert_eq!(theirs.iter().map(their_json).collect::<Vec<_>>(), our_json(&batch));
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn batches_written_there_are_read_here() {
    for batch in comparable_batches() {
        let records = RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap().records;
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let mut written = BytesMut::new();
        RecordBatchEncoder::encode(&mut written, &records, &options).unwrap();
        let again = Batches::new(written.freeze()).map(Result::unwrap);
        let read: Vec<Value> = again
            .flat_map(|batch| {
                batch.verify_crc().unwrap();
                our_json(&batch)
            })
            .collect();
        assert_eq!(read, records.iter().map(their_json).collect::<Vec<_>>());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without a producer id there are no sequence numbers: the other crate counts on from -1.
fn sequence(sequence: i32, producer_id: i64) -> Option<i32> {
    (producer_id >= 0).then_some(sequence)
}

fn our_json(batch: &Batch) -> Vec<Value> {
    let header = batch.header();
    let decoded = batch.decode(&ReadOptions::default()).unwrap();
    let records = decoded.records().map(Result::unwrap).map(|record| {
        let headers = record.headers().map(|header| json!([header.name_str().unwrap(), header.value.map(hex)]));
        let delta = (record.offset() - header.base_offset) as i32;
        json!({
            "offset": record.offset(), "timestamp": record.timestamp(), "sequence": sequence(header.sequence(delta), header.producer_id),
            "key": record.key().map(hex), "value": record.value().map(hex), "headers": headers.collect::<Vec<_>>(),
            "producer": [header.producer_id, i64::from(header.producer_epoch)],
            "epoch": header.partition_leader_epoch,
            "flags": [header.attributes.is_transactional(), header.attributes.is_control(),
                header.attributes.has_delete_horizon()],
        })
    });
    records.collect()
}

fn their_json(record: &Record) -> Value {
    let headers =
        record.headers.iter().map(|(name, value)| json!([name.as_str(), value.as_deref().map(hex)]));
    json!({
        "offset": record.offset, "timestamp": record.timestamp, "sequence": sequence(record.sequence, record.producer_id),
        "key": record.key.as_deref().map(hex), "value": record.value.as_deref().map(hex),
        "headers": headers.collect::<Vec<_>>(),
        "producer": [record.producer_id, i64::from(record.producer_epoch)],
        "epoch": record.partition_leader_epoch,
        "flags": [record.transactional, record.control, record.delete_horizon],
    })
}
