//! Coordinators and leaders that come and go in the middle of a transaction.

use std::time::Duration;

use milena_embedded_broker::core::{BrokerId, ClusterConfig};
use milena_protocol::{
    ErrorCode,
    messages::{DeleteTopicsRequest, ListTransactionsRequest, delete_topics::DeleteTopicState},
};

use crate::{
    client::{Client, MARKED},
    script::Peer,
};

fn three(load_time: Duration) -> Client {
    Client::with(ClusterConfig { brokers: 3, coordinator_load_time: load_time, ..ClusterConfig::default() })
}

/// Moves the coordinator of `t` to another broker: where it was, and where it is.
fn move_away(client: &mut Client) -> (Peer, Peer) {
    let from = client.coordinator("t");
    let to = BrokerId(from.broker.0 % 3 + 1);
    let now = client.script.now;
    client.script.cluster.move_transaction_coordinator(now, "t", to);
    assert_eq!(client.script.cluster.transaction_coordinator("t"), Some(to));
    let to = client.script.connect(to.0);
    (from, to)
}

#[test]
fn a_coordinator_that_has_moved_is_elsewhere_and_reads_first() {
    let mut client = three(Duration::from_secs(1));
    let producer = client.init("t").unwrap();
    client.add("t", producer, &[0]).unwrap();
    let (from, to) = move_away(&mut client);
    let away = Err(ErrorCode::NOT_COORDINATOR);
    let loading = Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(client.end_at(from, 5, "t", producer, true), away);
    assert_eq!(client.init_at(from, "t", 1_000, (-1, -1)), away);
    assert_eq!(client.end_at(to, 5, "t", producer, true), loading);
    assert_eq!(client.add("t", producer, &[1]), loading.map(|_| ()));
    assert_eq!(ErrorCode(client.describe("t").error_code), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let listed = client.script.ask(to, 2, ListTransactionsRequest::default());
    assert_eq!(ErrorCode(listed.error_code), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let written = client.write(12, "t", producer, 1, 0);
    assert_eq!(written, Err(ErrorCode::NOT_ENOUGH_REPLICAS), "Produce says it so that everybody tries again");
    client.script.advance_ms(1_000);
    assert_eq!(client.write(12, "t", producer, 1, 0), Ok(0));
    assert_eq!(client.end_at(to, 5, "t", producer, true), Ok((producer.0, 1)));
}

#[test]
fn what_was_being_ended_is_ended_by_the_new_coordinator() {
    let mut client = three(Duration::from_secs(1));
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.end(5, "t", producer, true).unwrap();
    move_away(&mut client);
    client.script.advance_ms(999);
    assert_eq!(client.state("t"), "PrepareCommit");
    client.script.advance_ms(1);
    assert_eq!(client.state("t"), "CompleteCommit");
    let stored = client.script.cluster.batches("orders", 0).pop().unwrap();
    // The value of the marker ends with the coordinator's epoch, before the count of headers.
    assert_eq!(stored[stored.len() - 5..stored.len() - 1], 1i32.to_be_bytes(), "its epoch");
}

#[test]
fn a_stopped_broker_takes_no_transaction_along() {
    let mut client = three(Duration::ZERO);
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    let coordinator = client.coordinator("t").broker;
    let now = client.script.now;
    client.script.cluster.stop_broker(now, coordinator);
    client.peer = client.script.connect(coordinator.0 % 3 + 1);
    assert_ne!(client.script.cluster.transaction_coordinator("t"), Some(coordinator));
    let next = client.finish("t", producer, true);
    assert_eq!((client.state("t"), next), ("CompleteCommit", (producer.0, 1)));
}

#[test]
fn a_marker_waits_for_its_leader() {
    let mut client = three(Duration::ZERO);
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.write(12, "t", producer, 1, 0).unwrap();
    let now = client.script.now;
    let coordinator = client.coordinator("t").broker;
    client.end(5, "t", producer, true).unwrap();
    for broker in (1..=3).map(BrokerId).filter(|broker| *broker != coordinator) {
        client.script.cluster.stop_broker(now, broker);
    }
    client.script.cluster.stop_broker(now, coordinator);
    client.script.advance_ms(60_000);
    assert_eq!(client.state("t"), "PrepareCommit", "nobody is there");
    client.script.cluster.start_broker(coordinator);
    client.script.advance_ms(100);
    assert_eq!(client.state("t"), "CompleteCommit");
}

#[test]
fn too_few_replicas_hold_a_marker_back() {
    let mut client = three(Duration::ZERO);
    client.script.cluster.create_topic_with("strict", 1, &[("min.insync.replicas", "3")]).unwrap();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.add("t", producer, &[0]).unwrap();
    let topic = milena_protocol::messages::add_partitions_to_txn::AddPartitionsToTxnTopic {
        name: "strict".into(),
        partitions: [0].into_iter().collect(),
        ..Default::default()
    };
    let request = milena_protocol::messages::AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "t".into(),
        v3_and_below_producer_id: producer.0,
        v3_and_below_producer_epoch: producer.1,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let peer = client.coordinator("t");
    client.script.ask(peer, 3, request);
    let down = BrokerId(peer.broker.0 % 3 + 1);
    let now = client.script.now;
    client.end(5, "t", producer, true).unwrap();
    client.script.cluster.stop_broker(now, down);
    client.script.advance_ms(1_000);
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(2), "the others have theirs");
    assert_eq!(client.state("t"), "PrepareCommit");
    client.script.cluster.start_broker(down);
    client.script.advance_ms(MARKED + 20);
    assert_eq!(client.state("t"), "CompleteCommit");
}

#[test]
fn a_topic_that_is_deleted_needs_no_marker() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.commit_offset(5, "t", producer, "g", 3).unwrap();
    client.end(5, "t", producer, true).unwrap();
    let topics = vec![DeleteTopicState { name: Some("orders".into()), ..Default::default() }];
    let peer = client.peer;
    client.script.ask(peer, 6, DeleteTopicsRequest { topics, ..Default::default() });
    client.script.advance_ms(MARKED);
    assert_eq!(client.state("t"), "CompleteCommit");
    assert_eq!(client.script.cluster.committed("g", "orders", 0), None, "its offsets went along");
}

#[test]
fn the_same_calls_give_the_same_replies() {
    let run = || {
        let mut client = three(Duration::from_millis(50));
        let mut log = Vec::new();
        for round in 0..6 {
            let init = client.init("t");
            log.push(format!("{init:?}"));
            if let Ok(producer) = init {
                log.push(format!("{:?}", client.write(12, "t", producer, round % 2, 0)));
                log.push(format!("{:?}", client.end(5, "t", producer, round % 3 == 0)));
            }
            move_away(&mut client);
            client.script.advance_ms(60);
        }
        log.push(format!("{:?} {:?}", client.read(1), client.script.cluster.batches("orders", 1)));
        log
    };
    assert_eq!(run(), run());
}
