//! What is in hand: records by partition and lane, and up to where each partition is done.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use milena::{ConsumedRecord, Position, TopicPartition};
use tokio::{sync::Notify, task::JoinSet};

use super::{RunError, RunReport, prefix::Prefix};
use crate::{Order, Shutdown};

/// Records of one lane are handled one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The whole partition.
    Partition,
    /// All records with this key.
    Key(Bytes),
    /// The record at this offset by itself.
    Record(i64),
}

impl Lane {
    fn of(record: &ConsumedRecord, order: Order) -> Self {
        match (order, record.key()) {
            (Order::Partition, _) => Self::Partition,
            (Order::Key, Some(key)) => Self::Key(key.clone()),
            // Nothing is promised of records without a key.
            (Order::Key, None) | (Order::None, _) => Self::Record(record.offset()),
        }
    }
}

/// What makes a lane's task: the partition and its turn, the lane, and the sign to end early.
#[derive(Clone, Debug)]
pub(super) struct LaneOf {
    pub(super) partition: TopicPartition,
    /// A partition that comes back is another one: what is left of its former turn does not count.
    pub(super) turn: u64,
    pub(super) lane: Lane,
    /// The partition is being given up: no further try is begun.
    pub(super) closing: Shutdown,
}

/// Shared by the loop that polls, the lanes' tasks and the listener.
#[derive(Debug, Default)]
pub(super) struct Work {
    state: Mutex<State>,
    /// A lane has ended.
    lane_ended: Notify,
    /// The loop has something to do: a partition to resume, or an error to end with.
    pub(super) attention: Notify,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<TopicPartition, Partition>,
    turns: u64,
    error: Option<RunError>,
    report: RunReport,
}

/// A partition in hand. Dropping it aborts its tasks.
#[derive(Debug)]
struct Partition {
    turn: u64,
    prefix: Prefix,
    lanes: HashMap<Lane, VecDeque<ConsumedRecord>>,
    tasks: JoinSet<()>,
    closing: Shutdown,
    /// The highest offset of which handling has begun.
    begun_to: i64,
    is_paused: bool,
    /// There is more to commit than was committed last.
    has_grown: bool,
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record into its lane. `run` makes the task of a lane that was idle.
    pub(super) fn offer<F>(&self, record: ConsumedRecord, order: Order, run: impl FnOnce(LaneOf) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (at, next) = record.next_position();
        let mut state = self.state();
        let state = &mut *state;
        let turns = &mut state.turns;
        let partition = state.partitions.entry(at.clone()).or_insert_with(|| {
            *turns = turns.wrapping_add(1);
            Partition::new(*turns)
        });
        partition.prefix.begin(record.offset(), next);
        let lane = Lane::of(&record, order);
        if let Some(queue) = partition.lanes.get_mut(&lane) {
            return queue.push_back(record);
        }
        partition.lanes.insert(lane.clone(), VecDeque::from([record]));
        // What has ended is not kept.
        while partition.tasks.try_join_next().is_some() {}
        let closing = partition.closing.clone();
        partition.tasks.spawn(run(LaneOf { partition: at, turn: partition.turn, lane, closing }));
    }

    /// The next records of a lane, `most` at most. Without any the lane is over, and so is its task.
    ///
    /// Of a partition that is being given up only what is in front of something that was begun: without that, what is done
    /// behind it would have to be done again.
    pub(super) fn next(&self, of: &LaneOf, most: usize) -> Vec<ConsumedRecord> {
        let mut state = self.state();
        let Some(partition) = state.partition(of) else { return Vec::new() };
        let until = if partition.closing.has_begun() { partition.begun_to } else { i64::MAX };
        let records: Vec<_> = partition.lanes.get_mut(&of.lane).map_or_else(Vec::new, |queue| {
            let wanted = queue.iter().take(most).take_while(|record| record.offset() <= until).count();
            queue.drain(..wanted).collect()
        });
        match records.last() {
            Some(last) => partition.begun_to = partition.begun_to.max(last.offset()),
            None => {
                partition.lanes.remove(&of.lane);
                drop(state);
                self.lane_ended.notify_waiters();
            }
        }
        records
    }

    /// A lane ends with records that are not done.
    pub(super) fn leave(&self, of: &LaneOf) {
        if let Some(partition) = self.state().partition(of) {
            partition.lanes.remove(&of.lane);
        }
        self.lane_ended.notify_waiters();
    }

    /// Records of a lane are done. `low`: a paused partition with so few open records is to go on.
    pub(super) fn finish(&self, of: &LaneOf, offsets: impl IntoIterator<Item = i64>, low: usize) {
        let mut state = self.state();
        let Some(partition) = state.partition(of) else { return };
        for offset in offsets {
            partition.has_grown |= partition.prefix.finish(offset);
        }
        if partition.is_paused && partition.prefix.len() <= low {
            self.attention.notify_one();
        }
    }

    /// Changes the counts of what was done.
    pub(super) fn count(&self, count: impl FnOnce(&mut RunReport)) {
        count(&mut self.state().report);
    }

    pub(super) fn report(&self) -> RunReport {
        self.state().report
    }

    /// Has the loop end with this error, unless it ends with another one already.
    pub(super) fn fail(&self, error: RunError) {
        self.state().error.get_or_insert(error);
        self.attention.notify_one();
    }

    pub(super) fn take_error(&self) -> Option<RunError> {
        self.state().error.take()
    }

    /// Partitions with `high` open records or more that are to be paused, and paused ones with `low` or fewer that are to go
    /// on. They count as paused and resumed from now on.
    pub(super) fn balance(&self, low: usize, high: usize) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (at, partition) in &mut self.state().partitions {
            let len = partition.prefix.len();
            if !partition.is_paused && len >= high {
                partition.is_paused = true;
                pause.push(at.clone());
            } else if partition.is_paused && len <= low {
                partition.is_paused = false;
                resume.push(at.clone());
            }
        }
        (pause, resume)
    }

    /// `position` is where reading goes on in a partition. Nothing may be handed out meanwhile.
    pub(super) fn read_on(&self, position: impl Fn(&TopicPartition) -> Option<Position>) {
        for at in self.partitions() {
            let Some(position) = position(&at) else { continue };
            if let Some(partition) = self.state().partitions.get_mut(&at) {
                partition.has_grown |= partition.prefix.read_on_at(position);
            }
        }
    }

    /// What there is to commit since this was asked last.
    pub(super) fn progress(&self) -> Vec<(TopicPartition, Position)> {
        let mut state = self.state();
        let grown = state.partitions.iter_mut().filter(|(_, partition)| partition.has_grown);
        let grown = grown.filter_map(|(at, partition)| {
            partition.has_grown = false;
            Some((at.clone(), partition.prefix.position()?))
        });
        grown.collect()
    }

    /// Begins nothing more of these partitions but what is missing in front of something that was begun, and waits until what is
    /// in hand of them has ended, for `limit` at most. What may be committed then; the partitions are forgotten. `position` is
    /// as for [`read_on`](Self::read_on).
    pub(super) async fn drain(
        &self,
        partitions: &[TopicPartition],
        limit: Duration,
        position: impl Fn(&TopicPartition) -> Option<Position>,
    ) -> Vec<(TopicPartition, Position)> {
        for at in partitions {
            if let Some(partition) = self.state().partitions.get(at) {
                partition.closing.begin();
            }
        }
        let ended = async {
            loop {
                let lane_ended = self.lane_ended.notified();
                tokio::pin!(lane_ended);
                lane_ended.as_mut().enable();
                let is_busy = {
                    let state = self.state();
                    let mut in_hand = partitions.iter().filter_map(|at| state.partitions.get(at));
                    in_hand.any(|partition| !partition.lanes.is_empty())
                };
                if !is_busy {
                    return;
                }
                lane_ended.await;
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(?partitions, ?limit, "handlers are ended in the middle: their time is over");
        }
        self.read_on(position);
        let forgotten = self.forget(partitions);
        let positions =
            forgotten.iter().filter_map(|(at, partition)| Some((at.clone(), partition.prefix.position()?)));
        positions.collect()
    }

    /// Ends what is in hand of these partitions in the middle.
    pub(super) fn abandon(&self, partitions: &[TopicPartition]) {
        drop(self.forget(partitions));
    }

    fn forget(&self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, Partition)> {
        let mut state = self.state();
        let known = partitions.iter().filter_map(|at| state.partitions.remove_entry(at));
        known.collect()
    }

    /// All partitions in hand.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.state().partitions.keys().cloned().collect()
    }
}

impl State {
    /// The lane's partition, if it is still its turn.
    fn partition(&mut self, of: &LaneOf) -> Option<&mut Partition> {
        self.partitions.get_mut(&of.partition).filter(|partition| partition.turn == of.turn)
    }
}

impl Partition {
    fn new(turn: u64) -> Self {
        Self {
            turn,
            prefix: Prefix::default(),
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            closing: Shutdown::new(),
            begun_to: -1,
            is_paused: false,
            has_grown: false,
        }
    }
}

/// Shared by all that have to do with it.
pub(super) type SharedWork = Arc<Work>;
