//! Where reading stands in each assigned partition.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use milena_cluster::{BrokerId, Metadata, TopicPartition};
use milena_protocol::wire::Uuid;

use crate::retry::Retry;

/// A place in a partition: the next offset to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the next record, or of a gap before it.
    pub offset: i64,
    /// The epoch of the leader that wrote the record before, as far as it is known. A commit carries it, so that a log
    /// that was cut off shows (KIP-320).
    pub leader_epoch: Option<i32>,
}

/// Where to go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// At this offset.
    Offset(i64),
    /// At the oldest record.
    Beginning,
    /// At the next record to be written; under read_committed, the first of an open transaction.
    End,
    /// At the first record that is not older, in milliseconds since 1970; at the end when all are.
    Timestamp(i64),
}

/// What is known of a position.
///
/// ```text
///   Uncommitted ──committed offset──► Ready ◄──offset by time── Unresolved
///        │                            │  ▲                          ▲
///        └──none: auto_offset_reset───┼──┼──out of range────────────┘
///                                     ▼  │ seek
///                                    Halted
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorState {
    /// The group's committed offset is to be asked for.
    Uncommitted,
    /// The leader is to be asked for the offset of this time (a `Timestamp` of ListOffsets).
    Unresolved(i64),
    Ready(Position),
    /// Stands still until the application seeks: the owner was told why.
    Halted(Position, &'static str),
}

/// What ListOffsets takes for the oldest record.
pub(crate) const EARLIEST: i64 = -2;
/// What ListOffsets takes for the end of the log.
pub(crate) const LATEST: i64 = -1;

#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Changes whenever what is under way for the partition is void: with an assignment, a seek, another topic of the
    /// same name. An answer counts only for the version that was asked with (F11).
    pub(crate) version: u64,
    pub(crate) state: CursorState,
    pub(crate) paused: bool,
    /// To be given up: neither fetched nor handed out.
    pub(crate) revoking: bool,
    /// The topic the position belongs to; zero while it is not known.
    pub(crate) topic_id: Uuid,
    /// A replica to read from for a while (KIP-392).
    pub(crate) preferred: Option<(BrokerId, Instant)>,
    /// Waits between tries of whatever the state asks for.
    pub(crate) retry: Retry,
    /// The epoch of the leader that last had what was asked of it, and so has the position in its log. Under a newer
    /// one it is asked about first (F8).
    pub(crate) checked: Option<i32>,
    /// The position at which a batch was corrupt: it is fetched once more, and not twice (F12).
    pub(crate) corrupt_at: Option<i64>,
    /// More than the configured maximum, for a batch that did not fit (F4).
    pub(crate) fetch_bytes: Option<i32>,
    /// When the partition last filled an answer, counted in answers: who waits longest is served first.
    pub(crate) served: u64,
    /// The end of what can be read, as the last answer said.
    pub(crate) end_offset: Option<i64>,
}

impl Cursor {
    pub(crate) fn position(&self) -> Option<Position> {
        match self.state {
            CursorState::Ready(position) | CursorState::Halted(position, _) => Some(position),
            CursorState::Uncommitted | CursorState::Unresolved(_) => None,
        }
    }

    pub(crate) fn ready(&self) -> Option<Position> {
        match self.state {
            CursorState::Ready(position) if !self.revoking => Some(position),
            _ => None,
        }
    }

    /// True while nobody has said that `from` is in the log of the leader of this epoch, and it can be asked. What was read
    /// under a later epoch than is known of is for the leader of that one to judge.
    pub(crate) fn is_unchecked(&self, from: Position, leader_epoch: i32) -> bool {
        from.leader_epoch.is_some_and(|epoch| epoch <= leader_epoch)
            && self.checked.is_none_or(|checked| checked < leader_epoch)
    }

    /// Moves on to where the records handed out end.
    pub(crate) fn advance(&mut self, next: Position) {
        self.state = CursorState::Ready(next);
        self.corrupt_at = None;
        self.fetch_bytes = None;
    }

    /// The broker to fetch from: a replica near by while that holds, else the leader.
    pub(crate) fn source(
        &self,
        now: Instant,
        partition: &TopicPartition,
        metadata: &Metadata,
    ) -> Option<BrokerId> {
        let leader = metadata.partition(partition)?.leader?;
        match self.preferred {
            Some((broker, until)) if until > now && metadata.brokers.contains_key(&broker) => Some(broker),
            _ => Some(leader),
        }
    }

    pub(crate) fn prefer(&mut self, broker: BrokerId, now: Instant, lasting: Duration) {
        self.preferred = Some((broker, now + lasting));
    }
}

/// The assigned partitions.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    map: BTreeMap<TopicPartition, Cursor>,
    versions: u64,
}

impl Cursors {
    pub(crate) fn insert(&mut self, partition: TopicPartition, state: CursorState, topic_id: Uuid) {
        let cursor = Cursor {
            version: self.next_version(),
            state,
            paused: false,
            revoking: false,
            topic_id,
            preferred: None,
            retry: Retry::default(),
            checked: None,
            corrupt_at: None,
            fetch_bytes: None,
            served: 0,
            end_offset: None,
        };
        self.map.insert(partition, cursor);
    }

    fn next_version(&mut self) -> u64 {
        self.versions = self.versions.wrapping_add(1);
        self.versions
    }

    pub(crate) fn remove(&mut self, partition: &TopicPartition) {
        self.map.remove(partition);
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
    }

    pub(crate) fn get(&self, partition: &TopicPartition) -> Option<&Cursor> {
        self.map.get(partition)
    }

    pub(crate) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Cursor> {
        self.map.get_mut(partition)
    }

    /// The cursor, if nothing has happened to it since `version`.
    pub(crate) fn current_mut(&mut self, partition: &TopicPartition, version: u64) -> Option<&mut Cursor> {
        self.map.get_mut(partition).filter(|cursor| cursor.version == version)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Cursor)> {
        self.map.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Cursor)> {
        self.map.iter_mut()
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.map.keys()
    }

    /// Starts a partition afresh: what is under way for it is void.
    pub(crate) fn restart(&mut self, partition: &TopicPartition, state: CursorState) -> bool {
        let version = self.next_version();
        let Some(cursor) = self.map.get_mut(partition) else { return false };
        cursor.version = version;
        cursor.state = state;
        cursor.retry.succeeded();
        cursor.checked = None;
        cursor.corrupt_at = None;
        cursor.fetch_bytes = None;
        true
    }

    /// Voids what is under way for a partition and leaves it where it is.
    pub(crate) fn invalidate(&mut self, partition: &TopicPartition) {
        let version = self.next_version();
        if let Some(cursor) = self.map.get_mut(partition) {
            cursor.version = version;
        }
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        for cursor in self.map.values_mut() {
            cursor.retry.wake(now);
        }
    }

    /// When the next wait is over.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.map.values().filter_map(|cursor| cursor.retry.until()).min()
    }
}
