//! Logs that lose records, settings, groups and partitions as operators see them: the embedded broker and a real cluster,
//! asked the same, must answer the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "nothing async happens on the thread that sleeps: the broker has threads of its own"
)]

#[path = "cluster_logs_agree/client.rs"]
mod client;

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use client::{Client, batch};
use milena_embedded_broker::EmbeddedBroker;
use milena_protocol::{
    ErrorCode,
    messages::{
        AlterConfigsRequest, ConsumerGroupDescribeRequest, CreatePartitionsRequest, DeleteGroupsRequest,
        DeleteRecordsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeTopicPartitionsRequest,
        FetchRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, OffsetCommitRequest,
        OffsetDeleteRequest, OffsetForLeaderEpochRequest, alter_configs,
        create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic},
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_configs::DescribeConfigsResource,
        describe_topic_partitions::TopicRequest,
        fetch::{FetchPartition, FetchTopic},
        incremental_alter_configs::{AlterConfigsResource, AlterableConfig},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
};

/// Deletes records, and asks what is left.
fn deletions(client: &mut Client) {
    for count in [2, 3, 1] {
        client.produce(batch(count));
    }
    for (what, partition, offset) in [
        ("beyond", 0, 99),
        ("negative", 0, -2),
        ("no such partition", 9, 0),
        ("inside a batch", 0, 3),
        ("backwards", 0, 1),
    ] {
        delete(client, what, partition, offset);
        positions(client, &[-2, -1, -3, 1_000, 1_002]);
    }
    fetch(client, "deleted", FetchPartition { fetch_offset: 2, ..FetchPartition::default() });
    fetch(client, "left", FetchPartition { fetch_offset: 3, ..FetchPartition::default() });
    delete(client, "everything", 0, -1);
    // Kafka knows the largest timestamp of a segment, also when its record was deleted: -3 finds it, and we don't.
    positions(client, &[-2, -1, 1_000, 1_002]);
    client.produce(batch(1));
    positions(client, &[-2, -1, 1_000, 1_002]);
    let policy = AlterableConfig {
        name: "cleanup.policy".into(),
        value: Some("compact".into()),
        ..AlterableConfig::default()
    };
    alter(client, "only compacted", &[policy]);
    delete(client, "what is compacted", 0, -1);
    let deletes =
        AlterableConfig { name: "cleanup.policy".into(), config_operation: 1, ..Default::default() };
    alter(client, "deletes again", &[deletes]);
}

fn delete(client: &mut Client, what: &str, partition_index: i32, offset: i64) {
    let partitions =
        vec![DeleteRecordsPartition { partition_index, offset, ..DeleteRecordsPartition::default() }];
    let topics = vec![DeleteRecordsTopic { name: client.topic(), partitions, ..Default::default() }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    // The followers' logs start where the leader's does when they have fetched that.
    let found = client.ask_leader(2, request).topics[0].partitions[0].clone();
    client.note(&format!("delete {what}"), found.error_code, found.low_watermark);
}

fn positions(client: &mut Client, times: &[i64]) {
    for &timestamp in times {
        let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
        let topics = vec![ListOffsetsTopic { name: client.topic(), partitions, ..Default::default() }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let found = client.ask_leader(9, request).topics[0].partitions[0].clone();
        let what = format!("at {timestamp}, epoch {}", found.leader_epoch);
        client.note(&what, found.error_code, found.offset);
    }
}

fn fetch(client: &mut Client, what: &str, wanted: FetchPartition) {
    let wanted = FetchPartition { partition_max_bytes: 1 << 20, ..wanted };
    let topic = FetchTopic { topic: client.topic(), partitions: vec![wanted], ..Default::default() };
    let request =
        FetchRequest { min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() };
    let data = client.ask_leader(12, request).responses.get(0).unwrap().partitions.get(0).unwrap();
    let diverging = &data.diverging_epoch;
    let has_records = data.records.is_some_and(|records| !records.is_empty());
    let what = format!(
        "fetch {what}: records {has_records}, start {}, diverging {} {}, aborted {:?}",
        data.log_start_offset,
        diverging.epoch,
        diverging.end_offset,
        data.aborted_transactions.map(|aborted| aborted.len())
    );
    client.note(&what, data.error_code, data.high_watermark);
}

/// What is said of leader epochs that are, are to come and never were.
fn epochs(client: &mut Client) {
    for (current, epoch) in [(-1, 0), (0, 0), (0, 1), (7, 0), (-1, -1), (0, -1), (0, i32::MAX)] {
        let wanted = OffsetForLeaderPartition {
            current_leader_epoch: current,
            leader_epoch: epoch,
            ..Default::default()
        };
        let topic =
            OffsetForLeaderTopic { topic: client.topic(), partitions: vec![wanted], ..Default::default() };
        let request =
            OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let end = client.ask_leader(4, request).topics[0].partitions[0].clone();
        let what = format!("end of {epoch} for who is in {current}: epoch {}", end.leader_epoch);
        client.note(&what, end.error_code, end.end_offset);
    }
    for (last_fetched_epoch, fetch_offset) in [(0, 6), (0, 7), (0, 9), (3, 7), (0, 2), (3, 2)] {
        let wanted = FetchPartition { last_fetched_epoch, fetch_offset, ..Default::default() };
        fetch(client, &format!("after epoch {last_fetched_epoch} at {fetch_offset}"), wanted);
    }
}

fn alter(client: &mut Client, what: &str, configs: &[AlterableConfig]) {
    alter_resource(client, what, (2, None), configs);
}

fn alter_resource(
    client: &mut Client,
    what: &str,
    (resource_type, name): (i8, Option<&str>),
    configs: &[AlterableConfig],
) {
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.map_or_else(|| client.topic(), Into::into),
        configs: configs.to_vec(),
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = client.ask(1, request).responses.remove(0);
    client.note(&format!("alter {what}"), response.error_code, 0);
    client.let_it_spread();
}

/// Settings that are changed, well and badly.
fn settings(client: &mut Client) {
    let change = |config_operation, name: &str, value: Option<&str>| AlterableConfig {
        name: name.into(),
        config_operation,
        value: value.map(Into::into),
        ..Default::default()
    };
    for (what, configs) in [
        ("a number", vec![change(0, "max.message.bytes", Some("1000"))]),
        ("no number", vec![change(0, "max.message.bytes", Some("many"))]),
        ("an unknown name", vec![change(0, "no.such.setting", Some("1"))]),
        ("nothing", vec![change(0, "max.message.bytes", None)]),
        ("an unknown operation", vec![change(9, "max.message.bytes", Some("1"))]),
        ("one twice", vec![change(0, "segment.ms", Some("1000")), change(0, "segment.ms", Some("2000"))]),
        ("a list", vec![change(2, "cleanup.policy", Some("compact"))]),
        ("a list with what it has", vec![change(2, "cleanup.policy", Some("compact"))]),
        ("a list with nonsense", vec![change(2, "cleanup.policy", Some("burn"))]),
        ("a number as a list", vec![change(2, "max.message.bytes", Some("1"))]),
        ("a small segment", vec![change(0, "segment.bytes", Some("1"))]),
        ("a bad flag", vec![change(0, "preallocate", Some("maybe"))]),
        ("out of a list", vec![change(3, "cleanup.policy", Some("compact"))]),
        ("to the default", vec![change(1, "max.message.bytes", None)]),
        ("an unknown name to the default", vec![change(1, "no.such.setting", None)]),
    ] {
        alter(client, what, &configs);
        described(
            client,
            &["max.message.bytes", "cleanup.policy", "segment.ms", "segment.bytes", "preallocate"],
        );
    }
    alter_resource(client, "an unknown topic", (2, Some("no-such-topic")), &[]);
    alter_resource(client, "an unknown broker", (4, Some("99")), &[]);
    alter_resource(client, "no broker", (4, Some("one")), &[]);
    alter_resource(client, "a broker's id", (4, Some("1")), &[change(0, "node.id", Some("3"))]);
    alter_resource(client, "an unknown resource", (77, Some("x")), &[]);
    for (kind, name) in [(2, "no-such-topic"), (2, "a b"), (4, "99"), (4, "one"), (77, "x")] {
        let resource =
            DescribeConfigsResource { resource_type: kind, resource_name: name.into(), ..Default::default() };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let code = client.ask(4, request).results[0].error_code;
        client.note(&format!("describe {kind} {name}"), code, 0);
    }
    replaced(client);
}

/// Every setting of the topic that the two have in common, with its type and where the value comes from.
fn described(client: &mut Client, keys: &[&str]) {
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: client.topic(),
        configuration_keys: Some(keys.iter().map(|key| (*key).into()).collect()),
        ..Default::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let mut found = client.ask(4, request).results.remove(0).configs;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    for setting in found {
        // How the brokers were started is not the same.
        let synonyms: Vec<_> = setting
            .synonyms
            .iter()
            .filter(|it| it.source != 4)
            .map(|it| format!("{}={} of {}", it.name, it.value.as_deref().unwrap_or("null"), it.source))
            .collect();
        let (value, source) = match setting.config_source {
            4 | 5 => ("", 5),
            source => (setting.value.as_deref().unwrap_or("null"), source),
        };
        let what = format!(
            "{} = {value} of {source}, type {}, read only {}, {synonyms:?}",
            setting.name, setting.config_type, setting.read_only
        );
        client.note(&what, 0, 0);
    }
}

fn replaced(client: &mut Client) {
    let config = alter_configs::AlterableConfig {
        name: "segment.ms".into(),
        value: Some("3000".into()),
        ..Default::default()
    };
    let bad = alter_configs::AlterableConfig { value: None, ..config.clone() };
    let unknown = alter_configs::AlterableConfig { name: "no.such.setting".into(), ..config.clone() };
    for (what, config) in [("nothing", bad), ("an unknown name", unknown), ("everything", config)] {
        let resource = alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: client.topic(),
            configs: vec![config],
            ..Default::default()
        };
        let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let code = client.ask(2, request).responses[0].error_code;
        client.note(&format!("replace {what}"), code, 0);
        client.let_it_spread();
        described(client, &["segment.ms", "cleanup.policy"]);
    }
}

/// Partitions that are added, well and badly.
fn partitions(client: &mut Client) {
    let placed = |brokers: &[&[i32]]| {
        let placed = brokers.iter().map(|brokers| CreatePartitionsAssignment {
            broker_ids: brokers.iter().copied().collect(),
            ..Default::default()
        });
        Some(placed.collect::<Vec<_>>())
    };
    for (what, name, count, assignments) in [
        ("as many", None, 1, None),
        ("none", None, 0, None),
        ("less than none", None, -1, None),
        ("of no topic", Some("no-such-topic"), 2, None),
        ("on two brokers", None, 2, placed(&[&[1, 2]])),
        ("on a broker twice", None, 2, placed(&[&[1, 1]])),
        ("nowhere", None, 2, placed(&[])),
        ("on no broker", None, 2, placed(&[&[99]])),
        ("with one placed of two", None, 3, placed(&[&[1]])),
        ("good", None, 3, None),
        ("placed", None, 4, placed(&[&[2]])),
    ] {
        let name = name.map_or_else(|| client.topic(), Into::into);
        let topic = CreatePartitionsTopic { name, count, assignments, ..Default::default() };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let code = client.ask(3, request).results[0].error_code;
        client.note(&format!("partitions {what}"), code, 0);
    }
    client.let_it_spread();
    for limit in [2, 100] {
        let names = [client.topic(), "no-such-topic".into(), "a b".into()];
        let topics = names.into_iter().map(|name| TopicRequest { name, ..Default::default() });
        let request = DescribeTopicPartitionsRequest {
            topics: topics.collect(),
            response_partition_limit: limit,
            ..Default::default()
        };
        let response = client.ask(0, request);
        for topic in response.topics {
            let what = format!("{} partitions", topic.partitions.len());
            client.note(&what, topic.error_code, 0);
        }
        let next = response.next_cursor.map_or(-1, |cursor| cursor.partition_index.into());
        client.note("goes on", 0, next);
    }
}

/// Groups that only commit, and groups that are not there.
fn groups(client: &mut Client) {
    let coordinator = client.coordinator();
    let (group, topic) = (client.group(), client.topic());
    let commit = OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.clone(),
            partitions: vec![OffsetCommitRequestPartition { committed_offset: 3, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let delete_offset = |group_id: &str, topic: &str, partition_index| OffsetDeleteRequest {
        group_id: group_id.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index }],
        }],
    };
    let describe = |client: &mut Client, what: &str, id: &str| {
        for version in [5, 6] {
            let request = DescribeGroupsRequest { groups: vec![id.into()], ..Default::default() };
            let found = client.ask_at(&coordinator, version, request).groups.remove(0);
            let what = format!("{what} {} {:?}", found.group_state, found.protocol_type);
            client.note(&what, found.error_code, found.members.len() as i64);
        }
        let request = ConsumerGroupDescribeRequest { group_ids: vec![id.into()], ..Default::default() };
        let code = client.ask_at(&coordinator, 1, request).groups[0].error_code;
        client.note(&format!("{what}, as a modern one"), code, 0);
    };
    describe(client, "before it is there", &group);
    let committed = client.ask_at(&coordinator, 9, commit).topics[0].partitions[0].error_code;
    client.note("commit", committed, 0);
    describe(client, "a group that commits", &group);
    for (what, request) in [
        ("of no topic", delete_offset(&group, "no-such-topic", 0)),
        ("of no partition", delete_offset(&group, &topic, 77)),
        ("that was never committed", delete_offset(&group, &topic, 1)),
        ("that was committed", delete_offset(&group, &topic, 0)),
        ("without a group", delete_offset("", &topic, 0)),
    ] {
        let response = client.ask_at(&coordinator, 0, request);
        let code = response.topics.first().map_or(-1, |topic| topic.partitions[0].error_code);
        client.note(&format!("delete an offset {what}: {}", ErrorCode(response.error_code)), code, 0);
    }
    for what in ["it", "it again"] {
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()], ..Default::default() };
        let code = client.ask_at(&coordinator, 2, request).results[0].error_code;
        client.note(&format!("delete {what}"), code, 0);
    }
}

#[test]
#[ignore = "needs the cluster: cargo xtask test"]
fn operators_are_told_what_kafka_tells_them() {
    let kafka =
        env::var("MILENA_CLUSTER").expect("MILENA_CLUSTER must name the bootstrap servers of a real cluster");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(EmbeddedBroker::builder().brokers(3).start()).unwrap();
    let name = format!("logs-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let [ours, theirs] = [&broker.bootstrap(), &kafka].map(|bootstrap| {
        let mut client = Client::new(bootstrap, &name);
        client.create_topic();
        deletions(&mut client);
        epochs(&mut client);
        settings(&mut client);
        partitions(&mut client);
        groups(&mut client);
        client.seen
    });
    let differ: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differ.is_empty(), "(ours, Kafka's): {differ:#?}");
    assert_eq!(ours.len(), theirs.len());
}
