//! A topic on the real cluster, and clients of it behind a [`Proxy`] and beside it: what a test of a corner case begins with.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states its expectations by unwrapping, and this is where many of them do"
)]

use std::{future::Future, panic::Location, time::Duration};

use bytes::Bytes;
use milena::{
    Client, Delivery, IsolationLevel, NewTopic, Producer, ProducerBuilder, Record, TopicPartition,
    Transaction, TransactionalProducer, TransactionalProducerBuilder,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{Request, Response},
    records::{BatchHeader, Batches},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cluster::Cluster,
    observer::{Observer, difference, java_reads, we_read},
    proxy::{Asked, Proxy},
};

/// How many partitions the topic has.
pub const PARTITIONS: i32 = 2;
/// For tests in which the coordinator is not heard: longer than one request, and not much longer.
pub const END_TIMEOUT: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(120);

/// What the future comes to, which must not take long.
///
/// # Panics
/// When it does.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move { timeout(SOON, future).await.unwrap_or_else(|_| panic!("{caller}: it hangs")) }
}

/// A topic, a transactional id of the same name, a client that goes through a proxy and one that doesn't.
#[derive(Debug)]
pub struct Stage {
    /// The addresses of the cluster.
    pub bootstrap: String,
    /// The name of the topic.
    pub name: String,
    /// A client that goes to the brokers.
    pub direct: Client,
    /// A client that goes through the proxy.
    pub proxied: Client,
    /// The proxy.
    pub proxy: Proxy,
}

/// A batch that the proxy saw on its way to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The port of the broker.
    pub broker: u16,
    /// Which partition it was for.
    pub partition: i32,
    /// The producer's id and its epoch.
    pub producer: (i64, i16),
    /// The number of its first record.
    pub base_sequence: i32,
    /// How many records it has.
    pub count: i32,
    /// All of it.
    pub bytes: Bytes,
    /// When it came.
    pub at: Instant,
    /// What the broker said to it so far, and when.
    pub answer: Option<(Instant, ErrorCode)>,
}

impl Sent {
    /// What the broker said to it so far.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.answer.map(|(_, code)| code)
    }
}

/// Waits until a producer has so many requests without an answer.
///
/// # Panics
/// When that takes long.
pub async fn until_in_flight(producer: &Producer, requests: usize) {
    within(async {
        while producer.stats().requests_in_flight != requests {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

impl Stage {
    /// With a topic that is new.
    ///
    /// # Panics
    /// When the cluster has none for us.
    pub async fn set(cluster: &Cluster, name: &str) -> Self {
        Self::set_with(cluster, name, |topic| topic).await
    }

    /// With a topic that is new and has other settings.
    ///
    /// # Panics
    /// When the cluster has none for us.
    pub async fn set_with(
        cluster: &Cluster,
        name: &str,
        settings: impl FnOnce(NewTopic) -> NewTopic,
    ) -> Self {
        let bootstrap = cluster.bootstrap.clone();
        let proxy = Proxy::default();
        let through = proxy.clone();
        let dial = move |host, port| {
            let through = through.clone();
            async move { through.dial(host, port).await }
        };
        let proxied = within(Client::builder(bootstrap.as_str()).dial_with(dial).connect()).await.unwrap();
        let direct = within(Client::connect(bootstrap.as_str())).await.unwrap();
        let name = format!("{name}-{}", std::process::id());
        let topic = settings(NewTopic::new(name.as_str()).partitions(PARTITIONS));
        within(direct.admin().create_topic(topic)).await.unwrap();
        within(Observer::new(&bootstrap).await_whole(std::slice::from_ref(&name))).await;
        Self { bootstrap, name, direct, proxied, proxy }
    }

    /// Who asks the cluster how it is.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer::new(&self.bootstrap)
    }

    /// A partition of the topic.
    #[must_use]
    pub fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(self.name.as_str(), number)
    }

    /// A record of the topic.
    #[must_use]
    pub fn record(&self, partition: i32, value: impl Into<String>) -> Record {
        Record::new(self.name.as_str()).partition(partition).value(value.into())
    }

    /// A producer that goes through the proxy, sends each record at once and waits ten seconds for an answer.
    #[must_use]
    pub fn quick(&self) -> ProducerBuilder {
        self.proxied.producer().linger(Duration::ZERO).request_timeout(Duration::from_secs(10))
    }

    /// A producer of transactions that does not wait long for an answer.
    pub fn builder(&self, client: &Client) -> TransactionalProducerBuilder {
        let quick = |builder: ProducerBuilder| builder.request_timeout(Duration::from_secs(4));
        client.transactional_producer(self.name.clone()).end_timeout(END_TIMEOUT).configure(quick)
    }

    /// A producer of transactions that goes through the proxy.
    ///
    /// # Panics
    /// When there can be none.
    pub async fn producer(&self) -> TransactionalProducer {
        within(self.builder(&self.proxied).build()).await.unwrap()
    }

    /// Sends the value to every partition.
    ///
    /// # Panics
    /// When a record is not accepted.
    pub async fn enqueue(&self, transaction: &Transaction<'_>, value: &str) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for partition in 0..PARTITIONS {
            deliveries.push(within(transaction.enqueue(self.record(partition, value))).await.unwrap());
        }
        deliveries
    }

    /// Sends the value to every partition and waits until it is there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn write(&self, transaction: &Transaction<'_>, value: &str) {
        for delivery in self.enqueue(transaction, value).await {
            within(delivery).await.unwrap();
        }
    }

    /// A whole transaction, committed.
    ///
    /// # Panics
    /// When it is not.
    pub async fn commit(&self, producer: &mut TransactionalProducer, value: &str) {
        let transaction = within(async { producer.begin() }).await.unwrap();
        self.write(&transaction, value).await;
        within(transaction.commit()).await.unwrap();
    }

    /// In every partition readers of committed records find these values, in this order, and get to the end.
    ///
    /// # Panics
    /// When our consumer or Java's finds others, or the two do not agree.
    pub async fn expect(&self, values: &[&str]) {
        self.expect_each(&[values; PARTITIONS as usize]).await;
    }

    /// As [`expect`](Self::expect), with the values of each partition.
    ///
    /// # Panics
    /// When our consumer or Java's finds others, or the two do not agree.
    pub async fn expect_each<V: AsRef<[S]>, S: AsRef<str>>(&self, values: &[V]) {
        let partitions: Vec<_> = (0..PARTITIONS).map(|number| self.partition(number)).collect();
        let ends = self.observer().await_decided(&partitions).await;
        let ours = we_read(&self.direct, &ends, IsolationLevel::ReadCommitted).await;
        for ((partition, log), values) in ours.iter().zip(values) {
            let found: Vec<_> = log.iter().map(|(_, value)| value.as_str()).collect();
            let expected: Vec<_> = values.as_ref().iter().map(AsRef::as_ref).collect();
            assert_eq!(found, expected, "{partition}");
        }
        let topics = std::slice::from_ref(&self.name);
        let java = java_reads(&self.bootstrap, topics, IsolationLevel::ReadCommitted).await;
        assert_eq!(difference(&ours, &java), None);
    }

    /// The ends that were asked for: whether to commit, by whom, and in which version.
    #[must_use]
    pub fn ends(&self) -> Vec<(bool, (i64, i16), i16)> {
        let asked = self.proxy.asked(ApiKey::EndTxn).into_iter();
        let end = asked.filter_map(|asked| match asked.request {
            Request::EndTxn(end) => {
                Some((end.committed, (end.producer_id, end.producer_epoch), asked.version))
            }
            _ => None,
        });
        end.collect()
    }

    /// Whose the next transaction is, as the last end was answered: the producer's id and its epoch.
    ///
    /// # Panics
    /// When none was answered.
    #[must_use]
    pub fn next_producer(&self) -> (i64, i16) {
        let ends = self.proxy.asked(ApiKey::EndTxn);
        match ends.last().and_then(|asked| asked.answer.as_ref()) {
            Some((_, Response::EndTxn(end))) => (end.producer_id, end.producer_epoch),
            other => panic!("{other:?}"),
        }
    }

    /// The batches that went through the proxy, the oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.proxy.asked(ApiKey::Produce).iter().flat_map(batches).collect()
    }

    /// Waits until a broker has answered the last batch of a partition, whether the client has heard it or not.
    ///
    /// # Panics
    /// When that takes long.
    pub async fn until_answered(&self, partition: i32) {
        let last = || self.sent().into_iter().rev().find(|batch| batch.partition == partition);
        within(async {
            while last().is_none_or(|last| last.answer.is_none()) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Takes the topic away.
    ///
    /// # Panics
    /// When that can't be.
    pub async fn strike(self) {
        within(self.direct.admin().delete_topic(self.name.as_str())).await.unwrap();
    }
}

fn batches(asked: &Asked) -> Vec<Sent> {
    let Request::Produce(request) = &asked.request else { return Vec::new() };
    let mut sent = Vec::new();
    for partition in
        request.topic_data.iter().flat_map(|topic| topic.partition_data.iter().collect::<Vec<_>>())
    {
        let bytes = partition.records.unwrap();
        let batch = Batches::new(bytes.clone()).next().unwrap().unwrap();
        let BatchHeader { producer_id, producer_epoch, base_sequence, record_count, .. } = *batch.header();
        sent.push(Sent {
            broker: asked.broker,
            partition: partition.index,
            producer: (producer_id, producer_epoch),
            base_sequence,
            count: record_count,
            bytes,
            at: asked.at,
            answer: answer(asked, partition.index),
        });
    }
    sent
}

fn answer(asked: &Asked, partition: i32) -> Option<(Instant, ErrorCode)> {
    let Some((at, Response::Produce(answer))) = &asked.answer else { return None };
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.find(|said| said.index == partition).map(|said| (*at, ErrorCode(said.error_code)))
}
