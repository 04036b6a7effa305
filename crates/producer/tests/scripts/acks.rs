//! Producers that are content with less: acks 0 and 1, and no idempotence.

use milena_cluster::FailureKind;
use milena_producer::{
    Acks, Certainty, Delivery, ProduceError, ProduceFailure, ProducerConfig, ProducerEvent,
};
use milena_protocol::ErrorCode;

use crate::script::{Produced, Said, Script, Sent, config};

fn plain(acks: Acks) -> ProducerConfig {
    ProducerConfig { acks, idempotence: false, ..config() }
}

/// So many batches on their way.
fn pipeline(script: &mut Script, count: usize) -> (Vec<Produced>, Vec<Delivery>) {
    let send = |number| {
        let delivery = script.enqueue(0, &format!("record {number}"));
        (script.only_request(), delivery)
    };
    (0..count).map(send).unzip()
}

#[track_caller]
fn offset(delivery: &Delivery) -> Option<i64> {
    delivery.result().unwrap().unwrap().offset
}

#[track_caller]
fn error(delivery: &Delivery) -> ProduceError {
    delivery.result().unwrap().unwrap_err()
}

#[track_caller]
fn is_unnumbered(batch: &Sent) {
    let stamp = (batch.producer_id, batch.epoch, batch.base_sequence, batch.transactional);
    assert_eq!(stamp, (-1, -1, -1, false));
}

#[test]
fn requests_say_who_must_have_a_batch() {
    let mut script = Script::new(config(), 1);
    let (requests, _deliveries) = pipeline(&mut script, 1);
    assert_eq!((requests[0].acks, requests[0].expects_answer, script.ids_asked), (-1, true, 1));
    for (acks, on_the_wire, expects_answer) in
        [(Acks::All, -1, true), (Acks::Leader, 1, true), (Acks::None, 0, false)]
    {
        let mut script = Script::new(plain(acks), 1);
        let (requests, _deliveries) = pipeline(&mut script, 1);
        assert_eq!((requests[0].acks, requests[0].expects_answer), (on_the_wire, expects_answer));
    }
}

#[test]
fn without_idempotence_no_id_is_asked_for_and_batches_have_no_numbers() {
    let mut script = Script::new(ProducerConfig { max_in_flight: 8, ..plain(Acks::Leader) }, 1);
    script.grants_ids = false;
    // No broker has to know the producer first, and none counts to five.
    let (requests, deliveries) = pipeline(&mut script, 8);
    let _ninth = script.enqueue(0, "ninth");
    script.no_request();
    for (request, number) in requests.iter().zip(0..) {
        is_unnumbered(&request.batches[0]);
        script.answer(request, &[Said::written(number)]);
        assert_eq!(offset(&deliveries[number as usize]), Some(number));
    }
    is_unnumbered(&script.only_request().batches[0]);
    assert_eq!(script.ids_asked, 0);
}

/// P1.
#[test]
fn without_idempotence_a_retry_is_the_same_bytes_and_its_end_is_told_without_a_number() {
    let mut script = Script::new(plain(Acks::Leader), 1);
    let (requests, deliveries) = pipeline(&mut script, 1);
    script.fail(&requests[0], FailureKind::Unanswered);
    script.wait(150);
    let again = script.only_request();
    assert_eq!(again.batches, requests[0].batches);
    // The answer says nothing of the first try.
    script.answer(&again, &[Said::code(ErrorCode::INVALID_RECORD)]);
    let error = error(&deliveries[0]);
    assert_eq!((error.certainty, error.base_sequence), (Certainty::MaybeWritten, None));
    assert!(matches!(error.cause, ProduceFailure::Refused { code: ErrorCode::INVALID_RECORD, .. }));
}

/// P10.
#[test]
fn without_idempotence_a_time_out_tells_whether_a_try_had_no_clear_end() {
    for (kind, certainty) in
        [(FailureKind::NotSent, Certainty::NotWritten), (FailureKind::Unanswered, Certainty::MaybeWritten)]
    {
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            let mut script = Script::new(plain(acks), 1);
            let (requests, deliveries) = pipeline(&mut script, 1);
            script.run_to(119_990);
            script.fail(&requests[0], kind);
            script.run_to(120_001);
            let error = error(&deliveries[0]);
            assert_eq!((error.certainty, error.base_sequence), (certainty, None), "acks {acks}");
            // The partition goes on after the pause.
            script.wait(150);
            let (requests, _deliveries) = pipeline(&mut script, 1);
            is_unnumbered(&requests[0].batches[0]);
        }
    }
}

#[test]
fn without_idempotence_one_in_flight_keeps_the_order() {
    for acks in [Acks::All, Acks::Leader] {
        let mut script = Script::new(ProducerConfig { max_in_flight: 1, ..plain(acks) }, 1);
        let (requests, first) = pipeline(&mut script, 1);
        let second = script.enqueue(0, "second");
        let mut request = requests[0].clone();
        for failure in [FailureKind::Unanswered, FailureKind::NotSent, FailureKind::Unanswered] {
            script.no_request();
            script.fail(&request, failure);
            script.no_request();
            script.wait(1_500);
            request = script.only_request();
            assert_eq!(request.batches, requests[0].batches);
        }
        script.answer(&request, &[Said::written(0)]);
        assert_eq!(offset(&first[0]), Some(0));
        let request = script.only_request();
        script.answer(&request, &[Said::written(1)]);
        assert_eq!(offset(&second), Some(1));
    }
}

/// The documentation warns of it: what was in flight behind a batch that has to be sent again is in the log before it.
#[test]
fn without_idempotence_a_retry_comes_behind_what_was_in_flight_with_it() {
    let mut script = Script::new(plain(Acks::Leader), 1);
    let (requests, deliveries) = pipeline(&mut script, 3);
    script.answer(&requests[0], &[Said::code(ErrorCode::NOT_ENOUGH_REPLICAS)]);
    script.answer(&requests[1], &[Said::written(0)]);
    script.wait(150);
    // It waits for the third: more than necessary is not reordered.
    script.no_request();
    script.answer(&requests[2], &[Said::written(1)]);
    let again = script.only_request();
    assert_eq!(again.batches, requests[0].batches);
    script.answer(&again, &[Said::written(2)]);
    let offsets: Vec<_> = deliveries.iter().map(offset).collect();
    assert_eq!(offsets, [Some(2), Some(0), Some(1)]);
}

/// What would be a hole, a lost id or a gap with numbers is the failure of one batch.
#[test]
fn without_idempotence_a_batch_that_fails_troubles_no_other() {
    for code in [
        ErrorCode::INVALID_RECORD,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let mut script = Script::new(plain(Acks::All), 1);
        let (requests, deliveries) = pipeline(&mut script, 3);
        script.answer(&requests[0], &[Said::code(code)]);
        let error = error(&deliveries[0]);
        assert_eq!((error.certainty, error.base_sequence), (Certainty::NotWritten, None));
        assert!(matches!(error.cause, ProduceFailure::Refused { code: told, .. } if told == code), "{error}");
        // The others are still in flight, and more goes out beside them.
        let (more, later) = pipeline(&mut script, 1);
        for (request, number) in requests[1..].iter().chain(&more).zip(0..) {
            script.answer(request, &[Said::written(number)]);
        }
        let offsets: Vec<_> = deliveries[1..].iter().chain(&later).map(offset).collect();
        assert_eq!(offsets, [Some(0), Some(1), Some(2)]);
        assert_eq!(script.ids_asked, 0);
        assert_eq!(script.producer.accumulator().used(), 0);
    }
}

/// P12: also when it had been sent before: the parts would be no more of a repetition than the whole.
#[test]
fn without_idempotence_a_batch_that_is_too_large_is_split() {
    for has_strayed in [false, true] {
        let mut script = Script::new(plain(Acks::Leader), 1);
        let deliveries: Vec<_> =
            (0..4).map(|number| script.offer(Some(0), &format!("record {number}")).unwrap()).collect();
        script.drain();
        let mut whole = script.only_request();
        if has_strayed {
            script.fail(&whole, FailureKind::Unanswered);
            script.wait(150);
            whole = script.only_request();
        }
        script.answer(&whole, &[Said::code(ErrorCode::MESSAGE_TOO_LARGE)]);
        for base_offset in [0, 2] {
            let part = script.only_request();
            is_unnumbered(&part.batches[0]);
            assert_eq!(part.batches[0].count, 2);
            script.answer(&part, &[Said::written(base_offset)]);
        }
        let offsets: Vec<_> = deliveries.iter().map(offset).collect();
        assert_eq!(offsets, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(script.producer.accumulator().used(), 0);
    }
}

/// P17.
#[test]
fn p17_with_acks_0_a_batch_is_done_when_it_is_written_and_nobody_knows_where_it_is() {
    let mut script = Script::new(plain(Acks::None), 1);
    let (requests, deliveries) = pipeline(&mut script, 3);
    let flush = script.producer.flush();
    for (request, delivery) in requests.iter().zip(&deliveries) {
        assert_eq!(delivery.result(), None, "it has not been written");
        script.written(request);
        assert_eq!(offset(delivery), None);
    }
    assert!(script.events.contains(&ProducerEvent::Flushed(flush)));
    assert_eq!(script.producer.accumulator().used(), 0);
    script.wait(200_000);
    script.no_request();
}

/// P17.
#[test]
fn p17_with_acks_0_a_connection_that_dies_before_a_batch_is_written_has_it_sent_again() {
    let mut script = Script::new(plain(Acks::None), 1);
    let (requests, deliveries) = pipeline(&mut script, 3);
    script.written(&requests[0]);
    let asked = script.metadata_asked;
    script.fail(&requests[1], FailureKind::Unanswered);
    script.fail(&requests[2], FailureKind::NotSent);
    assert!(script.metadata_asked > asked, "the leader may be another one");
    for (request, delivery) in requests[1..].iter().zip(&deliveries[1..]) {
        assert_eq!(delivery.result(), None);
        script.wait(150);
        let again = script.only_request();
        assert_eq!(again.batches, request.batches);
        script.written(&again);
        assert_eq!(offset(delivery), None);
    }
}

/// P17: a broker that refuses what it does not answer hangs up, and that is all there is to know.
#[test]
fn p17_with_acks_0_the_end_of_the_connection_has_the_leader_looked_up() {
    let mut script = Script::new(plain(Acks::None), 1);
    let (requests, deliveries) = pipeline(&mut script, 1);
    script.written(&requests[0]);
    script.leaders[0] = (2, 2);
    script.hang_up(&requests[0]);
    assert_eq!(offset(&deliveries[0]), None, "it was told of as sent");
    let (requests, _deliveries) = pipeline(&mut script, 1);
    assert_eq!(requests[0].broker, 2);
}

/// P17: what goes to a broker that has hung up may be lost as well, and one that always does is no reason to hurry.
#[test]
fn p17_with_acks_0_nothing_is_sent_to_who_hung_up_before_the_leaders_are_looked_up() {
    let mut script = Script::without_metadata(plain(Acks::None), 2);
    script.leaders[1] = (2, 1);
    assert!(script.try_enqueue(0, "first").is_err());
    script.drain();
    let (mut refused, mut others) = (Vec::new(), 0);
    for _ in 0..1_000 {
        let _deliveries = [0, 1].map(|partition| script.try_enqueue(partition, "letter").unwrap());
        script.drain();
        while let Some(request) = script.next_request() {
            script.written(&request);
            if request.broker == 1 {
                script.hang_up(&request);
                refused.push(request);
            } else {
                // Another leader has nothing to do with it.
                others += 1;
            }
        }
        script.wait(10);
    }
    assert_eq!(others, 1_000);
    // Several may be on their way when the first is refused.
    assert!((10..60).contains(&refused.len()), "{} in ten seconds", refused.len());
    assert!(script.metadata_asked < 20, "{}", script.metadata_asked);
    // The end of a connection that is in use no more tells nothing of the one that is.
    script.wait(1_500);
    while let Some(request) = script.next_request() {
        script.written(&request);
    }
    script.hang_up(refused.last().unwrap());
    let _delivery = script.enqueue(0, "next");
    assert_eq!(script.only_request().broker, 1);
}

/// P17: the connection is full, and what has not been written is on its way as long as that lasts.
#[test]
fn p17_with_acks_0_requests_that_are_not_written_are_bounded() {
    let mut script = Script::new(ProducerConfig { max_in_flight: 2, ..plain(Acks::None) }, 1);
    let (requests, _deliveries) = pipeline(&mut script, 2);
    let third = script.enqueue(0, "third");
    script.no_request();
    script.written(&requests[0]);
    let request = script.only_request();
    script.written(&request);
    assert_eq!(offset(&third), None);
}

/// P17, P18.
#[test]
fn p17_with_acks_0_a_close_waits_until_all_is_written_and_tells_of_the_rest() {
    let mut script = Script::new(plain(Acks::None), 1);
    let (requests, _deliveries) = pipeline(&mut script, 1);
    script.producer.close(script.now() + std::time::Duration::from_secs(5));
    script.drain();
    assert!(!script.events.contains(&ProducerEvent::Closed));
    script.written(&requests[0]);
    assert!(script.events.contains(&ProducerEvent::Closed));

    let mut script = Script::new(ProducerConfig { max_in_flight: 1, ..plain(Acks::None) }, 1);
    let (_requests, mut deliveries) = pipeline(&mut script, 1);
    deliveries.push(script.enqueue(0, "behind"));
    script.producer.close(script.now() + std::time::Duration::from_secs(5));
    script.wait(5_001);
    let certainties: Vec<_> = deliveries.iter().map(|delivery| error(delivery).certainty).collect();
    assert_eq!(certainties, [Certainty::MaybeWritten, Certainty::NotWritten]);
}

/// P11: whatever its owner has been told, a batch's memory is in use while a request may still be read from it.
#[test]
fn p11_a_batch_is_held_and_charged_until_its_request_has_left_or_the_connection_died() {
    for (acks, ends) in [
        (Acks::None, written as fn(&mut Script, &Produced)),
        (Acks::None, died),
        (Acks::Leader, answered),
        (Acks::Leader, died),
        (Acks::All, answered),
    ] {
        let mut script = Script::new(plain(acks), 1);
        let delivery = script.enqueue(0, "record");
        let used = script.producer.accumulator().used();
        let mut request = script.only_request();
        assert!(used >= request.batches[0].bytes.len());
        script.run_to(120_001);
        let error = error(&delivery);
        assert_eq!(error.certainty, Certainty::MaybeWritten, "acks {acks}");
        let text = error.to_string();
        let missing =
            if acks == Acks::None { "not been written to its connection" } else { "has not answered" };
        assert!(text.contains(missing), "{text}");
        assert_eq!(script.producer.accumulator().used(), used, "acks {acks}: it is still on its way");
        // Memory that nobody holds goes back to the producer's buffers.
        let idle = |script: &Script| script.producer.stats().buffer_idle;
        drop(std::mem::take(&mut request.batches[0].bytes));
        assert_eq!(idle(&script), 0, "acks {acks}: the producer has let go of it");
        ends(&mut script, &request);
        assert_eq!(script.producer.accumulator().used(), 0, "acks {acks}");
        assert!(idle(&script) > 0, "acks {acks}: it is of no more use");
        script.wait(10_000);
        script.no_request();
    }
}

fn written(script: &mut Script, request: &Produced) {
    script.written(request);
}

fn died(script: &mut Script, request: &Produced) {
    script.fail(request, FailureKind::Unanswered);
}

fn answered(script: &mut Script, request: &Produced) {
    script.answer(request, &[Said::written(0)]);
}
