//! A client that does not do what one expects of it says why.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::{Duration, Instant};

use milena::{
    Client, ConsumedPartition, Consumer, ErrorCode, Explanation, IsolationLevel, ProducedPartition, Record,
    Sasl, Stage, TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, BrokerId, Rule, SaslConfig},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(20);

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < SOON, "{what} does not come to pass");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client that waits little before it tries again, so that tests don't.
async fn connect(broker: &EmbeddedBroker) -> Client {
    let builder = Client::builder(broker.bootstrap()).setup_timeout(Duration::from_secs(2));
    builder.reconnect_backoff(Duration::from_millis(500), Duration::from_millis(500)).connect().await.unwrap()
}

fn consumed(explanation: &Explanation, partition: i32) -> Option<&ConsumedPartition> {
    explanation.consumers.first()?.report.partitions.iter().find(|known| known.partition == partition)
}

fn produced(explanation: &Explanation) -> Option<&ProducedPartition> {
    explanation.producers.first()?.report.partitions.first()
}

/// The partition's state, once it is the one expected.
async fn until_consumer_is(client: &Client, partition: i32, code: &str) -> ConsumedPartition {
    let look = || consumed(&client.explain(), partition).filter(|found| found.doing.code == code).cloned();
    until(code, look).await
}

async fn until_producer_is(client: &Client, code: &str) -> (ProducedPartition, Explanation) {
    let look = || {
        let explanation = client.explain();
        let found = produced(&explanation).filter(|found| found.doing.code == code)?.clone();
        Some((found, explanation))
    };
    until(code, look).await
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("orders", index)
}

async fn fill(client: &Client) {
    let producer = client.producer().build().unwrap();
    for index in 0..2 {
        let value = vec![b'x'; 600_000];
        producer.send(Record::new("orders").partition(index).value(value)).await.unwrap();
    }
    producer.close(SOON).await.unwrap();
}

fn read(client: &Client) -> Consumer {
    let consumer = client.consumer_without_group().max_buffered_bytes(400_000);
    consumer.assign([partition(0), partition(1)]).build().unwrap()
}

#[tokio::test]
async fn partitions_that_are_not_fetched_say_why() {
    let broker = EmbeddedBroker::builder().topic("orders", 2).start().await.unwrap();
    let client = connect(&broker).await;
    fill(&client).await;
    let consumer = read(&client);
    consumer.seek(&partition(0), milena::SeekTo::Beginning).unwrap();
    consumer.seek(&partition(1), milena::SeekTo::Beginning).unwrap();
    // One has filled what memory there is: both wait for the application.
    let found = until("fullness", || {
        let explanation = client.explain();
        let all = [consumed(&explanation, 0)?.clone(), consumed(&explanation, 1)?.clone()];
        all.into_iter().find(|found| found.doing.code == "no_memory")
    })
    .await;
    assert!(found.buffered_bytes > 500_000, "{found:?}");
    assert!(found.to_string().contains("waits for memory: "), "{found}");
    consumer.pause(&partition(1)).unwrap();
    let paused = until_consumer_is(&client, 1, "paused").await;
    assert_eq!(paused.offset, Some(0));
    // What is gone is not explained.
    drop(consumer);
    until("the end of the consumer", || client.explain().consumers.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_broker_that_is_gone_is_named_with_the_stage_and_the_wait() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
    let client = connect(&broker).await;
    let producer = client.producer().request_timeout(Duration::from_secs(5)).build().unwrap();
    producer.send(Record::new("orders").value("here")).await.unwrap();
    broker.stop_broker(BrokerId(1));
    let delivery = producer.enqueue(Record::new("orders").value("gone")).await.unwrap();
    let (found, explanation) = until_producer_is(&client, "back_off").await;
    assert_eq!((found.leader, found.sent_batches, found.unsent_batches), (Some(1), 1, 0));
    assert!(found.doing.left_ms.is_some(), "{found:?}");
    let connection = explanation.network.connections.iter();
    let connection = connection.clone().find(|known| known.broker == Some(1) && known.failures > 0).unwrap();
    // A stopped broker of the embedded kind takes connections and hangs up.
    let error = connection.last_error.as_ref().unwrap();
    assert!((Stage::Tcp..=Stage::ApiVersions).contains(&error.stage), "{connection:?}");
    assert!(
        found.to_string().contains(&format!(" ms left): {} failed: {}", error.stage, error.cause)),
        "{found}"
    );
    let text = explanation.to_string();
    assert!(text.contains("broker 1 for 1, 127.0.0.1:"), "{text}");
    assert!(text.contains("in a row; last error "), "{text}");
    drop(delivery);
}

#[tokio::test]
async fn batches_that_are_not_sent_say_why() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
    let client = connect(&broker).await;
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    let first = producer.enqueue(Record::new("orders").value("1")).await.unwrap();
    let (found, explanation) = until_producer_is(&client, "lingering").await;
    assert_eq!((found.unsent_batches, found.unsent_records, found.sent_batches), (1, 1, 0));
    assert!(found.doing.left_ms.unwrap() > 50_000, "{found:?}");
    assert!(found.expires_in_ms > 0 && found.oldest_ms < 60_000, "{found:?}");
    assert!(explanation.producers[0].report.state.starts_with("idempotent: id "), "{explanation}");
    broker.pause_broker(BrokerId(1));
    let flush = tokio::spawn({
        let producer = producer.clone();
        async move { producer.flush().await }
    });
    let (found, _) = until_producer_is(&client, "in_flight").await;
    assert!(found.to_string().ends_with(" ms old and waits for the answer of broker 1"), "{found}");
    broker.resume_broker(BrokerId(1));
    flush.await.unwrap().unwrap();
    first.await.unwrap();
    assert!(produced(&client.explain()).is_none());
}

#[tokio::test]
async fn a_topic_that_nobody_knows_is_named() {
    let broker = EmbeddedBroker::builder().configure(|config| config.auto_create_topics = false);
    let broker = broker.start().await.unwrap();
    let client = connect(&broker).await;
    let producer = client.producer().max_block(Duration::from_secs(1)).build().unwrap();
    producer.send(Record::new("odrers").value("1")).await.unwrap_err();
    let report = client.explain().producers.remove(0).report;
    assert_eq!(report.unknown_topics.len(), 1);
    assert!(
        report.to_string().contains("nothing is known of topic odrers: UNKNOWN_TOPIC_OR_PARTITION"),
        "{report}"
    );
}

#[tokio::test]
async fn groups_and_transactions_say_where_they_stand() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
    let client = connect(&broker).await;
    let mut producer = client.transactional_producer("payments").build().await.unwrap();
    let transaction = producer.begin().unwrap();
    transaction.send(Record::new("orders").value("1")).await.unwrap();
    let consumer = client.consumer("billing").subscribe(["orders"]);
    let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted).build().unwrap();
    let report = until("membership", || {
        let report = client.explain().consumers.remove(0).report;
        (!report.partitions.is_empty()).then_some(report)
    })
    .await;
    assert_eq!((report.group.as_deref(), report.coordinator), (Some("billing"), Some(1)));
    assert!(report.state.starts_with("group billing: "), "{}", report.state);
    let explanation = client.explain();
    let producer = &explanation.producers[0].report;
    assert_eq!(producer.transactional_id.as_deref(), Some("payments"));
    assert_eq!(producer.state, "a transaction is open; coordinator broker 1");
    // Each has connections of its own, and what they speak is told.
    for lane in [explanation.producers[0].lane, explanation.consumers[0].lane] {
        let connections = &explanation.network.connections;
        let own: Vec<_> = connections.iter().filter(|known| Some(known.lane) == lane).collect();
        assert!(!own.is_empty() && own.iter().all(|known| known.versions.contains_key("Fetch")), "{own:?}");
    }
    transaction.commit().await.unwrap();
    consumer.close(SOON).await.unwrap();
}

/// One of two brokers does not let the client in: its partition says so, with the broker and its reason.
#[tokio::test]
async fn a_broker_that_refuses_the_login_is_named_where_it_matters() {
    let sasl = SaslConfig::new([("alice", "secret")]);
    let broker = EmbeddedBroker::builder().brokers(2).topic("orders", 2);
    let broker = broker.configure(|config| config.sasl = Some(sasl)).start().await.unwrap();
    let builder = Client::builder(broker.bootstrap()).sasl(Sasl::scram_sha_256("alice", "secret"));
    let client = builder.connect().await.unwrap();
    let leader = |partition| broker.with_cluster(|cluster, _| cluster.leader("orders", partition)).unwrap().0;
    let refused = Action::Answer(ErrorCode::SASL_AUTHENTICATION_FAILED);
    broker.add_fault(Rule::new(ApiKey::SaslAuthenticate, refused).at(leader(1)).times(u32::MAX));
    let consumer = client.consumer_without_group().assign([partition(0), partition(1)]).build().unwrap();
    let explanation = until("a refusal", || {
        let explanation = client.explain();
        let cause = consumed(&explanation, 1)?.doing.cause.as_ref()?;
        cause.starts_with("SASL failed: ").then_some(explanation)
    })
    .await;
    let found = consumed(&explanation, 1).unwrap();
    assert_eq!(found.doing.broker, Some(leader(1).0));
    assert!(found.doing.cause.as_ref().unwrap().contains("refused the login by SCRAM-SHA-256"), "{found}");
    assert_eq!(consumed(&explanation, 0).unwrap().doing.cause, None);
    drop(consumer);
}
