//! What a cluster says of its partitions, and what our consumer and Java's find in them.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a cluster that can't be observed fails the test that needs it"
)]

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use milena::{AutoOffsetReset, Client, Failure, FailureKind, IsolationLevel, TopicPartition};
use milena_cluster::{BrokerId, Target};
use milena_connection::{Address, ConnectionConfig, Network};
use milena_protocol::{
    ErrorCode, RequestMessage,
    messages::{
        AlterPartitionReassignmentsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
        IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
        alter_partition_reassignments::{ReassignablePartition, ReassignableTopic},
        elect_leaders::TopicPartitions,
        fetch::{FetchPartition, FetchTopic},
        incremental_alter_configs::{AlterConfigsResource, AlterableConfig},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::{MetadataRequestTopic, MetadataResponsePartition, MetadataResponseTopic},
    },
    records::{BatchHeader, Batches},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{external, ledger::Logs};

/// Most that anything may take that passes: an election, a broker's start, the end of open transactions.
pub const PATIENCE: Duration = Duration::from_secs(180);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Asks the cluster how it is.
#[derive(Clone, Debug)]
pub struct Observer {
    network: Network,
}

/// A partition as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The id of its leader; -1 for none.
    pub leader: i32,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
}

impl Observer {
    /// Of the cluster with these addresses.
    ///
    /// # Panics
    /// When they are none.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        let addresses = Address::parse_list(bootstrap).expect("the addresses of a cluster");
        Self { network: Network::new(addresses, ConnectionConfig::default()) }
    }

    async fn ask<R: RequestMessage>(&self, target: Target, request: R) -> Result<R::Response, Failure> {
        self.network.call(target, request, REQUEST_TIMEOUT).await
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// When there is none for [`PATIENCE`].
    async fn insist<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, Failure>) -> T {
        let begin = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(failure) => assert!(begin.elapsed() < PATIENCE, "{what}: {failure:?}"),
            }
            sleep(POLL).await;
        }
    }

    async fn metadata(&self, topic: &str) -> Result<MetadataResponseTopic, Failure> {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
        let answer = self.ask(Target::AnyBroker, request).await?;
        let topic = answer.topics.into_iter().next().ok_or_else(|| not_yet("no topic"))?;
        refuse(topic.error_code)?;
        Ok(topic)
    }

    async fn describe(&self, topic: &str) -> Result<BTreeMap<i32, PartitionState>, Failure> {
        let topic = self.metadata(topic).await?;
        let state = |partition: MetadataResponsePartition| {
            let (replicas, in_sync) = (partition.replica_nodes.len(), partition.isr_nodes.len());
            let leader = if partition.error_code == 0 { partition.leader_id } else { -1 };
            (partition.partition_index, PartitionState { leader, replicas, in_sync })
        };
        Ok(topic.partitions.iter().map(state).collect())
    }

    /// The partitions of a topic.
    ///
    /// # Panics
    /// When nobody tells them for [`PATIENCE`].
    pub async fn partitions(&self, topic: &str) -> BTreeMap<i32, PartitionState> {
        self.insist("metadata", async || self.describe(topic).await).await
    }

    /// The broker that leads a partition, once there is one.
    ///
    /// # Panics
    /// When there is none for [`PATIENCE`].
    pub async fn leader(&self, of: &TopicPartition) -> i32 {
        let ask = async || match self.describe(&of.topic).await?.get(&of.partition) {
            Some(PartitionState { leader, .. }) if *leader >= 0 => Ok(*leader),
            state => Err(not_yet(&format!("{state:?}"))),
        };
        self.insist(&of.to_string(), ask).await
    }

    /// The port on which clients find a broker.
    ///
    /// # Panics
    /// When nobody tells it for [`PATIENCE`].
    pub async fn port(&self, broker: i32) -> u16 {
        let ask = async || {
            let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
            let answer = self.ask(Target::AnyBroker, request).await?;
            let found = answer.brokers.iter().find(|known| known.node_id == broker);
            u16::try_from(found.map_or(-1, |known| known.port)).map_err(|_| not_yet("no broker"))
        };
        self.insist(&format!("broker {broker}"), ask).await
    }

    /// The brokers that have a partition, the one that is preferred as its leader first.
    ///
    /// # Panics
    /// When nobody tells them for [`PATIENCE`].
    pub async fn replicas(&self, of: &TopicPartition) -> Vec<i32> {
        let ask = async || {
            let topic = self.metadata(&of.topic).await?;
            let mut partitions = topic.partitions.iter();
            let found = partitions.find(|partition| partition.partition_index == of.partition);
            let found = found.ok_or_else(|| not_yet("no partition"))?;
            Ok(found.replica_nodes.iter().collect())
        };
        self.insist(&of.to_string(), ask).await
    }

    /// Makes another broker that has the partition its leader, as an operator would, and waits until it is.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub async fn lead(&self, partition: &TopicPartition, leader: i32, others: &[i32]) {
        // The replicas stay what they are; the first one of them is preferred.
        let replicas: Vec<i32> = std::iter::once(leader).chain(others.iter().copied()).collect();
        self.insist("an election", async || {
            let reassigned = ReassignablePartition {
                partition_index: partition.partition,
                replicas: Some(replicas.clone().into()),
                ..Default::default()
            };
            let topic = ReassignableTopic {
                name: partition.topic.clone(),
                partitions: vec![reassigned],
                ..Default::default()
            };
            let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
            refuse(self.ask(Target::AnyBroker, request).await?.error_code)?;
            let elected = TopicPartitions {
                topic: partition.topic.clone(),
                partitions: [partition.partition].into(),
                ..Default::default()
            };
            let request = ElectLeadersRequest { topic_partitions: Some(vec![elected]), ..Default::default() };
            refuse(self.ask(Target::AnyBroker, request).await?.error_code)?;
            match self.leader(partition).await == leader {
                true => Ok(()),
                false => Err(not_yet("another leader")),
            }
        })
        .await;
    }

    /// The broker that coordinates the transactions of this id.
    ///
    /// # Panics
    /// When there is none for [`PATIENCE`].
    pub async fn coordinator(&self, transactional_id: &str) -> i32 {
        self.coordinator_of(1, transactional_id).await
    }

    /// The broker that coordinates this group.
    ///
    /// # Panics
    /// When there is none for [`PATIENCE`].
    pub async fn group_coordinator(&self, group: &str) -> i32 {
        self.coordinator_of(0, group).await
    }

    async fn coordinator_of(&self, key_type: i8, key: &str) -> i32 {
        let ask = async || {
            let request =
                FindCoordinatorRequest { key_type, coordinator_keys: vec![key.into()], ..Default::default() };
            let answer = self.ask(Target::AnyBroker, request).await?;
            let found = answer.coordinators.first().ok_or_else(|| not_yet("no coordinator"))?;
            refuse(found.error_code)?;
            Ok(found.node_id)
        };
        self.insist(key, ask).await
    }

    /// Gives a group of the consumer protocol settings of its own.
    ///
    /// # Panics
    /// When they are refused for [`PATIENCE`].
    pub async fn set_group(&self, group: &str, settings: &[(&str, &str)]) {
        /// What the protocol has for groups, and for setting.
        const GROUP: i8 = 32;
        const SET: i8 = 0;
        let ask = async || {
            let setting = |(name, value): &(&str, &str)| AlterableConfig {
                name: (*name).into(),
                config_operation: SET,
                value: Some((*value).into()),
                ..Default::default()
            };
            let resource = AlterConfigsResource {
                resource_type: GROUP,
                resource_name: group.into(),
                configs: settings.iter().map(setting).collect(),
                ..Default::default()
            };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
            let answer = self.ask(Target::AnyBroker, request).await?;
            let answered = answer.responses.first().ok_or_else(|| not_yet("no answer"))?;
            refuse(answered.error_code)
        };
        self.insist(group, ask).await;
    }

    /// Asks for one epoch of a transactional id after the other, as a producer that begins anew does, until its producer has
    /// the epoch `last`. Returns the id and the epoch.
    ///
    /// # Panics
    /// When one is refused for [`PATIENCE`].
    pub async fn renew_until(&self, transactional_id: &str, last: i16) -> (i64, i16) {
        let coordinator = BrokerId(self.coordinator(transactional_id).await);
        let (mut producer_id, mut producer_epoch) = (-1, -1);
        while producer_epoch < last {
            let ask = async || {
                let request = InitProducerIdRequest {
                    transactional_id: Some(transactional_id.into()),
                    transaction_timeout_ms: 60_000,
                    producer_id,
                    producer_epoch,
                    ..Default::default()
                };
                let answer = self.ask(Target::Broker(coordinator), request).await?;
                refuse(answer.error_code)?;
                Ok((answer.producer_id, answer.producer_epoch))
            };
            (producer_id, producer_epoch) = self.insist("a producer id", ask).await;
        }
        (producer_id, producer_epoch)
    }

    /// Waits until every partition of the topics has a leader and all of its replicas.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub async fn await_whole(&self, topics: &[String]) {
        for topic in topics {
            let ask = async || {
                let partitions = self.describe(topic).await?;
                let is_whole = |state: &PartitionState| state.leader >= 0 && state.in_sync == state.replicas;
                if partitions.values().all(is_whole) {
                    Ok(())
                } else {
                    Err(not_yet(&format!("{topic}: {partitions:?}")))
                }
            };
            self.insist("all replicas in sync", ask).await;
        }
    }

    /// Where readers of this isolation level come to the end of a partition.
    ///
    /// # Panics
    /// When its leader does not tell for [`PATIENCE`].
    pub async fn end(&self, of: &TopicPartition, isolation: IsolationLevel) -> i64 {
        let ask = async || {
            let leader = self.describe(&of.topic).await?.get(&of.partition).map_or(-1, |state| state.leader);
            if leader < 0 {
                return Err(not_yet("no leader"));
            }
            let latest =
                ListOffsetsPartition { partition_index: of.partition, timestamp: -1, ..Default::default() };
            let topic =
                ListOffsetsTopic { name: of.topic.clone(), partitions: vec![latest], ..Default::default() };
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(isolation == IsolationLevel::ReadCommitted),
                topics: vec![topic],
                ..Default::default()
            };
            let answer = self.ask(Target::Broker(BrokerId(leader)), request).await?;
            let found = answer.topics.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or_else(|| not_yet("no offset"))?;
            refuse(found.error_code)?;
            Ok(found.offset)
        };
        self.insist(&of.to_string(), ask).await
    }

    /// The batches of a partition, from the beginning of its log.
    ///
    /// # Panics
    /// When its leader does not send them for [`PATIENCE`], or sends something else.
    pub async fn batches(&self, of: &TopicPartition) -> Vec<BatchHeader> {
        let mut batches: Vec<BatchHeader> = Vec::new();
        loop {
            // A broker sends what is in one segment.
            let from = batches.last().map_or(0, |last| last.last_offset() + 1);
            let records = self.insist(&of.to_string(), async || self.fetch(of, from).await).await;
            if records.is_empty() {
                return batches;
            }
            batches.extend(Batches::new(records).map(|batch| *batch.expect("a batch").header()));
        }
    }

    async fn fetch(&self, of: &TopicPartition, from: i64) -> Result<Bytes, Failure> {
        const BYTES: i32 = 1 << 20;
        let leader = self.leader(of).await;
        let partition = FetchPartition {
            partition: of.partition,
            fetch_offset: from,
            partition_max_bytes: BYTES,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: of.topic.clone(),
            topic_id: self.metadata(&of.topic).await?.topic_id,
            partitions: vec![partition],
            ..Default::default()
        };
        let request = FetchRequest { max_bytes: BYTES, topics: vec![topic], ..Default::default() };
        let answer = self.ask(Target::Broker(BrokerId(leader)), request).await?;
        refuse(answer.error_code)?;
        let topic = answer.responses.iter().next().ok_or_else(|| not_yet("no topic"))?;
        let found = topic.partitions.iter().next().ok_or_else(|| not_yet("no partition"))?;
        refuse(found.error_code)?;
        Ok(found.records.unwrap_or_default())
    }

    /// Waits until no transaction is open on the partitions: readers of committed records get to the end of the log.
    /// Returns where that is.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`]: readers would hang.
    pub async fn await_decided(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        let begin = Instant::now();
        let mut ends = BTreeMap::new();
        for partition in partitions {
            loop {
                let stable = self.end(partition, IsolationLevel::ReadCommitted).await;
                let end = self.end(partition, IsolationLevel::ReadUncommitted).await;
                if stable == end {
                    ends.insert(partition.clone(), end);
                    break;
                }
                assert!(
                    begin.elapsed() < PATIENCE,
                    "{partition}: readers of committed records hang at {stable}, before {end}"
                );
                sleep(POLL).await;
            }
        }
        ends
    }
}

fn not_yet(why: &str) -> Failure {
    Failure::new(FailureKind::Unanswered, why)
}

fn refuse(code: i16) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(not_yet(&ErrorCode(code).to_string())) }
}

/// All that our consumer finds before the ends.
///
/// # Panics
/// When it finds no end of the partitions.
pub async fn we_read(
    client: &Client,
    ends: &BTreeMap<TopicPartition, i64>,
    isolation: IsolationLevel,
) -> Logs {
    let consumer = client
        .consumer_without_group()
        .assign(ends.keys().cloned())
        .isolation_level(isolation)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .max_poll_records(5000)
        .build()
        .expect("a consumer");
    let mut logs: Logs = ends.keys().map(|partition| (partition.clone(), Vec::new())).collect();
    let is_before = |(partition, end): (&TopicPartition, &i64)| {
        consumer.position(partition).is_none_or(|position| position.offset < *end)
    };
    let mut progress = Instant::now();
    while ends.iter().any(is_before) {
        let records = match timeout(PATIENCE, consumer.poll(Duration::from_secs(1))).await {
            Ok(Ok(Some(records))) => records,
            other => panic!("our consumer: {other:?}"),
        };
        for record in records.iter() {
            let partition = TopicPartition::new(record.topic(), record.partition());
            let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
            logs.entry(partition).or_default().push((record.offset(), value));
            progress = Instant::now();
        }
        assert!(progress.elapsed() < PATIENCE, "our consumer is stuck: {:?}", consumer.explain());
    }
    // Those who close in time say so; nothing is to be lost here.
    let _ = consumer.close(Duration::from_secs(10)).await;
    logs
}

/// All that Java's consumer finds in the topics, before the ends it is told itself. Blocks no longer than its own patience.
///
/// # Panics
/// When it fails, or prints something else than records.
pub async fn java_reads(bootstrap: &str, topics: &[String], isolation: IsolationLevel) -> Logs {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/reader/Reader.java");
    let mut command = external::java_class(&source.to_string_lossy());
    let level = match isolation {
        IsolationLevel::ReadCommitted => "read_committed",
        _ => "read_uncommitted",
    };
    command.args([bootstrap, level]).args(topics).kill_on_drop(true);
    let output = timeout(Duration::from_secs(900), command.output()).await.expect("Java's reader hangs");
    let output = output.expect("Java's reader");
    assert!(output.status.success(), "Java's reader: {}", String::from_utf8_lossy(&output.stderr));
    let mut logs = Logs::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let parse = || {
            let mut words = line.splitn(4, '\t');
            let partition = TopicPartition::new(words.next()?, words.next()?.parse().ok()?);
            Some((partition, (words.next()?.parse().ok()?, words.next()?.to_owned())))
        };
        let (partition, record) = parse().unwrap_or_else(|| panic!("no record: {line}"));
        logs.entry(partition).or_default().push(record);
    }
    logs
}

/// Where two readers of the same partitions differ first; `None` when they agree.
#[must_use]
pub fn difference(ours: &Logs, theirs: &Logs) -> Option<String> {
    let empty = Vec::new();
    for partition in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(partition).unwrap_or(&empty), theirs.get(partition).unwrap_or(&empty));
        let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
        let at = at.or((ours.len() != theirs.len()).then(|| ours.len().min(theirs.len())));
        if let Some(at) = at {
            let (ours, theirs) = (ours.get(at), theirs.get(at));
            return Some(format!("{partition}, record {at}: ours {ours:?}, Java's {theirs:?}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_differ_are_found() {
        let partition = TopicPartition::new("t", 0);
        let logs = |values: &[&str]| {
            let log = (0..).zip(values).map(|(offset, value)| (offset, (*value).to_owned())).collect();
            Logs::from([(partition.clone(), log)])
        };
        assert_eq!(difference(&logs(&["a", "b"]), &logs(&["a", "b"])), None);
        assert_eq!(difference(&logs(&[]), &Logs::new()), None);
        for (ours, theirs, at) in
            [(vec!["a", "c"], vec!["a", "b"], 1), (vec!["a"], vec!["a", "b"], 1), (vec!["a"], vec![], 0)]
        {
            let found = difference(&logs(&ours), &logs(&theirs)).unwrap();
            assert!(found.contains(&format!("record {at}")), "{found}");
        }
    }
}
