//! The consumer handle over the consumer machine.

mod auto_commit;
mod builder;
mod rebalance;
mod records;
mod signals;
mod stream;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use milena_cluster::{TopicPartition, later};
use milena_connection::{Driven, Network, drive, now};
use milena_consumer_group::{
    ChosenProtocol, CommitError, CommitMode, Consumer as Machine, ConsumerError, GroupMembership,
    NotAssigned, OffsetAndMetadata, PartitionRecords, Position, SeekTo, SubscribeError,
};
use milena_producer::GroupMetadata;
use milena_protocol::wire::ByteString;
use tokio::sync::Notify;

use crate::{CloseError, ConsumeError, memory::Share, metrics::ConsumerMeters, trace::Tracing};
use auto_commit::AutoCommit;
use rebalance::{Listener, Telling};
use signals::{End, Signals};

pub use builder::ConsumerBuilder;
pub use rebalance::{RebalanceContext, RebalanceListener};
pub use records::{ConsumedRecord, RecordRef, Records};
pub use stream::RecordStream;

/// Committed offsets by partition; one without a committed offset is not in it.
pub type Committed = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// How long an abandoned consumer may take to leave its group.
const ABANDONED: Duration = Duration::from_secs(10);

/// Reads records: alone, or as a member of a group that shares partitions out.
///
/// Heartbeats and fetching go on in the background. A record's position moves when [`poll`](Self::poll) hands it out;
/// [`commit`](Self::commit) stores the positions. Unless [asked to](ConsumerBuilder::auto_commit) nothing is committed by
/// itself: what was handed out and not committed is read again after a restart, so every record is processed at least once.
///
/// When partitions move to another member, the ones to be given up are kept until the next call of `poll`, so that what
/// was handed out can be processed and committed first. A [`RebalanceListener`] is told of it.
///
/// Cloning shares the consumer. Close it with [`close`](Self::close): dropping the last clone leaves the group in the
/// background.
#[derive(Clone, Debug)]
pub struct Consumer {
    handle: Arc<Handle>,
    pub(crate) max_poll_records: usize,
}

#[derive(Debug)]
struct Handle {
    driven: Arc<Driven<Machine>>,
    signals: Arc<Signals>,
    leaving: Arc<Leaving>,
    telling: Option<Telling>,
    auto_commit: Option<AutoCommit>,
    told: Told,
}

/// What is counted and traced, and under which group.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) meters: Arc<ConsumerMeters>,
    pub(crate) tracing: Tracing,
    pub(crate) group: ByteString,
}

/// What a handle does by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) max_poll_records: usize,
    listener: Option<Listener>,
    pub(crate) auto_commit: Option<Duration>,
}

/// What becomes of a loop whose machine does not come to its end.
#[derive(Debug, Default)]
struct Leaving {
    /// It ends at once.
    abort: Notify,
    /// Nobody waits any more: it has [`ABANDONED`].
    abandon: Notify,
}

/// The task that drives the machine. However it ends, whoever waits is told: a runtime that shuts down drops its tasks.
struct Task {
    driven: Arc<Driven<Machine>>,
    signals: Arc<Signals>,
    end: End,
    meters: Arc<ConsumerMeters>,
    _memory: Option<Share>,
}

impl Task {
    async fn run(mut self, network: Network, leaving: Arc<Leaving>) {
        let revoke_done = || self.driven.change(Machine::revoke_done);
        let run = drive(Arc::clone(&self.driven), network, |event| {
            self.meters.on_event(&event);
            self.signals.hear(event, revoke_done)
        });
        let abandoned = async {
            leaving.abandon.notified().await;
            tokio::time::sleep(ABANDONED).await;
        };
        tokio::select! {
            biased;
            () = run => {}
            () = leaving.abort.notified() => {}
            () = abandoned => {}
        }
        self.end = End::Closed;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // After a panic the machine is in no state to be asked anything.
        if !std::thread::panicking() {
            self.driven.change(|machine, _| machine.abandon());
        }
        self.meters.on_end();
        self.signals.finish(self.end);
    }
}

impl Consumer {
    fn start(
        driven: Arc<Driven<Machine>>,
        network: Network,
        habits: Habits,
        memory: Option<Share>,
        told: Told,
    ) -> Self {
        let signals = Arc::new(Signals::new(habits.listener.is_some()));
        let leaving = Arc::new(Leaving::default());
        let task = Task {
            driven: Arc::clone(&driven),
            signals: Arc::clone(&signals),
            end: End::Cut,
            meters: Arc::clone(&told.meters),
            _memory: memory,
        };
        tokio::spawn(task.run(network, Arc::clone(&leaving)));
        let telling = habits.listener.map(Telling::new);
        let auto_commit = habits.auto_commit.map(AutoCommit::new);
        let handle = Handle { driven, signals, leaving, telling, auto_commit, told };
        Self { handle: Arc::new(handle), max_poll_records: habits.max_poll_records }
    }

    fn driven(&self) -> &Driven<Machine> {
        &self.handle.driven
    }

    fn signals(&self) -> &Signals {
        &self.handle.signals
    }

    /// Reads these topics, sharing their partitions with the other members of the group, in place of what was read before.
    ///
    /// # Errors
    /// Without a group, while partitions are assigned by hand, and when closed.
    pub fn subscribe<T: Into<ByteString>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), SubscribeError> {
        let topics = topics.into_iter().map(Into::into);
        self.driven().change(|machine, now| machine.subscribe(now, topics))
    }

    /// Reads every topic whose whole name matches `pattern`: see [`ConsumerBuilder::subscribe_pattern`].
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_pattern(&self, pattern: impl Into<ByteString>) -> Result<(), SubscribeError> {
        self.driven().change(|machine, now| machine.subscribe_pattern(now, pattern.into()))
    }

    /// Reads these partitions, whoever else does, in place of what was read before. One without a position starts at its
    /// committed offset, else where [`auto_offset_reset`](ConsumerBuilder::auto_offset_reset) says, unless it is read
    /// already: then it goes on.
    ///
    /// # Errors
    /// While subscribed, and when closed.
    pub fn assign(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<Position>)>,
    ) -> Result<(), SubscribeError> {
        self.driven().change(|machine, now| machine.assign(now, partitions))
    }

    /// Reads nothing any more. A subscribed consumer leaves its group once partitions are given up, which takes another
    /// [`poll`](Self::poll).
    pub fn unsubscribe(&self) {
        self.driven().change(Machine::unsubscribe);
    }

    /// The next records, waiting up to `timeout` for the first. Empty when none came in time; `None` when the consumer
    /// is closed.
    ///
    /// # Errors
    /// What has stopped the consumer or one of its partitions since the last call, each once. After an error that names
    /// a partition the others go on; a [`seek`](Self::seek), also one of the [`RebalanceListener`], makes up for it.
    ///
    /// # Cancellation
    /// Records leave the buffer only with the answer: dropping the future takes nothing.
    pub async fn poll(&self, timeout: Duration) -> Result<Option<Records>, ConsumeError> {
        self.poll_at_most(timeout, self.max_poll_records).await
    }

    async fn poll_at_most(&self, timeout: Duration, most: usize) -> Result<Option<Records>, ConsumeError> {
        let deadline = later(now(), timeout).into();
        self.auto_commit_if_due();
        loop {
            let changed = self.signals().changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that what happens in between is not missed.
            changed.as_mut().enable();
            let end = self.signals().end();
            if end.is_none() {
                // Before the errors: a listener that seeks says what to do about a partition without an offset.
                self.tell_listener().await?;
            }
            if let Some(error) = self.next_error() {
                return Err(error.into());
            }
            if end.is_some() {
                return Ok(None);
            }
            let revoke_done = self.signals().take_revoke_pending();
            if revoke_done {
                self.auto_commit_now();
            }
            let meters = &self.handle.told.meters;
            let (taken, lags) = self.driven().change(|machine, now| {
                if revoke_done {
                    machine.revoke_done(now);
                }
                let taken = machine.take(now, most);
                if taken.is_empty() {
                    machine.application_waits(now);
                }
                (taken, meters.lags_if_due(machine, now))
            });
            if let Some(lags) = lags {
                meters.on_lags(lags);
            }
            if !taken.is_empty() {
                return Ok(Some(self.handle.told.hand_out(taken)));
            }
            let _waiting = Waiting { driven: self.driven() };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Some(Records::default()));
            }
        }
    }

    /// The next error that nobody has done anything about: a partition that was sought to another place goes on.
    fn next_error(&self) -> Option<ConsumerError> {
        let goes_on = |error: &ConsumerError| {
            error.partition().is_some_and(|partition| self.driven().look().goes_on(partition))
        };
        std::iter::from_fn(|| self.signals().next_error()).find(|error| !goes_on(error))
    }

    /// The records one by one, as a stream.
    #[must_use]
    pub fn stream(&self) -> RecordStream {
        RecordStream::new(self.clone())
    }

    /// Commits the position of every partition: all that was handed out so far. Tried again while that can help.
    ///
    /// # Errors
    /// When the offsets are not committed, or it is not known whether they are.
    ///
    /// # Cancellation
    /// Dropping the future does not take the commit back.
    pub async fn commit(&self) -> Result<(), CommitError> {
        self.commit_with(|machine, now| machine.commit_positions(now, CommitMode::Sync)).await
    }

    /// Commits these positions: for each partition the offset at which to go on, which is one past the last record that
    /// was processed. With [`OffsetAndMetadata`] a word to oneself comes along.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn read(consumer: milena::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// while let Some(records) = consumer.poll(Duration::from_secs(1)).await? {
    ///     for record in records.iter() {
    ///         // … it is processed, and then:
    ///         consumer.commit_offsets([record.next_position()]).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and for a partition that is not assigned: then nothing is committed.
    ///
    /// # Cancellation
    /// Dropping the future does not take the commit back.
    pub async fn commit_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Result<(), CommitError> {
        let offsets = by_partition(offsets);
        self.commit_with(|machine, now| machine.commit(now, offsets, CommitMode::Sync)).await
    }

    /// Starts to commit these positions and does not wait, as [`commit_async`](Self::commit_async) does for all.
    ///
    /// # Errors
    /// When they can't be committed at all: no group, a partition that is not assigned, or closed.
    pub fn commit_offsets_async<O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Result<(), CommitError> {
        let offsets = by_partition(offsets);
        self.driven().change(|machine, now| machine.commit(now, offsets, CommitMode::Async)).map(drop)
    }

    async fn commit_with(
        &self,
        commit: impl FnOnce(
            &mut Machine,
            std::time::Instant,
        ) -> Result<milena_consumer_group::CommitId, CommitError>,
    ) -> Result<(), CommitError> {
        // Registered under the machine's lock, before the outcome can be told.
        let outcome = self
            .driven()
            .change(|machine, now| commit(machine, now).map(|id| self.signals().await_commit(id)))?;
        outcome.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Starts to commit the position of every partition and does not wait. A failure is logged; the next commit carries
    /// newer positions anyway. An older commit never overtakes a newer one.
    ///
    /// # Errors
    /// When nothing can be committed at all: no group, or closed.
    pub fn commit_async(&self) -> Result<(), CommitError> {
        self.driven().change(|machine, now| machine.commit_positions(now, CommitMode::Async)).map(drop)
    }

    /// The group's committed offsets of these partitions.
    ///
    /// # Errors
    /// When the coordinator can't be asked in time.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<Committed, CommitError> {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let answer = self.driven().change(|machine, now| {
            machine.query_committed(now, partitions).map(|id| self.signals().await_query(id))
        })?;
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Goes on elsewhere in a partition. What was fetched of it is thrown away.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn seek(&self, partition: &TopicPartition, to: SeekTo) -> Result<(), NotAssigned> {
        self.driven().change(|machine, now| machine.seek(now, partition, to))
    }

    /// Hands out nothing of a partition until it is resumed; the others go on.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn pause(&self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.driven().change(|machine, _| machine.pause(partition))
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn resume(&self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.driven().change(|machine, _| machine.resume(partition))
    }

    /// The next record to be handed out; `None` while that is not known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.driven().look().position(partition)
    }

    /// How many offsets are between the position and the end of the partition, as the last answer of its broker said: under
    /// [`ReadCommitted`](milena_consumer_group::IsolationLevel::ReadCommitted) the last stable offset. `None` while either
    /// is not known. [`Admin::group_lag`](crate::Admin::group_lag) asks.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let lag = self.driven().look().lag(partition);
        self.handle.told.meters.on_lag(partition, lag);
        lag
    }

    /// The end of the partition as the last answer of its broker said: see [`lag`](Self::lag). [`Admin::list_offsets`](crate::Admin::list_offsets)
    /// asks, for beginnings and times as well.
    #[must_use]
    pub fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.driven().look().end_offset(partition)
    }

    /// True when the partition is paused.
    #[must_use]
    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.driven().look().is_paused(partition)
    }

    /// The partitions this consumer reads at the moment.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.driven().look().assignment()
    }

    /// The protocol by which the group shares out partitions; `None` before this member has joined.
    #[must_use]
    pub fn group_protocol(&self) -> Option<ChosenProtocol> {
        self.signals().protocol()
    }

    /// Who this consumer is to its group, which a transaction sends along with offsets (KIP-447). `None` without a
    /// group, and while a subscribed consumer is not a member of it.
    #[must_use]
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        let GroupMembership { group_id, member_id, generation_or_epoch, group_instance_id } =
            self.driven().look().group_membership()?;
        Some(GroupMetadata { group_id, member_id, generation_or_epoch, group_instance_id })
    }

    /// Why each partition is, or is not, being read: a line each.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let now = milena_connection::now();
        self.driven().look().explain(now)
    }

    /// Leaves the group and ends, after `timeout` at the latest. Positions are not committed: do that before, or in a
    /// [`RebalanceListener`]. With [`auto_commit`](ConsumerBuilder::auto_commit) they are: what was handed out counts as
    /// processed.
    ///
    /// # Errors
    /// When the coordinator did not take the farewell in time: the group notices by the session timeout. When the
    /// consumer's task has ended before.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        self.auto_commit_now();
        self.handle.leave(self.handle.telling.is_none());
        let deadline = later(now(), timeout).into();
        loop {
            let changed = self.signals().changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.signals().end() {
                Some(End::Closed) => return Ok(()),
                Some(End::Cut) => return Err(CloseError::TaskEnded),
                None => {}
            }
            let told_and_changed = async {
                // Within the listener there is nobody to tell.
                drop(self.tell_listener().await);
                changed.await;
            };
            if tokio::time::timeout_at(deadline, told_and_changed).await.is_err() {
                self.handle.leaving.abort.notify_one();
                return Err(CloseError::DeadlinePassed(timeout));
            }
        }
    }
}

fn by_partition<O: Into<OffsetAndMetadata>>(
    offsets: impl IntoIterator<Item = (TopicPartition, O)>,
) -> Committed {
    offsets.into_iter().map(|(partition, offset)| (partition, offset.into())).collect()
}

impl Told {
    fn hand_out(&self, taken: Vec<PartitionRecords>) -> Records {
        self.meters.on_taken(&taken);
        let records = Records::new(taken);
        self.tracing.received(&self.group, &records);
        records
    }
}

impl Handle {
    /// Partitions are given up at once, or when the listener has been told.
    fn leave(&self, at_once: bool) {
        if at_once {
            self.signals.give_up_at_once();
        }
        let revoke_done = self.signals.take_revoke_pending();
        self.driven.change(|machine, now| {
            machine.close(now);
            if revoke_done {
                machine.revoke_done(now);
            }
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.signals.end().is_some() {
            return;
        }
        tracing::debug!("a consumer was dropped without close; it leaves its group in the background");
        self.leave(true);
        self.leaving.abandon.notify_one();
    }
}

/// While this lives the application waits for records. Dropping it tells the machine that the wait is over, also when
/// the future is dropped.
struct Waiting<'a> {
    driven: &'a Driven<Machine>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.driven.change(Machine::application_polled);
    }
}
