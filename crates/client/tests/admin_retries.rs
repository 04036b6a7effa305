//! Which calls of `Admin` are made again when a broker hangs up or says nothing, against the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{
    Admin, AdminError, Client, ErrorCode, IsolationLevel, NewTopic, OffsetSpec, Position, TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;

/// Long enough for two brokers that say nothing.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A broker that does not say whether it has heard.
const SILENT: [Action; 2] = [Action::CloseBefore, Action::Ignore];

/// Three brokers, and a group that has committed something.
async fn cluster() -> (EmbeddedBroker, Admin) {
    let broker = EmbeddedBroker::builder().brokers(3).topic("letters", 3).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let admin = client.admin().timeout(TIMEOUT);
    let start = Position { offset: 0, leader_epoch: None };
    admin.alter_group_offsets("readers", [(letter(), start.into())]).await.unwrap();
    (broker, admin)
}

fn letter() -> TopicPartition {
    TopicPartition::new("letters", 0)
}

async fn latest(admin: &Admin) -> Result<Option<i64>, AdminError> {
    let wanted = [(letter(), OffsetSpec::Latest)];
    let mut found = admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await;
    found.remove(&letter()).unwrap().map(|found| found.offset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_broker_knows_is_asked_of_another_one() {
    let (broker, admin) = cluster().await;
    for action in SILENT {
        let meet = |api| broker.add_fault(Rule::new(api, action));
        meet(ApiKey::Metadata);
        assert_eq!(admin.topics().await.unwrap().len(), 1, "{action:?}");
        meet(ApiKey::Metadata);
        assert_eq!(admin.describe_topic("letters").await.unwrap().partitions.len(), 3, "{action:?}");
        meet(ApiKey::Metadata);
        assert_eq!(admin.partition_count("letters").await.unwrap(), 3, "{action:?}");
        meet(ApiKey::Metadata);
        assert_eq!(latest(&admin).await.unwrap(), Some(0), "{action:?}");
        meet(ApiKey::Metadata);
        assert_eq!(admin.groups().await.unwrap().groups.len(), 1, "{action:?}");
        meet(ApiKey::DescribeConfigs);
        assert!(!admin.topic_configs("letters").await.unwrap().is_empty(), "{action:?}");
        meet(ApiKey::FindCoordinator);
        assert_eq!(admin.group_offsets("readers").await.unwrap().len(), 1, "{action:?}");
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_and_coordinators_that_are_silent_are_asked_again_for_what_may_be_done_twice() {
    let (broker, admin) = cluster().await;
    let meet = |api| broker.add_fault(Rule::new(api, Action::Ignore));
    meet(ApiKey::ListOffsets);
    assert_eq!(latest(&admin).await.unwrap(), Some(0));
    meet(ApiKey::DeleteRecords);
    assert_eq!(admin.delete_records([(letter(), None)]).await[&letter()].as_ref().unwrap(), &0);
    meet(ApiKey::OffsetFetch);
    assert_eq!(admin.group_offsets("readers").await.unwrap().len(), 1);
    meet(ApiKey::DescribeGroups);
    assert_eq!(&*admin.describe_group("readers").await.unwrap().state, "Empty");
    meet(ApiKey::OffsetCommit);
    let start = Position { offset: 0, leader_epoch: None };
    let set = admin.alter_group_offsets("readers", [(letter(), start.into())]).await.unwrap();
    assert!(set[&letter()].is_ok(), "{set:?}");
    meet(ApiKey::OffsetDelete);
    assert!(admin.delete_group_offsets("readers", [letter()]).await.unwrap()[&letter()].is_ok());
    broker.shutdown().await;
}

/// Whatever is to be done with a group: while its coordinator is looked for, nobody has been asked to do that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_is_looked_for_again_before_a_group_is_deleted() {
    for action in SILENT {
        let (broker, admin) = cluster().await;
        broker.add_fault(Rule::new(ApiKey::FindCoordinator, action));
        admin.delete_group("readers").await.unwrap();
        let again = admin.delete_group("readers").await.unwrap_err();
        assert_eq!(again.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND), "{action:?}");
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_for_ever() {
    let (broker, admin) = cluster().await;
    let admin = admin.timeout(Duration::from_millis(600));
    for action in SILENT {
        for api in [ApiKey::FindCoordinator, ApiKey::Metadata] {
            broker.add_fault(Rule::new(api, action).times(u32::MAX));
        }
        let begin = tokio::time::Instant::now();
        for error in [admin.group_offsets("readers").await.map(drop), admin.topics().await.map(drop)] {
            assert!(matches!(error, Err(AdminError::Failed { .. })), "{action:?}: {error:?}");
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{action:?}: {:?}", begin.elapsed());
        broker.with_cluster(|cluster, _| cluster.faults().clear());
    }
    broker.shutdown().await;
}

/// A topic that may have been made or deleted is not made or deleted again: the error says that nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_done_is_not_done_twice() {
    let (broker, admin) = cluster().await;
    broker.add_fault(Rule::new(ApiKey::CreateTopics, Action::CloseAfter));
    let made = admin.create_topic(NewTopic::new("orders")).await.unwrap_err();
    assert!(made.is_uncertain(), "{made}");
    assert_eq!(admin.partition_count("orders").await.unwrap(), 1);
    broker.add_fault(Rule::new(ApiKey::DeleteTopics, Action::CloseAfter));
    let deleted = admin.delete_topic("orders").await.unwrap_err();
    assert!(deleted.is_uncertain(), "{deleted}");
    let gone = admin.partition_count("orders").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    broker.add_fault(Rule::new(ApiKey::DeleteGroups, Action::CloseAfter));
    let deleted = admin.delete_group("readers").await.unwrap_err();
    assert!(deleted.is_uncertain(), "{deleted}");
    broker.shutdown().await;
}
