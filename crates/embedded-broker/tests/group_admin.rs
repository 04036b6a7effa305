//! What an operator asks of groups: ListGroups, DescribeGroups, ConsumerGroupDescribe, DeleteGroups, OffsetDelete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use bytes::Bytes;
use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerProtocolSubscription,
        DeleteGroupsRequest, DescribeGroupsRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, SyncGroupRequest,
        consumer_group_describe, describe_groups,
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        sync_group::SyncGroupRequestAssignment,
    },
    wire::{Encode, Writer},
};
use script::{Peer, Script};

/// Two brokers, two topics, a peer of the coordinator of both groups.
fn cluster() -> (Script, Peer) {
    let mut script = Script::with(ClusterConfig { brokers: 2, ..ClusterConfig::default() });
    script.topic("orders", 2);
    script.topic("others", 1);
    let peer = script.coordinator("classic");
    (script, peer)
}

/// What a consumer says of the topics that it wants.
fn subscription(topic: &str) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: vec![topic.into()],
        ..ConsumerProtocolSubscription::default()
    };
    let mut writer = Writer::new();
    subscription.encode(&mut writer, 1).unwrap();
    let body = writer.finish().to_bytes();
    [&1i16.to_be_bytes()[..], &body].concat().into()
}

fn join(script: &mut Script, peer: Peer, protocol_type: &str, metadata: Bytes) -> JoinGroupResponse {
    let protocol =
        JoinGroupRequestProtocol { name: "range".into(), metadata, ..JoinGroupRequestProtocol::default() };
    let request = JoinGroupRequest {
        group_id: "classic".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: protocol_type.into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let sent = script.send(peer, 3, request);
    script.advance_ms(100);
    script.take(sent)
}

fn assign(script: &mut Script, peer: Peer, joined: &JoinGroupResponse) {
    let assignment = SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from("yours"),
        ..Default::default()
    };
    let request = SyncGroupRequest {
        group_id: "classic".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![assignment],
        ..Default::default()
    };
    assert_eq!(script.ask(peer, 3, request).error_code, 0);
}

fn leave(script: &mut Script, peer: Peer, joined: &JoinGroupResponse) {
    let member = MemberIdentity { member_id: joined.member_id.clone(), ..Default::default() };
    let request =
        LeaveGroupRequest { group_id: "classic".into(), members: vec![member], ..Default::default() };
    assert_eq!(script.ask(peer, 4, request).error_code, 0);
}

fn beat(script: &mut Script, group: &str, epoch: i32) -> i32 {
    let peer = script.coordinator(group);
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "m".into(),
        member_epoch: epoch,
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: (epoch == 0).then(|| vec!["orders".into()]),
        subscribed_topic_regex: (epoch == 0).then(|| "ord.*".into()),
        topic_partitions: (epoch == 0).then(Vec::new),
        ..Default::default()
    };
    let response = script.ask(peer, 1, request);
    assert_eq!(response.error_code, 0);
    response.member_epoch
}

fn commit(script: &mut Script, group: &str, topic: &str) {
    let peer = script.coordinator(group);
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() }];
    let topic = OffsetCommitRequestTopic { name: topic.into(), partitions, ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(script.ask(peer, 9, request).topics[0].partitions[0].error_code, 0);
}

/// Every group of all brokers: its id, type, state and kind.
fn list(script: &mut Script, states: &[&str], types: &[&str]) -> Vec<(String, String, String, String)> {
    let mut all = Vec::new();
    for broker in [1, 2] {
        let peer = script.connect(broker);
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|state| (*state).into()).collect(),
            types_filter: types.iter().map(|kind| (*kind).into()).collect(),
            ..Default::default()
        };
        let response = script.ask(peer, 5, request);
        assert_eq!(response.error_code, 0);
        all.extend(response.groups.into_iter().map(|it| {
            (
                it.group_id.to_string(),
                it.protocol_type.to_string(),
                it.group_state.to_string(),
                it.group_type.to_string(),
            )
        }));
    }
    all.sort();
    all
}

fn describe(script: &mut Script, version: i16, group: &str) -> describe_groups::DescribedGroup {
    let peer = script.coordinator(group);
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    script.ask(peer, version, request).groups.remove(0)
}

fn describe_modern(script: &mut Script, group: &str) -> consumer_group_describe::DescribedGroup {
    let peer = script.coordinator(group);
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.into()], ..Default::default() };
    script.ask(peer, 1, request).groups.remove(0)
}

fn delete(script: &mut Script, group: &str) -> ErrorCode {
    let peer = script.coordinator(group);
    let request = DeleteGroupsRequest { groups_names: vec![group.into()], ..Default::default() };
    ErrorCode(script.ask(peer, 2, request).results[0].error_code)
}

fn delete_offset(script: &mut Script, group: &str, topic: &str) -> Result<ErrorCode, ErrorCode> {
    let peer = script.coordinator(group);
    let partitions = vec![OffsetDeleteRequestPartition::default()];
    let topics = vec![OffsetDeleteRequestTopic { name: topic.into(), partitions }];
    let request = OffsetDeleteRequest { group_id: group.into(), topics };
    let response = script.ask(peer, 0, request);
    match response.error_code {
        0 => Ok(ErrorCode(response.topics[0].partitions[0].error_code)),
        code => Err(ErrorCode(code)),
    }
}

#[test]
fn groups_of_every_kind_are_listed_by_their_coordinators() {
    let (mut script, peer) = cluster();
    commit(&mut script, "simple", "orders");
    join(&mut script, peer, "consumer", subscription("orders"));
    beat(&mut script, "modern", 0);
    let row = |id: &str, protocol: &str, state: &str, kind: &str| {
        (id.to_owned(), protocol.to_owned(), state.to_owned(), kind.to_owned())
    };
    let classic = row("classic", "consumer", "CompletingRebalance", "classic");
    let modern = row("modern", "consumer", "Stable", "consumer");
    let simple = row("simple", "", "Empty", "classic");
    assert_eq!(list(&mut script, &[], &[]), [classic, modern.clone(), simple.clone()]);
    assert_eq!(list(&mut script, &["stable", "Dead"], &[]), std::slice::from_ref(&modern));
    assert_eq!(list(&mut script, &[], &["Consumer"]), [modern]);
    assert_eq!(list(&mut script, &["EMPTY"], &["classic"]), [simple]);
}

#[test]
fn a_classic_group_shows_its_members_and_when_it_is_stable_what_they_have() {
    let (mut script, peer) = cluster();
    let joined = join(&mut script, peer, "consumer", subscription("orders"));
    let group = describe(&mut script, 5, "classic");
    assert_eq!((&*group.group_state, &*group.protocol_data), ("CompletingRebalance", ""));
    assert!(group.members[0].member_metadata.is_empty());
    assign(&mut script, peer, &joined);
    let group = describe(&mut script, 5, "classic");
    assert_eq!(
        (&*group.group_state, &*group.protocol_type, &*group.protocol_data),
        ("Stable", "consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!((&member.member_id, &*member.client_id), (&joined.member_id, "script"));
    assert_eq!(member.member_metadata, subscription("orders"));
    assert_eq!(member.member_assignment, "yours");
}

#[test]
fn a_group_that_is_not_there_is_dead_and_later_not_found() {
    let (mut script, _) = cluster();
    beat(&mut script, "modern", 0);
    for (group, words) in
        [("nobody", "Group nobody not found."), ("modern", "Group modern is not a classic group.")]
    {
        let described = describe(&mut script, 5, group);
        assert_eq!((described.error_code, &*described.group_state), (0, "Dead"));
        let described = describe(&mut script, 6, group);
        assert_eq!(ErrorCode(described.error_code), ErrorCode::GROUP_ID_NOT_FOUND);
        assert_eq!((described.error_message.as_deref(), &*described.group_state), (Some(words), "Dead"));
    }
    commit(&mut script, "simple", "orders");
    for group in ["nobody", "simple"] {
        let described = describe_modern(&mut script, group);
        assert_eq!(ErrorCode(described.error_code), ErrorCode::GROUP_ID_NOT_FOUND, "{group}");
    }
    let right = script.coordinator("nobody").broker.0;
    let wrong = script.connect(3 - right);
    let request = DescribeGroupsRequest { groups: vec!["nobody".into()], ..Default::default() };
    let described = script.ask(wrong, 6, request).groups.remove(0);
    assert_eq!(ErrorCode(described.error_code), ErrorCode::NOT_COORDINATOR);
}

#[test]
fn a_modern_group_shows_what_its_members_have_and_are_to_have() {
    let (mut script, _) = cluster();
    let epoch = beat(&mut script, "modern", 0);
    let group = describe_modern(&mut script, "modern");
    assert_eq!((&*group.group_state, group.group_epoch, group.assignment_epoch), ("Stable", epoch, epoch));
    assert_eq!(&*group.assignor_name, "uniform");
    let member = &group.members[0];
    assert_eq!((member.member_epoch, member.member_type, &*member.client_id), (epoch, 1, "script"));
    assert_eq!(member.subscribed_topic_names, ["orders"]);
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some("ord.*"), "as the member wrote it");
    let topic = &member.assignment.topic_partitions[0];
    assert_eq!((&*topic.topic_name, topic.partitions.iter().collect::<Vec<_>>()), ("orders", vec![0, 1]));
    assert_eq!(member.assignment, member.target_assignment);
    beat(&mut script, "modern", -1);
    assert_eq!(&*describe_modern(&mut script, "modern").group_state, "Empty");
}

#[test]
fn only_groups_without_members_are_deleted_with_what_they_committed() {
    let (mut script, peer) = cluster();
    commit(&mut script, "classic", "orders");
    let joined = join(&mut script, peer, "consumer", subscription("orders"));
    beat(&mut script, "modern", 0);
    assert_eq!(delete(&mut script, "classic"), ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(delete(&mut script, "modern"), ErrorCode::NON_EMPTY_GROUP);
    leave(&mut script, peer, &joined);
    assert_eq!(delete(&mut script, "classic"), ErrorCode::NONE);
    assert_eq!(script.cluster.committed("classic", "orders", 0), None);
    assert_eq!(delete(&mut script, "classic"), ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn offsets_are_deleted_unless_a_member_reads_the_topic() {
    let (mut script, peer) = cluster();
    assert_eq!(delete_offset(&mut script, "classic", "orders"), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    for group in ["classic", "modern"] {
        commit(&mut script, group, "orders");
        commit(&mut script, group, "others");
    }
    let joined = join(&mut script, peer, "consumer", subscription("orders"));
    beat(&mut script, "modern", 0);
    for group in ["classic", "modern"] {
        assert_eq!(delete_offset(&mut script, group, "orders"), Ok(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC));
        assert_eq!(delete_offset(&mut script, group, "others"), Ok(ErrorCode::NONE));
        assert_eq!(delete_offset(&mut script, group, "others"), Ok(ErrorCode::NONE), "it need not be there");
        assert_eq!(delete_offset(&mut script, group, "nowhere"), Ok(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        assert!(script.cluster.committed(group, "orders", 0).is_some());
        assert_eq!(script.cluster.committed(group, "others", 0), None);
    }
    leave(&mut script, peer, &joined);
    assert_eq!(delete_offset(&mut script, "classic", "orders"), Ok(ErrorCode::NONE));
    join(&mut script, peer, "connect", Bytes::from("whatever"));
    assert_eq!(delete_offset(&mut script, "classic", "orders"), Err(ErrorCode::NON_EMPTY_GROUP));
}
