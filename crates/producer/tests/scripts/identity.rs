//! Producer ids: when one is asked for, and what becomes of the batches under the old one.

use milena_cluster::FailureKind;
use milena_producer::{Certainty, ProduceFailure, ProducerConfig};
use milena_protocol::{ErrorCode, wire::Uuid};

use crate::script::{Said, Script, TOPIC, config};

/// P6.
#[test]
fn a_new_producer_id_comes_after_everything_old_is_settled_and_numbers_start_at_zero() {
    let mut script = Script::new(config(), 2);
    script.settle(0, 0);
    script.settle(1, 0);
    let lost = script.enqueue(0, "lost");
    let lost_request = script.only_request();
    script.run_to(60_000);
    let other = script.enqueue(1, "other");
    let other_request = script.only_request();
    // Nobody knows whether the first one is written, and nobody will try again.
    script.run_to(120_001);
    script.fail(&lost_request, FailureKind::Unanswered);
    assert_eq!(lost.result().unwrap().unwrap_err().certainty, Certainty::MaybeWritten);
    let newer = [script.enqueue(0, "newer"), script.enqueue(1, "newer")];
    script.wait(5_000);
    script.no_request();
    assert_eq!(script.ids_asked, 1, "a batch is in flight under the old id");
    // What may have been written under the old id is asked for under the old id.
    script.fail(&other_request, FailureKind::Unanswered);
    script.wait(5_000);
    let again = script.only_request();
    assert_eq!(again.batches, other_request.batches);
    assert_eq!(script.ids_asked, 1);
    script.answer(&again, &[Said::written(1)]);
    assert_eq!(other.result().unwrap().unwrap().offset, Some(1));
    assert_eq!(script.ids_asked, 2);
    let request = script.only_request();
    let numbers: Vec<_> = request
        .batches
        .iter()
        .map(|batch| (batch.partition, batch.producer_id, batch.base_sequence))
        .collect();
    assert_eq!(numbers, [(0, 1001, 0), (1, 1001, 0)]);
    script.answer(&request, &[Said::written(1), Said::written(2)]);
    assert!(newer.iter().all(|delivery| delivery.result().unwrap().is_ok()));
}

/// P6: a batch that no broker has is sent under the new id, and only one in flight until the broker knows that.
#[test]
fn a_fenced_batch_that_is_not_written_goes_out_under_a_new_id_after_a_pause() {
    let mut script = Script::new(config(), 1);
    script.settle(0, 0);
    let delivery = script.enqueue(0, "fenced");
    let mut request = script.only_request();
    for asked in 2..8 {
        script.answer(&request, &[Said::code(ErrorCode::INVALID_PRODUCER_EPOCH)]);
        assert_eq!(script.ids_asked, asked);
        script.no_request();
        script.wait(1_500);
        request = script.only_request();
        assert_eq!(request.batches[0].producer_id, 999 + asked);
        assert_eq!(request.batches[0].base_sequence, 0);
    }
    let _behind = script.enqueue(0, "behind");
    script.no_request();
    script.answer(&request, &[Said::written(1)]);
    assert_eq!(delivery.result().unwrap().unwrap().offset, Some(1));
    assert_eq!(script.only_request().batches[0].base_sequence, 1);
}

/// P7.
#[test]
fn a_producer_the_broker_forgot_goes_on_only_when_its_records_are_gone_too() {
    let forgotten = Said::code(ErrorCode::UNKNOWN_PRODUCER_ID);
    for (log_start, ids, stopped) in [(-1, 1, false), (11, 2, false), (10, 1, true), (0, 1, true)] {
        let mut script = Script::new(config(), 1);
        script.settle(0, 10);
        let delivery = script.enqueue(0, "next");
        let request = script.only_request();
        script.answer(&request, &[forgotten.with_log_start(log_start)]);
        assert_eq!(script.ids_asked, ids, "log start {log_start}");
        if stopped {
            let error = delivery.result().unwrap().unwrap_err();
            assert_eq!(error.cause, ProduceFailure::Desynchronized, "log start {log_start}");
            continue;
        }
        script.no_request();
        script.wait(150);
        let again = script.only_request();
        let numbers = (again.batches[0].producer_id, again.batches[0].base_sequence);
        assert_eq!(numbers, if ids == 1 { (1000, 1) } else { (1001, 0) }, "log start {log_start}");
        script.answer(&again, &[Said::written(11)]);
        assert!(delivery.result().unwrap().is_ok());
    }
}

/// Without a topic no producer id is asked for, and nothing says that one is due.
#[test]
fn a_topic_that_vanishes_while_an_id_is_asked_for_does_not_make_the_machine_spin() {
    let mut script = Script::without_metadata(config(), 1);
    script.grants_ids = false;
    assert!(script.try_enqueue(0, "first").is_err());
    script.drain();
    assert_eq!(script.ids_asked, 1);
    script.topic_exists = false;
    script.run_to(400_000);
    assert!(!script.producer.topic_failure(TOPIC).unwrap().is_empty());
    script.fail_id_request(FailureKind::Unanswered);
    script.wait(60_000);
    assert_eq!(script.ids_asked, 1);
    script.topic_exists = true;
    script.grants_ids = true;
    script.wait(5_000);
    assert_eq!(script.ids_asked, 2);
    script.settle(0, 0);
}

/// P9.
#[test]
fn a_topic_out_of_sight_for_a_while_keeps_its_numbers() {
    let mut script = Script::new(config(), 1);
    script.settle(0, 0);
    let delivery = script.enqueue(0, "record");
    let request = script.only_request();
    script.topic_exists = false;
    script.answer(&request, &[Said::code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    script.wait(5_000);
    script.no_request();
    script.topic_exists = true;
    script.wait(1_500);
    let again = script.only_request();
    assert_eq!(again.batches, request.batches);
    script.answer(&again, &[Said::written(1)]);
    assert!(delivery.result().unwrap().is_ok());
    // Two in flight: the broker still knows the producer.
    let _deliveries = [script.enqueue(0, "next"), script.enqueue(0, "after")];
    assert_eq!([0; 2].map(|_| script.next_request().unwrap().batches[0].base_sequence), [2, 3]);
}

/// P9: an answer has the id of its topic and no name. What it says counts, though the topic is out of sight by then or there
/// is another one of the same name: else what was acknowledged would be sent again.
#[test]
fn an_answer_counts_though_its_topic_is_out_of_sight_by_then() {
    for (exists, newer_id) in [(false, 7), (true, 8)] {
        for idempotence in [true, false] {
            let mut script = Script::new(ProducerConfig { idempotence, ..config() }, 2);
            script.settle(0, 0);
            script.settle(1, 0);
            let delivery = script.enqueue(0, "record");
            let request = script.only_request();
            let _other = script.enqueue(1, "brings metadata");
            let other = script.only_request();
            (script.topic_exists, script.topic_id) = (exists, Uuid::from_bytes([newer_id; 16]));
            script.fail(&other, FailureKind::NotSent);
            // Behind it, and so it waits.
            let next = script.enqueue(0, "next");
            script.topic_id = Uuid::from_bytes([7; 16]);
            script.answer(&request, &[Said::written(1)]);
            assert_eq!(delivery.result().unwrap().unwrap().offset, Some(1));
            script.topic_exists = true;
            script.topic_id = Uuid::from_bytes([newer_id; 16]);
            script.wait(5_000);
            let requests = std::iter::from_fn(|| script.next_request());
            let sent: Vec<_> = requests.flat_map(|request| request.batches).collect();
            let of_first = sent.iter().filter(|batch| batch.partition == 0);
            let numbers: Vec<_> = of_first.map(|batch| batch.base_sequence).collect();
            assert_eq!(numbers, [if idempotence { 2 } else { -1 }], "{sent:?}");
            let _behind = script.enqueue(0, "behind");
            // Another topic has nothing of the producer yet.
            let goes_alone = idempotence && exists;
            assert_eq!(script.next_request().is_none(), goes_alone);
            assert!(next.result().is_none());
        }
    }
}

/// P9: the brokers of another topic of the same name know nothing of the producer.
#[test]
fn the_first_batch_to_a_topic_made_anew_goes_alone() {
    let mut script = Script::new(config(), 1);
    script.settle(0, 0);
    let delivery = script.enqueue(0, "record");
    let request = script.only_request();
    script.topic_id = Uuid::from_bytes([8; 16]);
    script.answer(&request, &[Said::code(ErrorCode::UNKNOWN_TOPIC_ID)]);
    script.wait(1_500);
    let again = script.only_request();
    let _behind = script.enqueue(0, "behind");
    script.no_request();
    script.answer(&again, &[Said::written(0)]);
    assert_eq!(delivery.result().unwrap().unwrap().offset, Some(0));
    assert_eq!(script.only_request().batches[0].base_sequence, 2);
}

/// A misspelt topic must not be asked for every second for as long as the producer lives.
#[test]
fn a_topic_that_stays_unknown_is_asked_for_no_longer_than_somebody_wants_it() {
    let mut script = Script::without_metadata(config(), 1);
    script.topic_exists = false;
    for minute in 0..10 {
        script.run_to(minute * 60_000);
        assert!(script.try_enqueue(0, "record").is_err());
        script.drain();
    }
    let asked = script.metadata_asked;
    script.run_to(10 * 60_000);
    assert!(script.metadata_asked > asked + 30, "somebody wants it");
    script.run_to(15 * 60_000);
    let asked = script.metadata_asked;
    script.run_to(60 * 60_000);
    assert!(script.metadata_asked < asked + 15, "{}", script.metadata_asked - asked);
    // Wanted again, and there.
    script.topic_exists = true;
    assert!(script.try_enqueue(0, "record").is_err());
    script.drain();
    script.settle(0, 0);
}

/// A topic that was deleted and made again takes records again.
#[test]
fn a_topic_forgotten_while_it_was_gone_is_found_again_when_a_record_waits_for_it() {
    let mut script = Script::new(config(), 1);
    script.settle(0, 0);
    script.topic_exists = false;
    script.run_to(20 * 60_000);
    let asked = script.metadata_asked;
    let delivery = script.enqueue(0, "record");
    script.wait(60_000);
    script.no_request();
    assert!(script.metadata_asked > asked + 30, "{}", script.metadata_asked - asked);
    script.topic_exists = true;
    script.wait(2_000);
    let request = script.only_request();
    script.answer(&request, &[Said::written(0)]);
    assert!(delivery.result().unwrap().is_ok());
}

/// Neither waits for the other: without a topic no id is asked for, and without an id nothing is sent.
#[test]
fn a_topic_forgotten_before_there_was_an_id_is_found_again_when_a_record_waits_for_it() {
    let mut script = Script::without_metadata(config(), 1);
    script.grants_ids = false;
    assert!(script.try_enqueue(0, "first").is_err());
    script.drain();
    script.topic_exists = false;
    script.run_to(20 * 60_000);
    script.fail_id_request(FailureKind::Unanswered);
    script.run_to(21 * 60_000);
    let delivery = script.enqueue(0, "record");
    script.topic_exists = true;
    script.grants_ids = true;
    script.wait(5_000);
    let request = script.only_request();
    script.answer(&request, &[Said::written(0)]);
    assert!(delivery.result().unwrap().is_ok());
}
