//! A producer and the consumer of a group, through a network that does to them what networks do, one thing after the other:
//! nothing is lost, and nothing is written twice. The clients know nothing of the proxy in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use milena::{AutoOffsetReset, Client, ClientBuilder, Record, TopicPartition};
use milena_conformance::run::Subject;
use milena_embedded_broker::EmbeddedBroker;
use protocol_tests::{
    proxy::{Proxy, Way, Weather},
    scenarios,
};
use tokio::time::{Instant, sleep, timeout};

const PARTITIONS: i32 = 6;
/// What takes longer hangs.
const SOON: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(1200);

/// A client that finds out soon that nothing comes any more.
fn quick(bootstrap: &str) -> ClientBuilder {
    Client::builder(bootstrap)
        .setup_timeout(Duration::from_millis(800))
        .max_setup_timeout(Duration::from_millis(800))
        .reconnect_backoff(Duration::from_millis(20), Duration::from_millis(200))
        .tcp_user_timeout(Some(Duration::from_secs(1)))
}

/// How far both have come.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    consumed: AtomicU64,
    enough: AtomicBool,
}

impl Progress {
    /// Waits until both have gone on from here.
    async fn until_moving(&self, after: &str) {
        for count in [&self.acknowledged, &self.consumed] {
            let before = count.load(Ordering::Acquire);
            let moved = async {
                while count.load(Ordering::Acquire) < before + 20 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(SOON, moved).await.unwrap_or_else(|_| panic!("nothing moves after {after}"));
        }
    }
}

/// Sends numbers until it is enough; how many. Each is acknowledged.
async fn produce(client: Client, progress: Arc<Progress>) -> u64 {
    let producer = client.producer().request_timeout(Duration::from_millis(800)).linger(Duration::ZERO);
    let producer = producer.delivery_timeout(SOON * 2).max_block(SOON * 2).build().unwrap();
    let mut sent = 0;
    let mut waiting = tokio::task::JoinSet::new();
    while !progress.enough.load(Ordering::Acquire) {
        let record =
            Record::new("numbers").partition((sent % PARTITIONS as u64) as i32).value(sent.to_string());
        let delivery = producer.enqueue(record).await.unwrap();
        let progress = Arc::clone(&progress);
        waiting.spawn(async move {
            delivery.await.unwrap();
            progress.acknowledged.fetch_add(1, Ordering::AcqRel);
        });
        sent += 1;
        sleep(Duration::from_millis(2)).await;
    }
    while let Some(done) = waiting.join_next().await {
        done.unwrap();
    }
    sent
}

/// Reads in a group until it has `until` different numbers; how often each came.
async fn consume(
    client: Client,
    progress: Arc<Progress>,
    until: tokio::sync::watch::Receiver<u64>,
) -> BTreeMap<u64, u64> {
    let consumer =
        client.consumer("readers").subscribe(["numbers"]).auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer = consumer.request_timeout(Duration::from_millis(1300)).build().unwrap();
    let mut seen = BTreeMap::new();
    while (seen.len() as u64) < *until.borrow() {
        let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
        for record in records.iter().flat_map(milena::Records::iter) {
            let number: u64 = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
            *seen.entry(number).or_default() += 1;
        }
        progress.consumed.store(seen.len() as u64, Ordering::Release);
        // A commit that fails leaves what was read to be read again.
        let _ = consumer.commit_async();
    }
    seen
}

/// What is in the log, read without the proxy.
async fn log(broker: &EmbeddedBroker, sent: u64) -> BTreeMap<u64, u64> {
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let partitions = (0..PARTITIONS).map(|number| TopicPartition::new("numbers", number));
    let consumer = client.consumer_without_group().assign(partitions);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let (mut seen, mut last) = (BTreeMap::new(), Instant::now());
    // For a moment longer than there should be anything.
    while (seen.len() as u64) < sent || last.elapsed() < Duration::from_millis(300) {
        let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
        for record in records.iter().flat_map(milena::Records::iter) {
            let number: u64 = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
            *seen.entry(number).or_default() += 1;
            last = Instant::now();
        }
        assert!(last.elapsed() < SOON, "{} of {sent} are in the log", seen.len());
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_networks_do_costs_no_record_and_makes_none() {
    let starting = EmbeddedBroker::builder().brokers(3).topic("numbers", PARTITIONS).configure(|config| {
        config.consumer_heartbeat_interval = Duration::from_millis(500);
    });
    let broker = starting.start().await.unwrap();
    let proxy = Proxy::default();
    let bootstrap = proxy.front(&broker.bootstrap()).unwrap();
    let progress = Arc::new(Progress::default());
    let (until, wanted) = tokio::sync::watch::channel(u64::MAX);
    let [producing, consuming] =
        [quick(&bootstrap).connect().await.unwrap(), quick(&bootstrap).connect().await.unwrap()];
    let producing = tokio::spawn(produce(producing, Arc::clone(&progress)));
    let consuming = tokio::spawn(consume(consuming, Arc::clone(&progress), wanted));
    progress.until_moving("the beginning").await;

    let one = Some(broker.addresses()[1].port());
    for (name, who) in [("a reset of one broker", one), ("a reset of all", None)] {
        proxy.reset(who);
        progress.until_moving(name).await;
    }
    for way in [Way::Up, Way::Down] {
        proxy.half_close(None, way);
        progress.until_moving(&format!("a half close, {way:?}")).await;
        for bytes in [2, 30] {
            proxy.cut(None, way, bytes);
            progress.until_moving(&format!("a cut after {bytes} bytes, {way:?}")).await;
            assert_eq!(proxy.cuts_left(), 0);
        }
    }
    let hole_down = Weather { is_hole_down: true, ..Weather::default() };
    let narrow = Weather { bytes_per_second: Some(125_000), piece: Some(61), ..Weather::default() };
    for (name, who, weather) in [
        ("a black hole at one broker", one, Weather::black_hole()),
        ("a black hole", None, Weather::black_hole()),
        ("a hole for answers", None, hole_down),
        ("300 ms", None, Weather::round_trip(Duration::from_millis(300))),
        ("1 Mbit/s", None, narrow),
    ] {
        proxy.weather(who, weather);
        if weather == Weather::black_hole() || weather == hole_down {
            sleep(PAUSE).await;
            proxy.weather(None, Weather::default());
        }
        progress.until_moving(name).await;
        proxy.weather(None, Weather::default());
    }

    progress.enough.store(true, Ordering::Release);
    let sent =
        timeout(SOON, producing).await.expect("a record is neither acknowledged nor given up").unwrap();
    until.send_replace(sent);
    let mut written = log(&broker, sent).await;
    assert!(written.keys().copied().eq(0..sent), "something is lost");
    written.retain(|_, times| *times > 1);
    assert_eq!(written, BTreeMap::new(), "what is written more than once, and how often");
    let consumed = timeout(SOON, consuming).await.expect("a record is not consumed").unwrap();
    assert!(consumed.keys().copied().eq(0..sent), "something is not consumed");
}

/// What a black hole costs: the request's own time where the broker's system still takes bytes, and the time of TCP where it
/// does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_into_a_black_hole_is_ended_in_its_time() {
    let broker = EmbeddedBroker::builder().topic("numbers", PARTITIONS).start().await.unwrap();
    let proxy = Proxy::default();
    let bootstrap = proxy.front(&broker.bootstrap()).unwrap();
    for (request_timeout, size, expected) in [
        (Duration::from_millis(600), 10, "no answer to Produce within 600ms"),
        (Duration::from_secs(8), 7 << 20, "timed out"),
    ] {
        let client = quick(&bootstrap).connect().await.unwrap();
        let producer = client.producer().request_timeout(request_timeout).linger(Duration::ZERO);
        let producer = producer.max_request_size(8 << 20).buffer_memory(64 << 20).build().unwrap();
        producer.send(Record::new("numbers").value("first")).await.unwrap();
        proxy.weather(None, Weather::black_hole());
        let begin = Instant::now();
        for number in 0..8 {
            let record = Record::new("numbers").partition(number % PARTITIONS).value(vec![b'x'; size]);
            drop(producer.enqueue(record).await.unwrap());
        }
        loop {
            let explanation = client.explain().to_string();
            if explanation.contains(expected) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "{expected}: {explanation}");
            sleep(Duration::from_millis(20)).await;
        }
        client.shutdown();
        proxy.weather(None, Weather::default());
    }
}

/// Bytes that come late and in odd pieces make no difference to what is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_pass_through_a_network_that_is_slow_and_cuts_frames_to_pieces() {
    let broker = scenarios::embedded().await;
    let proxy = Proxy::default();
    let bootstrap = proxy.front(&broker.bootstrap()).unwrap();
    let late = Duration::from_millis(1);
    proxy.weather(
        None,
        Weather { latency_up: late, latency_down: late, piece: Some(61), ..Weather::default() },
    );
    let outcomes = scenarios::run(&bootstrap, Subject::Core, 16).await;
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        wrong.extend(outcome.failures.iter().map(ToString::to_string));
        wrong.extend(outcome.stale.iter().map(|place| format!("{place}: `core differs`, but it does not")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let checks: usize = outcomes.iter().map(|outcome| outcome.checks.len()).sum();
    assert!(checks >= 1_000, "{checks}");
}
