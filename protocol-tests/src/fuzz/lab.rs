//! A state machine, a broker, and between them whatever a script wants.
//!
//! The broker is the embedded one, so that most answers make sense and the machine gets far; the script spoils some,
//! withholds others and lets time pass. There is no connection handling: every request has a connection of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{Failure, FailureKind, Machine, Outgoing, RequestId, Target, shape};
use milena_embedded_broker::core::{BrokerId, Cluster, ClusterConfig, ConnectionId, Output};
use milena_protocol::{
    ApiKey,
    frame::{LENGTH_PREFIX, decode_response, encode_request},
    messages::{
        ProduceRequest, Request, Response,
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};

use super::script::Script;

pub(super) const BROKERS: u16 = 2;
/// The topics there are, and how many partitions each has.
pub(super) const TOPICS: &[(&str, i32)] = &[("letters", 2), ("parcels", 1)];
const CODECS: [Compression; 2] = [Compression::None, Compression::Gzip];
/// The last version that has topic names.
const PRODUCE_VERSION: i16 = 12;
/// More requests or events than this in one go are no machine's that comes to rest.
const MOST_IN_ONE_GO: usize = 2_000;
/// Wakes at one moment, with nothing told meanwhile, that are no reason to suspect a machine of spinning.
const PATIENCE: u32 = 64;
/// Turns in which a machine that is to end has to have ended.
const TURNS_TO_END: usize = 20_000;

/// Everything the machine wants to send; what it wants to tell is dropped.
///
/// # Panics
/// When it wants more than [`MOST_IN_ONE_GO`].
pub(super) fn drain<M: Machine>(machine: &mut M, now: Instant) -> Vec<Outgoing> {
    let mut requests = Vec::new();
    while let Some(outgoing) = machine.poll_request(now) {
        requests.push(outgoing);
        assert!(requests.len() < MOST_IN_ONE_GO, "the machine asks without end: {:?}", requests.last());
    }
    let mut told = 0;
    while machine.poll_event().is_some() {
        told += 1;
        assert!(told < MOST_IN_ONE_GO, "the machine tells without end");
    }
    requests
}

#[derive(Debug)]
pub(super) struct Lab<M: Machine> {
    pub(super) machine: M,
    pub(super) now: Instant,
    /// What the machine has told and nobody has looked at.
    pub(super) events: VecDeque<M::Event>,
    cluster: Cluster,
    sent: BTreeMap<ConnectionId, Sent>,
    /// What the broker has answered; no bytes when it has hung up.
    answers: VecDeque<(Sent, Option<Bytes>)>,
    connections: u64,
    /// How often in a row the machine was woken at this moment.
    woken: u32,
}

#[derive(Debug)]
struct Sent {
    id: RequestId,
    api: ApiKey,
    version: i16,
    expires: Instant,
}

impl<M: Machine> Lab<M> {
    pub(super) fn new(machine: M, now: Instant, config: ClusterConfig) -> Self {
        Self {
            machine,
            now,
            events: VecDeque::new(),
            cluster: cluster(now, config),
            sent: BTreeMap::new(),
            answers: VecDeque::new(),
            connections: 0,
            woken: 0,
        }
    }

    /// One thing happens between the machine and its broker.
    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 8 {
            0..=3 => self.answer(|bytes| bytes),
            4 | 5 => self.answer(|bytes| script.spoil(&bytes)),
            6 => self.fail(script.byte()),
            _ => self.pass(Duration::from_millis(script.short().into())),
        }
    }

    /// Answers honestly until the machine tells what `ends` is true of.
    pub(super) fn run_to_the_end(&mut self, ends: impl Fn(&M::Event) -> bool) {
        self.settle();
        for _ in 0..TURNS_TO_END {
            if self.events.drain(..).any(|event| ends(&event)) {
                return;
            }
            self.answer(|bytes| bytes);
        }
        panic!("the machine does not end: it waits for {:?}", self.machine.poll_timeout());
    }

    /// Follows the drain rule, after whatever changed the machine.
    pub(super) fn settle(&mut self) {
        for _ in 0..MOST_IN_ONE_GO {
            while let Some(event) = self.machine.poll_event() {
                self.events.push_back(event);
                assert!(self.events.len() < MOST_IN_ONE_GO, "the machine tells without end");
            }
            let Some(outgoing) = self.machine.poll_request(self.now) else { return };
            self.send(outgoing);
        }
        panic!("the machine asks without end");
    }

    /// What the user did counts as news: the machine may be woken at this moment again.
    pub(super) fn acted(&mut self) {
        self.woken = 0;
        self.settle();
    }

    fn send(&mut self, outgoing: Outgoing) {
        let api = outgoing.api();
        let version = outgoing.max_version.min(*api.stable_versions().end());
        let request = shape::to_version(outgoing.request, version);
        let frame = encode_request(&request, version, 7, Some("lab".into()));
        let frame = frame.unwrap_or_else(|error| panic!("{error} in a request of the machine: {request:?}"));
        let broker = match outgoing.target {
            Target::Broker(broker) | Target::Coordinator(broker) => BrokerId(broker.0),
            Target::AnyBroker => BrokerId(1),
        };
        let sent = Sent { id: outgoing.id, api, version, expires: self.now + outgoing.timeout };
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        if !self.cluster.brokers().any(|known| known == broker) {
            return self.answers.push_back((sent, None));
        }
        self.cluster.handle_connect(broker, connection);
        self.sent.insert(connection, sent);
        let frame = frame.to_bytes().slice(LENGTH_PREFIX..);
        self.cluster.handle_frame(self.now, broker, connection, frame);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(reply) = self.cluster.poll_reply() {
            let Some(sent) = self.sent.remove(&reply.connection) else { continue };
            let bytes = match reply.output {
                Output::Frame(frame) => Some(frame.to_bytes().slice(LENGTH_PREFIX..)),
                Output::Close => None,
            };
            self.answers.push_back((sent, bytes));
        }
    }

    /// Hands the oldest answer over; lets time pass when there is none.
    fn answer(&mut self, change: impl FnOnce(Bytes) -> Bytes) {
        let Some((sent, bytes)) = self.answers.pop_front() else { return self.wait() };
        let decoded = bytes.map(|bytes| decode_response(sent.api, sent.version, &change(bytes)));
        let result = match decoded {
            Some(Ok(response)) => Ok(shape::from_version(response, sent.version)),
            Some(Err(error)) => Err(Failure::new(FailureKind::Unanswered, error.to_string())),
            None => Err(Failure::new(FailureKind::Unanswered, "the broker hung up")),
        };
        self.tell(sent.id, result);
    }

    fn fail(&mut self, how: u8) {
        let Some((sent, _)) = self.answers.pop_front() else { return self.wait() };
        let kind = match how % 8 {
            0 => FailureKind::Unsupported,
            1..=3 => FailureKind::NotSent,
            _ => FailureKind::Unanswered,
        };
        self.tell(sent.id, Err(Failure::new(kind, "the script says so")));
    }

    fn tell(&mut self, id: RequestId, result: Result<Response, Failure>) {
        self.machine.handle_response(self.now, id, result);
        self.acted();
    }

    /// Lets time pass until somebody has something to do.
    fn wait(&mut self) {
        let machine = self.machine.poll_timeout().map(|deadline| deadline.at);
        let broker = self.cluster.poll_timeout().map(|deadline| deadline.at);
        let expires = self.sent.values().map(|sent| sent.expires).min();
        let next = [machine, broker, expires].into_iter().flatten().min();
        let next = next.unwrap_or(self.now + Duration::from_secs(1));
        self.pass(next.saturating_duration_since(self.now));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.woken = if time.is_zero() { self.woken + 1 } else { 0 };
        assert!(self.woken < PATIENCE, "woken again and again: {:?}", self.machine.poll_timeout());
        self.cluster.handle_timeout(self.now);
        self.collect();
        let expired = self.sent.extract_if(.., |_, sent| sent.expires <= self.now);
        let expired: Vec<_> = expired.map(|(_, sent)| sent.id).collect();
        for id in expired {
            let failure = Failure::new(FailureKind::Unanswered, "no answer in time");
            self.machine.handle_response(self.now, id, Err(failure));
        }
        self.machine.handle_timeout(self.now);
        self.settle();
    }
}

impl<M: Machine> Lab<M> {
    /// Puts a few batches into every partition.
    pub(super) fn fill(&mut self) {
        for (topic, partitions) in TOPICS {
            for (index, compression) in
                (0..*partitions).flat_map(|index| CODECS.map(|compression| (index, compression)))
            {
                let frame = encode_request(&produce(topic, index, compression), PRODUCE_VERSION, 7, None);
                let frame = frame.unwrap().to_bytes().slice(LENGTH_PREFIX..);
                self.connections += 1;
                self.cluster.handle_frame(
                    self.now,
                    BrokerId(1),
                    ConnectionId(self.connections),
                    frame.clone(),
                );
                self.connections += 1;
                self.cluster.handle_frame(self.now, BrokerId(2), ConnectionId(self.connections), frame);
            }
        }
        while self.cluster.poll_reply().is_some() {}
    }
}

fn produce(topic: &str, index: i32, compression: Compression) -> Request {
    let mut batch = BatchBuilder::new(4096);
    for at in 0..5 {
        batch.append(1_700_000_000_000 + at, Some(b"key"), Some(b"value"), []).unwrap();
    }
    let records = batch.compress(compression).unwrap().stamp(ProducerStamp::NONE);
    let data = PartitionProduceData { index, records: Some(records), ..Default::default() };
    let topic =
        TopicProduceData { name: topic.into(), partition_data: vec![data].into(), ..Default::default() };
    let topic_data = vec![topic].into();
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data, ..Default::default() }.into()
}

pub(super) fn cluster(now: Instant, config: ClusterConfig) -> Cluster {
    let config = ClusterConfig { brokers: BROKERS, seed: 7, ..config };
    let mut cluster = Cluster::new(config, now, 1_700_000_000_000);
    for (topic, partitions) in TOPICS {
        cluster.create_topic(topic, *partitions).unwrap();
    }
    cluster
}
