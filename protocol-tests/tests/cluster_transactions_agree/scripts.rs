//! What both are asked.

use milena_protocol::messages::{EndTxnRequest, InitProducerIdRequest};

use crate::{
    offsets::{
        offsets_abort, offsets_beside_plain_ones, offsets_of_members, offsets_refused, offsets_v1, offsets_v2,
    },
    partitions::{
        aborted_index, aborted_index_in_parts, duplicates_in_a_transaction, idempotent_epochs,
        marker_repeated, markers_by_hand, old_epoch_writes, produce_mixed, produce_unadded,
        produce_without_its_id, sequences_v1, sequences_v2, stable_offsets, two_producers_interleaved,
    },
    requests::NOBODY,
    side::{NONE, Side, To},
};

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
    let request = InitProducerIdRequest {
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
        let request = EndTxnRequest {
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
