//! Groups whose members do not fit together, or have no coordinator.

use std::time::Duration;

use milena::{Assignor, Client, Consumer, ConsumerBuilder, ErrorCode, GroupProtocol};
use milena_protocol::ApiKey;

use super::{SOON, always, assert_told, broker, client, explained, stopped};

fn member(client: &Client) -> ConsumerBuilder {
    client.consumer("readers").subscribe(["orders"])
}

/// Polls until the member has a partition.
async fn joined(builder: ConsumerBuilder) -> Consumer {
    let consumer = builder.build().unwrap();
    let begin = tokio::time::Instant::now();
    while consumer.assignment().is_empty() {
        consumer.poll(Duration::from_millis(50)).await.unwrap();
        assert!(begin.elapsed() < SOON, "{:?}", consumer.explain());
    }
    consumer
}

/// The member's id is of this run.
fn without_member(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    if let Some(at) = words.iter().position(|word| *word == "member") {
        words[at + 1] = "MEMBER";
    }
    words.join(" ")
}

#[tokio::test]
async fn an_assignor_that_nobody_offers() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let consumer =
        member(&client).group_protocol(GroupProtocol::Consumer).server_assignor("sticky").build().unwrap();
    assert_told("assignor that the broker does not offer", &stopped(&consumer).await);
}

#[tokio::test]
async fn assignors_that_do_not_fit() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let classic = || member(&client).group_protocol(GroupProtocol::Classic);
    let _first = joined(classic().assignors([Assignor::Range])).await;
    let second = classic().assignors([Assignor::RoundRobin]).build().unwrap();
    assert_told("assignors without one in common", &stopped(&second).await);
}

#[tokio::test]
async fn an_instance_id_that_two_have() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let classic = || member(&client).group_protocol(GroupProtocol::Classic).group_instance_id("one");
    let first = joined(classic().heartbeat_interval(Duration::from_millis(100))).await;
    let _second = joined(classic()).await;
    assert_told("instance id that two have", &stopped(&first).await);
    let consumer = || {
        let member = client.consumer("writers").subscribe(["orders"]);
        member.group_protocol(GroupProtocol::Consumer).group_instance_id("two")
    };
    let _first = joined(consumer()).await;
    let second = consumer().build().unwrap();
    second.poll(Duration::from_millis(300)).await.unwrap();
    assert_told(
        "instance id that another still holds",
        &without_member(&explained(&client, "joining").await),
    );
}

#[tokio::test]
async fn a_coordinator_that_is_not_there() {
    let broker = broker().start().await.unwrap();
    always(&broker, ApiKey::FindCoordinator, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let client = client(&broker).await;
    let consumer = member(&client).build().unwrap();
    consumer.poll(Duration::from_millis(300)).await.unwrap();
    assert_told(
        "group coordinator that is not there",
        &without_member(&explained(&client, "coordinator").await),
    );
}

#[tokio::test]
async fn a_session_timeout_that_is_too_short() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let classic =
        member(&client).group_protocol(GroupProtocol::Classic).session_timeout(Duration::from_secs(1));
    let consumer = classic.heartbeat_interval(Duration::from_millis(300)).build().unwrap();
    assert_told("session timeout that is too short", &stopped(&consumer).await);
}

#[tokio::test]
async fn a_group_that_is_full() {
    let broker = broker().configure(|config| config.max_group_size = 1).start().await.unwrap();
    let client = client(&broker).await;
    let _first = joined(member(&client)).await;
    let second = member(&client).build().unwrap();
    assert_told("group that is full", &stopped(&second).await);
}
