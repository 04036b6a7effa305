//! Committing by itself, for those who want that.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use milena_cluster::later;
use milena_connection::now;
use milena_consumer_group::CommitMode;

use super::Consumer;

#[derive(Debug)]
pub(super) struct AutoCommit {
    interval: Duration,
    /// When the next one is due.
    due: Mutex<Instant>,
}

impl AutoCommit {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, due: Mutex::new(later(now(), interval)) }
    }

    /// True once every interval.
    fn is_due(&self, now: Instant) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = *due <= now;
        if is_due {
            *due = later(now, self.interval);
        }
        is_due
    }
}

impl Consumer {
    /// Whoever polls again has processed what was handed out before.
    pub(super) fn auto_commit_if_due(&self) {
        if self.handle.auto_commit.as_ref().is_some_and(|auto_commit| auto_commit.is_due(now())) {
            self.auto_commit(CommitMode::Async);
        }
    }

    /// Before partitions are given up.
    pub(super) fn auto_commit_now(&self) {
        if self.handle.auto_commit.is_some() {
            self.auto_commit(CommitMode::Sync);
        }
    }

    fn auto_commit(&self, mode: CommitMode) {
        let begun = self.driven().change(|machine, now| machine.commit_positions(now, mode));
        if let Err(error) = begun {
            tracing::warn!(%error, "positions are not committed");
        }
    }
}
