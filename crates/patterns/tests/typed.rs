//! Handlers of types: what can't be read goes to the dead letters as it came, and what can't be read as yet waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{SOON, Stage, header};
use milena::{
    Avro, Bytes, ConsumedRecord, Json, Record, RecordSerializer, Utf8,
    schema_registry::{Schema, SchemaRegistry, server::InProcessRegistry},
};
use milena_patterns::{
    DeadLetters, ExactlyOnce, HandlerError, Runner, Shutdown, Tries, typed, typed_batches, typed_transform,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

const BRIEF: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: i64,
}

const SCHEMA: &str = r#"{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}"#;

/// What handlers got, in their order.
#[derive(Clone, Debug, Default)]
struct Ids(Arc<Mutex<Vec<i64>>>);

impl Ids {
    /// How many there are now.
    fn push(&self, id: i64) -> usize {
        let mut ids = self.0.lock().unwrap();
        ids.push(id);
        ids.len()
    }

    fn all(&self) -> Vec<i64> {
        self.0.lock().unwrap().clone()
    }
}

/// A topic of one partition with three orders, and two records between them that are none.
async fn orders() -> (Stage, [Record; 2]) {
    let stage = Stage::new().await;
    for topic in ["orders", "orders.dlq", "done"] {
        stage.topic(topic, 1).await;
    }
    let topic = RecordSerializer::new("orders", Utf8, Json::<Order>::new());
    let order = async |id| topic.record("cust", &Order { id }).await.unwrap();
    let bad_value = Record::new("orders").key("cust").value(r#"{"id": "two"}"#).header("trace", vec![0xff]);
    let bad_key = Record::new("orders").key(vec![0xff]).value(r#"{"id": 4}"#);
    let producer = stage.producer();
    for record in [order(1).await, bad_value.clone(), order(3).await, bad_key.clone(), order(5).await] {
        producer.send(record).await.unwrap();
    }
    (stage, [bad_value, bad_key])
}

fn same(letter: &ConsumedRecord, record: &Record) {
    let parts = record.parts();
    assert_eq!(letter.key().map(Bytes::as_ref), parts.key);
    assert_eq!(letter.value().map(Bytes::as_ref), parts.value);
}

async fn are_dead_letters(stage: &Stage, bad: &[Record; 2]) {
    let letters = stage.read("orders.dlq", 2).await;
    for (letter, bad) in letters.iter().zip(bad) {
        same(letter, bad);
        // No further try could have helped.
        assert_eq!(header(letter, "milena.origin.tries").unwrap(), "1");
    }
    let error = header(&letters[0], "milena.origin.error").unwrap();
    assert!(error.starts_with("the value of the record at offset 1 of orders-0: invalid type"), "{error}");
    let error = header(&letters[1], "milena.origin.error").unwrap();
    assert!(error.starts_with("the key of the record at offset 3 of orders-0: invalid utf-8"), "{error}");
}

fn quickly(stage: &Stage) -> Runner {
    let runner = Runner::new(stage.consumer("g", &["orders"])).fallback(DeadLetters::new(stage.producer()));
    runner.tries(Tries::new(3).backoff(BRIEF, BRIEF)).commit_interval(BRIEF)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_order_becomes_a_dead_letter_as_it_came() {
    let (stage, bad) = orders().await;
    let (ids, shutdown) = (Ids::default(), Shutdown::new());
    let handler = {
        let (ids, shutdown) = (ids.clone(), shutdown.clone());
        typed(Utf8, Json::<Order>::new(), move |order| {
            assert_eq!(order.key, "cust");
            if ids.push(order.value.id) == 3 {
                shutdown.begin();
            }
            std::future::ready(Ok(()))
        })
    };
    let report = timeout(SOON, quickly(&stage).run(handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.given_up, report.retried), (3, 2, 0));
    assert_eq!(ids.all(), [1, 3, 5]);
    assert_eq!(stage.committed("g").await, 5);
    are_dead_letters(&stage, &bad).await;
}

/// The others of a chunk are handled once, in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_order_in_a_chunk_is_alone_given_up() {
    let (stage, bad) = orders().await;
    let (ids, shutdown) = (Ids::default(), Shutdown::new());
    let handler = {
        let (ids, shutdown) = (ids.clone(), shutdown.clone());
        typed_batches(Utf8, Json::<Order>::new(), move |orders| {
            for order in orders {
                if ids.push(order.value.id) == 3 {
                    shutdown.begin();
                }
            }
            std::future::ready(Ok(()))
        })
    };
    let report = timeout(SOON, quickly(&stage).run_batches(10, handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.given_up), (3, 2));
    assert_eq!(ids.all(), [1, 3, 5]);
    are_dead_letters(&stage, &bad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_order_becomes_a_dead_letter_in_a_transaction() {
    let (stage, bad) = orders().await;
    let shutdown = Shutdown::new();
    let transform = typed_transform(Utf8, Json::<Order>::new(), |orders| async move {
        let done = RecordSerializer::new("done", Utf8, Json::<Order>::new());
        let mut made = Vec::new();
        for order in orders {
            made.push(done.record(&order.key, &order.value).await?);
        }
        Ok(made)
    });
    let requests = stage.consumer("g", &["orders"]);
    let pipeline = ExactlyOnce::new(requests, stage.client.transactional_producer("pipeline"))
        .tries(Tries::new(3).backoff(BRIEF, BRIEF))
        .dead_letters();
    let ending = async {
        let done = stage.read("done", 3).await;
        shutdown.begin();
        done
    };
    let (report, done) = tokio::join!(timeout(SOON, pipeline.run(transform, &shutdown)), ending);
    let report = report.unwrap().unwrap();
    assert_eq!((report.records, report.given_up), (5, 2));
    let done: Vec<_> = done.iter().map(|record| record.value().unwrap().clone()).collect();
    assert_eq!(done, [r#"{"id":1}"#, r#"{"id":3}"#, r#"{"id":5}"#]);
    are_dead_letters(&stage, &bad).await;
}

/// Nothing is known against a record while the registry is away: it waits for as long as that lasts, past all its tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_registry_is_away_records_wait() {
    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    stage.topic("orders.dlq", 1).await;
    let server = InProcessRegistry::start().await.unwrap();
    let registry = |retries| SchemaRegistry::builder(server.url()).retries(retries).build().unwrap();
    let writer = Avro::<Order>::new(&registry(3), Schema::avro(SCHEMA)).await.unwrap();
    let topic = RecordSerializer::new("orders", Utf8, writer);
    let producer = stage.producer();
    for id in 0..3 {
        producer.send(topic.record("cust", &Order { id }).await.unwrap()).await.unwrap();
    }
    // A schema that nobody has registered, on the other hand, is the record's fault.
    producer.send(Record::new("orders").key("cust").value(vec![0, 0, 0, 0x7f, 1, 2])).await.unwrap();

    let orders = Avro::<Order>::new(&registry(0), Schema::avro(SCHEMA)).await.unwrap();
    let (ids, shutdown) = (Ids::default(), Shutdown::new());
    let handler = {
        let ids = ids.clone();
        typed(Utf8, orders, move |order| {
            ids.push(order.value.id);
            std::future::ready(Ok(()))
        })
    };
    server.fail_next(8, 503);
    let runner = quickly(&stage);
    let ending = async {
        let letters = stage.read("orders.dlq", 1).await;
        shutdown.begin();
        letters
    };
    let (report, letters) = tokio::join!(timeout(SOON, runner.run(handler, &shutdown)), ending);
    let report = report.unwrap().unwrap();
    assert_eq!(ids.all(), [0, 1, 2]);
    assert_eq!((report.handled, report.given_up), (3, 1));
    assert!(report.retried >= 8, "{report}");
    assert_eq!(letters[0].offset(), 0);
    assert_eq!(header(&letters[0], "milena.origin.offset").unwrap(), "3");
    assert!(header(&letters[0], "milena.origin.error").unwrap().contains("127"));
}

/// The same of a handler that says so itself, and of a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_uses_up_no_tries() {
    let (stage, _) = orders().await;
    let misses = Arc::new(Mutex::new(0));
    let away = {
        let misses = Arc::clone(&misses);
        move || {
            let mut misses = misses.lock().unwrap();
            *misses += 1;
            if *misses % 6 == 0 { Ok(()) } else { Err(HandlerError::unavailable("the database is away")) }
        }
    };
    let shutdown = Shutdown::new();
    let handler = {
        let (away, shutdown) = (away.clone(), shutdown.clone());
        move |record: ConsumedRecord| {
            let outcome = away();
            if record.offset() == 4 && outcome.is_ok() {
                shutdown.begin();
            }
            std::future::ready(outcome)
        }
    };
    let report = timeout(SOON, quickly(&stage).run(handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.retried, report.given_up), (5, 25, 0));

    let shutdown = Shutdown::new();
    let transform = {
        let shutdown = shutdown.clone();
        move |records: Vec<ConsumedRecord>| {
            let outcome = away().map(|()| {
                if records.iter().any(|record| record.offset() == 4) {
                    shutdown.begin();
                }
                records.iter().map(|_| Record::new("done").value("done")).collect()
            });
            std::future::ready(outcome)
        }
    };
    let producer = stage.client.transactional_producer("pipeline");
    let pipeline = ExactlyOnce::new(stage.consumer("another", &["orders"]), producer);
    let pipeline = pipeline.tries(Tries::new(2).backoff(BRIEF, BRIEF));
    let report = timeout(SOON, pipeline.run(transform, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.records, report.given_up), (5, 0));
    assert!(report.aborted >= 5, "{report}");
    assert_eq!(stage.read("done", 5).await.len(), 5);
}
