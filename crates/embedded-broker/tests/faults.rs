//! Faults on demand: what befalls a request, a broker, a member, a transaction.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use milena_embedded_broker::core::{Action, BrokerId, ClusterConfig, Rule};
use milena_protocol::{
    ErrorCode,
    messages::{
        ApiKey, ConsumerGroupHeartbeatRequest, FetchRequest, InitProducerIdRequest, JoinGroupRequest,
        MetadataRequest, ProduceResponse,
        fetch::{FetchPartition, FetchTopic},
        join_group::JoinGroupRequestProtocol,
    },
    wire::Uuid,
};
use script::{Peer, Script, batch, produce_request};

/// A cluster whose next Produce meets the fault.
fn faulty(rule: Rule) -> (Script, Peer) {
    let mut script = Script::new(2);
    script.topic("orders", 2);
    script.cluster.faults().add(rule);
    let peer = script.connect(1);
    (script, peer)
}

#[test]
fn a_fault_can_answer_with_an_error_as_often_as_it_is_told() {
    let rule = Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_ENOUGH_REPLICAS)).after(1).times(2);
    let (mut script, peer) = faulty(rule);
    let codes: Vec<i16> = (0..4).map(|_| script.produce(peer, "orders", 0, batch(&["a"])).0).collect();
    assert_eq!(codes, [0, ErrorCode::NOT_ENOUGH_REPLICAS.0, ErrorCode::NOT_ENOUGH_REPLICAS.0, 0]);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..2), "a refused request does no work");
}

#[test]
fn a_fault_can_be_for_one_broker() {
    let rule = Rule::new(ApiKey::Produce, Action::CloseBefore).at(BrokerId(2));
    let (mut script, peer) = faulty(rule);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a"])).0, 0);
    let other = script.connect(2);
    script.send(other, 9, produce_request("orders", Uuid::ZERO, 1, batch(&["a"])));
    assert!(script.is_closed(other));
    assert_eq!(script.cluster.offsets("orders", 1), Some(0..0));
}

#[test]
fn work_can_be_done_without_an_answer() {
    for (action, closed) in [(Action::DropReply, false), (Action::CloseAfter, true)] {
        let (mut script, peer) = faulty(Rule::new(ApiKey::Produce, action));
        let sent = script.send(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
        assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
        assert_eq!(script.is_closed(peer), closed);
        if !closed {
            assert_eq!(script.reply(sent), None);
            script.send(peer, 12, MetadataRequest::default());
            assert_eq!(script.reply(sent), None, "what follows hangs too");
        }
    }
}

#[test]
fn a_request_can_be_ignored() {
    let (mut script, peer) = faulty(Rule::new(ApiKey::Produce, Action::Ignore));
    let sent = script.send(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    script.advance_ms(1_000_000);
    assert_eq!((script.reply(sent), script.cluster.offsets("orders", 0)), (None, Some(0..0)));
    let other = script.connect(1);
    assert_eq!(script.produce(other, "orders", 0, batch(&["a"])).0, 0, "only that connection hangs");
}

#[test]
fn an_answer_can_be_late() {
    let (mut script, peer) = faulty(Rule::new(ApiKey::Produce, Action::Delay(Duration::from_secs(2))));
    let sent = script.send(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    let behind = script.send(peer, 12, MetadataRequest::default());
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
    script.advance_ms(1_999);
    assert_eq!(script.reply(sent), None);
    script.advance_ms(1);
    assert_eq!(script.take::<ProduceResponse>(sent).responses[0].partition_responses[0].error_code, 0);
    assert!(script.reply(behind).is_some(), "what follows comes right behind");
}

#[test]
fn a_client_that_floods_a_parked_connection_is_cut_off() {
    let (mut script, peer) = faulty(Rule::new(ApiKey::Produce, Action::Ignore));
    script.send(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    for _ in 0..1_001 {
        script.send(peer, 12, MetadataRequest::default());
    }
    assert!(script.is_closed(peer));
}

#[test]
fn an_answer_can_break_off_anywhere() {
    for bytes in [0, 3, 20, usize::MAX] {
        let (mut script, peer) = faulty(Rule::new(ApiKey::Produce, Action::CutReply(bytes)).after(1));
        script.send(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
        let whole = script.raw(peer).unwrap();
        let sent = script.send_and_drain(peer, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["b"])));
        assert_eq!(script.cluster.offsets("orders", 0), Some(0..2), "the work is done");
        assert_eq!(sent, (bytes.min(whole.len() + 4 - 1), true));
    }
}

#[test]
fn chance_is_the_seeds() {
    let met = |seed: u64| {
        let mut script = Script::with(ClusterConfig { seed, ..ClusterConfig::default() });
        script.topic("orders", 1);
        let rule = Rule::any(Action::Answer(ErrorCode::REQUEST_TIMED_OUT)).one_in(4).times(u32::MAX);
        script.cluster.faults().add(rule);
        let peer = script.connect(1);
        (0..400).map(|_| script.produce(peer, "orders", 0, batch(&["a"])).0 != 0).collect::<Vec<_>>()
    };
    let hits = met(1).into_iter().filter(|hit| *hit).count();
    assert!((60..=140).contains(&hits), "{hits} of 400");
    assert_eq!(met(1), met(1));
    assert_ne!(met(1), met(2));
}

#[test]
fn a_rule_that_chance_spares_leaves_the_request_to_the_next() {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    script.cluster.faults().add(Rule::any(Action::Answer(ErrorCode::REQUEST_TIMED_OUT)).one_in(u32::MAX));
    script.cluster.faults().add(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::UNKNOWN_SERVER_ERROR)));
    let peer = script.connect(1);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a"])).0, ErrorCode::UNKNOWN_SERVER_ERROR.0);
}

#[test]
fn a_paused_broker_takes_requests_in_and_answers_when_it_goes_on() {
    let mut script = Script::new(2);
    script.topic("orders", 2);
    let (peer, idle, other) = (script.connect(1), script.connect(1), script.connect(2));
    let topics = vec![FetchTopic {
        topic: "orders".into(),
        partitions: vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }],
        ..Default::default()
    }];
    let poll =
        script.send(peer, 12, FetchRequest { max_wait_ms: 500, min_bytes: 1, topics, ..Default::default() });
    script.cluster.pause_broker(BrokerId(1));
    let behind = script.send(peer, 12, MetadataRequest::default());
    let sent = script.send(idle, 9, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    assert_eq!(script.produce(other, "orders", 1, batch(&["b"])).0, 0, "the other broker works");
    script.advance_ms(10_000);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..0), "nothing is carried out");
    for waiting in [poll, behind, sent] {
        assert_eq!(script.reply(waiting), None);
    }
    script.cluster.resume_broker(script.now, BrokerId(1));
    // The long poll was over before the broker stood still for long.
    for waiting in [poll, behind, sent] {
        assert!(script.reply(waiting).is_some());
    }
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..1));
}

#[test]
fn a_broker_that_is_stopped_while_it_is_paused_starts_awake() {
    let mut script = Script::new(2);
    script.topic("orders", 2);
    let peer = script.connect(1);
    script.cluster.pause_broker(BrokerId(1));
    script.send(peer, 12, MetadataRequest::default());
    script.cluster.stop_broker(script.now, BrokerId(1));
    assert!(script.is_closed(peer));
    script.cluster.start_broker(BrokerId(1));
    let again = script.connect(1);
    script.ask(again, 12, MetadataRequest::default());
}

#[test]
fn sessions_end_on_demand_in_both_protocols() {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    let peer = script.connect(1);
    let beat = |member_epoch| ConsumerGroupHeartbeatRequest {
        group_id: "new".into(),
        member_id: "m".into(),
        member_epoch,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["orders".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let joined = script.ask(peer, 1, beat(0));
    assert_eq!((joined.error_code, script.cluster.assignments("new").len()), (0, 1));
    script.cluster.expire_sessions(script.now, "new");
    let fenced = script.ask(peer, 1, beat(joined.member_epoch));
    assert_eq!(fenced.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);

    let protocols = vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }];
    let join = JoinGroupRequest {
        group_id: "old".into(),
        protocol_type: "consumer".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocols,
        ..Default::default()
    };
    let sent = script.send(peer, 3, join);
    script.advance_ms(200);
    let joined: milena_protocol::messages::JoinGroupResponse = script.take(sent);
    assert_eq!(joined.error_code, 0);
    script.cluster.expire_sessions(script.now, "old");
    let heartbeat = milena_protocol::messages::HeartbeatRequest {
        group_id: "old".into(),
        member_id: joined.member_id,
        generation_id: joined.generation_id,
        ..Default::default()
    };
    assert_eq!(script.ask(peer, 3, heartbeat).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    script.cluster.expire_sessions(script.now, "nobody's");
}

#[test]
fn a_transaction_is_aborted_on_demand() {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    let peer = script.connect(1);
    let init = InitProducerIdRequest {
        transactional_id: Some("payments".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let producer = script.ask(peer, 5, init);
    assert!(!script.cluster.expire_transaction(script.now, "payments"), "nothing is open");
    let stamp = milena_protocol::records::ProducerStamp {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        base_sequence: 0,
        transactional: true,
    };
    let mut produce = produce_request("orders", Uuid::ZERO, 0, script::stamped(&["a"], stamp));
    produce.transactional_id = Some("payments".into());
    let response = script.ask(peer, 12, produce.clone());
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert!(script.cluster.expire_transaction(script.now, "payments"));
    script.advance_ms(100);
    assert_eq!(script.cluster.transaction_state("payments"), Some("CompleteAbort"));
    assert_eq!(script.cluster.last_stable_offset("orders", 0), Some(2), "the marker is there");
    let late = script.ask(peer, 12, produce);
    assert_ne!(late.responses[0].partition_responses[0].error_code, 0, "its producer is fenced");
}
