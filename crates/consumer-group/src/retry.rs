//! When something that failed may be tried again.

use std::time::Instant;

use milena_cluster::{Backoff, later};

/// Failures in a row, and the wait after the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retry {
    failures: u32,
    not_before: Option<Instant>,
}

impl Retry {
    pub(crate) fn failed(&mut self, now: Instant, backoff: Backoff, random: &mut fastrand::Rng) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(later(now, backoff.after(self.failures, random)));
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Forgets a wait that is over, so that its end does not count as a deadline again.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
        }
    }

    pub(crate) fn is_waiting(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| at > now)
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.not_before
    }
}
