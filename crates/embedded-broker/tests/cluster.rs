//! Metadata, topics, and brokers that stop.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use milena_embedded_broker::core::{BrokerId, ClusterConfig};
use milena_protocol::{
    ErrorCode,
    messages::{
        CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, FindCoordinatorRequest,
        MetadataRequest, MetadataResponse,
        create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        delete_topics::DeleteTopicState,
        metadata::MetadataRequestTopic,
    },
    wire::Uuid,
};
use script::Script;

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

fn names(response: &MetadataResponse) -> Vec<String> {
    response.topics.iter().map(|topic| topic.name.as_deref().unwrap_or("null").to_owned()).collect()
}

#[test]
fn empty_and_null_mean_what_the_version_says() {
    let mut script = Script::new(1);
    script.topic("a", 1);
    script.topic("b", 1);
    let peer = script.connect(1);
    let mut ask =
        |version, topics| names(&script.ask(peer, version, MetadataRequest { topics, ..Default::default() }));
    assert_eq!(ask(0, Some(Vec::new())), ["a", "b"]);
    assert!(ask(1, Some(Vec::new())).is_empty());
    assert_eq!(ask(1, None), ["a", "b"]);
    assert_eq!(ask(13, Some(vec![named("b")])), ["b"]);
}

#[test]
fn topics_are_found_by_id_and_unknown_ones_say_how_they_were_asked_for() {
    let mut script = Script::new(1);
    let id = script.topic("a", 1);
    let peer = script.connect(1);
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None, ..Default::default() };
    let topics = Some(vec![by_id(id), by_id(Uuid::from_bytes([1; 16])), named("nobody"), named("bad name")]);
    let response = script.ask(peer, 13, MetadataRequest { topics, ..Default::default() });
    let codes: Vec<_> = response.topics.iter().map(|topic| ErrorCode(topic.error_code)).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::NONE,
            ErrorCode::UNKNOWN_TOPIC_ID,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::INVALID_TOPIC_EXCEPTION
        ]
    );
    assert_eq!(names(&response), ["a", "null", "nobody", "bad name"]);
    assert!(!script.cluster.brokers().any(|broker| broker.0 == 0));
    assert_eq!(script.cluster.offsets("nobody", 0), None, "nothing is created on the way");
}

#[test]
fn topics_are_created_on_the_way_where_that_is_wanted() {
    let mut script =
        Script::with(ClusterConfig { auto_create_topics: true, default_partitions: 3, ..Default::default() });
    let peer = script.connect(1);
    let mut ask = |name: &str, allow_auto_topic_creation| {
        let request = MetadataRequest {
            topics: Some(vec![named(name)]),
            allow_auto_topic_creation,
            ..Default::default()
        };
        let topic = script.ask(peer, 12, request).topics.remove(0);
        (ErrorCode(topic.error_code), topic.partitions.len())
    };
    assert_eq!(ask("a", false), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0));
    assert_eq!(ask("a", true), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0));
    assert_eq!(ask("a", true), (ErrorCode::NONE, 3));
}

fn wanted(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    }
}

#[test]
fn topics_are_created_or_refused_with_the_reason() {
    let mut script = Script::new(3);
    let peer = script.connect(2);
    let setting = |name: &str, value: &str| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let with = |name: &str, value: &str| CreatableTopic {
        configs: vec![setting(name, value)],
        ..wanted("new", 1, 1)
    };
    let assigned = |brokers: &[i32]| CreatableTopic {
        assignments: vec![CreatableReplicaAssignment {
            partition_index: 0,
            broker_ids: brokers.to_vec().into(),
            ..Default::default()
        }],
        ..wanted("new", -1, -1)
    };
    let mut code = |topic: CreatableTopic, validate_only| {
        let request = CreateTopicsRequest { topics: vec![topic], validate_only, ..Default::default() };
        ErrorCode(script.ask(peer, 7, request).topics[0].error_code)
    };
    assert_eq!(code(wanted("a", 6, 3), true), ErrorCode::NONE);
    assert_eq!(code(wanted("a", 6, 3), false), ErrorCode::NONE, "validating did not create it");
    assert_eq!(code(wanted("a", 6, 3), false), ErrorCode::TOPIC_ALREADY_EXISTS);
    assert_eq!(code(wanted("a/b", 1, 1), false), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(code(wanted(&"x".repeat(250), 1, 1), false), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(code(wanted("new", 0, 1), false), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(code(wanted("new", i32::MAX, 1), false), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(code(wanted("new", 1, 4), false), ErrorCode::INVALID_REPLICATION_FACTOR);
    assert_eq!(code(wanted("new", 1, 0), false), ErrorCode::INVALID_REPLICATION_FACTOR);
    assert_eq!(code(with("no.such.setting", "1"), true), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(with("max.message.bytes", "many"), true), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(with("message.timestamp.type", "Sometimes"), true), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(with("retention.ms", "1000"), true), ErrorCode::NONE);
    assert_eq!(code(assigned(&[4]), true), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(code(assigned(&[2, 2]), true), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(code(assigned(&[3, 1]), false), ErrorCode::NONE);
    assert_eq!(script.cluster.leader("new", 0), Some((BrokerId(3), 0)));
    let leaders: Vec<i32> = (0..6).map(|at| script.cluster.leader("a", at).unwrap().0.0).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn what_was_created_is_told() {
    let mut script = Script::new(2);
    let peer = script.connect(1);
    let request = CreateTopicsRequest { topics: vec![wanted("a", -1, -1)], ..Default::default() };
    let topic = script.ask(peer, 7, request).topics.remove(0);
    assert_eq!((topic.num_partitions, topic.replication_factor, topic.topic_id.is_zero()), (1, 2, false));
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut script = Script::new(1);
    let id = script.topic("a", 1);
    script.topic("b", 1);
    let peer = script.connect(1);
    let by_id = DeleteTopicState { name: None, topic_id: id, ..Default::default() };
    let unknown = DeleteTopicState { name: None, topic_id: Uuid::from_bytes([3; 16]), ..Default::default() };
    let by_name = DeleteTopicState { name: Some("b".into()), ..Default::default() };
    let both = DeleteTopicState { name: Some("b".into()), topic_id: id, ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![by_id, unknown, both, by_name], ..Default::default() };
    let codes: Vec<_> =
        script.ask(peer, 6, request).responses.iter().map(|topic| ErrorCode(topic.error_code)).collect();
    assert_eq!(
        codes,
        [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::INVALID_REQUEST, ErrorCode::NONE]
    );
    assert_ne!(script.topic("a", 1), id, "a topic that comes back is another one");
}

#[test]
fn a_stopped_broker_is_gone_until_it_is_started() {
    let mut script = Script::new(3);
    script.topic("orders", 3);
    let gone = script.connect(2);
    script.ask(gone, 12, MetadataRequest::default());
    script.cluster.stop_broker(script.now, BrokerId(2));
    assert!(script.is_closed(gone));
    assert_eq!(script.cluster.leader("orders", 1), Some((BrokerId(3), 1)));
    assert_eq!(script.cluster.leader("orders", 0), Some((BrokerId(1), 0)));
    let peer = script.connect(1);
    let response = script.ask(peer, 12, MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(response.brokers.iter().map(|broker| broker.node_id).collect::<Vec<_>>(), [1, 3]);
    let partition = response.topics[0].partitions.get(1).unwrap();
    assert_eq!(partition.isr_nodes.iter().collect::<Vec<_>>(), [3, 1]);
    assert_eq!(partition.offline_replicas.iter().collect::<Vec<_>>(), [2]);
    let late = script.connect(2);
    script.send(late, 12, MetadataRequest::default());
    assert!(script.is_closed(late));
    script.cluster.start_broker(BrokerId(2));
    let back = script.connect(2);
    assert_eq!(script.ask(back, 12, MetadataRequest::default()).brokers.len(), 3);
}

#[test]
fn a_partition_without_a_living_replica_has_no_leader() {
    let mut script = Script::new(2);
    let assignment = |at, broker: i32| CreatableReplicaAssignment {
        partition_index: at,
        broker_ids: [broker].into(),
        ..Default::default()
    };
    let peer = script.connect(1);
    let topic = CreatableTopic { assignments: vec![assignment(0, 2)], ..wanted("orders", -1, -1) };
    script.ask(peer, 7, CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    script.cluster.stop_broker(script.now, BrokerId(2));
    let response = script.ask(peer, 12, MetadataRequest { topics: None, ..Default::default() });
    let partition = response.topics[0].partitions.get(0).unwrap();
    assert_eq!((ErrorCode(partition.error_code), partition.leader_id), (ErrorCode::LEADER_NOT_AVAILABLE, -1));
    script.cluster.start_broker(BrokerId(2));
    assert_eq!(script.cluster.leader("orders", 0), Some((BrokerId(2), 2)));
}

#[test]
fn brokers_and_coordinators_are_told() {
    let mut script = Script::new(3);
    let peer = script.connect(1);
    let described = script.ask(peer, 2, DescribeClusterRequest::default());
    assert_eq!((described.brokers.len(), &*described.cluster_id), (3, "milena-embedded"));
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    assert_eq!(ErrorCode(script.ask(peer, 2, controllers).error_code), ErrorCode::MISMATCHED_ENDPOINT_TYPE);
    let request =
        FindCoordinatorRequest { coordinator_keys: vec!["a".into(), "b".into()], ..Default::default() };
    let many = script.ask(peer, 6, request);
    let request = FindCoordinatorRequest { key: "b".into(), ..Default::default() };
    let one = script.ask(peer, 3, request);
    assert_eq!((one.node_id, one.port), (many.coordinators[1].node_id, many.coordinators[1].port));
    let share =
        FindCoordinatorRequest { coordinator_keys: vec!["a".into()], key_type: 2, ..Default::default() };
    assert_eq!(ErrorCode(script.ask(peer, 6, share).coordinators[0].error_code), ErrorCode::INVALID_REQUEST);
}
