//! Row 7: events are gathered, sent together topic by topic, and stay queued in order while they can't be sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{SOON, Stage, number, text};
use milena::{Compression, Record};
use milena_patterns::{BatchCollector, CollectError};
use tokio::time::timeout;

/// The use it was asked for: 10,000 views of 100 users, 500 or 2 s at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_views_of_a_hundred_users() {
    let stage = Stage::new().await;
    stage.topic("page-views", 6).await;
    stage.topic("clicks", 1).await;
    let producer = stage.client.producer().compression(Compression::Snappy).build().unwrap();
    let views = BatchCollector::builder(producer).max_events(500).max_wait(Duration::from_secs(2)).start();
    for at in 0..10_000u64 {
        let topic = if at.is_multiple_of(10) { "clicks" } else { "page-views" };
        views.add(Record::new(topic).key(format!("user-{}", at % 100)).value(at.to_string())).await.unwrap();
    }
    let collected = timeout(SOON, views.close(SOON)).await.unwrap().unwrap();
    assert_eq!((collected.sent, collected.rejected), (10_000, 0));
    assert!((1..=30).contains(&collected.groups), "{collected:?}");
    let clicks: Vec<_> = stage.read("clicks", 1_000).await.iter().map(number).collect();
    assert_eq!(clicks, (0..1_000).map(|at| at * 10).collect::<Vec<_>>());
    let mut views = stage.read("page-views", 9_000).await;
    assert_eq!(views.len(), 9_000);
    views.sort_by_key(|view| (view.key().cloned(), view.offset()));
    let by_user = views.chunk_by(|one, two| one.key() == two.key());
    assert!(by_user.into_iter().all(|of_user| of_user.iter().map(number).is_sorted()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_go_out_when_the_first_has_waited() {
    let stage = Stage::new().await;
    stage.topic("t", 1).await;
    let collector = BatchCollector::builder(stage.producer()).max_wait(Duration::from_millis(300)).start();
    let begun = Instant::now();
    for at in 0..3 {
        collector.add(Record::new("t").value(at.to_string())).await.unwrap();
    }
    assert_eq!(collector.pending(), 3);
    while collector.pending() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_secs(5), "{waited:?}");
    collector.add(Record::new("t").value("3")).await.unwrap();
    timeout(SOON, collector.flush()).await.unwrap().unwrap();
    assert_eq!(collector.pending(), 0);
    assert_eq!(timeout(SOON, collector.close(SOON)).await.unwrap().unwrap().groups, 2);
}

/// A topic that is not there yet: its events wait in their order, the room they take is bounded, others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_stays_in_its_order() {
    let stage = Stage::new().await;
    stage.topic("there", 1).await;
    let producer = stage.client.producer().max_block(Duration::from_millis(100)).build().unwrap();
    let collector = BatchCollector::builder(producer)
        .max_events(4)
        .max_wait(Duration::from_millis(20))
        .max_pending(8)
        .backoff(Duration::from_millis(20), Duration::from_millis(50))
        .start();
    for at in 0..8 {
        collector.add(Record::new("later").value(at.to_string())).await.unwrap();
    }
    let full = collector.add(Record::new("there").value("0"));
    assert!(timeout(Duration::from_millis(300), full).await.is_err(), "the room is bounded");
    stage.topic("later", 1).await;
    timeout(SOON, collector.add(Record::new("there").value("0"))).await.unwrap().unwrap();
    let collected = timeout(SOON, collector.close(SOON)).await.unwrap().unwrap();
    assert_eq!(collected.sent, 9);
    let later = stage.read("later", 8).await;
    assert_eq!(later.iter().map(number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
}

/// What can't be sent comes back, at the latest at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_without_a_word() {
    let stage = Stage::new().await;
    stage.topic("there", 1).await;
    let producer = stage.client.producer().max_block(Duration::from_millis(50)).build().unwrap();
    let collector = BatchCollector::builder(producer.clone()).start();
    for topic in ["nowhere", "there", "nowhere"] {
        collector.add(Record::new(topic).value(topic)).await.unwrap();
    }
    let error = timeout(SOON, collector.close(Duration::from_millis(400))).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "2 events were not acknowledged within 400ms");
    let CollectError::NotSent { rest, collected, .. } = error else { panic!("{error}") };
    assert!(rest.iter().all(|record| record.topic() == "nowhere") && rest.len() == 2);
    assert_eq!(collected.sent, 1);

    let rejected = Arc::<Mutex<Vec<String>>>::default();
    let collector =
        BatchCollector::builder(producer).backoff(Duration::ZERO, Duration::ZERO).on_rejected(2, {
            let rejected = Arc::clone(&rejected);
            move |record, error| rejected.lock().unwrap().push(format!("{}: {error}", record.topic()))
        });
    let collector = collector.start();
    collector.add(Record::new("nowhere").value("1")).await.unwrap();
    collector.add(Record::new("there").value("2")).await.unwrap();
    let collected = timeout(SOON, collector.close(SOON)).await.unwrap().unwrap();
    assert_eq!((collected.sent, collected.rejected), (1, 1));
    assert!(rejected.lock().unwrap()[0].starts_with("nowhere: the record was not accepted"));
    assert_eq!(stage.read("there", 2).await.iter().map(text).collect::<Vec<_>>(), ["there", "2"]);
}
