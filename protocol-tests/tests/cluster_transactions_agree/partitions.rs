//! Scripts about what partitions make of transactions and of idempotent producers.

use crate::side::{NONE, STRANGER, Side, batch, start_ms};

pub(crate) fn produce_unadded(side: &mut Side) {
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

pub(crate) fn produce_without_its_id(side: &mut Side) {
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

pub(crate) fn produce_mixed(side: &mut Side) {
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

pub(crate) fn sequences_v2(side: &mut Side) {
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

pub(crate) fn sequences_v1(side: &mut Side) {
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

pub(crate) fn duplicates_in_a_transaction(side: &mut Side) {
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

pub(crate) fn idempotent_epochs(side: &mut Side) {
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

pub(crate) fn old_epoch_writes(side: &mut Side) {
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

pub(crate) fn two_producers_interleaved(side: &mut Side) {
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

pub(crate) fn aborted_index(side: &mut Side) {
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

pub(crate) fn aborted_index_in_parts(side: &mut Side) {
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

pub(crate) fn stable_offsets(side: &mut Side) {
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

pub(crate) fn markers_by_hand(side: &mut Side) {
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

pub(crate) fn marker_repeated(side: &mut Side) {
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
