//! Records of types: what is written is read again, and what can't be is an error that has the record.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{pin::pin, time::Duration};

use milena::{
    AutoOffsetReset, BigEndian, Bytes, Client, Deserializer, Field, NewTopic, Nullable, RawBytes, RecordPart,
    RecordSerializer, SerdeError, Serializer, TopicPartition, Utf8,
};
use milena_embedded_broker::EmbeddedBroker;

const SOON: Duration = Duration::from_secs(10);

/// Takes the second look at the bytes of `late` before it knows what they are.
struct Late;

impl Deserializer for Late {
    type Output = Bytes;

    async fn deserialize(&self, bytes: Option<&Bytes>, field: Field<'_>) -> Result<Bytes, SerdeError> {
        tokio::task::yield_now().await;
        RawBytes.deserialize(bytes, field).await
    }
}

/// Writes nothing but refusals.
struct Refusing;

impl Serializer for Refusing {
    type Input = str;

    async fn serialize(&self, value: &str, field: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        Err(SerdeError::invalid(format!("no {value} as a {} of {}", field.part(), field.topic())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_read_again() {
    let broker = EmbeddedBroker::builder().start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    client.admin().create_topic(NewTopic::new("totals").partitions(1)).await.unwrap();
    let producer = client.producer().build().unwrap();
    let totals = RecordSerializer::new("totals", Utf8, Nullable(BigEndian::<i64>::new()));
    for record in [
        totals.record("a", &Some(7)).await.unwrap(),
        totals.tombstone("b").await.unwrap(),
        totals.record("c", &None).await.unwrap(),
        RecordSerializer::new("totals", Utf8, RawBytes)
            .record("d", &Bytes::from_static(b"four"))
            .await
            .unwrap(),
    ] {
        producer.send(record).await.unwrap();
    }
    let consumer = client
        .consumer_without_group()
        .assign([TopicPartition::new("totals", 0)])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build_typed(Utf8, Nullable(BigEndian::<i64>::new()))
        .unwrap();
    let mut records = consumer.poll(SOON).await.unwrap().unwrap();
    assert_eq!(records.len(), 4);
    let mut read = Vec::new();
    while let Some(record) = records.next().await {
        read.push(record.map(|record| (record.key.clone(), record.value)));
    }
    let error = read.pop().unwrap().unwrap_err();
    assert_eq!((error.part, error.record.value().unwrap().as_ref()), (RecordPart::Value, &b"four"[..]));
    assert!(!error.reason.is_transient());
    let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
    assert_eq!(read, [("a".to_owned(), Some(7)), ("b".to_owned(), None), ("c".to_owned(), None)]);
    broker.shutdown().await;
}

/// A record whose deserializing is given up in the middle is the next one again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_by_a_future_that_is_dropped() {
    let broker = EmbeddedBroker::builder().start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    client.admin().create_topic(NewTopic::new("letters").partitions(1)).await.unwrap();
    let producer = client.producer().build().unwrap();
    let letters = RecordSerializer::new("letters", Utf8, Utf8);
    for letter in ["a", "b"] {
        producer.send(letters.keyless(letter).await.unwrap()).await.unwrap();
    }
    let consumer = client
        .consumer_without_group()
        .assign([TopicPartition::new("letters", 0)])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build_typed(Nullable(Utf8), Late)
        .unwrap();
    let mut records = consumer.poll(SOON).await.unwrap().unwrap();
    for letter in ["a", "b"] {
        let first = futures_poll(records.next()).await;
        assert!(first, "it was ready at once");
        let record = records.next().await.unwrap().unwrap();
        assert_eq!((record.key.as_deref(), record.value.as_ref()), (None, letter.as_bytes()));
    }
    assert!(records.is_empty() && records.next().await.is_none());
    broker.shutdown().await;
}

/// Polls once and drops; true when it was pending.
async fn futures_poll(future: impl Future) -> bool {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn what_can_not_be_written_is_said_with_its_place() {
    let topic = RecordSerializer::new("letters", Refusing, Utf8);
    let error = topic.record("x", "y").await.unwrap_err();
    assert_eq!(error.part, RecordPart::Key);
    assert_eq!(error.to_string(), "the key of a record for letters: no x as a key of letters");
}
