//! Offsets that are committed with a transaction.

use std::collections::BTreeMap;

use milena_cluster::{FailureKind, TopicPartition};
use milena_producer::{
    GroupMetadata, GroupOffset, Remedy, TransactionError, TransactionEvent, TransactionFailure,
};
use milena_protocol::{ApiKey, ErrorCode, messages::Request};

use crate::txn::{Level, Txn};

const COMMIT: bool = true;
const ABORT: bool = false;

/// T15: who commits is told to the group, and where exactly reading goes on.
#[test]
fn the_group_is_told_which_member_commits() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let id = txn.send_offset(41);
    txn.find_at(3);
    let asked = txn.script.asked.front().unwrap().clone();
    Txn::assert_at(&asked, 3);
    assert_eq!((asked.min_version, asked.max_version), (5, 5));
    let Request::TxnOffsetCommit(request) = &asked.request else { panic!() };
    assert_eq!((&*request.group_id, &*request.member_id, request.generation_id), ("readers", "reader-1", 5));
    assert_eq!(request.group_instance_id.as_deref(), Some("static-1"));
    let partition = &request.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (41, 3));
    assert_eq!(partition.committed_metadata.as_deref(), Some("note"));
    txn.offsets_answered(ErrorCode::NONE);
    assert_eq!(txn.events(), [TransactionEvent::OffsetsSent(id, Ok(()))]);
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T1: in version 1 the group is added first, once.
#[test]
fn version_1_adds_the_group_first() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    txn.send_offset(41);
    txn.group_added(ErrorCode::NONE);
    txn.find_at(3);
    assert_eq!(txn.script.asked.front().unwrap().max_version, 4);
    txn.offsets_answered(ErrorCode::NONE);
    txn.send_offset(42);
    txn.offsets_answered(ErrorCode::NONE);
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
    txn.begin();
    txn.send_offset(43);
    txn.group_added(ErrorCode::NONE);
}

/// A commit must not leave the offsets behind.
#[test]
fn a_commit_waits_for_the_offsets() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.send_offset(41);
    txn.commit();
    txn.find_at(3);
    txn.offsets_answered(ErrorCode::NONE);
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T15: another member has the partitions by now.
#[test]
fn offsets_of_a_member_of_the_past_abort_the_transaction() {
    for code in [
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::FENCED_INSTANCE_ID,
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE,
    ] {
        let mut txn = Txn::new(Level::Two);
        txn.begin();
        let id = txn.send_offset(41);
        txn.find_at(3);
        txn.offsets_answered(code);
        let events = txn.events();
        let [TransactionEvent::OffsetsSent(sent, Err(error))] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((*sent, error.remedy()), (id, Remedy::Abort));
        let TransactionError::MustAbort(TransactionFailure::Refused { code: told, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(*told, code);
        assert!(txn.script.producer.commit(txn.script.now()).is_err());
        txn.abort();
        txn.end(ABORT);
        txn.assert_ended();
    }
}

/// T15: what passes is tried again, only for the partitions that need it.
#[test]
fn a_group_that_is_not_ready_is_asked_again() {
    for code in [
        ErrorCode::UNSTABLE_OFFSET_COMMIT,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::CONCURRENT_TRANSACTIONS,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ] {
        let mut txn = Txn::new(Level::Two);
        txn.begin();
        txn.send_offset(41);
        txn.find_at(3);
        txn.offsets_answered(code);
        txn.nothing_asked();
        txn.script.wait(150);
        txn.offsets_answered(ErrorCode::NONE);
        txn.commit();
        txn.end(COMMIT);
        txn.assert_ended();
    }
}

#[test]
fn a_group_whose_coordinator_has_moved_is_found_again() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.send_offset(41);
    txn.find_at(3);
    txn.offsets_answered(ErrorCode::NOT_COORDINATOR);
    txn.script.wait(150);
    txn.find_at(1);
    let asked = txn.asked(ApiKey::TxnOffsetCommit);
    Txn::assert_at(&asked, 1);
    txn.lose(&asked, FailureKind::Unanswered);
    txn.script.wait(300);
    txn.find_at(1);
    txn.offsets_answered(ErrorCode::NONE);
    // The coordinator of the transaction is where it was.
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
}

#[test]
fn offsets_outside_a_transaction_are_refused_and_none_are_no_request() {
    let mut txn = Txn::new(Level::Two);
    let group = || GroupMetadata::without_member("readers");
    let offset = GroupOffset { offset: 1, ..Default::default() };
    let offsets = BTreeMap::from([(TopicPartition::new("orders", 0), offset)]);
    assert_eq!(txn.script.producer.send_offsets(group(), offsets), Err(TransactionError::NoTransaction));
    txn.begin();
    let id = txn.script.producer.send_offsets(group(), BTreeMap::new()).unwrap();
    txn.script.drain();
    assert_eq!(txn.events(), [TransactionEvent::OffsetsSent(id, Ok(()))]);
    txn.commit();
    txn.nothing_asked();
    txn.assert_ended();
}

/// Their waiters are not left alone.
#[test]
fn offsets_on_their_way_are_given_up_with_the_transaction() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let id = txn.send_offset(41);
    txn.find_at(3);
    txn.abort();
    // An end does not overtake them.
    txn.offsets_answered(ErrorCode::NONE);
    txn.end(ABORT);
    let events = txn.events();
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0], TransactionEvent::OffsetsSent(sent, Err(_)) if *sent == id));
}
