//! Scripts about offsets that are committed in transactions.

use milena_protocol::{
    ErrorCode,
    messages::{
        JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
        join_group::JoinGroupRequestProtocol,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
};

use crate::{
    requests::NOBODY,
    side::{Side, To},
};

pub(crate) fn offsets_v2(side: &mut Side) {
    let first = side.init();
    side.committed(true);
    side.commit_offset(5, first, NOBODY, 7);
    side.describe();
    side.committed(false);
    side.committed(true);
    let second = side.end(5, first, true);
    side.committed(true);
    side.commit_offset(5, second, NOBODY, 8);
    side.commit_offset(5, second, NOBODY, 9);
    side.end(5, second, true);
    side.committed(true);
    side.commit_offset(5, first, NOBODY, 10);
    side.commit_offset(4, first, NOBODY, 10);
    side.commit_offset(3, first, NOBODY, 10);
}

pub(crate) fn offsets_v1(side: &mut Side) {
    let producer = side.init();
    for version in [0, 2, 3, 4] {
        side.commit_offset(version, producer, NOBODY, 1);
    }
    side.add_group(3, producer);
    side.describe();
    for version in [2, 3, 4] {
        side.commit_offset(version, producer, NOBODY, 2);
    }
    side.committed(true);
    side.end(4, producer, true);
    side.committed(true);
    side.commit_offset(4, producer, NOBODY, 3);
    side.commit_offset(3, producer, NOBODY, 3);
    side.committed(true);
}

pub(crate) fn offsets_abort(side: &mut Side) {
    let first = side.init();
    side.commit_offset(5, first, NOBODY, 7);
    side.write(12, first, 0, 0, 1);
    let second = side.end(5, first, false);
    side.committed(true);
    side.commit_offset(5, second, NOBODY, 8);
    side.init_once();
    side.settle();
    side.committed(true);
    side.init();
}

fn plain_commit(side: &mut Side, offset: i64) {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() }];
    let topic =
        OffsetCommitRequestTopic { name: side.topic.as_str().into(), partitions, ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: side.group.as_str().into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let response =
        side.ask_until(To::Group, 8, &request, |response| response.topics[0].partitions[0].error_code);
    side.note("plain commit", response.topics[0].partitions[0].error_code, offset);
}

pub(crate) fn offsets_beside_plain_ones(side: &mut Side) {
    let first = side.init();
    plain_commit(side, 1);
    side.commit_offset(5, first, NOBODY, 2);
    side.committed(false);
    plain_commit(side, 3);
    side.committed(true);
    let second = side.end(5, first, true);
    // The later one stays.
    side.committed(true);
    plain_commit(side, 4);
    side.commit_offset(5, second, NOBODY, 5);
    side.end(5, second, true);
    side.committed(true);
}

/// Joins the group alone and gives the member id.
fn join(side: &mut Side) -> String {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let join = JoinGroupRequest {
        group_id: side.group.as_str().into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let told = side.ask_until(To::Group, 9, &join, |response| response.error_code);
    side.note("join", told.error_code, "");
    assert_eq!(ErrorCode(told.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    let address = side.address(To::Group);
    let join = JoinGroupRequest { member_id: told.member_id.clone(), ..join };
    let joined = side.ask_at(&address, 9, join);
    side.note("joined", joined.error_code, joined.generation_id);
    told.member_id.to_string()
}

pub(crate) fn offsets_of_members(side: &mut Side) {
    let producer = side.init();
    let member = join(side);
    let all = |side: &mut Side| {
        side.commit_offset(5, producer, (1, &member, None), 1);
        side.commit_offset(5, producer, (2, &member, None), 2);
        side.commit_offset(5, producer, (1, "somebody", None), 3);
        side.commit_offset(5, producer, (1, &member, Some("instance")), 4);
        side.commit_offset(5, producer, (-1, &member, None), 5);
        side.commit_offset(5, producer, (1, "", None), 6);
        side.commit_offset(5, producer, NOBODY, 7);
    };
    // Before the leader has assigned, and after.
    all(side);
    let sync = SyncGroupRequest {
        group_id: side.group.as_str().into(),
        generation_id: 1,
        member_id: member.as_str().into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    let address = side.address(To::Group);
    let code = side.ask_at(&address, 5, sync).error_code;
    side.note("sync", code, "");
    all(side);
    side.end(5, producer, true);
    side.committed(true);
}

pub(crate) fn offsets_refused(side: &mut Side) {
    let producer = side.init();
    side.commit_offset(5, (producer.0, producer.1 + 1), NOBODY, 1);
    side.commit_offset(5, (producer.0 + 1_000_000, 0), NOBODY, 1);
    side.commit_offset(4, (producer.0, producer.1 + 1), NOBODY, 1);
    // A generation of a group that is not there.
    side.commit_offset(5, producer, (3, "member", None), 1);
    side.describe();
    side.commit_offset(5, producer, (-1, "member", None), 1);
    side.end(5, producer, true);
    side.committed(true);
}
