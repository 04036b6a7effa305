//! What the loop that drives a producer tells of its transactions.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use milena_producer::{OffsetsId, TransactionError, TransactionEvent};
use tokio::sync::{Notify, oneshot};

/// How something ended that somebody waits for.
type Outcome = Result<(), TransactionError>;

/// Shared by the loop and the handles.
#[derive(Debug, Default)]
pub(crate) struct TransactionSignals {
    waiting: Mutex<Waiting>,
    /// A transaction has got further.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    end: Option<oneshot::Sender<Outcome>>,
    offsets: BTreeMap<OffsetsId, oneshot::Sender<Outcome>>,
    /// The loop has ended: nobody would be told anything.
    closed: bool,
}

impl TransactionSignals {
    /// Locked to look or to change, never across an await.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hear(&self, event: TransactionEvent) {
        let (waiter, outcome) = match event {
            TransactionEvent::Ready => (None, Ok(())),
            TransactionEvent::OffsetsSent(id, outcome) => (self.waiting().offsets.remove(&id), outcome),
            TransactionEvent::Ended(outcome) => (self.waiting().end.take(), outcome),
            TransactionEvent::Fatal(fatal) => {
                tracing::warn!(error = %fatal, "a transactional producer has come to its end");
                (None, Ok(()))
            }
        };
        match (waiter.map(|waiter| waiter.send(outcome.clone())), outcome) {
            (Some(Ok(())), _) | (_, Ok(())) => {}
            // The one who asked has gone.
            (None | Some(Err(_)), Err(error)) => {
                tracing::warn!(%error, "a transaction did not end as it was to")
            }
        }
        self.changed.notify_waiters();
    }

    /// Tells how the end that is being asked for comes about. To be called under the machine's lock, before it can be
    /// told.
    pub(crate) fn await_end(&self) -> oneshot::Receiver<Outcome> {
        let (waiter, outcome) = oneshot::channel();
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.end = Some(waiter);
        }
        outcome
    }

    /// The same for offsets.
    pub(crate) fn await_offsets(&self, id: OffsetsId) -> oneshot::Receiver<Outcome> {
        let (waiter, outcome) = oneshot::channel();
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.offsets.insert(id, waiter);
        }
        outcome
    }

    /// The loop has ended: whoever waits is told by being waited for no longer.
    pub(crate) fn finish(&self) {
        *self.waiting() = Waiting { closed: true, ..Waiting::default() };
        self.changed.notify_waiters();
    }
}
