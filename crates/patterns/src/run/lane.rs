//! Handling the records of a lane: tries, waits between them, and where they go when they are given up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use milena::ConsumedRecord;
use tokio::sync::Semaphore;

use super::{
    RunError,
    work::{LaneOf, SharedWork},
};
use crate::{
    BatchError, BatchHandler, GivenUp, Handler, Reason, Tries,
    fallback::AnyFallback,
    handler::{Blame, FailedTry, attempt},
};

/// A handler of one record or of several.
pub(super) trait Process: Send + Sync + 'static {
    fn process(&self, records: Vec<ConsumedRecord>) -> impl Future<Output = Result<(), BatchError>> + Send;
}

/// Of one.
pub(super) struct OneByOne<H>(pub(super) H);

impl<H: Handler> Process for OneByOne<H> {
    async fn process(&self, records: Vec<ConsumedRecord>) -> Result<(), BatchError> {
        for (done, record) in records.into_iter().enumerate() {
            self.0.handle(record).await.map_err(|error| BatchError { done, error })?;
        }
        Ok(())
    }
}

/// Of several.
pub(super) struct InChunks<H>(pub(super) H);

impl<H: BatchHandler> Process for InChunks<H> {
    fn process(&self, records: Vec<ConsumedRecord>) -> impl Future<Output = Result<(), BatchError>> + Send {
        self.0.handle(records)
    }
}

/// What all lanes share.
pub(super) struct Lanes<P> {
    pub(super) work: SharedWork,
    pub(super) process: P,
    pub(super) tries: Tries,
    pub(super) try_timeout: Option<Duration>,
    pub(super) fallback: Option<AnyFallback>,
    /// How many records a try is about at most.
    pub(super) chunk: usize,
    /// A permit for each handler that may run.
    pub(super) permits: Semaphore,
    /// A paused partition with so few open records is to go on.
    pub(super) low: usize,
}

/// The lane can't go on: its partition is given up, or the runner ends with an error.
struct Left;

impl<P: Process> Lanes<P> {
    /// The task of a lane.
    pub(super) async fn run(self: Arc<Self>, of: LaneOf) {
        loop {
            let records = self.work.next(&of, self.chunk);
            if records.is_empty() {
                return;
            }
            if self.handle(&of, records).await.is_err() {
                return self.work.leave(&of);
            }
        }
    }

    /// Handles records until each is done or given up. A chunk that is given up is gone through one by one, so that the
    /// records beside the one that can't be handled are.
    async fn handle(&self, of: &LaneOf, mut records: Vec<ConsumedRecord>) -> Result<(), Left> {
        let (mut tried, mut unavailable) = (0u32, 0u32);
        let mut size = records.len();
        while let Some(first) = records.first() {
            self.wait_before(of, first).await?;
            let part: Vec<_> = records.iter().take(size).cloned().collect();
            let len = part.len();
            tried = tried.saturating_add(1);
            let Err(FailedTry { done, blame, reason }) = self.attempt(part).await else {
                self.done(of, records.drain(..len));
                (tried, unavailable) = (0, 0);
                continue;
            };
            let done = done.min(len);
            self.done(of, records.drain(..done));
            if done > 0 {
                // This was the first try of the one that it came to.
                tried = 1;
            }
            let Some(first) = records.first().filter(|_| done < len) else { continue };
            tracing::debug!(partition = %of.partition, offset = first.offset(), tried, %reason, "a try failed");
            if blame == Blame::Surroundings {
                tried = tried.saturating_sub(1);
                unavailable = unavailable.saturating_add(1);
                self.wait_for_surroundings(of, unavailable, &reason).await?;
                continue;
            }
            let is_permanent = blame == Blame::Record;
            if let Some(wait) = self.tries.wait_after(tried, fastrand::f64()).filter(|_| !is_permanent) {
                self.work.count(|report| report.retried += 1);
                self.wait(of, wait).await?;
            } else if size > 1 && len - done > 1 {
                (size, tried) = (1, 0);
            } else {
                self.give_up(of, first, GivenUp { reason, tries: tried }).await?;
                self.work.finish(of, [first.offset()], self.low);
                self.work.count(|report| report.given_up += 1);
                records.remove(0);
                tried = 0;
            }
        }
        Ok(())
    }

    async fn attempt(&self, records: Vec<ConsumedRecord>) -> Result<(), FailedTry> {
        // It is never closed.
        let _permit = self.permits.acquire().await.ok();
        attempt(|| self.process.process(records), self.try_timeout).await
    }

    fn done(&self, of: &LaneOf, records: impl ExactSizeIterator<Item = ConsumedRecord>) {
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.work.finish(of, records.map(|record| record.offset()), self.low);
        self.work.count(|report| report.handled = report.handled.saturating_add(count));
    }

    /// Waits for the time of a record whose time has not come.
    async fn wait_before(&self, of: &LaneOf, record: &ConsumedRecord) -> Result<(), Left> {
        let Some(fallback) = &self.fallback else { return Ok(()) };
        let wait = fallback.wait_before(record, now_ms());
        if wait.is_zero() { Ok(()) } else { self.wait(of, wait).await }
    }

    /// Waits after the so manieth try in a row that failed for what is not there. The record is not to blame, and its tries are
    /// not used up.
    async fn wait_for_surroundings(&self, of: &LaneOf, failed: u32, reason: &Reason) -> Result<(), Left> {
        if failed == 1 {
            tracing::warn!(partition = %of.partition, %reason, "records wait for what handling them needs");
        }
        self.work.count(|report| report.retried += 1);
        let wait = self.tries.endless().wait_after(failed, fastrand::f64()).unwrap_or_default();
        self.wait(of, wait).await
    }

    /// Waits, unless the partition is given up meanwhile.
    async fn wait(&self, of: &LaneOf, wait: Duration) -> Result<(), Left> {
        tokio::select! {
            biased;
            () = of.closing.begun() => Err(Left),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Has the fallback take the record, or ends the runner.
    async fn give_up(&self, of: &LaneOf, record: &ConsumedRecord, why: GivenUp) -> Result<(), Left> {
        let (partition, offset) = (of.partition.clone(), record.offset());
        let Some(fallback) = &self.fallback else {
            let GivenUp { reason, tries } = why;
            self.work.fail(RunError::Handler { partition, offset, reason, tries });
            return Err(Left);
        };
        let mut offered = 0u32;
        loop {
            let Err(error) = fallback.take(record, &why).await else { return Ok(()) };
            offered = offered.saturating_add(1);
            let Some(wait) = self.tries.wait_after(offered, fastrand::f64()) else {
                self.work.fail(RunError::Fallback { partition, offset, why: why.reason, error });
                return Err(Left);
            };
            self.wait(of, wait).await?;
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
