//! Where a log begins and ends: DeleteRecords, truncation, leader epochs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use bytes::Bytes;
use milena_embedded_broker::core::BrokerId;
use milena_protocol::{
    ErrorCode,
    messages::{
        DeleteRecordsRequest, DescribeProducersRequest, FetchRequest, FetchResponse, ListOffsetsRequest,
        OffsetForLeaderEpochRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_producers::TopicRequest,
        fetch::{EpochEndOffset, FetchPartition, FetchTopic, PartitionData},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    records::{Batches, ProducerStamp, ReadOptions},
};
use script::{Peer, START_MS, Script, batch, stamped};

/// One topic of one partition with batches of two records.
fn orders(batches: usize) -> (Script, Peer) {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    let peer = script.connect(1);
    for _ in 0..batches {
        script.produce(peer, "orders", 0, batch(&["a", "b"]));
    }
    (script, peer)
}

fn delete(script: &mut Script, peer: Peer, offset: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { offset, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "orders".into(), partitions, ..Default::default() }];
    let response = script.ask(peer, 2, DeleteRecordsRequest { topics, ..Default::default() });
    let partition = &response.topics[0].partitions[0];
    (ErrorCode(partition.error_code), partition.low_watermark)
}

fn wanted(fetch_offset: i64) -> FetchPartition {
    FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }
}

fn fetch_request(wanted: FetchPartition) -> FetchRequest {
    let topic = FetchTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
    FetchRequest { min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

fn fetched(response: &FetchResponse) -> PartitionData {
    response.responses.get(0).unwrap().partitions.get(0).unwrap()
}

fn fetch(script: &mut Script, peer: Peer, wanted: FetchPartition) -> PartitionData {
    fetched(&script.ask(peer, 12, fetch_request(wanted)))
}

fn offsets(data: &PartitionData) -> Vec<i64> {
    let mut offsets = Vec::new();
    for batch in Batches::new(data.records.clone().unwrap()) {
        let decoded = batch.unwrap().decode(&ReadOptions::default()).unwrap();
        offsets.extend(decoded.records().map(|record| record.unwrap().offset()));
    }
    offsets
}

/// The code, the offset and the leader epoch.
fn list(script: &mut Script, peer: Peer, timestamp: i64, epoch: i32) -> (ErrorCode, i64, i32) {
    let wanted = ListOffsetsPartition { timestamp, current_leader_epoch: epoch, ..Default::default() };
    let topic = ListOffsetsTopic { name: "orders".into(), partitions: vec![wanted], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let response = script.ask(peer, 9, request);
    let found = &response.topics[0].partitions[0];
    (ErrorCode(found.error_code), found.offset, found.leader_epoch)
}

/// The code, the epoch and the offset in which an epoch ends.
fn end_of(script: &mut Script, peer: Peer, current: i32, epoch: i32) -> (ErrorCode, i32, i64) {
    let wanted =
        OffsetForLeaderPartition { current_leader_epoch: current, leader_epoch: epoch, ..Default::default() };
    let topic =
        OffsetForLeaderTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let response = script.ask(peer, 4, request);
    let end = &response.topics[0].partitions[0];
    (ErrorCode(end.error_code), end.leader_epoch, end.end_offset)
}

fn new_leader(script: &mut Script) {
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(1)).unwrap();
}

fn producers(script: &mut Script, peer: Peer) -> Vec<(i64, i32, i64)> {
    let topic = TopicRequest {
        name: "orders".into(),
        partition_indexes: [0].into_iter().collect(),
        ..Default::default()
    };
    let response =
        script.ask(peer, 0, DescribeProducersRequest { topics: vec![topic], ..Default::default() });
    let active = response.topics[0].partitions[0].active_producers.iter();
    active.map(|it| (it.producer_id, it.last_sequence, it.current_txn_start_offset)).collect()
}

fn idempotent(base_sequence: i32, values: &[&str]) -> Bytes {
    stamped(values, ProducerStamp { producer_id: 7, producer_epoch: 0, base_sequence, transactional: false })
}

#[test]
fn records_before_an_offset_are_deleted_and_the_batch_that_holds_it_is_read_whole() {
    let (mut script, peer) = orders(3);
    assert_eq!(delete(&mut script, peer, 3), (ErrorCode::NONE, 3));
    assert_eq!(script.cluster.offsets("orders", 0), Some(3..6));
    assert_eq!(list(&mut script, peer, -2, -1), (ErrorCode::NONE, 3, 0));
    let data = fetch(&mut script, peer, wanted(2));
    assert_eq!(ErrorCode(data.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    let data = fetch(&mut script, peer, wanted(3));
    assert_eq!((offsets(&data), data.log_start_offset), (vec![2, 3, 4, 5], 3));
    // The record at the time of the first one was deleted.
    assert_eq!(list(&mut script, peer, START_MS, -1), (ErrorCode::NONE, 3, 0));
}

#[test]
fn deletion_goes_as_far_as_the_high_watermark_and_never_back() {
    let (mut script, peer) = orders(2);
    assert_eq!(delete(&mut script, peer, 5), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut script, peer, -2), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut script, peer, 4), (ErrorCode::NONE, 4));
    assert_eq!(delete(&mut script, peer, 1), (ErrorCode::NONE, 4), "what is gone is gone");
    assert_eq!(script.produce(peer, "orders", 0, batch(&["c"])), (0, 4));
    assert_eq!(delete(&mut script, peer, -1), (ErrorCode::NONE, 5));
    assert_eq!(script.cluster.offsets("orders", 0), Some(5..5));
    assert!(script.cluster.batches("orders", 0).is_empty());
    assert_eq!(script.produce(peer, "orders", 0, batch(&["d"])), (0, 5));
    assert_eq!(offsets(&fetch(&mut script, peer, wanted(5))), [5]);
}

#[test]
fn who_deletes_is_asked_for_the_right_partition_of_a_topic_that_deletes() {
    let mut script = Script::new(2);
    script.cluster.create_topic_with("orders", 1, &[("cleanup.policy", "compact")]).unwrap();
    let (leader, follower) = (script.connect(1), script.connect(2));
    assert_eq!(delete(&mut script, follower, 0).0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(delete(&mut script, leader, 0).0, ErrorCode::POLICY_VIOLATION);
    let mut script = Script::new(1);
    let peer = script.connect(1);
    assert_eq!(delete(&mut script, peer, 0).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_waiting_fetch_learns_that_its_offset_was_deleted() {
    let (mut script, consumer) = orders(1);
    let admin = script.connect(1);
    script.produce(admin, "orders", 0, batch(&["c"]));
    let request = FetchRequest { max_wait_ms: 500, min_bytes: 1 << 20, ..fetch_request(wanted(0)) };
    let sent = script.send(consumer, 12, request);
    delete(&mut script, admin, 2);
    let response: FetchResponse = script.take(sent);
    assert_eq!(ErrorCode(fetched(&response).error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn a_producer_goes_on_after_its_records_were_deleted() {
    let (mut script, peer) = orders(0);
    script.produce(peer, "orders", 0, idempotent(0, &["a", "b"]));
    delete(&mut script, peer, -1);
    assert_eq!(script.produce(peer, "orders", 0, idempotent(0, &["a", "b"])), (0, 0), "known again");
    assert_eq!(script.produce(peer, "orders", 0, idempotent(2, &["c"])), (0, 2));
}

#[test]
fn every_leader_begins_an_epoch_where_it_takes_over() {
    let (mut script, peer) = orders(1);
    new_leader(&mut script);
    new_leader(&mut script);
    script.produce(peer, "orders", 0, batch(&["c"]));
    assert_eq!(end_of(&mut script, peer, 2, 0), (ErrorCode::NONE, 0, 2));
    assert_eq!(end_of(&mut script, peer, 2, 1), (ErrorCode::NONE, 0, 2), "nothing was written in epoch 1");
    assert_eq!(end_of(&mut script, peer, -1, 2), (ErrorCode::NONE, 2, 3));
    assert_eq!(end_of(&mut script, peer, 2, 3), (ErrorCode::NONE, -1, -1));
    assert_eq!(end_of(&mut script, peer, 1, 0), (ErrorCode::FENCED_LEADER_EPOCH, -1, -1));
    assert_eq!(end_of(&mut script, peer, 3, 0), (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1));
    assert_eq!(list(&mut script, peer, -1, 1).0, ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(list(&mut script, peer, -1, 3).0, ErrorCode::UNKNOWN_LEADER_EPOCH);
    assert_eq!(list(&mut script, peer, -1, 2), (ErrorCode::NONE, 3, 2));
    assert_eq!(list(&mut script, peer, -2, 2), (ErrorCode::NONE, 0, 0));
    delete(&mut script, peer, 2);
    assert_eq!(list(&mut script, peer, -2, 2), (ErrorCode::NONE, 2, 2), "the epoch of the first record left");
}

#[test]
fn a_truncated_log_has_a_new_epoch_and_gives_the_offsets_again() {
    let (mut script, peer) = orders(3);
    script.cluster.truncate(script.now, "orders", 0, 4).unwrap();
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..4));
    assert_eq!(script.cluster.high_watermark("orders", 0), Some(4));
    assert_eq!(script.cluster.leader("orders", 0), Some((BrokerId(1), 1)));
    assert_eq!(script.produce(peer, "orders", 0, batch(&["x"])), (0, 4));
    assert_eq!(offsets(&fetch(&mut script, peer, wanted(0))), [0, 1, 2, 3, 4]);
    assert_eq!(end_of(&mut script, peer, 1, 0), (ErrorCode::NONE, 0, 4));
    script.cluster.truncate(script.now, "orders", 0, 99).unwrap();
    assert_eq!(script.cluster.leader("orders", 0), Some((BrokerId(1), 1)), "it ends before: nothing happens");
    assert!(script.cluster.truncate(script.now, "orders", 1, 0).is_err());
}

#[test]
fn a_batch_that_a_truncation_splits_goes_whole() {
    let (mut script, peer) = orders(2);
    script.cluster.truncate(script.now, "orders", 0, 3).unwrap();
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..3));
    assert_eq!(script.produce(peer, "orders", 0, batch(&["x"])), (0, 3));
    assert_eq!(offsets(&fetch(&mut script, peer, wanted(0))), [0, 1, 3]);
    assert_eq!(offsets(&fetch(&mut script, peer, wanted(2))), [3]);
    script.cluster.truncate(script.now, "orders", 0, 0).unwrap();
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..0));
    assert!(script.cluster.batches("orders", 0).is_empty());
}

#[test]
fn a_reader_who_says_its_last_epoch_is_told_where_the_logs_diverge() {
    let (mut script, peer) = orders(3);
    script.cluster.truncate(script.now, "orders", 0, 4).unwrap();
    script.produce(peer, "orders", 0, batch(&["x", "y", "z"]));
    let epoch = |last_fetched_epoch, fetch_offset| FetchPartition {
        last_fetched_epoch,
        current_leader_epoch: 1,
        ..wanted(fetch_offset)
    };
    // It read up to 6 in epoch 0, which ends at 4 in this log.
    let data = fetch(&mut script, peer, epoch(0, 6));
    assert_eq!(data.diverging_epoch, EpochEndOffset { epoch: 0, end_offset: 4, ..Default::default() });
    assert_eq!((data.error_code, data.high_watermark, data.records), (0, 7, Some(Bytes::new())));
    assert_eq!(offsets(&fetch(&mut script, peer, epoch(0, 4))), [4, 5, 6]);
    assert_eq!(offsets(&fetch(&mut script, peer, epoch(1, 6))), [4, 5, 6]);
    let data = fetch(&mut script, peer, epoch(2, 6));
    assert_eq!(ErrorCode(data.error_code), ErrorCode::OFFSET_OUT_OF_RANGE, "an epoch that never was");
    let data = fetch(&mut script, peer, FetchPartition { current_leader_epoch: 0, ..epoch(0, 6) });
    assert_eq!(ErrorCode(data.error_code), ErrorCode::FENCED_LEADER_EPOCH);
}

#[test]
fn a_session_tells_a_divergence_without_waiting() {
    let (mut script, peer) = orders(3);
    let request = |session_id, session_epoch, last_fetched_epoch| FetchRequest {
        session_id,
        session_epoch,
        max_wait_ms: 500,
        ..fetch_request(FetchPartition { last_fetched_epoch, ..wanted(6) })
    };
    let sent = script.send(peer, 12, request(0, 0, 0));
    script.advance_ms(500);
    let started: FetchResponse = script.take(sent);
    let sent = script.send(peer, 12, request(started.session_id, 1, 0));
    script.cluster.truncate(script.now, "orders", 0, 4).unwrap();
    let response: FetchResponse = script.take(sent);
    assert_eq!(fetched(&response).diverging_epoch.end_offset, 4);
}

#[test]
fn producers_are_as_the_batches_that_are_left_tell() {
    let (mut script, peer) = orders(0);
    for sequence in 0..4 {
        script.produce(peer, "orders", 0, idempotent(sequence, &["a"]));
    }
    assert_eq!(producers(&mut script, peer), [(7, 3, -1)]);
    script.cluster.truncate(script.now, "orders", 0, 2).unwrap();
    assert_eq!(producers(&mut script, peer), [(7, 1, -1)]);
    assert_eq!(
        script.produce(peer, "orders", 0, idempotent(4, &["a"])).0,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.0,
        "its batches 2 and 3 were acknowledged, and lost"
    );
    assert_eq!(script.produce(peer, "orders", 0, idempotent(2, &["a"])), (0, 2));
    assert_eq!(script.produce(peer, "orders", 0, idempotent(1, &["a"])), (0, 1), "still known");
    script.cluster.truncate(script.now, "orders", 0, 0).unwrap();
    assert_eq!(producers(&mut script, peer), []);
}
