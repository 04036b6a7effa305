//! Rows 6 and T14: what is read, made and written is committed together or not at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{SOON, Stage, header, number, text};
use milena::{ConsumedRecord, Record};
use milena_patterns::{ExactlyOnce, ExactlyOnceError, HandlerError, Redrive, Shutdown, Tries};
use tokio::time::timeout;

const BRIEF: Duration = Duration::from_millis(10);

fn pipeline(stage: &Stage, id: &str) -> ExactlyOnce {
    let consumer = stage.consumer("payments", &["requests"]).max_poll_records(20);
    let producer = stage.client.transactional_producer(id.to_owned());
    ExactlyOnce::new(consumer, producer).tries(Tries::new(3).backoff(BRIEF, BRIEF))
}

/// A payment for each request.
fn pay(requests: &[ConsumedRecord]) -> Vec<Record> {
    requests
        .iter()
        .map(|request| {
            Record::new("payments")
                .key(request.key().unwrap().clone())
                .value(request.value().unwrap().clone())
        })
        .collect()
}

async fn requests(stage: &Stage, count: u64) {
    stage.topic("requests", 3).await;
    stage.topic("payments", 3).await;
    stage.fill("requests", 0..count).await;
}

/// Each number once, and those of a key in their order.
async fn assert_each_once(stage: &Stage, numbers: impl Iterator<Item = u64>) {
    let expected: Vec<_> = numbers.collect();
    let payments = stage.read("payments", expected.len()).await;
    let mut found: Vec<_> = payments.iter().map(number).collect();
    let mut by_key: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for payment in &payments {
        by_key.entry(payment.key().unwrap().clone()).or_default().push(number(payment));
    }
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// Tries that fail and panic leave nothing behind: their records are read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_goes_back_to_where_it_began() {
    let stage = Stage::new().await;
    requests(&stage, 300).await;
    let (shutdown, calls, done) = (Shutdown::new(), AtomicUsize::new(0), AtomicU64::new(0));
    let transform = |records: Vec<ConsumedRecord>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let (done, shutdown) = (&done, &shutdown);
        async move {
            match call % 4 {
                1 => return Err("the books are closed".into()),
                2 => panic!("the books are lost"),
                _ => {}
            }
            if done.fetch_add(records.len() as u64, Ordering::Relaxed) + records.len() as u64 >= 300 {
                shutdown.begin();
            }
            Ok(pay(&records))
        }
    };
    let report = timeout(SOON, pipeline(&stage, "p").run(transform, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.records, report.given_up), (300, 0));
    assert!(report.aborted >= 4 && report.committed >= 15, "{report}");
    assert_each_once(&stage, 0..300).await;
}

/// Records that can't be transformed become dead letters in the transaction of their offsets; the others are not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_record_becomes_a_dead_letter_in_the_transaction() {
    let stage = Stage::new().await;
    requests(&stage, 100).await;
    stage.topic("requests.dlq", 1).await;
    let (shutdown, done) = (Shutdown::new(), AtomicU64::new(0));
    let transform = |records: Vec<ConsumedRecord>| {
        let (done, shutdown) = (&done, &shutdown);
        async move {
            if records.iter().any(|record| number(record) == 50) {
                return Err(HandlerError::permanent("fifty"));
            }
            if records.iter().any(|record| number(record) == 70) {
                return Err("seventy".into());
            }
            if done.fetch_add(records.len() as u64, Ordering::Relaxed) + records.len() as u64 == 98 {
                shutdown.begin();
            }
            Ok(pay(&records))
        }
    };
    let running = pipeline(&stage, "p").dead_letters().run(transform, &shutdown);
    let report = timeout(SOON, running).await.unwrap().unwrap();
    assert!(report.records >= 98, "{report}");
    // The end may have come before the last of the two.
    let mut letters = stage.read("requests.dlq", usize::try_from(report.given_up).unwrap()).await;
    letters.sort_by_key(number);
    assert_eq!(letters.len() as u64, report.given_up);
    for letter in &letters {
        let (error, tries) = if number(letter) == 50 { ("fifty", "1") } else { ("seventy", "3") };
        assert_eq!(header(letter, "milena.origin.error").as_deref(), Some(error));
        assert_eq!(header(letter, "milena.origin.tries").as_deref(), Some(tries));
        assert_eq!(header(letter, "milena.origin.topic").as_deref(), Some("requests"));
    }
    assert_each_once(&stage, (0..100).filter(|number| ![50, 70].contains(number))).await;
    // Behind the markers of transactions it finds its end as well.
    let redrive = Redrive::new("requests.dlq").to("payments");
    let shutdown = Shutdown::new();
    let sent = timeout(SOON, redrive.run(&stage.client, &shutdown)).await.unwrap().unwrap().sent;
    assert_eq!(sent, report.given_up);
    assert_eq!(stage.read("payments", 98).await.len() as u64, 98 + sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_dead_letters_it_ends_at_the_record() {
    let stage = Stage::new().await;
    requests(&stage, 40).await;
    let transform = |records: Vec<ConsumedRecord>| async move {
        if let Some(bad) = records.iter().find(|record| number(record) == 20) {
            return Err(format!("the request {} is bad", text(bad)).into());
        }
        Ok(pay(&records))
    };
    let shutdown = Shutdown::new();
    let running = pipeline(&stage, "p").run(transform, &shutdown);
    let error = timeout(SOON, running).await.unwrap().unwrap_err();
    let ExactlyOnceError::Transform { tries: 3, .. } = error else { panic!("{error}") };
    assert!(error.to_string().ends_with("failed 3 times: the request 20 is bad"), "{error}");
}

/// A second instance with the same id fences the first; what both did is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_instance_takes_over() {
    let stage = Stage::new().await;
    requests(&stage, 1_000).await;
    let done = Arc::new(AtomicU64::new(0));
    let (never, shutdown) = (Shutdown::new(), Shutdown::new());
    let transform = {
        let done = Arc::clone(&done);
        move |records: Vec<ConsumedRecord>| {
            done.fetch_add(records.len() as u64, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(pay(&records))
            }
        }
    };
    let first = pipeline(&stage, "p");
    let first = tokio::spawn({
        let (transform, never) = (transform.clone(), never.clone());
        async move { first.run(transform, &never).await }
    });
    while done.load(Ordering::Relaxed) < 100 {
        tokio::time::sleep(BRIEF).await;
    }
    let second = pipeline(&stage, "p");
    let second = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { second.run(transform, &shutdown).await }
    });
    // One that has nothing to do does not notice: requests keep coming.
    let mut count = 1_000;
    let noticed = async {
        while !first.is_finished() {
            stage.fill("requests", count..count + 30).await;
            count += 30;
            tokio::time::sleep(BRIEF).await;
        }
        first.await.unwrap()
    };
    let fenced = timeout(SOON, noticed).await.unwrap().unwrap_err();
    assert!(matches!(fenced, ExactlyOnceError::Transaction(_)), "{fenced}");
    assert_each_once(&stage, 0..count).await;
    shutdown.begin();
    timeout(SOON, second).await.unwrap().unwrap().unwrap();
}
