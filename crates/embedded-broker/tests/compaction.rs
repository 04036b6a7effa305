//! Compaction on demand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::{
    messages::{
        FetchRequest,
        fetch::{FetchPartition, FetchTopic},
    },
    records::{BatchBuilder, Batches, Compression, ProducerStamp, ReadOptions},
};
use script::{Peer, START_MS, Script};

type KeyValue<'a> = (&'a str, Option<&'a str>);

fn compacted(settings: &[(&str, &str)]) -> (Script, Peer) {
    let mut script = Script::new(1);
    let policy = [("cleanup.policy", "compact")];
    script.cluster.create_topic_with("orders", 1, &[&policy[..], settings].concat()).unwrap();
    let peer = script.connect(1);
    (script, peer)
}

fn batch(records: &[KeyValue<'_>], codec: Compression, stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for (at, (key, value)) in (0..).zip(records) {
        builder.append(START_MS + at, Some(key.as_bytes()), value.map(str::as_bytes), []).unwrap();
    }
    builder.compress(codec).unwrap().stamp(stamp)
}

fn write(script: &mut Script, peer: Peer, records: &[KeyValue<'_>]) {
    let batch = batch(records, Compression::None, ProducerStamp::NONE);
    assert_eq!(script.produce(peer, "orders", 0, batch).0, 0);
}

fn compact(script: &mut Script) -> u64 {
    script.cluster.compact(script.now, "orders", 0).unwrap()
}

/// The offsets, keys and values from an offset on, as a consumer reads them.
fn read(script: &mut Script, peer: Peer, from: i64) -> Vec<(i64, String, Option<String>)> {
    let wanted = FetchPartition { fetch_offset: from, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
    let request =
        FetchRequest { min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() };
    let data = script.ask(peer, 12, request).responses.get(0).unwrap().partitions.get(0).unwrap();
    assert_eq!(data.error_code, 0);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    for batch in Batches::new(data.records.unwrap()) {
        let decoded = batch.unwrap().decode(&ReadOptions::default()).unwrap();
        for record in decoded.records().map(Result::unwrap) {
            found.push((record.offset(), text(record.key().unwrap()), record.value().map(text)));
        }
    }
    found
}

fn offsets(script: &mut Script, peer: Peer) -> Vec<i64> {
    read(script, peer, 0).into_iter().map(|(offset, ..)| offset).collect()
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let (mut script, peer) = compacted(&[]);
    write(&mut script, peer, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    write(&mut script, peer, &[("a", Some("3")), ("c", Some("1"))]);
    write(&mut script, peer, &[("b", Some("2"))]);
    write(&mut script, peer, &[("z", Some("the segment that is being written"))]);
    assert_eq!(compact(&mut script), 3);
    let left: Vec<_> = read(&mut script, peer, 0).into_iter().map(|it| (it.0, it.1)).collect();
    let named = |offset: i64, key: &str| (offset, key.to_owned());
    assert_eq!(left, [named(3, "a"), named(4, "c"), named(5, "b"), named(6, "z")]);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..7), "the log neither begins nor ends elsewhere");
    assert_eq!(read(&mut script, peer, 1).first().unwrap().0, 3, "in a gap the next batch is read");
    assert_eq!(compact(&mut script), 0);
    write(&mut script, peer, &[("a", Some("4"))]);
    assert_eq!(offsets(&mut script, peer), [3, 4, 5, 6, 7]);
}

#[test]
fn a_batch_that_keeps_some_keeps_its_place_and_its_codec() {
    let (mut script, peer) = compacted(&[]);
    for records in [
        [("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
        [("a", Some("2")), ("c", Some("2")), ("z", None)],
    ] {
        let batch = batch(&records, Compression::Gzip, ProducerStamp::NONE);
        script.produce(peer, "orders", 0, batch);
    }
    write(&mut script, peer, &[("z", Some("active"))]);
    assert_eq!(compact(&mut script), 2);
    assert_eq!(offsets(&mut script, peer), [1, 3, 4, 5, 6]);
    let first = Batches::new(script.cluster.batches("orders", 0).remove(0)).next().unwrap().unwrap();
    let header = first.header();
    assert_eq!((header.base_offset, header.last_offset(), header.record_count), (0, 2, 1));
    assert_eq!(first.compression().unwrap(), Compression::Gzip);
}

#[test]
fn a_tombstone_stays_as_long_as_it_must() {
    let (mut script, peer) = compacted(&[("delete.retention.ms", "1000")]);
    write(&mut script, peer, &[("a", Some("1")), ("a", None)]);
    write(&mut script, peer, &[("z", Some("active"))]);
    assert_eq!(compact(&mut script), 1);
    assert_eq!(read(&mut script, peer, 0)[0], (1, "a".into(), None));
    script.advance(Duration::from_millis(999));
    assert_eq!(compact(&mut script), 0);
    script.advance(Duration::from_millis(1));
    assert_eq!(compact(&mut script), 1);
    assert_eq!(offsets(&mut script, peer), [2]);
    let (mut script, peer) = compacted(&[("delete.retention.ms", "0")]);
    write(&mut script, peer, &[("a", None)]);
    write(&mut script, peer, &[("z", Some("active"))]);
    assert_eq!((compact(&mut script), compact(&mut script)), (0, 1), "never in the round that sees it first");
}

#[test]
fn a_producers_latest_batch_stays_without_records() {
    let (mut script, peer) = compacted(&[]);
    let stamp = |base_sequence| ProducerStamp {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence,
        transactional: false,
    };
    let numbered = |sequence| batch(&[("a", Some("1"))], Compression::None, stamp(sequence));
    script.produce(peer, "orders", 0, numbered(0));
    script.produce(peer, "orders", 0, numbered(1));
    write(&mut script, peer, &[("a", Some("2"))]);
    write(&mut script, peer, &[("z", Some("active"))]);
    assert_eq!(compact(&mut script), 2);
    assert_eq!(offsets(&mut script, peer), [2, 3]);
    let first = Batches::new(script.cluster.batches("orders", 0).remove(0)).next().unwrap().unwrap();
    assert_eq!((first.header().base_offset, first.header().record_count), (1, 0));
    // A replica that is elected knows the producer by it.
    script.cluster.truncate(script.now, "orders", 0, 3).unwrap();
    assert_eq!(script.produce(peer, "orders", 0, numbered(1)), (0, 1));
    assert_eq!(script.produce(peer, "orders", 0, numbered(2)), (0, 3));
}

#[test]
fn topics_that_are_not_compacted_stay_as_they_are() {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    let peer = script.connect(1);
    for _ in 0..3 {
        write(&mut script, peer, &[("a", Some("1"))]);
    }
    assert_eq!(compact(&mut script), 0);
    assert_eq!(offsets(&mut script, peer), [0, 1, 2]);
    assert!(script.cluster.compact(script.now, "orders", 1).is_err());
    assert!(script.cluster.compact(script.now, "nowhere", 0).is_err());
}
