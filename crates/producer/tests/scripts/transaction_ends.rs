//! Ends of transactions that do not go well: lost, refused, fenced, late.

use std::time::Duration;

use milena_cluster::FailureKind;
use milena_producer::{
    Certainty, FatalCause, ProducerEvent, Remedy, TransactionError, TransactionEvent, TransactionFailure,
    TransactionPhase,
};
use milena_protocol::{ApiKey, ErrorCode, messages::Request};

use crate::{
    script::{Said, Script},
    txn::{Level, PRODUCER, Txn, transactional},
};

const COMMIT: bool = true;
const ABORT: bool = false;

/// A transaction with a record, of which the end has been asked for.
fn ending(level: Level, committed: bool) -> Txn {
    let mut txn = Txn::new(level);
    txn.begin();
    txn.write_first(0, 0);
    if committed {
        txn.commit();
    } else {
        txn.abort();
    }
    txn
}

/// T4: in version 2 the coordinator knows the retry by its epoch, though it has raised it.
#[test]
fn an_end_whose_answer_is_lost_is_asked_for_again_under_the_same_epoch() {
    for committed in [COMMIT, ABORT] {
        let mut txn = ending(Level::Two, committed);
        let asked = txn.end_asked(committed);
        txn.lose(&asked, FailureKind::Unanswered);
        txn.script.wait(150);
        txn.find_at(3);
        let again = txn.end_asked(committed);
        Txn::assert_at(&again, 3);
        assert_eq!(again.request, asked.request);
        txn.ended(&again);
        assert_eq!(txn.events(), [TransactionEvent::Ready, TransactionEvent::Ended(Ok(()))].split_at(1).1);
        txn.begin();
        txn.write_first(0, 2);
    }
}

/// T4: in version 1 the late one of two ends would end the next transaction: that gets another epoch.
#[test]
fn in_version_1_another_epoch_follows_an_end_whose_answer_was_lost() {
    for committed in [COMMIT, ABORT] {
        let mut txn = ending(Level::One, committed);
        let asked = txn.end_asked(committed);
        txn.lose(&asked, FailureKind::Unanswered);
        txn.script.wait(150);
        txn.find();
        txn.end(committed);
        txn.assert_ended();
        assert!(matches!(txn.phase(), TransactionPhase::Initializing));
        txn.tell_level();
        let asked = txn.asked(ApiKey::InitProducerId);
        let Request::InitProducerId(request) = &asked.request else { panic!() };
        assert_eq!((request.producer_id, request.producer_epoch), (PRODUCER, 0));
        txn.grant(&asked, PRODUCER, 1);
        txn.begin();
        txn.write_first(0, 2);
    }
}

/// A commit whose answer never comes: the end is not known.
fn unknown(level: Level) -> Txn {
    let mut txn = ending(level, COMMIT);
    let asked = txn.end_asked(COMMIT);
    txn.script.wait(60_001);
    let error = txn.end_error();
    assert!(matches!(error, TransactionError::CommitUnknown(_)), "{error:?}");
    assert_eq!((error.remedy(), error.certainty()), (Remedy::CommitAgain, Certainty::MaybeWritten));
    // That the request is lost comes out later.
    txn.lose(&asked, FailureKind::Unanswered);
    txn.nothing_asked();
    txn
}

/// T4.
#[test]
fn an_unknown_commit_is_never_followed_by_an_abort() {
    let mut txn = unknown(Level::Two);
    assert!(matches!(txn.script.producer.abort(), Err(TransactionError::CommitUnknown(_))));
    assert!(matches!(txn.script.producer.begin(txn.script.now()), Err(TransactionError::CommitUnknown(_))));
    txn.script.wait(120_000);
    txn.nothing_asked();
    txn.commit();
    txn.find();
    txn.end(COMMIT);
    assert_eq!(txn.events(), [TransactionEvent::Ended(Ok(()))]);
    txn.begin();
    txn.write_first(0, 2);
}

/// T4: closing the producer does not abort it either.
#[test]
fn closing_after_an_unknown_commit_leaves_it_alone() {
    let mut txn = unknown(Level::Two);
    let deadline = txn.script.now() + Duration::from_secs(5);
    txn.script.producer.close(deadline);
    txn.script.drain();
    txn.nothing_asked();
    assert_eq!(txn.script.events.last(), Some(&ProducerEvent::Closed));
}

/// T4: a new initialisation ends or awaits what there was. In version 2 it goes by the old epoch, so that a producer that
/// was replaced does not fence the one that replaced it; in version 1 that would fence the producer itself.
#[test]
fn an_unknown_commit_can_be_left_behind_by_a_new_initialisation() {
    for (level, expected) in [(Level::One, (-1, -1)), (Level::Two, (PRODUCER, 0))] {
        let mut txn = unknown(level);
        txn.script.producer.reinitialize().unwrap();
        txn.script.drain();
        txn.script.wait(200);
        txn.find();
        txn.tell_level();
        txn.refuse_id(ErrorCode::CONCURRENT_TRANSACTIONS);
        txn.script.wait(25);
        let asked = txn.asked(ApiKey::InitProducerId);
        let Request::InitProducerId(request) = &asked.request else { panic!() };
        assert_eq!((request.producer_id, request.producer_epoch), expected);
        // An older version has no room for the id.
        assert_eq!(asked.min_version, if expected.0 == -1 { 0 } else { 3 });
        txn.grant(&asked, PRODUCER, 1);
        assert_eq!(txn.events(), [TransactionEvent::Ready]);
        txn.begin();
        txn.write_first(0, 2);
        txn.commit();
        txn.end(COMMIT);
        txn.assert_ended();
    }
}

/// T4: what certainly has not reached the coordinator may be aborted.
#[test]
fn a_commit_that_was_never_sent_may_be_aborted() {
    let mut txn = ending(Level::Two, COMMIT);
    let asked = txn.end_asked(COMMIT);
    txn.lose(&asked, FailureKind::NotSent);
    txn.script.wait(61_000);
    let error = txn.end_error();
    assert!(
        matches!(error, TransactionError::MustAbort(TransactionFailure::Unreachable { .. })),
        "{error:?}"
    );
    assert_eq!(error.certainty(), Certainty::NotWritten);
    txn.abort();
    txn.find();
    txn.end(ABORT);
    txn.assert_ended();
}

/// T5: the coordinator has aborted for the timeout. The producer goes on.
#[test]
fn a_commit_that_comes_behind_the_coordinators_abort_is_told_so_and_the_producer_goes_on() {
    let mut txn = ending(Level::Two, COMMIT);
    txn.end_refused(COMMIT, ErrorCode::INVALID_TXN_STATE);
    txn.find();
    txn.end_refused(COMMIT, ErrorCode::INVALID_TXN_STATE);
    let error = txn.end_error();
    assert_eq!(error, TransactionError::AbortedByCoordinator);
    assert_eq!((error.remedy(), error.certainty()), (Remedy::Begin, Certainty::NotWritten));
    txn.tell_level();
    let asked = txn.asked(ApiKey::InitProducerId);
    let Request::InitProducerId(request) = &asked.request else { panic!() };
    assert_eq!((request.producer_id, request.producer_epoch), (PRODUCER, 0));
    txn.grant(&asked, PRODUCER, 1);
    txn.begin();
    txn.write_first(0, 2);
}

/// T5, T6: the first try did it, and a coordinator on its way out did not know.
#[test]
fn one_answer_of_a_coordinator_that_moves_away_is_not_the_last_word() {
    for code in [
        ErrorCode::INVALID_TXN_STATE,
        ErrorCode::PRODUCER_FENCED,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let mut txn = ending(Level::Two, COMMIT);
        txn.end_refused(COMMIT, code);
        txn.find_at(3);
        let again = txn.end_asked(COMMIT);
        Txn::assert_at(&again, 3);
        txn.ended(&again);
        txn.assert_ended();
    }
}

/// T10, T17: another producer has taken over.
#[test]
fn a_fenced_producer_is_at_its_end() {
    for code in [ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_EPOCH] {
        let mut txn = ending(Level::Two, COMMIT);
        txn.end_refused(COMMIT, code);
        txn.find();
        txn.end_refused(COMMIT, code);
        let error = txn.end_error();
        assert_eq!((error.remedy(), error.certainty()), (Remedy::NewProducer, Certainty::NotWritten));
        txn.assert_fenced(ApiKey::EndTxn, code);
        txn.script.wait(120_000);
        txn.nothing_asked();
    }
}

/// T10: and whether its last commit was done before, nobody can tell it.
#[test]
fn a_producer_fenced_after_an_unanswered_commit_does_not_know_how_that_ended() {
    let mut txn = ending(Level::Two, COMMIT);
    let asked = txn.end_asked(COMMIT);
    txn.lose(&asked, FailureKind::Unanswered);
    txn.script.wait(150);
    txn.find();
    txn.end_refused(COMMIT, ErrorCode::PRODUCER_FENCED);
    txn.find();
    txn.end_refused(COMMIT, ErrorCode::PRODUCER_FENCED);
    let error = txn.end_error();
    assert_eq!((error.remedy(), error.certainty()), (Remedy::NewProducer, Certainty::MaybeWritten));
}

/// T10, T17: found out when the first partition is added, or by an abort.
#[test]
fn a_fence_is_found_by_whatever_request_comes_first() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    let delivery = txn.script.enqueue(0, "record");
    txn.add(&[0], ErrorCode::PRODUCER_FENCED);
    txn.find();
    txn.add(&[0], ErrorCode::PRODUCER_FENCED);
    assert_eq!(delivery.result().unwrap().unwrap_err().certainty, Certainty::NotWritten);
    txn.assert_fenced(ApiKey::AddPartitionsToTxn, ErrorCode::PRODUCER_FENCED);
    assert!(matches!(txn.events()[..], [TransactionEvent::Fatal(_)]));

    let mut txn = ending(Level::Two, ABORT);
    txn.end_refused(ABORT, ErrorCode::PRODUCER_FENCED);
    txn.find();
    txn.end_refused(ABORT, ErrorCode::PRODUCER_FENCED);
    assert_eq!(txn.end_error().remedy(), Remedy::NewProducer);
}

/// T11.
#[test]
fn abortable_answers_an_abort_only_once() {
    let mut txn = ending(Level::Two, COMMIT);
    txn.end_refused(COMMIT, ErrorCode::TRANSACTION_ABORTABLE);
    assert_eq!(txn.end_error().remedy(), Remedy::Abort);
    txn.abort();
    txn.end_refused(ABORT, ErrorCode::TRANSACTION_ABORTABLE);
    let error = txn.end_error();
    let TransactionError::Fatal(fatal) = &error else { panic!("{error:?}") };
    let code = ErrorCode::TRANSACTION_ABORTABLE;
    assert_eq!(fatal.cause, FatalCause::Refused { api: ApiKey::EndTxn, code });
}

/// T11: after a try that was never answered not even that is an abort's leave.
#[test]
fn abortable_behind_an_unanswered_commit_leaves_it_unknown() {
    let mut txn = ending(Level::Two, COMMIT);
    let asked = txn.end_asked(COMMIT);
    txn.lose(&asked, FailureKind::Unanswered);
    txn.script.wait(150);
    txn.find();
    txn.end_refused(COMMIT, ErrorCode::TRANSACTION_ABORTABLE);
    assert_eq!(txn.end_error().remedy(), Remedy::CommitAgain);
}

/// T16: and others that come as well when the coordinator has begun.
#[test]
fn an_error_of_the_server_leaves_the_end_unknown() {
    for code in
        [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::REQUEST_TIMED_OUT, ErrorCode::COORDINATOR_NOT_AVAILABLE]
    {
        let mut txn = ending(Level::Two, COMMIT);
        txn.end_refused(COMMIT, code);
        let end = txn.script.now() + Duration::from_secs(60);
        while txn.script.now() < end {
            txn.script.wait(1_300);
            while let Some(asked) = txn.script.asked.pop_front() {
                match asked.api() {
                    ApiKey::EndTxn => {
                        txn.script.asked.push_front(asked);
                        txn.end_refused(COMMIT, code);
                    }
                    _ => {
                        txn.script.asked.push_front(asked);
                        txn.find();
                    }
                }
                if txn.script.now() >= end {
                    break;
                }
            }
        }
        let error = txn.end_error();
        assert!(matches!(error, TransactionError::CommitUnknown(_)), "{code}: {error:?}");
        assert!(error.to_string().contains(&code.to_string()), "{error}");
    }
}

/// T13: one that takes over aborts what the one before left open.
#[test]
fn a_take_over_waits_for_the_abort_of_what_was_open() {
    let mut txn = Txn { script: Script::without_metadata(transactional(), 1), level: Level::Two, epoch: 0 };
    txn.script.drain();
    txn.find();
    txn.tell_level();
    for wait in [25, 49, 97, 193] {
        txn.refuse_id(ErrorCode::CONCURRENT_TRANSACTIONS);
        txn.script.wait(wait);
    }
    let asked = txn.asked(ApiKey::InitProducerId);
    txn.grant(&asked, PRODUCER, 9);
    assert_eq!(txn.events(), [TransactionEvent::Ready]);
}

/// An abort that nobody confirms can be asked for again; the coordinator aborts by itself in the end.
#[test]
fn an_abort_that_is_not_confirmed_may_be_repeated() {
    let mut txn = ending(Level::Two, ABORT);
    let asked = txn.end_asked(ABORT);
    txn.script.wait(60_001);
    let error = txn.end_error();
    assert!(matches!(error, TransactionError::MustAbort(TransactionFailure::AbortUnconfirmed { .. })));
    txn.lose(&asked, FailureKind::Unanswered);
    txn.abort();
    txn.find();
    txn.end(ABORT);
    txn.assert_ended();
}

/// A transaction that is open when the producer closes is aborted, within the deadline.
#[test]
fn closing_aborts_what_is_open() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.write_first(0, 0);
    let _in_flight = txn.script.enqueue(0, "in flight");
    let request = txn.script.only_request();
    txn.script.producer.close(txn.script.now() + Duration::from_secs(5));
    txn.script.drain();
    txn.nothing_asked();
    txn.script.answer(&request, &[Said::written(1)]);
    txn.end(ABORT);
    assert_eq!(txn.script.events.last(), Some(&ProducerEvent::Closed));
    assert_eq!(txn.script.producer.begin(txn.script.now()), Err(TransactionError::Closed));

    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.write_first(0, 0);
    txn.commit();
    let _never_answered = txn.end_asked(COMMIT);
    txn.script.producer.close(txn.script.now() + Duration::from_secs(5));
    txn.script.drain();
    txn.script.wait(5_001);
    assert_eq!(txn.script.events.last(), Some(&ProducerEvent::Closed));
    assert!(matches!(txn.end_error(), TransactionError::CommitUnknown(_)));
}

/// What a coordinator will never grant is told at once.
#[test]
fn an_initialisation_that_is_refused_is_the_end() {
    for code in [ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ErrorCode::INVALID_TRANSACTION_TIMEOUT] {
        let mut txn =
            Txn { script: Script::without_metadata(transactional(), 1), level: Level::Two, epoch: 0 };
        txn.script.drain();
        txn.find();
        txn.tell_level();
        txn.refuse_id(code);
        let events = txn.events();
        let [TransactionEvent::Fatal(fatal)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(fatal.cause, FatalCause::Refused { api: ApiKey::InitProducerId, code });
    }
}
