//! Handing over many records at once, and getting back those that are not taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{Client, EnqueueError, ErrorCode, Producer, Record, SendError};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(10);

async fn start() -> (EmbeddedBroker, Client) {
    let broker = EmbeddedBroker::builder().topic("letters", 3).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

fn letter(number: usize) -> Record {
    Record::new("letters").partition((number % 3) as i32).value(number.to_string())
}

/// A producer that knows the topic and has room for a few hundred small records.
async fn narrow(client: &Client) -> Producer {
    let producer = client.producer().buffer_memory(16 * 1024).batch_size(1024).build().unwrap();
    producer.send(Record::new("letters").partition(0)).await.unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_taken_comes_back() {
    let (broker, client) = start().await;
    let producer = client.producer().buffer_memory(16 * 1024).build().unwrap();
    let unknown = producer.try_enqueue(letter(1)).unwrap_err();
    assert_eq!(unknown.record, letter(1));
    assert!(matches!(unknown.reason, EnqueueError::UnknownTopic(_)), "{unknown}");
    producer.send(unknown.record).await.unwrap();

    broker.add_fault(Rule::new(ApiKey::Produce, Action::Delay(Duration::from_millis(200))).times(u32::MAX));
    let record = letter(2);
    let mut taken = Vec::new();
    let refused = loop {
        match producer.try_enqueue(&record) {
            Ok(delivery) => taken.push(delivery),
            Err(refused) => break refused,
        }
        assert!(taken.len() < 10_000);
    };
    assert!(std::ptr::eq(refused.record, &record));
    assert_eq!(refused.to_string(), "the record was not accepted: the buffer of 16384 bytes is full");
    for (delivery, offset) in taken.into_iter().zip(0..) {
        assert_eq!(delivery.await.unwrap().offset, Some(offset));
    }
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_keep_their_order_and_wait_for_room() {
    let (broker, client) = start().await;
    let producer = narrow(&client).await;
    let deliveries = producer.enqueue_all((0..10_000).map(letter)).await.unwrap();
    assert_eq!(deliveries.len(), 10_000);
    let mut next = [1, 0, 0];
    for (delivery, number) in deliveries.into_iter().zip(0usize..) {
        let written = delivery.await.unwrap();
        assert_eq!(written.partition as usize, number % 3);
        let next = &mut next[number % 3];
        assert_eq!(written.offset, Some(*next), "record {number}");
        *next += 1;
    }
    // References do as well, and all of them are awaited at one go.
    let record = letter(0);
    producer.enqueue_all(std::iter::repeat_n(&record, 1000)).await.unwrap().all().await.unwrap();
    assert!(producer.enqueue_all(Vec::<Record>::new()).await.unwrap().is_empty());
    assert_eq!(producer.send(&record).await.unwrap().offset, Some(next[0] + 1000));
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_is_not_accepted_comes_back_with_those_drawn_behind_it() {
    let (broker, client) = start().await;
    let producer = narrow(&client).await;
    let mut records = (0..1000).map(|number| match number {
        300 => Record::new("letters").partition(7),
        number => letter(number),
    });
    let error = producer.enqueue_all(records.by_ref()).await.unwrap_err();
    assert!(matches!(
        error.cause,
        SendError::NotAccepted(EnqueueError::NoSuchPartition { partition: 7, .. })
    ));
    assert_eq!(
        error.to_string(),
        "300 records were accepted, and then: the record was not accepted: the topic letters has 3 partitions; there is no \
         partition 7"
    );
    let rest: Vec<_> = error.rest.into_iter().chain(records).collect();
    assert_eq!((rest.len(), &rest[1]), (700, &letter(301)), "none is lost");
    error.accepted.all().await.unwrap();
    let others = producer.enqueue_all(&rest[1..]).await.unwrap();
    assert_eq!(others.into_iter().last().unwrap().await.unwrap().offset, Some(333));
    producer.close(SOON).await.unwrap();
    let error = producer.enqueue_all([letter(1), letter(2)]).await.unwrap_err();
    assert!(matches!(error.cause, SendError::NotAccepted(EnqueueError::Closed)));
    assert_eq!((error.accepted.len(), error.rest.len()), (0, 2));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_that_are_sent_has_its_own_result() {
    let (broker, client) = start().await;
    let producer = narrow(&client).await;
    let large = Record::new("letters").value(vec![0; 20_000]);
    let nowhere = || Record::new("letters").partition(3);
    let records = (0..400).map(|number| match number {
        0 | 5 => large.clone(),
        6 | 399 => nowhere(),
        number => letter(number),
    });
    let results = producer.send_all(records).await;
    assert_eq!(results.len(), 400);
    for (result, number) in results.into_iter().zip(0usize..) {
        match (number, result) {
            (0 | 5, Err(SendError::NotAccepted(EnqueueError::TooLarge { .. }))) => {}
            (6 | 399, Err(SendError::NotAccepted(EnqueueError::NoSuchPartition { .. }))) => {}
            (_, Ok(written)) => assert_eq!(written.partition as usize, number % 3),
            (_, Err(error)) => panic!("record {number}: {error}"),
        }
    }
    assert!(producer.send_all(Vec::<Record>::new()).await.is_empty());
    producer.close(SOON).await.unwrap();
    let results = producer.send_all((0..300).map(letter)).await;
    assert_eq!(results.len(), 300);
    assert!(results.iter().all(|result| matches!(result, Err(SendError::NotAccepted(EnqueueError::Closed)))));
    broker.shutdown().await;
}

/// What is not to linger is sent in the caller's thread: one that no runtime knows of, with connections that are not there any
/// more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_outside_the_runtime_sends_and_connects() {
    let (broker, client) = start().await;
    let producer = client.producer().linger(Duration::ZERO).build().unwrap();
    producer.send(letter(0)).await.unwrap();
    broker.add_fault(Rule::new(ApiKey::Produce, Action::CloseBefore));
    let sender = producer.clone();
    let thread = std::thread::spawn(move || {
        assert!(tokio::runtime::Handle::try_current().is_err());
        (0..300).map(|number| sender.try_enqueue(letter(3 * number)).unwrap()).collect::<Vec<_>>()
    });
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (delivery, offset) in thread.join().unwrap().into_iter().zip(1..) {
        assert_eq!(delivery.await.unwrap().offset, Some(offset));
    }
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// Requests leave in the order in which the machine made them, whoever sends them: were two swapped, the broker would refuse
/// the later one and it would be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_that_send_at_once_keep_the_order_of_requests() {
    let (broker, client) = start().await;
    let producer = client.producer().linger(Duration::ZERO).build().unwrap();
    producer.send(letter(0)).await.unwrap();
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let producer = producer.clone();
            tokio::spawn(async move {
                let mut last = -1;
                for number in 0..1000 {
                    let offset = producer.send(letter(3 * number)).await.unwrap().offset.unwrap();
                    assert!(offset > last);
                    last = offset;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let done = producer.stats().done;
    assert_eq!((done.records_acknowledged, done.batches_resent, done.requests_failed), (8001, 0, 0));
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// A topic that the client may not see, or that there can't be, is not waited for as one that is being made is.
#[tokio::test]
async fn a_topic_that_is_refused_is_not_waited_for() {
    let (broker, client) = start().await;
    let producer = client.producer().max_block(Duration::from_secs(60)).build().unwrap();
    for (topic, code) in
        [("hidden", ErrorCode::TOPIC_AUTHORIZATION_FAILED), ("no/topic", ErrorCode::INVALID_TOPIC_EXCEPTION)]
    {
        let record = || Record::new(topic).value("v");
        // Twice: that it was refused before does not count, for somebody may have done something about it.
        for _ in 0..2 {
            broker.add_fault(Rule::new(ApiKey::Metadata, Action::Answer(code)));
            let refused = tokio::time::timeout(SOON, producer.send(record())).await.unwrap().unwrap_err();
            let SendError::NotAccepted(EnqueueError::TopicRefused { topic: of, code: told }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((&*of, told), (topic, code));
        }
    }
    broker.with_cluster(|cluster, _| cluster.create_topic("hidden", 1)).unwrap();
    producer.send(Record::new("hidden").value("v")).await.unwrap();
}
