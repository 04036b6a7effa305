//! Batches that have to be sent again.

use milena_cluster::FailureKind;
use milena_producer::{Certainty, Delivery, ProduceFailure, ProducerConfig};
use milena_protocol::ErrorCode;

use crate::script::{Produced, Said, Script, config, partition};

/// One acknowledged record, then `count` batches in flight on partition 0.
fn pipeline(script: &mut Script, count: usize) -> (Vec<Produced>, Vec<Delivery>) {
    script.settle(0, 0);
    let mut requests = Vec::new();
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(script.enqueue(0, &format!("record {number}")));
        requests.push(script.only_request());
    }
    (requests, deliveries)
}

#[track_caller]
fn offset(delivery: &Delivery) -> Option<i64> {
    delivery.result().unwrap().unwrap().offset
}

/// P1.
#[test]
fn a_retry_is_the_same_bytes() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 1);
    let mut request = requests[0].clone();
    for kind in [FailureKind::Unanswered, FailureKind::NotSent, FailureKind::Unanswered] {
        script.fail(&request, kind);
        script.no_request();
        script.wait(1_500);
        let again = script.only_request();
        assert_eq!(again.batches, requests[0].batches);
        request = again;
    }
    script.answer(&request, &[Said::code(ErrorCode::REQUEST_TIMED_OUT)]);
    script.wait(1_500);
    let again = script.only_request();
    assert_eq!(again.batches, requests[0].batches);
    script.answer(&again, &[Said::written(1)]);
    assert_eq!(offset(&deliveries[0]), Some(1));
}

/// P2.
#[test]
fn batches_refused_for_the_gap_the_first_one_left_go_out_again_one_by_one_in_order() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 5);
    script.answer(&requests[0], &[Said::code(ErrorCode::NOT_ENOUGH_REPLICAS)]);
    for request in &requests[1..] {
        script.answer(request, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    }
    let newer = script.enqueue(0, "newer");
    script.no_request();
    script.wait(150);
    for (number, first_try) in requests.iter().enumerate() {
        let again = script.next_request().unwrap();
        assert_eq!(again.batches, first_try.batches, "batch {number}");
        // Only behind the last of them is there room for more.
        if number < 4 {
            script.no_request();
        }
        script.answer(&again, &[Said::written(1 + number as i64)]);
        assert_eq!(offset(&deliveries[number]), Some(1 + number as i64));
    }
    assert_eq!(script.ids_asked, 1);
    let request = script.only_request();
    assert_eq!(request.batches[0].base_sequence, 6);
    script.answer(&request, &[Said::written(6)]);
    assert_eq!(offset(&newer), Some(6));
}

/// P5.
#[test]
fn a_duplicate_is_acknowledged_with_the_offset_the_broker_knows() {
    for (known, told) in [(7, Some(7)), (-1, None)] {
        let mut script = Script::new(config(), 1);
        let (requests, deliveries) = pipeline(&mut script, 1);
        script.fail(&requests[0], FailureKind::Unanswered);
        script.wait(150);
        let again = script.only_request();
        let mut answer = partition(&again.batches[0], Said::code(ErrorCode::DUPLICATE_SEQUENCE_NUMBER));
        answer.base_offset = known;
        script.answer_partitions(&again, vec![answer]);
        assert_eq!(offset(&deliveries[0]), told);
    }
}

/// P10.
#[test]
fn a_delivery_that_times_out_between_tries_tells_whether_a_try_had_no_clear_end() {
    for (kind, certainty) in
        [(FailureKind::NotSent, Certainty::NotWritten), (FailureKind::Unanswered, Certainty::MaybeWritten)]
    {
        let mut script = Script::new(config(), 1);
        let (requests, deliveries) = pipeline(&mut script, 1);
        script.run_to(119_990);
        script.fail(&requests[0], kind);
        script.run_to(120_001);
        let error = deliveries[0].result().unwrap().unwrap_err();
        assert_eq!(error.certainty, certainty);
        assert!(error.to_string().contains("the connection is gone"), "{error}");
    }
}

/// P15.
#[test]
fn after_a_disconnect_everything_in_flight_goes_out_again_in_order() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 4);
    script.fail_all(&requests, FailureKind::Unanswered);
    // One pause, the shortest: a connection has failed once, however much was on it.
    script.wait(79);
    script.no_request();
    script.wait(42);
    for (number, first_try) in requests.iter().enumerate() {
        let again = script.only_request();
        assert_eq!(again.batches, first_try.batches, "batch {number}");
        script.answer(&again, &[Said::written(1 + number as i64)]);
    }
    let offsets: Vec<_> = deliveries.iter().map(offset).collect();
    assert_eq!(offsets, [Some(1), Some(2), Some(3), Some(4)]);
}

/// P16.
#[test]
fn a_partition_that_the_answer_leaves_out_is_unknown_and_one_it_invents_is_ignored() {
    let mut script = Script::new(config(), 2);
    script.settle(0, 0);
    script.settle(1, 0);
    let kept = script.try_enqueue(0, "kept").unwrap();
    let left_out = script.try_enqueue(1, "left out").unwrap();
    script.drain();
    let request = script.only_request();
    assert_eq!(request.batches.len(), 2);
    let mut invented = partition(&request.batches[0], Said::written(9));
    invented.index = 77;
    let answered = partition(&request.batches[0], Said::written(1));
    script.answer_partitions(&request, vec![invented, answered]);
    assert_eq!(offset(&kept), Some(1));
    assert!(left_out.result().is_none());
    script.wait(150);
    let again = script.only_request();
    assert_eq!(again.batches, request.batches[1..]);
    script.run_to(130_000);
    assert_eq!(left_out.result().unwrap().unwrap_err().certainty, Certainty::MaybeWritten);
}

/// A batch that is known to be refused for good leaves its numbers to those behind it.
#[test]
fn batches_behind_a_refused_one_take_its_numbers() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 3);
    script.answer(&requests[0], &[Said::code(ErrorCode::INVALID_RECORD)]);
    assert_eq!(deliveries[0].result().unwrap().unwrap_err().certainty, Certainty::NotWritten);
    script.answer(&requests[1], &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    script.no_request();
    script.answer(&requests[2], &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    for number in 1..3 {
        let again = script.only_request();
        assert_eq!(again.batches[0].base_sequence, number);
        script.answer(&again, &[Said::written(number.into())]);
        assert_eq!(offset(&deliveries[number as usize]), Some(number.into()));
    }
    assert_eq!(script.ids_asked, 1);
}

/// Until the broker has a batch of the producer it takes any sequence number for the first: were the first one refused
/// and the second taken, their order would be lost.
#[test]
fn one_batch_is_in_flight_until_the_broker_knows_the_producer() {
    let mut script = Script::new(config(), 1);
    let first = script.enqueue(0, "first");
    let request = script.only_request();
    let second = script.enqueue(0, "second");
    script.no_request();
    script.answer(&request, &[Said::code(ErrorCode::NOT_ENOUGH_REPLICAS)]);
    script.no_request();
    script.wait(150);
    let again = script.only_request();
    assert_eq!(again.batches, request.batches);
    script.answer(&again, &[Said::written(0)]);
    let request = script.only_request();
    assert_eq!(request.batches[0].base_sequence, 1);
    script.answer(&request, &[Said::written(1)]);
    assert_eq!((offset(&first), offset(&second)), (Some(0), Some(1)));
}

/// P3, P19.
#[test]
fn a_gap_in_front_of_the_first_batch_stops_the_partition_and_no_other() {
    let mut script = Script::new(config(), 2);
    let (requests, deliveries) = pipeline(&mut script, 3);
    script.answer(&requests[0], &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    for delivery in &deliveries {
        let error = delivery.result().unwrap().unwrap_err();
        assert_eq!(error.cause, ProduceFailure::Desynchronized);
        assert_eq!(error.certainty, Certainty::MaybeWritten);
        assert_eq!(error.partition.to_string(), "letters-0");
        assert!(error.base_sequence.is_some_and(|sequence| sequence > 0));
    }
    assert!(script.try_enqueue(0, "more").unwrap_err().to_string().contains("takes no more records"));
    for request in &requests[1..] {
        script.answer(request, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    }
    script.wait(10_000);
    script.no_request();
    assert_eq!(script.producer.accumulator().used(), 0);
    script.settle(1, 0);
    assert_eq!(script.ids_asked, 1);
}

/// P3: who asks for it goes on, under another id that nothing old can be mistaken for, once what is in flight has landed. What
/// was in flight is told of as in doubt, however it lands.
#[test]
fn a_partition_goes_on_behind_a_gap_when_it_is_told_to() {
    for said in [
        Said::written(9),
        Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        Said::code(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Said::code(ErrorCode::INVALID_RECORD),
    ] {
        let mut script = Script::new(ProducerConfig { continue_when_desynchronized: true, ..config() }, 1);
        let (requests, deliveries) = pipeline(&mut script, 3);
        script.answer(&requests[0], &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
        for delivery in &deliveries {
            let error = delivery.result().unwrap().unwrap_err();
            assert_eq!(
                (&error.cause, error.certainty),
                (&ProduceFailure::Desynchronized, Certainty::MaybeWritten)
            );
        }
        let newer = script.enqueue(0, "newer");
        script.wait(1_000);
        script.no_request();
        assert_eq!(script.ids_asked, 1, "batches are in flight under the old id");
        script.answer(&requests[1], &[said]);
        script.answer(&requests[2], &[said]);
        script.wait(5_000);
        let request = script.only_request();
        assert_eq!(script.ids_asked, 2, "{said:?}");
        let numbers: Vec<_> =
            request.batches.iter().map(|batch| (batch.producer_id, batch.base_sequence)).collect();
        assert_eq!(numbers, [(1001, 0)], "{said:?}");
        script.answer(&request, &[Said::written(20)]);
        assert_eq!(newer.result().unwrap().unwrap().offset, Some(20), "{said:?}");
        assert_eq!(script.producer.accumulator().used(), 0, "{said:?}");
    }
}

/// P3.
#[test]
fn what_lands_after_a_partition_has_stopped_changes_nothing() {
    for said in [
        Said::written(3),
        Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        Said::code(ErrorCode::UNKNOWN_PRODUCER_ID),
        Said::code(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Said::code(ErrorCode::INVALID_RECORD),
    ] {
        let mut script = Script::new(config(), 1);
        let (requests, deliveries) = pipeline(&mut script, 2);
        script.answer(&requests[0], &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
        script.answer(&requests[1], &[said]);
        script.wait(200_000);
        script.no_request();
        assert_eq!(script.ids_asked, 1, "{said:?}");
        assert_eq!(script.producer.accumulator().used(), 0, "{said:?}");
        let error = deliveries[1].result().unwrap().unwrap_err();
        assert_eq!(error.cause, ProduceFailure::Desynchronized);
    }
}

/// A try without an answer may still reach the broker. That a later try is refused for a gap does not take it back.
#[test]
fn a_batch_refused_for_a_gap_after_an_unanswered_try_stays_possibly_written() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 2);
    // The first one expires without an answer: nobody will try it again.
    script.run_to(119_900);
    let newer = script.enqueue(0, "newer");
    let third = script.only_request();
    script.fail_all(&requests, FailureKind::Unanswered);
    script.fail(&third, FailureKind::Unanswered);
    script.run_to(120_001);
    assert_eq!(deliveries[0].result().unwrap().unwrap_err().certainty, Certainty::MaybeWritten);
    script.wait(2_000);
    let again = script.only_request();
    assert_eq!(again.batches, third.batches);
    script.answer(&again, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    let error = newer.result().unwrap().unwrap_err();
    assert_eq!(error.certainty, Certainty::MaybeWritten, "{error}");
    script.wait(1_000);
    script.settle(0, 9);
}

/// The failures of one broken connection come one by one. What goes out between them, on a new connection, must not push
/// a batch that is still in flight out of what the broker remembers.
#[test]
fn no_more_than_five_batches_go_out_from_the_oldest_unsettled_on() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 5);
    for (number, request) in requests.iter().enumerate().skip(1) {
        script.answer(request, &[Said::written(1 + number as i64)]);
    }
    let newer = script.enqueue(0, "newer");
    script.no_request();
    script.fail(&requests[0], FailureKind::Unanswered);
    script.wait(150);
    let again = script.only_request();
    assert_eq!(again.batches, requests[0].batches);
    script.answer(&again, &[Said::written(1)]);
    assert_eq!(offset(&deliveries[0]), Some(1));
    let request = script.only_request();
    script.answer(&request, &[Said::written(6)]);
    assert_eq!(offset(&newer), Some(6));
}

/// P10.
#[test]
fn a_delivery_that_times_out_in_flight_is_possibly_written_and_new_batches_wait_until_it_lands() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 1);
    script.run_to(120_001);
    let error = deliveries[0].result().unwrap().unwrap_err();
    assert_eq!(error.certainty, Certainty::MaybeWritten);
    assert!(matches!(error.cause, ProduceFailure::DeliveryTimeout { .. }), "{error}");
    assert!(error.to_string().contains("the leader has not answered"), "{error}");
    let newer = script.enqueue(0, "newer");
    script.no_request();
    // It lands after all, and the numbers go on.
    script.answer(&requests[0], &[Said::written(1)]);
    let request = script.only_request();
    assert_eq!((request.batches[0].producer_id, request.batches[0].base_sequence), (1000, 2));
    script.answer(&request, &[Said::written(2)]);
    assert_eq!(offset(&newer), Some(2));
    assert_eq!(script.ids_asked, 1);
}

/// The pause after a failure outlives the batch that failed.
#[test]
fn a_batch_behind_one_that_expired_in_its_pause_goes_out_when_the_pause_ends() {
    let mut script = Script::new(config(), 1);
    let (requests, _deliveries) = pipeline(&mut script, 1);
    script.run_to(119_990);
    let newer = script.enqueue(0, "newer");
    let behind = script.only_request();
    script.answer(&behind, &[Said::code(ErrorCode::INVALID_RECORD)]);
    assert!(newer.result().is_some());
    script.fail(&requests[0], FailureKind::NotSent);
    script.run_to(120_001);
    let newest = script.enqueue(0, "newest");
    script.no_request();
    script.wait(150);
    let request = script.only_request();
    assert_eq!(request.batches[0].base_sequence, 1);
    script.answer(&request, &[Said::written(1)]);
    assert_eq!(offset(&newest), Some(1));
}

/// The try that was not answered may arrive when the number before it has been taken by another batch.
#[test]
fn a_batch_behind_a_hole_with_an_unanswered_try_goes_out_under_a_new_id() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, 2);
    script.answer(&requests[0], &[Said::code(ErrorCode::INVALID_RECORD)]);
    script.fail(&requests[1], FailureKind::Unanswered);
    assert_eq!(script.ids_asked, 2);
    script.wait(150);
    let again = script.only_request();
    assert_eq!((again.batches[0].producer_id, again.batches[0].base_sequence), (1001, 0));
    script.answer(&again, &[Said::written(1)]);
    assert_eq!(offset(&deliveries[1]), Some(1));
}

/// P14: a leader that steps down may have passed the batch on.
#[test]
fn a_batch_a_former_leader_refused_and_nobody_took_is_possibly_written() {
    for (code, certainty) in [
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, Certainty::MaybeWritten),
        (ErrorCode::REQUEST_TIMED_OUT, Certainty::MaybeWritten),
        (ErrorCode::NOT_ENOUGH_REPLICAS, Certainty::NotWritten),
    ] {
        let mut script = Script::new(config(), 1);
        let (requests, deliveries) = pipeline(&mut script, 1);
        script.run_to(119_990);
        script.answer(&requests[0], &[Said::code(code)]);
        script.run_to(120_001);
        assert_eq!(deliveries[0].result().unwrap().unwrap_err().certainty, certainty, "{code}");
    }
}
