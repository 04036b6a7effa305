//! What the tests have in common: a broker, topics with records, and what is read of a topic.
#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{
    AutoOffsetReset, Client, ConsumedRecord, ConsumerBuilder, IsolationLevel, NewTopic, Producer, Record,
    TopicPartition,
};
use milena_embedded_broker::EmbeddedBroker;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A broker of its own, and a client.
pub(crate) struct Stage {
    pub(crate) broker: EmbeddedBroker,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let broker = EmbeddedBroker::builder().start().await.unwrap();
        let client = Client::connect(broker.bootstrap()).await.unwrap();
        Self { broker, client }
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) {
        self.client.admin().create_topic(NewTopic::new(name).partitions(partitions)).await.unwrap();
    }

    pub(crate) fn producer(&self) -> Producer {
        self.client.producer().build().unwrap()
    }

    /// Keys `key-0` to `key-6` in turn, values the numbers.
    pub(crate) async fn fill(&self, topic: &str, numbers: std::ops::Range<u64>) {
        let records = numbers.map(|number| {
            Record::new(topic.to_owned()).key(format!("key-{}", number % 7)).value(number.to_string())
        });
        self.producer().enqueue_all(records).await.unwrap().all().await.unwrap();
    }

    pub(crate) fn consumer(&self, group: &str, topics: &[&str]) -> ConsumerBuilder {
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.client.consumer(group.to_owned()).subscribe(topics).auto_offset_reset(AutoOffsetReset::Earliest)
    }

    /// All committed records of a topic, `expected` at least.
    pub(crate) async fn read(&self, topic: &str, expected: usize) -> Vec<ConsumedRecord> {
        let count = self.client.admin().partition_count(topic.to_owned()).await.unwrap();
        let partitions = (0..count).map(|at| TopicPartition::new(topic.to_owned(), at as i32));
        let consumer = self.client.consumer_without_group().assign(partitions);
        let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
        let mut read = Vec::new();
        tokio::time::timeout(SOON, async {
            loop {
                let records = consumer.poll(Duration::from_millis(300)).await.unwrap().unwrap();
                if records.is_empty() && read.len() >= expected {
                    return;
                }
                read.extend(records.iter().map(|record| record.to_record()));
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} of {expected} records of {topic}", read.len()));
        read
    }

    /// What the group has committed of a topic, all partitions together.
    pub(crate) async fn committed(&self, group: &str) -> i64 {
        let offsets = self.client.admin().group_offsets(group.to_owned()).await.unwrap();
        offsets.into_values().map(|offset| offset.unwrap().position.offset).sum()
    }
}

/// What handlers were given.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<ConsumedRecord>>>);

impl Seen {
    pub(crate) fn push(&self, record: ConsumedRecord) -> usize {
        let mut seen = self.0.lock().unwrap();
        seen.push(record);
        seen.len()
    }

    pub(crate) fn all(&self) -> Vec<ConsumedRecord> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) async fn until(&self, count: usize) {
        let enough = async {
            while self.len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, enough)
            .await
            .unwrap_or_else(|_| panic!("{} of {count} records", self.len()));
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.all().iter().map(number).collect()
    }
}

pub(crate) fn number(record: &ConsumedRecord) -> u64 {
    text(record).parse().unwrap()
}

pub(crate) fn text(record: &ConsumedRecord) -> &str {
    std::str::from_utf8(record.value().unwrap()).unwrap()
}

/// The last header of this name as a text.
pub(crate) fn header(record: &ConsumedRecord, name: &str) -> Option<String> {
    let named = record.headers().iter().filter(|header| header.name == name.as_bytes());
    Some(String::from_utf8(named.last()?.value?.to_vec()).unwrap())
}
