//! Batches that have to be sent again, and those that can't be.

use std::time::Duration;

use milena::{Certainty, Compression, ProduceFailure, SendError};
use milena_protocol::{ApiKey, ErrorCode};
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Stage, within},
};
use tokio::time::sleep;

use crate::{
    CORRUPT, acknowledge, corrupt, enqueue, is_given_up, of_partition, one_producer, send, sequences,
};

/// P1: whatever became of the tries before, a batch goes out again as the same bytes, and is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_batch_goes_out_again_as_the_same_bytes() {
    const COUNT: usize = 3;
    let stage = Stage::set(&Cluster::from_env().unwrap(), "same-bytes").await;
    let builder = stage.quick().linger(Duration::from_millis(50)).request_timeout(Duration::from_secs(2));
    let producer = builder.compression(Compression::Lz4).build().unwrap();
    send(&stage, &producer, 0, "first").await;
    let mut values = vec!["first".to_owned()];
    for (what, act, times) in [
        ("not sent", Act::CutRequest, 2),
        ("cut", Act::CutReply, 2),
        ("muted", Act::MuteReply, 1),
        ("corrupted", CORRUPT, 2),
    ] {
        let before = stage.sent().len();
        stage.proxy.rule(ApiKey::Produce, act, times);
        let records: Vec<_> = (0..COUNT).map(|number| format!("{what} {number}")).collect();
        let deliveries = producer.enqueue_all(records.iter().map(|value| stage.record(0, value.as_str())));
        let mut offsets = Vec::new();
        for delivery in within(deliveries).await.unwrap() {
            offsets.push(within(delivery).await.unwrap().offset.unwrap() as usize);
        }
        assert_eq!(offsets, (values.len()..values.len() + COUNT).collect::<Vec<_>>(), "{what}");
        let tries = stage.sent().split_off(before);
        assert!(tries.len() > times, "{what}: {tries:?}");
        for again in &tries {
            // The header with its producer, sequence and timestamps is in the bytes.
            assert_eq!(again.bytes, tries[0].bytes, "{what}");
            assert_eq!((again.base_sequence as usize, again.count as usize), (values.len(), COUNT), "{what}");
        }
        values.extend(records);
    }
    one_producer(&stage.sent());
    stage.expect_each(&[values, Vec::new()]).await;
    stage.strike().await;
}

/// P2: the broker refuses a batch for what passes, and those that are in flight behind it for the gap. They go out again
/// in their order, one by one, under the numbers and the epoch that they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn what_a_broker_refuses_for_the_gap_of_another_goes_out_again_in_order() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "behind-a-gap").await;
    let producer = stage.quick().build().unwrap();
    send(&stage, &producer, 0, "first").await;
    // Holds up those behind it until all of them are in flight.
    stage.proxy.rule(ApiKey::Produce, Act::HoldRequest, 1);
    stage.proxy.rule(ApiKey::Produce, CORRUPT, 1);
    let mut deliveries = Vec::new();
    for value in ["held", "corrupted", "behind 1", "behind 2", "behind 3"] {
        deliveries.push(enqueue(&stage, &producer, 0, value).await);
    }
    within(stage.proxy.until_met(1)).await;
    stage.proxy.release();
    for (delivery, offset) in deliveries.into_iter().zip(1..) {
        assert_eq!(within(delivery).await.unwrap().offset, Some(offset));
    }
    send(&stage, &producer, 0, "later").await;

    let sent = stage.sent();
    one_producer(&sent);
    let (tries, again) = sent.split_at(6);
    let codes: Vec<_> = tries.iter().map(|sent| sent.code().unwrap()).collect();
    let gap = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, ErrorCode::CORRUPT_MESSAGE, gap, gap, gap]);
    assert_eq!(sequences(again), [2, 3, 4, 5, 6]);
    let (again, _) = again.split_at(4);
    for (again, first) in again.iter().zip(&tries[2..]) {
        assert_eq!((&again.bytes, again.code()), (&first.bytes, Some(ErrorCode::NONE)));
    }
    // Each of them waits for the one before it.
    for pair in again.windows(2) {
        assert!(pair[1].at > pair[0].answer.unwrap().0, "{pair:?}");
    }
    stage
        .expect_each(&[
            &["first", "held", "corrupted", "behind 1", "behind 2", "behind 3", "later"] as &[&str],
            &[],
        ])
        .await;
    stage.strike().await;
}

/// P3: a broker lacks what was acknowledged, and so refuses the next batch in line. What became of it and of those behind
/// it nobody can say, and the partition takes no more; others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_partition_stops_when_its_broker_lacks_what_was_acknowledged() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "desynchronized").await;
    let producer = stage.quick().build().unwrap();
    for partition in 0..2 {
        send(&stage, &producer, partition, "first").await;
    }
    stage.proxy.rule(ApiKey::Produce, Act::Change(corrupt, acknowledge), 1);
    assert_eq!(send(&stage, &producer, 0, "lost").await.offset, Some(1));

    stage.proxy.rule(ApiKey::Produce, Act::HoldRequest, 1);
    let mut deliveries = Vec::new();
    for value in ["next", "behind 1", "behind 2"] {
        deliveries.push(enqueue(&stage, &producer, 0, value).await);
    }
    within(stage.proxy.until_met(2)).await;
    stage.proxy.release();
    for (delivery, sequence) in deliveries.into_iter().zip(2..) {
        let error = within(delivery).await.unwrap_err();
        assert_eq!(
            (&error.cause, error.certainty),
            (&ProduceFailure::Desynchronized, Certainty::MaybeWritten)
        );
        assert_eq!((&error.partition, error.base_sequence), (&stage.partition(0), Some(sequence)));
    }
    let refused = within(producer.send(stage.record(0, "never"))).await.unwrap_err();
    assert_eq!(refused.certainty(), Certainty::NotWritten);
    assert!(refused.to_string().contains("takes no more records"), "{refused}");
    send(&stage, &producer, 1, "after").await;
    within(producer.close(Duration::from_secs(10))).await.unwrap();

    let sent = stage.sent();
    one_producer(&sent);
    let stopped = of_partition(&sent, 0);
    assert_eq!(sequences(&stopped), [0, 1, 2, 3, 4]);
    for refused in &stopped[2..] {
        assert_eq!(refused.code(), Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    stage.expect_each(&[&["first"] as &[&str], &["first", "after"]]).await;
    stage.strike().await;
}

/// P10: the time for a record is over while its batch is in flight. It may be written, and nothing new goes out before that
/// is decided: under the same numbers when the answer comes after all, under a new id when it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn nothing_goes_out_behind_a_batch_that_expired_before_it_lands() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "expired").await;
    // The second try is in flight when the time is over.
    let builder = stage.quick().request_timeout(Duration::from_secs(4));
    let producer = builder.delivery_timeout(Duration::from_millis(5_500)).build().unwrap();
    send(&stage, &producer, 0, "first").await;

    stage.proxy.rule(ApiKey::Produce, Act::MuteReply, 1);
    stage.proxy.rule(ApiKey::Produce, Act::HoldReply, 1);
    is_given_up(enqueue(&stage, &producer, 0, "late").await).await;
    let newer = within(producer.enqueue(stage.record(0, "behind"))).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    stage.until_answered(0).await;
    assert_eq!(sequences(&stage.sent()), [0, 1, 1]);
    stage.proxy.release();
    assert_eq!(within(newer).await.unwrap().offset, Some(2));
    assert_eq!(sequences(&stage.sent()), [0, 1, 1, 2]);
    let old = one_producer(&stage.sent());

    stage.proxy.rule(ApiKey::Produce, Act::MuteReply, 2);
    is_given_up(enqueue(&stage, &producer, 0, "unanswered").await).await;
    let newer = within(producer.enqueue(stage.record(0, "anew"))).await.unwrap();
    assert_eq!(
        (producer.stats().requests_in_flight, stage.proxy.asked(ApiKey::InitProducerId).len()),
        (1, 1)
    );
    assert_eq!(within(newer).await.unwrap().offset, Some(4));
    assert_eq!(send(&stage, &producer, 0, "after").await.offset, Some(5));
    let sent = stage.sent().split_off(4);
    assert_eq!(sequences(&sent), [3, 3, 0, 1]);
    assert_eq!(one_producer(&sent[..2]), old);
    assert_ne!(one_producer(&sent[2..]), old);
    stage.expect_each(&[&["first", "late", "behind", "unanswered", "anew", "after"] as &[&str], &[]]).await;
    stage.strike().await;
}

/// P12: a batch is too large for its topic. It goes out in parts, in order and with its numbers; the one record that no
/// broker would take fails alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_batch_that_is_too_large_for_its_topic_goes_out_in_parts() {
    const COUNT: usize = 24;
    const TOO_LARGE: usize = 13;
    let cluster = Cluster::from_env().unwrap();
    let narrow = |topic: milena::NewTopic| {
        topic.config("max.message.bytes", "1000").config("min.insync.replicas", "1")
    };
    let stage = Stage::set_with(&cluster, "too-large", narrow).await;
    let producer = stage.quick().linger(Duration::from_millis(100)).build().unwrap();
    let value =
        |number: usize| format!("{number:02} {}", "x".repeat(if number == TOO_LARGE { 2_000 } else { 200 }));
    let values: Vec<_> = (0..COUNT).map(value).collect();
    let results = within(producer.send_all(values.iter().map(|value| stage.record(0, value.as_str())))).await;
    let mut offset = 0;
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(written) => {
                assert_eq!(written.offset, Some(offset), "record {number}");
                offset += 1;
            }
            Err(SendError::NotAcknowledged(error)) => {
                assert_eq!((number, error.certainty), (TOO_LARGE, Certainty::NotWritten), "{error}");
                let ProduceFailure::TooLarge { len, code, .. } = error.cause else { panic!("{error}") };
                assert!(len > 2_000 && code == ErrorCode::MESSAGE_TOO_LARGE, "{len} {code}");
            }
            Err(error) => panic!("record {number}: {error}"),
        }
    }
    assert_eq!(offset as usize, COUNT - 1);

    let sent = stage.sent();
    one_producer(&sent);
    let (taken, refused): (Vec<_>, Vec<_>) =
        sent.iter().partition(|batch| batch.code() == Some(ErrorCode::NONE));
    assert!(!refused.is_empty() && taken.len() > 1, "{sent:?}");
    assert!(refused.iter().all(|batch| batch.code() == Some(ErrorCode::MESSAGE_TOO_LARGE)), "{refused:?}");
    let mut next = 0;
    for batch in taken {
        assert_eq!(batch.base_sequence, next);
        next += batch.count;
    }
    let kept = |(number, value): (usize, String)| (number != TOO_LARGE).then_some(value);
    let kept: Vec<_> = values.into_iter().enumerate().filter_map(kept).collect();
    stage.expect_each(&[kept, Vec::new()]).await;
    stage.strike().await;
}
