//! Groups, their offsets and how far they are behind, against the embedded broker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{
    AdminError, AutoOffsetReset, BrokerId, Client, Consumer, ErrorCode, GroupProtocol, GroupType,
    IsolationLevel, OffsetAndMetadata, OffsetSpec, Position, Record, TopicPartition,
};
use milena_embedded_broker::{EmbeddedBroker, core};

const SOON: Duration = Duration::from_secs(20);

async fn letters(brokers: u16) -> (EmbeddedBroker, Client) {
    let broker = EmbeddedBroker::builder().brokers(brokers).topic("letters", 3).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

fn letter(partition: i32) -> TopicPartition {
    TopicPartition::new("letters", partition)
}

/// Writes so many records into each partition, a second apart from 1,000,000 ms on.
async fn write(client: &Client, counts: [i64; 3]) {
    let producer = client.producer().build().unwrap();
    for (partition, count) in (0..).zip(counts) {
        for number in 0..count {
            let record = Record::new("letters").partition(partition).value("v");
            let _delivery = producer.enqueue(record.timestamp(1_000_000 + number * 1000)).await.unwrap();
        }
    }
    producer.close(SOON).await.unwrap();
}

/// A member that has read everything of the partitions that have records, and committed it.
async fn reader(client: &Client, group: &str, protocol: GroupProtocol, records: usize) -> Consumer {
    let consumer = client
        .consumer(group)
        .subscribe(["letters"])
        .group_protocol(protocol)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut read = 0;
    while read < records {
        read += consumer.poll(SOON).await.unwrap().unwrap().len();
    }
    consumer.commit().await.unwrap();
    consumer
}

/// The broker's code; none when all went well. That nobody answered is neither.
#[track_caller]
fn code<T>(result: &Result<T, AdminError>) -> Option<ErrorCode> {
    let error = result.as_ref().err()?;
    Some(error.code().unwrap_or_else(|| panic!("{error}")))
}

fn at(offset: i64) -> OffsetAndMetadata {
    Position { offset, leader_epoch: None }.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_both_protocols_are_listed_and_described() {
    let (broker, client) = letters(3).await;
    write(&client, [5, 5, 5]).await;
    let classic = reader(&client, "classic", GroupProtocol::Classic, 15).await;
    let newer = reader(&client, "newer", GroupProtocol::Consumer, 15).await;
    let admin = client.admin();
    let listed = admin.groups().await.unwrap();
    assert!(listed.errors.is_empty());
    let listed: Vec<_> =
        listed.groups.iter().map(|it| (&*it.id, it.group_type.clone(), &*it.state)).collect();
    assert_eq!(listed, [("classic", GroupType::Classic, "Stable"), ("newer", GroupType::Consumer, "Stable")]);
    for (group, group_type) in [("classic", GroupType::Classic), ("newer", GroupType::Consumer)] {
        let described = admin.describe_group(group).await.unwrap();
        assert_eq!(
            (&*described.id, &described.group_type, &*described.state),
            (group, &group_type, "Stable")
        );
        assert_eq!(described.epoch.is_some(), group_type == GroupType::Consumer);
        assert!(!described.assignor.is_empty());
        let [member] = &described.members[..] else { unreachable!("{:?}", described.members) };
        assert_eq!(member.assignment, [letter(0), letter(1), letter(2)]);
    }
    let unknown = admin.describe_group("nobody").await;
    assert_eq!(code(&unknown), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    // A group with members stays, without them it goes.
    assert_eq!(code(&admin.delete_group("newer").await), Some(ErrorCode::NON_EMPTY_GROUP));
    for (group, member) in [("classic", classic), ("newer", newer)] {
        member.close(SOON).await.unwrap();
        admin.delete_group(group).await.unwrap();
        assert_eq!(code(&admin.delete_group(group).await), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    }
    assert!(admin.groups().await.unwrap().groups.is_empty());
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_tells_a_partition_without_a_commit_from_one_that_is_read_to_its_end() {
    let (broker, client) = letters(3).await;
    write(&client, [4, 0, 2]).await;
    let consumer = reader(&client, "readers", GroupProtocol::Auto, 6).await;
    write(&client, [3, 2, 0]).await;
    let admin = client.admin();
    let lags = admin.group_lag("readers").await.unwrap();
    let told: Vec<_> =
        lags.iter().map(|it| (it.partition.partition, it.lag(), it.end.clone().unwrap())).collect();
    // Whether the reader committed where it begins an empty partition is its own affair; here it did not.
    let committed = lags[1].committed.as_ref().unwrap().as_ref().map(|it| it.position.offset);
    assert!(committed.is_none_or(|offset| offset == 0), "{committed:?}");
    assert_eq!(told, [(0, Some(3), 7), (1, committed.map(|_| 2), 2), (2, Some(0), 2)]);
    assert!(lags.iter().all(|it| it.member == lags[0].member && it.member.is_some()));
    consumer.close(SOON).await.unwrap();
    // A commit for one partition alone: the others of the topic are told as without one.
    admin.alter_group_offsets("others", [(letter(2), at(1))]).await.unwrap();
    let lags: Vec<_> = admin.group_lag("others").await.unwrap();
    assert_eq!(lags.iter().map(milena::PartitionLag::lag).collect::<Vec<_>>(), [None, None, Some(1)]);
    assert!(lags.iter().all(|it| it.member.is_none()));
    assert_eq!(code(&admin.group_lag("nobody").await), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_set_while_nobody_reads_and_a_reader_begins_there() {
    let (broker, client) = letters(1).await;
    write(&client, [10, 0, 0]).await;
    for (group, protocol) in [("classic", GroupProtocol::Classic), ("newer", GroupProtocol::Consumer)] {
        let consumer = reader(&client, group, protocol, 10).await;
        let admin = client.admin();
        let refused = admin.alter_group_offsets(group, [(letter(0), at(7))]).await.unwrap();
        assert_eq!(code(&refused[&letter(0)]), Some(ErrorCode::UNKNOWN_MEMBER_ID));
        consumer.close(SOON).await.unwrap();
        let noted = OffsetAndMetadata { metadata: "again".into(), ..at(7) };
        let set = admin.alter_group_offsets(group, [(letter(0), noted.clone())]).await.unwrap();
        assert_eq!(code(&set[&letter(0)]), None);
        let committed = admin.group_offsets(group).await.unwrap();
        assert_eq!(committed[&letter(0)].as_ref().unwrap(), &noted);
        let consumer = reader(&client, group, protocol, 3).await;
        consumer.close(SOON).await.unwrap();
        let unknown = TopicPartition::new("nowhere", 0);
        let told = admin.delete_group_offsets(group, [letter(0), unknown.clone()]).await.unwrap();
        assert_eq!(code(&told[&letter(0)]), None);
        assert_eq!(code(&told[&unknown]), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        assert!(!admin.group_offsets(group).await.unwrap().contains_key(&letter(0)));
    }
    assert!(client.admin().group_offsets("nobody").await.unwrap().is_empty());
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_by_place_and_time_and_each_partition_has_its_own_result() {
    let (broker, client) = letters(3).await;
    write(&client, [10, 1, 0]).await;
    let admin = client.admin();
    let cases = [
        (0, OffsetSpec::Earliest, Some(0)),
        (0, OffsetSpec::Latest, Some(10)),
        (0, OffsetSpec::MaxTimestamp, Some(9)),
        (0, OffsetSpec::AtOrAfter(1_003_500), Some(4)),
        (0, OffsetSpec::AtOrAfter(2_000_000), None),
        (1, OffsetSpec::Latest, Some(1)),
        (2, OffsetSpec::MaxTimestamp, None),
    ];
    for (partition, spec, offset) in cases {
        let found = admin.list_offsets([(letter(partition), spec)], IsolationLevel::ReadUncommitted).await;
        assert_eq!(found[&letter(partition)].as_ref().unwrap().offset, offset, "{partition} {spec:?}");
    }
    let admin = admin.timeout(Duration::from_millis(300));
    let wanted = [letter(0), TopicPartition::new("nowhere", 0), letter(7)];
    let all = wanted.clone().map(|partition| (partition, OffsetSpec::Latest));
    let found = admin.list_offsets(all, IsolationLevel::ReadCommitted).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[&wanted[0]].as_ref().unwrap().offset, Some(10));
    for missing in &wanted[1..] {
        assert_eq!(code(&found[missing]), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{missing}");
    }
    let deleted = admin.delete_records([(letter(0), Some(4)), (letter(1), None), (letter(2), Some(9))]).await;
    assert_eq!(deleted[&letter(0)].as_ref().unwrap(), &4);
    assert_eq!(deleted[&letter(1)].as_ref().unwrap(), &1);
    assert_eq!(code(&deleted[&letter(2)]), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
    let found = admin.list_offsets([(letter(0), OffsetSpec::Earliest)], IsolationLevel::ReadCommitted).await;
    assert_eq!(found[&letter(0)].as_ref().unwrap().offset, Some(4));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_coordinators_and_leaders_that_move() {
    let (broker, client) = letters(3).await;
    write(&client, [5, 5, 5]).await;
    let consumer = reader(&client, "readers", GroupProtocol::Auto, 15).await;
    consumer.close(SOON).await.unwrap();
    let admin = client.admin();
    let BrokerId(coordinator) = admin.describe_group("readers").await.unwrap().coordinator;
    broker.stop_broker(core::BrokerId(coordinator));
    let lags = admin.group_lag("readers").await.unwrap();
    assert_eq!(lags.iter().map(milena::PartitionLag::lag).collect::<Vec<_>>(), [Some(0); 3]);
    let described = admin.describe_group("readers").await.unwrap();
    assert_ne!(described.coordinator, BrokerId(coordinator));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_grow_and_change_their_settings() {
    let (broker, client) = letters(1).await;
    let admin = client.admin();
    admin.create_partitions("letters", 5).await.unwrap();
    assert_eq!(admin.describe_topic("letters").await.unwrap().partitions.len(), 5);
    assert_eq!(code(&admin.create_partitions("letters", 2).await), Some(ErrorCode::INVALID_PARTITIONS));
    let setting = |configs: Vec<milena::ConfigEntry>| {
        let found = configs.into_iter().find(|it| it.name == "retention.ms").unwrap();
        (found.value.unwrap().to_string(), found.is_set)
    };
    let before = setting(admin.topic_configs("letters").await.unwrap());
    assert!(!before.1);
    let set = |value: Option<&'static str>| [("retention.ms".into(), value.map(Into::into))];
    admin.alter_topic_configs("letters", set(Some("60000"))).await.unwrap();
    assert_eq!(setting(admin.topic_configs("letters").await.unwrap()), ("60000".to_owned(), true));
    admin.alter_topic_configs("letters", set(None)).await.unwrap();
    assert_eq!(setting(admin.topic_configs("letters").await.unwrap()), before);
    let wrong = admin.alter_topic_configs("letters", set(Some("soon"))).await;
    assert_eq!(code(&wrong), Some(ErrorCode::INVALID_CONFIG));
    let unknown = admin.topic_configs("nowhere").await;
    assert_eq!(code(&unknown), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    broker.shutdown().await;
}
