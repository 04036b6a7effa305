//! The loop that polls a consumer, has records handled, and commits what is done.

mod extension;
mod lane;
mod prefix;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use milena::{
    BuildError, ConsumeError, Consumer, ConsumerBuilder, RebalanceContext, RebalanceListener, SendError,
    TopicPartition,
};
use thiserror::Error;
use tokio::{sync::Semaphore, time::MissedTickBehavior};

use crate::{BatchHandler, Fallback, Handler, Reason, Shutdown, Tries, fallback::AnyFallback};
use lane::{InChunks, Lanes, OneByOne, Process};
use work::SharedWork;

pub use extension::Run;
pub(crate) use lane::now_ms;

/// How long a poll waits; what else there is to do interrupts it.
const POLL: Duration = Duration::from_secs(1);

/// What keeps its order while records are handled side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All records of a partition are handled one after the other.
    #[default]
    Partition,
    /// Records of a partition with the same key are; those without a key have no order.
    Key,
    /// None.
    None,
}

/// Reads a group's records and has each of them handled at least once.
///
/// The offset that is committed is that of the first record which is not done yet, whatever ended behind it. A record whose
/// handler fails is tried again where it is, while other partitions (or keys) go on; when it was tried often enough the
/// [`fallback`](Self::fallback) takes it. Without one the runner ends with the error, and nothing is lost.
///
/// When partitions move to another member, what was begun of them is finished, and so is what lies in front of it; that is
/// committed before the other member gets them. So nothing is handled twice when nobody is killed and no handler fails or takes
/// longer than [`drain_timeout`](Self::drain_timeout).
///
/// ```no_run
/// use milena::{Client, ConsumedRecord};
/// use milena_patterns::{DeadLetters, Order, Runner, Shutdown};
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let dead_letters = DeadLetters::new(client.producer().build()?);
/// Runner::new(client.consumer("inventory").subscribe(["orders"]))
///     .concurrency(16)
///     .order(Order::Key)
///     .fallback(dead_letters)
///     .run(|record: ConsumedRecord| async move { reserve(&record).await }, &shutdown)
///     .await?;
/// # Ok(())
/// # }
/// # async fn reserve(_: &ConsumedRecord) -> Result<(), milena_patterns::HandlerError> { Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a runner does nothing until it is run"]
pub struct Runner {
    consumer: ConsumerBuilder,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    concurrency: usize,
    order: Order,
    tries: Tries,
    try_timeout: Option<Duration>,
    drain_timeout: Duration,
    commit_interval: Duration,
    max_pending: usize,
    fallback: Option<AnyFallback>,
}

/// What a runner did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Records whose handler succeeded.
    pub handled: u64,
    /// Tries that failed and were followed by another one.
    pub retried: u64,
    /// Records that the fallback took.
    pub given_up: u64,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handled, retried, given_up } = self;
        write!(f, "{handled} handled, {retried} tries repeated, {given_up} given up")
    }
}

/// Why a runner ended before it was asked to. Everything that was done is committed, unless the group can't be reached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The consumer can't be.
    #[error(transparent)]
    Settings(#[from] BuildError),
    /// The consumer can't go on.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A record can't be handled, and there is no fallback that would take it. It is read again by whoever reads next.
    #[error(
        "the record at offset {offset} of {partition} failed {tries} times and there is no fallback for it: {reason}"
    )]
    Handler {
        /// Where the record is.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// What the last try ran into.
        reason: Reason,
        /// How often it was tried.
        tries: u32,
    },
    /// A record can't be handled, and the fallback does not take it. It is read again by whoever reads next.
    #[error(
        "the record at offset {offset} of {partition} failed ({why}), and its fallback does not take it: {error}"
    )]
    Fallback {
        /// Where the record is.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// What its last try ran into.
        why: Reason,
        /// Why it was not taken.
        #[source]
        error: SendError,
    },
}

impl Runner {
    /// A runner for what this consumer reads. It commits by itself: an auto-commit of the builder's is taken back. A rebalance
    /// listener of the builder's is told, too: of partitions that come before any of their records is handled, and of those that
    /// go after the last one was handled and committed.
    pub fn new(consumer: ConsumerBuilder) -> Self {
        let settings = Settings {
            concurrency: 1,
            order: Order::default(),
            tries: Tries::default(),
            try_timeout: None,
            drain_timeout: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
            max_pending: 500,
            fallback: None,
        };
        Self { consumer, settings }
    }

    /// How many handlers run side by side, 1 by default. Of how much use that is depends on the [`Order`].
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// What keeps its order, [`Order::Partition`] by default.
    pub fn order(mut self, order: Order) -> Self {
        self.settings.order = order;
        self
    }

    /// How often a record is tried, and how long is waited in between.
    pub fn tries(mut self, tries: Tries) -> Self {
        self.settings.tries = tries;
        self
    }

    /// How long a try may take; without end by default. The handler's future is dropped then.
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.settings.try_timeout = Some(timeout);
        self
    }

    /// How long handlers that run may take when their partition moves, or when the runner is to end; 30 s by default. Then they
    /// are dropped, and their records are read again. It should be less than the group waits
    /// ([`max_poll_interval`](ConsumerBuilder::max_poll_interval)).
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// How often offsets are committed, every second by default: what is done since is done again when the process is killed.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// From how many open records on a partition is paused, 500 by default. What one poll hands out comes on top.
    pub fn max_pending(mut self, records: usize) -> Self {
        self.settings.max_pending = records.max(1);
        self
    }

    /// Who takes records that can't be handled.
    pub fn fallback(mut self, fallback: impl Fallback) -> Self {
        self.settings.fallback = Some(AnyFallback::new(fallback));
        self
    }

    /// Reads and handles until `shutdown` is asked for: then what is in hand is finished and committed, and the group is left.
    ///
    /// # Errors
    /// See [`RunError`].
    ///
    /// # Cancellation
    /// Dropping the future ends the handlers in the middle and commits nothing more; their records are read again.
    pub async fn run(self, handler: impl Handler, shutdown: &Shutdown) -> Result<RunReport, RunError> {
        self.run_with(OneByOne(handler), 1, shutdown).await
    }

    /// As [`run`](Self::run), with up to `chunk` records of a partition at a time. A chunk that fails is tried again from the
    /// first record that is not done; one that is given up is gone through one by one, so that only what can't be handled goes
    /// to the fallback.
    ///
    /// # Errors
    /// See [`RunError`].
    ///
    /// # Cancellation
    /// As [`run`](Self::run).
    pub async fn run_batches(
        self,
        chunk: usize,
        handler: impl BatchHandler,
        shutdown: &Shutdown,
    ) -> Result<RunReport, RunError> {
        self.run_with(InChunks(handler), chunk.max(1), shutdown).await
    }

    async fn run_with(
        self,
        process: impl Process,
        chunk: usize,
        shutdown: &Shutdown,
    ) -> Result<RunReport, RunError> {
        let Self { consumer, settings } = self;
        let work = SharedWork::default();
        let listener = Listener { work: Arc::clone(&work), drain_timeout: settings.drain_timeout };
        let consumer = consumer.without_auto_commit().rebalance_listener(listener).build()?;
        let high = settings.max_pending.max(chunk);
        let lanes = Arc::new(Lanes {
            work: Arc::clone(&work),
            process,
            tries: settings.tries,
            try_timeout: settings.try_timeout,
            fallback: settings.fallback.clone(),
            chunk,
            permits: Semaphore::new(settings.concurrency),
            low: high / 2,
        });
        // However this ends, handlers end with it.
        let _abandon = Abandon(&work);
        let ended = until_end(&consumer, &lanes, &settings, high, shutdown).await;
        let drained =
            work.drain(&work.partitions(), settings.drain_timeout, |at| consumer.position(at)).await;
        commit(&consumer, drained).await;
        if let Err(error) = consumer.close(settings.drain_timeout).await {
            tracing::warn!(%error, "the group was not left");
        }
        ended.map(|()| work.report())
    }
}

/// Polls and hands out to lanes, until it is asked to end or can't go on.
async fn until_end<P: Process>(
    consumer: &Consumer,
    lanes: &Arc<Lanes<P>>,
    settings: &Settings,
    high: usize,
    shutdown: &Shutdown,
) -> Result<(), RunError> {
    let work = &lanes.work;
    let mut commits = tokio::time::interval(settings.commit_interval);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let polled = tokio::select! {
            biased;
            () = shutdown.begun() => return Ok(()),
            () = work.attention.notified() => None,
            _ = commits.tick() => {
                work.read_on(|at| consumer.position(at));
                commit_async(consumer, work.progress());
                None
            }
            polled = consumer.poll(POLL) => Some(polled?),
        };
        if let Some(error) = work.take_error() {
            return Err(error);
        }
        match polled {
            Some(Some(records)) => {
                for record in records.iter() {
                    let lanes = Arc::clone(lanes);
                    work.offer(record.to_record(), settings.order, |of| lanes.run(of));
                }
            }
            // Closed by nobody but us.
            Some(None) => return Ok(()),
            None => {}
        }
        let (pause, resume) = work.balance(lanes.low, high);
        // One that is not ours any more needs neither.
        for partition in pause {
            let _ = consumer.pause(&partition);
        }
        for partition in resume {
            let _ = consumer.resume(&partition);
        }
    }
}

type Positions = Vec<(TopicPartition, milena::Position)>;

/// A failure is made up for by the next commit, or at the end.
fn commit_async(consumer: &Consumer, positions: Positions) {
    let ours = consumer.assignment();
    let positions: Positions = positions.into_iter().filter(|(at, _)| ours.contains(at)).collect();
    if !positions.is_empty()
        && let Err(error) = consumer.commit_offsets_async(positions)
    {
        tracing::warn!(%error, "offsets are not committed");
    }
}

async fn commit(consumer: &Consumer, positions: Positions) {
    let ours = consumer.assignment();
    let positions: Positions = positions.into_iter().filter(|(at, _)| ours.contains(at)).collect();
    if !positions.is_empty()
        && let Err(error) = consumer.commit_offsets(positions).await
    {
        tracing::warn!(%error, "offsets are not committed: what was done is done again");
    }
}

/// Finishes what is in hand before partitions are given up.
struct Listener {
    work: SharedWork,
    drain_timeout: Duration,
}

impl RebalanceListener for Listener {
    async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        let positions = self.work.drain(partitions, self.drain_timeout, |at| context.position(at)).await;
        if !positions.is_empty()
            && let Err(error) = context.commit_offsets(positions).await
        {
            tracing::warn!(%error, "offsets are not committed: what was done is done again");
        }
    }

    async fn lost(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        self.work.abandon(partitions);
    }
}

/// Ends the tasks of all lanes.
struct Abandon<'a>(&'a SharedWork);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon(&self.0.partitions());
    }
}
