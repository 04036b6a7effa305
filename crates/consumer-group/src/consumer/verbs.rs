//! What the application wants of a consumer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use milena_cluster::{Machine, TopicPartition};
use milena_protocol::wire::ByteString;

use super::{Application, Consumer, Lifecycle, Source};
use crate::{
    CommitError, CommitId, CommitMode, Event, GroupMembership, NotAssigned, OffsetAndMetadata,
    PartitionRecords, Position, QueryId, SeekTo, SubscribeError,
    cursors::{CursorState, EARLIEST, LATEST},
    membership::Interest,
    planted_bug::PlantedBug,
};

/// Where partitions come from.
impl Consumer {
    /// Reads these topics, together with the other members of the group. A later subscription replaces this one.
    ///
    /// # Errors
    /// Without a group, when partitions are assigned by hand, or when the consumer is closed.
    pub fn subscribe(
        &mut self,
        now: Instant,
        topics: impl IntoIterator<Item = ByteString>,
    ) -> Result<(), SubscribeError> {
        self.subscribe_to(now, Interest { topics: topics.into_iter().collect(), pattern: None })
    }

    /// Reads every topic whose whole name matches `pattern`, those that are made later included, together with the other
    /// members of the group. The group's coordinator does the matching, in the syntax of RE2; only KIP-848 has that. A later
    /// subscription replaces this one.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe). What the coordinator finds wrong with the pattern comes as
    /// [`Event::Failed`].
    pub fn subscribe_pattern(&mut self, now: Instant, pattern: ByteString) -> Result<(), SubscribeError> {
        self.subscribe_to(now, Interest { topics: BTreeSet::new(), pattern: Some(pattern) })
    }

    fn subscribe_to(&mut self, now: Instant, interest: Interest) -> Result<(), SubscribeError> {
        self.check_running()?;
        if self.shared.config.group_id.is_none() {
            return Err(SubscribeError::NoGroup);
        }
        if self.source == Source::ByHand {
            return Err(SubscribeError::Assigned);
        }
        self.source = Source::Group(interest.clone());
        self.application_is_busy(now);
        self.membership.subscribe(now, &mut self.shared, interest);
        self.wants_changed = true;
        self.settle(now);
        Ok(())
    }

    /// Reads these partitions, whoever else does. One without a position starts at its committed offset, else where
    /// `auto_offset_reset` says. A later assignment replaces this one; a partition that is in both and has no position
    /// given goes on where it is.
    ///
    /// # Errors
    /// While subscribed, or when the consumer is closed.
    pub fn assign(
        &mut self,
        now: Instant,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<Position>)>,
    ) -> Result<(), SubscribeError> {
        self.check_running()?;
        if matches!(self.source, Source::Group(_) | Source::LeftGroup) {
            return Err(SubscribeError::Subscribed);
        }
        self.source = Source::ByHand;
        let partitions: BTreeMap<_, _> = partitions.into_iter().collect();
        let gone = self.cursors.partitions().filter(|partition| !partitions.contains_key(*partition));
        let gone: Vec<_> = gone.cloned().collect();
        self.forget(&gone);
        for (partition, from) in partitions {
            if from.is_some() || self.cursors.get(&partition).is_none() {
                self.fetcher.discard(&partition);
                self.start(now, partition, from);
            }
        }
        self.wants_changed = true;
        self.settle(now);
        Ok(())
    }

    /// Reads nothing any more. A member gives its partitions up first ([`Event::RevokePending`]), then leaves.
    pub fn unsubscribe(&mut self, now: Instant) {
        if self.lifecycle != Lifecycle::Running {
            return;
        }
        match std::mem::replace(&mut self.source, Source::Nowhere) {
            Source::Nowhere => {}
            Source::Group(_) | Source::LeftGroup => {
                self.source = Source::LeftGroup;
                self.membership.leave(now, &mut self.shared);
            }
            Source::ByHand => {
                self.cursors.clear();
                self.fetcher.clear();
            }
        }
        self.wants_changed = true;
        self.settle(now);
    }

    /// What was given up is processed and committed, in answer to [`Event::RevokePending`]. Commits that are still under
    /// way come to their end first, as long as the group waits.
    pub fn revoke_done(&mut self, now: Instant) {
        self.revoke_confirmed = true;
        self.settle(now);
    }

    /// Leaves the group and stops: [`Event::RevokePending`] if there is something to give up, and [`Event::Closed`] at
    /// the end. A static member of a classic group leaves without a word, to be back before its session ends (KIP-345).
    pub fn close(&mut self, now: Instant) {
        match self.lifecycle {
            Lifecycle::Running => {
                self.lifecycle = Lifecycle::Closing;
                self.fetcher.close(now);
                self.membership.leave(now, &mut self.shared);
                self.settle(now);
            }
            Lifecycle::Closing => {}
            // There is nothing left to wait for.
            Lifecycle::Stopped => self.shared.events.push_back(Event::Closed),
        }
    }

    /// Stops at once: the group is not left, and what is open has failed.
    pub fn abandon(&mut self) {
        if self.lifecycle != Lifecycle::Stopped {
            self.lose_all();
            self.stop();
        }
    }

    fn check_running(&self) -> Result<(), SubscribeError> {
        match self.lifecycle {
            Lifecycle::Running => Ok(()),
            Lifecycle::Closing | Lifecycle::Stopped => Err(SubscribeError::Closed),
        }
    }
}

/// Records and positions.
impl Consumer {
    /// Hands out up to `max_records` records and moves the positions past them. Partitions are served in turn. Empty when
    /// nothing has arrived; [`Event::Fetched`] tells when to come again.
    ///
    /// Decompressing and checking are done here, so that a call takes as long as its records are large. Nothing is lost
    /// when the caller is dropped: what was not handed out is still here, what was is the caller's.
    pub fn take(&mut self, now: Instant, max_records: usize) -> Vec<PartitionRecords> {
        self.catch_up(now);
        if self.lifecycle != Lifecycle::Running {
            return Vec::new();
        }
        let taken = self.fetcher.take(&mut self.shared, &mut self.cursors, max_records);
        if !taken.is_empty() {
            self.application_is_busy(now);
        }
        self.settle(now);
        taken
    }

    /// True when [`take`](Self::take) would find something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.fetcher.is_ready(&self.cursors)
    }

    /// The application is alive: it has asked for records, or says so while it processes many. From here on it has
    /// `max_poll_interval` until the next call or [`take`](Self::take).
    pub fn application_polled(&mut self, now: Instant) {
        self.application_is_busy(now);
        self.settle(now);
    }

    /// The application waits for records: however long that takes, it is not late. Records that are taken end the wait,
    /// and so does [`application_polled`](Self::application_polled), which a caller that gives up waiting has to call.
    pub fn application_waits(&mut self, now: Instant) {
        self.application_is_busy(now);
        self.application = Application::Waiting;
        self.settle(now);
    }

    /// Acts on deadlines that the driver has not come to yet. After a suspend the session may be over without anybody
    /// having noticed: what is here may then be another member's (G9).
    fn catch_up(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| deadline.is_due(now)) {
            self.handle_timeout(now);
        }
    }

    fn application_is_busy(&mut self, now: Instant) {
        self.application = Application::Busy { since: now };
        self.membership.application_polled(now);
    }

    /// Goes on elsewhere in a partition. What was fetched of it is thrown away, and so is what is under way. A negative
    /// offset or time is taken as zero.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn seek(&mut self, now: Instant, partition: &TopicPartition, to: SeekTo) -> Result<(), NotAssigned> {
        let state = match to {
            SeekTo::Offset(offset) => {
                CursorState::Ready(Position { offset: offset.max(0), leader_epoch: None })
            }
            SeekTo::Beginning => CursorState::Unresolved(EARLIEST),
            SeekTo::End => CursorState::Unresolved(LATEST),
            SeekTo::Timestamp(time) => CursorState::Unresolved(time.max(0)),
        };
        self.fetcher.discard(partition);
        if !self.cursors.restart(partition, state) {
            return Err(NotAssigned { partition: partition.clone() });
        }
        self.settle(now);
        Ok(())
    }

    /// Hands out nothing of a partition until it is resumed. What was fetched of it stays, unless other partitions need
    /// the room.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.set_paused(partition, true)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.set_paused(partition, false)?;
        if self.is_ready() {
            self.shared.events.push_back(Event::Fetched);
        }
        Ok(())
    }

    fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> Result<(), NotAssigned> {
        match self.cursors.get_mut(partition) {
            Some(cursor) => cursor.paused = paused,
            None => return Err(NotAssigned { partition: partition.clone() }),
        }
        Ok(())
    }

    /// The next record to be handed out; `None` while it is not known, or the partition is not assigned.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.cursors.get(partition)?.position().filter(|position| position.offset >= 0)
    }

    /// How many offsets are between the position and the end of what can be read, as the last answer said. Under
    /// read_committed the end is the last stable offset.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let end = self.end_offset(partition)?;
        Some(end.saturating_sub(self.position(partition)?.offset).max(0))
    }

    /// The end of what can be read, as the last answer said: see [`lag`](Self::lag).
    #[must_use]
    pub fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.cursors.get(partition)?.end_offset
    }

    /// The partitions that the consumer reads, including those it is about to give up.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.cursors.partitions().cloned().collect()
    }

    /// The topics subscribed to.
    #[must_use]
    pub fn subscription(&self) -> Vec<ByteString> {
        match &self.source {
            Source::Group(interest) => interest.topics.iter().cloned().collect(),
            Source::Nowhere | Source::LeftGroup | Source::ByHand => Vec::new(),
        }
    }

    /// True when the partition is assigned and does not stand still until a seek, as it does after an error.
    #[must_use]
    pub fn goes_on(&self, partition: &TopicPartition) -> bool {
        let cursor = self.cursors.get(partition);
        cursor.is_some_and(|cursor| !matches!(cursor.state, CursorState::Halted(..)))
    }

    /// True when the partition is paused.
    #[must_use]
    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.cursors.get(partition).is_some_and(|cursor| cursor.paused)
    }
}

/// Committed offsets.
impl Consumer {
    /// Commits offsets. The outcome comes as [`Event::Committed`]. Commits are sent one after the other; those that wait
    /// are sent together, the newest offset of a partition winning.
    ///
    /// # Errors
    /// At once, without a group, for a partition that is not assigned, for a negative offset, or when closed.
    pub fn commit(
        &mut self,
        now: Instant,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        mode: CommitMode,
    ) -> Result<CommitId, CommitError> {
        self.catch_up(now);
        self.check_group()?;
        for (partition, commit) in &offsets {
            let (partition, offset) = (partition.clone(), commit.position.offset);
            if self.cursors.get(&partition).is_none() {
                return Err(CommitError::NotAssigned { partition });
            }
            if offset < 0 {
                return Err(CommitError::NegativeOffset { partition, offset });
            }
        }
        let timeout = self.commit_timeout();
        let id = if offsets.is_empty() {
            self.commits.commit_nothing(&mut self.shared)
        } else {
            self.commits.commit(now, timeout, offsets, mode)
        };
        self.settle(now);
        Ok(id)
    }

    /// Commits the position of every assigned partition that has one: all that was taken so far.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_positions(&mut self, now: Instant, mode: CommitMode) -> Result<CommitId, CommitError> {
        let positions = self.cursors.iter().filter_map(|(partition, cursor)| {
            let mut position = cursor.position().filter(|position| position.offset >= 0)?;
            if self.shared.planted.has(PlantedBug::CommitsWhatWasFetched) {
                position = self.fetcher.fetched_to(partition).unwrap_or(position);
            }
            Some((partition.clone(), position.into()))
        });
        let offsets = positions.collect();
        self.commit(now, offsets, mode)
    }

    /// Asks for committed offsets, of whichever partitions. The answer comes as [`Event::CommittedOffsets`].
    ///
    /// # Errors
    /// At once, without a group or when closed.
    pub fn query_committed(
        &mut self,
        now: Instant,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<QueryId, CommitError> {
        self.check_group()?;
        let timeout = self.commit_timeout();
        Ok(self.queries.ask(now, timeout, partitions.into_iter().collect()))
    }

    /// What a transactional producer has to send along with this consumer's offsets (KIP-447). `None` without a group,
    /// and while a subscribed consumer is not a member.
    #[must_use]
    pub fn group_membership(&self) -> Option<GroupMembership> {
        let group_id = self.shared.config.group_id.clone()?;
        let identity = self.identity();
        if identity.is_none() && self.source != Source::ByHand {
            return None;
        }
        let (member_id, generation_or_epoch) =
            identity.map_or((ByteString::default(), -1), |identity| (identity.member_id, identity.epoch));
        let group_instance_id = self.shared.config.group_instance_id.clone();
        Some(GroupMembership { group_id, member_id, generation_or_epoch, group_instance_id })
    }

    fn check_group(&self) -> Result<(), CommitError> {
        match self.lifecycle {
            Lifecycle::Stopped => Err(CommitError::Closed),
            _ if self.shared.config.group_id.is_none() => Err(CommitError::NoGroup),
            Lifecycle::Running | Lifecycle::Closing => Ok(()),
        }
    }
}
