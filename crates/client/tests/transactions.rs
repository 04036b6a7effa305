//! Transactions against the embedded broker, over TCP, in both versions of the protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use milena::{
    AutoOffsetReset, Certainty, Client, Consumer, EnqueueError, ErrorCode, FatalCause, InitializeError,
    IsolationLevel, NewTopic, Record, Remedy, SeekTo, SendError, TopicPartition, TransactionError,
    TransactionFailure, TransactionalProducer,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, BrokerId, ClusterConfig, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(20);
const ID: &str = "payments-1";

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("it hangs"))
}

async fn start(version: i16, brokers: u16) -> (EmbeddedBroker, Client) {
    start_with(version, brokers, |_| {}).await
}

async fn start_with(
    version: i16,
    brokers: u16,
    turn: impl FnOnce(&mut ClusterConfig),
) -> (EmbeddedBroker, Client) {
    let builder = EmbeddedBroker::builder().brokers(brokers).topic("payments", 3).topic("orders", 1);
    let configure = |config: &mut ClusterConfig| {
        config.transaction_version = version;
        config.consumer_heartbeat_interval = Duration::from_millis(100);
        turn(config);
    };
    let broker = builder.configure(configure).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

async fn producer(client: &Client) -> TransactionalProducer {
    within(client.transactional_producer(ID).build()).await.unwrap()
}

fn payment(partition: i32, value: impl Into<String>) -> Record {
    Record::new("payments").partition(partition).value(value.into())
}

/// Everything that readers of committed records see, in order of partition and offset.
async fn committed(client: &Client) -> Vec<String> {
    read(client, IsolationLevel::ReadCommitted, "the end").await
}

fn in_each_partition(values: &[String]) -> Vec<String> {
    [values; 3].concat()
}

/// Reads until the record with this value is there, which is written in a transaction of another producer: what comes
/// before it in its partition is decided.
async fn read(client: &Client, level: IsolationLevel, last: &str) -> Vec<String> {
    let mut marker = within(client.transactional_producer("marker").build()).await.unwrap();
    let transaction = marker.begin().unwrap();
    for partition in 0..3 {
        within(transaction.send(payment(partition, last))).await.unwrap();
    }
    within(transaction.commit()).await.unwrap();
    let consumer = client
        .consumer_without_group()
        .assign((0..3).map(|partition| TopicPartition::new("payments", partition)))
        .isolation_level(level)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut seen = Vec::new();
    let mut ends = 0;
    while ends < 3 {
        let records = within(consumer.poll(SOON)).await.unwrap().unwrap();
        assert!(!records.is_empty(), "{:?}", consumer.explain());
        for record in records.iter() {
            let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            if value == last {
                ends += 1;
            } else {
                seen.push((record.partition(), record.offset(), value));
            }
        }
    }
    seen.sort();
    seen.into_iter().map(|(.., value)| value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let mut producer = producer(&client).await;
        for number in 0..20 {
            let transaction = producer.begin().unwrap();
            for partition in 0..3 {
                drop(within(transaction.enqueue(payment(partition, format!("{number:02}")))).await.unwrap());
            }
            if number % 3 == 0 {
                // Else what was not sent yet would not be at all.
                within(transaction.flush()).await.unwrap();
                within(transaction.abort()).await.unwrap();
            } else {
                within(transaction.commit()).await.unwrap();
            }
        }
        let kept = (0..20).filter(|number| number % 3 != 0).map(|number| format!("{number:02}"));
        let kept: Vec<String> = kept.collect();
        assert_eq!(committed(&client).await, in_each_partition(&kept), "version {version}");
        let all = read(&client, IsolationLevel::ReadUncommitted, "the end of all").await;
        assert!(all.len() > 60, "readers of everything see the aborted ones, too");
        within(producer.close(SOON)).await.unwrap();
        broker.shutdown().await;
    }
}

/// T17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_producer_of_the_same_id_fences_the_first() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let mut first = producer(&client).await;
        let transaction = first.begin().unwrap();
        within(transaction.send(payment(0, "of the first"))).await.unwrap();
        let mut second = producer(&client).await;
        let error = within(transaction.commit()).await.unwrap_err();
        assert_eq!((error.remedy(), error.certainty()), (Remedy::NewProducer, Certainty::NotWritten));
        let TransactionError::Fatal(fatal) = &error else { panic!("{error:?}") };
        assert!(matches!(fatal.cause, FatalCause::Fenced { .. }), "{error}");
        assert_eq!(first.begin().unwrap_err(), error);
        let transaction = second.begin().unwrap();
        within(transaction.send(payment(0, "of the second"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        assert_eq!(committed(&client).await, ["of the second"]);
        within(first.close(SOON)).await.unwrap();
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_is_aborted_and_the_next_one_waits_for_that() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let mut producer = producer(&client).await;
        for number in 0..10 {
            let transaction = producer.begin().unwrap();
            drop(within(transaction.enqueue(payment(0, "dropped"))).await.unwrap());
            if number % 2 == 0 {
                within(transaction.flush()).await.unwrap();
            }
            drop(transaction);
            let transaction = producer.begin().unwrap();
            within(transaction.send(payment(0, number.to_string()))).await.unwrap();
            within(transaction.commit()).await.unwrap();
        }
        let kept: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(committed(&client).await, kept, "version {version}");
        broker.shutdown().await;
    }
}

async fn assigned(consumer: &Consumer) {
    within(async {
        while consumer.group_metadata().is_none() || consumer.assignment().is_empty() {
            consumer.poll(Duration::from_millis(50)).await.unwrap();
        }
    })
    .await;
}

/// T15: and of a member that is not one any more they are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_committed_if_and_only_if_the_transaction_is() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let mut producer = producer(&client).await;
        let consumer = client.consumer("readers").subscribe(["orders"]).build().unwrap();
        assigned(&consumer).await;
        let orders = TopicPartition::new("orders", 0);
        let group = consumer.group_metadata().unwrap();
        for (offset, commits) in [(5, false), (7, true), (9, false), (11, true)] {
            let transaction = producer.begin().unwrap();
            within(transaction.send(payment(0, offset.to_string()))).await.unwrap();
            let position = milena::Position { offset, leader_epoch: Some(0) };
            within(transaction.send_offsets(&group, [(orders.clone(), position)])).await.unwrap();
            if commits {
                within(transaction.commit()).await.unwrap();
            } else {
                within(transaction.abort()).await.unwrap();
            }
            let expected = if commits { Some(offset) } else { [None, Some(7)][usize::from(offset > 7)] };
            let found = within(async {
                // Markers are written a moment after the end was answered.
                tokio::time::sleep(Duration::from_millis(50)).await;
                consumer.committed([orders.clone()]).await.unwrap()
            })
            .await;
            let found = found.get(&orders).map(|committed| committed.position.offset);
            assert_eq!(found, expected, "version {version}");
        }
        assert_eq!(committed(&client).await, ["7", "11"]);
        within(consumer.close(SOON)).await.unwrap();
        let transaction = producer.begin().unwrap();
        let position = milena::Position { offset: 99, leader_epoch: None };
        let error = within(transaction.send_offsets(&group, [(orders.clone(), position)])).await.unwrap_err();
        assert!(
            matches!(&error, TransactionError::MustAbort(TransactionFailure::Refused { api, .. }) if *api == ApiKey::TxnOffsetCommit),
            "{error:?}"
        );
        assert_eq!(within(transaction.commit()).await.unwrap_err(), error);
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, "after"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        broker.shutdown().await;
    }
}

/// T4: the commit was done, and its answer is lost again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_outcome_is_not_known_is_committed_again() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let builder = client.transactional_producer(ID).end_timeout(Duration::from_millis(700));
        let builder = builder.configure(|builder| builder.request_timeout(Duration::from_millis(300)));
        let mut producer = within(builder.build()).await.unwrap();
        broker.add_fault(Rule::new(ApiKey::EndTxn, Action::DropReply).times(u32::MAX));
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, "unknown"))).await.unwrap();
        let error = within(transaction.commit()).await.unwrap_err();
        assert!(matches!(error, TransactionError::CommitUnknown(_)), "{error:?}");
        assert_eq!((error.remedy(), error.certainty()), (Remedy::CommitAgain, Certainty::MaybeWritten));
        assert!(matches!(producer.begin().unwrap_err(), TransactionError::CommitUnknown(_)));
        broker.with_cluster(|cluster, _| cluster.faults().clear());
        within(producer.commit_again()).await.unwrap();
        assert_eq!(within(producer.commit_again()).await, Err(TransactionError::NoTransaction));
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, "next"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        assert_eq!(committed(&client).await, ["unknown", "next"], "version {version}");
        broker.shutdown().await;
    }
}

/// T4: it was not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_outcome_is_not_known_is_left_behind() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let builder = client.transactional_producer(ID).end_timeout(Duration::from_millis(700));
        let builder = builder.configure(|builder| builder.request_timeout(Duration::from_millis(300)));
        let mut producer = within(builder.build()).await.unwrap();
        broker.add_fault(Rule::new(ApiKey::EndTxn, Action::Ignore).times(u32::MAX));
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, "unknown"))).await.unwrap();
        let error = within(transaction.commit()).await.unwrap_err();
        assert!(matches!(error, TransactionError::CommitUnknown(_)), "{error:?}");
        broker.with_cluster(|cluster, _| cluster.faults().clear());
        within(producer.reinitialize()).await.unwrap();
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, "next"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        assert_eq!(committed(&client).await, ["next"], "version {version}");
        broker.shutdown().await;
    }
}

/// T4, T16: within the time there is, a lost answer is not noticed at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_make_no_difference() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let mut producer = producer(&client).await;
        let faults = [
            Action::CloseAfter,
            Action::CloseBefore,
            Action::Answer(ErrorCode::UNKNOWN_SERVER_ERROR),
            Action::Answer(ErrorCode::CONCURRENT_TRANSACTIONS),
            Action::Answer(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            Action::Answer(ErrorCode::PRODUCER_FENCED),
        ];
        let apis = [ApiKey::EndTxn, ApiKey::Produce, ApiKey::AddPartitionsToTxn];
        let mut kept = Vec::new();
        for (number, fault) in faults.into_iter().enumerate() {
            for api in apis {
                // Every answer to a batch that names an error is a matter of its own.
                if api != ApiKey::EndTxn && matches!(fault, Action::Answer(_)) {
                    continue;
                }
                broker.add_fault(Rule::new(api, fault));
                for (what, commits) in [("kept", true), ("gone", false)] {
                    let transaction = producer.begin().unwrap();
                    let value = format!("{what} {number} {api}");
                    within(transaction.send(payment(0, value.clone()))).await.unwrap();
                    if commits {
                        within(transaction.commit()).await.unwrap();
                        kept.push(value);
                    } else {
                        within(transaction.abort()).await.unwrap();
                    }
                }
                broker.with_cluster(|cluster, _| cluster.faults().clear());
            }
        }
        assert_eq!(committed(&client).await, kept, "version {version}");
        broker.shutdown().await;
    }
}

/// T5, T13: the coordinator aborts what takes too long. In version 2 the producer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_takes_too_long_is_not_committed() {
    let often = |config: &mut ClusterConfig| config.transaction_abort_interval = Duration::from_millis(50);
    let (broker, client) = start_with(2, 1, often).await;
    let builder = client.transactional_producer(ID).transaction_timeout(Duration::from_millis(500));
    let mut producer = within(builder.build()).await.unwrap();
    let transaction = producer.begin().unwrap();
    within(transaction.send(payment(0, "slow"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let refused = within(transaction.send(payment(0, "slower"))).await.unwrap_err();
    let must_abort = TransactionError::MustAbort(TransactionFailure::TimedOut);
    assert!(
        matches!(refused, SendError::NotAccepted(EnqueueError::Transaction(error)) if error == must_abort)
    );
    let error = within(transaction.commit()).await.unwrap_err();
    assert_eq!(error, must_abort);
    // A commit on its way when the coordinator aborts.
    broker.add_fault(Rule::new(ApiKey::EndTxn, Action::CloseBefore).after(1).times(3));
    let transaction = producer.begin().unwrap();
    within(transaction.send(payment(0, "late"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = within(transaction.commit()).await.unwrap_err();
    assert_eq!(error, TransactionError::AbortedByCoordinator);
    let transaction = producer.begin().unwrap();
    within(transaction.send(payment(0, "quick"))).await.unwrap();
    within(transaction.commit()).await.unwrap();
    assert_eq!(committed(&client).await, ["quick"]);
    broker.shutdown().await;
}

/// Coordinators and leaders come and go under transactions that copy and commit offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_restart_tear_no_transaction() {
    for version in [1, 2] {
        let (broker, client) = start(version, 3).await;
        let writer = {
            let client = client.clone();
            tokio::spawn(async move {
                let mut producer = producer(&client).await;
                let mut kept = Vec::new();
                for number in 0..60 {
                    let transaction = producer.begin().unwrap();
                    for partition in 0..3 {
                        let value = format!("{number:02}");
                        drop(transaction.enqueue(payment(partition, value)).await.unwrap());
                    }
                    match transaction.commit().await {
                        Ok(()) => kept.push(format!("{number:02}")),
                        Err(error) => assert_eq!(error.remedy(), Remedy::Abort, "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                kept
            })
        };
        for id in [1, 2, 3, 1, 2].map(BrokerId) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            broker.stop_broker(id);
            tokio::time::sleep(Duration::from_millis(100)).await;
            broker.start_broker(id);
        }
        let kept = within(writer).await.unwrap();
        assert!(kept.len() > 50, "{}", kept.len());
        assert_eq!(committed(&client).await, in_each_partition(&kept), "version {version}");
        broker.shutdown().await;
    }
}

/// The loop of a service that reads, makes something of it and writes; after an abort it reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consume_transform_produce_copies_each_record_once() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let source = client.producer().build().unwrap();
        for number in 0..200 {
            let order = Record::new("orders").value(format!("{number:03}"));
            drop(source.enqueue(order).await.unwrap());
        }
        within(source.close(SOON)).await.unwrap();
        let orders = TopicPartition::new("orders", 0);
        let mut aborted = 0;
        let mut copied = 0;
        for life in 0..4 {
            let mut producer = producer(&client).await;
            let consumer = client.consumer("copiers").subscribe(["orders"]);
            let consumer = consumer
                .isolation_level(IsolationLevel::ReadCommitted)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .max_poll_records(20)
                .build()
                .unwrap();
            while copied < (life + 1) * 50 {
                let records = within(consumer.poll(SOON)).await.unwrap().unwrap();
                if records.is_empty() {
                    continue;
                }
                let transaction = producer.begin().unwrap();
                for record in records.iter() {
                    let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                    drop(within(transaction.enqueue(payment(0, value))).await.unwrap());
                }
                let position = consumer.position(&orders).unwrap();
                let group = consumer.group_metadata().unwrap();
                within(transaction.send_offsets(&group, [(orders.clone(), position)])).await.unwrap();
                if aborted * 60 < copied {
                    within(transaction.abort()).await.unwrap();
                    aborted += 1;
                    let start = consumer.committed([orders.clone()]).await.unwrap();
                    let start = start.get(&orders).map(|committed| committed.position.offset).unwrap();
                    consumer.seek(&orders, SeekTo::Offset(start)).unwrap();
                } else {
                    within(transaction.commit()).await.unwrap();
                    copied += records.len();
                }
            }
            if life % 2 == 0 {
                // As if it were killed in the middle: the next one fences it.
                let transaction = producer.begin().unwrap();
                within(transaction.send(payment(0, "never"))).await.unwrap();
                std::mem::forget(transaction);
            }
            within(consumer.close(SOON)).await.unwrap();
            std::mem::forget(producer);
        }
        assert!(aborted > 1);
        let all: Vec<_> = (0..200).map(|number| format!("{number:03}")).collect();
        let copies = committed(&client).await;
        assert_eq!(copies, all[..copies.len()], "version {version}");
        assert_eq!(copies.len(), copied);
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_is_not_granted_an_epoch_says_why() {
    let (broker, client) = start(2, 1).await;
    let builder = client.transactional_producer(ID).transaction_timeout(Duration::from_hours(1));
    let error = within(builder.build()).await.unwrap_err();
    assert!(matches!(error, InitializeError::Transaction(TransactionError::Fatal(_))), "{error:?}");
    assert!(error.to_string().contains("INVALID_TRANSACTION_TIMEOUT"), "{error}");
    broker.add_fault(
        Rule::new(ApiKey::InitProducerId, Action::Answer(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS))
            .times(u32::MAX),
    );
    let builder = client.transactional_producer(ID);
    let builder = builder.configure(|builder| builder.max_block(Duration::from_millis(400)));
    let error = within(builder.build()).await.unwrap_err().to_string();
    assert!(error.contains("400ms") && error.contains("COORDINATOR_LOAD_IN_PROGRESS"), "{error}");
    let error = within(client.transactional_producer("").build()).await.unwrap_err();
    assert!(matches!(error, InitializeError::Settings(_)), "{error:?}");
    broker.shutdown().await;
}

/// A3: the futures of an end, dropped at whatever point: it goes on, and the next transaction waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_whose_future_is_dropped_goes_on() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        for api in [ApiKey::EndTxn, ApiKey::Produce] {
            broker.add_fault(Rule::new(api, Action::Delay(Duration::from_millis(2))).times(u32::MAX));
        }
        let mut producer = producer(&client).await;
        let mut ended = 0;
        for turn in 0..40 {
            let transaction = producer.begin().unwrap();
            drop(within(transaction.enqueue(payment(0, format!("{turn:02}")))).await.unwrap());
            // Polled at least once.
            let patience = if turn == 39 { SOON } else { Duration::from_micros(turn * 300) };
            if tokio::time::timeout(patience, transaction.commit()).await.is_ok() {
                ended += 1;
            }
        }
        // The first is dropped at once.
        assert!((1..40).contains(&ended), "{ended}");
        // Each was polled, and so all are committed, in their order.
        let all: Vec<_> = (0..40).map(|turn| format!("{turn:02}")).collect();
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(1, "zz"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        let mut seen = committed(&client).await;
        assert_eq!(seen.pop().as_deref(), Some("zz"));
        assert_eq!(seen, all, "version {version}");
        broker.shutdown().await;
    }
}

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

/// A3: each call dropped at each of its await points. What was told to be committed is there, once; what was told to be
/// aborted is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_may_be_dropped_at_every_point() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        for api in [ApiKey::EndTxn, ApiKey::Produce, ApiKey::TxnOffsetCommit, ApiKey::AddPartitionsToTxn] {
            broker.add_fault(Rule::new(api, Action::Delay(Duration::from_millis(2))).times(u32::MAX));
        }
        let group = milena::GroupMetadata::without_member("readers");
        let orders = TopicPartition::new("orders", 0);
        let mut producer = producer(&client).await;
        let (mut sure, mut never) = (Vec::new(), Vec::new());
        for polls in 0..60 {
            for commits in [true, false] {
                let transaction = producer.begin().unwrap();
                let value = format!("{polls:02} {commits}");
                let sent = drop_after(polls, transaction.send(payment(0, value.clone()))).await;
                let position = milena::Position { offset: polls as i64, leader_epoch: None };
                let offsets = transaction.send_offsets(&group, [(orders.clone(), position)]);
                drop(drop_after(polls, offsets).await);
                let _ = drop_after(polls, transaction.flush()).await;
                if commits {
                    let done = drop_after(polls, transaction.commit()).await;
                    if let (Some(Ok(())), Some(Ok(_))) = (done, sent) {
                        sure.push(value);
                    } else if polls == 0 {
                        never.push(value);
                    }
                } else {
                    drop(drop_after(polls, transaction.abort()).await);
                    never.push(value);
                }
            }
        }
        assert!(sure.len() > 20, "{}", sure.len());
        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(1, "zz"))).await.unwrap();
        within(transaction.commit()).await.unwrap();
        let seen = committed(&client).await;
        let mut once = seen.clone();
        once.dedup();
        assert_eq!(once, seen, "version {version}");
        assert_eq!(seen.last().map(String::as_str), Some("zz"));
        assert!(sure.iter().all(|value| seen.contains(value)), "version {version}: {sure:?} {seen:?}");
        assert!(!never.iter().any(|value| seen.contains(value)), "version {version}: {seen:?}");
        broker.shutdown().await;
    }
}

/// T14: Kafka does not rewind a consumer whose offsets were in a transaction that was aborted. Going back is a seek to the
/// committed offset, and no offsets that are being loaded meanwhile undo it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_abort_the_position_stays_until_it_is_sought_and_no_late_offset_undoes_that() {
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let source = client.producer().build().unwrap();
        for number in 0..3 {
            within(source.send(Record::new("orders").value(format!("order {number}")))).await.unwrap();
        }
        let orders = TopicPartition::new("orders", 0);
        let consumer = copier(&client);
        let first = next(&consumer).await;
        assert_eq!(first, "order 0");
        let mut producer = producer(&client).await;

        let transaction = producer.begin().unwrap();
        within(transaction.send(payment(0, first))).await.unwrap();
        let read = consumer.position(&orders).unwrap();
        assert_eq!(read.offset, 1);
        let group = consumer.group_metadata().unwrap();
        within(transaction.send_offsets(&group, [(orders.clone(), read)])).await.unwrap();
        within(transaction.abort()).await.unwrap();
        assert_eq!(consumer.position(&orders), Some(read), "version {version}: an abort moves nothing");
        let committed = within(consumer.committed([orders.clone()])).await.unwrap();
        assert!(committed.is_empty(), "the offset went with the transaction: {committed:?}");

        // Whatever loads offsets is late, and the consumer is where it was sent.
        let late = Action::Delay(Duration::from_millis(300));
        broker.add_fault(Rule::new(ApiKey::OffsetFetch, late).times(2));
        let loading = tokio::spawn({
            let orders = orders.clone();
            let other = client.consumer("copiers").assign([orders.clone()]).build().unwrap();
            async move { within(other.committed([orders])).await.map(|_| ()) }
        });
        consumer.seek(&orders, SeekTo::Offset(0)).unwrap();
        assert_eq!(next(&consumer).await, "order 0", "version {version}");
        within(loading).await.unwrap().unwrap();
        assert_eq!(next(&consumer).await, "order 1", "version {version}");

        // A member that has just got the partition seeks before the offsets that it asked for have come.
        let transaction = producer.begin().unwrap();
        let read = consumer.position(&orders).unwrap();
        let group = consumer.group_metadata().unwrap();
        within(transaction.send_offsets(&group, [(orders.clone(), read)])).await.unwrap();
        within(transaction.commit()).await.unwrap();
        within(consumer.close(SOON)).await.unwrap();
        broker.add_fault(Rule::new(ApiKey::OffsetFetch, Action::Delay(Duration::from_millis(300))));
        let consumer = copier(&client);
        while consumer.assignment().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            consumer.position(&orders),
            None,
            "version {version}: the committed offset is not there yet"
        );
        consumer.seek(&orders, SeekTo::Offset(0)).unwrap();
        for number in 0..3 {
            assert_eq!(next(&consumer).await, format!("order {number}"), "version {version}");
        }
        within(consumer.close(SOON)).await.unwrap();
        within(producer.close(SOON)).await.unwrap();
        broker.shutdown().await;
    }
}

/// A member of the group of T14 that takes one record at a time.
fn copier(client: &Client) -> Consumer {
    let consumer = client.consumer("copiers").subscribe(["orders"]).max_poll_records(1);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

async fn next(consumer: &Consumer) -> String {
    loop {
        let records = within(consumer.poll(SOON)).await.unwrap().unwrap();
        if let Some(record) = records.iter().next() {
            return String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        }
    }
}

/// P12 inside a transaction: the parts of a batch that is too large for its topic are as much of it as the whole would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_a_transaction_that_is_too_large_is_committed_in_parts() {
    const COUNT: usize = 64;
    for version in [1, 2] {
        let (broker, client) = start(version, 1).await;
        let narrow = NewTopic::new("narrow").partitions(1).config("max.message.bytes", "2000");
        within(client.admin().create_topic(narrow)).await.unwrap();
        let builder = client
            .transactional_producer(ID)
            .configure(|builder| builder.linger(Duration::from_millis(50)).batch_size(100_000));
        let mut producer = within(builder.build()).await.unwrap();
        for round in 0..2 {
            let transaction = producer.begin().unwrap();
            let records = (0..COUNT).map(|number| {
                Record::new("narrow").partition(0).value(format!("{round} {number} {}", "x".repeat(200)))
            });
            let deliveries = within(transaction.enqueue_all(records)).await.unwrap();
            within(transaction.commit()).await.unwrap();
            let offsets: Vec<_> = deliveries
                .into_iter()
                .map(|delivery| delivery.result().unwrap().unwrap().offset.unwrap())
                .collect();
            // A marker stands behind the records of each transaction.
            let first = (round * (COUNT + 1)) as i64;
            assert_eq!(offsets, (first..first + COUNT as i64).collect::<Vec<_>>(), "version {version}");
        }
        assert!(producer.stats().done.batches_split > 0);
        within(producer.close(SOON)).await.unwrap();
        broker.shutdown().await;
    }
}
