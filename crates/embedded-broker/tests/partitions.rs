//! CreatePartitions and DescribeTopicPartitions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use milena_embedded_broker::core::BrokerId;
use milena_protocol::{
    ErrorCode,
    messages::{
        CreatePartitionsRequest, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic},
        describe_topic_partitions::{RequestCursor, TopicRequest},
    },
};
use script::{Peer, Script, batch};

fn cluster() -> (Script, Peer) {
    let mut script = Script::new(3);
    script.topic("orders", 2);
    let peer = script.connect(1);
    (script, peer)
}

/// A topic, how many partitions it is to have, and the brokers of each new one.
type Wanted<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>);

fn create(script: &mut Script, peer: Peer, topics: &[Wanted<'_>], check: bool) -> Vec<ErrorCode> {
    let topics = topics.iter().map(|&(name, count, assignments)| CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: assignments.map(|assignments| {
            let assignments = assignments.iter().map(|brokers| CreatePartitionsAssignment {
                broker_ids: brokers.iter().copied().collect(),
                ..Default::default()
            });
            assignments.collect()
        }),
        ..Default::default()
    });
    let request =
        CreatePartitionsRequest { topics: topics.collect(), validate_only: check, ..Default::default() };
    let response = script.ask(peer, 3, request);
    response.results.iter().map(|result| ErrorCode(result.error_code)).collect()
}

fn leaders(script: &Script) -> Vec<i32> {
    let leader = |partition| script.cluster.leader("orders", partition).map(|(BrokerId(id), _)| id);
    (0..).map_while(leader).collect()
}

#[test]
fn a_topic_gets_more_partitions_on_the_next_brokers() {
    let (mut script, peer) = cluster();
    assert_eq!(create(&mut script, peer, &[("orders", 4, None)], true), [ErrorCode::NONE]);
    assert_eq!(leaders(&script), [1, 2], "it was only checked");
    assert_eq!(create(&mut script, peer, &[("orders", 4, None)], false), [ErrorCode::NONE]);
    assert_eq!(leaders(&script), [1, 2, 3, 1]);
    let leader = script.connect(3);
    assert_eq!(script.produce(leader, "orders", 2, batch(&["a"])), (0, 0));
    let placed: &[&[i32]] = &[&[3, 1, 2]];
    assert_eq!(create(&mut script, peer, &[("orders", 5, Some(placed))], false), [ErrorCode::NONE]);
    assert_eq!(leaders(&script), [1, 2, 3, 1, 3]);
}

#[test]
fn what_is_no_increase_or_cannot_be_placed_is_refused() {
    let (mut script, peer) = cluster();
    let mut one = |name, count, assignments: Option<&[&[i32]]>| {
        create(&mut script, peer, &[(name, count, assignments)], false)[0]
    };
    assert_eq!(one("nowhere", 3, None), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one("orders", 2, None), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one("orders", 1, None), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one("orders", -1, None), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one("orders", i32::MAX, None), ErrorCode::INVALID_PARTITIONS);
    for bad in [&[&[1, 2][..]][..], &[&[1, 1, 2]], &[&[1, 2, 9]], &[&[1, 2, 3], &[1, 2, 3]], &[]] {
        assert_eq!(one("orders", 3, Some(bad)), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{bad:?}");
    }
    let twice = [("orders", 3, None), ("orders", 4, None)];
    assert_eq!(create(&mut script, peer, &twice, false), [ErrorCode::INVALID_REQUEST; 2]);
    script.cluster.stop_broker(script.now, BrokerId(3));
    assert_eq!(
        create(&mut script, peer, &[("orders", 3, None)], false),
        [ErrorCode::INVALID_REPLICATION_FACTOR]
    );
    assert_eq!(leaders(&script), [1, 2]);
}

fn describe(
    script: &mut Script,
    peer: Peer,
    names: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    let names = names.iter().map(|name| TopicRequest { name: (*name).into(), ..Default::default() });
    let cursor = cursor.map(|(topic, partition_index)| RequestCursor {
        topic_name: topic.into(),
        partition_index,
        ..Default::default()
    });
    let request = DescribeTopicPartitionsRequest {
        topics: names.collect(),
        response_partition_limit: limit,
        cursor,
        ..Default::default()
    };
    script.ask(peer, 0, request)
}

#[test]
fn partitions_are_described_some_at_a_time() {
    let (mut script, peer) = cluster();
    script.topic("a", 1);
    script.topic("z", 3);
    let (mut seen, mut pages) = (Vec::new(), Vec::new());
    let mut cursor: Option<(String, i32)> = None;
    loop {
        let from = cursor.as_ref().map(|(topic, partition)| (&**topic, *partition));
        let response = describe(&mut script, peer, &[], 2, from);
        let before = seen.len();
        for topic in &response.topics {
            let name = topic.name.clone().unwrap().to_string();
            seen.extend(topic.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
        }
        pages.push(seen.len() - before);
        let Some(next) = response.next_cursor else { break };
        cursor = Some((next.topic_name.to_string(), next.partition_index));
    }
    let named = |name: &str, index| (name.to_owned(), index);
    let all = [("a", 0), ("orders", 0), ("orders", 1), ("z", 0), ("z", 1), ("z", 2)];
    assert_eq!(seen, all.map(|(name, index)| named(name, index)));
    assert_eq!(pages, [2, 2, 2]);
}

#[test]
fn a_partition_shows_its_replicas_and_unknown_topics_their_error() {
    let (mut script, peer) = cluster();
    script.cluster.stop_broker(script.now, BrokerId(2));
    let response = describe(&mut script, peer, &["orders", "nowhere", "a b"], 100, None);
    let codes: Vec<_> = response.topics.iter().map(|topic| ErrorCode(topic.error_code)).collect();
    let (unknown, illegal) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(codes, [illegal, unknown, ErrorCode::NONE], "in the order of their names");
    let partition = &response.topics[2].partitions[1];
    assert_eq!((partition.leader_id, partition.leader_epoch), (3, 1));
    assert_eq!(partition.replica_nodes.iter().collect::<Vec<_>>(), [2, 3, 1]);
    assert_eq!(partition.isr_nodes.iter().collect::<Vec<_>>(), [3, 1]);
    assert_eq!(partition.offline_replicas.iter().collect::<Vec<_>>(), [2]);
}
