//! What both are asked.

use milena_protocol::{
    ErrorCode,
    messages::{JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest},
    messages::{
        join_group::JoinGroupRequestProtocol,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
};

use crate::{
    requests::NOBODY,
    side::{Producer, Side, To, batch, start_ms},
};

/// Nobody's.
const NONE: Producer = (-1, -1);

/// A producer that no cluster knows.
const STRANGER: Producer = (900_001, 0);

type Script = fn(&mut Side);

/// With their names.
pub(crate) const SCRIPTS: &[(&str, Script)] = &[
    ("commit-v2", commit_v2),
    ("abort-v2", abort_v2),
    ("commit-v1", commit_v1),
    ("abort-v1", abort_v1),
    ("init-raises-the-epoch", init_raises_the_epoch),
    ("init-with-id-and-epoch", init_with_id_and_epoch),
    ("init-refused", init_refused),
    ("init-fences-old-versions", init_fences_old_versions),
    ("init-aborts-an-open-transaction", init_aborts_an_open_transaction),
    ("end-table-v2", end_table_v2),
    ("end-table-v1", end_table_v1),
    ("end-mixed", end_mixed),
    ("end-refused", end_refused),
    ("add-refused", add_refused),
    ("add-and-verify-as-brokers-do", add_and_verify_as_brokers_do),
    ("produce-unadded", produce_unadded),
    ("produce-without-its-id", produce_without_its_id),
    ("produce-mixed", produce_mixed),
    ("sequences-v2", sequences_v2),
    ("sequences-v1", sequences_v1),
    ("duplicates-in-a-transaction", duplicates_in_a_transaction),
    ("idempotent-epochs", idempotent_epochs),
    ("old-epoch-writes", old_epoch_writes),
    ("two-producers-interleaved", two_producers_interleaved),
    ("aborted-index", aborted_index),
    ("aborted-index-in-parts", aborted_index_in_parts),
    ("stable-offsets", stable_offsets),
    ("offsets-v2", offsets_v2),
    ("offsets-v1", offsets_v1),
    ("offsets-abort", offsets_abort),
    ("offsets-beside-plain-ones", offsets_beside_plain_ones),
    ("offsets-of-members", offsets_of_members),
    ("offsets-refused", offsets_refused),
    ("timeout-then-commit", timeout_then_commit),
    ("timeout-v1", timeout_v1),
    ("markers-by-hand", markers_by_hand),
    ("marker-repeated", marker_repeated),
    ("empty-transaction", empty_transaction),
    ("listed", listed),
];

fn commit_v2(side: &mut Side) {
    let first = side.init();
    side.describe();
    side.write(12, first, 0, 0, 3);
    side.write(12, first, 1, 0, 1);
    side.describe();
    side.read(1);
    side.read(0);
    let second = side.end(5, first, true);
    side.describe();
    side.read(1);
    side.producers(0);
    side.write(12, second, 0, 0, 2);
    side.end(5, second, true);
    side.read(1);
    side.list(1, -1);
}

fn abort_v2(side: &mut Side) {
    let first = side.init();
    side.write(12, first, 0, 0, 3);
    let second = side.end(5, first, false);
    side.read(1);
    side.write(12, second, 0, 0, 2);
    let third = side.end(5, second, true);
    side.write(12, third, 0, 0, 1);
    side.read(1);
    side.end(5, third, false);
    side.read(1);
    side.read(0);
    side.describe();
}

fn commit_v1(side: &mut Side) {
    let producer = side.init_as(4, 60_000, NONE);
    side.add(3, producer, &[0, 1]);
    side.describe();
    side.add(3, producer, &[0]);
    side.write(11, producer, 0, 0, 2);
    side.end(4, producer, true);
    side.describe();
    side.producers(0);
    side.producers(1);
    side.add(3, producer, &[0]);
    side.write(11, producer, 0, 2, 2);
    side.end(4, producer, true);
    side.read(1);
}

fn abort_v1(side: &mut Side) {
    let producer = side.init_as(4, 60_000, NONE);
    side.add(3, producer, &[0]);
    side.write(11, producer, 0, 0, 2);
    side.end(3, producer, false);
    side.read(1);
    side.add(3, producer, &[0]);
    side.write(11, producer, 0, 2, 1);
    side.end(3, producer, true);
    side.read(1);
}

fn init_raises_the_epoch(side: &mut Side) {
    for _ in 0..3 {
        side.init();
    }
    side.describe();
    let last = side.init_as(5, 30_000, NONE);
    side.describe();
    side.write(12, last, 0, 0, 1);
    side.end(5, last, true);
    side.init();
    side.describe();
}

fn init_with_id_and_epoch(side: &mut Side) {
    let first = side.init();
    let second = side.init_as(5, 60_000, first);
    // The answer was lost.
    side.init_as(5, 60_000, first);
    side.init_as(5, 60_000, second);
    side.init_as(5, 60_000, first);
    side.init_as(5, 60_000, (first.0, 9));
    side.init_as(5, 60_000, (first.0 + 1_000_000, 0));
    let now = side.init();
    side.init_as(3, 60_000, first);
    side.init_as(5, 60_000, now);
}

fn init_refused(side: &mut Side) {
    side.init_as(5, 0, NONE);
    side.init_as(5, -1, NONE);
    side.init_as(5, 900_001, NONE);
    side.init_as(5, 900_000, NONE);
    side.init_as(5, 60_000, (-1, 3));
    side.init_as(5, 60_000, (3, -1));
    side.id = String::new();
    let request = milena_protocol::messages::InitProducerIdRequest {
        transactional_id: Some("".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let code = side.ask_at("", 5, request).error_code;
    side.note("without a name", code, "");
}

fn init_fences_old_versions(side: &mut Side) {
    let first = side.init();
    side.init();
    for version in [3, 4, 5] {
        side.init_as(version, 60_000, first);
    }
    for version in [0, 1, 2, 3] {
        side.add(version, first, &[0]);
        side.add_group(version, first);
    }
    for version in [0, 1, 2, 4, 5] {
        side.end(version, first, true);
    }
}

fn init_aborts_an_open_transaction(side: &mut Side) {
    let first = side.init();
    side.write(12, first, 0, 0, 2);
    side.init_once();
    side.settle();
    side.describe();
    let second = side.init();
    side.read(1);
    side.write(12, first, 0, 2, 1);
    side.end(5, first, true);
    side.add(3, first, &[1]);
    side.write(12, second, 0, 0, 1);
    side.end(5, second, true);
    side.read(1);
}

fn end_table_v2(side: &mut Side) {
    let empty = side.init();
    side.end(5, empty, true);
    side.end(5, (empty.0, empty.1 - 1), false);
    let aborted = side.end(5, empty, false);
    side.describe();
    // The answer was lost, in this state and the next.
    side.end(5, empty, false);
    side.end(5, empty, true);
    side.end(5, aborted, true);
    let again = side.end(5, aborted, false);
    side.write(12, again, 0, 0, 1);
    side.end(5, aborted, false);
    let committed = side.end(5, again, true);
    side.end(5, again, true);
    side.end(5, again, false);
    side.end(5, aborted, true);
    side.end(5, committed, true);
    side.end(5, committed, false);
    side.describe();
}

fn end_table_v1(side: &mut Side) {
    let producer = side.init_as(4, 60_000, NONE);
    side.end(4, producer, true);
    side.end(4, producer, false);
    side.add(3, producer, &[0]);
    side.end(4, producer, true);
    side.end(4, producer, true);
    side.end(4, producer, false);
    side.add(3, producer, &[0]);
    side.end(4, producer, false);
    side.end(4, producer, false);
    side.end(4, producer, true);
    side.end(4, (producer.0, producer.1 + 1), false);
    side.read(1);
}

fn end_mixed(side: &mut Side) {
    let first = side.init();
    side.add(3, first, &[0]);
    side.write(11, first, 0, 0, 1);
    let second = side.end(5, first, true);
    side.add(3, second, &[0]);
    side.write(11, second, 0, 0, 1);
    side.end(4, second, true);
    side.write(12, second, 0, 1, 1);
    side.end(5, second, false);
    side.read(1);
    side.describe();
}

fn end_refused(side: &mut Side) {
    for version in [1, 4, 5] {
        // Nobody has used the id.
        side.id = format!("{}-unused", side.id);
        let request = milena_protocol::messages::EndTxnRequest {
            transactional_id: side.id.as_str().into(),
            producer_id: 1,
            committed: true,
            ..Default::default()
        };
        let code =
            side.ask_until(To::Transactions, version, &request, |response| response.error_code).error_code;
        side.note("unused", code, version);
    }
    let producer = side.init();
    for version in [1, 4, 5] {
        side.end(version, (producer.0 + 1_000_000, producer.1), true);
        side.end(version, (producer.0, producer.1 + 1), true);
        side.end(version, (producer.0, producer.1 + 7), false);
    }
}

fn add_refused(side: &mut Side) {
    let producer = side.init();
    let topic = side.topic.clone();
    side.add_to(3, producer, "no-such-topic", &[0], false);
    side.add(3, producer, &[0, 7]);
    side.describe();
    side.add(3, (producer.0 + 1_000_000, 0), &[0]);
    side.add(3, (producer.0, 4), &[0]);
    side.add(1, (producer.0, 4), &[0]);
    side.id = format!("{}-unused", side.id);
    side.add(3, producer, &[0]);
    side.add_group(3, producer);
    side.add_to(4, producer, &topic, &[0], true);
}

fn add_and_verify_as_brokers_do(side: &mut Side) {
    let producer = side.init();
    let topic = side.topic.clone();
    side.add_to(4, producer, &topic, &[0], true);
    side.add_to(5, producer, &topic, &[0], false);
    side.add_to(4, producer, &topic, &[0, 1], true);
    side.add_to(5, (producer.0, 9), &topic, &[0], true);
    side.add_to(5, (producer.0, 9), &topic, &[0], false);
    side.add_to(5, producer, "no-such-topic", &[0], false);
    side.describe();
    let next = side.end(5, producer, true);
    side.add_to(4, next, &topic, &[0], true);
    side.add_to(4, producer, &topic, &[0], true);
}

fn produce_unadded(side: &mut Side) {
    let producer = side.init();
    for version in [9, 10, 11] {
        side.write(version, producer, 0, 0, 1);
    }
    side.add(3, producer, &[1]);
    side.write(11, producer, 0, 0, 1);
    side.write(10, producer, 1, 0, 1);
    side.write(11, (producer.0, producer.1 + 1), 1, 0, 1);
    side.write(12, (producer.0, producer.1 + 1), 0, 0, 1);
    side.write(12, (producer.0 + 1_000_000, 0), 0, 0, 1);
    side.describe();
    side.read(0);
}

fn produce_without_its_id(side: &mut Side) {
    let producer = side.init();
    side.produce(11, None, 0, batch(producer, 0, 1, true));
    side.produce(12, None, 0, batch(producer, 0, 1, true));
    side.produce(12, Some(String::new()), 0, batch(producer, 0, 1, true));
    side.produce(12, Some("unused".into()), 0, batch(producer, 0, 1, true));
    // Not transactional, but in a transaction's request.
    let id = Some(side.id.clone());
    side.produce(12, id.clone(), 0, batch(producer, 0, 1, false));
    side.produce(12, id, 0, batch(NONE, -1, 1, false));
    side.describe();
    side.read(1);
}

fn produce_mixed(side: &mut Side) {
    let producer = side.init();
    side.write(12, producer, 0, 0, 1);
    // The same producer, outside its transaction.
    side.produce(12, None, 0, batch(producer, 1, 1, false));
    side.produce(12, None, 1, batch(producer, 0, 1, false));
    side.write(12, producer, 1, 1, 1);
    side.end(5, producer, true);
    side.read(1);
    side.producers(1);
}

fn sequences_v2(side: &mut Side) {
    let first = side.init();
    side.write(12, first, 0, 5, 1);
    side.write(12, first, 0, 0, 1);
    side.write(12, first, 0, 2, 1);
    side.write(12, first, 0, 1, 1);
    let second = side.end(5, first, true);
    side.write(12, second, 0, 2, 1);
    side.write(12, second, 0, 1, 1);
    side.write(12, second, 0, 0, 2);
    side.write(12, second, 0, 2, 1);
    let third = side.end(5, second, false);
    side.produce(12, None, 0, batch(third, 3, 1, false));
    side.produce(12, None, 0, batch(third, 0, 1, false));
    side.producers(0);
}

fn sequences_v1(side: &mut Side) {
    let producer = side.init();
    side.add(3, producer, &[0, 1]);
    side.write(11, producer, 0, 7, 1);
    side.write(11, producer, 0, 8, 1);
    side.write(11, producer, 0, 10, 1);
    side.end(4, producer, true);
    side.add(3, producer, &[0]);
    side.write(11, producer, 0, 10, 1);
    side.write(11, producer, 0, 0, 1);
    side.write(11, producer, 0, 9, 1);
    side.end(4, producer, true);
    let raised = side.init();
    side.add(3, raised, &[0]);
    side.write(11, raised, 0, 10, 1);
    side.write(11, raised, 0, 0, 1);
    side.producers(0);
}

fn duplicates_in_a_transaction(side: &mut Side) {
    let first = side.init();
    for sequence in 0..7 {
        side.write(12, first, 0, sequence, 1);
    }
    for sequence in [6, 2, 1, 0] {
        side.write(12, first, 0, sequence, 1);
    }
    side.write(12, first, 0, 5, 2);
    let second = side.end(5, first, true);
    side.write(12, first, 0, 6, 1);
    side.write(12, second, 0, 0, 1);
    side.write(12, second, 0, 0, 1);
    side.end(5, second, true);
    let producer = side.init();
    side.add(3, producer, &[1]);
    side.write(11, producer, 1, 0, 1);
    side.end(4, producer, true);
    // In version 1 the batch is known, but its transaction is over.
    side.write(11, producer, 1, 0, 1);
    side.write(10, producer, 1, 0, 1);
    side.add(3, producer, &[1]);
    side.write(11, producer, 1, 0, 1);
    side.read(0);
}

fn idempotent_epochs(side: &mut Side) {
    let plain = |side: &mut Side, epoch, sequence, count| {
        side.produce(9, None, 0, batch((STRANGER.0, epoch), sequence, count, false));
    };
    plain(side, 2, 40, 2);
    plain(side, 2, 42, 1);
    plain(side, 2, 42, 1);
    plain(side, 1, 43, 1);
    plain(side, 3, 43, 1);
    plain(side, 3, 0, 1);
    plain(side, 2, 43, 1);
    plain(side, 3, 0, 1);
    plain(side, 3, i32::MAX, 1);
    plain(side, 4, i32::MAX, 1);
    side.producers(0);
    side.produce(9, None, 1, batch((STRANGER.0 + 1, 0), i32::MAX - 1, 2, false));
    side.produce(9, None, 1, batch((STRANGER.0 + 1, 0), 0, 2, false));
    side.produce(9, None, 1, batch((STRANGER.0 + 1, 0), i32::MAX - 1, 2, false));
    side.producers(1);
}

fn old_epoch_writes(side: &mut Side) {
    let first = side.init();
    side.write(12, first, 0, 0, 1);
    let second = side.end(5, first, true);
    side.write(12, first, 0, 1, 1);
    side.write(11, first, 0, 1, 1);
    side.produce(9, None, 0, batch(first, 1, 1, false));
    // The other partition knows nobody; the coordinator does.
    side.write(12, first, 1, 0, 1);
    side.write(11, first, 1, 0, 1);
    side.write(12, second, 1, 0, 1);
    side.read(1);
}

fn two_producers_interleaved(side: &mut Side) {
    let first = side.init();
    let own = side.id.clone();
    side.id = format!("{own}-other");
    let other = side.init();
    side.write(12, other, 0, 0, 1);
    side.id.clone_from(&own);
    side.write(12, first, 0, 0, 1);
    side.produce(9, None, 0, batch(NONE, -1, 1, false));
    side.read(1);
    side.end(5, first, false);
    side.read(1);
    side.id = format!("{own}-other");
    side.end(5, other, true);
    side.read(1);
    side.producers(0);
}

fn aborted_index(side: &mut Side) {
    let mut producer = side.init();
    for round in 0..6 {
        side.write(12, producer, 0, 0, 40);
        side.write(12, producer, 0, 40, 60);
        producer = side.end(5, producer, round % 3 == 2);
        side.produce(9, None, 0, batch(NONE, -1, 90, false));
    }
    side.read(1);
    side.list(1, -1);
    side.list(0, -1);
}

fn aborted_index_in_parts(side: &mut Side) {
    let mut producer = side.init();
    for round in 0..12 {
        side.write(12, producer, 0, 0, 30);
        side.write(12, producer, 0, 30, 100);
        producer = side.end(5, producer, round % 3 == 2);
    }
    for max_bytes in [1_500, 2_500, 5_000, 9_000] {
        side.read_in_parts(1, max_bytes);
    }
}

fn stable_offsets(side: &mut Side) {
    side.produce(9, None, 0, batch(NONE, -1, 2, false));
    let producer = side.init();
    side.write(12, producer, 0, 5, 0x1);
    side.write(12, producer, 0, 0, 3);
    let ask = |side: &mut Side| {
        for isolation in [0, 1] {
            for timestamp in [-1, -2, -3, -4, 0, start_ms() + 1, start_ms() + 2, i64::MAX] {
                side.list(isolation, timestamp);
            }
        }
    };
    ask(side);
    side.end(5, producer, false);
    for isolation in [0, 1] {
        for timestamp in [-1, -2, 0, start_ms() + 2] {
            side.list(isolation, timestamp);
        }
    }
}

fn offsets_v2(side: &mut Side) {
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

fn offsets_v1(side: &mut Side) {
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

fn offsets_abort(side: &mut Side) {
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

fn offsets_beside_plain_ones(side: &mut Side) {
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

fn offsets_of_members(side: &mut Side) {
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

fn offsets_refused(side: &mut Side) {
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

fn timeout_then_commit(side: &mut Side) {
    let first = side.init_as(5, 1_000, NONE);
    side.write(12, first, 0, 0, 1);
    side.wait_for("CompleteAbort");
    side.describe();
    side.read(1);
    side.write(12, first, 0, 1, 1);
    side.write(12, first, 1, 0, 1);
    side.add(3, first, &[0]);
    side.commit_offset(5, first, NOBODY, 1);
    // Whoever commits now is told so; whoever aborts is told that it was done.
    side.end(5, first, true);
    let second = side.end(5, first, false);
    side.write(12, second, 0, 0, 1);
    side.end(5, second, true);
    side.init_as(5, 60_000, first);
}

fn timeout_v1(side: &mut Side) {
    let first = side.init_as(4, 1_000, NONE);
    side.add(3, first, &[0]);
    side.write(11, first, 0, 0, 1);
    side.wait_for("CompleteAbort");
    side.describe();
    side.end(4, first, true);
    side.end(4, first, false);
    side.add(3, first, &[0]);
    side.write(11, first, 0, 1, 1);
    side.init_as(4, 60_000, first);
    side.init_as(4, 60_000, NONE);
    side.read(1);
}

fn markers_by_hand(side: &mut Side) {
    side.init();
    let producer = side.init();
    side.write(12, producer, 0, 0, 1);
    side.mark(1, (producer.0, producer.1 - 1), false, 1_000, 0);
    side.mark(2, producer, false, 1_000, 2);
    side.read(1);
    // What the transactions command does to one that hangs.
    side.mark(1, producer, false, 1_000, 0);
    side.read(1);
    side.mark(1, producer, true, 7, 0);
    side.mark(1, STRANGER, true, 1_000, 0);
    side.producers(0);
    side.read(1);
    side.describe();
}

fn marker_repeated(side: &mut Side) {
    let producer = side.init();
    side.write(12, producer, 0, 0, 1);
    let next = (producer.0, producer.1 + 1);
    side.mark(2, next, true, 1_000, 2);
    side.mark(2, next, true, 1_000, 2);
    side.mark(2, producer, true, 1_000, 2);
    side.mark(2, next, true, 999, 2);
    side.read(1);
    side.producers(0);
}

fn empty_transaction(side: &mut Side) {
    let first = side.init();
    side.add(3, first, &[]);
    side.describe();
    side.add(3, first, &[1]);
    let second = side.end(5, first, true);
    side.producers(1);
    side.write(12, second, 1, 0, 1);
    let third = side.end(5, second, false);
    side.end(5, third, false);
    side.describe();
}

fn listed(side: &mut Side) {
    let producer = side.init();
    let id = side.id.clone();
    side.write(12, producer, 0, 0, 1);
    side.list_transactions(&id, &[], &[], -1);
    side.list_transactions(&id, &["Ongoing", "Empty"], &[], -1);
    side.list_transactions(&id, &["Empty", "Dead", "Sometimes"], &[], -1);
    side.list_transactions(&id, &[], &[producer.0], -1);
    side.list_transactions(&id, &[], &[producer.0 + 1_000_000], -1);
    side.list_transactions(&id, &[], &[], 60_000);
    side.list_transactions(&id[1..], &[], &[], -1);
    side.list_transactions(&format!(".{}", &id[1..]), &[], &[], -1);
    side.list_transactions("(", &[], &[], -1);
    side.end(5, producer, true);
    side.list_transactions(&id, &["CompleteCommit"], &[], -1);
    side.list_transactions(&id, &["CompleteCommit"], &[], 60_000);
}
