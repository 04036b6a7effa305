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
            if candidates.partitions.is_empty() || candidates.full || waits {
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
            return Some(self.ask(shared, *broker, candidates, room));
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
        };
        let config = &shared.config;
        let request = FetchRequest {
            max_wait_ms: millis(config.fetch_max_wait),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes.min(i32::try_from(room).unwrap_or(i32::MAX)),
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
