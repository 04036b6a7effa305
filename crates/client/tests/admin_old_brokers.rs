//! Every call of `Admin` against each of the older releases that the embedded broker can imitate: it works, or says what
//! the broker lacks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena::{
    Admin, AdminError, AutoOffsetReset, Client, Consumer, ErrorCode, FailureKind, GroupType, IsolationLevel,
    NewTopic, OffsetAndMetadata, OffsetSpec, Position, Record, TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::KafkaVersion::{self, V1_0, V2_1, V2_4, V3_3},
};
use tokio::time::timeout;

/// Much more than any call takes, and less than the timeout of one that nobody answers.
const SOON: Duration = Duration::from_secs(10);

/// The calls, in the order in which they are made, and the first release that can answer each.
const CALLS: &[(&str, KafkaVersion)] = &[
    ("create_topic", V1_0),
    ("create_topic with defaults", V2_4),
    ("topics", V1_0),
    ("describe_topic", V1_0),
    ("partition_count", V1_0),
    ("create_partitions", V1_0),
    ("topic_configs", V2_1),
    ("alter_topic_configs", V2_4),
    ("list_offsets earliest", V1_0),
    ("list_offsets latest", V1_0),
    ("list_offsets time", V1_0),
    ("list_offsets max timestamp", V3_3),
    ("groups", V1_0),
    ("describe_group", V1_0),
    ("group_offsets", V1_0),
    ("group_lag", V1_0),
    ("alter_group_offsets", V1_0),
    ("delete_group_offsets", V2_4),
    ("delete_group", V2_1),
    ("delete_records", V1_0),
    ("delete_topic", V1_0),
];

type Outcome = (&'static str, Result<(), AdminError>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_works_or_says_what_the_broker_lacks() {
    for version in KafkaVersion::ALL {
        let (broker, client) = imitation(version).await;
        let outcomes = timeout(SOON, outcomes(&client)).await;
        let outcomes = outcomes.unwrap_or_else(|_| panic!("{version:?}: never"));
        let calls: Vec<_> = outcomes.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, CALLS.iter().map(|(call, _)| *call).collect::<Vec<_>>());
        for ((call, outcome), (_, first)) in outcomes.iter().zip(CALLS) {
            match outcome {
                Ok(()) => assert!(version >= *first, "{version:?}: {call} works"),
                Err(error) => {
                    assert!(version < *first, "{version:?}: {call}: {error}");
                    assert!(is_lacking(error), "{version:?}: {call}: {error:?}");
                    assert!(error.to_string().contains(": the broker speaks "), "{error}");
                    assert!(!error.is_uncertain(), "{error}");
                }
            }
        }
        broker.shutdown().await;
    }
}

/// Three brokers of this release with a topic of ten records in its first partition.
async fn imitation(version: KafkaVersion) -> (EmbeddedBroker, Client) {
    let builder = EmbeddedBroker::builder().brokers(3).topic("letters", 2);
    let broker = builder.configure(|config| config.imitate(version)).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    for number in 0..10 {
        let record = Record::new("letters").partition(0).value("v").timestamp(1_000_000 + number * 1000);
        producer.send(record).await.unwrap();
    }
    producer.close(SOON).await.unwrap();
    (broker, client)
}

fn is_lacking(error: &AdminError) -> bool {
    matches!(error, AdminError::Failed { failure, .. } if failure.kind == FailureKind::Unsupported)
}

fn letter(partition: i32) -> TopicPartition {
    TopicPartition::new("letters", partition)
}

/// The only result that there is.
fn only<T>(mut results: BTreeMap<TopicPartition, Result<T, AdminError>>) -> Result<T, AdminError> {
    assert_eq!(results.len(), 1);
    results.pop_first().unwrap().1
}

async fn outcomes(client: &Client) -> Vec<Outcome> {
    let admin = client.admin();
    let mut outcomes = topics(&admin).await;
    outcomes.extend(offsets(&admin).await);
    outcomes.extend(groups(&admin, client).await);
    let deleted = only(admin.delete_records([(letter(0), Some(4))]).await);
    outcomes.push(("delete_records", deleted.map(|begin| assert_eq!(begin, 4))));
    outcomes.push(("delete_topic", admin.delete_topic("letters").await));
    outcomes
}

async fn topics(admin: &Admin) -> Vec<Outcome> {
    let orders = NewTopic::new("orders").partitions(2).replication_factor(3).config("retention.ms", "60000");
    let mut outcomes = vec![("create_topic", admin.create_topic(orders).await)];
    outcomes.push(("create_topic with defaults", admin.create_topic(NewTopic::new("others")).await));
    let topics = admin.topics().await;
    let has_orders = |topics: Vec<milena::TopicDescription>| {
        assert!(topics.iter().any(|topic| topic.name == "orders"));
    };
    outcomes.push(("topics", topics.map(has_orders)));
    let described = admin.describe_topic("orders").await;
    outcomes
        .push(("describe_topic", described.map(|topic| assert_eq!(topic.partitions[1].replicas.len(), 3))));
    let count = admin.partition_count("orders").await;
    outcomes.push(("partition_count", count.map(|count| assert_eq!(count, 2))));
    outcomes.push(("create_partitions", admin.create_partitions("orders", 4).await));
    let set = |configs: Vec<milena::ConfigEntry>| {
        let set: Vec<_> =
            configs.into_iter().filter(|config| config.is_set).map(|config| config.name).collect();
        assert_eq!(set, ["retention.ms"]);
    };
    outcomes.push(("topic_configs", admin.topic_configs("orders").await.map(set)));
    let change = [("retention.ms".into(), None)];
    outcomes.push(("alter_topic_configs", admin.alter_topic_configs("orders", change).await));
    outcomes
}

async fn offsets(admin: &Admin) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (call, spec, offset) in [
        ("list_offsets earliest", OffsetSpec::Earliest, 0),
        ("list_offsets latest", OffsetSpec::Latest, 10),
        ("list_offsets time", OffsetSpec::AtOrAfter(1_003_500), 4),
        ("list_offsets max timestamp", OffsetSpec::MaxTimestamp, 9),
    ] {
        let found = only(admin.list_offsets([(letter(0), spec)], IsolationLevel::ReadUncommitted).await);
        outcomes.push((call, found.map(|found| assert_eq!(found.offset, Some(offset), "{call}"))));
    }
    outcomes
}

async fn groups(admin: &Admin, client: &Client) -> Vec<Outcome> {
    let reader = reader(client).await;
    let mut outcomes = Vec::new();
    let listed = admin.groups().await.map(|listings| {
        assert!(listings.errors.is_empty(), "{listings:?}");
        assert_eq!(listings.groups.iter().map(|group| &*group.id).collect::<Vec<_>>(), ["readers"]);
    });
    outcomes.push(("groups", listed));
    let described = admin.describe_group("readers").await.map(|group| {
        assert_eq!(&*group.state, "Stable");
        assert_eq!(group.members[0].assignment, [letter(0), letter(1)]);
    });
    outcomes.push(("describe_group", described));
    reader.close(SOON).await.unwrap();
    let committed = admin.group_offsets("readers").await.map(|committed| {
        assert_eq!(committed[&letter(0)].as_ref().unwrap().position.offset, 10);
    });
    outcomes.push(("group_offsets", committed));
    let lag = admin.group_lag("readers").await.map(|lags| assert_eq!(lags[0].lag(), Some(0)));
    outcomes.push(("group_lag", lag));
    let back: OffsetAndMetadata = Position { offset: 3, leader_epoch: None }.into();
    let set = only(admin.alter_group_offsets("readers", [(letter(0), back)]).await.unwrap());
    outcomes.push(("alter_group_offsets", set));
    let forgotten = admin.delete_group_offsets("readers", [letter(0)]).await;
    outcomes.push(("delete_group_offsets", forgotten.and_then(only)));
    outcomes.push(("delete_group", admin.delete_group("readers").await));
    outcomes
}

/// A member that has read and committed everything.
async fn reader(client: &Client) -> Consumer {
    let builder = client.consumer("readers").subscribe(["letters"]);
    let consumer = builder.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let mut read = 0;
    while read < 10 {
        read += consumer.poll(SOON).await.unwrap().unwrap().len();
    }
    consumer.commit().await.unwrap();
    consumer
}

/// What one partition asks for in vain takes nothing from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_an_old_broker_can_find_are_found_beside_one_that_it_can_not() {
    let (broker, client) = imitation(V2_4).await;
    let wanted = [(letter(0), OffsetSpec::Latest), (letter(1), OffsetSpec::MaxTimestamp)];
    let found = client.admin().list_offsets(wanted, IsolationLevel::ReadUncommitted).await;
    assert_eq!(found[&letter(0)].as_ref().unwrap().offset, Some(10));
    let lacking = found[&letter(1)].as_ref().unwrap_err();
    assert!(is_lacking(lacking), "{lacking}");
    broker.shutdown().await;
}

/// Brokers before 4.0 describe every group that there is none of as a dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_there_is_none_of_is_told_alike_by_all() {
    for version in KafkaVersion::ALL {
        let (broker, client) = imitation(version).await;
        let admin = client.admin();
        let told =
            [admin.describe_group("nobody").await.unwrap_err(), admin.group_lag("nobody").await.unwrap_err()];
        assert!(
            told.iter().all(|error| error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND)),
            "{version:?}: {told:?}"
        );
        assert!(admin.group_offsets("nobody").await.unwrap().is_empty(), "{version:?}");
        broker.shutdown().await;
    }
}

/// The word for it is newer than groups of the other protocol are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_has_a_type_where_a_listing_lacks_it() {
    let (broker, client) = imitation(V2_1).await;
    let reader = reader(&client).await;
    let listings = client.admin().groups().await.unwrap();
    assert_eq!(listings.groups[0].group_type, GroupType::Other("".into()));
    assert_eq!((&*listings.groups[0].state, &*listings.groups[0].protocol_type), ("", "consumer"));
    assert_eq!(client.admin().describe_group("readers").await.unwrap().group_type, GroupType::Classic);
    reader.close(SOON).await.unwrap();
    broker.shutdown().await;
}
