//! New producer ids and epochs.

use std::time::Duration;

use milena_protocol::ApiKey;
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Stage, until_in_flight, within},
};
use tokio::time::{Instant, sleep};

use crate::{enqueue, is_given_up, of_partition, one_producer, send, sequences};

/// P6: one partition needs a new id. It is asked for when the others, too, have nothing in flight under the old one, and
/// all of them start at zero under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_new_producer_id_waits_for_what_is_in_flight_and_numbers_start_at_zero() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "new-id").await;
    let builder = stage.quick().request_timeout(Duration::from_secs(4));
    let producer = builder.delivery_timeout(Duration::from_millis(6_500)).build().unwrap();
    for partition in 0..2 {
        send(&stage, &producer, partition, "first").await;
    }
    let asked = || stage.proxy.asked(ApiKey::InitProducerId).len();
    stage.proxy.rule(ApiKey::Produce, Act::MuteReply, 2);
    is_given_up(enqueue(&stage, &producer, 0, "lost").await).await;
    // The second try for it has no answer either, and is given up in a second or more.
    stage.proxy.rule(ApiKey::Produce, Act::HoldReply, 1);
    let held = within(producer.enqueue(stage.record(1, "held"))).await.unwrap();
    within(stage.proxy.until_met(3)).await;
    stage.until_answered(1).await;
    until_in_flight(&producer, 1).await;
    let newer = [0, 1].map(|partition| producer.enqueue(stage.record(partition, "anew")));
    let [first, second] = newer;
    let newer = [within(first).await.unwrap(), within(second).await.unwrap()];
    sleep(Duration::from_millis(300)).await;
    assert_eq!((asked(), stage.sent().len()), (1, 5), "a batch is in flight under the old id");
    let released = Instant::now();
    stage.proxy.release();
    assert_eq!(within(held).await.unwrap().offset, Some(1));
    for delivery in newer {
        assert_eq!(within(delivery).await.unwrap().offset, Some(2));
    }
    for partition in 0..2 {
        send(&stage, &producer, partition, "after").await;
    }
    assert_eq!(asked(), 2);
    assert!(stage.proxy.asked(ApiKey::InitProducerId)[1].at > released);
    let sent = stage.sent();
    let [first, second] = [0, 1].map(|partition| of_partition(&sent, partition));
    assert_eq!((sequences(&first), sequences(&second)), (vec![0, 1, 1, 0, 1], vec![0, 1, 0, 1]));
    let old = one_producer(&[&first[..3], &second[..2]].concat());
    let new = one_producer(&[&first[3..], &second[2..]].concat());
    assert_ne!(old.0, new.0);
    stage.expect_each(&[&["first", "lost", "anew", "after"], &["first", "held", "anew", "after"]]).await;
    stage.strike().await;
}
