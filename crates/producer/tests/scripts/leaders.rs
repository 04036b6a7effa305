//! Leaders that move, and topics that do not turn up.

use milena_cluster::FailureKind;
use milena_producer::EnqueueError;
use milena_protocol::ErrorCode;

use crate::script::{Said, Script, config};

/// P13.
#[test]
fn nothing_goes_to_a_new_leader_before_the_old_ones_requests_are_settled() {
    let mut script = Script::new(config(), 2);
    script.settle(0, 0);
    script.settle(1, 0);
    let old = script.enqueue(0, "to the old leader");
    let old_request = script.only_request();
    script.leaders[0] = (2, 2);
    // The other partition's trouble brings new metadata.
    let other = script.enqueue(1, "other");
    let other_request = script.only_request();
    script.answer(&other_request, &[Said::code(ErrorCode::LEADER_NOT_AVAILABLE)]);
    let newer = script.enqueue(0, "to the new leader");
    script.wait(150);
    let request = script.only_request();
    assert_eq!((request.broker, request.batches[0].partition), (1, 1));
    script.answer(&request, &[Said::written(1)]);
    assert!(other.result().unwrap().is_ok());
    script.wait(5_000);
    script.no_request();
    // The connection to the old leader dies; the retry goes to the new one, and what is behind it follows.
    script.fail(&old_request, FailureKind::Unanswered);
    script.wait(150);
    let request = script.next_request().unwrap();
    assert_eq!(request.broker, 2);
    assert_eq!(request.batches, old_request.batches);
    script.answer(&request, &[Said::written(1)]);
    assert_eq!(old.result().unwrap().unwrap().offset, Some(1));
    let request = script.next_request().unwrap();
    assert_eq!(request.broker, 2);
    script.answer(&request, &[Said::written(2)]);
    assert_eq!(newer.result().unwrap().unwrap().offset, Some(2));
}

/// P14.
#[test]
fn a_new_leader_named_in_the_answer_is_used_at_once_if_its_epoch_is_newer() {
    for (epoch, broker) in [(1, 1), (2, 3)] {
        let mut script = Script::new(config(), 1);
        script.settle(0, 0);
        let delivery = script.enqueue(0, "record");
        let request = script.only_request();
        let asked = script.metadata_asked;
        let said = Said::code(ErrorCode::NOT_LEADER_OR_FOLLOWER).led_by(3, epoch);
        script.answer(&request, &[said]);
        assert_eq!(script.metadata_asked, asked + 1);
        if epoch == 1 {
            // No news: the broker that refused is not asked again before a pause.
            script.no_request();
            script.wait(150);
        }
        let again = script.only_request();
        assert_eq!(again.broker, broker);
        assert_eq!(again.batches, request.batches);
        script.answer(&again, &[Said::written(1)]);
        assert_eq!(delivery.result().unwrap().unwrap().offset, Some(1));
    }
}

/// M3.
#[test]
fn a_partition_without_a_leader_keeps_its_records_and_asks_for_one() {
    let mut script = Script::new(config(), 1);
    script.settle(0, 0);
    let delivery = script.enqueue(0, "record");
    let request = script.only_request();
    script.leaders[0] = (-1, 2);
    script.answer(&request, &[Said::code(ErrorCode::NOT_LEADER_OR_FOLLOWER)]);
    let asked = script.metadata_asked;
    script.wait(10_000);
    script.no_request();
    let tries = script.metadata_asked - asked;
    assert!((5..=20).contains(&tries), "{tries}");
    script.leaders[0] = (3, 3);
    script.wait(1_500);
    let again = script.only_request();
    assert_eq!((again.broker, &again.batches), (3, &request.batches));
    script.answer(&again, &[Said::written(1)]);
    assert!(delivery.result().unwrap().is_ok());
}

#[test]
fn a_topic_that_does_not_turn_up_is_asked_for_as_long_as_somebody_wants_it() {
    let mut script = Script::without_metadata(config(), 1);
    script.topic_exists = false;
    let want = |script: &mut Script| {
        assert!(matches!(script.try_enqueue(0, "record"), Err(EnqueueError::UnknownTopic(_))));
        script.drain();
    };
    want(&mut script);
    script.wait(200_000);
    want(&mut script);
    let asked = script.metadata_asked;
    script.wait(290_000);
    assert!(script.metadata_asked > asked + 200);
    assert!(script.producer.topic_failure("letters").is_some());
    script.wait(20_000);
    let asked = script.metadata_asked;
    script.wait(250_000);
    assert_eq!(script.metadata_asked, asked);
    assert_eq!(script.producer.topic_failure("letters"), None);
    script.topic_exists = true;
    want(&mut script);
    assert!(script.producer.accumulator().knows("letters"));
}
