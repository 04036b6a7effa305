//! What becomes of an answer: it is held against what was asked, and only what is still current counts.

use std::{collections::BTreeSet, time::Instant};

use milena_cluster::{BrokerId, FailureKind, RequestId, TopicPartition, Verdict, verdict};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{FetchResponse, Response, fetch::PartitionData},
    records::{BatchError, Batches},
};

use super::{Fetcher, Question, Wanted, isolation::Isolation};
use crate::{
    ConsumerError, Event, IsolationLevel, Position,
    cursors::{Cursor, CursorState, Cursors},
    planted_bug::PlantedBug,
    shared::{Answer, Asked, Shared, take_asked},
};

impl Fetcher {
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        if let Some(place) = self.ending.iter().position(|ending| *ending == id) {
            self.ending.swap_remove(place);
            return true;
        }
        let Some(asked) = take_asked(&mut self.asked, id) else { return false };
        let broker = asked.broker;
        if answer.is_err() && shared.planted.has(PlantedBug::HangsAfterDisconnect) {
            self.asked.insert(broker, asked);
            return true;
        }
        match answer {
            Ok(Response::Fetch(response)) if ErrorCode(response.error_code).is_none() => {
                self.troubled.remove(&broker);
                self.answers = self.answers.wrapping_add(1);
                let is_whole = self.apply(now, shared, cursors, &asked, response);
                // It was asked for when there was more memory.
                if asked.with.limit > shared.config.max_buffered_bytes {
                    self.give_way(shared.config.max_buffered_bytes);
                }
                let Question { partitions, is_full, by_id, .. } = asked.with;
                let session = self.sessions.entry(broker).or_default();
                session.confirm(response.session_id, is_whole, is_full, by_id, partitions);
            }
            // The broker has forgotten the session, or has another idea of it: it is told everything, at once.
            Ok(Response::Fetch(response)) if !asked.with.is_full && is_of_session(response.error_code) => {
                self.sessions.entry(broker).or_default().fail(Some(ErrorCode(response.error_code)));
            }
            // The broker has become older than its session.
            Err(failure) if failure.kind == FailureKind::Unsupported && !asked.with.is_full => {
                self.sessions.remove(&broker);
            }
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                let (doing, cause) = ("fetching", failure.cause.clone());
                shared.fail(ConsumerError::Unsupported { doing, cause });
            }
            _ => {
                let code = match answer {
                    Ok(Response::Fetch(response)) => Some(ErrorCode(response.error_code)),
                    _ => None,
                };
                self.sessions.entry(broker).or_default().fail(code);
                self.memory.disconnected(broker);
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

    /// True when the answer told of what it should: everything asked in full, and nothing else in any case.
    fn apply(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        asked: &Asked<Question>,
        response: &FetchResponse,
    ) -> bool {
        let mut is_whole = true;
        let memory = self.memory.answer(asked.broker);
        let mut seen = BTreeSet::new();
        let mut fetched = false;
        let mut topics = response.responses.walk();
        while let Some(topic) = topics.lend_next() {
            let name = if topic.topic_id.is_zero() {
                Some(&topic.topic)
            } else {
                asked.with.topics.get(&topic.topic_id)
            };
            let Some(name) = name else {
                is_whole = false;
                continue;
            };
            let mut partitions = topic.partitions.walk();
            while let Some(data) = partitions.lend_next() {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let Some(wanted) = asked.with.partitions.get(&partition) else {
                    is_whole = false;
                    continue;
                };
                if seen.insert(partition.clone()) {
                    data.records = data.records.take().map(|records| memory.charge(records));
                    fetched |=
                        self.apply_partition(now, shared, cursors, asked.broker, &partition, *wanted, data);
                }
            }
        }
        self.memory.answered(asked.broker, &memory);
        if fetched {
            shared.events.push_back(Event::Fetched);
        }
        is_whole && (!asked.with.is_full || seen.len() == asked.with.partitions.len())
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
        data: &mut PartitionData,
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
        cursor.checked = Some(wanted.leader_epoch);
        let records = data.records.take().unwrap_or_default();
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
            IsolationLevel::ReadCommitted if !shared.planted.has(PlantedBug::IgnoresAbortedList) => {
                data.aborted_transactions.as_ref()
            }
            IsolationLevel::ReadCommitted | IsolationLevel::ReadUncommitted => None,
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
                shared.failed(now, &mut cursor.retry);
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
                return out_of_range(now, shared, cursor, partition, wanted.offset);
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
        shared.failed(now, &mut cursor.retry);
    }

    /// A batch can't be read: it is fetched once more, and if it comes back the same the partition stands still. Records
    /// are never skipped (F12).
    pub(super) fn unreadable(
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
        if cursor.corrupt_at.replace(offset) == Some(offset) {
            halt(cursor, "a batch can't be read");
            let partition = partition.clone();
            shared.fail(ConsumerError::Corrupt { partition, offset, error });
        }
    }
}

fn is_of_session(code: i16) -> bool {
    matches!(
        ErrorCode(code),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

/// Stops a partition where it is.
fn halt(cursor: &mut Cursor, why: &'static str) {
    if let Some(position) = cursor.position() {
        cursor.state = CursorState::Halted(position, why);
    }
}

/// The log has nothing at the position: retention was quicker, or the log was cut off (F7).
fn out_of_range(
    now: Instant,
    shared: &mut Shared,
    cursor: &mut Cursor,
    partition: &TopicPartition,
    offset: i64,
) {
    match shared.reset(now) {
        Some(state) => cursor.state = state,
        None => {
            halt(cursor, "its position is not in the log and there is no reset policy");
            let partition = partition.clone();
            shared.fail(ConsumerError::OffsetOutOfRange { partition, offset });
        }
    }
}
