//! What comes after a group has been left, and how long leaving may take.

use std::time::{Duration, Instant};

use milena_cluster::RequestId;

/// How long a member tries to say goodbye. Who stays silent is noticed by the session timeout anyway.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A goodbye under way.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) asked: Option<(RequestId, milena_cluster::BrokerId)>,
    /// When the goodbye is given up.
    pub(super) until: Instant,
    pub(super) then: Afterwards,
}

impl Leaving {
    pub(super) fn new(now: Instant, then: Afterwards) -> Self {
        Self { asked: None, until: now + LEAVE_TIMEOUT, then }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Stay outside.
    Out,
    /// Stay outside until the application polls.
    Silent,
    /// Join again.
    Join,
}
