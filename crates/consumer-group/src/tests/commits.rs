//! What is committed, in which order, and what is refused.

use super::*;
use crate::{CommitError, CommitId, CommitMode, Fault};

/// Assigned by hand, in a group.
fn script() -> Script {
    Script::reading(in_group(), &[10, 20])
}

fn outcomes(script: &mut Script) -> Vec<(CommitId, Result<(), CommitError>)> {
    let outcome = |event| match event {
        Event::Committed { id, result } => (id, result),
        other => panic!("{other:?}"),
    };
    script.news().into_iter().map(outcome).collect()
}

/// Partition, offset and leader epoch of each commit in a request.
fn sent(request: &milena_protocol::messages::OffsetCommitRequest) -> Vec<(i32, i64, i32)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|one| (one.partition_index, one.committed_offset, one.committed_leader_epoch)).collect()
}

/// F9: the leader epoch goes along. The offset is the next one to read, exactly.
#[test]
fn a_commit_carries_the_position_and_its_epoch() {
    let mut script = script();
    let (id, _) = script.fetch_of(1);
    let log = batches::at(10, 3, batches::data(None, 4));
    script.answer(id, fetched([data(0, &[log])]));
    script.events();
    let taken = script.take(3);
    assert_eq!(taken[0].next_position().offset, 13);
    let commit = script.consumer.commit_positions(script.now(), CommitMode::Sync).unwrap();
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(sent(&request), [(0, 13, 3), (1, 20, -1)]);
    assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), (-1, ""));
    assert_eq!(request.topics[0].topic_id, LETTERS);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE), (1, ErrorCode::NONE)]));
    assert_eq!(outcomes(&mut script), [(commit, Ok(()))]);
}

/// G11: one commit is under way at a time; what comes meanwhile goes together, the newest offsets winning.
#[test]
fn an_older_commit_never_lands_after_a_newer_one() {
    let mut script = script();
    let first = script.commit(0, 11, CommitMode::Async).unwrap();
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(sent(&request), [(0, 11, 5)]);
    let second = script.commit(0, 12, CommitMode::Async).unwrap();
    let third = script.commit(1, 21, CommitMode::Async).unwrap();
    let fourth = script.commit(0, 13, CommitMode::Async).unwrap();
    assert!(!script.waits_for(ApiKey::OffsetCommit));
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    assert_eq!(outcomes(&mut script), [(first, Ok(()))]);
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(sent(&request), [(0, 13, 5), (1, 21, 5)]);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE), (1, ErrorCode::NONE)]));
    assert_eq!(outcomes(&mut script), [(second, Ok(())), (third, Ok(())), (fourth, Ok(()))]);
}

/// G11: an asynchronous commit is not tried again.
#[test]
fn an_async_commit_that_fails_has_failed() {
    let mut script = script();
    let commit = script.commit(0, 11, CommitMode::Async).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.fail(id, FailureKind::Unanswered);
    let [(id, Err(error))] = &outcomes(&mut script)[..] else { panic!() };
    assert_eq!((id, error.fault()), (&commit, Fault::Network));
    assert_eq!(error.to_string(), "committing in group readers: connection reset");
    script.pass_until(10_000);
    assert!(!script.waits_for(ApiKey::OffsetCommit));
}

#[test]
fn a_sync_commit_is_tried_again_with_waits_until_its_time_is_over() {
    let mut script = script();
    let commit = script.commit(0, 11, CommitMode::Sync).unwrap();
    let mut tries = 0;
    for ms in (0..70_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::OffsetCommit) {
            let (id, request) = asked_for!(script, OffsetCommit);
            assert_eq!(sent(&request), [(0, 11, 5)]);
            script.fail(id, FailureKind::NotSent);
            tries += 1;
        }
    }
    assert!((50..90).contains(&tries), "{tries}");
    let [(id, Err(CommitError::Unavailable { .. }))] = &outcomes(&mut script)[..] else { panic!() };
    assert_eq!(id, &commit);
}

#[test]
fn a_commit_without_any_broker_ends_in_time() {
    let mut script = script();
    script.cluster.is_up = false;
    script.commit(0, 11, CommitMode::Sync).unwrap();
    script.pass_until(59_000);
    assert_eq!(script.news(), []);
    script.pass_until(61_000);
    let [(_, Err(error))] = &outcomes(&mut script)[..] else { panic!() };
    assert_eq!(error.to_string(), "committing in group readers: no coordinator is known");
}

/// G10
#[test]
fn a_commit_follows_the_coordinator() {
    let mut script = script();
    let commit = script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.cluster.coordinator = 2;
    script.answer(id, commit_answer(&[(0, ErrorCode::NOT_COORDINATOR)]));
    script.pass_until(1_000);
    let outgoing = script.next(ApiKey::OffsetCommit);
    assert_eq!(outgoing.target, Target::Coordinator(BrokerId(2)));
    script.answer(outgoing.id, commit_answer(&[(0, ErrorCode::NONE)]));
    assert_eq!(outcomes(&mut script), [(commit, Ok(()))]);
}

#[test]
fn a_refusal_names_the_partition() {
    let mut script = script();
    script.commit(1, 21, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.answer(id, commit_answer(&[(1, ErrorCode::TOPIC_AUTHORIZATION_FAILED)]));
    let [(_, Err(error))] = &outcomes(&mut script)[..] else { panic!() };
    assert_eq!(error.fault(), Fault::Cluster);
    assert!(
        error.to_string().starts_with("committing letters-1 in group readers: the coordinator refuses with")
    );
}

/// G7: a partition that is not assigned is refused at once, and when it was lost while the commit waited.
#[test]
fn a_partition_that_is_not_assigned_is_not_committed() {
    let mut script = script();
    let refused = CommitError::NotAssigned { partition: letters(2) };
    assert_eq!(script.commit(2, 5, CommitMode::Sync), Err(refused));
    script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    let waiting = script.commit(1, 21, CommitMode::Sync).unwrap();
    script.assign(&[10]);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    let (id, outcome) = outcomes(&mut script).pop().unwrap();
    assert_eq!((id, outcome), (waiting, Err(CommitError::NotAssigned { partition: letters(1) })));
    assert!(!script.waits_for(ApiKey::OffsetCommit));
}

#[test]
fn what_cannot_be_committed_is_refused_at_once() {
    let mut script = Script::reading(ConsumerConfig::default(), &[10]);
    assert_eq!(script.commit(0, 5, CommitMode::Sync), Err(CommitError::NoGroup));
    let mut script = self::script();
    let refused = CommitError::NegativeOffset { partition: letters(0), offset: -1 };
    assert_eq!(script.commit(0, -1, CommitMode::Sync), Err(refused));
    let nothing = script.consumer.commit(script.now(), BTreeMap::new(), CommitMode::Sync).unwrap();
    assert_eq!(outcomes(&mut script), [(nothing, Ok(()))]);
}

#[test]
fn committed_offsets_can_be_asked_for_without_moving_anything() {
    let mut script = script();
    let query = script.consumer.query_committed(script.now(), [letters(0), letters(2)]).unwrap();
    let (id, _) = asked_for!(script, OffsetFetch);
    script.fail(id, FailureKind::Unanswered);
    script.pass_until(1_000);
    let mut answer = committed(&[(0, 7), (2, -1)]);
    answer.groups[0].topics[0].partitions[0].metadata = Some("note".into());
    let (id, _) = asked_for!(script, OffsetFetch);
    script.answer(id, answer);
    let [Event::CommittedOffsets { id, result: Ok(offsets) }] = &script.news()[..] else { panic!() };
    assert_eq!(id, &query);
    let found: Vec<_> =
        offsets.iter().map(|(at, found)| (at.partition, found.position.offset, &*found.metadata)).collect();
    assert_eq!(found, [(0, 7, "note")]);
    assert_eq!(script.position(0), Some(10));
}

#[test]
fn a_query_without_any_broker_ends_in_time() {
    let mut script = script();
    script.cluster.is_up = false;
    let query = script.consumer.query_committed(script.now(), [letters(0)]).unwrap();
    script.pass_until(61_000);
    let [Event::CommittedOffsets { id, result: Err(CommitError::Unavailable { .. }) }] = &script.news()[..]
    else {
        panic!()
    };
    assert_eq!(id, &query);
}
