//! Telling the application which partitions come and go.

use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

use milena_cluster::TopicPartition;
use milena_connection::Driven;
use milena_consumer_group::{
    CommitError, Consumer as Machine, ConsumerError, NotAssigned, OffsetAndMetadata, Position, SeekTo,
};
use tokio::task::JoinHandle;

use super::{Committed, Consumer};
use crate::ConsumeError;

/// Is told which partitions come and go, from within [`Consumer::poll`] and [`Consumer::close`].
///
/// While it is called nothing else is handed out, and heartbeats go on. It may take until the group stops waiting
/// ([`max_poll_interval`](super::ConsumerBuilder::max_poll_interval)). A `poll` that is dropped meanwhile stops nothing: the call
/// goes on in the background, and the next `poll` waits for it. If it panics, so does the `poll`; its partitions are
/// given up all the same.
///
/// The default of each does nothing.
///
/// ```
/// use milena::{RebalanceContext, RebalanceListener, TopicPartition};
///
/// struct Commits;
///
/// impl RebalanceListener for Commits {
///     async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
///         if let Err(error) = context.commit().await {
///             eprintln!("{partitions:?} will be read again by others: {error}");
///         }
///     }
/// }
/// ```
pub trait RebalanceListener: Send + Sync + 'static {
    /// These have come, in addition to those that there were. Nothing of them has been handed out: a seek decides where
    /// reading starts.
    fn assigned(
        &self,
        context: &RebalanceContext,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = ()> + Send {
        let _ = (context, partitions);
        std::future::ready(())
    }

    /// These are to be given up: all that was handed out of them is processed by now, as `poll` has been called again. What
    /// is committed here still counts; when this returns, another member gets them.
    fn revoked(
        &self,
        context: &RebalanceContext,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = ()> + Send {
        let _ = (context, partitions);
        std::future::ready(())
    }

    /// These are another member's already, or may be: the session or the time between two polls was over. A commit of them is
    /// refused.
    fn lost(
        &self,
        context: &RebalanceContext,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = ()> + Send {
        let _ = (context, partitions);
        std::future::ready(())
    }
}

/// What a [`RebalanceListener`] can do with the consumer that tells it.
#[derive(Debug)]
pub struct RebalanceContext {
    consumer: Consumer,
}

impl RebalanceContext {
    /// As [`Consumer::commit`].
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    ///
    /// # Cancellation
    /// Dropping the future does not take the commit back.
    pub async fn commit(&self) -> Result<(), CommitError> {
        self.consumer.commit().await
    }

    /// As [`Consumer::commit_offsets`].
    ///
    /// # Errors
    /// As [`Consumer::commit_offsets`].
    ///
    /// # Cancellation
    /// Dropping the future does not take the commit back.
    pub async fn commit_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Result<(), CommitError> {
        self.consumer.commit_offsets(offsets).await
    }

    /// As [`Consumer::committed`].
    ///
    /// # Errors
    /// As [`Consumer::committed`].
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<Committed, CommitError> {
        self.consumer.committed(partitions).await
    }

    /// As [`Consumer::seek`].
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn seek(&self, partition: &TopicPartition, to: SeekTo) -> Result<(), NotAssigned> {
        self.consumer.seek(partition, to)
    }

    /// As [`Consumer::pause`].
    ///
    /// # Errors
    /// When the partition is not assigned.
    pub fn pause(&self, partition: &TopicPartition) -> Result<(), NotAssigned> {
        self.consumer.pause(partition)
    }

    /// The next record to be handed out; `None` while that is not known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.consumer.position(partition)
    }

    /// The partitions this consumer has at the moment, including those that are being given up.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }
}

/// Partitions that come or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoking(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
}

/// A [`RebalanceListener`] whatever its type.
trait Listen: Send + Sync {
    fn hear<'a>(
        &'a self,
        context: &'a RebalanceContext,
        change: &'a Change,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

impl<L: RebalanceListener> Listen for L {
    fn hear<'a>(
        &'a self,
        context: &'a RebalanceContext,
        change: &'a Change,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        match change {
            Change::Assigned(partitions) => Box::pin(self.assigned(context, partitions)),
            Change::Revoking(partitions) => Box::pin(self.revoked(context, partitions)),
            Change::Lost(partitions) => Box::pin(self.lost(context, partitions)),
        }
    }
}

/// The listener that a consumer is built with.
#[derive(Clone)]
pub(super) struct Listener(Arc<dyn Listen>);

impl Listener {
    pub(super) fn new(listener: impl RebalanceListener) -> Self {
        Self(Arc::new(listener))
    }

    /// This one and another within it: what the inner one needs is there before it begins and after it ends.
    pub(super) fn around(self, inner: impl RebalanceListener) -> Self {
        Self(Arc::new(Nested { outer: self, inner: Self::new(inner) }))
    }
}

struct Nested {
    outer: Listener,
    inner: Listener,
}

impl Listen for Nested {
    fn hear<'a>(
        &'a self,
        context: &'a RebalanceContext,
        change: &'a Change,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let order = match change {
            Change::Assigned(_) => [&self.outer, &self.inner],
            Change::Revoking(_) | Change::Lost(_) => [&self.inner, &self.outer],
        };
        Box::pin(async move {
            for listener in order {
                listener.0.hear(context, change).await;
            }
        })
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

tokio::task_local! {
    /// Set within the listener of the consumer with this machine.
    static LISTENING: usize;
}

/// The listener of a consumer, and the call to it that is under way.
#[derive(Debug)]
pub(super) struct Telling {
    listener: Listener,
    /// Outlives the `poll` that has begun it.
    call: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Telling {
    pub(super) fn new(listener: Listener) -> Self {
        Self { listener, call: tokio::sync::Mutex::new(None) }
    }
}

impl Consumer {
    /// Tells the listener everything that there is to tell, and waits until it is done.
    pub(super) async fn tell_listener(&self) -> Result<(), ConsumeError> {
        let Some(telling) = &self.handle.telling else { return Ok(()) };
        if self.is_within_listener() {
            return Err(ConsumerError::PollWithinListener.into());
        }
        let mut call = telling.call.lock().await;
        loop {
            let under_way = match &mut *call {
                Some(under_way) => under_way,
                None => match self.signals().next_change() {
                    Some(change) => call.insert(self.call(telling.listener.clone(), change)),
                    None => return Ok(()),
                },
            };
            let ended = under_way.await;
            *call = None;
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn call(&self, listener: Listener, change: Change) -> JoinHandle<()> {
        let context = RebalanceContext { consumer: self.clone() };
        let confirm = matches!(change, Change::Revoking(_)).then(|| Confirm(Arc::clone(&self.handle.driven)));
        if confirm.is_some() {
            self.auto_commit_now();
        }
        let call = async move {
            let _confirm = confirm;
            listener.0.hear(&context, &change).await;
        };
        tokio::spawn(LISTENING.scope(self.name(), call))
    }

    fn is_within_listener(&self) -> bool {
        LISTENING.try_with(|listening| *listening == self.name()).unwrap_or(false)
    }

    /// No other consumer has the same address while this one lives.
    fn name(&self) -> usize {
        Arc::as_ptr(&self.handle.driven).addr()
    }
}

/// Gives up what was revoked, however the call of the listener ends.
struct Confirm(Arc<Driven<Machine>>);

impl Drop for Confirm {
    fn drop(&mut self) {
        self.0.change(|machine: &mut Machine, now: Instant| machine.revoke_done(now));
    }
}
