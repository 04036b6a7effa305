//! One record of a partition after the other, each at least once.

use std::time::Duration;

use milena::{ConsumerBuilder, Producer};

use crate::{DeadLetters, Handler, RunError, RunReport, Runner, Shutdown};

/// Handles the records of a partition one after the other. One that fails is tried again in its place, three times in all,
/// while other partitions go on; then it goes to `<topic>.dlq`, and only when it is acknowledged there is its offset committed.
///
/// It is a [`Runner`] with a session of 30 s, heartbeats every 3 s and dead letters; the group's protocol may make it the
/// cluster's business how long a session is.
///
/// ```no_run
/// use milena::{Client, ConsumedRecord};
/// use milena_patterns::{AtLeastOnce, HandlerError, Shutdown};
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.consumer("inventory").subscribe(["orders"]);
/// AtLeastOnce::new(orders, client.producer().build()?)
///     .run(|record: ConsumedRecord| async move { reserve(&record) }, &shutdown)
///     .await?;
/// # Ok(())
/// # }
/// # fn reserve(_: &ConsumedRecord) -> Result<(), HandlerError> { Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct AtLeastOnce(Runner);

impl AtLeastOnce {
    /// Reads what `consumer` does; dead letters are sent by `producer`. Up to 64 partitions are handled side by side.
    pub fn new(consumer: ConsumerBuilder, producer: Producer) -> Self {
        let consumer =
            consumer.session_timeout(Duration::from_secs(30)).heartbeat_interval(Duration::from_secs(3));
        Self(Runner::new(consumer).concurrency(64).fallback(DeadLetters::new(producer)))
    }

    /// Changes the runner's other settings.
    pub fn configure(mut self, set: impl FnOnce(Runner) -> Runner) -> Self {
        self.0 = set(self.0);
        self
    }

    /// As [`Runner::run`].
    ///
    /// # Errors
    /// As [`Runner::run`].
    ///
    /// # Cancellation
    /// As [`Runner::run`].
    pub async fn run(self, handler: impl Handler, shutdown: &Shutdown) -> Result<RunReport, RunError> {
        self.0.run(handler, shutdown).await
    }
}
