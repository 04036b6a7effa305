//! A producer with a bug planted in it on demand: what the simulation must find.
//!
//! The bugs are planted around the machine, in what it hears and in what it says, so that the producer itself stays as
//! it is.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use milena_cluster::{Deadline, Failure, FailureKind, Machine, Outgoing, RequestId};
use milena_producer::{Producer, ProducerEvent};
use milena_protocol::{
    ErrorCode,
    messages::{
        ProduceRequest, ProduceResponse, Request, Response,
        produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse},
    },
    records::{Batches, ProducerStamp, restamp},
    wire::{ByteString, Uuid},
};

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireBug {
    /// A batch is not sent and counts as acknowledged.
    DropsBatch,
    /// A batch sent again has the next free sequence number.
    RetriesWithNewSequence,
    /// A batch sent again has no producer id.
    RetriesWithoutIdentity,
    /// OUT_OF_ORDER_SEQUENCE_NUMBER counts as success.
    TakesGapForSuccess,
    /// A retriable error counts as success.
    TakesErrorForSuccess,
    /// A request without an answer counts as not sent.
    TakesUnansweredForUnsent,
    /// An error that leaves open whether the batch was written counts as one that does not.
    TakesUnclearForRefused,
    /// Batches of two partitions of a topic change places.
    SwapsPartitions,
    /// The offsets told are one too high.
    CountsOffsetsFromOne,
    /// A producer id is kept after the partition asked for another.
    KeepsProducerId,
    /// One answer in a hundred is never heard.
    MissesAnswers,
    /// The memory of a batch is used for the next one before it is settled: sent again it has other records.
    RecyclesBuffers,
}

impl WireBug {
    /// Every bug that can be planted.
    pub const ALL: [Self; 12] = [
        Self::DropsBatch,
        Self::RetriesWithNewSequence,
        Self::RetriesWithoutIdentity,
        Self::TakesGapForSuccess,
        Self::TakesErrorForSuccess,
        Self::TakesUnansweredForUnsent,
        Self::TakesUnclearForRefused,
        Self::SwapsPartitions,
        Self::CountsOffsetsFromOne,
        Self::KeepsProducerId,
        Self::MissesAnswers,
        Self::RecyclesBuffers,
    ];
}

type Partition = (ByteString, Uuid, i32);

/// A producer, and the bug in it if there is one.
#[derive(Debug)]
pub(super) struct Saboteur {
    pub(super) producer: Producer,
    bug: Option<WireBug>,
    requests: u64,
    answers: u64,
    /// The numbers of every batch that was sent, and what went out in their place.
    sent: BTreeMap<(Partition, i64, i32), i32>,
    /// The first free number of each partition, as the broker sees it.
    next: BTreeMap<(Partition, i64), i32>,
    /// Partitions whose batches were left out of a request.
    dropped: BTreeMap<RequestId, TopicProduceResponse>,
    first_id: Option<(i64, i16)>,
    /// The batch of each partition that was last sent for the first time.
    latest: BTreeMap<Partition, Bytes>,
}

impl Saboteur {
    pub(super) fn new(producer: Producer, bug: Option<WireBug>) -> Self {
        Self {
            producer,
            bug,
            requests: 0,
            answers: 0,
            sent: BTreeMap::new(),
            next: BTreeMap::new(),
            dropped: BTreeMap::new(),
            first_id: None,
            latest: BTreeMap::new(),
        }
    }

    fn spoil_request(&mut self, bug: WireBug, id: RequestId, request: &mut ProduceRequest) {
        self.requests += 1;
        match bug {
            WireBug::DropsBatch if self.requests.is_multiple_of(10) => {
                let popped = request.topic_data.edit(|topics| {
                    let topic = topics.first_mut()?;
                    let data = topic.partition_data.edit(Vec::pop)?;
                    Some((topic.clone(), data))
                });
                let Some((topic, data)) = popped else { return };
                let told =
                    PartitionProduceResponse { index: data.index, base_offset: 0, ..Default::default() };
                let told = TopicProduceResponse {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partition_responses: vec![told],
                    ..Default::default()
                };
                self.dropped.insert(id, told);
            }
            WireBug::SwapsPartitions if self.requests.is_multiple_of(5) => {
                each_topic(request, |_, partitions| {
                    if let [first, second, ..] = partitions {
                        std::mem::swap(&mut first.records, &mut second.records);
                    }
                });
            }
            WireBug::RetriesWithNewSequence
            | WireBug::RetriesWithoutIdentity
            | WireBug::KeepsProducerId
            | WireBug::RecyclesBuffers => {
                each_topic(request, |(name, id), partitions| {
                    for data in partitions {
                        let partition = (name.clone(), id, data.index);
                        data.records = data.records.take().map(|batch| self.restamped(bug, partition, batch));
                    }
                });
            }
            _ => {}
        }
    }

    fn restamped(&mut self, bug: WireBug, partition: Partition, mut bytes: Bytes) -> Bytes {
        let Some(Ok(batch)) = Batches::new(bytes.clone()).next() else { return bytes };
        let header = *batch.header();
        let key = (partition.clone(), header.producer_id, header.base_sequence);
        let again = self.sent.contains_key(&key);
        let mut stamp = ProducerStamp {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: false,
        };
        match bug {
            WireBug::RetriesWithoutIdentity if again => stamp = ProducerStamp::NONE,
            WireBug::RecyclesBuffers if again => {
                bytes = self.latest.get(&partition).cloned().unwrap_or(bytes);
            }
            WireBug::RecyclesBuffers => _ = self.latest.insert(partition, bytes.clone()),
            WireBug::RetriesWithNewSequence => {
                let next = self.next.entry((partition, header.producer_id)).or_default();
                stamp.base_sequence = *next;
                *next += header.record_count;
            }
            WireBug::KeepsProducerId => {
                let (id, epoch) = *self.first_id.get_or_insert((header.producer_id, header.producer_epoch));
                (stamp.producer_id, stamp.producer_epoch) = (id, epoch);
            }
            _ => {}
        }
        self.sent.insert(key, stamp.base_sequence);
        restamp(bytes, stamp)
    }

    fn spoil_response(&mut self, bug: WireBug, id: RequestId, response: &mut ProduceResponse) {
        response.responses.extend(self.dropped.remove(&id));
        for answer in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
            let code = ErrorCode(answer.error_code);
            match bug {
                WireBug::TakesGapForSuccess if code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                    answer.error_code = ErrorCode::NONE.0;
                }
                WireBug::TakesErrorForSuccess if code.is_retriable() => answer.error_code = ErrorCode::NONE.0,
                WireBug::TakesUnclearForRefused
                    if code == ErrorCode::REQUEST_TIMED_OUT
                        || code == ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND =>
                {
                    answer.error_code = ErrorCode::INVALID_RECORD.0;
                }
                WireBug::CountsOffsetsFromOne if code == ErrorCode::NONE && answer.base_offset >= 0 => {
                    answer.base_offset += 1;
                }
                _ => {}
            }
        }
    }
}

impl Machine for Saboteur {
    type Event = ProducerEvent;

    fn handle_response(&mut self, now: Instant, id: RequestId, mut result: Result<Response, Failure>) {
        self.answers += 1;
        match (self.bug, &mut result) {
            (Some(WireBug::MissesAnswers), Ok(Response::Produce(_))) if self.answers.is_multiple_of(100) => {
                return;
            }
            (Some(WireBug::TakesUnansweredForUnsent), Err(failure))
                if failure.kind == FailureKind::Unanswered =>
            {
                failure.kind = FailureKind::NotSent;
            }
            (Some(bug), Ok(Response::Produce(response))) => self.spoil_response(bug, id, response),
            _ => {}
        }
        self.producer.handle_response(now, id, result);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.producer.handle_timeout(now);
    }

    fn poll_request(&mut self, now: Instant) -> Option<Outgoing> {
        let mut outgoing = self.producer.poll_request(now)?;
        if let (Some(bug), Request::Produce(request)) = (self.bug, &mut outgoing.request) {
            self.spoil_request(bug, outgoing.id, request);
        }
        Some(outgoing)
    }

    fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.producer.poll_event()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.producer.poll_timeout()
    }
}

/// Changes what a request sends to each topic, which comes with its name and id.
fn each_topic(
    request: &mut ProduceRequest,
    mut change: impl FnMut((&ByteString, Uuid), &mut [PartitionProduceData]),
) {
    request.topic_data.edit(|topics| {
        for TopicProduceData { name, topic_id, partition_data, .. } in topics {
            partition_data.edit(|partitions| change((name, *topic_id), partitions));
        }
    });
}
