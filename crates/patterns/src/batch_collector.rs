//! Gathering events and sending them together.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use milena::{Delivery, Producer, Record, SendError};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::Tries;

/// Gathers events, and sends them when there are enough or the first of them has waited long enough: topic by topic, each
/// topic's in their order. What could not be sent stays, in its order, and is sent again with the next ones.
///
/// The producer batches by bytes and milliseconds by itself. This is for events that are to go out in larger, rarer groups, and
/// that their callers want to be rid of at once.
///
/// ```no_run
/// use std::time::Duration;
/// use milena::{Client, Compression, Record};
/// use milena_patterns::BatchCollector;
///
/// # async fn track(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = client.producer().compression(Compression::Snappy).build()?;
/// let views = BatchCollector::builder(producer).max_events(500).max_wait(Duration::from_secs(2)).start();
/// views.add(Record::new("page-views").key("user-7").value("/basket")).await?;
/// let collected = views.close(Duration::from_secs(10)).await?;
/// println!("{} sent", collected.sent);
/// # Ok(())
/// # }
/// ```
///
/// Events are in memory until they are acknowledged: a process that is killed loses those that it holds. An event that may have been
/// written and is not acknowledged is sent again: then it can be there twice.
#[derive(Debug)]
pub struct BatchCollector {
    queue: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    max_pending: usize,
    wishes: mpsc::UnboundedSender<Wish>,
    task: JoinHandle<()>,
}

/// How a [`BatchCollector`] is to work.
#[must_use = "nothing is gathered before it is started"]
pub struct BatchCollectorBuilder {
    producer: Producer,
    max_events: usize,
    max_wait: Duration,
    max_pending: usize,
    backoff: Tries,
    rejected: Option<Rejected>,
}

/// After how many tries an event is whose.
struct Rejected {
    tries: u32,
    take: Box<dyn Fn(Record, SendError) + Send + Sync>,
}

/// What a collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Events that are acknowledged.
    pub sent: u64,
    /// Groups that were sent.
    pub groups: u64,
    /// Events that [`on_rejected`](BatchCollectorBuilder::on_rejected) was given.
    pub rejected: u64,
}

/// An event was not taken, or not all could be sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The collector has ended.
    #[error("the collector has ended")]
    Ended,
    /// The time to send what was left is over.
    #[error("{} events were not acknowledged within {waited:?}", .rest.len())]
    NotSent {
        /// They, in their order. Some may have been written.
        rest: Vec<Record>,
        /// How long was waited.
        waited: Duration,
        /// What was done before.
        collected: Collected,
    },
}

/// An event, which has its share of the room until it is acknowledged.
struct Entry {
    record: Record,
    tries: u32,
    _room: OwnedSemaphorePermit,
}

enum Wish {
    Flush(oneshot::Sender<()>),
    Close(Instant, oneshot::Sender<(Vec<Record>, Collected)>),
}

impl BatchCollector {
    /// Sends with this producer.
    pub fn builder(producer: Producer) -> BatchCollectorBuilder {
        BatchCollectorBuilder {
            producer,
            max_events: 100,
            max_wait: Duration::from_secs(1),
            max_pending: 10_000,
            backoff: Tries::default(),
            rejected: None,
        }
    }

    /// Takes an event. Returns at once unless as many are pending as may be.
    ///
    /// # Errors
    /// When the collector has ended: the runtime that it ran on is gone.
    ///
    /// # Cancellation
    /// Dropping the future before it is done takes nothing.
    pub async fn add(&self, record: Record) -> Result<(), CollectError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| CollectError::Ended)?;
        let entry = Entry { record, tries: 0, _room: room };
        self.queue.send(entry).map_err(|_| CollectError::Ended)
    }

    /// Sends what is there, and waits until it was tried once. What failed stays.
    ///
    /// # Errors
    /// When the collector has ended.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn flush(&self) -> Result<(), CollectError> {
        let (done, flushed) = oneshot::channel();
        self.wishes.send(Wish::Flush(done)).map_err(|_| CollectError::Ended)?;
        flushed.await.map_err(|_| CollectError::Ended)
    }

    /// Sends what is left, trying for `timeout` at most, and ends.
    ///
    /// # Errors
    /// [`CollectError::NotSent`] gives back what was not acknowledged in time.
    ///
    /// # Cancellation
    /// Dropping the future does not stop it from being sent.
    pub async fn close(self, timeout: Duration) -> Result<Collected, CollectError> {
        let (done, closed) = oneshot::channel();
        let deadline = Instant::now().checked_add(timeout).unwrap_or_else(|| {
            // A year is as good as never.
            Instant::now() + Duration::from_secs(365 * 86_400)
        });
        self.wishes.send(Wish::Close(deadline, done)).map_err(|_| CollectError::Ended)?;
        let (rest, collected) = closed.await.map_err(|_| CollectError::Ended)?;
        if rest.is_empty() {
            return Ok(collected);
        }
        Err(CollectError::NotSent { rest, waited: timeout, collected })
    }

    /// How many events are taken and not acknowledged yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.max_pending.saturating_sub(self.room.available_permits())
    }
}

impl Drop for BatchCollector {
    /// What is queued is sent in the background, as long as the runtime lives and it succeeds at once.
    fn drop(&mut self) {
        if !self.task.is_finished() {
            tracing::debug!("a batch collector was dropped; what it holds is tried once");
        }
    }
}

impl BatchCollectorBuilder {
    /// From how many events on they are sent; 100 by default.
    pub fn max_events(mut self, events: usize) -> Self {
        self.max_events = events.max(1);
        self
    }

    /// How long the first of them waits at most; 1 s by default.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How many events may be taken and not acknowledged; 10,000 by default. Then [`add`](BatchCollector::add) waits.
    pub fn max_pending(mut self, events: usize) -> Self {
        self.max_pending = events.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long is waited after a group of which something failed; it doubles while that goes on. 100 ms to 10 s by default.
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = self.backoff.backoff(first, max);
        self
    }

    /// Gives events that failed so often to `take`. By default they stay for as long as the collector is there. It is called in
    /// the collector's task, and should be quick.
    pub fn on_rejected(
        mut self,
        tries: u32,
        take: impl Fn(Record, SendError) + Send + Sync + 'static,
    ) -> Self {
        self.rejected = Some(Rejected { tries: tries.max(1), take: Box::new(take) });
        self
    }

    /// Starts the collector on the current tokio runtime.
    #[must_use]
    pub fn start(self) -> BatchCollector {
        // What is in the queue has its share of the room.
        let (queue, events) = mpsc::unbounded_channel();
        let (wishes, wished) = mpsc::unbounded_channel();
        let max_pending = self.max_pending;
        let room = Arc::new(Semaphore::new(max_pending));
        let collecting = Collecting {
            settings: self,
            held: VecDeque::new(),
            due: None,
            failures: 0,
            collected: Collected::default(),
        };
        let task = tokio::spawn(collecting.run(events, wished));
        BatchCollector { queue, room, max_pending, wishes, task }
    }
}

impl fmt::Debug for BatchCollectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("BatchCollectorBuilder");
        shown.field("max_events", &self.max_events).field("max_wait", &self.max_wait);
        shown.field("max_pending", &self.max_pending).finish_non_exhaustive()
    }
}

/// The collector's task.
struct Collecting {
    settings: BatchCollectorBuilder,
    held: VecDeque<Entry>,
    /// When what is held goes out at the latest.
    due: Option<Instant>,
    /// Groups in a row of which something failed.
    failures: u32,
    collected: Collected,
}

impl Collecting {
    async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Entry>,
        mut wishes: mpsc::UnboundedReceiver<Wish>,
    ) {
        loop {
            let due = self.due;
            tokio::select! {
                biased;
                wish = wishes.recv() => {
                    while let Ok(entry) = events.try_recv() {
                        self.held.push_back(entry);
                    }
                    match wish {
                        Some(Wish::Flush(done)) => {
                            self.send_group().await;
                            let _ = done.send(());
                        }
                        Some(Wish::Close(deadline, done)) => {
                            self.send_rest(deadline).await;
                            let rest = self.held.drain(..).map(|entry| entry.record).collect();
                            let _ = done.send((rest, self.collected));
                            return;
                        }
                        None => return self.send_group().await,
                    }
                }
                () = at(due), if due.is_some() => self.send_group().await,
                Some(entry) = events.recv() => {
                    self.held.push_back(entry);
                    let wait = self.settings.max_wait;
                    self.due.get_or_insert_with(|| Instant::now() + wait);
                    // After a failure its wait is over first.
                    if self.held.len() >= self.settings.max_events && self.failures == 0 {
                        self.send_group().await;
                    }
                }
            }
        }
    }

    async fn send_rest(&mut self, deadline: Instant) {
        while !self.held.is_empty() && Instant::now() < deadline {
            if tokio::time::timeout_at(deadline, self.send_group()).await.is_err() {
                return;
            }
            if let Some(due) = self.due {
                tokio::time::sleep_until(due.min(deadline)).await;
            }
        }
    }

    /// Tries all that is held once, topic by topic. What failed stays, in its order. Nothing is taken out before it is
    /// acknowledged: dropping the future in the middle forgets nothing.
    async fn send_group(&mut self) {
        self.due = None;
        if self.held.is_empty() {
            return;
        }
        let outcomes = send_all(&self.settings.producer, self.held.make_contiguous()).await;
        self.collected.groups += 1;
        let mut has_failed = false;
        for outcome in outcomes {
            let Some(mut entry) = self.held.pop_front() else { break };
            let Err(error) = outcome else {
                self.collected.sent += 1;
                continue;
            };
            has_failed = true;
            entry.tries = entry.tries.saturating_add(1);
            match &self.settings.rejected {
                Some(rejected) if entry.tries >= rejected.tries => {
                    self.collected.rejected += 1;
                    (rejected.take)(entry.record, error);
                }
                _ => {
                    tracing::warn!(topic = entry.record.topic(), tries = entry.tries, %error, "an event stays queued");
                    self.held.push_back(entry);
                }
            }
        }
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
        if has_failed {
            // The wait of a try that is never the last one.
            let tried = self.failures.min(20);
            let wait = self.settings.backoff.endless().wait_after(tried, fastrand::f64()).unwrap_or_default();
            self.due = Some(Instant::now() + wait);
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What became of each event, in their order. Events are enqueued topic by topic; behind one that is not accepted the rest of
/// its topic is not tried, so that nothing overtakes it.
async fn send_all(producer: &Producer, entries: &[Entry]) -> Vec<Result<(), SendError>> {
    let mut topics: Vec<&str> = entries.iter().map(|entry| entry.record.topic()).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut deliveries: Vec<Result<Delivery, SendError>> = Vec::with_capacity(entries.len());
    let mut places: Vec<usize> = Vec::with_capacity(entries.len());
    for topic in topics {
        let of_topic = entries.iter().enumerate().filter(|(_, entry)| entry.record.topic() == topic);
        let mut refused: Option<SendError> = None;
        for (place, entry) in of_topic {
            let enqueued = match &refused {
                None => producer.enqueue(&entry.record).await,
                Some(error) => Err(error.clone()),
            };
            refused = refused.or_else(|| enqueued.as_ref().err().cloned());
            deliveries.push(enqueued);
            places.push(place);
        }
    }
    let mut outcomes: Vec<(usize, Result<(), SendError>)> = Vec::with_capacity(entries.len());
    for (place, delivery) in places.into_iter().zip(deliveries) {
        let outcome = match delivery {
            Ok(delivery) => delivery.await.map(drop).map_err(SendError::from),
            Err(error) => Err(error),
        };
        outcomes.push((place, outcome));
    }
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
