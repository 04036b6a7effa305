//! What the loop that drives a consumer tells its handles.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use milena_cluster::TopicPartition;
use milena_consumer_group::{ChosenProtocol, CommitError, CommitId, ConsumerError, Event, QueryId};
use tokio::sync::{Notify, oneshot};

use super::{Committed, rebalance::Change};

/// Errors nobody has polled for; the oldest are the interesting ones.
const MAX_ERRORS: usize = 64;

/// Shared by the loop and the handles.
#[derive(Debug, Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    /// Something has changed that a poll waits for.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    errors: VecDeque<ConsumerError>,
    commits: BTreeMap<CommitId, oneshot::Sender<Result<(), CommitError>>>,
    queries: BTreeMap<QueryId, oneshot::Sender<Result<Committed, CommitError>>>,
    protocol: Option<ChosenProtocol>,
    /// Partitions are to be given up, and no listener is told of it.
    revoke_pending: bool,
    /// Partitions that are asked back are given up without asking anybody.
    gives_up_at_once: bool,
    /// Whether a listener is to be told.
    has_listener: bool,
    /// What the listener is to be told.
    changes: VecDeque<Change>,
    end: Option<End>,
}

/// How the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The consumer was closed.
    Closed,
    /// The runtime of the loop has ended.
    Cut,
}

impl Signals {
    pub(super) fn new(has_listener: bool) -> Self {
        let state = State { has_listener, ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Locked to look or to change, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event; what the machine has to be told in answer comes back through `revoke_done`.
    pub(super) fn hear(&self, event: Event, revoke_done: impl FnOnce()) -> ControlFlow<()> {
        let mut state = self.state();
        match event {
            Event::Fetched => {}
            Event::Assigned(partitions) => state.tell(Change::Assigned(partitions)),
            Event::Revoked(partitions) => state.is_given_up(&partitions),
            Event::Joined(protocol) => state.protocol = Some(protocol),
            Event::RevokePending(partitions) => {
                tracing::debug!(?partitions, "partitions are to be given up");
                if state.gives_up_at_once {
                    drop(state);
                    revoke_done();
                } else {
                    state.revoke_pending = !state.has_listener;
                    state.tell(Change::Revoking(partitions));
                }
            }
            Event::Lost(partitions) => {
                tracing::warn!(?partitions, "partitions were lost to other members");
                state.revoke_pending = false;
                state.is_lost(partitions);
            }
            Event::Committed { id, result } => {
                let waiter = state.commits.remove(&id);
                drop(state);
                match (waiter, result) {
                    (Some(waiter), result) => drop(waiter.send(result)),
                    (None, Err(error)) => tracing::warn!(%error, "a commit that nobody waits for has failed"),
                    (None, Ok(())) => {}
                }
            }
            Event::CommittedOffsets { id, result } => {
                if let Some(waiter) = state.queries.remove(&id) {
                    drop(waiter.send(result));
                }
            }
            Event::Failed(error) => {
                tracing::warn!(%error, "the consumer has a problem");
                if state.errors.len() < MAX_ERRORS {
                    state.errors.push_back(error);
                }
            }
            Event::Closed => {
                drop(state);
                self.finish(End::Closed);
                return ControlFlow::Break(());
            }
        }
        self.changed.notify_waiters();
        ControlFlow::Continue(())
    }

    /// The loop has ended: nobody is left waiting. The first end counts.
    pub(super) fn finish(&self, end: End) {
        let (commits, queries) = {
            let mut state = self.state();
            state.end.get_or_insert(end);
            (std::mem::take(&mut state.commits), std::mem::take(&mut state.queries))
        };
        drop((commits, queries));
        self.changed.notify_waiters();
    }

    pub(super) fn await_commit(&self, id: CommitId) -> oneshot::Receiver<Result<(), CommitError>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        // After the end nobody would tell.
        if state.end.is_none() {
            state.commits.insert(id, sender);
        }
        receiver
    }

    pub(super) fn await_query(&self, id: QueryId) -> oneshot::Receiver<Result<Committed, CommitError>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.end.is_none() {
            state.queries.insert(id, sender);
        }
        receiver
    }

    pub(super) fn next_error(&self) -> Option<ConsumerError> {
        self.state().errors.pop_front()
    }

    pub(super) fn protocol(&self) -> Option<ChosenProtocol> {
        self.state().protocol
    }

    /// True once after partitions were asked back, unless a listener is to be told first.
    pub(super) fn take_revoke_pending(&self) -> bool {
        std::mem::take(&mut self.state().revoke_pending)
    }

    /// The next thing to tell the listener.
    pub(super) fn next_change(&self) -> Option<Change> {
        self.state().changes.pop_front()
    }

    /// Nobody is there to be asked any more when partitions are to be given up.
    pub(super) fn give_up_at_once(&self) {
        let mut state = self.state();
        state.gives_up_at_once = true;
        let is_pending = state.changes.iter().any(|change| matches!(change, Change::Revoking(_)));
        state.revoke_pending |= is_pending;
        state.changes.clear();
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state().end
    }
}

/// What the listener is to be told. It is told as late as the next poll: what has become void by then is left out, which
/// also bounds how much there is to tell.
impl State {
    fn tell(&mut self, change: Change) {
        if self.has_listener {
            self.changes.push_back(change);
        }
    }

    /// The group has stopped waiting: there is nothing left to be done before.
    fn is_given_up(&mut self, partitions: &[TopicPartition]) {
        let late = |change: &Change| matches!(change, Change::Revoking(revoking) if revoking == partitions);
        if let Some(index) = self.changes.iter().position(late) {
            self.changes.remove(index);
            self.is_lost(partitions.to_vec());
        }
    }

    /// What the listener has not heard of does not go for it either.
    fn is_lost(&mut self, mut partitions: Vec<TopicPartition>) {
        self.changes.retain_mut(|change| match change {
            Change::Assigned(assigned) => {
                let unheard = std::mem::take(assigned);
                let (gone, kept): (Vec<_>, Vec<_>) =
                    unheard.into_iter().partition(|partition| partitions.contains(partition));
                partitions.retain(|partition| !gone.contains(partition));
                *assigned = kept;
                !assigned.is_empty()
            }
            Change::Revoking(_) => false,
            Change::Lost(_) => true,
        });
        if !partitions.is_empty() {
            self.tell(Change::Lost(partitions));
        }
    }
}
