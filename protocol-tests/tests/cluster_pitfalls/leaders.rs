//! Topics that are out of sight, and leaders that move.

use std::time::Duration;

use milena_protocol::{ApiKey, ErrorCode, messages::Response, wire::Uuid};
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Sent, Stage, within},
};
use tokio::time::{Instant, sleep};

use crate::{enqueue, of_partition, one_producer, send, sequences};

/// The broker knows nothing of any topic.
fn hide(response: &mut Response) {
    let Response::Metadata(metadata) = response else { panic!("{response:?}") };
    for topic in &mut metadata.topics {
        topic.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        topic.topic_id = Uuid::ZERO;
        topic.partitions = Vec::new().into();
    }
}

/// P9: a topic is missing in what brokers say for a while. The numbers go on where they were: were they to start anew, the
/// broker would take new records for repetitions of old ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_topic_that_is_out_of_sight_for_a_while_keeps_its_numbers() {
    const HIDDEN: usize = 3;
    let stage = Stage::set(&Cluster::from_env().unwrap(), "out-of-sight").await;
    let producer = stage.quick().build().unwrap();
    for number in 0..3 {
        for partition in 0..2 {
            send(&stage, &producer, partition, &format!("before {number}")).await;
        }
    }
    // A connection that ends is a reason to ask who leads.
    stage.proxy.rule(ApiKey::Metadata, Act::Change(|_| {}, hide), HIDDEN);
    stage.proxy.rule(ApiKey::Produce, Act::CutReply, 1);
    let cut = within(producer.enqueue(stage.record(0, "cut"))).await.unwrap();
    within(stage.proxy.until_met(2)).await;
    let waiting = [0, 1].map(|partition| producer.enqueue(stage.record(partition, "waiting")));
    let [waiting, elsewhere] = waiting;
    let waiting = [within(waiting).await.unwrap(), within(elsewhere).await.unwrap()];
    within(stage.proxy.until_met(1 + HIDDEN)).await;
    assert_eq!(within(cut).await.unwrap().offset, Some(3));
    for (delivery, offset) in waiting.into_iter().zip([4, 3]) {
        assert_eq!(within(delivery).await.unwrap().offset, Some(offset));
    }
    for partition in 0..2 {
        send(&stage, &producer, partition, "after").await;
    }
    let sent = stage.sent();
    one_producer(&sent);
    let [first, second] = [0, 1].map(|partition| of_partition(&sent, partition));
    assert_eq!(sequences(&first), [0, 1, 2, 3, 3, 4, 5]);
    assert_eq!(first[3].bytes, first[4].bytes);
    assert_eq!(sequences(&second), [0, 1, 2, 3, 4]);
    assert_eq!(stage.proxy.asked(ApiKey::InitProducerId).len(), 1);
    let before = ["before 0", "before 1", "before 2"];
    stage
        .expect_each(&[
            [&before as &[&str], &["cut", "waiting", "after"]].concat(),
            [&before as &[&str], &["waiting", "after"]].concat(),
        ])
        .await;
    stage.strike().await;
}

/// Waits until brokers have told our client who leads the first partition.
async fn until_led(stage: &Stage, leader: i32) {
    let tells = |answer: &Response| match answer {
        Response::Metadata(metadata) => metadata
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .any(|partition| partition.partition_index == 0 && partition.leader_id == leader),
        _ => false,
    };
    within(async {
        loop {
            let asked = stage.proxy.asked(ApiKey::Metadata);
            let last = asked.iter().rev().find_map(|asked| asked.answer.as_ref());
            if last.is_some_and(|(_, answer)| tells(answer)) {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The partition's leader has a batch, and its answer is lost on the way or held. Meanwhile another broker becomes the
/// leader, and our client is told so because a connection to a third one ends. Returns how many batches were sent by then.
async fn move_behind_a_batch(stage: &Stage, from: i32, to: i32, third: i32) -> usize {
    stage.until_answered(0).await;
    stage.observer().lead(&stage.partition(0), to, &[third, from]).await;
    stage.proxy.rule(ApiKey::Produce, Act::CutReply, 1);
    of_partition(&stage.sent(), 0).len()
}

/// P13: a partition gets another leader while the old one has a batch. Nothing goes to the new one before the old one has
/// answered, or the connection to it has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn nothing_goes_to_a_new_leader_before_the_old_one_is_done() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "moved").await;
    let observer = stage.observer();
    let (first, other) =
        (observer.leader(&stage.partition(0)).await, observer.leader(&stage.partition(1)).await);
    assert_ne!(first, other, "the leaders are spread over the brokers");
    let second = 6 - first - other;
    let producer = stage.quick().request_timeout(Duration::from_secs(8)).build().unwrap();
    for partition in 0..2 {
        send(&stage, &producer, partition, "first").await;
    }

    // The answer comes late.
    stage.proxy.rule(ApiKey::Produce, Act::HoldReply, 1);
    let held = enqueue(&stage, &producer, 0, "held").await;
    let before = move_behind_a_batch(&stage, first, second, other).await;
    send(&stage, &producer, 1, "told of a move").await;
    until_led(&stage, second).await;
    let newer = within(producer.enqueue(stage.record(0, "to the second"))).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(of_partition(&stage.sent(), 0).len(), before, "a batch is in flight to the old leader");
    let released = Instant::now();
    stage.proxy.release();
    assert_eq!(within(held).await.unwrap().offset, Some(1));
    assert_eq!(within(newer).await.unwrap().offset, Some(2));
    let sent = of_partition(&stage.sent(), 0);
    let [old, newest] = [&sent[before - 1], &sent[before]];
    assert!(sent.len() == before + 1 && newest.broker != old.broker && newest.at > released, "{sent:?}");

    // The answer never comes, and the new leader has the batch already.
    stage.proxy.rule(ApiKey::Produce, Act::MuteReply, 1);
    let muted = enqueue(&stage, &producer, 0, "muted").await;
    let before = move_behind_a_batch(&stage, second, first, other).await;
    send(&stage, &producer, 1, "told of another").await;
    until_led(&stage, first).await;
    let newer = within(producer.enqueue(stage.record(0, "to the first"))).await.unwrap();
    assert_eq!(within(muted).await.unwrap().offset, Some(3));
    assert_eq!(within(newer).await.unwrap().offset, Some(4));
    let sent = of_partition(&stage.sent(), 0);
    let [old, again, newest] = &sent[before - 1..] else { panic!("{sent:?}") };
    let waited = |batch: &Sent| batch.at.duration_since(old.at) >= Duration::from_secs(8);
    assert!(again.bytes == old.bytes && waited(again) && waited(newest), "{sent:?}");
    assert!(again.broker != old.broker && newest.broker == again.broker, "{sent:?}");

    one_producer(&stage.sent());
    stage
        .expect_each(&[
            &["first", "held", "to the second", "muted", "to the first"] as &[&str],
            &["first", "told of a move", "told of another"],
        ])
        .await;
    stage.strike().await;
}
