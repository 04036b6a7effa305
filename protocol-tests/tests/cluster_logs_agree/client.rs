//! A client that asks one request at a time, and notes what it is told.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use bytes::Bytes;
use milena_protocol::{
    ErrorCode, RequestMessage, ResponseMessage,
    frame::{decode_response, encode_request},
    messages::{
        CreateTopicsRequest, FindCoordinatorRequest, HeartbeatRequest, ListOffsetsRequest, MetadataRequest,
        ProduceRequest,
        create_topics::CreatableTopic,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::MetadataRequestTopic,
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
    wire::ByteString,
};

/// A client of the leader of one partition and the coordinator of one group.
pub(crate) struct Client {
    bootstrap: String,
    name: String,
    pub(crate) seen: Vec<String>,
}

impl Client {
    pub(crate) fn new(bootstrap: &str, name: &str) -> Self {
        let bootstrap = bootstrap.split(',').next().unwrap().to_owned();
        Self { bootstrap, name: name.to_owned(), seen: Vec::new() }
    }

    pub(crate) fn topic(&self) -> ByteString {
        self.name.as_str().into()
    }

    pub(crate) fn group(&self) -> ByteString {
        format!("group-{}", self.name).into()
    }

    pub(crate) fn note(&mut self, what: &str, code: i16, number: i64) {
        self.seen.push(format!("{what}: {:?} {number}", ErrorCode(code)));
    }

    pub(crate) fn ask_at<R: RequestMessage>(&self, address: &str, version: i16, request: R) -> R::Response {
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

    pub(crate) fn ask<R: RequestMessage>(&self, version: i16, request: R) -> R::Response {
        self.ask_at(&self.bootstrap, version, request)
    }

    pub(crate) fn ask_leader<R: RequestMessage>(&self, version: i16, request: R) -> R::Response {
        self.ask_at(&self.leader(), version, request)
    }

    /// What the controller has decided reaches the brokers a little later.
    pub(crate) fn let_it_spread(&self) {
        sleep(Duration::from_millis(300));
    }

    pub(crate) fn create_topic(&mut self) {
        let topic = CreatableTopic {
            name: self.topic(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let code = self.ask(7, request).topics[0].error_code;
        self.note("create", code, 0);
        self.await_leader();
    }

    /// Others hear of a new topic before its leader knows that it leads.
    fn await_leader(&self) {
        for _ in 0..300 {
            let partitions = vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }];
            let topics = vec![ListOffsetsTopic { name: self.topic(), partitions, ..Default::default() }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            if self.ask_leader(9, request).topics[0].partitions[0].error_code == 0 {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("its leader does not lead");
    }

    pub(crate) fn produce(&mut self, records: Bytes) {
        let partition_data =
            vec![PartitionProduceData { records: Some(records), ..Default::default() }].into();
        let topic = TopicProduceData { name: self.topic(), partition_data, ..Default::default() };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![topic].into(),
            ..Default::default()
        };
        let response = self.ask_leader(9, request);
        let partition = &response.responses[0].partition_responses[0];
        self.note("produce", partition.error_code, partition.base_offset);
    }

    /// Where the leader of the first partition listens.
    fn leader(&self) -> String {
        for _ in 0..100 {
            let topic = MetadataRequestTopic { name: Some(self.topic()), ..Default::default() };
            let metadata = self.ask(12, MetadataRequest { topics: Some(vec![topic]), ..Default::default() });
            let partition = metadata.topics[0].partitions.iter().find(|it| it.partition_index == 0);
            let leader = partition
                .and_then(|partition| metadata.brokers.iter().find(|it| it.node_id == partition.leader_id));
            if let Some(leader) = leader {
                return format!("{}:{}", leader.host, leader.port);
            }
            sleep(Duration::from_millis(100));
        }
        panic!("no leader");
    }

    /// Where the coordinator of the group listens, once it can answer.
    pub(crate) fn coordinator(&self) -> String {
        for _ in 0..300 {
            let found = self.ask(3, FindCoordinatorRequest { key: self.group(), ..Default::default() });
            let address = format!("{}:{}", found.host, found.port);
            if found.error_code == 0 {
                let beat = HeartbeatRequest { group_id: self.group(), ..Default::default() };
                if ErrorCode(self.ask_at(&address, 4, beat).error_code) == ErrorCode::UNKNOWN_MEMBER_ID {
                    return address;
                }
            }
            sleep(Duration::from_millis(100));
        }
        panic!("no coordinator");
    }
}

/// A batch of records a millisecond apart.
pub(crate) fn batch(count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for timestamp in (1_000..).take(count) {
        builder.append(timestamp, Some(b"k"), Some(b"v"), []).unwrap();
    }
    builder.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE)
}
