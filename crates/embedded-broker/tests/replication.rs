//! What followers lack: who waits for it, who does not see it, and who loses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use milena_embedded_broker::core::{BrokerId, ClusterConfig};
use milena_protocol::{
    ErrorCode,
    messages::{
        FetchRequest, FetchResponse, ProduceRequest, ProduceResponse,
        fetch::{FetchPartition, FetchTopic},
    },
    records::ProducerStamp,
    wire::Uuid,
};
use script::{Peer, Script, Sent, batch, produce_request, stamped};

/// Followers fetch every 10 ms.
fn lagging(brokers: u16, settings: &[(&str, &str)]) -> (Script, Peer) {
    let replication_interval = Duration::from_millis(10);
    let mut script =
        Script::with(ClusterConfig { brokers, replication_interval, ..ClusterConfig::default() });
    script.cluster.create_topic_with("orders", 1, settings).unwrap();
    let peer = script.connect(1);
    script.cluster.handle_connect(peer.broker, peer.connection);
    (script, peer)
}

fn send(script: &mut Script, peer: Peer, acks: i16, values: &[&str]) -> Sent {
    let request = produce_request("orders", Uuid::ZERO, 0, batch(values));
    script.send(peer, 9, ProduceRequest { acks, timeout_ms: 1_000, ..request })
}

fn outcome(script: &mut Script, sent: Sent) -> (ErrorCode, i64) {
    let response: ProduceResponse = script.take(sent);
    let partition = &response.responses[0].partition_responses[0];
    (ErrorCode(partition.error_code), partition.base_offset)
}

#[test]
fn acks_all_waits_for_the_followers_and_readers_see_no_further() {
    let (mut script, producer) = lagging(3, &[]);
    let consumer = script.connect(1);
    let topic = FetchTopic {
        topic: "orders".into(),
        partitions: vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }],
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    let fetched = script.send(consumer, 12, request);
    let sent = send(&mut script, producer, -1, &["a"]);
    assert_eq!(script.cluster.poll_timeout().unwrap().why, "followers fetch from their leaders");
    script.advance_ms(9);
    assert_eq!((script.reply(sent), script.reply(fetched)), (None, None));
    assert_eq!(script.cluster.high_watermark("orders", 0), Some(0));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
    script.advance_ms(1);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 0));
    let response: FetchResponse = script.take(fetched);
    let data = response.responses.get(0).unwrap().partitions.get(0).unwrap();
    assert_eq!((data.high_watermark, data.records.unwrap().is_empty()), (1, false));
    assert_eq!(script.cluster.poll_timeout(), None);
}

#[test]
fn a_crash_of_the_leader_loses_what_was_acknowledged_too_early() {
    let (mut script, peer) = lagging(3, &[]);
    let sent = send(&mut script, peer, -1, &["a"]);
    script.advance_ms(10);
    outcome(&mut script, sent);
    let sent = send(&mut script, peer, 1, &["b", "c"]);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 1), "acknowledged by the leader alone");
    let waiting = send(&mut script, peer, -1, &["d"]);
    script.cluster.kill_broker(script.now, BrokerId(1));
    assert!(script.is_closed(waiting.peer));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
    assert_eq!(script.cluster.leader("orders", 0), Some((BrokerId(2), 1)));
    let peer = script.connect(2);
    let sent = send(&mut script, peer, 1, &["e"]);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 1));
}

#[test]
fn an_idempotent_producer_that_lost_batches_may_write_them_again() {
    let (mut script, peer) = lagging(2, &[]);
    let stamp = ProducerStamp { producer_id: 7, producer_epoch: 0, base_sequence: 0, transactional: false };
    let produce = |script: &mut Script, peer: Peer| {
        let request = produce_request("orders", Uuid::ZERO, 0, stamped(&["a"], stamp));
        let sent = script.send(peer, 9, ProduceRequest { acks: 1, ..request });
        outcome(script, sent)
    };
    assert_eq!(produce(&mut script, peer), (ErrorCode::NONE, 0));
    script.cluster.kill_broker(script.now, BrokerId(1));
    let peer = script.connect(2);
    assert_eq!(produce(&mut script, peer), (ErrorCode::NONE, 0));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
}

#[test]
fn a_broker_that_stops_in_good_order_loses_nothing() {
    let (mut script, peer) = lagging(3, &[]);
    let sent = send(&mut script, peer, 1, &["a"]);
    outcome(&mut script, sent);
    script.cluster.stop_broker(script.now, BrokerId(1));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
    let (mut script, peer) = lagging(3, &[]);
    let sent = send(&mut script, peer, -1, &["a"]);
    script.cluster.move_leader(script.now, "orders", 0, BrokerId(2)).unwrap();
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 0), "the new leader has it");
}

#[test]
fn a_leader_without_followers_waits_for_nobody_and_keeps_its_log() {
    let (mut script, peer) = lagging(1, &[]);
    let sent = send(&mut script, peer, -1, &["a"]);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 0));
    script.cluster.kill_broker(script.now, BrokerId(1));
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
}

#[test]
fn a_truncation_and_a_timeout_end_the_wait() {
    let (mut script, peer) = lagging(3, &[]);
    let sent = send(&mut script, peer, -1, &["a"]);
    script.cluster.truncate(script.now, "orders", 0, 0).unwrap();
    assert_eq!(outcome(&mut script, sent).0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let mut request = produce_request("orders", Uuid::ZERO, 0, batch(&["a"]));
    request.timeout_ms = 4;
    let sent = script.send(peer, 9, request);
    script.advance_ms(4);
    assert_eq!(outcome(&mut script, sent).0, ErrorCode::REQUEST_TIMED_OUT);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1), "it is written all the same");
    let waiting = send(&mut script, peer, -1, &["b"]);
    script.cluster.handle_disconnect(script.now, peer.connection);
    script.advance_ms(20);
    assert_eq!(script.reply(waiting), None);
}

#[test]
fn too_few_replicas_in_sync_are_told_before_and_after_the_append() {
    let (mut script, peer) = lagging(3, &[("min.insync.replicas", "3")]);
    let sent = send(&mut script, peer, -1, &["a"]);
    script.cluster.stop_broker(script.now, BrokerId(3));
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 0), "the stop let it have what it lacked");
    let sent = send(&mut script, peer, -1, &["b"]);
    assert_eq!(outcome(&mut script, sent).0, ErrorCode::NOT_ENOUGH_REPLICAS);
    let sent = send(&mut script, peer, 1, &["c"]);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::NONE, 1));
    script.advance_ms(10);
    assert_eq!(script.cluster.high_watermark("orders", 0), Some(1), "it stands still meanwhile");
    script.cluster.start_broker(BrokerId(3));
    assert_eq!(script.cluster.high_watermark("orders", 0), Some(2));
    let sent = send(&mut script, peer, -1, &["d"]);
    script.cluster.kill_broker(script.now, BrokerId(3));
    script.advance_ms(999);
    assert_eq!(script.reply(sent), None);
    script.advance_ms(1);
    assert_eq!(outcome(&mut script, sent), (ErrorCode::REQUEST_TIMED_OUT, 2));
}

#[test]
fn a_topic_with_fewer_replicas_than_it_asks_for_needs_only_those_it_has() {
    let mut script = Script::new(1);
    script.cluster.create_topic_with("orders", 1, &[("min.insync.replicas", "2")]).unwrap();
    let peer = script.connect(1);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a"])), (0, 0));
}
