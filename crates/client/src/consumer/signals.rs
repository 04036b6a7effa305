//! What the loop that drives a consumer tells its handles.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use milena_consumer_group::{ChosenProtocol, CommitError, CommitId, ConsumerError, Event, QueryId};
use tokio::sync::{Notify, oneshot};

use super::Committed;

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
    revoke_pending: bool,
    closing: bool,
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
    /// Locked to look or to change, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event; what the machine has to be told in answer comes back through `revoke_done`.
    pub(super) fn hear(&self, event: Event, revoke_done: impl FnOnce()) -> ControlFlow<()> {
        let mut state = self.state();
        match event {
            Event::Fetched | Event::Assigned(_) | Event::Revoked(_) => {}
            Event::Joined(protocol) => state.protocol = Some(protocol),
            Event::RevokePending(partitions) => {
                tracing::debug!(?partitions, "partitions are to be given up");
                state.revoke_pending = true;
                if state.closing {
                    state.revoke_pending = false;
                    drop(state);
                    revoke_done();
                }
            }
            Event::Lost(partitions) => {
                tracing::warn!(?partitions, "partitions were lost to other members");
                state.revoke_pending = false;
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

    /// True once after partitions were asked back.
    pub(super) fn take_revoke_pending(&self) -> bool {
        std::mem::take(&mut self.state().revoke_pending)
    }

    /// Partitions that are asked back from here on are given up at once.
    pub(super) fn set_closing(&self) {
        self.state().closing = true;
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state().end
    }
}
