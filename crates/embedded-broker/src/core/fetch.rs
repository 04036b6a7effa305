//! Fetch.
//!
//! Imitates Kafka 4.3.1: topics by name before version 13 and by id from then on; a request waits until `min_bytes` are
//! there or `max_wait_ms` is over, and is answered at once when a partition of it fails; `max_bytes` of the request and of
//! each partition are kept, except that the first batch of the first partition that has one always comes (KIP-74); leader
//! epochs are checked (KIP-320), and who says in which epoch it read last (version 12) is told where its log diverges from
//! this one (KIP-595); a broker that does not lead says who does (version 16, KIP-951); sessions (KIP-227, in
//! `fetch_sessions`).
//!
//! A reader of committed records sees up to the last stable offset, and is told which transactions were aborted of those
//! that may have records in the reply: as many as an offset index with an entry every 4096 bytes can tell.
//!
//! Leaves out: batches that are cut off at the end of a reply; followers as clients (`replica_id` of 0 and more) and as
//! servers (the preferred read replica is always -1).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{
        FetchRequest, FetchResponse,
        fetch::{
            EpochEndOffset, FetchPartition, FetchTopic, FetchableTopicResponse, LeaderIdAndEpoch,
            NodeEndpoint, PartitionData,
        },
    },
    wire::Listed,
};

use super::{
    BrokerId, Cluster, ConnectionId, Deadline,
    dispatch::{Answer, Context},
    fetch_sessions::{Answering, Mode},
    leader_epochs::EpochEnd,
    log::Slice,
    partition::{Isolation, Partition},
    quotas::throttle_ms,
    topics::{Topic, Topics},
};

/// `fetch.max.bytes` of a broker.
const MAX_BYTES: usize = 55 << 20;

/// `max_wait_ms` beyond which a client is not believed.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// A fetch that waits for data.
#[derive(Debug)]
pub(super) struct ParkedFetch {
    connection: ConnectionId,
    broker: BrokerId,
    version: i16,
    /// Whole: with what its session knows.
    request: FetchRequest,
    mode: Mode,
    deadline: Instant,
}

impl Cluster {
    pub(super) fn fetch(&mut self, cx: &Context, mut request: FetchRequest) -> Answer {
        let mode = match self.fetch_sessions.begin(cx, &mut request) {
            Ok(mode) => mode,
            Err(error) => return FetchResponse { error_code: error.0, ..FetchResponse::default() }.into(),
        };
        let wait = Duration::from_millis(request.max_wait_ms.try_into().unwrap_or(0)).min(MAX_WAIT);
        let deadline = cx.now + wait;
        let (connection, broker, version) = (cx.connection, cx.broker, cx.version);
        let fetch = ParkedFetch { connection, broker, version, request, mode, deadline };
        if wait.is_zero() || fetch.is_complete(&self.topics) {
            return self.read(cx.now, &fetch).into();
        }
        self.parked_fetches.insert(cx.connection, fetch);
        Answer::Parked
    }

    /// The answer to a fetch that a fault gave an error: an error of the session is at the top, any other with every
    /// partition that the session is about.
    pub(super) fn refuse_fetch(
        &mut self,
        cx: &Context,
        mut request: FetchRequest,
        error: ErrorCode,
    ) -> Answer {
        let top = |error: ErrorCode| FetchResponse { error_code: error.0, ..FetchResponse::default() };
        if matches!(
            error,
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
                | ErrorCode::INVALID_FETCH_SESSION_EPOCH
                | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
        ) {
            return top(error).into();
        }
        let session_id = match self.fetch_sessions.begin(cx, &mut request) {
            Ok(Mode::Continue(id)) => id,
            Ok(Mode::Start | Mode::Sessionless) => 0,
            Err(error) => return top(error).into(),
        };
        let topics = request.topics.into_iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|wanted| failed(wanted.partition, error)).collect(),
            ..FetchableTopicResponse::default()
        });
        FetchResponse { session_id, responses: topics.collect(), ..FetchResponse::default() }.into()
    }

    /// Answers the parked fetches that have what they wait for.
    pub(super) fn complete_fetches(&mut self, now: Instant) {
        let complete = self.parked_fetches.iter().filter(|(_, fetch)| fetch.is_complete(&self.topics));
        let complete: Vec<ConnectionId> = complete.map(|(id, _)| *id).collect();
        self.answer_fetches(now, &complete);
    }

    /// Answers the parked fetches that have waited long enough.
    pub(super) fn expire_fetches(&mut self, now: Instant) {
        let due = self.parked_fetches.iter().filter(|(_, fetch)| fetch.deadline <= now);
        let due: Vec<ConnectionId> = due.map(|(id, _)| *id).collect();
        self.answer_fetches(now, &due);
    }

    pub(super) fn fetch_deadline(&self) -> Option<Deadline> {
        let at = self.parked_fetches.values().map(|fetch| fetch.deadline).min()?;
        Some(Deadline { at, why: "a fetch has waited long enough" })
    }

    fn answer_fetches(&mut self, now: Instant, connections: &[ConnectionId]) {
        for id in connections {
            if let Some(fetch) = self.parked_fetches.remove(id) {
                let response = self.read(now, &fetch);
                self.complete(now, *id, response);
            }
        }
    }

    fn read(&mut self, now: Instant, fetch: &ParkedFetch) -> FetchResponse {
        let ParkedFetch { broker, version, ref request, mode, .. } = *fetch;
        let by_id = version >= 13;
        let isolation = Isolation::from_wire(request.isolation_level);
        let mut budget = Budget::new(request.max_bytes);
        let mut leaders = BTreeSet::new();
        let mut responses = Vec::with_capacity(request.topics.len());
        for FetchTopic { topic: name, topic_id, partitions, .. } in &request.topics {
            let mut topic = self.topics.find_mut(by_id, name, *topic_id);
            let mut answers = Vec::with_capacity(partitions.len());
            for wanted in partitions {
                let answer = match &mut topic {
                    Ok(topic) => read_partition(topic, (broker, version), isolation, wanted, &mut budget),
                    Err(error) => failed(wanted.partition, *error),
                };
                leaders.extend(
                    (answer.current_leader.leader_id >= 0).then_some(answer.current_leader.leader_id),
                );
                answers.push(answer);
            }
            responses.push(FetchableTopicResponse {
                topic: name.clone(),
                topic_id: *topic_id,
                partitions: answers.into(),
                ..FetchableTopicResponse::default()
            });
        }
        let throttle = self.throttle_fetch(now, fetch.connection, budget.taken);
        if !throttle.is_zero() {
            let session_id = if let Mode::Continue(id) = mode { id } else { 0 };
            let throttle_time_ms = throttle_ms(throttle);
            return FetchResponse { session_id, throttle_time_ms, ..FetchResponse::default() };
        }
        let node_endpoints = leaders.into_iter().filter_map(|id| self.fetch_endpoint(id)).collect();
        let mut response =
            FetchResponse { responses: responses.into(), node_endpoints, ..FetchResponse::default() };
        let answering = Answering { now, broker, by_id, slots: self.config.fetch_session_slots };
        self.fetch_sessions.answer(&answering, mode, request, &mut response);
        response
    }

    fn fetch_endpoint(&self, node_id: i32) -> Option<NodeEndpoint> {
        let broker = self.brokers.get(&BrokerId(node_id))?;
        Some(NodeEndpoint {
            node_id,
            host: broker.host.clone(),
            port: broker.port,
            ..NodeEndpoint::default()
        })
    }
}

impl ParkedFetch {
    /// Whether waiting would be pointless: there is enough, or a partition has an error to tell.
    fn is_complete(&self, topics: &Topics) -> bool {
        let min_bytes = u64::try_from(self.request.min_bytes).unwrap_or(0);
        if self.request.topics.is_empty() || min_bytes == 0 {
            return true;
        }
        let isolation = Isolation::from_wire(self.request.isolation_level);
        let mut bytes = 0u64;
        for wanted in &self.request.topics {
            let Ok(topic) = topics.find(self.version >= 13, &wanted.topic, wanted.topic_id) else {
                return true;
            };
            for wanted in &wanted.partitions {
                let (Ok(None), Ok(partition)) =
                    (locate(topic, self.broker, wanted), topic.partition(wanted.partition))
                else {
                    return true;
                };
                let limit = u64::try_from(wanted.partition_max_bytes).unwrap_or(0);
                let end = partition.readable_end(isolation);
                bytes = bytes.saturating_add(partition.log.available(wanted.fetch_offset, end).min(limit));
                if bytes >= min_bytes {
                    return true;
                }
            }
        }
        false
    }
}

/// The bytes that a reply may still take.
struct Budget {
    left: usize,
    /// Bytes of batches that the reply holds.
    taken: usize,
    /// Whether the reply holds a batch: the first comes whatever its size.
    started: bool,
}

impl Budget {
    fn new(max_bytes: i32) -> Self {
        Self { left: usize::try_from(max_bytes).unwrap_or(0).min(MAX_BYTES), taken: 0, started: false }
    }

    fn take(&mut self, bytes: &Bytes) {
        self.left = self.left.saturating_sub(bytes.len());
        self.taken = self.taken.saturating_add(bytes.len());
        self.started |= !bytes.is_empty();
    }
}

/// Whether `broker` can serve that offset of the partition; where the reader's log diverges from this one, if it does.
fn locate(topic: &Topic, broker: BrokerId, wanted: &FetchPartition) -> Result<Option<EpochEnd>, ErrorCode> {
    let partition = topic.partition(wanted.partition)?;
    partition.check_leader(broker, wanted.current_leader_epoch)?;
    let Partition { log, epochs, .. } = partition;
    let FetchPartition { fetch_offset, last_fetched_epoch, .. } = *wanted;
    if last_fetched_epoch >= 0 {
        let end = epochs.end_of(last_fetched_epoch, log.next_offset());
        let end = end.ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
        let diverges = end.epoch < last_fetched_epoch || end.end_offset < fetch_offset;
        if diverges && fetch_offset >= log.start_offset() {
            return Ok(Some(end));
        }
    }
    if (log.start_offset()..=log.next_offset()).contains(&fetch_offset) {
        Ok(None)
    } else {
        Err(ErrorCode::OFFSET_OUT_OF_RANGE)
    }
}

fn read_partition(
    topic: &mut Topic,
    (broker, version): (BrokerId, i16),
    isolation: Isolation,
    wanted: &FetchPartition,
    budget: &mut Budget,
) -> PartitionData {
    let located = locate(topic, broker, wanted);
    let Ok(partition) = topic.partition_mut(wanted.partition) else {
        return failed(wanted.partition, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    match located {
        Ok(None) => {}
        Ok(Some(end)) => return diverging(wanted, partition, end),
        Err(error) => return refused(version, wanted, partition, error),
    }
    let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(budget.left);
    let from = wanted.fetch_offset;
    let Slice { bytes: records, upper_bound } = partition.read(from, isolation, limit, !budget.started);
    budget.take(&records);
    let aborted_transactions = match isolation {
        Isolation::Uncommitted => None,
        Isolation::Committed if records.is_empty() => Some(Listed::default()),
        Isolation::Committed => Some(partition.aborted.between(from, upper_bound).into()),
    };
    PartitionData {
        partition_index: wanted.partition,
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: partition.log.start_offset(),
        aborted_transactions,
        records: Some(records),
        ..PartitionData::default()
    }
}

fn diverging(wanted: &FetchPartition, partition: &Partition, end: EpochEnd) -> PartitionData {
    PartitionData {
        partition_index: wanted.partition,
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: partition.log.start_offset(),
        diverging_epoch: EpochEndOffset {
            epoch: end.epoch,
            end_offset: end.end_offset,
            ..EpochEndOffset::default()
        },
        aborted_transactions: None,
        ..PartitionData::default()
    }
}

fn refused(version: i16, wanted: &FetchPartition, partition: &Partition, error: ErrorCode) -> PartitionData {
    let moved = matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
    let mut answer = failed(wanted.partition, error);
    if moved && version >= 16 {
        answer.current_leader = LeaderIdAndEpoch {
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch,
            ..LeaderIdAndEpoch::default()
        };
    }
    answer
}

fn failed(partition_index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: error.0,
        high_watermark: -1,
        aborted_transactions: None,
        ..PartitionData::default()
    }
}
