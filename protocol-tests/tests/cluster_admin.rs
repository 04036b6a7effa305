//! Every call of `client.admin()` on the real cluster: what goes well, and what is refused beside it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena::{
    Admin, AdminError, AutoOffsetReset, Consumer, ErrorCode, GroupProtocol, GroupType, IsolationLevel,
    NewTopic, OffsetAndMetadata, OffsetSpec, PartitionLag, Position, TopicPartition,
};
use protocol_tests::{
    cluster::Cluster,
    stage::{Stage, within},
};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(20);
/// A topic and a group of which there are none.
const NOWHERE: &str = "nowhere";
const GROUPS: [(GroupProtocol, GroupType); 2] =
    [(GroupProtocol::Classic, GroupType::Classic), (GroupProtocol::Consumer, GroupType::Consumer)];

async fn stage(name: &str) -> Stage {
    Stage::set_with(&Cluster::from_env().unwrap(), name, |topic| topic.partitions(3).replication_factor(3))
        .await
}

/// The broker's code; none when all went well. That nobody answered is neither.
#[track_caller]
fn code<T>(result: &Result<T, AdminError>) -> Option<ErrorCode> {
    let error = result.as_ref().err()?;
    Some(error.code().unwrap_or_else(|| panic!("{error}")))
}

/// The code of each item; none for those that went well.
fn codes<K: Clone + Ord, T>(results: &BTreeMap<K, Result<T, AdminError>>) -> Vec<Option<ErrorCode>> {
    results.values().map(code).collect()
}

fn nowhere() -> TopicPartition {
    TopicPartition::new(NOWHERE, 0)
}

fn at(offset: i64) -> OffsetAndMetadata {
    Position { offset, leader_epoch: None }.into()
}

/// Writes so many records into each partition, a second apart from 1,000,000 ms on.
async fn write(stage: &Stage, counts: [i64; 3]) {
    let producer = stage.direct.producer().build().unwrap();
    for (partition, count) in (0..).zip(counts) {
        for number in 0..count {
            let record = stage.record(partition, "v").timestamp(1_000_000 + number * 1000);
            drop(within(producer.enqueue(record)).await.unwrap());
        }
    }
    within(producer.close(SOON)).await.unwrap();
}

/// Asks again until a broker that hears of a change late has heard of it.
async fn until<T>(mut ask: impl AsyncFnMut() -> T, is_so: impl Fn(&T) -> bool) -> T {
    within(async {
        loop {
            let answer = ask().await;
            if is_so(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn topics_are_created_listed_described_grown_and_deleted() {
    let stage = stage("admin-topics").await;
    let admin = stage.direct.admin();
    let again = NewTopic::new(stage.name.as_str());
    for (topic, expected) in [
        (again, ErrorCode::TOPIC_ALREADY_EXISTS),
        (NewTopic::new("no/name"), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (NewTopic::new(NOWHERE).replication_factor(7), ErrorCode::INVALID_REPLICATION_FACTOR),
        (NewTopic::new(NOWHERE).partitions(0), ErrorCode::INVALID_PARTITIONS),
        (NewTopic::new(NOWHERE).config("retention.ms", "soon"), ErrorCode::INVALID_CONFIG),
    ] {
        let refused = within(admin.create_topic(topic)).await;
        assert_eq!(code(&refused), Some(expected), "{refused:?}");
    }

    let topics = within(admin.topics()).await.unwrap();
    let names: Vec<_> = topics.iter().map(|topic| topic.name.clone()).collect();
    assert!(names.is_sorted() && names.iter().all(|name| name != NOWHERE), "{names:?}");
    let described = within(admin.describe_topic(stage.name.as_str())).await.unwrap();
    let listed = topics.into_iter().find(|topic| topic.name == stage.name.as_str()).unwrap();
    assert_eq!(listed.id, described.id);
    assert!(described.id.is_some() && !described.is_internal);
    for (number, partition) in (0..).zip(&described.partitions) {
        assert_eq!(partition.partition, number);
        assert_eq!((partition.replicas.len(), partition.in_sync.len()), (3, 3), "{partition:?}");
        assert!(partition.leader.is_some_and(|leader| partition.replicas.contains(&leader)), "{partition:?}");
        assert!(partition.leader_epoch.is_some() && partition.offline.is_empty(), "{partition:?}");
    }
    assert_eq!(within(admin.partition_count(stage.name.as_str())).await.unwrap(), 3);

    within(admin.create_partitions(stage.name.as_str(), 5)).await.unwrap();
    let count = async || admin.partition_count(stage.name.as_str()).await.ok();
    assert_eq!(until(count, |count| *count == Some(5)).await, Some(5));
    let fewer = within(admin.create_partitions(stage.name.as_str(), 2)).await;
    assert_eq!(code(&fewer), Some(ErrorCode::INVALID_PARTITIONS));

    within(admin.delete_topic(stage.name.as_str())).await.unwrap();
    let describe = async || code(&admin.describe_topic(stage.name.as_str()).await);
    until(describe, |code| *code == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).await;
    for name in [stage.name.as_str(), NOWHERE] {
        let missing = [
            code(&within(admin.delete_topic(name)).await),
            code(&within(admin.create_partitions(name, 9)).await),
            code(&within(admin.partition_count(name)).await),
        ];
        assert_eq!(missing, [Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION); 3], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn settings_of_topics_are_read_and_changed() {
    let set = |topic: NewTopic| topic.config("retention.ms", "60000").config("segment.bytes", "1048576");
    let stage = Stage::set_with(&Cluster::from_env().unwrap(), "admin-settings", set).await;
    let admin = stage.direct.admin();
    let name = stage.name.as_str();
    let settings = async || {
        let configs = within(admin.topic_configs(name)).await.unwrap();
        let set = configs.into_iter().filter(|config| config.is_set);
        set.map(|config| format!("{}={}", config.name, config.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(settings().await, ["retention.ms=60000", "segment.bytes=1048576"]);
    let defaults = within(admin.topic_configs(name)).await.unwrap();
    let policy = defaults.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.is_set), (Some("delete"), false));

    // What is not named stays, and what has no value is the cluster's again.
    let changes = [("retention.ms".into(), None), ("cleanup.policy".into(), Some("compact".into()))];
    within(admin.alter_topic_configs(name, changes)).await.unwrap();
    let changed = ["cleanup.policy=compact", "segment.bytes=1048576"];
    assert_eq!(until(settings, |settings| *settings == changed).await, changed);
    // One that is wrong keeps the others back.
    let changes =
        [("retention.ms".into(), Some("1".into())), ("cleanup.policy".into(), Some("shred".into()))];
    let refused = within(admin.alter_topic_configs(name, changes)).await;
    assert_eq!(code(&refused), Some(ErrorCode::INVALID_CONFIG), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("shred"));
    assert_eq!(settings().await, changed);

    let missing = within(admin.topic_configs(NOWHERE)).await;
    assert_eq!(code(&missing), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let missing = within(admin.alter_topic_configs(NOWHERE, [("retention.ms".into(), None)])).await;
    assert_eq!(code(&missing), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    stage.strike().await;
}

/// The offsets that were found, in the order of their partitions; those that were refused have none.
async fn listed(
    admin: &Admin,
    wanted: &[(TopicPartition, OffsetSpec)],
    isolation: IsolationLevel,
) -> Vec<Option<i64>> {
    let found = within(admin.list_offsets(wanted.iter().cloned(), isolation)).await;
    found.values().map(|found| found.as_ref().ok().and_then(|found| found.offset)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn offsets_are_found_and_records_deleted_partition_by_partition() {
    let stage = stage("admin-offsets").await;
    let admin = stage.direct.admin();
    write(&stage, [10, 1, 0]).await;
    for (spec, expected) in [
        (OffsetSpec::Earliest, [Some(0), Some(0), Some(0)]),
        (OffsetSpec::Latest, [Some(10), Some(1), Some(0)]),
        (OffsetSpec::MaxTimestamp, [Some(9), Some(0), None]),
        (OffsetSpec::AtOrAfter(0), [Some(0), Some(0), None]),
        (OffsetSpec::AtOrAfter(1_003_500), [Some(4), None, None]),
        (OffsetSpec::AtOrAfter(2_000_000), [None, None, None]),
    ] {
        let wanted = [0, 1, 2].map(|number| (stage.partition(number), spec));
        assert_eq!(listed(&admin, &wanted, IsolationLevel::ReadUncommitted).await, expected, "{spec:?}");
    }

    // All that can be asked for in one call, and what there is nothing of beside it.
    let wanted = [
        (stage.partition(0), OffsetSpec::MaxTimestamp),
        (stage.partition(1), OffsetSpec::Latest),
        (stage.partition(2), OffsetSpec::Earliest),
        (stage.partition(7), OffsetSpec::Latest),
        (nowhere(), OffsetSpec::MaxTimestamp),
    ];
    let found = within(admin.list_offsets(wanted, IsolationLevel::ReadUncommitted)).await;
    let newest = found[&stage.partition(0)].as_ref().unwrap();
    assert_eq!((newest.offset, newest.timestamp), (Some(9), Some(1_009_000)));
    assert!(newest.leader_epoch.is_some());
    let missing = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(codes(&found), [None, None, None, missing, missing]);

    // Readers of committed records get no further than the first open transaction.
    let mut producer = stage.producer().await;
    let transaction = producer.begin().unwrap();
    within(transaction.send(stage.record(1, "open"))).await.unwrap();
    let end = [(stage.partition(1), OffsetSpec::Latest)];
    assert_eq!(listed(&admin, &end, IsolationLevel::ReadCommitted).await, [Some(1)]);
    assert_eq!(listed(&admin, &end, IsolationLevel::ReadUncommitted).await, [Some(2)]);
    within(transaction.abort()).await.unwrap();

    let before = [
        (stage.partition(0), Some(4)),
        (stage.partition(1), None),
        (stage.partition(2), Some(9)),
        (stage.partition(7), Some(0)),
        (nowhere(), None),
    ];
    let deleted = within(admin.delete_records(before)).await;
    assert_eq!(codes(&deleted), [None, None, Some(ErrorCode::OFFSET_OUT_OF_RANGE), missing, missing]);
    assert_eq!(deleted[&stage.partition(0)].as_ref().unwrap(), &4);
    let begin = [(stage.partition(0), OffsetSpec::Earliest), (stage.partition(2), OffsetSpec::Earliest)];
    assert_eq!(listed(&admin, &begin, IsolationLevel::ReadUncommitted).await, [Some(4), Some(0)]);
    within(producer.close(SOON)).await.unwrap();
    stage.strike().await;
}

/// A member that has read the records that there are and committed them.
async fn member(stage: &Stage, group: &str, protocol: GroupProtocol, records: usize) -> Consumer {
    let builder = stage.direct.consumer(group).subscribe([stage.name.as_str()]).group_protocol(protocol);
    let consumer = builder.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let mut read = 0;
    while read < records {
        read += within(consumer.poll(SOON)).await.unwrap().unwrap().len();
    }
    within(consumer.commit()).await.unwrap();
    consumer
}

fn group(stage: &Stage, protocol: GroupProtocol) -> String {
    format!("{}-{protocol:?}", stage.name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn groups_of_both_protocols_are_listed_described_and_deleted() {
    let stage = stage("admin-groups").await;
    let admin = stage.direct.admin();
    write(&stage, [2, 2, 2]).await;
    let mut members = Vec::new();
    for (protocol, group_type) in GROUPS {
        let id = group(&stage, protocol);
        members.push((id.clone(), group_type, member(&stage, &id, protocol, 6).await));
    }
    let listings = within(admin.groups()).await.unwrap();
    assert!(listings.errors.is_empty(), "{listings:?}");
    for (id, group_type, _) in &members {
        let listed = listings.groups.iter().find(|group| group.id == id.as_str()).unwrap();
        assert_eq!(
            (&listed.group_type, &*listed.state, &*listed.protocol_type),
            (group_type, "Stable", "consumer")
        );
        let described = within(admin.describe_group(id.as_str())).await.unwrap();
        assert_eq!(
            (&*described.id, &described.group_type, &*described.state),
            (id.as_str(), group_type, "Stable")
        );
        assert_eq!(described.coordinator.0, stage.observer().group_coordinator(id).await);
        assert_eq!(described.epoch.is_some(), *group_type == GroupType::Consumer);
        assert!(!described.assignor.is_empty());
        let [member] = &described.members[..] else { panic!("{described:?}") };
        assert_eq!(member.assignment, [0, 1, 2].map(|number| stage.partition(number)));
        assert!(!member.id.is_empty() && !member.host.is_empty() && member.instance_id.is_none());
    }
    let internal = within(admin.describe_topic("__consumer_offsets")).await.unwrap();
    assert!(internal.is_internal);

    // With members a group stays, without them it goes.
    for (id, _, member) in members {
        assert_eq!(code(&within(admin.delete_group(id.as_str())).await), Some(ErrorCode::NON_EMPTY_GROUP));
        within(member.close(SOON)).await.unwrap();
        assert_eq!(&*within(admin.describe_group(id.as_str())).await.unwrap().state, "Empty");
        within(admin.delete_group(id.as_str())).await.unwrap();
        for id in [id.as_str(), NOWHERE] {
            let missing = [
                code(&within(admin.delete_group(id)).await),
                code(&within(admin.describe_group(id)).await),
                code(&within(admin.group_lag(id)).await),
            ];
            assert_eq!(missing, [Some(ErrorCode::GROUP_ID_NOT_FOUND); 3], "{id}");
            assert!(within(admin.group_offsets(id)).await.unwrap().is_empty());
        }
    }
    stage.strike().await;
}

/// The lag of each partition, and whether a member reads it.
async fn lags(admin: &Admin, group: &str) -> Vec<(Option<i64>, bool)> {
    let lags = within(admin.group_lag(group)).await.unwrap();
    assert!(lags.iter().all(|lag| lag.end.is_ok() && lag.committed.is_ok()), "{lags:?}");
    lags.iter().map(|lag: &PartitionLag| (lag.lag(), lag.member.is_some())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn offsets_of_groups_are_theirs_while_members_read_and_ours_after_that() {
    let stage = stage("admin-group-offsets").await;
    let admin = stage.direct.admin();
    write(&stage, [4, 3, 2]).await;
    for (protocol, _) in GROUPS {
        let id = group(&stage, protocol);
        let reader = member(&stage, &id, protocol, 9).await;
        assert_eq!(lags(&admin, &id).await, [(Some(0), true); 3], "{protocol:?}");
        let refused =
            within(admin.alter_group_offsets(id.as_str(), [(stage.partition(0), at(1))])).await.unwrap();
        assert_eq!(codes(&refused), [Some(ErrorCode::UNKNOWN_MEMBER_ID)], "{protocol:?}");
        let refused = within(admin.delete_group_offsets(id.as_str(), [stage.partition(0)])).await.unwrap();
        assert_eq!(codes(&refused), [Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC)], "{protocol:?}");
        within(reader.close(SOON)).await.unwrap();

        let noted = OffsetAndMetadata { metadata: "again".into(), ..at(1) };
        let offsets = [(stage.partition(0), noted.clone()), (nowhere(), at(0)), (stage.partition(7), at(0))];
        let set = within(admin.alter_group_offsets(id.as_str(), offsets)).await.unwrap();
        let missing = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(codes(&set), [None, missing, missing], "{protocol:?}");
        let forgotten =
            within(admin.delete_group_offsets(id.as_str(), [stage.partition(2), nowhere()])).await;
        assert_eq!(codes(&forgotten.unwrap()), [None, missing], "{protocol:?}");

        let committed = within(admin.group_offsets(id.as_str())).await.unwrap();
        assert_eq!(committed[&stage.partition(0)].as_ref().unwrap(), &noted);
        assert_eq!(committed[&stage.partition(1)].as_ref().unwrap().position.offset, 3);
        assert_eq!(committed.len(), 2, "{protocol:?}");
        // Nothing is committed for the last one: that is not a lag of nothing, nor of all its records.
        assert_eq!(lags(&admin, &id).await, [(Some(3), false), (Some(0), false), (None, false)]);
        // Whoever comes goes on where it was set.
        let reader = member(&stage, &id, protocol, 5).await;
        assert_eq!(lags(&admin, &id).await, [(Some(0), true); 3], "{protocol:?}");
        within(reader.close(SOON)).await.unwrap();
        within(admin.delete_group(id.as_str())).await.unwrap();
    }
    let missing = within(admin.delete_group_offsets(NOWHERE, [stage.partition(0)])).await;
    assert_eq!(code(&missing), Some(ErrorCode::GROUP_ID_NOT_FOUND));

    // A group that nobody was ever in is made by what is set for it.
    let id = format!("{}-set", stage.name);
    within(admin.alter_group_offsets(id.as_str(), [(stage.partition(1), at(2))])).await.unwrap();
    assert_eq!(lags(&admin, &id).await, [(None, false), (Some(1), false), (None, false)]);
    let described = within(admin.describe_group(id.as_str())).await.unwrap();
    assert_eq!((described.group_type, &*described.state), (GroupType::Classic, "Empty"));
    within(admin.delete_group(id.as_str())).await.unwrap();
    stage.strike().await;
}

/// A broker that has frozen holds its connections and says nothing. The others lead and coordinate in its place when its session
/// is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_broker_that_has_frozen_keeps_no_call_back() {
    let cluster = Cluster::from_env().unwrap();
    let stage = stage("admin-frozen").await;
    let admin = stage.direct.admin();
    write(&stage, [1, 1, 1]).await;
    let groups = [0, 1, 2, 3, 4, 5].map(|number| format!("{}-{number}", stage.name));
    for id in &groups {
        let set = within(admin.alter_group_offsets(id.as_str(), [(stage.partition(0), at(0))])).await;
        assert_eq!(codes(&set.unwrap()), [None]);
    }
    // The connections to all of them are open.
    assert!(within(admin.groups()).await.unwrap().errors.is_empty());
    cluster.break_node(&["pause", "kafka2"]).await.unwrap();
    let begin = Instant::now();
    let wanted = [0, 1, 2].map(|number| (stage.partition(number), OffsetSpec::Latest));
    let found = within(admin.list_offsets(wanted, IsolationLevel::ReadUncommitted)).await;
    let mut committed = Vec::new();
    for id in &groups {
        committed.push(within(admin.group_offsets(id.as_str())).await.map(|offsets| offsets.len()));
    }
    let described = within(admin.describe_topic(stage.name.as_str())).await;
    let took = begin.elapsed();
    cluster.break_node(&["resume", "kafka2"]).await.unwrap();
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(codes(&found), [None; 3], "{found:?}");
    assert!(committed.iter().all(|committed| matches!(committed, Ok(1))), "{committed:?}");
    assert_eq!(described.unwrap().partitions.len(), 3);
    stage.observer().await_whole(std::slice::from_ref(&stage.name)).await;
    for id in &groups {
        within(admin.delete_group(id.as_str())).await.unwrap();
    }
    stage.strike().await;
}
