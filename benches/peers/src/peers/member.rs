//! A consumer that is a member of a group.

use std::{future::Future, time::Duration};

use super::Job;

/// How often positions are committed, Kafka's default.
pub(super) const COMMIT: Duration = Duration::from_secs(5);

/// A record that a member was handed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'r> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) value: Option<&'r [u8]>,
}

/// A member under measurement. It starts at the earliest record where nothing is committed, commits by itself, and with the
/// classic protocol has the cooperative-sticky assignor.
pub(super) trait Member: Sized {
    /// Subscribes to the topic with a client of its own, from nothing: no connection is open. Need not wait for anything.
    fn join(job: &Job, group: &str) -> impl Future<Output = anyhow::Result<Self>>;

    /// Takes what there is, waiting for something for this long at most.
    fn poll(
        &mut self,
        wait: Duration,
        take: &mut impl FnMut(Taken<'_>),
    ) -> impl Future<Output = anyhow::Result<()>>;

    /// Commits and leaves the group.
    fn leave(self) -> impl Future<Output = anyhow::Result<()>>;
}
