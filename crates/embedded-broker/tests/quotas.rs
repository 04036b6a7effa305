//! Clients that do more than their quotas allow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use milena_embedded_broker::core::{ClusterConfig, Quota};
use milena_protocol::{
    frame::encode_request,
    messages::{
        FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
        fetch::{FetchPartition, FetchTopic},
    },
    wire::Uuid,
};
use script::{Peer, Script, batch, produce_request};

/// The client id of every script.
const CLIENT: &str = "script";

fn limited(quota: Quota) -> (Script, Peer) {
    let quota_window = Duration::from_secs(1);
    let mut script = Script::with(ClusterConfig { quota_window, ..ClusterConfig::default() });
    script.topic("orders", 1);
    script.cluster.set_quota(Some(CLIENT), quota);
    let peer = script.connect(1);
    (script, peer)
}

fn produce(acks: i16) -> ProduceRequest {
    ProduceRequest { acks, ..produce_request("orders", Uuid::ZERO, 0, batch(&["a"])) }
}

fn fetch(offset: i64) -> FetchRequest {
    let wanted = FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
    FetchRequest { min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

/// The bytes of a request's frame, without its length.
fn len(request: ProduceRequest) -> u64 {
    encode_request(&request.into(), 9, 1, Some(CLIENT.into())).unwrap().to_bytes().len() as u64 - 4
}

#[test]
fn a_producer_is_answered_at_once_and_then_not_listened_to() {
    let rate = len(produce(-1)) * 2;
    let (mut script, peer) = limited(Quota { produce_bytes_per_second: Some(rate), ..Quota::default() });
    for _ in 0..2 {
        assert_eq!(script.ask(peer, 9, produce(-1)).throttle_time_ms, 0, "a window is free");
    }
    let response: ProduceResponse = script.ask(peer, 9, produce(-1));
    assert_eq!(response.throttle_time_ms, 500, "it takes half a second for one");
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..3), "it was written all the same");
    let next = script.send(peer, 12, MetadataRequest::default());
    assert!(!script.cluster.is_muted(peer.connection), "no reply is due");
    script.advance_ms(499);
    assert_eq!(script.reply(next), None);
    script.advance_ms(1);
    let response: MetadataResponse = script.take(next);
    assert_eq!(response.throttle_time_ms, 0, "only what is produced is limited");
    assert_eq!(script.ask(peer, 9, produce(-1)).throttle_time_ms, 500);
    script.advance_ms(10_000);
    for _ in 0..2 {
        assert_eq!(script.ask(peer, 9, produce(-1)).throttle_time_ms, 0, "after a pause a window is free");
    }
}

#[test]
fn a_producer_without_answers_is_not_listened_to_either() {
    let (mut script, peer) =
        limited(Quota { produce_bytes_per_second: Some(len(produce(0))), ..Quota::default() });
    for _ in 0..4 {
        script.send(peer, 9, produce(0));
    }
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..2), "the second went over");
    script.advance_ms(1_000);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..3));
    script.advance_ms(1_000);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..4));
    script.advance_ms(1_000);
    assert_eq!(script.cluster.poll_timeout(), None);
}

#[test]
fn a_fetch_that_goes_over_brings_nothing_and_does_not_count() {
    let one = batch(&["a"]).len() as u64;
    let (mut script, peer) = limited(Quota { fetch_bytes_per_second: Some(one), ..Quota::default() });
    for _ in 0..2 {
        script.ask(peer, 9, produce(-1));
    }
    let mut first = FetchRequest { session_epoch: 0, ..fetch(0) };
    first.topics[0].partitions[0].partition_max_bytes = 1;
    let started = script.ask(peer, 12, first);
    assert_eq!((started.throttle_time_ms, started.responses.len()), (0, 1));
    let next = FetchRequest { session_id: started.session_id, session_epoch: 1, ..fetch(1) };
    let response = script.ask(peer, 12, next);
    assert_eq!((response.throttle_time_ms, response.responses.len()), (1_000, 0));
    assert_eq!(response.session_id, started.session_id);
    let again = FetchRequest { session_id: started.session_id, session_epoch: 2, ..FetchRequest::default() };
    let sent = script.send(peer, 12, FetchRequest { max_bytes: 1 << 20, min_bytes: 1, ..again });
    assert_eq!(script.reply(sent), None);
    script.advance_ms(1_000);
    let response: FetchResponse = script.take(sent);
    assert_eq!((response.throttle_time_ms, response.responses.len()), (0, 1));
}

#[test]
fn what_is_larger_than_a_window_comes_when_nothing_else_did() {
    let (mut script, peer) = limited(Quota { fetch_bytes_per_second: Some(1), ..Quota::default() });
    script.ask(peer, 9, produce(-1));
    assert_eq!(script.ask(peer, 12, fetch(0)).responses.len(), 1);
    let response = script.ask(peer, 12, fetch(0));
    let seconds = batch(&["a"]).len() as i32;
    assert_eq!((response.throttle_time_ms, response.responses.len()), (seconds * 1_000, 0));
    let sent = script.send(peer, 12, fetch(0));
    script.advance(Duration::from_secs(seconds as u64));
    assert_eq!(script.take::<FetchResponse>(sent).responses.len(), 1);
}

#[test]
fn requests_are_counted_and_clients_apart() {
    let (mut script, peer) = limited(Quota { requests_per_second: Some(10), ..Quota::default() });
    let other = script.connect(1);
    script.cluster.set_quota(None, Quota { requests_per_second: Some(1), ..Quota::default() });
    let ask = |script: &mut Script, peer: Peer| {
        let response: MetadataResponse = script.ask(peer, 12, MetadataRequest::default());
        response.throttle_time_ms
    };
    for _ in 0..5 {
        assert_eq!((ask(&mut script, peer), ask(&mut script, other)), (0, 0));
    }
    assert_eq!(ask(&mut script, peer), 100, "two connections of one client");
    let frame = encode_request(&MetadataRequest::default().into(), 12, 1, Some("stranger".into())).unwrap();
    let stranger = script.connect(1);
    for expected in [0, 1_000] {
        script.send_bytes(stranger, frame.to_bytes().slice(4..));
        let reply = script.raw(stranger).unwrap();
        assert_eq!(reply[5..9], i32::to_be_bytes(expected), "behind the correlation id and no tags");
    }
    script.cluster.set_quota(Some(CLIENT), Quota::default());
    script.advance_ms(100);
    for _ in 0..50 {
        assert_eq!(ask(&mut script, peer), 0);
    }
}

#[test]
fn a_connection_that_ends_while_it_is_throttled_leaves_nothing_behind() {
    let (mut script, peer) = limited(Quota { requests_per_second: Some(1), ..Quota::default() });
    for _ in 0..3 {
        script.send(peer, 12, MetadataRequest::default());
    }
    script.cluster.handle_disconnect(script.now, peer.connection);
    assert_eq!(script.cluster.poll_timeout(), None);
}
