//! Every public async function, dropped at every await point: the handle goes on, nothing is lost or written twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use milena::{
    AutoOffsetReset, Client, Consumer, ErrorCode, GroupProtocol, NewTopic, Position, Record, TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, ClusterConfig, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(10);
/// More polls than any future here takes.
const MANY: usize = 2_000;

/// Polls the future so many times, with a moment in between for the tasks behind it, and drops it. What it came to if
/// it did.
async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    None
}

async fn start(partitions: i32) -> (EmbeddedBroker, Client) {
    let quick = |config: &mut ClusterConfig| config.consumer_heartbeat_interval = Duration::from_millis(100);
    let broker = EmbeddedBroker::builder().configure(quick).topic("letters", partitions);
    let broker = broker.start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    // Every answer has to be waited for.
    for api in [ApiKey::Metadata, ApiKey::Produce, ApiKey::OffsetCommit, ApiKey::OffsetFetch] {
        broker.add_fault(Rule::new(api, Action::Delay(Duration::from_millis(2))).times(u32::MAX));
    }
    (broker, client)
}

/// Writes the numbers into partition 0.
async fn write(client: &Client, numbers: std::ops::Range<usize>) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        drop(producer.enqueue(numbered(number)).await.unwrap());
    }
    producer.close(SOON).await.unwrap();
}

fn numbered(number: usize) -> Record {
    Record::new("letters").partition(0).value(number.to_string())
}

fn number(value: Option<&[u8]>) -> usize {
    std::str::from_utf8(value.unwrap()).unwrap().parse().unwrap()
}

/// How often each number is in the topic, which is all read.
async fn written(client: &Client, last: usize) -> BTreeMap<usize, usize> {
    write(client, last..last + 1).await;
    let consumer = client
        .consumer_without_group()
        .assign([TopicPartition::new("letters", 0)])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut counts = BTreeMap::new();
    while !counts.contains_key(&last) {
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        assert!(!records.is_empty(), "{:?}", consumer.explain());
        records.iter().for_each(|record| *counts.entry(number(record.value())).or_default() += 1);
    }
    consumer.close(SOON).await.unwrap();
    counts.remove(&last);
    counts
}

fn reader(client: &Client, group: &str) -> Consumer {
    let consumer = client.consumer(group).subscribe(["letters"]).group_protocol(GroupProtocol::Auto);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

/// A1: a send that is dropped before the record is accepted writes nothing; afterwards it writes it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_is_dropped_writes_once_or_not_at_all() {
    let (broker, client) = start(1).await;
    let producer = client.producer().build().unwrap();
    producer.send(numbered(0)).await.unwrap();
    let mut polls = 0;
    // The topic is known: the first poll accepts.
    loop {
        let done = drop_after(polls, producer.send(numbered(polls + 1))).await;
        polls += 1;
        if let Some(result) = done {
            result.unwrap();
            break;
        }
        assert!(polls < MANY);
    }
    assert!(polls > 2, "the future was never dropped while it waited");
    producer.close(SOON).await.unwrap();
    let expected = (0..=polls).filter(|number| *number != 1).map(|number| (number, 1)).collect();
    assert_eq!(written(&client, MANY).await, expected);
    broker.shutdown().await;
}

/// The same for a topic that nothing is known of, so that accepting the record has to be waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_that_is_dropped_while_it_waits_writes_nothing() {
    let (broker, client) = start(1).await;
    let mut accepted = 0;
    for polls in 0.. {
        let producer = client.producer().build().unwrap();
        let done = drop_after(polls, producer.enqueue(numbered(polls))).await;
        let next = producer.send(numbered(MANY / 2 + polls)).await.unwrap();
        assert_eq!(next.offset, Some(polls as i64 + i64::from(done.is_some())));
        producer.close(SOON).await.unwrap();
        if let Some(delivery) = done {
            delivery.unwrap().await.unwrap();
            accepted = polls;
            break;
        }
        assert!(polls < MANY / 2);
    }
    assert!(accepted > 1, "the future was never dropped while it waited");
    let counts = written(&client, MANY).await;
    assert_eq!(counts.get(&accepted), Some(&1));
    assert_eq!(counts.len(), accepted + 2);
    assert!(counts.values().all(|count| *count == 1));
    broker.shutdown().await;
}

/// Of many records at once, those that were accepted are written, in their order and once, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_enqueued_and_dropped_write_their_beginning() {
    // Several times what the buffer holds, so that room has to be waited for again and again.
    const EACH: usize = 2_000;
    let (broker, client) = start(1).await;
    let mut ends = Vec::new();
    for polls in 0..MANY {
        let producer = client.producer().buffer_memory(8 * 1024).batch_size(1024).build().unwrap();
        let begin = polls * EACH;
        let done = drop_after(polls, producer.enqueue_all((begin..begin + EACH).map(numbered))).await;
        producer.close(SOON).await.unwrap();
        if let Some(result) = done {
            result.unwrap().all().await.unwrap();
            ends.push(EACH);
            break;
        }
        ends.push(0);
    }
    let counts = written(&client, MANY * EACH).await;
    assert!(counts.values().all(|count| *count == 1));
    for number in counts.keys() {
        ends[number / EACH] = ends[number / EACH].max(number % EACH + 1);
    }
    assert_eq!(counts.len(), ends.iter().sum::<usize>(), "each wrote a beginning without a gap");
    assert!(
        ends.iter().any(|end| (1..EACH).contains(end)),
        "the future was never dropped in the middle: {ends:?}"
    );
    broker.shutdown().await;
}

/// The same for those whose acknowledgements are waited for, with one among them that fails for itself. The producer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_sent_and_dropped_write_their_beginning() {
    const EACH: usize = 1_500;
    const TOO_LARGE: usize = 900;
    let record = |number: usize| match number % EACH {
        TOO_LARGE => numbered(number).key("x".repeat(4_000)),
        _ => numbered(number),
    };
    let (broker, client) = start(1).await;
    let mut ends = Vec::new();
    let mut complete = false;
    for polls in 0..MANY {
        let builder = client.producer().buffer_memory(8 * 1024).batch_size(1024).max_request_size(2_000);
        let producer = builder.build().unwrap();
        let (begin, last) = (polls * EACH, (polls + 1) * EACH - 1);
        let done = drop_after(polls, producer.send_all((begin..last).map(record))).await;
        producer.send(numbered(last)).await.unwrap();
        producer.close(SOON).await.unwrap();
        ends.push(0);
        if let Some(results) = done {
            let failed: Vec<_> = (0..).zip(&results).filter(|(_, result)| result.is_err()).collect();
            assert!(matches!(failed[..], [(TOO_LARGE, _)]), "{failed:?}");
            assert_eq!(results.len(), EACH - 1);
            ends[polls] = EACH - 1;
            complete = true;
            break;
        }
    }
    assert!(complete);
    let mut counts = written(&client, MANY * EACH).await;
    assert!(counts.values().all(|count| *count == 1));
    for polls in 0..ends.len() {
        assert_eq!(counts.remove(&((polls + 1) * EACH - 1)), Some(1), "the producer goes on");
    }
    for number in counts.keys() {
        ends[number / EACH] = ends[number / EACH].max(number % EACH + 1);
    }
    let kept = ends.iter().map(|end| end - usize::from(*end > TOO_LARGE));
    assert_eq!(counts.len(), kept.sum::<usize>(), "each wrote a beginning without a gap");
    assert!(ends.iter().any(|end| (1..EACH - 1).contains(end)), "never dropped in the middle: {ends:?}");
    let acknowledging = ends.iter().filter(|end| **end == EACH - 1).count();
    assert!(acknowledging > 1, "never dropped while it waited for the last: {ends:?}");
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_or_close_that_is_dropped_goes_on() {
    let (broker, client) = start(1).await;
    let mut count = 0;
    let mut complete = false;
    for polls in 0..MANY {
        let producer = client.producer().linger(Duration::from_secs(30)).build().unwrap();
        for _ in 0..3 {
            drop(producer.enqueue(numbered(count)).await.unwrap());
            count += 1;
        }
        let flushed = drop_after(polls, producer.flush()).await;
        // A flush that has begun does not wait for the linger, whether anybody waits or not.
        tokio::time::timeout(SOON, producer.flush()).await.unwrap().unwrap();
        drop(producer.enqueue(numbered(count)).await.unwrap());
        count += 1;
        let closed = drop_after(polls, producer.close(SOON)).await;
        tokio::time::timeout(SOON, producer.close(SOON)).await.unwrap().unwrap();
        complete = flushed.is_some() && closed.is_some();
        if complete {
            break;
        }
    }
    assert!(complete);
    assert_eq!(written(&client, count).await, (0..count).map(|number| (number, 1)).collect());
    broker.shutdown().await;
}

/// A2: records leave the buffer only with the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_is_dropped_at_any_point_takes_nothing() {
    let (broker, client) = start(1).await;
    write(&client, 0..5_000).await;
    let consumer = client.consumer("readers").subscribe(["letters"]).max_poll_records(7);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let mut numbers = Vec::new();
    for polls in (0..40).cycle() {
        if let Some(records) = drop_after(polls, consumer.poll(SOON)).await {
            numbers.extend(records.unwrap().unwrap().iter().map(|record| number(record.value())));
        }
        if numbers.len() >= 5_000 {
            break;
        }
    }
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
    // At the end polls wait for what is to come; one record after each wait that was dropped.
    for polls in 0..20 {
        assert!(drop_after(polls, consumer.poll(SOON)).await.is_none());
        write(&client, 5_000 + polls..5_001 + polls).await;
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        let numbers: Vec<_> = records.iter().map(|record| number(record.value())).collect();
        assert_eq!(numbers, [5_000 + polls]);
    }
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_next_is_dropped_loses_nothing() {
    let (broker, client) = start(1).await;
    write(&client, 0..300).await;
    let consumer = reader(&client, "readers");
    let mut stream = consumer.stream();
    let mut numbers = Vec::new();
    for polls in (0..10).cycle() {
        let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_next(context));
        if let Some(record) = drop_after(polls, next).await {
            numbers.push(number(record.unwrap().unwrap().value().map(|value| &**value)));
        }
        if numbers.len() == 300 {
            break;
        }
    }
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    drop(stream);
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// A3: a commit goes on without whoever began it, and the next one comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_dropped_goes_on() {
    let (broker, client) = start(1).await;
    write(&client, 0..10).await;
    let partition = TopicPartition::new("letters", 0);
    let consumer = reader(&client, "readers");
    while consumer.position(&partition).is_none_or(|position| position.offset < 10) {
        consumer.poll(SOON).await.unwrap();
    }
    let at = |offset| Position { offset, leader_epoch: None };
    let mut complete = false;
    for polls in 0..MANY {
        let own = consumer.commit_offsets([(partition.clone(), at(polls as i64 % 10))]);
        let done = drop_after(polls, own).await;
        let asked = drop_after(polls, consumer.committed([partition.clone()])).await;
        if polls > 0 {
            let deadline = tokio::time::Instant::now() + SOON;
            let committed = async || consumer.committed([partition.clone()]).await.unwrap();
            while committed().await[&partition].position.offset != polls as i64 % 10 {
                assert!(tokio::time::Instant::now() < deadline, "the commit was lost");
            }
        }
        let all = drop_after(polls, consumer.commit()).await;
        consumer.commit().await.unwrap();
        assert_eq!(consumer.committed([partition.clone()]).await.unwrap()[&partition].position.offset, 10);
        complete = done.is_some() && asked.is_some() && all.is_some();
        if complete {
            break;
        }
    }
    assert!(complete);
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_of_a_consumer_that_is_dropped_goes_on() {
    let (broker, client) = start(1).await;
    write(&client, 0..1).await;
    for polls in (0..).step_by(5) {
        let consumer = reader(&client, "readers");
        assert_eq!(consumer.poll(SOON).await.unwrap().unwrap().len(), 1, "{:?}", consumer.explain());
        let done = drop_after(polls, consumer.close(SOON)).await;
        if polls > 0 {
            let closed = async { while consumer.poll(SOON).await.unwrap().is_some() {} };
            tokio::time::timeout(SOON, closed).await.unwrap();
        }
        consumer.close(SOON).await.unwrap();
        if done.is_some() {
            break;
        }
        assert!(polls < MANY);
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_calls_that_are_dropped_leave_the_client_as_it_was() {
    let (broker, client) = start(1).await;
    let admin = client.admin();
    let mut complete = false;
    for polls in 0..MANY {
        let connected = drop_after(polls, Client::connect(broker.bootstrap())).await.is_some();
        let created = drop_after(polls, admin.create_topic(NewTopic::new("drafts").partitions(2))).await;
        let again = admin.create_topic(NewTopic::new("drafts").partitions(2)).await;
        let exists = again.is_err_and(|error| error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS));
        // What was asked for is done, since one broker answers in order.
        assert_eq!(exists, polls > 0);
        let counted = drop_after(polls, admin.partition_count("drafts")).await;
        assert_eq!(admin.partition_count("drafts").await.unwrap(), 2);
        let deleted = drop_after(polls, admin.delete_topic("drafts")).await;
        let again = admin.delete_topic("drafts").await;
        assert_eq!(again.is_err(), polls > 0);
        complete = connected && created.is_some() && counted.is_some() && deleted.is_some();
        if complete {
            break;
        }
    }
    assert!(complete);
    broker.shutdown().await;
}
