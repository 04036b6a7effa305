//! Where records go that a handler can't handle.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use milena::{ConsumedRecord, SendError};

use crate::GivenUp;

/// Takes records that were tried as often as they may be: [`DeadLetters`](crate::DeadLetters) and
/// [`RetryTopics`](crate::RetryTopics) do. The record's offset is committed only after it was taken.
pub trait Fallback: Send + Sync + 'static {
    /// Takes the record, which from then on is somebody else's.
    ///
    /// # Errors
    /// When it is not taken. It is offered again; a runner whose fallback goes on refusing stops with the error, and the record
    /// is read again by whoever reads next.
    ///
    /// # Cancellation
    /// The future is dropped when the partition is lost to another member, which handles the record again.
    fn take(
        &self,
        record: &ConsumedRecord,
        why: &GivenUp,
    ) -> impl Future<Output = Result<(), SendError>> + Send;

    /// How long the record has to wait before it is tried. `now_ms` is the time in milliseconds since 1970. Records behind it
    /// that keep its order wait too; others do not, and neither does the group.
    fn wait_before(&self, record: &ConsumedRecord, now_ms: i64) -> Duration {
        let _ = (record, now_ms);
        Duration::ZERO
    }
}

/// A fallback whatever its type.
#[derive(Clone)]
pub(crate) struct AnyFallback(Arc<dyn Take>);

type Taking<'a> = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>;

trait Take: Send + Sync {
    fn take<'a>(&'a self, record: &'a ConsumedRecord, why: &'a GivenUp) -> Taking<'a>;
    fn wait_before(&self, record: &ConsumedRecord, now_ms: i64) -> Duration;
}

impl<F: Fallback> Take for F {
    fn take<'a>(&'a self, record: &'a ConsumedRecord, why: &'a GivenUp) -> Taking<'a> {
        Box::pin(Fallback::take(self, record, why))
    }

    fn wait_before(&self, record: &ConsumedRecord, now_ms: i64) -> Duration {
        Fallback::wait_before(self, record, now_ms)
    }
}

impl AnyFallback {
    pub(crate) fn new(fallback: impl Fallback) -> Self {
        Self(Arc::new(fallback))
    }

    pub(crate) async fn take(&self, record: &ConsumedRecord, why: &GivenUp) -> Result<(), SendError> {
        self.0.take(record, why).await
    }

    pub(crate) fn wait_before(&self, record: &ConsumedRecord, now_ms: i64) -> Duration {
        self.0.wait_before(record, now_ms)
    }
}

impl fmt::Debug for AnyFallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback")
    }
}
