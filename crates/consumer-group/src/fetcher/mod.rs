//! Asks leaders for batches, and keeps what comes until the application takes it.
//!
//! Brokers are asked independently, one fetch in flight each, so that an idle partition delays nobody elsewhere. A broker
//! is asked when every partition it is to serve has room: a fetch that left one out could wait for the others while the
//! application has long emptied it. Each broker may fill an equal share of the memory, whatever the others hold.
//!
//! Every fetch names its partitions in full; there are no sessions (KIP-227): session id 0, epoch -1. The partition that
//! waits longest for data is named first, because brokers fill their answer in that order.
//!
//! # References
//! KIP-74 (limits), KIP-98 (transactions), KIP-392 (preferred replica), KIP-951 (new leader in the answer).

mod buffer;
mod isolation;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use milena_cluster::{
    BrokerId, Deadline, FailureKind, Metadata, Outgoing, RequestId, Target, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        FetchRequest, FetchResponse, Response,
        fetch::{FetchPartition, FetchTopic, PartitionData},
    },
    records::{BatchError, BatchErrorKind, Batches, ReadOptions},
    wire::{ByteString, Uuid},
};

use crate::{
    AutoOffsetReset, ConsumerError, Event, IsolationLevel, Position,
    config::millis,
    cursors::{Cursor, CursorState, Cursors, EARLIEST, LATEST},
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

use self::{buffer::Buffer, isolation::Isolation};

pub use self::records::{PartitionRecords, RecordIter};

/// The last version that names topics by name.
const LAST_BY_NAME: i16 = 12;

#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    buffer: Buffer,
    asked: BTreeMap<BrokerId, Asked<Question>>,
    /// Brokers that could not be reached.
    troubled: BTreeMap<BrokerId, Retry>,
    /// Answers so far.
    answers: u64,
}

/// What a fetch asked for.
#[derive(Debug)]
struct Question {
    topics: BTreeMap<Uuid, ByteString>,
    partitions: BTreeMap<TopicPartition, Wanted>,
}

/// What a fetch asked of one partition: an answer counts only while all of it still holds (F11).
#[derive(Clone, Copy, Debug)]
struct Wanted {
    version: u64,
    offset: i64,
    leader_epoch: i32,
    max_bytes: i32,
}

/// Why a partition is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Revoking,
    AwaitingCommitted,
    AwaitingOffset,
    Halted(&'static str),
    Paused,
    Waiting,
    NoLeader,
    BrokerWaiting(BrokerId),
    InFlight(BrokerId),
    Full,
}

/// The partitions one broker could be asked for.
#[derive(Debug, Default)]
struct Candidates {
    partitions: Vec<(TopicPartition, Wanted, u64)>,
    /// Bytes here of all partitions that the broker serves.
    held: usize,
    /// A partition has no room.
    full: bool,
    /// Partitions that are paused and hold something.
    idle: Vec<TopicPartition>,
}

impl Fetcher {
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
    ) -> Option<Outgoing> {
        let metadata = shared.metadata();
        let mut brokers = self.candidates(now, shared, cursors, &metadata);
        let share = shared.config.max_buffered_bytes / brokers.len().max(1);
        let least = usize::try_from(shared.config.max_partition_fetch_bytes).unwrap_or(usize::MAX).min(share);
        for (broker, candidates) in &mut brokers {
            let waits = self.troubled.get(broker).is_some_and(|retry| retry.is_waiting(now));
            if candidates.partitions.is_empty() || candidates.full || waits || self.asked.contains_key(broker)
            {
                continue;
            }
            // What a pause keeps here is fetched again later, rather than starving the others.
            if share.saturating_sub(candidates.held) < least {
                for partition in &candidates.idle {
                    candidates.held = candidates.held.saturating_sub(self.buffer.bytes(partition));
                    self.buffer.discard(partition);
                }
            }
            let room = share.saturating_sub(candidates.held);
            if room < least {
                continue;
            }
            let candidates = std::mem::take(candidates);
            return Some(self.ask(shared, &metadata, *broker, candidates, room));
        }
        None
    }

    fn candidates(
        &self,
        now: Instant,
        shared: &Shared,
        cursors: &Cursors,
        metadata: &Metadata,
    ) -> BTreeMap<BrokerId, Candidates> {
        let mut brokers: BTreeMap<BrokerId, Candidates> = BTreeMap::new();
        for (partition, cursor) in cursors.iter() {
            let Some(source) = cursor.source(now, partition, metadata) else { continue };
            let bytes = self.buffer.bytes(partition);
            let candidates = brokers.entry(source).or_default();
            candidates.held = candidates.held.saturating_add(bytes);
            if cursor.paused && bytes > 0 {
                candidates.idle.push(partition.clone());
            }
            match self.wanted(now, shared, partition, cursor, metadata) {
                Ok(wanted) => candidates.partitions.push((partition.clone(), wanted, cursor.served)),
                Err(obstacle) => candidates.full |= obstacle == Obstacle::Full,
            }
        }
        brokers
    }

    /// What to ask of a partition, or why nothing is asked, as far as it depends on the partition alone.
    fn wanted(
        &self,
        now: Instant,
        shared: &Shared,
        partition: &TopicPartition,
        cursor: &Cursor,
        metadata: &Metadata,
    ) -> Result<Wanted, Obstacle> {
        let position = match cursor.state {
            _ if cursor.revoking => return Err(Obstacle::Revoking),
            CursorState::Uncommitted => return Err(Obstacle::AwaitingCommitted),
            CursorState::Unresolved(_) => return Err(Obstacle::AwaitingOffset),
            CursorState::Halted(_, why) => return Err(Obstacle::Halted(why)),
            _ if cursor.paused => return Err(Obstacle::Paused),
            CursorState::Ready(position) => position,
        };
        if cursor.retry.is_waiting(now) {
            return Err(Obstacle::Waiting);
        }
        let Some(known) = metadata.partition(partition).filter(|known| known.leader.is_some()) else {
            return Err(Obstacle::NoLeader);
        };
        let max_bytes = cursor.fetch_bytes.unwrap_or(shared.config.max_partition_fetch_bytes);
        if self.buffer.bytes(partition) >= usize::try_from(max_bytes).unwrap_or(usize::MAX) {
            return Err(Obstacle::Full);
        }
        let offset = self.buffer.next(partition).unwrap_or(position).offset;
        Ok(Wanted { version: cursor.version, offset, leader_epoch: known.leader_epoch, max_bytes })
    }

    fn ask(
        &mut self,
        shared: &mut Shared,
        metadata: &Metadata,
        broker: BrokerId,
        candidates: Candidates,
        room: usize,
    ) -> Outgoing {
        let mut partitions = candidates.partitions;
        // Who waits longest is served first.
        partitions.sort_by_key(|(_, _, served)| *served);
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut question = Question { topics: BTreeMap::new(), partitions: BTreeMap::new() };
        let mut all_known = true;
        for (partition, wanted, _) in partitions {
            let topic_id = metadata.topic_id(&partition.topic);
            all_known &= !topic_id.is_zero();
            let asked = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: wanted.leader_epoch,
                fetch_offset: wanted.offset,
                partition_max_bytes: wanted.max_bytes,
                ..Default::default()
            };
            // Neighbours of one topic share an entry; the order is what counts.
            match topics.last_mut() {
                Some(last) if last.topic == partition.topic => last.partitions.push(asked),
                _ => topics.push(FetchTopic {
                    topic: partition.topic.clone(),
                    topic_id,
                    partitions: vec![asked],
                    ..Default::default()
                }),
            }
            question.topics.insert(topic_id, partition.topic.clone());
            question.partitions.insert(partition, wanted);
        }
        let config = &shared.config;
        let request = FetchRequest {
            max_wait_ms: millis(config.fetch_max_wait),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes.min(i32::try_from(room).unwrap_or(i32::MAX)),
            isolation_level: config.isolation_level.wire(),
            session_id: 0,
            session_epoch: -1,
            topics,
            rack_id: config.client_rack.clone().unwrap_or_default(),
            ..Default::default()
        };
        let timeout = config.request_timeout + config.fetch_max_wait;
        let id = shared.ids.allocate();
        let mut outgoing = Outgoing::new(id, Target::Broker(broker), request, timeout);
        if !all_known {
            outgoing.max_version = LAST_BY_NAME;
        }
        self.asked.insert(broker, Asked { id, broker, with: question });
        outgoing
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(broker) = self.asked.iter().find(|(_, asked)| asked.id == id).map(|(broker, _)| *broker)
        else {
            return false;
        };
        let Some(asked) = self.asked.remove(&broker) else { return false };
        match answer {
            Ok(Response::Fetch(response)) if ErrorCode(response.error_code).is_none() => {
                self.troubled.remove(&broker);
                self.answers = self.answers.wrapping_add(1);
                self.apply(now, shared, cursors, &asked, response);
            }
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                let (doing, cause) = ("fetching", failure.cause.clone());
                shared.fail(ConsumerError::Unsupported { doing, cause });
            }
            _ => {
                shared.failed(now, self.troubled.entry(broker).or_default());
                shared.refresh_metadata(now);
                for partition in asked.with.partitions.keys() {
                    if let Some(cursor) = cursors.get_mut(partition) {
                        cursor.preferred = cursor.preferred.filter(|(preferred, _)| *preferred != broker);
                    }
                }
            }
        }
        true
    }

    fn apply(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        asked: &Asked<Question>,
        response: &FetchResponse,
    ) {
        let mut seen = BTreeSet::new();
        let mut fetched = false;
        for topic in &response.responses {
            let name = if topic.topic_id.is_zero() {
                Some(&topic.topic)
            } else {
                asked.with.topics.get(&topic.topic_id)
            };
            let Some(name) = name else { continue };
            for data in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let Some(wanted) = asked.with.partitions.get(&partition) else { continue };
                if seen.insert(partition.clone()) {
                    fetched |=
                        self.apply_partition(now, shared, cursors, asked.broker, &partition, *wanted, data);
                }
            }
        }
        if fetched {
            shared.events.push_back(Event::Fetched);
        }
    }

    /// True when there is something to take.
    #[expect(
        clippy::too_many_arguments,
        reason = "a part of an answer, what it answers, and what it changes"
    )]
    fn apply_partition(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        broker: BrokerId,
        partition: &TopicPartition,
        wanted: Wanted,
        data: &PartitionData,
    ) -> bool {
        if !self.is_current(shared, cursors, partition, wanted) {
            tracing::debug!(%partition, offset = wanted.offset, "a stale part of a fetch is thrown away");
            return false;
        }
        let Some(cursor) = cursors.get_mut(partition) else { return false };
        let code = ErrorCode(data.error_code);
        if !code.is_none() {
            self.refused(now, shared, cursors, broker, partition, wanted, data);
            return false;
        }
        if data.last_stable_offset >= 0 || data.high_watermark >= 0 {
            cursor.end_offset = Some(match shared.config.isolation_level {
                IsolationLevel::ReadCommitted if data.last_stable_offset >= 0 => data.last_stable_offset,
                _ => data.high_watermark,
            });
        }
        let records = data.records.clone().unwrap_or_default();
        if let Some(replica) = BrokerId::from_wire(data.preferred_read_replica)
            && records.is_empty()
        {
            cursor.prefer(replica, now, shared.config.metadata_max_age);
        }
        cursor.retry.succeeded();
        if records.is_empty() {
            return false;
        }
        cursor.served = self.answers;
        let mut batches = Batches::new(records);
        let mut isolation = Isolation::new(match shared.config.isolation_level {
            IsolationLevel::ReadCommitted => data.aborted_transactions.as_ref(),
            IsolationLevel::ReadUncommitted => None,
        });
        let mut got_some = false;
        for batch in &mut batches {
            let error = match batch.and_then(|batch| Ok((isolation.admits(&batch)?, batch))) {
                Ok((_, batch)) if batch.next_offset() <= wanted.offset => continue,
                Ok((admitted, batch)) => {
                    self.buffer.push(partition, batch, admitted);
                    got_some = true;
                    continue;
                }
                Err(error) => error,
            };
            // What came before it is good and is handed out first; by then it is the first of an answer.
            if self.buffer.next(partition).is_none() {
                self.unreadable(shared, cursors, partition, error);
            } else if !got_some && let Some(cursor) = cursors.get_mut(partition) {
                let mut retry = cursor.retry;
                shared.failed(now, &mut retry);
                cursor.retry = retry;
            }
            return got_some;
        }
        if let Some(truncated) = batches.truncated().filter(|_| !got_some) {
            self.cut_off(shared, cursors, partition, wanted, truncated.needed);
        }
        got_some
    }

    /// True while the partition is as it was when it was asked for.
    fn is_current(
        &self,
        shared: &Shared,
        cursors: &mut Cursors,
        partition: &TopicPartition,
        wanted: Wanted,
    ) -> bool {
        let Some(position) = cursors.current_mut(partition, wanted.version).and_then(|cursor| cursor.ready())
        else {
            return false;
        };
        let known = shared.metadata.metadata().partition(partition);
        self.buffer.next(partition).unwrap_or(position).offset == wanted.offset
            && known.is_none_or(|known| known.leader_epoch <= wanted.leader_epoch)
    }

    /// The first batch of an answer does not fit: it is asked for with more bytes, once (F4).
    fn cut_off(
        &mut self,
        shared: &mut Shared,
        cursors: &mut Cursors,
        partition: &TopicPartition,
        wanted: Wanted,
        needed: Option<usize>,
    ) {
        let Some(cursor) = cursors.get_mut(partition) else { return };
        let needed = needed.unwrap_or_default();
        match i32::try_from(needed) {
            Ok(bytes) if bytes > wanted.max_bytes => cursor.fetch_bytes = Some(bytes),
            _ => {
                let (partition, offset) = (partition.clone(), wanted.offset);
                halt(cursor, "the broker cuts off a batch");
                let error = ConsumerError::BatchCutOff { partition, offset, needed };
                shared.fail(error);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a part of an answer, what it answers, and what it changes"
    )]
    fn refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        broker: BrokerId,
        partition: &TopicPartition,
        wanted: Wanted,
        data: &PartitionData,
    ) {
        let Some(cursor) = cursors.get_mut(partition) else { return };
        let code = ErrorCode(data.error_code);
        let was_follower = cursor.preferred.take_if(|(preferred, _)| *preferred == broker).is_some();
        match verdict(ApiKey::Fetch, code) {
            // A follower may lag behind; the leader knows (F7).
            _ if was_follower => {}
            Verdict::OffsetOutOfRange if self.buffer.next(partition).is_none() => {
                return out_of_range(shared, cursor, partition, wanted.offset);
            }
            Verdict::RefreshMetadata => {
                shared.refresh_metadata(now);
                let hint = &data.current_leader;
                if let Some(leader) = BrokerId::from_wire(hint.leader_id)
                    && shared.metadata.apply_leader(partition, leader, hint.leader_epoch)
                {
                    return;
                }
            }
            Verdict::Refused | Verdict::Unsupported => {
                halt(cursor, "the broker refuses to be read from");
                let (partition, doing) = (partition.clone(), "fetching");
                shared.fail(ConsumerError::Partition { partition, doing, code });
                return;
            }
            // Asked for once more first.
            _ if code == ErrorCode::CORRUPT_MESSAGE
                && cursor.corrupt_at.replace(wanted.offset) == Some(wanted.offset) =>
            {
                halt(cursor, "the broker finds its log corrupt");
                let (partition, offset) = (partition.clone(), wanted.offset);
                shared.fail(ConsumerError::CorruptLog { partition, offset });
                return;
            }
            _ => {}
        }
        let mut retry = cursor.retry;
        shared.failed(now, &mut retry);
        cursor.retry = retry;
    }

    /// A batch can't be read: it is fetched once more, and if it comes back the same the partition stands still. Records
    /// are never skipped (F12).
    fn unreadable(
        &mut self,
        shared: &mut Shared,
        cursors: &mut Cursors,
        partition: &TopicPartition,
        error: BatchError,
    ) {
        self.buffer.discard(partition);
        cursors.invalidate(partition);
        let Some(cursor) = cursors.get_mut(partition) else { return };
        let Some(Position { offset, .. }) = cursor.position() else { return };
        // An old format does not change by asking again (F13).
        let is_hopeless = matches!(error.kind, BatchErrorKind::LegacyMagic(_));
        if cursor.corrupt_at.replace(offset) == Some(offset) || is_hopeless {
            halt(cursor, "a batch can't be read");
            let partition = partition.clone();
            shared.fail(ConsumerError::Corrupt { partition, offset, error });
        }
    }

    /// Hands out up to `max_records` records.
    pub(crate) fn take(
        &mut self,
        shared: &mut Shared,
        cursors: &mut Cursors,
        max_records: usize,
    ) -> Vec<PartitionRecords> {
        let options = ReadOptions { check_crc: shared.config.check_crcs, ..Default::default() };
        let (taken, unreadable) = self.buffer.take(cursors, &options, max_records);
        for broken in unreadable {
            self.unreadable(shared, cursors, &broken.partition, broken.error);
        }
        taken
    }

    pub(crate) fn is_ready(&self, cursors: &Cursors) -> bool {
        self.buffer.is_ready(cursors)
    }

    /// Throws away what is here of a partition. What is under way is thrown away by the cursor's version.
    pub(crate) fn discard(&mut self, partition: &TopicPartition) {
        self.buffer.discard(partition);
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for retry in self.troubled.values_mut() {
            retry.wake(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let next = self.troubled.values().filter_map(Retry::until).min();
        next.map(|at| Deadline::new(at, "fetch from a broker again"))
    }

    /// Why a partition is not being asked for; `Ok` with the bytes here when it is about to be.
    pub(crate) fn obstacle(
        &self,
        now: Instant,
        shared: &Shared,
        partition: &TopicPartition,
        cursor: &Cursor,
    ) -> Result<usize, Obstacle> {
        let metadata = shared.metadata.metadata();
        self.wanted(now, shared, partition, cursor, metadata)?;
        let source = cursor.source(now, partition, metadata).ok_or(Obstacle::NoLeader)?;
        if self.asked.contains_key(&source) {
            return Err(Obstacle::InFlight(source));
        }
        if self.troubled.get(&source).is_some_and(|retry| retry.is_waiting(now)) {
            return Err(Obstacle::BrokerWaiting(source));
        }
        Ok(self.buffer.bytes(partition))
    }
}

/// Stops a partition where it is.
fn halt(cursor: &mut Cursor, why: &'static str) {
    if let Some(position) = cursor.position() {
        cursor.state = CursorState::Halted(position, why);
    }
}

/// The log has nothing at the position: retention was quicker, or the log was cut off (F7).
fn out_of_range(shared: &mut Shared, cursor: &mut Cursor, partition: &TopicPartition, offset: i64) {
    match shared.config.auto_offset_reset {
        AutoOffsetReset::Earliest => cursor.state = CursorState::Unresolved(EARLIEST),
        AutoOffsetReset::Latest => cursor.state = CursorState::Unresolved(LATEST),
        AutoOffsetReset::None => {
            halt(cursor, "its position is not in the log and there is no reset policy");
            let partition = partition.clone();
            shared.fail(ConsumerError::OffsetOutOfRange { partition, offset });
        }
    }
}
