//! Our clients at a real broker that asks who they are: every way in, what is allowed there, and sessions that end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::time::{Duration, Instant};

use milena::{
    AutoOffsetReset, Certainty, Client, Consumer, ErrorCode, IsolationLevel, NewTopic, Record, Sasl,
    TopicPartition,
};
use protocol_tests::{
    secured::{Connections, OURS, PLAIN, SecuredBroker, TLS_LOGIN, Way, authority, builder},
    stage::within,
};

const SOON: Duration = Duration::from_secs(30);

/// A name that is ours, and of this run.
fn ours(what: &str) -> String {
    format!("{OURS}-{what}-{}", std::process::id())
}

/// Creates a topic and waits until the client can see it.
async fn topic(client: &Client, what: &str) -> String {
    let name = ours(what);
    within(client.admin().create_topic(NewTopic::new(name.as_str()).partitions(2))).await.unwrap();
    within(async {
        while client.admin().partition_count(name.as_str()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    name
}

/// A topic that comes and goes, records of a transaction and of none, and a group that reads them and commits.
async fn everything_works(way: &Way, number: usize) {
    let client = within(way.client().connect()).await.unwrap_or_else(|error| panic!("{}: {error}", way.name));
    let name = topic(&client, &format!("way{number}")).await;
    let producer = client.producer().build().unwrap();
    within(producer.send(Record::new(name.as_str()).value("alone"))).await.unwrap();
    let mut transactions = within(client.transactional_producer(name.as_str()).build()).await.unwrap();
    for (value, is_kept) in [("dropped", false), ("kept", true)] {
        let transaction = transactions.begin().unwrap();
        within(transaction.send(Record::new(name.as_str()).value(value))).await.unwrap();
        let end =
            if is_kept { within(transaction.commit()).await } else { within(transaction.abort()).await };
        end.unwrap();
    }
    let consumer = client
        .consumer(name.as_str())
        .subscribe([name.as_str()])
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut values = Vec::new();
    let begin = Instant::now();
    while values.len() < 2 {
        let records = within(consumer.poll(Duration::from_secs(1))).await.unwrap().unwrap();
        values.extend(
            records.iter().map(|record| String::from_utf8_lossy(record.value().unwrap()).into_owned()),
        );
        assert!(begin.elapsed() < SOON, "{}: {values:?}, {:?}", way.name, consumer.explain());
    }
    values.sort();
    assert_eq!(values, ["alone", "kept"], "{}", way.name);
    within(consumer.commit()).await.unwrap();
    within(consumer.close(SOON)).await.unwrap();
    within(transactions.close(SOON)).await.unwrap();
    within(client.admin().delete_topic(name.as_str())).await.unwrap();
    client.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn every_way_in_leads_to_everything() {
    let broker = SecuredBroker::from_env().unwrap();
    broker.grant().await;
    let ways = broker.ways();
    assert_eq!(ways.len(), 11);
    for (number, way) in ways.iter().enumerate() {
        everything_works(way, number).await;
    }
}

/// What stops a consumer.
async fn stopped(consumer: &Consumer) -> String {
    let begin = Instant::now();
    loop {
        match within(consumer.poll(Duration::from_secs(1))).await {
            Ok(_) => assert!(begin.elapsed() < SOON, "{:?}", consumer.explain()),
            Err(error) => return error.to_string(),
        }
    }
}

#[track_caller]
fn assert_says(error: &impl ToString, expected: &[&str]) {
    let error = error.to_string();
    assert!(expected.iter().all(|part| error.contains(part)), "{error}\nis not {expected:?}");
}

/// Bob may know that the topic is there, and nothing else.
async fn bob(what: &str) -> (Client, String) {
    SecuredBroker::from_env().unwrap().grant().await;
    let all_powerful = within(Client::connect(PLAIN)).await.unwrap();
    let seen = topic(&all_powerful, what).await;
    let sasl = Sasl::scram_sha_512("bob", "bob-scram");
    (within(builder(TLS_LOGIN, Some(authority()), Some(sasl)).connect()).await.unwrap(), seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn who_may_not_write_is_told_so() {
    let (client, seen) = bob("write").await;
    let refused = async |topic: &str, is_idempotent| {
        let producer = client.producer().idempotence(is_idempotent).max_block(Duration::from_secs(1));
        // A producer waits for as long as it may for a right that somebody may still grant.
        let producer =
            producer.request_timeout(Duration::from_secs(1)).delivery_timeout(Duration::from_secs(2));
        within(producer.build().unwrap().send(Record::new(topic).value("x"))).await.unwrap_err()
    };
    let begin = Instant::now();
    let error = refused(&seen, false).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_says(&error, &[&seen, "the broker refused the batch: TOPIC_AUTHORIZATION_FAILED"]);
    assert_eq!(error.certainty(), Certainty::NotWritten);
    let error = refused(&seen, true).await;
    assert_says(&error, &[&seen, "asking for a producer id: CLUSTER_AUTHORIZATION_FAILED"]);
    assert_eq!(error.certainty(), Certainty::NotWritten);
    let error = refused("hidden", false).await;
    assert_says(&error, &["hidden", "TOPIC_AUTHORIZATION_FAILED"]);
    let error = within(client.transactional_producer(ours("bobs")).build()).await.unwrap_err();
    assert_says(&error, &["TRANSACTIONAL_ID_AUTHORIZATION_FAILED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn who_may_not_read_is_told_so() {
    let (client, seen) = bob("read").await;
    let group = ours("bobs");
    let consumer = client.consumer(group.as_str()).subscribe([seen.as_str()]).build().unwrap();
    let error = stopped(&consumer).await;
    assert_says(&error, &[&group, "the coordinator refuses with GROUP_AUTHORIZATION_FAILED"]);
    for topic in [seen.as_str(), "hidden"] {
        let consumer = client
            .consumer_without_group()
            .assign([TopicPartition::new(topic, 0)])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .unwrap();
        assert_says(&stopped(&consumer).await, &[topic, "with TOPIC_AUTHORIZATION_FAILED"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn who_may_not_administer_is_told_so() {
    let (client, seen) = bob("administer").await;
    let (admin, new) = (client.admin(), ours("new"));
    let expected = Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let error = within(admin.create_topic(NewTopic::new(new.as_str()))).await.unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    assert_says(&error, &["creating the topic", &new]);
    let error = within(admin.delete_topic(seen.as_str())).await.unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    assert_says(&error, &["deleting the topic", &seen]);
    let names: Vec<_> = within(admin.topics()).await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert!(names.iter().any(|name| *name == seen.as_str()), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with(OURS)), "{names:?}");
}

/// X2: longer than three sessions of three seconds, on the same connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn sessions_are_renewed_on_the_live_connection_while_records_are_sent() {
    const LONG: Duration = Duration::from_secs(10);
    let broker = SecuredBroker::from_env().unwrap();
    broker.grant().await;
    let mut running = Vec::new();
    // Those of which the compose file says so.
    let ends = ["login by SCRAM-SHA-512", "login over TLS by PLAIN", "login over TLS by OAUTHBEARER"];
    for way in broker.ways().into_iter().filter(|way| ends.contains(&way.name.as_str())) {
        running.push(tokio::spawn(async move {
            let connections = Connections::default();
            let client = within(connections.counted(way.client()).connect()).await.unwrap();
            let name = topic(&client, &way.name.replace(' ', "-")).await;
            let producer = client.producer().linger(Duration::ZERO).build().unwrap();
            within(producer.send(Record::new(name.as_str()).value("first"))).await.unwrap();
            let before = connections.count();
            let begin = Instant::now();
            let mut sent = 1;
            while begin.elapsed() < LONG {
                let result = within(producer.send(Record::new(name.as_str()).value("x"))).await;
                result.unwrap_or_else(|error| panic!("{} after {sent}: {error}", way.name));
                sent += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(sent > 100, "{sent}");
            assert_eq!(connections.count(), before, "{}: connections", way.name);
            way.name
        }));
    }
    assert_eq!(running.len(), ends.len());
    for way in running {
        way.await.unwrap();
    }
}
