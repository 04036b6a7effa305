//! Scripts with a clock: a consumer on one side, what brokers would say on the other.
//!
//! A [`Script`] follows the drain rule. Metadata and coordinator are answered by themselves, as the script's cluster has
//! them; everything else waits for the test to answer it.

pub(crate) mod batches;
mod classic;
mod classic_simulation;
mod commits;
mod consumer_protocol;
mod fetching;
mod group_simulation;
mod lifecycle;
mod memory;
mod sessions;
mod simulation;
mod starting;
mod truncation;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{BrokerId, Failure, FailureKind, Machine, Outgoing, RequestId, Target, TopicPartition};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        FetchRequest, FetchResponse, FindCoordinatorResponse, ListOffsetsResponse, MetadataResponse,
        OffsetCommitResponse, OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        Request, Response,
        fetch::{FetchableTopicResponse, PartitionData},
        find_coordinator::Coordinator,
        list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_fetch::{OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics},
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
    wire::{ByteString, Uuid},
};

use crate::{AutoOffsetReset, Consumer, ConsumerConfig, Event, PartitionRecords};

/// A consumer, its clock, and what waits to be answered.
pub(crate) struct Script {
    pub(crate) consumer: Consumer,
    start: Instant,
    now: Instant,
    pending: VecDeque<Outgoing>,
    pub(crate) cluster: Cluster,
}

/// What metadata and coordinator requests are answered with.
pub(crate) struct Cluster {
    /// By topic: id, and leader and leader epoch of each partition.
    pub(crate) topics: BTreeMap<ByteString, (Uuid, Vec<(i32, i32)>)>,
    pub(crate) coordinator: i32,
    /// Whether anybody answers.
    pub(crate) is_up: bool,
    /// Whether leaders say by themselves that nothing was cut off.
    pub(crate) keeps_all: bool,
}

pub(crate) const LETTERS: Uuid = Uuid::from_bytes([1; 16]);

pub(crate) fn letters(partition: i32) -> TopicPartition {
    TopicPartition::new("letters", partition)
}

/// A consumer of the group `readers`, by the classic protocol.
pub(crate) fn in_group() -> ConsumerConfig {
    ConsumerConfig {
        group_id: Some("readers".into()),
        group_protocol: crate::GroupProtocol::Classic,
        auto_offset_reset: crate::AutoOffsetReset::Earliest,
        ..Default::default()
    }
}

/// Takes the next request of an API out of the script, with its id.
macro_rules! asked_for {
    ($script:expr, $api:ident) => {{
        let outgoing = $script.next(milena_protocol::ApiKey::$api);
        let milena_protocol::messages::Request::$api(body) = outgoing.request else { unreachable!() };
        (outgoing.id, body)
    }};
}
pub(crate) use asked_for;

impl Script {
    /// A cluster with the topic `letters` of three partitions, all led by broker 1.
    #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
    pub(crate) fn new(config: ConsumerConfig) -> Self {
        let start = Instant::now();
        let topics = BTreeMap::from([("letters".into(), (LETTERS, vec![(1, 5); 3]))]);
        Self {
            consumer: Consumer::new(start, config).unwrap(),
            start,
            now: start,
            pending: VecDeque::new(),
            cluster: Cluster { topics, coordinator: 9, is_up: true, keeps_all: true },
        }
    }

    /// Reads partitions of `letters` from these offsets.
    pub(crate) fn reading(config: ConsumerConfig, offsets: &[i64]) -> Self {
        let mut script = Self::new(config);
        script.assign(offsets);
        script
    }

    pub(crate) fn assign(&mut self, offsets: &[i64]) {
        let partitions = offsets
            .iter()
            .zip(0..)
            .map(|(&offset, index)| (letters(index), Some(crate::Position { offset, leader_epoch: None })));
        self.consumer.assign(self.now, partitions).unwrap();
        self.drain();
    }

    pub(crate) fn subscribe(&mut self) {
        self.consumer.subscribe(self.now, ["letters".into()]).unwrap();
        self.drain();
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Lets time pass, stopping at every deadline on the way. A deadline that stays due after it was handled would spin
    /// the driver.
    pub(crate) fn pass_until(&mut self, ms: u64) {
        let end = self.at(ms);
        while let Some(due) = self.consumer.poll_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.consumer.handle_timeout(self.now);
            self.drain();
            if let Some(still) = self.consumer.poll_timeout() {
                assert!(still.at > self.now, "{} stays due", still.why);
            }
        }
        self.now = self.now.max(end);
    }

    /// Lets time pass until the next deadline, and returns its reason.
    pub(crate) fn pass_next(&mut self) -> &'static str {
        let due = self.consumer.poll_timeout().expect("nothing is due");
        let ms = due.at.saturating_duration_since(self.start).as_nanos().div_ceil(1_000_000);
        self.pass_until(u64::try_from(ms).unwrap());
        due.why
    }

    /// Collects requests, and answers what the cluster answers by itself.
    pub(crate) fn drain(&mut self) {
        for _ in 0..1_000 {
            let Some(outgoing) = self.consumer.poll_request(self.now) else { return };
            assert!(outgoing.timeout >= Duration::from_secs(1));
            let answer = match &outgoing.request {
                _ if !self.cluster.is_up => Err(Failure::new(FailureKind::NotSent, "refused")),
                Request::Metadata(request) => {
                    let asked = request.topics.iter().flatten();
                    let names = asked.filter_map(|topic| {
                        topic.name.clone().or_else(|| self.cluster.name_of(topic.topic_id))
                    });
                    Ok(self.cluster.metadata(names.collect()))
                }
                Request::FindCoordinator(_) => Ok(self.cluster.coordinator()),
                Request::OffsetForLeaderEpoch(request) if self.cluster.keeps_all => {
                    Ok(nothing_cut_off(request))
                }
                _ => {
                    self.pending.push_back(outgoing);
                    continue;
                }
            };
            self.consumer.handle_response(self.now, outgoing.id, answer);
        }
        panic!("the machine asks without end");
    }

    /// The next request of this API that waits for an answer.
    pub(crate) fn next(&mut self, api: ApiKey) -> Outgoing {
        self.drain();
        let found = self.pending.iter().position(|outgoing| outgoing.api() == api);
        let index = found.unwrap_or_else(|| {
            panic!("no {api} among {:?}", self.pending.iter().map(Outgoing::api).collect::<Vec<_>>())
        });
        self.pending.remove(index).unwrap()
    }

    /// The fetch that this broker is asked.
    pub(crate) fn fetch_of(&mut self, broker: i32) -> (RequestId, FetchRequest) {
        self.drain();
        let is_it = |outgoing: &Outgoing| {
            outgoing.api() == ApiKey::Fetch && outgoing.target == Target::Broker(BrokerId(broker))
        };
        let index = self.pending.iter().position(is_it).expect("the broker is not asked");
        let outgoing = self.pending.remove(index).unwrap();
        let Request::Fetch(body) = outgoing.request else { unreachable!() };
        (outgoing.id, body)
    }

    pub(crate) fn waits_for(&mut self, api: ApiKey) -> bool {
        self.drain();
        self.pending.iter().any(|outgoing| outgoing.api() == api)
    }

    pub(crate) fn answer(&mut self, id: RequestId, response: impl Into<Response>) {
        self.consumer.handle_response(self.now, id, Ok(response.into()));
        self.drain();
    }

    pub(crate) fn fail(&mut self, id: RequestId, kind: FailureKind) {
        self.consumer.handle_response(self.now, id, Err(Failure::new(kind, "connection reset")));
        self.drain();
    }

    /// Everything that was told since the last time.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.consumer.poll_event()).collect()
    }

    /// As [`events`](Self::events), without the ones that only say that records have come.
    pub(crate) fn news(&mut self) -> Vec<Event> {
        self.events()
            .into_iter()
            .filter(|event| !matches!(event, Event::Fetched | Event::Joined(_)))
            .collect()
    }

    pub(crate) fn take(&mut self, max: usize) -> Vec<PartitionRecords> {
        let taken = self.consumer.take(self.now, max);
        self.drain();
        taken
    }

    /// The offsets taken, as `partition: offsets`.
    pub(crate) fn taken(&mut self, max: usize) -> Vec<(i32, Vec<i64>)> {
        let offsets = |records: PartitionRecords| {
            let offsets: Vec<_> = records.iter().map(|record| record.offset()).collect();
            assert_eq!(offsets.len(), records.len());
            (records.partition().partition, offsets)
        };
        self.take(max).into_iter().map(offsets).collect()
    }

    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        self.consumer.position(&letters(partition)).map(|position| position.offset)
    }

    /// Commits `offset` of a partition of `letters`.
    pub(crate) fn commit(
        &mut self,
        partition: i32,
        offset: i64,
        mode: crate::CommitMode,
    ) -> Result<crate::CommitId, crate::CommitError> {
        let position = crate::Position { offset, leader_epoch: Some(5) };
        let offsets = BTreeMap::from([(letters(partition), position.into())]);
        let id = self.consumer.commit(self.now, offsets, mode);
        self.drain();
        id
    }

    /// Answers the request for committed offsets: partition, offset (-1 for none).
    pub(crate) fn committed(&mut self, offsets: &[(i32, i64)]) {
        let (id, _) = asked_for!(self, OffsetFetch);
        self.answer(id, committed(offsets));
    }
}

impl Cluster {
    fn name_of(&self, topic_id: Uuid) -> Option<ByteString> {
        self.topics.iter().find(|(_, (id, _))| *id == topic_id).map(|(name, _)| name.clone())
    }

    fn metadata(&self, names: Vec<ByteString>) -> Response {
        let topic = |name: ByteString| match self.topics.get(&name) {
            Some((topic_id, leaders)) => MetadataResponseTopic {
                name: Some(name),
                topic_id: *topic_id,
                partitions: leaders
                    .iter()
                    .zip(0..)
                    .map(|(&(leader_id, leader_epoch), partition_index)| MetadataResponsePartition {
                        partition_index,
                        leader_id,
                        leader_epoch,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
            None => MetadataResponseTopic {
                name: Some(name),
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                ..Default::default()
            },
        };
        let broker = |node_id| MetadataResponseBroker {
            node_id,
            host: "localhost".into(),
            port: 9092,
            ..Default::default()
        };
        MetadataResponse {
            brokers: (1..=3).map(broker).collect(),
            topics: names.into_iter().map(topic).collect(),
            ..Default::default()
        }
        .into()
    }

    fn coordinator(&self) -> Response {
        let coordinator = Coordinator { node_id: self.coordinator, ..Default::default() };
        FindCoordinatorResponse { coordinators: vec![coordinator], ..Default::default() }.into()
    }
}

/// A consumer that begins with the first record.
pub(crate) fn from_the_start() -> ConsumerConfig {
    ConsumerConfig { auto_offset_reset: AutoOffsetReset::Earliest, ..Default::default() }
}

/// What a fetch asks for: partition and offset.
pub(crate) fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| (partition.partition, partition.fetch_offset)).collect()
}

/// An answer to a fetch, of partitions of `letters`.
pub(crate) fn fetched(partitions: impl IntoIterator<Item = PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse {
        topic_id: LETTERS,
        partitions: partitions.into_iter().collect(),
        ..Default::default()
    };
    FetchResponse { responses: vec![topic].into(), ..Default::default() }
}

/// What a fetch brings of a partition.
pub(crate) fn data(partition_index: i32, batches: &[Bytes]) -> PartitionData {
    PartitionData {
        partition_index,
        high_watermark: 1_000,
        last_stable_offset: 900,
        records: Some(batches.concat().into()),
        ..Default::default()
    }
}

pub(crate) fn refused(partition_index: i32, code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code: code.0, ..Default::default() }
}

pub(crate) fn committed(offsets: &[(i32, i64)]) -> OffsetFetchResponse {
    let partition = |&(partition_index, committed_offset): &(i32, i64)| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset,
        committed_leader_epoch: 4,
        ..Default::default()
    };
    let topic = OffsetFetchResponseTopics {
        topic_id: LETTERS,
        partitions: offsets.iter().map(partition).collect(),
        ..Default::default()
    };
    let group = OffsetFetchResponseGroup { topics: vec![topic], ..Default::default() };
    OffsetFetchResponse { groups: vec![group], ..Default::default() }
}

/// An answer to a commit: partition, code.
pub(crate) fn commit_answer(partitions: &[(i32, ErrorCode)]) -> OffsetCommitResponse {
    let partition = |&(partition_index, code): &(i32, ErrorCode)| OffsetCommitResponsePartition {
        partition_index,
        error_code: code.0,
        ..Default::default()
    };
    let topic = OffsetCommitResponseTopic {
        topic_id: LETTERS,
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    OffsetCommitResponse { topics: vec![topic], ..Default::default() }
}

/// Every epoch that is asked about goes on far behind whatever position.
fn nothing_cut_off(request: &OffsetForLeaderEpochRequest) -> Response {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let ends: Vec<_> = partitions.map(|asked| (asked.partition, asked.leader_epoch, 1_000_000)).collect();
    epoch_ends(&ends).into()
}

/// An answer to OffsetForLeaderEpoch: partition, epoch, end; -1 for what the leader does not know.
pub(crate) fn epoch_ends(ends: &[(i32, i32, i64)]) -> OffsetForLeaderEpochResponse {
    let end = |&(partition, leader_epoch, end_offset): &(i32, i32, i64)| EpochEndOffset {
        partition,
        leader_epoch,
        end_offset,
        ..Default::default()
    };
    let topic = OffsetForLeaderTopicResult {
        topic: "letters".into(),
        partitions: ends.iter().map(end).collect(),
        ..Default::default()
    };
    OffsetForLeaderEpochResponse { topics: vec![topic], ..Default::default() }
}

/// An answer to ListOffsets: partition, offset.
pub(crate) fn listed(offsets: &[(i32, i64)]) -> ListOffsetsResponse {
    let partition = |&(partition_index, offset): &(i32, i64)| ListOffsetsPartitionResponse {
        partition_index,
        offset,
        leader_epoch: 5,
        ..Default::default()
    };
    let topic = ListOffsetsTopicResponse {
        name: "letters".into(),
        partitions: offsets.iter().map(partition).collect(),
        ..Default::default()
    };
    ListOffsetsResponse { topics: vec![topic], ..Default::default() }
}
