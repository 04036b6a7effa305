//! Running a consumer's builder without naming the runner.

use milena::ConsumerBuilder;

use super::{Order, RunError, RunReport, Runner};
use crate::{Handler, Shutdown};

/// [`Runner`]s by a method of [`ConsumerBuilder`].
///
/// ```no_run
/// use milena::{Client, ConsumedRecord};
/// use milena_patterns::{Order, Run, Shutdown};
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.consumer("analytics").subscribe(["orders"]);
/// let report = orders
///     .run(16, Order::Key, |record: ConsumedRecord| async move { count(&record).await }, &shutdown)
///     .await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// # async fn count(_: &ConsumedRecord) -> Result<(), milena_patterns::HandlerError> { Ok(()) }
/// ```
pub trait Run: sealed::Sealed {
    /// A runner with all that can be set.
    fn runner(self) -> Runner;

    /// Handles records, so many side by side and in this order, until `shutdown` is asked for. A record that fails three times
    /// ends it, for there is no [fallback](Runner::fallback).
    ///
    /// # Errors
    /// See [`RunError`].
    ///
    /// # Cancellation
    /// As [`Runner::run`].
    fn run(
        self,
        concurrency: usize,
        order: Order,
        handler: impl Handler,
        shutdown: &Shutdown,
    ) -> impl Future<Output = Result<RunReport, RunError>> + Send
    where
        Self: Sized,
    {
        self.runner().concurrency(concurrency).order(order).run(handler, shutdown)
    }
}

impl Run for ConsumerBuilder {
    fn runner(self) -> Runner {
        Runner::new(self)
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::ConsumerBuilder {}
}
