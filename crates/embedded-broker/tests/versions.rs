//! Every API at every version that is offered, and what is answered to others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use bytes::Bytes;
use milena_embedded_broker::core::{ClusterConfig, KafkaVersion, Quota};
use milena_protocol::{
    ErrorCode,
    messages::{
        add_partitions_to_txn::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        create_topics::{CreatableTopic, CreateTopicsRequest},
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        describe_configs::DescribeConfigsResource,
        describe_producers::TopicRequest,
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
        leave_group::{LeaveGroupRequest, MemberIdentity},
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
        metadata::MetadataRequest,
        offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{
            OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
        offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
        write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic},
        *,
    },
    wire::Uuid,
};
use script::{Peer, Script, batch, produce_request};

/// A request that does something, in a form that the version can carry.
fn request(api: ApiKey, version: i16, id: Uuid) -> Option<Request> {
    let name = "orders";
    let group = "group";
    Some(match api {
        ApiKey::Produce => {
            let (name, id) = if version >= 13 { ("", id) } else { (name, Uuid::ZERO) };
            produce_request(name, id, 0, batch(&["a"])).into()
        }
        ApiKey::Fetch => {
            let partitions =
                vec![FetchPartition { partition: 0, partition_max_bytes: 1 << 20, ..Default::default() }];
            let topic = match version {
                13.. => FetchTopic { topic_id: id, partitions, ..Default::default() },
                _ => FetchTopic { topic: name.into(), partitions, ..Default::default() },
            };
            FetchRequest { max_wait_ms: 0, min_bytes: 1, topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::SaslHandshake => SaslHandshakeRequest { mechanism: "PLAIN".into() }.into(),
        ApiKey::SaslAuthenticate => SaslAuthenticateRequest::default().into(),
        ApiKey::ListOffsets => {
            let partitions = vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }];
            let topics = vec![ListOffsetsTopic { name: name.into(), partitions, ..Default::default() }];
            ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }.into()
        }
        ApiKey::Metadata => {
            let topics = (version > 0).then(Vec::new).or(Some(Vec::new()));
            MetadataRequest { topics, ..Default::default() }.into()
        }
        ApiKey::OffsetCommit => {
            let partitions = vec![OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() }];
            let topic = match version {
                10.. => OffsetCommitRequestTopic { topic_id: id, partitions, ..Default::default() },
                _ => OffsetCommitRequestTopic { name: name.into(), partitions, ..Default::default() },
            };
            OffsetCommitRequest {
                group_id: group.into(),
                generation_id_or_member_epoch: -1,
                topics: vec![topic],
                ..Default::default()
            }
            .into()
        }
        ApiKey::OffsetFetch => offset_fetch(version, id),
        ApiKey::FindCoordinator if version >= 4 => {
            FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() }.into()
        }
        ApiKey::FindCoordinator => FindCoordinatorRequest { key: group.into(), ..Default::default() }.into(),
        ApiKey::JoinGroup => JoinGroupRequest {
            group_id: format!("joined-{version}").into(),
            session_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: Bytes::from("m"),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::Heartbeat => HeartbeatRequest { group_id: group.into(), ..Default::default() }.into(),
        ApiKey::LeaveGroup if version >= 3 => LeaveGroupRequest {
            group_id: group.into(),
            members: vec![MemberIdentity::default()],
            ..Default::default()
        }
        .into(),
        ApiKey::LeaveGroup => LeaveGroupRequest { group_id: group.into(), ..Default::default() }.into(),
        ApiKey::SyncGroup => SyncGroupRequest { group_id: group.into(), ..Default::default() }.into(),
        ApiKey::ApiVersions => ApiVersionsRequest {
            client_software_name: if version >= 3 { "script".into() } else { "".into() },
            client_software_version: if version >= 3 { "1.0".into() } else { "".into() },
            ..Default::default()
        }
        .into(),
        ApiKey::CreateTopics => {
            let topic = CreatableTopic {
                name: format!("made-{version}").into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            };
            CreateTopicsRequest { topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::DeleteTopics => {
            let name = format!("made-{}", version + 1);
            match version {
                6.. => DeleteTopicsRequest {
                    topics: vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }],
                    ..Default::default()
                },
                _ => DeleteTopicsRequest { topic_names: vec![name.into()], ..Default::default() },
            }
            .into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest::default().into(),
        ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::WriteTxnMarkers
        | ApiKey::TxnOffsetCommit
        | ApiKey::DescribeProducers
        | ApiKey::DescribeTransactions
        | ApiKey::ListTransactions => return transaction_request(api, version),
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        ApiKey::ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest {
            group_id: "modern".into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 1_000,
            subscribed_topic_names: Some(vec![name.into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        }
        .into(),
        _ => return admin_request(api),
    })
}

fn admin_request(api: ApiKey) -> Option<Request> {
    Some(match api {
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::DescribeGroups => {
            DescribeGroupsRequest { groups: vec!["group".into()], ..Default::default() }.into()
        }
        ApiKey::ConsumerGroupDescribe => {
            ConsumerGroupDescribeRequest { group_ids: vec!["modern".into()], ..Default::default() }.into()
        }
        ApiKey::DeleteGroups => {
            DeleteGroupsRequest { groups_names: vec!["nobody".into()], ..Default::default() }.into()
        }
        ApiKey::OffsetDelete => OffsetDeleteRequest {
            group_id: "group".into(),
            topics: vec![offset_delete::OffsetDeleteRequestTopic {
                name: "nowhere".into(),
                partitions: vec![offset_delete::OffsetDeleteRequestPartition::default()],
            }],
        }
        .into(),
        ApiKey::CreatePartitions => CreatePartitionsRequest {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: "orders".into(),
                count: 1,
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeTopicPartitions => {
            DescribeTopicPartitionsRequest { response_partition_limit: 10, ..Default::default() }.into()
        }
        ApiKey::DeleteRecords => DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "orders".into(),
                partitions: vec![DeleteRecordsPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeConfigs => DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: 2,
                resource_name: "orders".into(),
                ..Default::default()
            }],
            include_synonyms: true,
            ..Default::default()
        }
        .into(),
        ApiKey::AlterConfigs => AlterConfigsRequest {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_type: 2,
                resource_name: "orders".into(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::IncrementalAlterConfigs => IncrementalAlterConfigsRequest {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: 2,
                resource_name: "orders".into(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::OffsetForLeaderEpoch => OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: "orders".into(),
                partitions: vec![OffsetForLeaderPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        _ => return None,
    })
}

fn transaction_request(api: ApiKey, version: i16) -> Option<Request> {
    let partitions = || [0].into_iter().collect();
    let topic =
        || AddPartitionsToTxnTopic { name: "orders".into(), partitions: partitions(), ..Default::default() };
    Some(match api {
        ApiKey::AddPartitionsToTxn if version >= 4 => AddPartitionsToTxnRequest {
            transactions: vec![AddPartitionsToTxnTransaction {
                transactional_id: "t".into(),
                topics: vec![topic()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::AddPartitionsToTxn => {
            AddPartitionsToTxnRequest { v3_and_below_topics: vec![topic()], ..Default::default() }.into()
        }
        ApiKey::AddOffsetsToTxn => AddOffsetsToTxnRequest::default().into(),
        ApiKey::EndTxn => EndTxnRequest::default().into(),
        ApiKey::WriteTxnMarkers => WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                topics: vec![WritableTxnMarkerTopic {
                    name: "nowhere".into(),
                    partition_indexes: partitions(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::TxnOffsetCommit => TxnOffsetCommitRequest {
            group_id: "group".into(),
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "orders".into(),
                partitions: vec![TxnOffsetCommitRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeProducers => DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: "orders".into(),
                partition_indexes: partitions(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeTransactions => {
            DescribeTransactionsRequest { transactional_ids: vec!["t".into()], ..Default::default() }.into()
        }
        ApiKey::ListTransactions => ListTransactionsRequest::default().into(),
        _ => return None,
    })
}

fn offset_fetch(version: i16, id: Uuid) -> Request {
    let partition_indexes = || [0].into();
    match version {
        8.. => {
            let topic = match version {
                10.. => OffsetFetchRequestTopics {
                    topic_id: id,
                    partition_indexes: partition_indexes(),
                    ..Default::default()
                },
                _ => OffsetFetchRequestTopics {
                    name: "orders".into(),
                    partition_indexes: partition_indexes(),
                    ..Default::default()
                },
            };
            let group = OffsetFetchRequestGroup {
                group_id: "group".into(),
                topics: Some(vec![topic]),
                ..Default::default()
            };
            OffsetFetchRequest { groups: vec![group], ..Default::default() }.into()
        }
        _ => {
            let topic = OffsetFetchRequestTopic {
                name: "orders".into(),
                partition_indexes: partition_indexes(),
                ..Default::default()
            };
            OffsetFetchRequest { group_id: "group".into(), topics: Some(vec![topic]), ..Default::default() }
                .into()
        }
    }
}

fn offered(script: &mut Script, peer: Peer) -> Vec<(ApiKey, i16, i16)> {
    let response = script.ask(peer, 0, ApiVersionsRequest::default());
    let keys = response.api_keys.iter();
    keys.map(|api| (ApiKey::from_code(api.api_key).unwrap(), api.min_version, api.max_version)).collect()
}

#[test]
fn every_offered_version_is_answered() {
    let mut script = Script::new(1);
    let id = script.topic("orders", 1);
    let peer = script.connect(1);
    let offered = offered(&mut script, peer);
    assert_eq!(offered.len(), 39);
    for (api, first, last) in offered {
        assert_eq!(first..=last, api.stable_versions(), "{api}");
        for version in first..=last {
            let peer = script.connect(1);
            let request = request(api, version, id).unwrap_or_else(|| panic!("no request for {api}"));
            let sent = script.send(peer, version, request);
            // A JoinGroup of the first versions waits for more members.
            script.advance_ms(100);
            assert!(!script.is_closed(peer), "{api} {version}");
            assert!(script.reply(sent).is_some(), "{api} {version}");
        }
    }
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..11), "Produce 3 to 13");
    assert_eq!(script.cluster.committed("group", "orders", 0).unwrap().offset, 7);
}

#[test]
fn every_error_reply_can_be_encoded() {
    use milena_embedded_broker::core::{Action, Rule};
    let mut script = Script::new(1);
    let id = script.topic("orders", 1);
    let peer = script.connect(1);
    for (api, first, last) in offered(&mut script, peer) {
        for version in first..=last {
            script.cluster.faults().add(Rule::new(api, Action::Answer(ErrorCode::UNKNOWN_SERVER_ERROR)));
            let peer = script.connect(1);
            let sent = script.send(peer, version, request(api, version, id).unwrap());
            assert!(script.reply(sent).is_some(), "{api} {version}");
            assert!(script.cluster.faults().is_empty());
        }
    }
}

#[test]
fn every_answer_can_say_that_its_client_is_throttled() {
    let mut script = Script::new(1);
    let id = script.topic("orders", 1);
    let peer = script.connect(1);
    let offered = offered(&mut script, peer);
    let quota = Quota { requests_per_second: Some(1), ..Quota::default() };
    script.cluster.set_quota(None, quota);
    for (api, first, last) in offered {
        for version in first..=last {
            let peer = script.connect(1);
            let sent = script.send(peer, version, request(api, version, id).unwrap());
            script.advance_ms(100);
            assert!(script.reply(sent).is_some(), "{api} {version}");
        }
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_the_first() {
    let mut script = Script::new(1);
    let peer = script.connect(1);
    // Key 18, version 99, correlation 7, client id null, no tags, and a body that nobody knows.
    script.send_bytes(peer, Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2, 3]));
    let reply = script.cluster.poll_reply();
    assert!(reply.is_none(), "collected by the script");
    let frame = script.raw(peer).unwrap();
    let mut reader = milena_protocol::wire::Reader::new(&frame);
    assert_eq!(reader.i32(), Ok(7));
    let Ok(Response::ApiVersions(ApiVersionsResponse { error_code, api_keys, .. })) =
        Response::decode(ApiKey::ApiVersions, &mut reader, 0)
    else {
        panic!("not in the shape of version 0");
    };
    assert_eq!(error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    assert_eq!((api_keys.len(), api_keys[0].api_key, api_keys[0].max_version), (1, 18, 4));
    assert!(!script.is_closed(peer));
}

#[test]
fn features_are_finalized_and_a_bad_software_name_is_refused() {
    let mut script = Script::new(1);
    let peer = script.connect(1);
    let named = |name: &str| ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let response = script.ask(peer, 4, named("milena"));
    let finalized =
        response.finalized_features.iter().find(|feature| feature.name == "group.version").unwrap();
    assert_eq!((finalized.max_version_level, response.finalized_features_epoch), (1, 1));
    let response = script.ask(peer, 3, named("-milena"));
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST.0);
}

#[test]
fn transactions_are_of_version_2_until_another_is_finalized() {
    let mut script = Script::new(1);
    let finalized = |script: &mut Script| {
        let peer = script.connect(1);
        let request = ApiVersionsRequest {
            client_software_name: "milena".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        let response = script.ask(peer, 4, request);
        let supported = response.supported_features.iter().find(|it| it.name == "transaction.version");
        assert_eq!(supported.map(|it| (it.min_version, it.max_version)), Some((0, 2)));
        let level = response.finalized_features.iter().find(|it| it.name == "transaction.version");
        (level.map(|it| it.max_version_level), response.finalized_features_epoch)
    };
    assert_eq!(finalized(&mut script), (Some(2), 1));
    script.cluster.set_transaction_version(1);
    assert_eq!(finalized(&mut script), (Some(1), 2));
    script.cluster.set_transaction_version(0);
    assert_eq!(finalized(&mut script), (None, 3));
    let mut script = Script::with(ClusterConfig { transaction_version: 1, ..ClusterConfig::default() });
    assert_eq!(finalized(&mut script), (Some(1), 1));
}

#[test]
fn an_older_broker_can_be_played() {
    let mut config = ClusterConfig { consumer_groups: false, ..ClusterConfig::default() };
    config.max_versions.insert(ApiKey::Produce, 9);
    config.max_versions.insert(ApiKey::DescribeCluster, -1);
    let mut script = Script::with(config);
    script.topic("orders", 1);
    let peer = script.connect(1);
    let offered = offered(&mut script, peer);
    assert!(offered.contains(&(ApiKey::Produce, 3, 9)));
    assert!(
        !offered
            .iter()
            .any(|(api, ..)| matches!(api, ApiKey::ConsumerGroupHeartbeat | ApiKey::DescribeCluster))
    );
    script.send(peer, 10, produce_request("orders", Uuid::ZERO, 0, batch(&["a"])));
    assert!(script.is_closed(peer), "a broker ends a connection that asks for a version it has not");
    assert_eq!(script.cluster.offsets("orders", 0), Some(0..0));
}

#[test]
fn every_api_has_its_place_in_the_history() {
    for version in KafkaVersion::ALL {
        let mut config = ClusterConfig::default();
        config.imitate(version);
        let mut script = Script::with(config.clone());
        let peer = script.connect(1);
        for (api, first, last) in offered(&mut script, peer) {
            assert_eq!(config.max_versions.get(&api), Some(&last), "{api} in {version:?}");
            assert!(api.stable_versions().contains(&last) && first <= last);
        }
        let groups = offered(&mut script, peer).iter().any(|it| it.0 == ApiKey::ConsumerGroupHeartbeat);
        assert_eq!(groups, version >= KafkaVersion::V4_0);
    }
    let mut script = Script::new(1);
    let peer = script.connect(1);
    let mut newest = ClusterConfig::default();
    newest.imitate(KafkaVersion::V4_1);
    for (api, ..) in offered(&mut script, peer) {
        assert!(newest.max_versions.contains_key(&api), "{api}");
    }
}

#[test]
fn a_broker_from_before_kip_511_does_not_say_which_versions_of_api_versions_it_has() {
    let mut config = ClusterConfig::default();
    config.imitate(KafkaVersion::V2_1);
    let mut script = Script::with(config);
    let peer = script.connect(1);
    script.send(
        peer,
        3,
        ApiVersionsRequest {
            client_software_name: "milena".into(),
            client_software_version: "1".into(),
            ..Default::default()
        },
    );
    let frame = script.raw(peer).unwrap();
    assert_eq!(frame[4..], [0, ErrorCode::UNSUPPORTED_VERSION.0 as u8, 0, 0, 0, 0], "and no APIs");
    assert!(!script.is_closed(peer));
    assert_eq!(
        offered(&mut script, peer).iter().find(|it| it.0 == ApiKey::Fetch),
        Some(&(ApiKey::Fetch, 4, 10))
    );
}

#[test]
fn an_api_can_be_limited_from_both_sides() {
    let mut config = ClusterConfig::default();
    config.limit_api(ApiKey::Metadata, 4..=9);
    let mut script = Script::with(config);
    let peer = script.connect(1);
    assert!(offered(&mut script, peer).contains(&(ApiKey::Metadata, 4, 9)));
    script.send(peer, 1, MetadataRequest::default());
    assert!(script.is_closed(peer));
}

#[test]
fn hostile_frames_end_the_connection_and_no_more() {
    let mut script = Script::new(1);
    script.topic("orders", 1);
    let mut good = Vec::new();
    for api in [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::Metadata,
        ApiKey::JoinGroup,
        ApiKey::OffsetFetch,
        ApiKey::AddPartitionsToTxn,
        ApiKey::WriteTxnMarkers,
        ApiKey::TxnOffsetCommit,
    ] {
        let version = *api.stable_versions().end();
        let request = request(api, version, Uuid::ZERO).unwrap();
        good.push(
            milena_protocol::frame::encode_request(&request, version, 1, None).unwrap().to_bytes().slice(4..),
        );
    }
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for round in 0..20_000usize {
        let peer = script.connect(1);
        let mut bytes = good[round % good.len()].to_vec();
        for _ in 0..1 + random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(1 + random() as usize % bytes.len());
        script.send_bytes(peer, bytes.into());
        script.cluster.handle_disconnect(script.now, peer.connection);
    }
    for frame in [&b""[..], &[0; 3], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let peer = script.connect(1);
        script.send_bytes(peer, Bytes::copy_from_slice(frame));
        assert!(script.is_closed(peer), "{frame:?}");
    }
    let peer = script.connect(1);
    script.send_bytes(peer, Bytes::from_static(b"GET / HTTP/1.1"));
    script.send(peer, 12, MetadataRequest::default());
    assert_eq!((script.raw(peer), script.raw(peer)), (None, None), "after the end nothing is looked at");
    let peer = script.connect(1);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["still here"])).0, 0);
}
