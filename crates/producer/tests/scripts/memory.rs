//! The buffer and its bound.

use milena_cluster::Machine as _;
use milena_producer::{EnqueueError, ProducerConfig, ProducerEvent};
use milena_protocol::ErrorCode;

use crate::script::{Said, Script, config};

const BUFFER: usize = 4_000;

fn small() -> ProducerConfig {
    ProducerConfig { batch_size: 1_000, buffer_memory: BUFFER, ..config() }
}

#[test]
fn the_buffer_refuses_at_its_bound_and_takes_more_when_batches_are_settled() {
    let mut script = Script::new(small(), 1);
    let value = "x".repeat(300);
    let mut deliveries = Vec::new();
    let refusal = loop {
        match script.offer(Some(0), &value) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        assert!(script.producer.accumulator().used() <= BUFFER);
        assert!(deliveries.len() < 100);
    };
    assert!(matches!(refusal, EnqueueError::BufferFull(BUFFER)), "{refusal}");
    assert!(deliveries.len() >= 8, "{}", deliveries.len());
    script.drain();
    let mut offset = 0;
    while let Some(request) = script.next_request() {
        let count = i64::from(request.batches[0].count);
        script.answer(&request, &[Said::written(offset)]);
        offset += count;
        if offset < 4 {
            assert!(script.offer(Some(0), &value).is_ok());
        }
    }
    assert!(deliveries.iter().all(|delivery| delivery.result().is_some()));
    script.drain();
    while let Some(request) = script.next_request() {
        script.answer(&request, &[Said::written(offset)]);
    }
    assert_eq!(script.producer.accumulator().used(), 0);
}

/// P11: a request that nobody waits for any more may still be on its way to the broker.
#[test]
fn p11_the_bytes_of_a_batch_are_left_alone_for_as_long_as_anybody_holds_its_request() {
    let mut script = Script::new(small(), 1);
    let first = script.enqueue(0, &"first".repeat(50));
    let held = script.only_request();
    let before = held.batches[0].bytes.to_vec();
    // Answered while the connection still has it, as when an answer comes before the write is known to be complete.
    script.answer(&held, &[Said::written(0)]);
    assert!(first.result().unwrap().is_ok());
    assert_eq!(script.producer.accumulator().used(), 0);
    for round in 1..10 {
        let _next = script.enqueue(0, &"other".repeat(50));
        let request = script.only_request();
        script.answer(&request, &[Said::written(round)]);
        assert_eq!(held.batches[0].bytes, before, "round {round}");
    }
}

/// Waiting for room that there never is would be waiting for ever.
#[test]
fn a_record_larger_than_the_buffer_is_too_large_and_one_that_fits_an_empty_buffer_is_taken() {
    let mut script = Script::new(small(), 1);
    let error = script.try_enqueue(0, &"x".repeat(BUFFER)).unwrap_err();
    assert!(matches!(error, EnqueueError::TooLarge { limit: BUFFER, .. }), "{error}");
    let large = script.enqueue(0, &"x".repeat(BUFFER - 200));
    let request = script.only_request();
    assert!(matches!(script.try_enqueue(0, &"x".repeat(1_000)), Err(EnqueueError::BufferFull(_))));
    script.answer(&request, &[Said::written(0)]);
    assert!(large.result().unwrap().is_ok());
    script.settle(0, 1);
}

#[test]
fn batches_that_are_given_up_free_their_memory() {
    let mut script = Script::new(small(), 1);
    script.settle(0, 0);
    for code in
        [ErrorCode::INVALID_RECORD, ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::MESSAGE_TOO_LARGE]
    {
        let delivery = script.enqueue(0, "record");
        assert!(script.producer.accumulator().used() > 0);
        let request = script.only_request();
        script.answer(&request, &[Said::code(code)]);
        assert!(delivery.result().unwrap().is_err());
        assert_eq!(script.producer.accumulator().used(), 0, "{code}");
    }
}

#[test]
fn a_request_is_no_larger_than_it_may_be_though_single_records_are_larger_than_a_batch() {
    let mut script = Script::new(ProducerConfig { max_request_size: 10_000, batch_size: 500, ..config() }, 3);
    for partition in 0..3 {
        script.settle(partition, 0);
    }
    let large = "x".repeat(6_000);
    let _deliveries = [0, 1, 2].map(|partition| script.offer(Some(partition), &large).unwrap());
    script.drain();
    for _ in 0..3 {
        assert_eq!(script.next_request().unwrap().batches.len(), 1);
    }
    let _deliveries = [0, 1, 2].map(|partition| script.offer(Some(partition), "small").unwrap());
    script.drain();
    assert_eq!(script.only_request().batches.len(), 3);
}

/// P19.
#[test]
fn records_without_a_key_leave_a_partition_that_has_stopped() {
    let mut script = Script::new(config(), 2);
    let first = script.offer(None, "first").unwrap();
    script.drain();
    let request = script.only_request();
    script.answer(&request, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
    assert!(first.result().unwrap().is_err());
    for number in 0..100 {
        let next = script.offer(None, "next").unwrap();
        assert_ne!(next.partition(), first.partition(), "record {number}");
    }
}

/// Large batches for many partitions take no more memory than small ones for few: what is in use and what is kept for later are
/// bounded together.
#[test]
fn a_hundred_partitions_with_batches_of_a_megabyte_stay_within_the_buffer() {
    const MANY: usize = 8 << 20;
    let config = ProducerConfig {
        batch_size: 1 << 20,
        buffer_memory: MANY,
        linger: std::time::Duration::from_millis(5),
        ..config()
    };
    let mut script = Script::new(config, 100);
    let mut random = fastrand::Rng::with_seed(100);
    let mut highest = 0;
    let mut refused = 0;
    let mut check = |script: &Script| {
        let stats = script.producer.stats();
        highest = highest.max(stats.buffer_used + stats.buffer_idle);
    };
    for round in 0..200 {
        // Bursts into a few partitions, so that their batches become large, and a record here and there.
        let busy = random.i32(0..100);
        for _ in 0..random.usize(0..200) {
            let partition = if random.bool() { busy } else { random.i32(0..100) };
            let value = "x".repeat(random.usize(0..20_000));
            refused += usize::from(script.try_enqueue(partition, &value).is_err());
            check(&script);
        }
        script.wait(random.u64(0..8));
        let mut waiting: Vec<_> = std::iter::from_fn(|| script.next_request()).collect();
        if round % 7 != 0 {
            random.shuffle(&mut waiting);
        }
        for request in waiting {
            let said: Vec<_> = request.batches.iter().map(|_| Said::written(0)).collect();
            script.answer(&request, &said);
            drop(request);
            check(&script);
        }
    }
    assert!(refused > 0, "the bound was never met");
    // A batch may grow by one doubling beyond what was free.
    assert!(highest <= MANY + (1 << 20), "{highest} bytes");
    assert!(highest > MANY / 2, "{highest} bytes are no test of the bound");
}

/// A client with less memory for this producer: what is accepted is sent all the same.
#[test]
fn memory_that_becomes_less_is_waited_for_and_more_is_told() {
    let mut script = Script::new(small(), 1);
    let value = "x".repeat(300);
    let deliveries: Vec<_> = (0..8).map(|_| script.enqueue(0, &value)).collect();
    let used = script.producer.accumulator().used();
    assert!(used > 2_000, "{used}");
    script.producer.set_memory(2_000);
    assert!(matches!(script.try_enqueue(0, &value), Err(EnqueueError::BufferFull(2_000))));
    script.drain();
    let mut offset = 0;
    while let Some(request) = script.next_request() {
        script.answer(&request, &[Said::written(offset)]);
        offset += i64::from(request.batches[0].count);
        script.drain();
    }
    assert!(deliveries.iter().all(|delivery| matches!(delivery.result(), Some(Ok(_)))));
    assert!(script.producer.accumulator().held() <= 2_000, "{}", script.producer.accumulator().held());
    let mut taken = 0;
    while script.try_enqueue(0, &value).is_ok() {
        taken += 1;
        assert!(script.producer.accumulator().used() <= 2_000);
    }
    assert!((3..6).contains(&taken), "{taken}");
    while script.producer.poll_event().is_some() {}
    script.producer.set_memory(BUFFER * 2);
    assert!(std::iter::from_fn(|| script.producer.poll_event()).any(|it| matches!(it, ProducerEvent::Room)));
    while script.try_enqueue(0, &value).is_ok() {}
    let used = script.producer.accumulator().used();
    assert!((2_500..=BUFFER).contains(&used), "{used}: never more than at first");
}
