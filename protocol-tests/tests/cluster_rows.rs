//! The patterns of an event-driven system on the real cluster, with Java's own tools reading what they wrote. Each row, and what
//! shows it there:
//!
//! | | pattern | test |
//! |---|---|---|
//! | 1 | events | `cluster_java`: keys, values, headers and timestamps both ways, and the same partitions; `replay` here |
//! | 2 | producer API | `clients::results_come_one_for_each_record_in_order` here |
//! | 3 | consumer API | `clients::partitions_have_one_owner_each_and_pause_and_seek` here; `cluster_mixed_groups` |
//! | 4 | cluster | `clients::the_cluster_has_the_settings_of_production` here; `cluster_nodes` |
//! | 5 | idempotent producer | `cluster_pitfalls`, `faults_producer`, `cluster_acks` |
//! | 6 | transactional producer | `cluster_transactions`; `patterns::java_reads_of_exactly_once_what_was_committed` here; `cluster_patterns` |
//! | 7 | batching producer | `patterns::java_reads_what_was_collected_in_order` here |
//! | 8 | at-least-once consumer | `cluster_patterns`; `patterns::java_reads_retries_and_dead_letters` here |
//! | 9 | parallel batch consumer | `cluster_patterns` |
//! | 10 | retry topics | `cluster_patterns`; `patterns::java_reads_retries_and_dead_letters` here |
//! | 11 | schema registry | `registry_orders`: beside the cluster, on Apicurio, with Python's fastavro |
//! | 12 | metrics | `clients::what_is_sent_and_read_is_counted` here |
//! | 13 | lag | `offsets::java_tells_the_lag_that_we_tell` here; `cluster_admin` |
//! | 14 | replay | `offsets::new_groups_begin_where_they_are_told_to` here; `cluster_commands` of the command line resets |
//! | 15 | graceful end | `cluster_patterns`: services that are told to end; `cluster_demo` of the command line |
//! | 16 | scale | `clients::a_handler_has_a_record_soon` here; BENCHMARKS.md |
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]
#![allow(clippy::print_stdout, reason = "what a run met is its result")]

use std::{collections::BTreeMap, time::Duration};

use milena::{AutoOffsetReset, Client, ConsumedRecord, IsolationLevel, NewTopic, OffsetSpec, TopicPartition};
use protocol_tests::{cluster::Cluster, external, observer::Observer, stage::within};

#[path = "cluster_rows/clients.rs"]
mod clients;
#[path = "cluster_rows/offsets.rs"]
mod offsets;
#[path = "cluster_rows/patterns.rs"]
mod patterns;

const SOON: Duration = Duration::from_secs(60);

/// The cluster, a client of it, and names that no other run has.
struct Rows {
    cluster: Cluster,
    client: Client,
}

impl Rows {
    async fn new() -> Self {
        let cluster = Cluster::from_env().unwrap();
        let client = within(Client::connect(cluster.bootstrap.as_str())).await.unwrap();
        Self { cluster, client }
    }

    async fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, |topic| topic.partitions(partitions)).await
    }

    async fn topic_with(&self, name: &str, settings: impl FnOnce(NewTopic) -> NewTopic) -> String {
        let name = format!("rows-{name}-{}", std::process::id());
        within(self.client.admin().create_topic(settings(NewTopic::new(name.as_str())))).await.unwrap();
        within(Observer::new(&self.cluster.bootstrap).await_whole(std::slice::from_ref(&name))).await;
        name
    }

    /// Up to where a topic is written.
    async fn ends(&self, topic: &str, isolation: IsolationLevel) -> BTreeMap<TopicPartition, i64> {
        let admin = self.client.admin();
        let count = within(admin.partition_count(topic)).await.unwrap();
        let wanted = (0..count).map(|at| (TopicPartition::new(topic, at as i32), OffsetSpec::Latest));
        let ends = within(admin.list_offsets(wanted, isolation)).await;
        let ends = ends.into_iter().map(|(partition, end)| (partition, end.unwrap().offset.unwrap_or(0)));
        ends.collect()
    }

    /// All records of a topic, ordered within each partition.
    async fn read(&self, topic: &str, isolation: IsolationLevel) -> Vec<ConsumedRecord> {
        let ends: BTreeMap<_, _> = self.ends(topic, isolation).await;
        let consumer = self.client.consumer_without_group().assign(ends.keys().cloned());
        let consumer = consumer.isolation_level(isolation).auto_offset_reset(AutoOffsetReset::Earliest);
        let consumer = consumer.build().unwrap();
        let is_open = |(partition, end): (&TopicPartition, &i64)| {
            consumer.position(partition).is_none_or(|position| position.offset < *end)
        };
        let mut read = Vec::new();
        within(async {
            while ends.iter().any(is_open) {
                let records = consumer.poll(Duration::from_millis(100)).await.unwrap().unwrap();
                read.extend(records.iter().map(|record| record.to_record()));
            }
        })
        .await;
        read
    }

    /// Runs one of Java's tools.
    async fn java(&self, class: &str, arguments: &[&str]) -> Vec<u8> {
        let mut tool = external::java(class);
        tool.args(["--bootstrap-server", &self.cluster.bootstrap]).args(arguments);
        let output = external::finish(&mut tool, "").await;
        assert!(output.status.success(), "{class}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Reads `count` records of the topics that match, from their beginning, with Java's console consumer.
    async fn java_reads(&self, topics: &str, isolation: IsolationLevel, count: usize) -> Vec<Printed> {
        let count_text = count.to_string();
        let level = match isolation {
            IsolationLevel::ReadCommitted => "read_committed",
            _ => "read_uncommitted",
        };
        let mut arguments = vec!["--include", topics, "--from-beginning", "--max-messages", &count_text];
        arguments.extend(["--timeout-ms", "30000", "--isolation-level", level]);
        let properties =
            ["key", "headers", "partition", "offset", "timestamp"].map(|it| format!("print.{it}=true"));
        for property in &properties {
            arguments.extend(["--formatter-property", property.as_str()]);
        }
        let printed = self.java("consumer.ConsoleConsumer", &arguments).await;
        let lines = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read: Vec<_> = lines.map(Printed::parse).collect();
        assert_eq!(read.len(), count, "{topics}");
        read
    }
}

/// A record as Java prints it; its value is what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Printed {
    partition: i32,
    offset: i64,
    timestamp: i64,
    headers: Vec<(String, String)>,
    key: String,
    value: Vec<u8>,
}

impl Printed {
    fn parse(line: &[u8]) -> Self {
        let fields: Vec<_> = line.splitn(6, |byte| *byte == b'\t').collect();
        let [timestamp, partition, offset, headers, key, value] = fields[..] else {
            panic!("no record: {}", String::from_utf8_lossy(line))
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let number = |bytes, prefix: &str| text(bytes).strip_prefix(prefix).unwrap().parse::<i64>().unwrap();
        let headers = text(headers);
        let pairs = headers.split(',').filter_map(|header| header.split_once(':'));
        Self {
            partition: number(partition, "Partition:") as i32,
            offset: number(offset, "Offset:"),
            timestamp: number(timestamp, "CreateTime:"),
            headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            key: text(key),
            value: value.to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8(self.value.clone()).unwrap()
    }
}

fn text(record: &ConsumedRecord) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}
