//! Which broker is asked, for which partitions, from where, and for how much.

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{BrokerId, Metadata, Outgoing, Target, TopicPartition};
use milena_protocol::messages::FetchRequest;

use super::{Fetcher, Obstacle, Question, Wanted};
use crate::{
    config::millis,
    cursors::{Cursor, CursorState, Cursors},
    shared::{Asked, Shared},
};

/// The last version that names topics by name.
const LAST_BY_NAME: i16 = 12;

/// The partitions one broker could be asked for.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    partitions: Vec<(TopicPartition, Wanted, u64)>,
    /// Something is here for the application.
    is_ready: bool,
    /// A partition has no room.
    pub(super) full: bool,
    /// Partitions that are paused and hold something.
    idle: Vec<TopicPartition>,
}

/// How many answers the memory for a broker is divided into: one is read while others wait or are on their way, and each is
/// held to its last record.
const ANSWERS: usize = 4;

/// The memory for an answer.
pub(super) struct Room {
    pub(super) bytes: usize,
    /// With less than this nothing is asked.
    pub(super) least: usize,
}

impl Fetcher {
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
        application_waits: bool,
    ) -> Option<Outgoing> {
        if shared.config.max_buffered_bytes == 0 {
            return None;
        }
        let metadata = shared.metadata();
        let mut brokers = self.candidates(now, shared, cursors, &metadata);
        let count = brokers.len().max(1);
        for (broker, candidates) in &mut brokers {
            let waits = self.troubled.get(broker).is_some_and(|retry| retry.is_waiting(now));
            if candidates.partitions.is_empty() || candidates.full || waits {
                continue;
            }
            let Room { mut bytes, least } = self.room(shared, *broker, count);
            // What a pause keeps here is fetched again later, rather than starving the others.
            if bytes < least && !candidates.idle.is_empty() {
                candidates.idle.iter().for_each(|partition| self.buffer.discard(partition));
                bytes = self.room(shared, *broker, count).bytes;
            }
            if bytes < least {
                // The application has it all, and waits for more.
                if !application_waits || candidates.is_ready {
                    continue;
                }
                bytes = least;
            }
            let candidates = std::mem::take(candidates);
            return Some(self.ask(shared, *broker, candidates, bytes));
        }
        None
    }

    /// What one of `brokers` brokers may be asked for.
    pub(super) fn room(&self, shared: &Shared, broker: BrokerId, brokers: usize) -> Room {
        let limit = shared.config.max_buffered_bytes;
        let share = self.memory.for_answers(limit) / brokers;
        let bytes = share
            .saturating_sub(self.memory.of(broker))
            .min(self.memory.room(limit).saturating_sub(self.on_the_way()));
        let partition = usize::try_from(shared.config.max_partition_fetch_bytes).unwrap_or(usize::MAX);
        let least = partition.min(share).max(1);
        Room { bytes: bytes.min(least.max(share / ANSWERS)), least }
    }

    pub(super) fn candidates(
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
            if cursor.paused && bytes > 0 {
                candidates.idle.push(partition.clone());
            }
            candidates.is_ready |= bytes > 0 && !cursor.paused;
            if self.asked.contains_key(&source) {
                continue;
            }
            match self.wanted(now, shared, partition, cursor, metadata) {
                Ok(wanted) => candidates.partitions.push((partition.clone(), wanted, cursor.served)),
                Err(obstacle) => candidates.full |= obstacle == Obstacle::Full,
            }
        }
        brokers
    }

    /// What to ask of a partition, or why nothing is asked, as far as it depends on the partition alone.
    pub(super) fn wanted(
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
        let from = self.buffer.next(partition).unwrap_or(position);
        if cursor.is_unchecked(from, known.leader_epoch) {
            return Err(Obstacle::Unchecked);
        }
        let offset = from.offset;
        let max_bytes = cursor.fetch_bytes.unwrap_or(shared.config.max_partition_fetch_bytes);
        if self.buffer.bytes(partition) >= usize::try_from(max_bytes).unwrap_or(usize::MAX) {
            return Err(Obstacle::Full);
        }
        let topic_id = metadata.topic_id(&partition.topic);
        Ok(Wanted { version: cursor.version, topic_id, offset, leader_epoch: known.leader_epoch, max_bytes })
    }

    fn ask(
        &mut self,
        shared: &mut Shared,
        broker: BrokerId,
        candidates: Candidates,
        room: usize,
    ) -> Outgoing {
        let mut waiting = candidates.partitions;
        // Who waits longest is served first. Inside a session the broker keeps the same order by itself.
        waiting.sort_by_key(|(_, _, served)| *served);
        let waiting: Vec<_> = waiting.into_iter().map(|(partition, wanted, _)| (partition, wanted)).collect();
        let config = &shared.config;
        let room = room.min(self.memory.longest_of(broker));
        let max_bytes = config.fetch_max_bytes.min(i32::try_from(room).unwrap_or(i32::MAX));
        // More than all the partitions may bring does not come.
        let may_come = waiting.iter().map(|(_, wanted)| i64::from(wanted.max_bytes)).sum::<i64>();
        let may_come = usize::try_from(may_come.min(i64::from(max_bytes))).unwrap_or_default();
        let by_id = waiting.iter().all(|(_, wanted)| !wanted.topic_id.is_zero());
        let session = self.sessions.entry(broker).or_default();
        let part = session.ask(&waiting, by_id);
        let question = Question {
            topics: waiting
                .iter()
                .map(|(partition, wanted)| (wanted.topic_id, partition.topic.clone()))
                .collect(),
            partitions: waiting.into_iter().collect(),
            is_full: part.is_full(),
            by_id,
            may_come,
            limit: config.max_buffered_bytes,
        };
        let request = FetchRequest {
            max_wait_ms: millis(config.fetch_max_wait),
            min_bytes: config.fetch_min_bytes,
            max_bytes,
            isolation_level: config.isolation_level.wire(),
            session_id: part.id,
            session_epoch: part.epoch,
            topics: part.topics,
            forgotten_topics_data: part.forgotten,
            rack_id: config.client_rack.clone().unwrap_or_default(),
            ..Default::default()
        };
        let timeout = config.request_timeout.saturating_add(config.fetch_max_wait);
        let id = shared.ids.allocate();
        let mut outgoing = Outgoing::new(id, Target::Broker(broker), request, timeout);
        if !by_id {
            outgoing.max_version = LAST_BY_NAME;
        }
        self.asked.insert(broker, Asked { id, broker, with: question });
        outgoing
    }
}
