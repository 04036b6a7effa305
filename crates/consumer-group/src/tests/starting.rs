//! Where reading starts: committed offsets, offsets by time, seeks.

use super::*;
use crate::{AutoOffsetReset, ConsumerError, IsolationLevel, SeekTo};

fn fetch_offset(script: &mut Script) -> i64 {
    let (_, request) = script.fetch_of(1);
    request.topics[0].partitions[0].fetch_offset
}

fn assign_without_positions(script: &mut Script, count: i32) {
    let partitions = (0..count).map(|index| (letters(index), None));
    script.consumer.assign(script.now(), partitions).unwrap();
    script.drain();
}

#[test]
fn a_committed_offset_is_where_reading_starts() {
    let mut script = Script::new(in_group());
    assign_without_positions(&mut script, 1);
    let (id, request) = asked_for!(script, OffsetFetch);
    let group = &request.groups[0];
    assert_eq!((&*group.group_id, &group.member_id, group.member_epoch), ("readers", &None, -1));
    assert_eq!(group.topics.as_ref().unwrap()[0].topic_id, LETTERS);
    assert!(!request.require_stable);
    script.answer(id, committed(&[(0, 42)]));
    assert_eq!(fetch_offset(&mut script), 42);
    // F9: a commit without any record read still carries the epoch that was committed.
    assert_eq!(script.consumer.position(&letters(0)).unwrap().leader_epoch, Some(4));
}

#[test]
fn without_a_committed_offset_the_policy_says_where_to_start() {
    for (auto_offset_reset, timestamp) in [(AutoOffsetReset::Earliest, -2), (AutoOffsetReset::Latest, -1)] {
        let mut script = Script::new(ConsumerConfig { auto_offset_reset, ..in_group() });
        assign_without_positions(&mut script, 1);
        script.committed(&[(0, -1)]);
        let outgoing = script.next(ApiKey::ListOffsets);
        assert_eq!(outgoing.target, Target::Broker(BrokerId(1)));
        let Request::ListOffsets(request) = outgoing.request else { unreachable!() };
        let asked = &request.topics[0].partitions[0];
        assert_eq!((asked.timestamp, asked.current_leader_epoch), (timestamp, 5));
        script.answer(outgoing.id, listed(&[(0, 17)]));
        assert_eq!(fetch_offset(&mut script), 17);
    }
}

#[test]
fn without_a_committed_offset_and_a_policy_it_is_an_error() {
    let mut script = Script::new(ConsumerConfig { auto_offset_reset: AutoOffsetReset::None, ..in_group() });
    assign_without_positions(&mut script, 2);
    script.committed(&[(0, -1), (1, 7)]);
    assert_eq!(script.news(), [Event::Failed(ConsumerError::NoOffset { partition: letters(0) })]);
    assert_eq!(fetch_offset(&mut script), 7);
    assert_eq!(script.position(0), None);
}

#[test]
fn without_a_group_no_coordinator_is_asked() {
    let mut script = Script::new(ConsumerConfig::default());
    assign_without_positions(&mut script, 1);
    let (id, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, -1);
    script.answer(id, listed(&[(0, 3)]));
    assert_eq!(fetch_offset(&mut script), 3);
}

/// G10: the coordinator is looked for again when it has moved; when it loads, it is waited for.
#[test]
fn a_coordinator_that_has_moved_is_looked_for_again() {
    let mut script = Script::new(in_group());
    assign_without_positions(&mut script, 1);
    let (id, _) = asked_for!(script, OffsetFetch);
    script.cluster.coordinator = 2;
    let mut moved = committed(&[]);
    moved.groups[0].error_code = ErrorCode::NOT_COORDINATOR.0;
    script.answer(id, moved);
    script.pass_until(1_000);
    let outgoing = script.next(ApiKey::OffsetFetch);
    assert_eq!(outgoing.target, Target::Coordinator(BrokerId(2)));
    let mut loading = committed(&[]);
    loading.groups[0].error_code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0;
    script.answer(outgoing.id, loading);
    assert!(!script.waits_for(ApiKey::OffsetFetch));
    script.pass_until(2_000);
    script.committed(&[(0, 42)]);
    assert_eq!(fetch_offset(&mut script), 42);
}

/// T15: an offset that a transaction may still change is waited for.
#[test]
fn an_unstable_offset_is_asked_for_again() {
    let isolation_level = IsolationLevel::ReadCommitted;
    let mut script = Script::new(ConsumerConfig { isolation_level, ..in_group() });
    assign_without_positions(&mut script, 1);
    let (id, request) = asked_for!(script, OffsetFetch);
    assert!(request.require_stable);
    let mut unstable = committed(&[(0, -1)]);
    unstable.groups[0].topics[0].partitions[0].error_code = ErrorCode::UNSTABLE_OFFSET_COMMIT.0;
    script.answer(id, unstable);
    assert!(!script.waits_for(ApiKey::ListOffsets));
    assert_eq!(script.pass_next(), "try a partition again");
    script.committed(&[(0, 42)]);
    assert_eq!(fetch_offset(&mut script), 42);
}

/// An answer that leaves a partition out does not strand it.
#[test]
fn a_partition_missing_from_an_answer_is_asked_for_again() {
    let mut script = Script::new(in_group());
    assign_without_positions(&mut script, 2);
    script.committed(&[(1, 5)]);
    script.pass_until(1_000);
    script.committed(&[(0, -1)]);
    let (id, _) = asked_for!(script, ListOffsets);
    script.answer(id, listed(&[]));
    script.pass_until(2_000);
    let (id, _) = asked_for!(script, ListOffsets);
    script.answer(id, listed(&[(0, 9)]));
    assert_eq!(script.position(0), Some(9));
}

/// F14: a seek while the committed offset is asked for wins.
#[test]
fn a_seek_while_the_committed_offset_is_asked_for_wins() {
    let mut script = Script::new(in_group());
    assign_without_positions(&mut script, 1);
    let (id, _) = asked_for!(script, OffsetFetch);
    script.consumer.seek(script.now(), &letters(0), SeekTo::Offset(99)).unwrap();
    script.answer(id, committed(&[(0, 42)]));
    assert_eq!(script.position(0), Some(99));
    assert_eq!(fetch_offset(&mut script), 99);
}

#[test]
fn a_seek_to_a_time_after_the_last_record_leads_to_the_end() {
    let mut script = Script::reading(ConsumerConfig::default(), &[10]);
    script.consumer.seek(script.now(), &letters(0), SeekTo::Timestamp(1_700_000_000_000)).unwrap();
    let (id, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, 1_700_000_000_000);
    script.answer(id, listed(&[(0, -1)]));
    let (id, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, -1);
    script.answer(id, listed(&[(0, 500)]));
    assert_eq!(script.position(0), Some(500));
}

/// ListOffsets goes to the leader, also to the one that has just become it.
#[test]
fn an_offset_is_asked_of_the_new_leader_when_it_has_moved() {
    let mut script = Script::reading(ConsumerConfig::default(), &[10]);
    script.consumer.seek(script.now(), &letters(0), SeekTo::End).unwrap();
    let (id, _) = asked_for!(script, ListOffsets);
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (3, 6);
    let mut moved = listed(&[(0, -1)]);
    moved.topics[0].partitions[0].error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER.0;
    script.answer(id, moved);
    script.pass_until(1_000);
    assert_eq!(script.next(ApiKey::ListOffsets).target, Target::Broker(BrokerId(3)));
}

#[test]
fn an_assignment_keeps_what_it_has_in_common_with_the_one_before() {
    let mut script = Script::reading(ConsumerConfig::default(), &[10, 20]);
    script.consumer.assign(script.now(), [(letters(1), None)]).unwrap();
    assert_eq!(script.consumer.assignment(), [letters(1)]);
    assert_eq!(script.position(1), Some(20));
    let refused = script.consumer.seek(script.now(), &letters(0), SeekTo::End).unwrap_err();
    assert_eq!(refused.to_string(), "letters-0 is not assigned to this consumer");
}

/// KIP-1106: so far back from the wall clock, as it is when the offset is missed.
#[test]
fn a_reset_by_duration_asks_for_the_time_so_long_ago() {
    let age = Duration::from_secs(3_600);
    let mut script = Script::new(ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::ByDuration(age),
        started_at_ms: 10_000_000,
        ..in_group()
    });
    script.pass_until(500);
    assign_without_positions(&mut script, 1);
    script.committed(&[(0, -1)]);
    let (id, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, 10_000_500 - 3_600_000);
    // All records are older: the next to be written.
    script.answer(id, listed(&[(0, -1)]));
    let (id, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, -1);
    script.answer(id, listed(&[(0, 17)]));
    assert_eq!(fetch_offset(&mut script), 17);
}

#[test]
fn a_duration_longer_than_since_1970_starts_then() {
    let reset = AutoOffsetReset::ByDuration(Duration::MAX);
    let config = ConsumerConfig { auto_offset_reset: reset, started_at_ms: 10, ..ConsumerConfig::default() };
    let mut script = Script::new(config);
    assign_without_positions(&mut script, 1);
    let (_, request) = asked_for!(script, ListOffsets);
    assert_eq!(request.topics[0].partitions[0].timestamp, 0);
}
