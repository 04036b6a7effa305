//! How often the loops behind idle and stuck handles wake up.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    thread,
    time::Duration,
};

use milena::{AutoOffsetReset, Client, Consumer, ErrorCode, Record, TopicPartition};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const SOON: Duration = Duration::from_secs(10);
/// Turns of a loop in a second in which nothing happens.
const FEW: u64 = 100;

thread_local! {
    static TURNS: Cell<u64> = const { Cell::new(0) };
    /// What the turns slept for, to say what spins.
    static REASONS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Runs everything on this thread, so that what is counted here is this test's.
fn alone(test: impl Future<Output = ()>) {
    let _counted = tracing::subscriber::set_default(Counter);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Counts the turns that the driver's loop tells of.
struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "milena_connection::driver" && *metadata.level() == Level::TRACE
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        TURNS.set(TURNS.get() + 1);
        event.record(&mut Reason);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Reason;

impl Visit for Reason {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "due" {
            REASONS.with_borrow_mut(|reasons| *reasons.entry(value.to_owned()).or_default() += 1);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Counts the turns of one second, after `settling` for what goes on at the beginning.
#[allow(clippy::print_stderr, reason = "the numbers are of interest")]
async fn assert_few_turns(what: &str, settling: Duration) {
    tokio::time::sleep(settling).await;
    REASONS.take();
    let before = TURNS.get();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let turns = TURNS.get() - before;
    eprintln!("{what}: {turns} turns in a second");
    assert!(turns < FEW, "{what}: {turns} turns in a second, due {:?}", REASONS.take());
}

const SETTLING: Duration = Duration::from_millis(700);

async fn start(brokers: u16) -> (EmbeddedBroker, Client) {
    let broker = EmbeddedBroker::builder().brokers(brokers).topic("letters", 3).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

fn member(client: &Client) -> Consumer {
    let consumer = client.consumer("readers").subscribe(["letters"]);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

async fn joined(consumer: &Consumer) {
    while consumer.assignment().len() != 3 {
        consumer.poll(Duration::from_millis(20)).await.unwrap();
    }
}

#[test]
fn an_idle_producer_sleeps() {
    alone(idle_producers());
}

async fn idle_producers() {
    let (broker, client) = start(3).await;
    let producer = client.producer().build().unwrap();
    assert_few_turns("a producer that was never used", SETTLING).await;
    producer.send(Record::new("letters").value("v")).await.unwrap();
    assert_few_turns("an idle producer", SETTLING).await;
    producer.close(SOON).await.unwrap();
    drop(broker);
}

#[test]
fn an_idle_consumer_sleeps() {
    alone(idle_consumers());
}

async fn idle_consumers() {
    let (broker, client) = start(3).await;
    let consumer = member(&client);
    joined(&consumer).await;
    assert_few_turns("an idle member that is not polled", SETTLING).await;
    let polling = consumer.clone();
    let poll = tokio::spawn(async move { polling.poll(Duration::MAX).await });
    assert_few_turns("an idle member that is polled", SETTLING).await;
    consumer.close(SOON).await.unwrap();
    poll.await.unwrap().unwrap();
    let partitions = (0..3).map(|partition| TopicPartition::new("letters", partition));
    let by_hand = client.consumer_without_group().assign(partitions).build().unwrap();
    assert_few_turns("an idle consumer without a group", SETTLING).await;
    by_hand.close(SOON).await.unwrap();
    drop(broker);
}

#[test]
fn handles_whose_cluster_is_down_sleep() {
    alone(cluster_is_down());
}

async fn cluster_is_down() {
    let (broker, client) = start(1).await;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("letters").value("v")).await.unwrap();
    broker.shutdown().await;
    let delivery = producer.enqueue(Record::new("letters").value("v")).await.unwrap();
    assert_few_turns("a producer whose broker is down", SETTLING).await;
    assert!(delivery.result().is_none());
    let closing = producer.clone();
    let close = tokio::spawn(async move { closing.close(Duration::from_secs(2)).await });
    assert_few_turns("a producer that closes while its broker is down", Duration::ZERO).await;
    close.await.unwrap().unwrap();

    let (broker, client) = start(1).await;
    let consumer = member(&client);
    joined(&consumer).await;
    broker.shutdown().await;
    assert_few_turns("a member whose cluster is down", SETTLING).await;
    drop(consumer.commit_async());
    assert_few_turns("a member that commits while its cluster is down", SETTLING).await;
    drop(consumer);
    assert_few_turns("a member that leaves while its cluster is down", Duration::ZERO).await;
}

#[test]
fn handles_whose_broker_hangs_up_sleep() {
    alone(broker_hangs_up());
}

/// The broker accepts connections and ends them at once.
async fn broker_hangs_up() {
    let (broker, client) = start(1).await;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("letters").value("v")).await.unwrap();
    let consumer = member(&client);
    joined(&consumer).await;
    let only = broker.with_cluster(|cluster, _| cluster.brokers().next().unwrap());
    broker.stop_broker(only);
    drop(producer.enqueue(Record::new("letters").value("v")).await.unwrap());
    assert_few_turns("a producer and a member whose broker hangs up", SETTLING).await;
    drop((producer, consumer));
    assert_few_turns("both in leaving", Duration::ZERO).await;
}

/// Everything works but one API, for ever.
async fn a_fault_for_ever(api: ApiKey, action: Action) {
    let (broker, client) = start(3).await;
    broker.add_fault(Rule::new(api, action).times(u32::MAX));
    let producer = client.producer().build().unwrap();
    let sending = producer.clone();
    let send = tokio::spawn(async move { sending.send(Record::new("letters").value("v")).await });
    let consumer = member(&client);
    let polling = consumer.clone();
    let poll = tokio::spawn(async move {
        loop {
            let _ = polling.poll(Duration::from_secs(1)).await;
            let _ = polling.commit_async();
        }
    });
    let query = consumer.clone();
    let query = tokio::spawn(async move { query.committed([TopicPartition::new("letters", 0)]).await });
    assert_few_turns(&format!("{api} meets {action:?}"), SETTLING).await;
    drop((send, poll, query, producer, consumer));
    broker.shutdown().await;
}

#[test]
fn handles_that_one_api_fails_sleep() {
    let apis = [
        ApiKey::Metadata,
        ApiKey::InitProducerId,
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::FindCoordinator,
        ApiKey::ConsumerGroupHeartbeat,
        ApiKey::OffsetFetch,
        ApiKey::OffsetCommit,
        ApiKey::ListOffsets,
    ];
    let actions = [
        Action::CloseBefore,
        Action::Answer(ErrorCode::NOT_COORDINATOR),
        Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Action::Answer(ErrorCode::UNKNOWN_SERVER_ERROR),
    ];
    thread::scope(|threads| {
        for api in apis {
            for action in actions {
                threads.spawn(move || alone(a_fault_for_ever(api, action)));
            }
        }
    });
}
