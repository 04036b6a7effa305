//! The embedded broker and a real one, asked the same: codes and offsets must be the same.
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

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use milena_embedded_broker::EmbeddedBroker;
use milena_protocol::{
    ErrorCode, RequestMessage, ResponseMessage,
    frame::{decode_response, encode_request},
    messages::{
        ConsumerGroupHeartbeatRequest, CreateTopicsRequest, FetchRequest, FindCoordinatorRequest,
        HeartbeatRequest, JoinGroupRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
        ProduceRequest,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        fetch::{FetchPartition, FetchTopic},
        join_group::JoinGroupRequestProtocol,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::MetadataRequestTopic,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};

/// A client of one broker: the one that leads the topic and coordinates the group.
struct Client {
    bootstrap: String,
    topic: String,
    group: String,
    seen: Vec<String>,
}

impl Client {
    fn new(bootstrap: &str, name: &str) -> Self {
        let bootstrap = bootstrap.split(',').next().unwrap().to_owned();
        Self { bootstrap, topic: name.to_owned(), group: format!("group-{name}"), seen: Vec::new() }
    }

    fn ask_at<R: RequestMessage>(&self, address: &str, version: i16, request: R) -> R::Response {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let frame = encode_request(&request.into(), version, 1, Some("agrees".into())).unwrap();
        socket.write_all(&frame.to_bytes()).unwrap();
        let mut prefix = [0; 4];
        socket.read_exact(&mut prefix).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        socket.read_exact(&mut frame).unwrap();
        let response = decode_response(R::API_KEY, version, &frame.into()).unwrap();
        R::Response::from_response(response).unwrap()
    }

    fn ask<R: RequestMessage>(&self, version: i16, request: R) -> R::Response {
        self.ask_at(&self.bootstrap, version, request)
    }

    fn leader(&self) -> String {
        for _ in 0..100 {
            let topic = MetadataRequestTopic { name: Some(self.topic.as_str().into()), ..Default::default() };
            let metadata = self.ask(12, MetadataRequest { topics: Some(vec![topic]), ..Default::default() });
            let partition = metadata.topics[0].partitions.get(0);
            let leader = partition
                .and_then(|partition| metadata.brokers.iter().find(|b| b.node_id == partition.leader_id));
            if let Some(leader) = leader {
                return format!("{}:{}", leader.host, leader.port);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no leader");
    }

    fn coordinator(&self) -> String {
        for _ in 0..300 {
            let request = FindCoordinatorRequest { key: self.group.as_str().into(), ..Default::default() };
            let found = self.ask(3, request);
            let address = format!("{}:{}", found.host, found.port);
            if found.error_code == 0 {
                let beat = HeartbeatRequest { group_id: self.group.as_str().into(), ..Default::default() };
                // Where it is UNKNOWN_MEMBER_ID, the coordinator has read its state.
                if ErrorCode(self.ask_at(&address, 4, beat).error_code) == ErrorCode::UNKNOWN_MEMBER_ID {
                    return address;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no coordinator");
    }

    fn note(&mut self, what: &str, code: i16, offset: i64) {
        self.seen.push(format!("{what}: {:?} {offset}", ErrorCode(code)));
    }

    fn topics(&mut self) {
        let topic = |partitions, replicas| CreatableTopic {
            name: self.topic.as_str().into(),
            num_partitions: partitions,
            replication_factor: replicas,
            ..Default::default()
        };
        let with = |name: &str, value: &str| CreatableTopic {
            configs: vec![CreatableTopicConfig {
                name: name.into(),
                value: Some(value.into()),
                ..Default::default()
            }],
            ..topic(1, 1)
        };
        let cases = [
            ("no partitions", topic(0, 1)),
            ("too many replicas", topic(1, 9)),
            ("no replicas", topic(1, 0)),
            ("bad name", CreatableTopic { name: "a b".into(), ..topic(1, 1) }),
            ("unknown setting", with("no.such.setting", "1")),
            ("bad number", with("max.message.bytes", "many")),
            ("bad type", with("message.timestamp.type", "Sometimes")),
            ("good", with("max.message.bytes", "200")),
            ("again", topic(1, 1)),
        ];
        for (what, topic) in cases {
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
            let code = self.ask(7, request).topics[0].error_code;
            self.note(what, code, 0);
        }
    }

    fn produce(&mut self, leader: &str, what: &str, acks: i16, records: Bytes) {
        let partition_data =
            vec![PartitionProduceData { records: Some(records), ..Default::default() }].into();
        let topic =
            TopicProduceData { name: self.topic.as_str().into(), partition_data, ..Default::default() };
        let request =
            ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic].into(), ..Default::default() };
        let response = self.ask_at(leader, 9, request);
        let partition = &response.responses[0].partition_responses[0];
        let (code, offset) = (partition.error_code, partition.base_offset);
        self.note(what, code, offset);
    }

    fn batches(&mut self) {
        let leader = self.leader();
        let good = batch(1, ProducerStamp::NONE);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            Bytes::from(bytes)
        };
        let large = {
            let mut builder = BatchBuilder::new(1 << 20);
            builder.append(0, None, Some(&[7; 300]), []).unwrap();
            builder.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE)
        };
        self.produce(&leader, "flipped bit", -1, with(good.len() - 1, 0x55));
        self.produce(&leader, "magic 1", -1, with(16, 1));
        self.produce(&leader, "cut off", -1, good.slice(..good.len() - 3));
        self.produce(&leader, "nothing", -1, Bytes::new());
        self.produce(&leader, "two batches", -1, [good.clone(), good.clone()].concat().into());
        self.produce(&leader, "base offset", -1, with(7, 1));
        self.produce(&leader, "too large", -1, large);
        self.produce(&leader, "acks 2", 2, good.clone());
        self.produce(&leader, "good", 1, good);
    }

    fn idempotence(&mut self) {
        let leader = self.leader();
        let max = i32::MAX;
        let producers: [&[(i16, i32, usize)]; 6] = [
            &[(0, 0, 2), (0, 2, 3), (0, 0, 2), (0, 2, 3), (0, 5, 1)],
            &[(0, 0, 2), (0, 3, 1), (0, 1, 1), (0, 0, 1), (0, 2, 1)],
            &[
                (0, 0, 1),
                (0, 1, 1),
                (0, 2, 1),
                (0, 3, 1),
                (0, 4, 1),
                (0, 0, 1),
                (0, 5, 1),
                (0, 1, 1),
                (0, 0, 1),
            ],
            &[(3, 17, 1), (3, 18, 1)],
            &[(0, 0, 1), (1, 1, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)],
            &[(0, max - 1, 4), (0, 2, 1), (0, max - 1, 4), (0, 4, 1)],
        ];
        for (producer_id, batches) in (900_001..).zip(producers) {
            for &(producer_epoch, base_sequence, count) in batches {
                let stamp =
                    ProducerStamp { producer_id, producer_epoch, base_sequence, transactional: false };
                let what = format!("{producer_id}/{producer_epoch}/{base_sequence}/{count}");
                self.produce(&leader, &what, -1, batch(count, stamp));
            }
        }
    }

    fn reads(&mut self) {
        let leader = self.leader();
        for (what, partition, fetch_offset, current_leader_epoch) in [
            ("beyond", 0, 9_999, -1),
            ("before", 0, -5, -1),
            ("no partition", 7, 0, -1),
            ("a future epoch", 0, 0, 99),
            ("good", 0, 0, 0),
        ] {
            let wanted = FetchPartition {
                partition,
                fetch_offset,
                current_leader_epoch,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            };
            let topic = FetchTopic {
                topic: self.topic.as_str().into(),
                partitions: vec![wanted],
                ..Default::default()
            };
            let request = FetchRequest { min_bytes: 1, topics: vec![topic], ..Default::default() };
            let response = self.ask_at(&leader, 12, request);
            let data = response.responses.get(0).unwrap().partitions.get(0).unwrap();
            let (code, offset) = (data.error_code, data.high_watermark);
            self.note(what, code, offset);
        }
        for timestamp in [-1, -2, -3, -4, -5, 0, 1_000, i64::MAX, -99] {
            let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
            let topics =
                vec![ListOffsetsTopic { name: self.topic.as_str().into(), partitions, ..Default::default() }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let response = self.ask_at(&leader, 9, request);
            let found = &response.topics[0].partitions[0];
            let what =
                format!("at {timestamp} (timestamp {}, epoch {})", found.timestamp, found.leader_epoch);
            let (code, offset) = (found.error_code, found.offset);
            self.note(&what, code, offset);
        }
    }

    fn groups(&mut self) {
        let coordinator = self.coordinator();
        let group_id = self.group.as_str().into();
        let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
        let join = JoinGroupRequest {
            group_id,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        for (what, request) in [
            ("short session", JoinGroupRequest { session_timeout_ms: 1, ..join.clone() }),
            ("no group", JoinGroupRequest { group_id: "".into(), ..join.clone() }),
            ("no protocols", JoinGroupRequest { protocols: Vec::new(), ..join.clone() }),
            ("a stranger", JoinGroupRequest { member_id: "nobody".into(), ..join.clone() }),
            ("new", join.clone()),
        ] {
            let code = self.ask_at(&coordinator, 9, request).error_code;
            self.note(what, code, 0);
        }
        let commit = |group: &str, member: &str, generation| {
            let partitions = vec![OffsetCommitRequestPartition { committed_offset: 3, ..Default::default() }];
            let topic = OffsetCommitRequestTopic {
                name: self.topic.as_str().into(),
                partitions,
                ..Default::default()
            };
            OffsetCommitRequest {
                group_id: group.into(),
                member_id: member.into(),
                generation_id_or_member_epoch: generation,
                topics: vec![topic],
                ..Default::default()
            }
        };
        let commits = [
            ("simple commit", commit(&self.group, "", -1)),
            ("commit of a stranger", commit(&self.group, "nobody", 1)),
        ];
        for (what, request) in commits {
            let code = self.ask_at(&coordinator, 9, request).topics[0].partitions[0].error_code;
            self.note(what, code, 0);
        }
    }

    fn modern_groups(&mut self) {
        self.group = format!("modern-{}", self.topic);
        let coordinator = self.coordinator();
        let good = ConsumerGroupHeartbeatRequest {
            group_id: self.group.as_str().into(),
            member_id: "AAAAAAAAAAAAAAAAAAAAAQ".into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec![self.topic.as_str().into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let member = |epoch| ConsumerGroupHeartbeatRequest {
            group_id: good.group_id.clone(),
            member_id: good.member_id.clone(),
            member_epoch: epoch,
            ..Default::default()
        };
        let mut change = |what: &str, request: ConsumerGroupHeartbeatRequest| {
            let response = self.ask_at(&coordinator, 1, request);
            let told = response.assignment.is_some();
            self.note(&format!("{what} (told {told})"), response.error_code, response.member_epoch.into());
        };
        change("no such group", member(1));
        change("no member id", ConsumerGroupHeartbeatRequest { member_id: "".into(), ..good.clone() });
        change("no timeout", ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() });
        change("owns unsaid", ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good.clone() });
        change(
            "no subscription",
            ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good.clone() },
        );
        change("epoch -3", ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good.clone() });
        change(
            "assignor",
            ConsumerGroupHeartbeatRequest { server_assignor: Some("best".into()), ..good.clone() },
        );
        change(
            "regex",
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..good.clone() },
        );
        change("joins", good.clone());
        change("is behind", member(1));
        change("beats", member(2));
        change("joins again", good.clone());
        change("is ahead", member(9));
        change("leaves", member(-1));
        change("is gone", member(1));
        self.two_members(&coordinator, &good);
    }

    /// Which epochs two members come to. Kafka makes a new target at most once a second, so each step waits for it.
    fn two_members(&mut self, coordinator: &str, good: &ConsumerGroupHeartbeatRequest) {
        let ids = ["AAAAAAAAAAAAAAAAAAAAAw", "AAAAAAAAAAAAAAAAAAAABA"];
        let mut epochs = [0, 0];
        let mut beat = |at: usize| {
            std::thread::sleep(Duration::from_millis(1_200));
            let member_id = ids[at].into();
            let request = match epochs[at] {
                0 => ConsumerGroupHeartbeatRequest { member_id, ..good.clone() },
                member_epoch => ConsumerGroupHeartbeatRequest {
                    group_id: good.group_id.clone(),
                    member_id,
                    member_epoch,
                    ..Default::default()
                },
            };
            let response = self.ask_at(coordinator, 1, request);
            epochs[at] = response.member_epoch;
            response
        };
        beat(0);
        let first = beat(0);
        beat(1);
        let second = beat(1);
        let learned = beat(0);
        for (what, response) in [("first of two", first), ("second of two", second), ("learned", learned)] {
            self.note(what, response.error_code, response.member_epoch.into());
        }
    }
}

fn batch(count: usize, stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for timestamp in (1_000..).take(count) {
        builder.append(timestamp, Some(b"k"), Some(b"v"), []).unwrap();
    }
    builder.compress(Compression::None).unwrap().stamp(stamp)
}

#[test]
#[ignore = "needs the cluster: cargo xtask test"]
fn the_embedded_broker_answers_as_kafka_does() {
    let kafka =
        env::var("MILENA_CLUSTER").expect("MILENA_CLUSTER must name the bootstrap servers of a real cluster");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(EmbeddedBroker::builder().brokers(3).start()).unwrap();
    let name = format!("agrees-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let [ours, theirs] = [&broker.bootstrap(), &kafka].map(|bootstrap| {
        let mut client = Client::new(bootstrap, &name);
        client.topics();
        client.batches();
        client.idempotence();
        client.reads();
        client.groups();
        client.modern_groups();
        client.seen
    });
    let differ: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differ.is_empty(), "(ours, Kafka's): {differ:#?}");
    assert_eq!(ours.len(), theirs.len());
}
