//! Produce: what is taken, what is refused, and what an idempotent producer may do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use bytes::Bytes;
use milena_embedded_broker::core::{BrokerId, ClusterConfig};
use milena_protocol::{
    ErrorCode,
    messages::{ApiKey, InitProducerIdRequest},
    records::{Batches, ProducerStamp, TimestampType},
    wire::Uuid,
};
use script::{Peer, START_MS, Script, batch, produce_request, stamped};

fn one_topic(settings: &[(&str, &str)]) -> (Script, Peer) {
    let mut script = Script::new(1);
    script.cluster.create_topic_with("orders", 1, settings).unwrap();
    let peer = script.connect(1);
    (script, peer)
}

#[test]
fn batches_are_kept_as_they_came_with_offsets_and_epochs() {
    let (mut script, peer) = one_topic(&[]);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a", "b"])), (0, 0));
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(1)).unwrap();
    assert_eq!(script.produce(peer, "orders", 0, batch(&["c"])), (0, 2));
    let stored: Vec<_> = script
        .cluster
        .batches("orders", 0)
        .into_iter()
        .map(|bytes| Batches::new(bytes).next().unwrap().unwrap())
        .collect();
    assert_eq!((stored[1].header().base_offset, stored[1].header().partition_leader_epoch), (2, 1));
    assert_eq!(
        stored[0].bytes()[16..],
        batch(&["a", "b"])[16..],
        "what the CRC covers, and the CRC, are the client's"
    );
    assert!(stored.iter().all(|batch| batch.verify_crc().is_ok()));
}

#[test]
fn topics_come_by_id_from_version_13() {
    let mut script = Script::new(1);
    let id = script.topic("orders", 1);
    let peer = script.connect(1);
    let mut code = |version, name: &str, id| {
        let response = script.ask(peer, version, produce_request(name, id, 0, batch(&["a"])));
        ErrorCode(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(code(13, "", id), ErrorCode::NONE);
    assert_eq!(code(13, "", Uuid::from_bytes([9; 16])), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(code(12, "orders", Uuid::ZERO), ErrorCode::NONE);
    assert_eq!(code(12, "other", Uuid::ZERO), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn acks_0_is_not_answered_and_its_error_ends_the_connection() {
    let (mut script, peer) = one_topic(&[]);
    let mut request = produce_request("orders", Uuid::ZERO, 0, batch(&["a"]));
    request.acks = 0;
    let sent = script.send(peer, 9, request.clone());
    assert_eq!(script.reply(sent), None);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
    assert_eq!(script.produce(peer, "orders", 0, batch(&["b"])), (0, 1), "the connection goes on");
    request.topic_data.edit(|topics| topics[0].name = "other".into());
    script.send(peer, 9, request);
    assert!(script.is_closed(peer));
}

#[test]
fn acks_other_than_0_1_and_all_are_refused() {
    let (mut script, peer) = one_topic(&[]);
    let mut request = produce_request("orders", Uuid::ZERO, 0, batch(&["a"]));
    request.acks = 2;
    let response = script.ask(peer, 9, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_REQUIRED_ACKS.0);
}

#[test]
fn broken_batches_are_refused_with_the_code_that_says_why() {
    let (mut script, peer) = one_topic(&[("max.message.bytes", "200")]);
    let good = batch(&["a"]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    let large = "x".repeat(300);
    let cases = [
        ("flipped bit", with(good.len() - 1, 0x55), ErrorCode::CORRUPT_MESSAGE),
        ("magic 1", with(16, 1), ErrorCode::INVALID_RECORD),
        ("magic 9", with(16, 9), ErrorCode::CORRUPT_MESSAGE),
        ("length below a header", with(11, 20), ErrorCode::CORRUPT_MESSAGE),
        ("cut off", good.slice(..good.len() - 3), ErrorCode::INVALID_RECORD),
        ("nothing", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("two batches", [good.clone(), good.clone()].concat().into(), ErrorCode::INVALID_RECORD),
        ("base offset 1", with(7, 1), ErrorCode::INVALID_RECORD),
        ("too large", batch(&[&large]), ErrorCode::MESSAGE_TOO_LARGE),
    ];
    for (what, bytes, code) in cases {
        assert_eq!(ErrorCode(script.produce(peer, "orders", 0, bytes).0), code, "{what}");
    }
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..0));
    assert_eq!(script.produce(peer, "orders", 0, good), (0, 0));
}

#[test]
fn a_compacted_topic_wants_keys() {
    let (mut script, peer) = one_topic(&[("cleanup.policy", "compact,delete")]);
    assert_eq!(ErrorCode(script.produce(peer, "orders", 0, batch(&["no key"])).0), ErrorCode::INVALID_RECORD);
}

#[test]
fn log_append_time_is_set_once_for_the_batch() {
    let (mut script, peer) = one_topic(&[("message.timestamp.type", "LogAppendTime")]);
    script.advance_ms(5_000);
    let response = script.ask(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a", "b"])));
    assert_eq!(response.responses[0].partition_responses[0].log_append_time_ms, START_MS + 5_000);
    let bytes = script.cluster.batches("orders", 0).remove(0);
    let batch = Batches::new(bytes).next().unwrap().unwrap();
    assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header().max_timestamp, START_MS + 5_000);
    assert!(batch.verify_crc().is_ok());
}

#[test]
fn retention_drops_the_oldest_batches_and_moves_the_start() {
    let (mut script, peer) = one_topic(&[("retention.bytes", "1000")]);
    let value = "x".repeat(300);
    for _ in 0..10 {
        script.produce(peer, "orders", 0, batch(&[&value]));
    }
    let offsets = script.cluster.offsets("orders", 0).unwrap();
    assert_eq!(offsets, 8..10);
    assert_eq!(script.cluster.batches("orders", 0).len(), 2);
}

#[test]
fn too_few_replicas_refuse_acks_all_only() {
    let mut script = Script::new(3);
    script.cluster.create_topic_with("orders", 1, &[("min.insync.replicas", "3")]).unwrap();
    script.cluster.stop_broker(script.now, BrokerId(2));
    let peer = script.connect(1);
    assert_eq!(ErrorCode(script.produce(peer, "orders", 0, batch(&["a"])).0), ErrorCode::NOT_ENOUGH_REPLICAS);
    let mut request = produce_request("orders", Uuid::ZERO, 0, batch(&["a"]));
    request.acks = 1;
    assert_eq!(script.ask(peer, 9, request).responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn the_wrong_broker_names_the_right_one() {
    let mut script = Script::new(3);
    script.topic("orders", 3);
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(3)).unwrap();
    let peer = script.connect(1);
    let response = script.ask(peer, 10, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(ErrorCode(partition.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (3, 1));
    assert_eq!((response.node_endpoints[0].node_id, response.node_endpoints[0].port), (3, 9094));
    let response = script.ask(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    assert!(response.node_endpoints.is_empty(), "older clients do not know it");
}

#[test]
fn every_producer_gets_an_id_of_its_own() {
    let mut script = Script::new(1);
    let peer = script.connect(1);
    let first = script.ask(peer, 5, InitProducerIdRequest { transactional_id: None, ..Default::default() });
    let again = InitProducerIdRequest {
        transactional_id: None,
        producer_id: first.producer_id,
        producer_epoch: 0,
        ..Default::default()
    };
    let second = script.ask(peer, 5, again.clone());
    assert_eq!((first.error_code, first.producer_epoch, second.producer_epoch), (0, 0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    let half = InitProducerIdRequest { producer_epoch: -1, ..again };
    assert_eq!(ErrorCode(script.ask(peer, 5, half).error_code), ErrorCode::INVALID_REQUEST);
}

#[test]
fn an_idle_producer_is_forgotten_by_the_time_of_its_records() {
    let (mut script, peer) = one_topic(&[]);
    let stamp = |producer_id, producer_epoch, base_sequence| ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
        transactional: false,
    };
    let write = |script: &mut Script, stamp| {
        let (code, offset) = script.produce(peer, "orders", 0, stamped(&["v"], stamp));
        if code == 0 { Ok(offset) } else { Err(ErrorCode(code)) }
    };
    assert_eq!(write(&mut script, stamp(5, 1, 0)), Ok(0));
    assert_eq!(write(&mut script, stamp(5, 1, 9)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    script.advance(Duration::from_hours(24) - Duration::from_millis(1));
    assert_eq!(write(&mut script, stamp(5, 0, 0)), Err(ErrorCode::INVALID_PRODUCER_EPOCH), "still known");
    script.advance_ms(1);
    assert_eq!(write(&mut script, stamp(5, 0, 9)), Ok(1), "anybody may begin anywhere");
    // Its record says the day before, so that the next look at it, within ten minutes, is the last.
    assert_eq!(write(&mut script, stamp(5, 0, 20)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    script.advance(Duration::from_mins(10));
    assert_eq!(write(&mut script, stamp(5, 0, 20)), Ok(2));
}

/// What Kafka answers to a sequence of batches (epoch, first sequence, records): the base offset, or the error.
fn check_sequence(batches: &[(i16, i32, usize, Result<i64, ErrorCode>)]) {
    let (mut script, peer) = one_topic(&[]);
    for (at, &(producer_epoch, base_sequence, count, ref expected)) in batches.iter().enumerate() {
        let stamp = ProducerStamp { producer_id: 5, producer_epoch, base_sequence, transactional: false };
        let (code, offset) = script.produce(peer, "orders", 0, stamped(&vec!["v"; count], stamp));
        let got = if code == 0 { Ok(offset) } else { Err(ErrorCode(code)) };
        assert_eq!(&got, expected, "batch {at} of {batches:?}");
    }
}

#[test]
fn idempotence_as_kafka_checks_it() {
    let gap = Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let fenced = Err(ErrorCode::INVALID_PRODUCER_EPOCH);
    // In sequence; a repetition is answered with the offset of the first time.
    check_sequence(&[
        (0, 0, 2, Ok(0)),
        (0, 2, 3, Ok(2)),
        (0, 0, 2, Ok(0)),
        (0, 2, 3, Ok(2)),
        (0, 5, 1, Ok(5)),
    ]);
    // A gap, and a batch that overlaps what was written.
    check_sequence(&[(0, 0, 2, Ok(0)), (0, 3, 1, gap), (0, 1, 1, gap), (0, 0, 1, gap), (0, 2, 1, Ok(2))]);
    // Five batches are remembered, the sixth before is not.
    check_sequence(&[
        (0, 0, 1, Ok(0)),
        (0, 1, 1, Ok(1)),
        (0, 2, 1, Ok(2)),
        (0, 3, 1, Ok(3)),
        (0, 4, 1, Ok(4)),
        (0, 0, 1, Ok(0)),
        (0, 5, 1, Ok(5)),
        (0, 1, 1, Ok(1)),
        (0, 0, 1, gap),
    ]);
    // A producer without state begins anywhere.
    check_sequence(&[(3, 17, 1, Ok(0)), (3, 18, 1, Ok(1))]);
    // A new epoch begins at 0, an old one is fenced.
    check_sequence(&[
        (0, 0, 1, Ok(0)),
        (1, 1, 1, gap),
        (1, 0, 1, Ok(1)),
        (0, 1, 1, fenced),
        (1, 1, 1, Ok(2)),
    ]);
    // After the largest sequence comes 0, inside a batch too.
    check_sequence(&[(0, i32::MAX, 1, Ok(0)), (0, 0, 1, Ok(1)), (0, i32::MAX, 1, Ok(0))]);
    check_sequence(&[(0, i32::MAX - 1, 4, Ok(0)), (0, 2, 1, Ok(4)), (0, i32::MAX - 1, 4, Ok(0))]);
}

#[test]
fn a_partition_does_not_know_what_went_to_another() {
    let mut script = Script::new(1);
    script.topic("orders", 2);
    let peer = script.connect(1);
    let stamp = |base_sequence| ProducerStamp {
        producer_id: 5,
        producer_epoch: 0,
        base_sequence,
        transactional: false,
    };
    assert_eq!(script.produce(peer, "orders", 0, stamped(&["a"], stamp(0))), (0, 0));
    assert_eq!(script.produce(peer, "orders", 1, stamped(&["a"], stamp(0))), (0, 0));
    assert_eq!(script.produce(peer, "orders", 0, stamped(&["b"], stamp(1))), (0, 1));
}

#[test]
fn state_of_a_producer_survives_a_new_leader() {
    let mut script = Script::new(2);
    script.topic("orders", 1);
    let stamp = ProducerStamp { producer_id: 5, producer_epoch: 0, base_sequence: 0, transactional: false };
    let peer = script.connect(1);
    assert_eq!(script.produce(peer, "orders", 0, stamped(&["a"], stamp)), (0, 0));
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(2)).unwrap();
    let peer = script.connect(2);
    assert_eq!(script.produce(peer, "orders", 0, stamped(&["a"], stamp)), (0, 0));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let ids = |seed| {
        let mut script = Script::with(ClusterConfig { seed, ..ClusterConfig::default() });
        (script.topic("a", 1), script.topic("b", 1))
    };
    assert_eq!(ids(7), ids(7));
    assert_ne!(ids(7), ids(8));
    assert_ne!(ids(7).0, ids(7).1);
    assert_eq!(ApiKey::Produce.code(), 0);
}
