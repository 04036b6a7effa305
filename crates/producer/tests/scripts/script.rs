//! A producer, a clock, and a cluster that answers as the script says.
//!
//! Requests for metadata, and those of an idempotent producer for its id, are answered at once; all others are kept for the
//! script to answer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{BrokerId, Failure, FailureKind, Machine, Outgoing, RequestId, Target};
use milena_producer::{At, Delivery, EnqueueError, NewRecord, Producer, ProducerConfig, ProducerEvent};
use milena_protocol::{
    ErrorCode,
    messages::{
        InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse, Request, Response,
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse},
    },
    records::Batches,
    wire::{ByteString, Uuid},
};

/// The topic of every script.
pub(crate) const TOPIC: &str = "letters";

pub(crate) struct Script {
    pub(crate) producer: Producer,
    /// Leader and epoch of each partition, as the next answer to a request for metadata has them.
    pub(crate) leaders: Vec<(i32, i32)>,
    /// Whether requests for producer ids are answered.
    pub(crate) grants_ids: bool,
    /// The topic's id.
    pub(crate) topic_id: Uuid,
    /// Whether the brokers know the topic.
    pub(crate) topic_exists: bool,
    pub(crate) events: Vec<ProducerEvent>,
    /// Producer ids asked for.
    pub(crate) ids_asked: i64,
    /// Requests for metadata.
    pub(crate) metadata_asked: usize,
    start: Instant,
    at: u64,
    produced: VecDeque<Produced>,
    /// Requests to and for coordinators.
    pub(crate) asked: VecDeque<Outgoing>,
    /// The request for a producer id that was not answered.
    id_request: Option<RequestId>,
}

/// A Produce request.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub(crate) id: RequestId,
    pub(crate) broker: i32,
    pub(crate) batches: Vec<Sent>,
    /// The oldest and the newest version it may go in.
    pub(crate) versions: (i16, i16),
    pub(crate) transactional_id: Option<ByteString>,
    pub(crate) acks: i16,
    pub(crate) expects_answer: bool,
}

/// A batch as it went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) partition: i32,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) transactional: bool,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) bytes: Bytes,
}

/// What a broker says of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    code: ErrorCode,
    base_offset: i64,
    log_start_offset: i64,
    leader: (i32, i32),
}

impl Said {
    pub(crate) const fn written(base_offset: i64) -> Self {
        Self { code: ErrorCode::NONE, base_offset, log_start_offset: 0, leader: (-1, -1) }
    }

    pub(crate) const fn code(code: ErrorCode) -> Self {
        Self { code, base_offset: -1, log_start_offset: -1, leader: (-1, -1) }
    }

    pub(crate) const fn with_log_start(self, log_start_offset: i64) -> Self {
        Self { log_start_offset, ..self }
    }

    pub(crate) const fn led_by(self, broker: i32, epoch: i32) -> Self {
        Self { leader: (broker, epoch), ..self }
    }
}

/// One record a batch, sent at once; nothing random.
pub(crate) fn config() -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() }
}

impl Script {
    /// A topic with this many partitions, all led by broker 1, and a producer that knows it and has its id.
    pub(crate) fn new(config: ProducerConfig, partitions: usize) -> Self {
        let mut script = Self::without_metadata(config, partitions);
        assert!(matches!(script.try_enqueue(0, "first"), Err(EnqueueError::UnknownTopic(_))));
        script.drain();
        assert!(script.producer.accumulator().knows(TOPIC));
        script
    }

    #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
    pub(crate) fn without_metadata(config: ProducerConfig, partitions: usize) -> Self {
        Self {
            producer: Producer::new(config).unwrap(),
            leaders: vec![(1, 1); partitions],
            grants_ids: true,
            topic_exists: true,
            topic_id: Uuid::from_bytes([7; 16]),
            events: Vec::new(),
            ids_asked: 0,
            metadata_asked: 0,
            start: Instant::now(),
            at: 0,
            produced: VecDeque::new(),
            asked: VecDeque::new(),
            id_request: None,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.at)
    }

    /// Lets time pass until `ms` after the start; the machine is woken when it asks to be.
    pub(crate) fn run_to(&mut self, ms: u64) {
        let mut woken_here = 0;
        while let Some(deadline) = self.producer.poll_timeout() {
            let at = deadline.at.saturating_duration_since(self.start).as_nanos().div_ceil(1_000_000);
            let at = u64::try_from(at).unwrap();
            if at > ms {
                break;
            }
            woken_here = if at > self.at { 0 } else { woken_here + 1 };
            assert!(woken_here < 10, "the machine spins: {}", deadline.why);
            self.at = self.at.max(at);
            self.drain();
        }
        self.at = ms;
    }

    /// Lets so many ms pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.run_to(self.at + ms);
    }

    /// Follows the drain rule.
    pub(crate) fn drain(&mut self) {
        let now = self.now();
        self.producer.handle_timeout(now);
        while let Some(outgoing) = self.producer.poll_request(now) {
            self.receive(outgoing);
        }
        while let Some(event) = self.producer.poll_event() {
            self.events.push(event);
        }
    }

    fn receive(&mut self, outgoing: Outgoing) {
        let now = self.now();
        let answer: Response = match outgoing.request {
            Request::Metadata(ref request) => {
                self.metadata_asked += 1;
                let asked = request.topics.iter().flatten().filter_map(|topic| topic.name.clone());
                self.metadata(asked).into()
            }
            Request::InitProducerId(ref request) if request.transactional_id.is_none() => {
                self.ids_asked += 1;
                if !self.grants_ids {
                    self.id_request = Some(outgoing.id);
                    return;
                }
                InitProducerIdResponse { producer_id: 999 + self.ids_asked, ..Default::default() }.into()
            }
            Request::Produce(ref request) => {
                let Target::Broker(BrokerId(broker)) = outgoing.target else {
                    panic!("{:?}", outgoing.target)
                };
                let produced = Produced {
                    id: outgoing.id,
                    broker,
                    batches: batches(request),
                    versions: (outgoing.min_version, outgoing.max_version),
                    transactional_id: request.transactional_id.clone(),
                    acks: request.acks,
                    expects_answer: outgoing.expects_answer,
                };
                return self.produced.push_back(produced);
            }
            _ => return self.asked.push_back(outgoing),
        };
        self.producer.handle_response(now, outgoing.id, Ok(answer));
    }

    /// All topics have the same leaders.
    fn metadata(&self, topics: impl Iterator<Item = ByteString>) -> MetadataResponse {
        let partitions = self.leaders.iter().zip(0..).map(|(&(leader_id, leader_epoch), partition_index)| {
            MetadataResponsePartition { partition_index, leader_id, leader_epoch, ..Default::default() }
        });
        let partitions: Vec<_> = partitions.collect();
        let brokers = (1..=3).map(|node_id| MetadataResponseBroker {
            node_id,
            host: "localhost".into(),
            port: 9091 + node_id,
            ..Default::default()
        });
        let known = |name: ByteString| MetadataResponseTopic {
            topic_id: if *name == *TOPIC { self.topic_id } else { Uuid::from_bytes([8; 16]) },
            name: Some(name),
            partitions: partitions.clone().into(),
            ..Default::default()
        };
        let unknown = |name| MetadataResponseTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            name: Some(name),
            ..Default::default()
        };
        let topics = topics.map(|name| if self.topic_exists { known(name) } else { unknown(name) });
        MetadataResponse { brokers: brokers.collect(), topics: topics.collect(), ..Default::default() }
    }

    pub(crate) fn try_enqueue(&mut self, partition: i32, value: &str) -> Result<Delivery, EnqueueError> {
        self.offer(Some(partition), value)
    }

    /// Puts a record in without waking the machine.
    pub(crate) fn offer(&self, partition: Option<i32>, value: &str) -> Result<Delivery, EnqueueError> {
        let record = NewRecord { partition, ..NewRecord::new(TOPIC).value(value.as_bytes()) };
        self.producer
            .accumulator()
            .enqueue(&At { now: self.now(), wall_ms: 1_700_000_000_000 }, &record)
            .map(|enqueued| enqueued.delivery)
    }

    /// Puts a record in and sends what can be sent.
    pub(crate) fn enqueue(&mut self, partition: i32, value: &str) -> Delivery {
        let delivery = self.try_enqueue(partition, value).unwrap();
        self.drain();
        delivery
    }

    /// Sends a record in a batch of its own, and has it acknowledged: the broker knows the producer from here on.
    pub(crate) fn settle(&mut self, partition: i32, offset: i64) {
        let delivery = self.enqueue(partition, "settled");
        let request = self.only_request();
        self.answer(&request, &[Said::written(offset)]);
        assert_eq!(delivery.result().unwrap().unwrap().offset, Some(offset));
    }

    /// The next Produce request that has not been looked at.
    pub(crate) fn next_request(&mut self) -> Option<Produced> {
        self.produced.pop_front()
    }

    /// The one Produce request that has not been looked at.
    #[track_caller]
    pub(crate) fn only_request(&mut self) -> Produced {
        assert_eq!(self.produced.len(), 1, "{:?}", self.produced);
        self.produced.pop_front().unwrap()
    }

    #[track_caller]
    pub(crate) fn no_request(&self) {
        assert!(self.produced.is_empty(), "{:?}", self.produced);
    }

    /// Answers a request with one word for each of its batches.
    pub(crate) fn answer(&mut self, request: &Produced, said: &[Said]) {
        assert_eq!(request.batches.len(), said.len());
        let partitions = request.batches.iter().zip(said).map(|(batch, said)| partition(batch, *said));
        self.answer_partitions(request, partitions.collect());
    }

    /// Answers a request with whatever partitions.
    pub(crate) fn answer_partitions(
        &mut self,
        request: &Produced,
        partitions: Vec<PartitionProduceResponse>,
    ) {
        let topic = TopicProduceResponse {
            name: TOPIC.into(),
            topic_id: self.topic_id,
            partition_responses: partitions,
            ..Default::default()
        };
        let response = ProduceResponse { responses: vec![topic], ..Default::default() };
        self.producer.handle_response(self.now(), request.id, Ok(response.into()));
        self.drain();
    }

    /// A request stays without an answer.
    pub(crate) fn fail(&mut self, request: &Produced, kind: FailureKind) {
        self.fail_all(std::slice::from_ref(request), kind);
    }

    /// A request that nobody answers has been written.
    pub(crate) fn written(&mut self, request: &Produced) {
        self.producer.handle_written(self.now(), request.id);
        self.drain();
    }

    /// The connection ends over which the request was written.
    pub(crate) fn hang_up(&mut self, request: &Produced) {
        self.producer.handle_hangup(self.now(), request.id, &"the broker has closed the connection".into());
        self.drain();
    }

    /// The request for a producer id stays without an answer.
    pub(crate) fn fail_id_request(&mut self, kind: FailureKind) {
        let id = self.id_request.take().unwrap();
        self.producer.handle_response(self.now(), id, Err(Failure::new(kind, "the connection is gone")));
        self.drain();
    }

    /// A connection dies, and with it these requests.
    pub(crate) fn fail_all(&mut self, requests: &[Produced], kind: FailureKind) {
        for request in requests {
            let failure = Failure::new(kind, "the connection is gone");
            self.producer.handle_response(self.now(), request.id, Err(failure));
        }
        self.drain();
    }
}

pub(crate) fn partition(batch: &Sent, said: Said) -> PartitionProduceResponse {
    let (leader_id, leader_epoch) = said.leader;
    PartitionProduceResponse {
        index: batch.partition,
        error_code: said.code.0,
        base_offset: said.base_offset,
        log_start_offset: said.log_start_offset,
        current_leader: LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() },
        ..Default::default()
    }
}

fn batches(request: &ProduceRequest) -> Vec<Sent> {
    let mut sent = Vec::new();
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            let bytes = data.records.clone().unwrap();
            let mut batches = Batches::new(bytes.clone());
            let batch = batches.next().unwrap().unwrap();
            assert!(batches.next().is_none(), "one batch a partition");
            let header = batch.header();
            sent.push(Sent {
                partition: data.index,
                producer_id: header.producer_id,
                epoch: header.producer_epoch,
                transactional: header.attributes.is_transactional(),
                base_sequence: header.base_sequence,
                count: header.record_count,
                bytes,
            });
        }
    }
    sent
}
