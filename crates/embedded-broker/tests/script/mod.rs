//! A script with a clock: requests into the core, replies out of it, time when the script says so.
#![allow(dead_code, reason = "every test file uses its part")]

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_embedded_broker::core::{BrokerId, Cluster, ClusterConfig, ConnectionId, Output};
use milena_protocol::{
    RequestMessage, ResponseMessage,
    frame::{correlation_id, decode_response, encode_request},
    messages::{
        ApiKey, Request, Response,
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
    wire::Uuid,
};

/// The Unix time at which every script starts, in milliseconds.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Script {
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
    connections: u64,
    correlation: i32,
    /// Replies not yet looked at, by connection; `None` is the end of the connection.
    inbox: BTreeMap<ConnectionId, VecDeque<Option<Bytes>>>,
}

/// A connection to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) broker: BrokerId,
    pub(crate) connection: ConnectionId,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) peer: Peer,
    api: ApiKey,
    version: i16,
    correlation: i32,
}

impl Script {
    pub(crate) fn new(brokers: u16) -> Self {
        Self::with(ClusterConfig { brokers, ..ClusterConfig::default() })
    }

    pub(crate) fn with(config: ClusterConfig) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(config, now, START_MS);
        Self { cluster, now, connections: 0, correlation: 0, inbox: BTreeMap::new() }
    }

    pub(crate) fn connect(&mut self, broker: i32) -> Peer {
        self.connections += 1;
        Peer { broker: BrokerId(broker), connection: ConnectionId(self.connections) }
    }

    /// A connection to the broker that coordinates the group.
    pub(crate) fn coordinator(&mut self, group: &str) -> Peer {
        let peer = self.connect(1);
        let request = milena_protocol::messages::FindCoordinatorRequest {
            coordinator_keys: vec![group.into()],
            ..Default::default()
        };
        let found = self.ask(peer, 6, request);
        self.connect(found.coordinators[0].node_id)
    }

    pub(crate) fn send(&mut self, peer: Peer, version: i16, request: impl Into<Request>) -> Sent {
        let request = request.into();
        self.correlation += 1;
        let frame = encode_request(&request, version, self.correlation, Some("script".into())).unwrap();
        let frame = frame.to_bytes().slice(4..);
        self.send_bytes(peer, frame);
        Sent { peer, api: request.api_key(), version, correlation: self.correlation }
    }

    pub(crate) fn send_bytes(&mut self, peer: Peer, frame: Bytes) {
        self.cluster.handle_frame(self.now, peer.broker, peer.connection, frame);
        self.collect();
    }

    /// Sends, and tells how many bytes come back, and whether the connection ends behind them.
    pub(crate) fn send_and_drain(
        &mut self,
        peer: Peer,
        version: i16,
        request: impl Into<Request>,
    ) -> (usize, bool) {
        let frame = encode_request(&request.into(), version, 0, None).unwrap().to_bytes().slice(4..);
        self.cluster.handle_frame(self.now, peer.broker, peer.connection, frame);
        let (mut bytes, mut closed) = (0, false);
        while let Some(reply) = self.cluster.poll_reply() {
            match reply.output {
                Output::Frame(frame) => bytes += frame.len(),
                Output::Close => closed = true,
            }
        }
        (bytes, closed)
    }

    /// The reply, if it is there. Replies come in the order of the requests.
    pub(crate) fn reply(&mut self, sent: Sent) -> Option<Response> {
        self.collect();
        let frame =
            self.inbox.get_mut(&sent.peer.connection)?.pop_front()?.expect("the connection has ended");
        assert_eq!(correlation_id(&frame), Ok(sent.correlation), "a reply out of order");
        Some(decode_response(sent.api, sent.version, &frame).unwrap())
    }

    /// The reply as its type; it has to be there.
    pub(crate) fn take<R: ResponseMessage>(&mut self, sent: Sent) -> R {
        let reply = self.reply(sent).unwrap_or_else(|| panic!("no reply to {:?}", sent.api));
        R::from_response(reply).unwrap()
    }

    /// Asks what is answered at once.
    pub(crate) fn ask<R: RequestMessage>(&mut self, peer: Peer, version: i16, request: R) -> R::Response {
        let sent = self.send(peer, version, request);
        self.take(sent)
    }

    /// The next reply as it came.
    pub(crate) fn raw(&mut self, peer: Peer) -> Option<Bytes> {
        self.collect();
        self.inbox.get_mut(&peer.connection)?.pop_front()?
    }

    /// Whether the broker has ended the connection.
    pub(crate) fn is_closed(&mut self, peer: Peer) -> bool {
        self.collect();
        self.inbox.get(&peer.connection).is_some_and(|inbox| inbox.contains(&None))
    }

    /// Lets time pass, and everything happen that is due on the way.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(deadline) = self.cluster.poll_timeout().filter(|deadline| deadline.at <= end) {
            self.now = self.now.max(deadline.at);
            self.cluster.handle_timeout(self.now);
            self.collect();
            let next = self.cluster.poll_timeout();
            assert!(next.is_none_or(|next| next.at > self.now), "{next:?} was not dealt with");
        }
        self.now = end;
    }

    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    pub(crate) fn topic(&mut self, name: &str, partitions: i32) -> Uuid {
        self.cluster.create_topic(name, partitions).unwrap()
    }

    /// Produces a batch with version 9 and acks all.
    pub(crate) fn produce(&mut self, peer: Peer, topic: &str, partition: i32, batch: Bytes) -> (i16, i64) {
        let response = self.ask(peer, 9, produce_request(topic, Uuid::ZERO, partition, batch));
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    fn collect(&mut self) {
        while let Some(reply) = self.cluster.poll_reply() {
            let item = match reply.output {
                Output::Frame(frame) => {
                    let bytes = frame.to_bytes();
                    assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
                    Some(bytes.slice(4..))
                }
                Output::Close => None,
            };
            self.inbox.entry(reply.connection).or_default().push_back(item);
        }
    }
}

pub(crate) fn produce_request(topic: &str, topic_id: Uuid, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(batch), ..Default::default() };
    ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            topic_id,
            partition_data: vec![data].into(),
            ..Default::default()
        }]
        .into(),
        ..Default::default()
    }
}

/// A batch of these values, a millisecond apart.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    stamped(values, ProducerStamp::NONE)
}

pub(crate) fn stamped(values: &[&str], stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for (at, value) in (0..).zip(values) {
        builder.append(START_MS + at, None, Some(value.as_bytes()), []).unwrap();
    }
    builder.compress(Compression::None).unwrap().stamp(stamp)
}
