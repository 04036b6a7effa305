//! The consumer handle against the embedded broker, over TCP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeSet, time::Duration};

use milena::{
    AutoOffsetReset, BigEndian, ChosenProtocol, Client, CommitError, Consumer, GroupProtocol, Nullable,
    OffsetAndMetadata, Record, SeekTo, TopicPartition, Utf8,
};
use milena_embedded_broker::{EmbeddedBroker, core::ClusterConfig};

const SOON: Duration = Duration::from_secs(10);
const PROTOCOLS: [(GroupProtocol, ChosenProtocol); 2] =
    [(GroupProtocol::Auto, ChosenProtocol::Consumer), (GroupProtocol::Classic, ChosenProtocol::Classic)];

async fn start(partitions: i32) -> (EmbeddedBroker, Client) {
    // Hand-overs take a few heartbeats; Kafka's default is one in five seconds.
    let quick = |config: &mut ClusterConfig| config.consumer_heartbeat_interval = Duration::from_millis(100);
    let broker = EmbeddedBroker::builder().brokers(3).configure(quick).topic("letters", partitions);
    let broker = broker.start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

async fn write(client: &Client, numbers: std::ops::Range<u32>) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        let record = Record::new("letters").key(number.to_string()).value(number.to_string());
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    producer.close(SOON).await.unwrap();
}

fn reader(client: &Client, group: &str, protocol: GroupProtocol) -> Consumer {
    client
        .consumer(group)
        .group_protocol(protocol)
        .heartbeat_interval(Duration::from_millis(100))
        .subscribe(["letters"])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap()
}

/// Reads until `count` records have come, or fails after a while.
async fn read(consumer: &Consumer, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    let reading =
        async {
            while numbers.len() < count {
                let records = consumer.poll(SOON).await.unwrap().unwrap();
                numbers.extend(records.iter().map(|record| {
                    std::str::from_utf8(record.value().unwrap()).unwrap().parse::<u32>().unwrap()
                }));
            }
        };
    tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{:?}", consumer.explain()));
    numbers
}

/// Types are made of keys and values, and one that is not what it should be is named, without the others being lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_values_have_types() {
    let (broker, client) = start(1).await;
    let producer = client.producer().build().unwrap();
    let total = |name: &str, value: Option<&[u8]>| {
        let record = Record::new("letters").key(name.to_owned());
        value.map_or(record.clone(), |value| record.value(value.to_vec()))
    };
    let records = [
        total("a", Some(&7i64.to_be_bytes())),
        total("b", Some(b"seven")),
        total("c", None),
        total("d", Some(&(-1i64).to_be_bytes())),
    ];
    for record in records {
        producer.send(record).await.unwrap();
    }
    producer.close(SOON).await.unwrap();
    let consumer = client
        .consumer_without_group()
        .assign([TopicPartition::new("letters", 0)])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build_typed(Utf8, Nullable(BigEndian::<i64>::new()))
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let mut records = consumer.poll(SOON).await.unwrap().unwrap();
        while let Some(record) = records.next().await {
            seen.push(match record {
                Ok(record) => format!("{} {} {:?}", record.offset(), record.key, record.value),
                Err(error) => {
                    assert_eq!(error.record.value().unwrap(), &b"seven"[..]);
                    error.to_string()
                }
            });
        }
    }
    assert_eq!(
        seen,
        [
            "0 a Some(7)",
            "the value of the record at offset 1 of letters-0: it has 5 bytes and not 8",
            "2 c None",
            "3 d Some(-1)"
        ]
    );
    assert_eq!(consumer.position(&TopicPartition::new("letters", 0)).unwrap().offset, 4);
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_where_it_has_committed() {
    for (protocol, chosen) in PROTOCOLS {
        let (broker, client) = start(3).await;
        write(&client, 0..1000).await;
        let first = reader(&client, "readers", protocol);
        let mut seen = read(&first, 400).await;
        first.commit().await.unwrap();
        assert_eq!(first.group_protocol(), Some(chosen));
        first.close(SOON).await.unwrap();
        assert!(first.poll(SOON).await.unwrap().is_none());

        let second = reader(&client, "readers", protocol);
        seen.extend(read(&second, 1000 - seen.len()).await);
        assert_eq!(seen.len(), 1000);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1000);
        second.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// By record, with a word to oneself, and without waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_may_name_a_record() {
    let (broker, client) = start(1).await;
    let partition = TopicPartition::new("letters", 0);
    write(&client, 0..5).await;
    let consumer = reader(&client, "g", GroupProtocol::Auto);
    let records = consumer.poll(SOON).await.unwrap().unwrap();
    assert_eq!(records.len(), 5);
    let third = records.iter().nth(2).unwrap();
    let (of, position) = third.next_position();
    assert_eq!((of.clone(), position.offset), (partition.clone(), 3));
    assert!(position.leader_epoch.is_some_and(|epoch| epoch >= 0), "{position:?}");
    assert_eq!(third.to_record().next_position(), third.next_position());
    let offset = OffsetAndMetadata { position, metadata: "half of them".into() };
    consumer.commit_offsets([(of, offset.clone())]).await.unwrap();
    let committed = || async { consumer.committed([partition.clone()]).await.unwrap().remove(&partition) };
    assert_eq!(committed().await, Some(offset));

    let fourth = records.iter().nth(3).unwrap().next_position();
    consumer.commit_offsets_async([fourth.clone()]).unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    while committed().await != Some(fourth.1.into()) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elsewhere = (TopicPartition::new("letters", 1), fourth.1);
    let refused = CommitError::NotAssigned { partition: elsewhere.0.clone() };
    assert_eq!(consumer.commit_offsets_async([elsewhere]), Err(refused));
    consumer.close(SOON).await.unwrap();
    let next = reader(&client, "g", GroupProtocol::Auto);
    assert_eq!(read(&next, 1).await, [4]);
    next.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_partitions_and_take_over_from_one_that_leaves() {
    for (protocol, _) in PROTOCOLS {
        let (broker, client) = start(6).await;
        let first = reader(&client, "readers", protocol);
        let second = reader(&client, "readers", protocol);
        // Nothing is read yet: polling only joins and hands partitions over.
        let shared = async {
            while first.assignment().len() != 3 || second.assignment().len() != 3 {
                for member in [&first, &second] {
                    assert!(member.poll(Duration::from_millis(10)).await.unwrap().unwrap().is_empty());
                }
            }
        };
        tokio::time::timeout(SOON, shared)
            .await
            .unwrap_or_else(|_| panic!("{protocol:?} {:#?} {:#?}", first.explain(), second.explain()));
        let owned = |member: &Consumer| member.assignment().into_iter().collect::<BTreeSet<_>>();
        assert!(owned(&first).is_disjoint(&owned(&second)));

        write(&client, 0..600).await;
        let mut seen = Vec::new();
        while seen.len() < 600 {
            for member in [&first, &second] {
                let records = member.poll(Duration::from_millis(20)).await.unwrap().unwrap();
                seen.extend(records.iter().map(|record| record.value().unwrap().to_vec()));
                member.commit().await.unwrap();
            }
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 600);
        second.close(SOON).await.unwrap();
        let alone = async {
            while first.assignment().len() != 6 {
                assert!(first.poll(Duration::from_millis(10)).await.unwrap().unwrap().is_empty());
            }
        };
        tokio::time::timeout(SOON, alone).await.unwrap();
        first.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_can_be_moved_paused_and_asked_for() {
    let (broker, client) = start(1).await;
    write(&client, 0..100).await;
    let partition = TopicPartition::new("letters", 0);
    let consumer = client
        .consumer_without_group()
        .assign([partition.clone()])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    assert_eq!(read(&consumer, 100).await, (0..100).collect::<Vec<_>>());
    assert_eq!(consumer.position(&partition).unwrap().offset, 100);
    consumer.seek(&partition, SeekTo::Offset(90)).unwrap();
    assert_eq!(read(&consumer, 10).await, (90..100).collect::<Vec<_>>());
    consumer.seek(&partition, SeekTo::Beginning).unwrap();
    consumer.pause(&partition).unwrap();
    assert!(consumer.poll(Duration::from_millis(200)).await.unwrap().unwrap().is_empty());
    consumer.resume(&partition).unwrap();
    assert_eq!(read(&consumer, 100).await.len(), 100);
    assert_eq!(consumer.commit().await, Err(CommitError::NoGroup));
    assert!(consumer.seek(&TopicPartition::new("letters", 7), SeekTo::End).is_err());
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_committed_offset_and_a_policy_there_is_an_error() {
    let (broker, client) = start(1).await;
    let consumer = client
        .consumer("readers")
        .auto_offset_reset(AutoOffsetReset::None)
        .subscribe(["letters"])
        .build()
        .unwrap();
    let error = consumer.poll(SOON).await.unwrap_err();
    let expected = "there is no committed offset of letters-0, and auto_offset_reset is none: seek, or let it be earliest or latest";
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_fatal());
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// A2: records leave the buffer only with the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_is_dropped_takes_nothing() {
    let (broker, client) = start(1).await;
    write(&client, 0..2000).await;
    let consumer = reader(&client, "readers", GroupProtocol::Auto);
    let mut numbers = Vec::new();
    while numbers.len() < 2000 {
        // The shortest of the two wins; most polls are dropped before they have an answer.
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            records = consumer.poll(SOON) => {
                let records = records.unwrap().unwrap();
                numbers.extend(records.iter().map(|record| record.offset()));
            }
        }
        let records = consumer.poll(Duration::from_millis(1)).await.unwrap().unwrap();
        numbers.extend(records.iter().map(|record| record.offset()));
    }
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_hands_out_one_record_at_a_time() {
    use std::{future::poll_fn, pin::Pin};

    use futures_core::Stream;

    let (broker, client) = start(1).await;
    write(&client, 0..50).await;
    let consumer = reader(&client, "readers", GroupProtocol::Auto);
    let mut stream = consumer.stream();
    for number in 0..30 {
        let record = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await.unwrap().unwrap();
        assert_eq!((record.offset(), record.topic()), (number, "letters"));
    }
    // Only what was handed out is committed.
    consumer.commit().await.unwrap();
    let partition = TopicPartition::new("letters", 0);
    let committed = consumer.committed([partition.clone()]).await.unwrap();
    assert_eq!(committed[&partition].position.offset, 30);
    consumer.close(SOON).await.unwrap();
    assert!(poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await.is_none());
    broker.shutdown().await;
}

/// A4: a consumer that is dropped leaves its group, in the background.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_consumer_leaves_its_group() {
    let (broker, client) = start(2).await;
    let first = reader(&client, "readers", GroupProtocol::Auto);
    while first.assignment().len() != 2 {
        first.poll(Duration::from_millis(10)).await.unwrap();
    }
    drop(first);
    let second = reader(&client, "readers", GroupProtocol::Auto);
    let alone = async {
        while second.assignment().len() != 2 {
            second.poll(Duration::from_millis(10)).await.unwrap();
        }
    };
    // Well below the session timeout.
    tokio::time::timeout(Duration::from_secs(5), alone).await.unwrap();
    second.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// A cluster that has not finalised KIP-848 gets the classic protocol, without being asked twice by the user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_the_new_protocol_gets_the_classic_one() {
    let old = |config: &mut ClusterConfig| config.consumer_groups = false;
    let broker = EmbeddedBroker::builder().topic("letters", 3).configure(old).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    write(&client, 0..100).await;
    let consumer = reader(&client, "readers", GroupProtocol::Auto);
    assert_eq!(read(&consumer, 100).await.len(), 100);
    assert_eq!(consumer.group_protocol(), Some(ChosenProtocol::Classic));
    consumer.commit().await.unwrap();
    consumer.close(SOON).await.unwrap();

    let insisting = reader(&client, "others", GroupProtocol::Consumer);
    let error = insisting.poll(SOON).await.unwrap_err();
    assert!(error.is_fatal(), "{error}");
    assert!(error.to_string().contains("does not support it"), "{error}");
    broker.shutdown().await;
}

/// A broker answers the requests of a connection in their order: a fetch that waits for records must not hold up a commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_waits_delays_no_commit() {
    const WAIT: Duration = Duration::from_secs(8);
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    write(&client, 0..1).await;
    for (protocol, _) in PROTOCOLS {
        let consumer = client.consumer(format!("{protocol:?}")).group_protocol(protocol).fetch_max_wait(WAIT);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).subscribe(["letters"]).build();
        let consumer = consumer.unwrap();
        assert_eq!(consumer.poll(SOON).await.unwrap().unwrap().iter().count(), 1);
        // All is read: the next fetch waits.
        let is_waiting =
            || consumer.explain().iter().any(|line| line.ends_with("waits for the answer of broker 1"));
        while !is_waiting() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begin = std::time::Instant::now();
        consumer.commit().await.unwrap();
        assert!(begin.elapsed() < WAIT / 2, "{:?}", begin.elapsed());
        assert!(is_waiting(), "the fetch is not what was asked before: {:?}", consumer.explain());
        consumer.close(SOON).await.unwrap();
    }
}
