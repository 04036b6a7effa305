//! Linger, flush and close.

use std::time::Duration;

use milena_cluster::{FailureKind, Machine};
use milena_producer::{Certainty, EnqueueError, ProduceFailure, ProducerConfig, ProducerEvent};

use crate::script::{Said, Script, config};

fn lingering() -> Script {
    let mut script = Script::new(ProducerConfig { linger: Duration::from_millis(50), ..config() }, 2);
    let first = script.enqueue(0, "first");
    script.wait(50);
    let request = script.only_request();
    script.answer(&request, &[Said::written(0)]);
    assert!(first.result().unwrap().is_ok());
    script.events.clear();
    script
}

#[test]
fn a_batch_lingers_from_its_first_record_on() {
    let mut script = lingering();
    let _first = script.enqueue(0, "first");
    script.wait(30);
    let _second = script.enqueue(0, "second");
    script.wait(19);
    script.no_request();
    script.wait(1);
    let request = script.only_request();
    assert_eq!(request.batches[0].count, 2);
}

#[test]
fn a_full_batch_does_not_linger_and_the_one_behind_it_is_not_forgotten() {
    let mut script = lingering();
    let large = "x".repeat(10_000);
    let _deliveries = [script.enqueue(0, &large), script.enqueue(0, &large)];
    let full = script.only_request();
    assert_eq!(full.batches[0].count, 1);
    script.wait(49);
    script.no_request();
    script.wait(1);
    assert_eq!(script.only_request().batches[0].count, 1);
}

/// Both batches wait for the same answer: one is full, the other has lingered meanwhile.
#[test]
fn a_batch_that_has_lingered_behind_a_full_one_goes_out_next() {
    let mut script = Script::new(ProducerConfig { max_in_flight: 1, ..config() }, 1);
    script.settle(0, 0);
    let large = "x".repeat(10_000);
    let _first = script.enqueue(0, "first");
    let mut request = script.only_request();
    let _behind = [script.enqueue(0, &large), script.enqueue(0, &large), script.enqueue(0, "last")];
    script.wait(10);
    script.no_request();
    for (offset, count) in [(1, 1), (2, 2)] {
        script.answer(&request, &[Said::written(offset)]);
        request = script.only_request();
        assert_eq!(request.batches[0].count, count);
    }
    script.answer(&request, &[Said::written(3)]);
    script.no_request();
    assert_eq!(script.producer.accumulator().used(), 0);
}

/// P18.
#[test]
fn a_flush_covers_what_was_accepted_before_it_and_nothing_else() {
    let mut script = lingering();
    let _before = script.enqueue(0, "before");
    let id = script.producer.flush();
    script.drain();
    let request = script.only_request();
    let _after = script.enqueue(1, "after");
    assert!(!script.events.contains(&ProducerEvent::Flushed(id)));
    script.answer(&request, &[Said::written(1)]);
    assert!(script.events.contains(&ProducerEvent::Flushed(id)));
    script.no_request();
    script.wait(50);
    assert_eq!(script.only_request().batches[0].partition, 1);
}

/// P18.
#[test]
fn a_flush_of_nothing_ends_at_once_and_one_of_what_fails_ends_with_it() {
    let mut script = lingering();
    let id = script.producer.flush();
    script.drain();
    assert!(script.events.contains(&ProducerEvent::Flushed(id)));
    let delivery = script.enqueue(0, "expires");
    let id = script.producer.flush();
    script.drain();
    let request = script.only_request();
    script.fail(&request, FailureKind::NotSent);
    script.wait(119_000);
    assert!(!script.events.contains(&ProducerEvent::Flushed(id)));
    script.wait(1_001);
    assert!(script.events.contains(&ProducerEvent::Flushed(id)));
    assert!(delivery.result().unwrap().is_err());
}

/// P18.
#[test]
fn after_close_nothing_is_accepted_and_what_was_accepted_is_sent() {
    let mut script = lingering();
    let delivery = script.enqueue(0, "last words");
    script.producer.close(script.now() + Duration::from_secs(10));
    script.drain();
    // Whoever waits for room must learn that there will be none.
    assert!(script.events.contains(&ProducerEvent::Room));
    assert!(matches!(script.try_enqueue(0, "too late"), Err(EnqueueError::Closed)));
    assert!(!script.events.contains(&ProducerEvent::Closed));
    let request = script.only_request();
    script.answer(&request, &[Said::written(1)]);
    assert!(delivery.result().unwrap().is_ok());
    assert_eq!(script.events.iter().filter(|event| **event == ProducerEvent::Closed).count(), 1);
    assert_eq!(script.producer.poll_timeout(), None);
    let id = script.producer.flush();
    script.drain();
    assert!(script.events.contains(&ProducerEvent::Flushed(id)));
}

/// P18.
#[test]
fn close_gives_up_what_is_not_acknowledged_at_its_deadline() {
    let mut script = lingering();
    let in_flight = script.enqueue(0, "in flight");
    script.wait(50);
    let request = script.only_request();
    let id = script.producer.flush();
    // A second close may be less patient, not more.
    script.producer.close(script.now() + Duration::from_secs(60));
    script.producer.close(script.now() + Duration::from_secs(1));
    script.producer.close(script.now() + Duration::from_secs(30));
    script.drain();
    script.wait(999);
    assert!(in_flight.result().is_none());
    script.wait(1);
    let error = in_flight.result().unwrap().unwrap_err();
    assert_eq!((error.certainty, error.cause.clone()), (Certainty::MaybeWritten, ProduceFailure::Closed));
    assert!(script.events.contains(&ProducerEvent::Closed));
    assert!(script.events.contains(&ProducerEvent::Flushed(id)));
    assert_eq!(script.producer.accumulator().used(), 0);
    // What lands afterwards is of no interest.
    script.answer(&request, &[Said::written(1)]);
    script.wait(600_000);
    script.no_request();
}

#[test]
fn close_tells_what_was_never_sent_from_what_may_be_written() {
    let mut script = Script::without_metadata(config(), 1);
    script.grants_ids = false;
    assert!(script.try_enqueue(0, "first").is_err());
    script.drain();
    let never_sent = script.enqueue(0, "never sent");
    script.producer.close(script.now() + Duration::from_secs(1));
    script.drain();
    script.wait(1_000);
    let error = never_sent.result().unwrap().unwrap_err();
    assert_eq!((error.certainty, error.cause.clone()), (Certainty::NotWritten, ProduceFailure::Closed));
    assert!(script.events.contains(&ProducerEvent::Closed));
}
