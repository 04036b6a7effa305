//! What is asked of leaders, and what becomes of their answers.

use milena_protocol::{
    messages::fetch::{AbortedTransaction, LeaderIdAndEpoch},
    records::BatchErrorKind,
};

use super::{
    batches::{at, data as batch, marker},
    *,
};
use crate::{AutoOffsetReset, ConsumerError, Fault, IsolationLevel, SeekTo};

/// What a fetch asks for: partition and offset, in its order.
fn read_committed() -> ConsumerConfig {
    ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..from_the_start() }
}

#[test]
fn records_are_fetched_and_the_position_moves_when_they_are_taken() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 10)]);
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    assert_eq!(request.topics[0].topic_id, LETTERS);
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 5);
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 4))])]));
    assert_eq!(script.events(), [Event::Fetched]);
    // F14: what has arrived is not yet delivered.
    assert_eq!(script.position(0), Some(10));
    let (_, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 14)]);
    assert_eq!(script.taken(3), [(0, vec![10, 11, 12])]);
    assert_eq!(script.position(0), Some(13));
    assert_eq!(script.taken(3), [(0, vec![13])]);
    assert_eq!(script.taken(3), []);
    // F9: the position knows the epoch of what was read.
    let position = script.consumer.position(&letters(0)).unwrap();
    assert_eq!((position.offset, position.leader_epoch), (14, Some(3)));
    assert_eq!(script.consumer.lag(&letters(0)), Some(986));
}

#[test]
fn a_record_keeps_its_bytes_when_it_is_owned() {
    let mut script = Script::reading(from_the_start(), &[0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(0, 3, batch(None, 2))])]));
    let records: Vec<_> =
        script.take(10).iter().flat_map(|records| records.to_records().collect::<Vec<_>>()).collect();
    assert_eq!(records[1].value.as_deref(), Some(b"v1".as_slice()));
    assert_eq!(records[1].offset, 1);
}

/// F1: a batch that compaction has emptied, and a control batch at the end of the log, move the position all the same.
#[test]
fn batches_without_records_move_the_position() {
    let mut script = Script::reading(from_the_start(), &[0]);
    let (id, _) = script.fetch_of(1);
    let log = [at(0, 3, batch(None, 2)), at(7, 3, batches::compacted(5)), at(12, 4, marker(7, true))];
    script.answer(id, fetched([data(0, &log)]));
    let (_, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 13)]);
    assert_eq!(script.taken(10), [(0, vec![0, 1])]);
    assert_eq!(script.position(0), Some(13));
    assert_eq!(script.consumer.position(&letters(0)).unwrap().leader_epoch, Some(4));
}

/// F1: nothing but a control batch is nothing to hand out, and not a place to stick at.
#[test]
fn a_lone_control_batch_is_passed() {
    let mut script = Script::reading(from_the_start(), &[12]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(12, 4, marker(7, false))])]));
    assert_eq!(script.taken(10), []);
    assert_eq!(script.position(0), Some(13));
}

/// F2: a broker answers with the whole batch that the position is in.
#[test]
fn records_before_the_position_are_skipped() {
    let mut script = Script::reading(from_the_start(), &[12]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(8, 3, batch(None, 2)), at(10, 3, batch(None, 5))])]));
    assert_eq!(script.taken(2), [(0, vec![12, 13])]);
    assert_eq!(script.taken(2), [(0, vec![14])]);
}

/// F3: brokers cut the last batch off.
#[test]
fn a_partial_batch_at_the_end_is_ignored() {
    let mut script = Script::reading(from_the_start(), &[0]);
    let (id, _) = script.fetch_of(1);
    let whole = at(0, 3, batch(None, 2));
    let cut = at(2, 3, batch(None, 2)).slice(..40);
    script.answer(id, fetched([data(0, &[whole, cut])]));
    assert_eq!(script.taken(10), [(0, vec![0, 1])]);
    let (_, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 2)]);
    assert_eq!(script.news(), []);
}

/// F4: a batch that does not fit is asked for with as many bytes as it has; a broker that cuts it off then is not asked
/// for ever.
#[test]
fn a_batch_larger_than_the_limits_makes_progress_or_an_error() {
    let mut script =
        Script::reading(ConsumerConfig { max_partition_fetch_bytes: 50, ..from_the_start() }, &[3]);
    let large = at(3, 3, batch(None, 20));
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[large.slice(..50)])]));
    let (id, request) = script.fetch_of(1);
    assert_eq!(request.topics[0].partitions[0].partition_max_bytes, i32::try_from(large.len()).unwrap());
    script.answer(id, fetched([data(0, std::slice::from_ref(&large))]));
    assert_eq!(script.taken(100)[0].1.len(), 20);
    let (id, request) = script.fetch_of(1);
    assert_eq!(request.topics[0].partitions[0].partition_max_bytes, 50);

    let next = at(23, 3, batch(None, 20));
    script.answer(id, fetched([data(0, &[next.slice(..50)])]));
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[next.slice(..50)])]));
    let error = ConsumerError::BatchCutOff { partition: letters(0), offset: 23, needed: next.len() };
    assert_eq!(script.news(), [Event::Failed(error)]);
    assert!(!script.waits_for(ApiKey::Fetch));
}

/// F5: aborted records are not handed out under read_committed, and are under read_uncommitted.
#[test]
fn aborted_records_are_seen_only_under_read_uncommitted() {
    let log = [
        at(0, 3, batch(Some(7), 2)),
        at(2, 3, marker(7, false)),
        at(3, 3, batch(Some(7), 1)),
        at(4, 3, marker(7, true)),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 0, ..Default::default() }];
    for (config, expected) in [(from_the_start(), vec![0, 1, 3]), (read_committed(), vec![3])] {
        let mut script = Script::reading(config, &[0]);
        let (id, _) = script.fetch_of(1);
        let answer = PartitionData { aborted_transactions: Some(aborted.clone().into()), ..data(0, &log) };
        script.answer(id, fetched([answer]));
        assert_eq!(script.taken(10), [(0, expected)]);
        assert_eq!(script.position(0), Some(5));
    }
}

/// F6: under read_committed the end is the last stable offset; an open transaction gives empty answers, no error.
#[test]
fn an_open_transaction_gives_empty_answers_and_lag_up_to_the_last_stable_offset() {
    let mut script = Script::reading(read_committed(), &[880]);
    for _ in 0..3 {
        let (id, request) = script.fetch_of(1);
        assert_eq!(request.isolation_level, 1);
        script.answer(id, fetched([data(0, &[])]));
    }
    assert_eq!(script.events(), []);
    assert_eq!(script.consumer.lag(&letters(0)), Some(20));
}

/// F7: a position that is not in the log is replaced by the policy, asked of the leader.
#[test]
fn out_of_range_resets_by_the_policy() {
    for (auto_offset_reset, timestamp) in [(AutoOffsetReset::Earliest, -2), (AutoOffsetReset::Latest, -1)] {
        let mut script = Script::reading(ConsumerConfig { auto_offset_reset, ..from_the_start() }, &[10]);
        let (id, _) = script.fetch_of(1);
        script.answer(id, fetched([refused(0, ErrorCode::OFFSET_OUT_OF_RANGE)]));
        let (id, request) = asked_for!(script, ListOffsets);
        assert_eq!(request.topics[0].partitions[0].timestamp, timestamp);
        script.answer(id, listed(&[(0, 40)]));
        assert_eq!(asked(&script.fetch_of(1).1), [(0, 40)]);
    }
}

/// F7: without a policy it is an error that names the offset, and the other partitions go on.
#[test]
fn out_of_range_without_a_policy_is_an_error_with_the_offset() {
    let config = ConsumerConfig { auto_offset_reset: AutoOffsetReset::None, ..from_the_start() };
    let mut script = Script::reading(config, &[10, 20]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([refused(0, ErrorCode::OFFSET_OUT_OF_RANGE), data(1, &[])]));
    let error = ConsumerError::OffsetOutOfRange { partition: letters(0), offset: 10 };
    assert!(!error.is_fatal());
    assert_eq!(error.partition(), Some(&letters(0)));
    assert_eq!(script.news(), [Event::Failed(error)]);
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 20)]);
    script.consumer.seek(script.now(), &letters(0), SeekTo::Offset(5)).unwrap();
    assert!(!script.waits_for(ApiKey::Fetch));
}

/// F7: a follower may lag behind: the leader is asked before anything is reset.
#[test]
fn out_of_range_at_a_follower_is_asked_of_the_leader() {
    let mut script =
        Script::reading(ConsumerConfig { client_rack: Some("r2".into()), ..from_the_start() }, &[10]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(&*request.rack_id, "r2");
    script.answer(id, fetched([PartitionData { preferred_read_replica: 2, ..data(0, &[]) }]));
    let (id, _) = script.fetch_of(2);
    script.answer(id, fetched([refused(0, ErrorCode::OFFSET_OUT_OF_RANGE)]));
    assert!(!script.waits_for(ApiKey::ListOffsets));
    script.pass_until(1_000);
    assert_eq!(asked(&script.fetch_of(1).1), [(0, 10)]);
}

/// F11: an answer for a position that is another by now is thrown away whole.
#[test]
fn an_answer_from_before_a_seek_is_thrown_away() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.consumer.seek(script.now(), &letters(0), SeekTo::Offset(50)).unwrap();
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 4))])]));
    assert_eq!(script.events(), []);
    assert_eq!(script.taken(10), []);
    assert_eq!(asked(&script.fetch_of(1).1), [(0, 50)]);
}

/// F11: back to the same offset is another position still, and so is another assignment.
#[test]
fn an_answer_from_before_a_seek_to_the_same_offset_is_thrown_away() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.assign(&[]);
    script.assign(&[10]);
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 4))])]));
    assert_eq!(script.taken(10), []);
    assert_eq!(asked(&script.fetch_of(1).1), [(0, 10)]);
}

/// F11: a leader that has been replaced meanwhile may have sent what is no more.
#[test]
fn an_answer_of_an_earlier_leader_is_thrown_away() {
    let mut script = Script::reading(from_the_start(), &[10, 0]);
    let (id, _) = script.fetch_of(1);
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (2, 6);
    script.pass_until(300_001);
    assert_eq!(asked(&script.fetch_of(2).1), [(0, 10)]);
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 4))]), data(1, &[at(0, 3, batch(None, 1))])]));
    assert_eq!(script.taken(10), [(1, vec![0])]);
}

fn broken(offset: i64) -> Bytes {
    let mut bytes = at(offset, 3, batch(None, 2)).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

/// F12: a batch that fails its CRC is fetched once more, and then named. It is never skipped.
#[test]
fn a_corrupt_batch_is_fetched_once_more_and_then_named() {
    let mut script = Script::reading(from_the_start(), &[8, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(8, 3, batch(None, 2)), broken(10)]), data(1, &[])]));
    assert_eq!(script.taken(10), [(0, vec![8, 9])]);
    assert_eq!(script.news(), []);
    // The fetch that was under way continues behind the corrupt batch: it does not count.
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(1, 0), (0, 12)]);
    script.answer(id, fetched([data(0, &[at(12, 3, batch(None, 2))])]));
    assert_eq!(script.taken(10), []);
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request).into_iter().find(|(index, _)| *index == 0), Some((0, 10)));
    script.answer(id, fetched([data(0, &[broken(10)])]));
    assert_eq!(script.taken(10), []);
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    let ConsumerError::Corrupt { partition, offset, error: cause } = error else { panic!("{error}") };
    assert_eq!((partition, offset), (&letters(0), &10));
    assert!(matches!(cause.kind, BatchErrorKind::CrcMismatch { .. }));
    assert_eq!(error.fault(), Fault::Data);
    assert_eq!(script.position(0), Some(10));
    script.pass_until(10_000);
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(1, 0), (0, 12)]);
    script.answer(id, fetched([]));
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 0)]);
}

/// F12: a batch that has nothing for the application is not believed either when its CRC fails: its header would send
/// the position anywhere.
#[test]
fn a_corrupt_control_batch_does_not_move_the_position() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    let mut damaged = at(10, 3, marker(7, true)).to_vec();
    damaged[24] = 1;
    script.answer(id, fetched([data(0, &[damaged.into()])]));
    assert_eq!(script.taken(10), []);
    assert_eq!(script.position(0), Some(10));
}

/// F12: a batch that was damaged on the way is good the second time.
#[test]
fn a_batch_that_is_good_the_second_time_goes_on() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[broken(10)])]));
    assert_eq!(script.taken(10), []);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([]));
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 2))])]));
    assert_eq!(script.taken(10), [(0, vec![10, 11])]);
    assert_eq!(script.news(), []);
}

/// F12: a broker that finds its log corrupt is asked once more, after a wait.
#[test]
fn a_broker_that_finds_its_log_corrupt_twice_is_named() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([refused(0, ErrorCode::CORRUPT_MESSAGE)]));
    assert!(!script.waits_for(ApiKey::Fetch));
    assert_eq!(script.pass_next(), "try a partition again");
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([refused(0, ErrorCode::CORRUPT_MESSAGE)]));
    let error = ConsumerError::CorruptLog { partition: letters(0), offset: 10 };
    assert_eq!(script.news(), [Event::Failed(error)]);
}

/// F13: what was written before Kafka 0.11 is read as what was written since.
#[test]
fn a_message_of_an_old_format_is_handed_out() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    // Offset and length, CRC-32, magic 1, attributes, timestamp, null key, a value.
    let mut old = 10i64.to_be_bytes().to_vec();
    old.extend_from_slice(&23i32.to_be_bytes());
    old.extend_from_slice(&0x52488c6a_u32.to_be_bytes());
    old.extend_from_slice(&[1, 0]);
    old.extend_from_slice(&5i64.to_be_bytes());
    old.extend_from_slice(&(-1i32).to_be_bytes());
    old.extend_from_slice(b"\0\0\0\x01v");
    script.answer(id, fetched([data(0, &[old.into(), at(11, 3, batch(None, 2))])]));
    assert_eq!(script.taken(10), [(0, vec![10, 11, 12])]);
    assert_eq!(script.position(0), Some(13));
}

/// F14: a pause while a fetch is under way wins; nothing is fetched twice.
#[test]
fn a_paused_partition_is_neither_fetched_nor_handed_out() {
    let mut script = Script::reading(from_the_start(), &[10, 20]);
    let (id, _) = script.fetch_of(1);
    script.consumer.pause(&letters(0)).unwrap();
    script
        .answer(id, fetched([data(0, &[at(10, 3, batch(None, 2))]), data(1, &[at(20, 3, batch(None, 2))])]));
    assert_eq!(script.taken(10), [(1, vec![20, 21])]);
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 22)]);
    script.events();
    script.consumer.resume(&letters(0)).unwrap();
    assert_eq!(script.events(), [Event::Fetched]);
    assert_eq!(script.taken(10), [(0, vec![10, 11])]);
}

#[test]
fn three_full_partitions_are_served_in_turn() {
    let mut script = Script::reading(from_the_start(), &[0, 0, 0]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 0), (1, 0), (2, 0)]);
    let log = |index| data(index, &[at(0, 3, batch(None, 6))]);
    script.answer(id, fetched([log(0), log(1), log(2)]));
    let mut taken = [0; 3];
    for turn in 0..9 {
        let [(partition, offsets)] = &script.taken(2)[..] else { panic!() };
        taken[usize::try_from(*partition).unwrap()] += offsets.len();
        assert!(taken.iter().max().unwrap() - taken.iter().min().unwrap() <= 2, "turn {turn}: {taken:?}");
    }
    assert_eq!(taken, [6, 6, 6]);
}

/// Brokers fill an answer in the order of the request: who had nothing is named first the next time.
#[test]
fn who_waits_longest_is_asked_for_first() {
    let mut script = Script::reading(from_the_start(), &[0, 0, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(0, 3, batch(None, 1))])]));
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(1, 0), (2, 0), (0, 1)]);
    script.answer(id, fetched([data(1, &[at(0, 3, batch(None, 1))])]));
    assert_eq!(asked(&script.fetch_of(1).1), [(2, 0), (0, 1), (1, 1)]);
}

#[test]
fn an_idle_broker_does_not_delay_a_busy_one() {
    let mut script = Script::new(from_the_start());
    script.cluster.topics.get_mut("letters").unwrap().1 = vec![(1, 5), (2, 5)];
    script.assign(&[0, 0]);
    let (idle, _) = script.fetch_of(2);
    for turn in 0..20 {
        let (id, request) = script.fetch_of(1);
        assert_eq!(asked(&request), [(0, turn)]);
        script.answer(id, fetched([data(0, &[at(turn, 3, batch(None, 1))])]));
        assert_eq!(script.taken(10), [(0, vec![turn])]);
    }
    script.answer(idle, fetched([data(1, &[at(0, 3, batch(None, 1))])]));
    assert_eq!(script.taken(10), [(1, vec![0])]);
}

/// Back-pressure is not asking: a partition that is full is not asked for, nor is its broker, until records are taken.
#[test]
fn memory_is_bounded_by_not_asking() {
    let config =
        ConsumerConfig { max_partition_fetch_bytes: 100, max_buffered_bytes: 1_000, ..from_the_start() };
    let mut script = Script::reading(config, &[0, 0]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(request.max_bytes, 250, "one of the answers that there is memory for");
    script.answer(id, fetched([data(0, &[at(0, 3, batch(None, 5))])]));
    assert!(!script.waits_for(ApiKey::Fetch));
    assert_eq!(script.taken(5).len(), 1);
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 0), (0, 5)]);
}

/// What a pause keeps here does not starve the partitions that are read.
#[test]
fn paused_partitions_give_way() {
    let config =
        ConsumerConfig { max_partition_fetch_bytes: 200, max_buffered_bytes: 300, ..from_the_start() };
    let mut script = Script::reading(config, &[0, 0]);
    let (id, _) = script.fetch_of(1);
    script.consumer.pause(&letters(0)).unwrap();
    script.answer(id, fetched([data(0, &[at(0, 3, batch(None, 12))])]));
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 0)]);
    script.consumer.resume(&letters(0)).unwrap();
    assert_eq!(script.taken(100), []);
    assert_eq!(script.position(0), Some(0));
}

/// A partition without a leader waits for metadata, and the others do not wait for it.
#[test]
fn a_partition_without_a_leader_waits_for_metadata() {
    let mut script = Script::new(from_the_start());
    script.cluster.topics.get_mut("letters").unwrap().1 = vec![(-1, 5), (1, 5)];
    script.assign(&[0, 0]);
    let (_, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(1, 0)]);
    assert!(script.consumer.explain(script.now())[1].contains("no known leader"));
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (2, 6);
    script.pass_until(2_000);
    assert_eq!(asked(&script.fetch_of(2).1), [(0, 0)]);
}

/// KIP-951: the old leader names the new one, which is asked without a wait.
#[test]
fn a_leader_named_in_the_answer_is_asked_at_once() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    let current_leader = LeaderIdAndEpoch { leader_id: 3, leader_epoch: 6, ..Default::default() };
    let moved = PartitionData { current_leader, ..refused(0, ErrorCode::NOT_LEADER_OR_FOLLOWER) };
    script.answer(id, fetched([moved]));
    let (_, request) = script.fetch_of(3);
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 6);
}

#[test]
fn a_leader_that_moved_without_a_word_is_looked_for() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (2, 6);
    script.answer(id, fetched([refused(0, ErrorCode::NOT_LEADER_OR_FOLLOWER)]));
    script.pass_until(1_000);
    assert_eq!(asked(&script.fetch_of(2).1), [(0, 10)]);
}

/// M2: a topic that was deleted and made again starts afresh.
#[test]
fn a_topic_made_again_starts_afresh() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(10, 3, batch(None, 2))])]));
    let (id, _) = script.fetch_of(1);
    script.cluster.topics.get_mut("letters").unwrap().0 = Uuid::from_bytes([2; 16]);
    script.answer(id, fetched([refused(0, ErrorCode::UNKNOWN_TOPIC_ID)]));
    assert_eq!(script.taken(10), []);
    let (_, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, -2);
}

#[test]
fn a_broker_that_is_away_is_tried_again_with_waits() {
    let mut script = Script::reading(from_the_start(), &[10]);
    let mut tries = 0;
    for ms in (0..10_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::Fetch) {
            let (id, _) = script.fetch_of(1);
            script.fail(id, FailureKind::NotSent);
            tries += 1;
        }
    }
    assert!((8..20).contains(&tries), "{tries}");
    assert!(script.consumer.explain(script.now())[1].contains("broker 1"));
}

/// M6: a topic whose id is not known is fetched by name, in a version that has names.
#[test]
fn without_a_topic_id_older_versions_are_asked_for() {
    let mut script = Script::new(from_the_start());
    script.cluster.topics.get_mut("letters").unwrap().0 = Uuid::ZERO;
    script.assign(&[10]);
    let outgoing = script.next(ApiKey::Fetch);
    assert_eq!(outgoing.max_version, 12);
    let mut answer = fetched([data(0, &[at(10, 3, batch(None, 1))])]);
    let by_name = |topic| FetchableTopicResponse { topic_id: Uuid::ZERO, topic: "letters".into(), ..topic };
    answer.responses = answer.responses.iter().map(by_name).collect();
    script.answer(outgoing.id, answer);
    assert_eq!(script.taken(10), [(0, vec![10])]);
}

#[test]
fn a_partition_one_may_not_read_is_named_and_the_others_go_on() {
    let mut script = Script::reading(from_the_start(), &[10, 20]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([refused(0, ErrorCode::TOPIC_AUTHORIZATION_FAILED)]));
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    assert_eq!(error.partition(), Some(&letters(0)));
    assert_eq!(error.fault(), Fault::Cluster);
    assert_eq!(asked(&script.fetch_of(1).1), [(1, 20)]);
}
