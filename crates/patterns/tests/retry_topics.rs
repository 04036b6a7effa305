//! Row 10: records that failed wait in retry topics, become dead letters, and are sent back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{SOON, Seen, Stage, header, text};
use milena::{ConsumedRecord, NewTopic, Record};
use milena_patterns::{
    DeadLetters, HandlerError, Redrive, RedriveError, RetryTopics, RunReport, Runner, Shutdown, Tries,
};
use tokio::time::timeout;

const TOPIC: &str = "order-events";
const DELAYS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

async fn stage() -> (Stage, RetryTopics) {
    let stage = Stage::new().await;
    stage.topic(TOPIC, 2).await;
    let producer = stage.producer();
    let retries = RetryTopics::new(TOPIC, producer.clone(), DeadLetters::new(producer)).delays(DELAYS);
    for topic in retries.new_topics(|name| NewTopic::new(name).partitions(2)) {
        stage.client.admin().create_topic(topic).await.unwrap();
    }
    (stage, retries)
}

/// Runs until the handler asks for the end, with a handler that is told when each try is.
async fn run<F>(stage: &Stage, retries: RetryTopics, shutdown: &Shutdown, handle: F) -> RunReport
where
    F: Fn(ConsumedRecord) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    let topics = retries.topics();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let runner = Runner::new(stage.consumer("inventory", &topics)).concurrency(8).tries(Tries::new(1));
    let runner = runner.fallback(retries).commit_interval(Duration::from_millis(50));
    let handler = move |record| std::future::ready(handle(record));
    timeout(SOON, runner.run(handler, shutdown)).await.unwrap().unwrap()
}

#[test]
fn the_topics_and_their_delays_by_default() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let stage = Stage::new().await;
        let producer = stage.producer();
        let retries = RetryTopics::new("t", producer.clone(), DeadLetters::new(producer));
        assert_eq!(retries.topics(), ["t", "t.retry-1", "t.retry-2", "t.retry-3"]);
        let shown = format!("{retries:?}");
        assert!(shown.contains("[2s, 4s, 8s]"), "{shown}");
    });
}

/// Each try comes when its time has come and not before, others go on meanwhile, and what no try could help lies in the dead
/// letter topic as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_goes_from_topic_to_topic_in_its_time() {
    let (stage, retries) = stage().await;
    let producer = stage.producer();
    for number in 0..40 {
        let record = Record::new(TOPIC).key(format!("key-{number}")).value(number.to_string());
        producer.send(record.header("source", "shop")).await.unwrap();
    }
    let tries = Arc::<Mutex<BTreeMap<u64, Vec<(String, Instant)>>>>::default();
    let shutdown = Shutdown::new();
    let handle = {
        let (tries, shutdown) = (Arc::clone(&tries), shutdown.clone());
        move |record: ConsumedRecord| {
            let number: u64 = text(&record).parse()?;
            let mut all = tries.lock().unwrap();
            let of_record = all.entry(number).or_default();
            of_record.push((record.topic().to_owned(), Instant::now()));
            if let Some(n) = of_record.len().checked_sub(1).filter(|n| *n > 0) {
                assert_eq!(header(&record, "retryCount"), Some(n.to_string()));
                assert_eq!(header(&record, "milena.origin.topic").as_deref(), Some(TOPIC));
            }
            assert_eq!(header(&record, "source").as_deref(), Some("shop"));
            // 3 never succeeds, 5 does in the third retry topic, each other odd one in the first.
            let is_last = number == 5 && of_record.len() == 4;
            let fails = number == 3 || (number == 5 && !is_last) || (number % 2 == 1 && of_record.len() == 1);
            if is_last {
                shutdown.begin();
            }
            if fails { Err("no stock".into()) } else { Ok(()) }
        }
    };
    let report = run(&stage, retries, &shutdown, handle).await;
    assert_eq!(
        report.given_up,
        20 + 2 + 2 + 1 - u64::from(stage.read("order-events.dlq", 0).await.is_empty())
    );
    let tries = tries.lock().unwrap().clone();
    for (number, tries) in &tries {
        let topics: Vec<_> = tries.iter().map(|(topic, _)| topic.as_str()).collect();
        let expected =
            ["order-events", "order-events.retry-1", "order-events.retry-2", "order-events.retry-3"];
        assert_eq!(topics, expected[..tries.len()], "{number}");
        for (n, two) in tries.windows(2).enumerate() {
            // The clock of the records counts in milliseconds.
            let waited = two[1].1 - two[0].1 + Duration::from_millis(2);
            assert!(waited >= DELAYS[n], "{number} was tried again after {waited:?}");
        }
    }
    assert_eq!((tries[&5].len(), tries[&3].len()), (4, 4));
    let first_tries: Vec<_> = tries.values().map(|tries| tries[0].1).collect();
    let spread = first_tries.iter().max().unwrap().duration_since(*first_tries.iter().min().unwrap());
    assert!(spread < DELAYS[0] * 4, "records that wait hold others up: {spread:?}");
}

/// What anybody can write into a retry topic: it is tried in the time of its topic, and nothing crashes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_headers_are_bounded() {
    let (stage, retries) = stage().await;
    let producer = stage.producer();
    let forged: [&[(&str, &[u8])]; 7] = [
        &[("retryAt", b"9223372036854775807"), ("retryCount", b"-1")],
        &[("retryAt", b"-9223372036854775808")],
        &[("retryAt", b"99999999999999999999999999"), ("retryCount", b"99999999999999999999")],
        &[("retryAt", b"\xff\xfe"), ("milena.origin.topic", b"\xff"), ("retryCount", b"")],
        &[("milena.origin.topic", b"accounts"), ("milena.origin.offset", b"x")],
        &[
            ("milena.origin.topic", b"accounts"),
            ("milena.origin.partition", b"0"),
            ("milena.origin.offset", b"7"),
            ("milena.origin.timestamp", b"1"),
            ("milena.origin.tries", b"4294967295"),
        ],
        &[],
    ];
    for headers in forged {
        let mut record = Record::new("order-events.retry-1").value("forged");
        for (name, value) in headers {
            record = record.header(*name, value.to_vec());
        }
        producer.send(record.null_header("retryAt2")).await.unwrap();
    }
    let (seen, shutdown) = (Seen::default(), Shutdown::new());
    let handle = {
        let (seen, shutdown) = (seen.clone(), shutdown.clone());
        move |record: ConsumedRecord| {
            if seen.push(record) == 7 * 3 {
                shutdown.begin();
            }
            Err("never".into())
        }
    };
    let begun = Instant::now();
    run(&stage, retries, &shutdown, handle).await;
    assert!(begun.elapsed() < SOON / 2);
    let letters = stage.read("order-events.dlq", 6).await;
    assert!(letters.iter().all(|letter| header(letter, "retryAt").is_none() && text(letter) == "forged"));
}

/// Letters go back once, as they were, however often and in how many pieces that is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_sent_back_once() {
    let (stage, retries) = stage().await;
    let producer = stage.producer();
    for number in 0..10 {
        let record = Record::new(TOPIC).partition(number % 2).key("k").value(number.to_string());
        let record = record.timestamp(1_700_000_000_000 + i64::from(number)).header("source", "shop");
        producer.send(record.header("retryCount", "mine")).await.unwrap();
    }
    let shutdown = Shutdown::new();
    let dead = Arc::<Mutex<u32>>::default();
    let handle = {
        let (shutdown, dead) = (shutdown.clone(), Arc::clone(&dead));
        move |_: ConsumedRecord| {
            *dead.lock().unwrap() += 1;
            if *dead.lock().unwrap() == 10 {
                shutdown.begin();
            }
            Err(HandlerError::permanent("closed"))
        }
    };
    run(&stage, retries.delays([]), &shutdown, handle).await;
    let letters = stage.read("order-events.dlq", 10).await;
    assert_eq!(letters.len(), 10);

    let client = &stage.client;
    let shutdown = Shutdown::new();
    let redrive = || Redrive::new("order-events.dlq");
    let dry = timeout(SOON, redrive().dry_run(true).run(client, &shutdown)).await.unwrap().unwrap();
    assert_eq!((dry.sent, dry.to.as_str()), (10, TOPIC));
    let sent = timeout(SOON, redrive().limit(4).run(client, &shutdown)).await.unwrap().unwrap().sent;
    assert_eq!(sent, 4);
    let sent = timeout(SOON, redrive().run(client, &shutdown)).await.unwrap().unwrap().sent;
    assert_eq!(sent, 6);
    let sent = timeout(SOON, redrive().run(client, &shutdown)).await.unwrap().unwrap().sent;
    assert_eq!(sent, 0, "none is sent back twice");

    let back = stage.read(TOPIC, 20).await;
    assert_eq!(back.len(), 20);
    let count = |number: u32| back.iter().filter(|record| text(record) == number.to_string()).count();
    assert!((0..10).all(|number| count(number) == 2));
    for record in back {
        let number: i64 = text(&record).parse().unwrap();
        assert_eq!(record.timestamp(), 1_700_000_000_000 + number);
        assert_eq!(header(&record, "source").as_deref(), Some("shop"));
        assert_eq!(header(&record, "milena.origin.topic"), None);
    }
    let nowhere = Redrive::new("orders").run(client, &shutdown).await.unwrap_err();
    assert!(matches!(nowhere, RedriveError::NoTarget(_)));
    assert_eq!(
        nowhere.to_string(),
        "orders does not end with .dlq: say which topic its records are to go to"
    );
    let itself = redrive().to("order-events.dlq").run(client, &shutdown).await.unwrap_err();
    assert!(matches!(itself, RedriveError::ToItself(_)));
}
