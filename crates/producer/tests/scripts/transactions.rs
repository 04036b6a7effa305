//! Transactions that go well, or are aborted because a record failed.

use std::time::Duration;

use milena_cluster::FailureKind;
use milena_producer::{
    Certainty, EnqueueError, ProduceFailure, ProducerConfig, Remedy, TransactionError, TransactionEvent,
    TransactionFailure, TransactionPhase,
};
use milena_protocol::{ApiKey, ErrorCode, messages::Request};

use crate::{
    script::{Said, Script},
    txn::{ID, Level, PRODUCER, Txn, transactional},
};

const COMMIT: bool = true;
const ABORT: bool = false;

/// T1: with version 2 Produce adds the partition, and the transaction ends in EndTxn 5.
#[test]
fn version_2_adds_partitions_by_producing() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let delivery = txn.script.enqueue(0, "record");
    txn.nothing_asked();
    let request = txn.script.only_request();
    assert_eq!(request.versions, (12, i16::MAX));
    assert_eq!(request.transactional_id.as_deref(), Some(ID));
    let batch = &request.batches[0];
    assert!(batch.transactional);
    assert_eq!((batch.producer_id, batch.epoch, batch.base_sequence), (PRODUCER, 0, 0));
    txn.commit();
    txn.nothing_asked();
    txn.script.answer(&request, &[Said::written(4)]);
    assert_eq!(delivery.result().unwrap().unwrap().offset, Some(4));
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T1: without it a partition is added before anything is written to it, once, and several at a time.
#[test]
fn version_1_adds_partitions_before_producing() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    let _deliveries = [txn.script.try_enqueue(0, "a").unwrap(), txn.script.try_enqueue(1, "b").unwrap()];
    txn.script.drain();
    txn.script.no_request();
    txn.add(&[0, 1], ErrorCode::NONE);
    let request = txn.script.only_request();
    assert_eq!((request.versions, request.batches.len()), ((3, 11), 2));
    txn.script.answer(&request, &[Said::written(0), Said::written(0)]);
    txn.write(0, 1);
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
    // The next transaction adds its own, under the same epoch, and the numbers go on.
    txn.begin();
    let _delivery = txn.script.enqueue(0, "c");
    txn.add(&[0], ErrorCode::NONE);
    let batch = &txn.script.only_request().batches[0];
    assert_eq!((batch.epoch, batch.base_sequence), (0, 2));
}

/// T1: a cluster that is upgraded is found out about between two transactions.
#[test]
fn a_higher_version_is_adopted_between_two_transactions() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    txn.write_first(0, 0);
    txn.script.run_to(50_000);
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
    txn.level = Level::Two;
    txn.script.run_to(400_000);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "still the old way");
    txn.add(&[0], ErrorCode::NONE);
    let request = txn.script.only_request();
    txn.script.answer(&request, &[Said::written(1)]);
    txn.commit();
    txn.level = Level::One;
    txn.end(COMMIT);
    txn.level = Level::Two;
    txn.tell_level();
    // The epoch is raised by the client, for the one of version 1 did not change.
    let asked = txn.asked(ApiKey::InitProducerId);
    let Request::InitProducerId(request) = &asked.request else { panic!() };
    assert_eq!((request.producer_id, request.producer_epoch), (PRODUCER, 0));
    txn.grant(&asked, PRODUCER, 1);
    txn.begin();
    txn.write_first(0, 2);
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T2.
#[test]
fn an_epoch_is_asked_for_in_a_stable_version_and_without_two_phase_commit() {
    let mut txn = Txn { script: Script::without_metadata(transactional(), 1), level: Level::Two, epoch: 0 };
    txn.script.drain();
    txn.find();
    txn.tell_level();
    assert!(matches!(txn.phase(), TransactionPhase::Initializing));
    let asked = txn.asked(ApiKey::InitProducerId);
    Txn::assert_at(&asked, 2);
    assert_eq!(asked.max_version, 5);
    let Request::InitProducerId(request) = &asked.request else { panic!() };
    assert_eq!(request.transactional_id.as_deref(), Some(ID));
    assert_eq!(request.transaction_timeout_ms, 60_000);
    assert_eq!((request.producer_id, request.producer_epoch), (-1, -1));
    assert!(!request.enable2_pc && !request.keep_prepared_txn);
}

/// T3: the next transaction goes by the id and epoch of the answer, from sequence 0; the id changes when the epochs of
/// the old one are used up.
#[test]
fn the_next_transaction_has_the_id_and_epoch_of_the_answer() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.write_first(0, 0);
    txn.write(0, 1);
    txn.commit();
    txn.end(COMMIT);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "next");
    let request = txn.script.only_request();
    let batch = &request.batches[0];
    assert_eq!((batch.producer_id, batch.epoch, batch.base_sequence), (PRODUCER, 1, 0));
    txn.script.answer(&request, &[Said::written(3)]);
    txn.abort();
    let asked = txn.end_asked(ABORT);
    let rotated = milena_protocol::messages::EndTxnResponse {
        producer_id: PRODUCER + 1,
        producer_epoch: 0,
        ..Default::default()
    };
    txn.answer(&asked, rotated);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "after");
    let batch = &txn.script.only_request().batches[0];
    assert_eq!((batch.producer_id, batch.epoch, batch.base_sequence), (PRODUCER + 1, 0, 0));
}

/// T7: the transaction before is still being written to its partitions: soon it is not.
#[test]
fn a_transaction_that_meets_the_end_of_the_one_before_asks_again_soon() {
    let mut txn = Txn { script: Script::without_metadata(transactional(), 1), level: Level::One, epoch: 0 };
    txn.script.drain();
    txn.find();
    txn.tell_level();
    // Another producer's transaction is being aborted for us.
    txn.refuse_id(ErrorCode::CONCURRENT_TRANSACTIONS);
    txn.nothing_asked();
    txn.script.wait(25);
    let asked = txn.asked(ApiKey::InitProducerId);
    txn.grant(&asked, PRODUCER, 3);
    txn.begin();
    assert!(txn.script.try_enqueue(0, "first").is_err());
    txn.script.drain();
    let _delivery = txn.script.enqueue(0, "record");
    txn.add(&[0], ErrorCode::CONCURRENT_TRANSACTIONS);
    txn.nothing_asked();
    txn.script.wait(25);
    txn.add(&[0], ErrorCode::CONCURRENT_TRANSACTIONS);
    txn.script.wait(49);
    txn.add(&[0], ErrorCode::NONE);
    let request = txn.script.only_request();
    txn.script.answer(&request, &[Said::written(0)]);
    txn.commit();
    txn.end_refused(COMMIT, ErrorCode::CONCURRENT_TRANSACTIONS);
    txn.script.wait(25);
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T7: through Produce as well, in version 2.
#[test]
fn a_batch_that_meets_the_end_of_the_transaction_before_is_sent_again() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let delivery = txn.script.enqueue(0, "record");
    let request = txn.script.only_request();
    txn.script.answer(&request, &[Said::code(ErrorCode::CONCURRENT_TRANSACTIONS)]);
    txn.script.wait(150);
    let again = txn.script.only_request();
    assert_eq!(again.batches, request.batches);
    txn.script.answer(&again, &[Said::written(0)]);
    assert!(delivery.result().unwrap().is_ok());
    txn.commit();
    txn.end(COMMIT);
    txn.assert_ended();
}

/// T8.
#[test]
fn a_transaction_without_anything_in_it_ends_without_a_request() {
    for level in [Level::One, Level::Two] {
        let mut txn = Txn::new(level);
        for committed in [COMMIT, ABORT] {
            txn.begin();
            if committed {
                txn.commit();
            } else {
                txn.abort();
            }
            txn.nothing_asked();
            assert_eq!(txn.events(), [TransactionEvent::Ended(Ok(()))]);
        }
    }
}

/// T8: the coordinator may know of it.
#[test]
fn a_transaction_whose_batches_all_failed_is_aborted_at_the_coordinator() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let delivery = txn.script.enqueue(0, "record");
    let request = txn.script.only_request();
    txn.script.answer(&request, &[Said::code(ErrorCode::TOPIC_AUTHORIZATION_FAILED)]);
    assert_eq!(delivery.result().unwrap().unwrap_err().certainty, Certainty::NotWritten);
    txn.abort();
    txn.end(ABORT);
    txn.assert_ended();
}

/// A commit of a transaction with a failed record would be half of it.
#[test]
fn after_a_failed_record_only_an_abort_is_left() {
    for level in [Level::One, Level::Two] {
        let mut txn = Txn::new(level);
        txn.begin();
        txn.write_first(0, 0);
        let failed = txn.script.enqueue(0, "failed");
        let request = txn.script.only_request();
        let waiting = txn.script.try_enqueue(0, "behind").unwrap();
        txn.script.answer(&request, &[Said::code(ErrorCode::MESSAGE_TOO_LARGE)]);
        assert!(matches!(failed.result().unwrap().unwrap_err().cause, ProduceFailure::TooLarge { .. }));
        let given_up = waiting.result().unwrap().unwrap_err();
        assert_eq!(
            (given_up.cause.clone(), given_up.certainty),
            (ProduceFailure::Aborted, Certainty::NotWritten)
        );
        let error = txn.script.producer.commit(txn.script.now()).unwrap_err();
        assert!(matches!(&error, TransactionError::MustAbort(TransactionFailure::Record(_))), "{error:?}");
        assert_eq!((error.remedy(), error.certainty()), (Remedy::Abort, Certainty::NotWritten));
        let refused = txn.script.try_enqueue(0, "more").unwrap_err();
        assert_eq!(refused, EnqueueError::Transaction(error));
        txn.abort();
        txn.end(ABORT);
        txn.assert_ended();
        txn.begin();
        let _delivery = txn.script.enqueue(0, "next");
        if level == Level::One {
            txn.add(&[0], ErrorCode::NONE);
        }
        let batch = &txn.script.only_request().batches[0];
        // The number of a batch that is not written is free again.
        let expected = if level == Level::One { (0, 1) } else { (1, 0) };
        assert_eq!((batch.epoch, batch.base_sequence), expected, "{level:?}");
    }
}

/// A record that fails while the commit waits for it makes the commit fail.
#[test]
fn a_commit_fails_with_the_record_it_waits_for() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let _failed = txn.script.enqueue(0, "failed");
    let request = txn.script.only_request();
    txn.commit();
    txn.script.answer(&request, &[Said::code(ErrorCode::INVALID_RECORD)]);
    txn.nothing_asked();
    assert_eq!(txn.end_error().remedy(), Remedy::Abort);
    txn.abort();
    txn.end(ABORT);
    txn.assert_ended();
}

/// P4, T10: whether the producer is fenced, its coordinator knows; no other id is asked for mid-transaction.
#[test]
fn trouble_with_the_numbers_ends_the_transaction_and_not_the_producer() {
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::TRANSACTION_ABORTABLE,
        ErrorCode::INVALID_TXN_STATE,
    ] {
        let mut txn = Txn::new(Level::Two);
        txn.begin();
        txn.write_first(0, 0);
        let _delivery = txn.script.enqueue(0, "record");
        let request = txn.script.only_request();
        txn.script.answer(&request, &[Said::code(code)]);
        txn.nothing_asked();
        let error = txn.script.producer.commit(txn.script.now()).unwrap_err();
        assert_eq!(error.remedy(), Remedy::Abort, "{code}");
        txn.abort();
        txn.end(ABORT);
        txn.assert_ended();
        txn.begin();
        txn.write_first(0, 2);
        txn.commit();
        txn.end(COMMIT);
        txn.assert_ended();
    }
}

/// T9: in version 2 too what is in flight is waited for, and nothing new is sent.
#[test]
fn an_abort_waits_for_what_is_in_flight_and_gives_up_the_rest() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    let in_flight = txn.script.enqueue(0, "in flight");
    let request = txn.script.only_request();
    let waiting = txn.script.enqueue(0, "waiting");
    txn.abort();
    assert_eq!(waiting.result().unwrap().unwrap_err().cause, ProduceFailure::Aborted);
    assert!(in_flight.result().is_none());
    txn.nothing_asked();
    txn.script.answer(&request, &[Said::written(0)]);
    assert!(in_flight.result().unwrap().is_ok());
    txn.end(ABORT);
    txn.assert_ended();
}

/// T9: in version 1 a batch that a broker may get yet is settled first: behind the marker it would belong to no
/// transaction, and hold readers up.
#[test]
fn in_version_1_an_abort_waits_until_an_unanswered_batch_is_settled() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "record");
    txn.add(&[0], ErrorCode::NONE);
    let request = txn.script.only_request();
    txn.abort();
    txn.script.fail(&request, FailureKind::Unanswered);
    txn.nothing_asked();
    txn.script.wait(200);
    let again = txn.script.only_request();
    assert_eq!(again.batches, request.batches);
    txn.script.answer(&again, &[Said::written(0)]);
    txn.end(ABORT);
    txn.assert_ended();
    // The first try may reach the broker yet, which would hold its number against those of the next transaction.
    txn.tell_level();
    let asked = txn.asked(ApiKey::InitProducerId);
    txn.grant(&asked, PRODUCER, 1);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "next");
    txn.add(&[0], ErrorCode::NONE);
    let batch = &txn.script.only_request().batches[0];
    assert_eq!((batch.epoch, batch.base_sequence), (1, 0));
}

/// T9: what nobody can settle leads to another epoch, which a late batch of the old one can't get in under.
#[test]
fn in_version_1_another_epoch_follows_a_batch_that_nobody_can_settle() {
    let config = ProducerConfig { delivery_timeout: Duration::from_secs(31), ..transactional() };
    let mut txn = Txn::with(Level::One, config);
    txn.begin();
    let delivery = txn.script.enqueue(0, "record");
    txn.add(&[0], ErrorCode::NONE);
    txn.abort();
    while delivery.result().is_none() {
        if let Some(request) = txn.script.next_request() {
            txn.script.fail(&request, FailureKind::Unanswered);
        }
        txn.nothing_asked();
        txn.script.wait(100);
    }
    while let Some(request) = txn.script.next_request() {
        txn.script.fail(&request, FailureKind::Unanswered);
    }
    assert_eq!(delivery.result().unwrap().unwrap_err().certainty, Certainty::MaybeWritten);
    txn.end(ABORT);
    txn.tell_level();
    let asked = txn.asked(ApiKey::InitProducerId);
    txn.grant(&asked, PRODUCER, 1);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "next");
    txn.add(&[0], ErrorCode::NONE);
    // The pause is for the leader that did not answer.
    txn.script.wait(1_500);
    let batch = &txn.script.only_request().batches[0];
    assert_eq!((batch.epoch, batch.base_sequence), (1, 0));
}

/// T9: an end must not overtake the request that adds a partition.
#[test]
fn an_abort_waits_for_the_answer_to_adding_a_partition() {
    let mut txn = Txn::new(Level::One);
    txn.begin();
    let _delivery = txn.script.enqueue(0, "record");
    txn.script.producer.abort().unwrap();
    txn.script.drain();
    txn.add(&[0], ErrorCode::NONE);
    txn.script.no_request();
    txn.end(ABORT);
    txn.assert_ended();
}

/// T12: a batch that fails while its transaction is being aborted says nothing of the next one.
#[test]
fn a_late_failure_does_not_spoil_the_next_transaction() {
    for level in [Level::One, Level::Two] {
        let mut txn = Txn::new(level);
        txn.begin();
        txn.write_first(0, 0);
        let _late = txn.script.enqueue(0, "late");
        let request = txn.script.only_request();
        txn.abort();
        txn.script.answer(&request, &[Said::code(ErrorCode::INVALID_PRODUCER_EPOCH)]);
        txn.end(ABORT);
        txn.assert_ended();
        txn.begin();
        txn.write_first(0, 1);
        txn.commit();
        txn.end(COMMIT);
        txn.assert_ended();
    }
}

/// T13: the coordinator would abort it soon; a commit on the way then might come too late.
#[test]
fn a_transaction_that_takes_too_long_can_only_be_aborted() {
    let mut txn = Txn::new(Level::Two);
    txn.begin();
    txn.write_first(0, 0);
    let waiting = txn.script.enqueue(1, "waiting");
    let request = txn.script.only_request();
    txn.script.run_to(53_999);
    assert!(matches!(txn.phase(), TransactionPhase::Open));
    txn.script.run_to(54_001);
    let error = txn.script.producer.commit(txn.script.now()).unwrap_err();
    assert_eq!(error, TransactionError::MustAbort(TransactionFailure::TimedOut));
    assert!(waiting.result().is_none(), "it is in flight");
    txn.script.answer(&request, &[Said::written(0)]);
    txn.abort();
    txn.end(ABORT);
    txn.assert_ended();
}

/// Records are refused where no transaction would have them.
#[test]
fn a_record_outside_a_transaction_is_refused() {
    let mut txn = Txn::new(Level::Two);
    let refused = || EnqueueError::Transaction(TransactionError::NoTransaction);
    assert_eq!(txn.script.try_enqueue(0, "record").unwrap_err(), refused());
    txn.begin();
    assert_eq!(txn.script.producer.begin(txn.script.now()), Err(TransactionError::AlreadyOpen));
    txn.write_first(0, 0);
    txn.commit();
    assert_eq!(txn.script.try_enqueue(0, "record").unwrap_err(), refused());
    assert_eq!(txn.script.producer.abort(), Err(TransactionError::Ending));
    assert_eq!(txn.script.producer.begin(txn.script.now()), Err(TransactionError::AlreadyOpen));
    txn.end(COMMIT);
    assert_eq!(txn.script.producer.abort(), Err(TransactionError::NoTransaction));
    assert_eq!(txn.script.producer.commit(txn.script.now()), Err(TransactionError::NoTransaction));
}

/// A producer without a transactional id has no transactions.
#[test]
fn an_idempotent_producer_has_no_transactions() {
    let mut script = Script::new(crate::script::config(), 1);
    let now = script.now();
    assert_eq!(script.producer.begin(now), Err(TransactionError::NotTransactional));
    script.settle(0, 0);
}
