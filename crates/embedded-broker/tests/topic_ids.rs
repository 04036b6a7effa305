//! A topic that is deleted and made again is another topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, MetadataRequest,
        OffsetCommitRequest, OffsetFetchRequest,
        delete_topics::DeleteTopicState,
        fetch::{FetchPartition, FetchTopic, ForgottenTopic},
        metadata::MetadataRequestTopic,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    wire::Uuid,
};
use script::{Peer, Script, batch, produce_request};

/// A topic with a record, then deleted and made again with another. Tells the old id and the new one.
fn made_again(script: &mut Script, peer: Peer) -> (Uuid, Uuid) {
    let old = script.topic("orders", 1);
    script.produce(peer, "orders", 0, batch(&["old"]));
    (old, make_again(script, peer))
}

fn make_again(script: &mut Script, peer: Peer) -> Uuid {
    let topic = DeleteTopicState { name: Some("orders".into()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(script.ask(peer, 6, request).responses[0].error_code, 0);
    script.topic("orders", 1)
}

fn fetch_topic(id: Uuid) -> FetchTopic {
    let wanted = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    FetchTopic { topic_id: id, partitions: vec![wanted], ..Default::default() }
}

fn codes(response: &FetchResponse) -> Vec<(Uuid, ErrorCode, i64)> {
    let topics = response.responses.iter();
    let all = topics.flat_map(|topic| {
        let id = topic.topic_id;
        let partitions = topic.partitions.iter();
        partitions.map(move |data| (id, ErrorCode(data.error_code), data.high_watermark)).collect::<Vec<_>>()
    });
    all.collect()
}

#[test]
fn nobody_reads_or_writes_the_new_topic_under_the_old_id() {
    let mut script = Script::new(1);
    let peer = script.connect(1);
    let (old, new) = made_again(&mut script, peer);
    assert_ne!(old, new);
    let produced = script.ask(peer, 13, produce_request("", old, 0, batch(&["a"])));
    let code = produced.responses[0].partition_responses[0].error_code;
    assert_eq!(ErrorCode(code), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..0));
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![fetch_topic(old)],
        ..Default::default()
    };
    let response = script.ask(peer, 17, request);
    assert_eq!(codes(&response), [(old, ErrorCode::UNKNOWN_TOPIC_ID, -1)]);
    let by_id = |id| MetadataRequestTopic { name: None, topic_id: id, ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![by_id(old), by_id(new)]), ..Default::default() };
    let metadata = script.ask(peer, 12, request);
    let codes: Vec<_> = metadata.topics.iter().map(|topic| ErrorCode(topic.error_code)).collect();
    assert_eq!(codes, [ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::NONE]);
}

#[test]
fn a_session_keeps_saying_that_the_old_id_is_unknown_until_it_is_forgotten() {
    let mut script = Script::new(1);
    let (peer, admin) = (script.connect(1), script.connect(1));
    let old = script.topic("orders", 1);
    script.produce(peer, "orders", 0, batch(&["old"]));
    let request = |session_id, session_epoch, topics| FetchRequest {
        session_id,
        session_epoch,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics,
        ..Default::default()
    };
    let started = script.ask(peer, 17, request(0, 0, vec![fetch_topic(old)]));
    assert_eq!(codes(&started), [(old, ErrorCode::NONE, 1)]);
    let id = started.session_id;
    let mut topic = fetch_topic(old);
    topic.partitions[0].fetch_offset = 1;
    let waiting = script.send(peer, 17, request(id, 1, vec![topic]));
    assert_eq!(script.reply(waiting), None);
    let new = make_again(&mut script, admin);
    let response: FetchResponse = script.take(waiting);
    assert_eq!(codes(&response), [(old, ErrorCode::UNKNOWN_TOPIC_ID, -1)], "told as soon as it is gone");
    let response = script.ask(peer, 17, request(id, 2, Vec::new()));
    assert_eq!(codes(&response), [(old, ErrorCode::UNKNOWN_TOPIC_ID, -1)]);
    script.produce(admin, "orders", 0, batch(&["new"]));
    let forgotten =
        ForgottenTopic { topic_id: old, partitions: [0].into_iter().collect(), ..Default::default() };
    let exchange =
        FetchRequest { forgotten_topics_data: vec![forgotten], ..request(id, 3, vec![fetch_topic(new)]) };
    let response = script.ask(peer, 17, exchange);
    assert_eq!((response.session_id, codes(&response)), (id, vec![(new, ErrorCode::NONE, 1)]));
}

#[test]
fn a_session_by_name_goes_on_with_the_new_topic() {
    let mut script = Script::new(1);
    let (peer, admin) = (script.connect(1), script.connect(1));
    script.topic("orders", 1);
    let topic = |offset| FetchTopic {
        topic: "orders".into(),
        partitions: vec![FetchPartition {
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }],
        ..Default::default()
    };
    script.produce(admin, "orders", 0, batch(&["old", "old"]));
    let first = FetchRequest { topics: vec![topic(0)], max_bytes: 1 << 20, ..Default::default() };
    let id = script.ask(peer, 12, FetchRequest { session_epoch: 0, ..first.clone() }).session_id;
    make_again(&mut script, admin);
    script.produce(admin, "orders", 0, batch(&["new"]));
    let next = FetchRequest { session_id: id, session_epoch: 1, topics: vec![topic(2)], ..first.clone() };
    let response = script.ask(peer, 12, next);
    assert_eq!(codes(&response), [(Uuid::ZERO, ErrorCode::OFFSET_OUT_OF_RANGE, -1)]);
}

#[test]
fn committed_offsets_go_with_their_topic() {
    let mut script = Script::new(1);
    let peer = script.coordinator("group");
    let old = script.topic("orders", 1);
    let commit = |id| OffsetCommitRequest {
        group_id: "group".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            topic_id: id,
            partitions: vec![OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    script.ask(peer, 10, commit(old));
    assert_eq!(script.cluster.committed("group", "orders", 0).unwrap().offset, 7);
    let new = make_again(&mut script, peer);
    assert_eq!(script.cluster.committed("group", "orders", 0), None);
    let response = script.ask(peer, 10, commit(old));
    let code = response.topics[0].partitions[0].error_code;
    assert_eq!(ErrorCode(code), ErrorCode::UNKNOWN_TOPIC_ID);
    let mut fetched = |id| {
        let topic = OffsetFetchRequestTopics {
            topic_id: id,
            partition_indexes: [0].into_iter().collect(),
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            group_id: "group".into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let response = script.ask(peer, 10, OffsetFetchRequest { groups: vec![group], ..Default::default() });
        let partition = &response.groups[0].topics[0].partitions[0];
        (ErrorCode(partition.error_code), partition.committed_offset)
    };
    assert_eq!(fetched(old), (ErrorCode::UNKNOWN_TOPIC_ID, -1));
    assert_eq!(fetched(new), (ErrorCode::NONE, -1));
}

#[test]
fn a_member_is_assigned_the_new_topic_once_it_let_go_of_the_old_one() {
    let mut script = Script::new(1);
    let peer = script.coordinator("group");
    let old = script.topic("orders", 1);
    let join = ConsumerGroupHeartbeatRequest {
        group_id: "group".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["orders".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let told = |script: &mut Script, request: ConsumerGroupHeartbeatRequest| {
        let response = script.ask(peer, 1, request);
        let assignment = response.assignment.map(|assignment| assignment.topic_partitions);
        let ids = assignment.map(|topics| topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>());
        (response.member_epoch, ids)
    };
    let (epoch, assigned) = told(&mut script, join.clone());
    assert_eq!(assigned, Some(vec![old]));
    let new = make_again(&mut script, peer);
    let beat = |member_epoch, topic_partitions| ConsumerGroupHeartbeatRequest {
        group_id: "group".into(),
        member_id: "m".into(),
        member_epoch,
        topic_partitions,
        ..Default::default()
    };
    let (same, assigned) = told(&mut script, beat(epoch, None));
    assert_eq!((same, assigned), (epoch, Some(Vec::new())), "first it lets go");
    let (next, assigned) = told(&mut script, beat(epoch, Some(Vec::new())));
    assert_eq!((next > epoch, assigned), (true, Some(vec![new])));
}
