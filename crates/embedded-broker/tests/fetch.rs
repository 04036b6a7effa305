//! Fetch and ListOffsets: waiting, limits, epochs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use milena_embedded_broker::core::{Action, BrokerId, ClusterConfig, Rule};
use milena_protocol::{
    ErrorCode,
    messages::{
        ApiKey, FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest,
        fetch::{FetchPartition, FetchTopic, PartitionData},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
    },
    records::{Batches, ReadOptions},
};
use script::{Peer, START_MS, Script, batch};

fn fetch(offsets: &[(i32, i64)]) -> FetchRequest {
    let partitions = offsets.iter().map(|&(partition, fetch_offset)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic {
            topic: "orders".into(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn values(data: &PartitionData) -> Vec<String> {
    let mut values = Vec::new();
    for batch in Batches::new(data.records.clone().unwrap()) {
        let decoded = batch.unwrap().decode(&ReadOptions::default()).unwrap();
        for record in &decoded {
            values.push(String::from_utf8(record.unwrap().value().unwrap().to_vec()).unwrap());
        }
    }
    values
}

/// What was read of the partition at `index` of the first topic.
fn answer_of(response: &FetchResponse, index: usize) -> PartitionData {
    response.responses.get(0).unwrap().partitions.get(index).unwrap()
}

fn lens(response: &FetchResponse) -> Vec<usize> {
    response
        .responses
        .get(0)
        .unwrap()
        .partitions
        .iter()
        .map(|data| Batches::new(data.records.clone().unwrap()).count())
        .collect()
}

fn orders(partitions: i32) -> (Script, Peer) {
    let mut script = Script::new(1);
    script.topic("orders", partitions);
    let peer = script.connect(1);
    (script, peer)
}

#[test]
fn a_fetch_waits_for_data_and_is_answered_when_it_comes() {
    let (mut script, consumer) = orders(1);
    let producer = script.connect(1);
    let sent = script.send(consumer, 12, fetch(&[(0, 0)]));
    script.advance_ms(499);
    assert_eq!(script.reply(sent), None);
    script.produce(producer, "orders", 0, batch(&["a"]));
    let response: FetchResponse = script.take(sent);
    let data = &answer_of(&response, 0);
    assert_eq!((values(data), data.high_watermark, data.last_stable_offset), (vec!["a".to_owned()], 1, 1));
}

#[test]
fn a_fetch_without_data_is_answered_when_its_time_is_over() {
    let (mut script, peer) = orders(1);
    let sent = script.send(peer, 12, fetch(&[(0, 0)]));
    assert_eq!(script.cluster.poll_timeout().unwrap().why, "a fetch has waited long enough");
    script.advance_ms(499);
    assert_eq!(script.reply(sent), None);
    script.advance_ms(1);
    let response: FetchResponse = script.take(sent);
    assert!(values(&answer_of(&response, 0)).is_empty());
    assert_eq!(script.cluster.poll_timeout(), None);
}

#[test]
fn min_bytes_count_over_all_partitions() {
    let (mut script, consumer) = orders(2);
    let producer = script.connect(1);
    let one = batch(&["a"]).len() as i32;
    let sent = script.send(consumer, 12, FetchRequest { min_bytes: 2 * one, ..fetch(&[(0, 0), (1, 0)]) });
    script.produce(producer, "orders", 0, batch(&["a"]));
    assert_eq!(script.reply(sent), None);
    script.produce(producer, "orders", 1, batch(&["b"]));
    let response: FetchResponse = script.take(sent);
    assert_eq!(lens(&response), [1, 1]);
}

#[test]
fn a_parked_fetch_holds_back_what_follows_on_its_connection() {
    let (mut script, peer) = orders(1);
    let fetched = script.send(peer, 12, fetch(&[(0, 0)]));
    let second = script.send(peer, 12, MetadataRequest::default());
    assert!(script.cluster.is_muted(peer.connection));
    assert_eq!(script.reply(fetched), None);
    script.advance_ms(500);
    assert!(script.reply(fetched).is_some());
    assert!(script.reply(second).is_some());
    assert!(!script.cluster.is_muted(peer.connection));
}

#[test]
fn limits_hold_except_for_the_first_batch() {
    let (mut script, peer) = orders(2);
    for _ in 0..3 {
        script.produce(peer, "orders", 0, batch(&["a"]));
        script.produce(peer, "orders", 1, batch(&["a"]));
    }
    let one = batch(&["a"]).len() as i32;
    let mut read = |max_bytes, partition_max_bytes| {
        let mut request = FetchRequest { max_bytes, ..fetch(&[(0, 0), (1, 0)]) };
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max_bytes;
        }
        lens(&script.ask(peer, 12, request))
    };
    assert_eq!(read(1 << 20, 1 << 20), [3, 3]);
    assert_eq!(read(1 << 20, 2 * one), [2, 2]);
    assert_eq!(read(1 << 20, 2 * one + 1), [2, 2], "whole batches only");
    assert_eq!(read(4 * one, 1 << 20), [3, 1]);
    assert_eq!(read(1, 1 << 20), [1, 0], "the first batch comes whatever its size");
    assert_eq!(read(1 << 20, 1), [1, 0]);
}

#[test]
fn a_reply_is_a_slice_of_the_log() {
    let (mut script, peer) = orders(1);
    for _ in 0..100 {
        script.produce(peer, "orders", 0, batch(&["a"]));
    }
    let mut read = || answer_of(&script.ask(peer, 12, fetch(&[(0, 0)])), 0).records.unwrap();
    let first = read();
    assert_eq!((Batches::new(first.clone()).count(), first), (100, read()));
}

#[test]
fn reading_from_inside_a_batch_begins_with_that_batch() {
    let (mut script, peer) = orders(1);
    script.produce(peer, "orders", 0, batch(&["a", "b", "c"]));
    script.produce(peer, "orders", 0, batch(&["d"]));
    let mut read = |offset| values(&answer_of(&script.ask(peer, 12, fetch(&[(0, offset)])), 0));
    assert_eq!(read(1), ["a", "b", "c", "d"]);
    assert_eq!(read(3), ["d"]);
}

#[test]
fn errors_are_told_without_waiting() {
    let (mut script, peer) = orders(1);
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(1)).unwrap();
    let mut code = |partition, offset, epoch| {
        let mut request = fetch(&[(partition, offset)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        ErrorCode(answer_of(&script.ask(peer, 12, request), 0).error_code)
    };
    assert_eq!(code(0, 1, -1), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(code(0, -1, -1), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(code(9, 0, -1), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(0, 0, 0), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(code(0, 0, 2), ErrorCode::UNKNOWN_LEADER_EPOCH);
    let in_session = FetchRequest { session_id: 4, session_epoch: 1, ..fetch(&[(0, 0)]) };
    assert_eq!(ErrorCode(script.ask(peer, 12, in_session).error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_new_leader_ends_the_wait_and_is_named() {
    let mut script = Script::new(2);
    let id = script.topic("orders", 1);
    let peer = script.connect(1);
    let mut request = fetch(&[(0, 0)]);
    request.topics[0].topic = "".into();
    request.topics[0].topic_id = id;
    let sent = script.send(peer, 16, request);
    assert_eq!(script.reply(sent), None);
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(2)).unwrap();
    let response: FetchResponse = script.take(sent);
    let data = &answer_of(&response, 0);
    assert_eq!(ErrorCode(data.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (2, 1));
    assert_eq!(response.node_endpoints.get(0).unwrap().port, 9093);
}

#[test]
fn catching_up_over_many_small_reads_gives_every_record_once() {
    let (mut script, peer) = orders(1);
    // A reader at the end leaves small pieces behind.
    for round in 0..400i64 {
        let value = format!("{round}-{}", "x".repeat(1_000));
        script.produce(peer, "orders", 0, batch(&[&value]));
        script.ask(peer, 12, fetch(&[(0, round)]));
    }
    let (mut next, mut requests) = (0, 0);
    while next < 400 {
        let response = script.ask(peer, 12, fetch(&[(0, next)]));
        let read = values(&answer_of(&response, 0));
        for value in &read {
            assert!(value.starts_with(&format!("{next}-")), "{value} at {next}");
            next += 1;
        }
        requests += 1;
    }
    assert!(requests <= 8, "{requests} requests for 400 KiB");
}

/// A request in a session, about these partitions and their offsets.
fn in_session(id: i32, epoch: i32, offsets: &[(i32, i64)]) -> FetchRequest {
    FetchRequest { session_id: id, session_epoch: epoch, max_wait_ms: 0, ..fetch(offsets) }
}

fn told(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| topic.partitions.into_vec());
    partitions.map(|data| (data.partition_index, values(&data).len())).collect()
}

#[test]
fn a_session_tells_only_what_is_new() {
    let (mut script, peer) = orders(3);
    let whole = script.ask(peer, 12, in_session(0, 0, &[(0, 0), (1, 0), (2, 0)]));
    assert_eq!(told(&whole), [(0, 0), (1, 0), (2, 0)]);
    let id = whole.session_id;
    assert_ne!(id, 0);
    let nothing = script.ask(peer, 12, in_session(id, 1, &[]));
    assert_eq!((nothing.session_id, told(&nothing)), (id, vec![]));
    script.produce(peer, "orders", 1, batch(&["a"]));
    assert_eq!(told(&script.ask(peer, 12, in_session(id, 2, &[]))), [(1, 1)]);
    // The position moves, and only its partition has to be named.
    assert_eq!(told(&script.ask(peer, 12, in_session(id, 3, &[(1, 1)]))), []);
    script.produce(peer, "orders", 0, batch(&["b"]));
    let mut forget = in_session(id, 4, &[]);
    forget.forgotten_topics_data = vec![milena_protocol::messages::fetch::ForgottenTopic {
        topic: "orders".into(),
        partitions: [0].into(),
        ..Default::default()
    }];
    assert_eq!(told(&script.ask(peer, 12, forget)), []);
    // A long poll in a session waits for the partitions of the session.
    let sent = script.send(peer, 12, FetchRequest { max_wait_ms: 500, ..in_session(id, 5, &[]) });
    let producer = script.connect(1);
    script.produce(producer, "orders", 0, batch(&["not asked for"]));
    assert_eq!(script.reply(sent), None);
    script.produce(producer, "orders", 2, batch(&["c"]));
    assert_eq!(told(&script.take(sent)), [(2, 1)]);
}

#[test]
fn an_error_in_a_session_is_told_until_it_is_over_and_then_its_end() {
    let (mut script, peer) = orders(1);
    let id = script.ask(peer, 12, in_session(0, 0, &[(0, 0), (1, 0)])).session_id;
    for epoch in 1..3 {
        let failed = script.ask(peer, 12, in_session(id, epoch, &[]));
        let data = failed.responses.get(0).unwrap().partitions.into_vec();
        assert_eq!(data.iter().map(|data| data.partition_index).collect::<Vec<_>>(), [1]);
        assert_eq!(ErrorCode(data[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn a_partition_that_brought_records_goes_behind_the_others() {
    let (mut script, peer) = orders(2);
    for _ in 0..2 {
        script.produce(peer, "orders", 0, batch(&["a"]));
        script.produce(peer, "orders", 1, batch(&["a"]));
    }
    let tight = |request| FetchRequest { max_bytes: 1, ..request };
    let first = script.ask(peer, 12, tight(in_session(0, 0, &[(0, 0), (1, 0)])));
    assert_eq!(told(&first), [(0, 1), (1, 0)]);
    let second = script.ask(peer, 12, tight(in_session(first.session_id, 1, &[(0, 1)])));
    assert_eq!(told(&second), [(1, 1)]);
}

#[test]
fn sessions_are_checked_and_end() {
    let mut script = Script::with(ClusterConfig { fetch_session_slots: 1, ..ClusterConfig::default() });
    let topic_id = script.topic("orders", 1);
    let peer = script.connect(1);
    let code = |response: FetchResponse| ErrorCode(response.error_code);
    let id = script.ask(peer, 12, in_session(0, 0, &[(0, 0)])).session_id;
    assert_eq!(code(script.ask(peer, 12, in_session(id + 1, 1, &[]))), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(code(script.ask(peer, 12, in_session(id, 2, &[]))), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let mut by_id = in_session(id, 1, &[]);
    by_id.topics = vec![FetchTopic { topic_id, ..Default::default() }];
    assert_eq!(code(script.ask(peer, 13, by_id)), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    // There is room for one; it goes when it was idle for two minutes.
    assert_eq!(script.ask(peer, 12, in_session(0, 0, &[(0, 0)])).session_id, 0);
    script.advance_ms(120_001);
    let next = script.ask(peer, 12, in_session(0, 0, &[(0, 0)])).session_id;
    assert_ne!((next, next), (0, id));
    assert_eq!(code(script.ask(peer, 12, in_session(id, 1, &[]))), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    // The client ends it, or begins anew.
    let again = script.ask(peer, 12, in_session(next, 0, &[(0, 0)]));
    assert!(again.session_id != 0 && again.session_id != next);
    assert_eq!(script.ask(peer, 12, in_session(again.session_id, -1, &[(0, 0)])).session_id, 0);
    let ended = script.ask(peer, 12, in_session(again.session_id, 1, &[]));
    assert_eq!(code(ended), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_fault_reaches_every_partition_of_the_session() {
    let (mut script, peer) = orders(2);
    let id = script.ask(peer, 12, in_session(0, 0, &[(0, 0), (1, 0)])).session_id;
    let fault = |script: &mut Script, epoch, error| {
        script.cluster.faults().add(Rule::new(ApiKey::Fetch, Action::Answer(error)));
        script.ask(peer, 12, in_session(id, epoch, &[]))
    };
    let answer = fault(&mut script, 1, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let codes: Vec<_> =
        answer.responses.get(0).unwrap().partitions.iter().map(|data| ErrorCode(data.error_code)).collect();
    assert_eq!(codes, [ErrorCode::NOT_LEADER_OR_FOLLOWER; 2]);
    let answer = fault(&mut script, 2, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

fn list(script: &mut Script, peer: Peer, timestamp: i64) -> (ErrorCode, i64, i64, i32) {
    let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: "orders".into(), partitions, ..Default::default() }];
    let response = script.ask(peer, 10, ListOffsetsRequest { replica_id: -1, topics, ..Default::default() });
    let found = &response.topics[0].partitions[0];
    (ErrorCode(found.error_code), found.offset, found.timestamp, found.leader_epoch)
}

#[test]
fn offsets_are_found_by_time() {
    let (mut script, peer) = orders(1);
    assert_eq!(list(&mut script, peer, -1), (ErrorCode::NONE, 0, -1, 0));
    assert_eq!(list(&mut script, peer, -3), (ErrorCode::NONE, -1, -1, -1));
    // Timestamps START, +1, +2 and START, +1.
    script.produce(peer, "orders", 0, batch(&["a", "b", "c"]));
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(1)).unwrap();
    script.produce(peer, "orders", 0, batch(&["d", "e"]));
    assert_eq!(list(&mut script, peer, -2), (ErrorCode::NONE, 0, -1, 0));
    assert_eq!(list(&mut script, peer, -1), (ErrorCode::NONE, 5, -1, 1));
    assert_eq!(list(&mut script, peer, -3), (ErrorCode::NONE, 2, START_MS + 2, 0));
    assert_eq!(list(&mut script, peer, 0), (ErrorCode::NONE, 0, START_MS, 0));
    assert_eq!(list(&mut script, peer, START_MS + 1), (ErrorCode::NONE, 1, START_MS + 1, 0));
    assert_eq!(list(&mut script, peer, START_MS + 3), (ErrorCode::NONE, -1, -1, -1));
    assert_eq!(list(&mut script, peer, -99).0, ErrorCode::UNSUPPORTED_VERSION);
}
