//! Chunks of records, of several partitions side by side.

use std::time::Duration;

use milena::{ConsumerBuilder, Producer};

use crate::{BatchHandler, DeadLetters, RunError, RunReport, Runner, Shutdown};

/// Handles records in chunks of 10, a chunk of each partition at a time. A chunk that succeeds is done; one that fails is
/// tried again from its first record that is not.
///
/// It is a [`Runner`] with a session of 60 s, fetches that wait up to 1 s for up to 1 MiB of a partition, and dead letters.
///
/// ```no_run
/// use milena::{Client, ConsumedRecord};
/// use milena_patterns::{BatchError, ParallelBatches, Shutdown};
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = client.consumer("e-mail").subscribe(["orders"]);
/// ParallelBatches::new(orders, client.producer().build()?)
///     .chunk(50)
///     .run(|records: Vec<ConsumedRecord>| async move { send_mails(&records).await }, &shutdown)
///     .await?;
/// # Ok(())
/// # }
/// # async fn send_mails(_: &[ConsumedRecord]) -> Result<(), BatchError> { Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct ParallelBatches {
    runner: Runner,
    chunk: usize,
}

impl ParallelBatches {
    /// Reads what `consumer` does; dead letters are sent by `producer`. Up to 64 partitions are handled side by side.
    pub fn new(consumer: ConsumerBuilder, producer: Producer) -> Self {
        let consumer = consumer
            .session_timeout(Duration::from_secs(60))
            .fetch_max_wait(Duration::from_secs(1))
            .max_partition_fetch_bytes(1 << 20);
        let runner = Runner::new(consumer).concurrency(64).fallback(DeadLetters::new(producer));
        Self { runner, chunk: 10 }
    }

    /// How many records a chunk has at most, 10 by default. A chunk is what is there: nothing waits for more.
    pub fn chunk(mut self, records: usize) -> Self {
        self.chunk = records;
        self
    }

    /// Changes the runner's other settings.
    pub fn configure(mut self, set: impl FnOnce(Runner) -> Runner) -> Self {
        self.runner = set(self.runner);
        self
    }

    /// As [`Runner::run_batches`].
    ///
    /// # Errors
    /// As [`Runner::run_batches`].
    ///
    /// # Cancellation
    /// As [`Runner::run_batches`].
    pub async fn run(self, handler: impl BatchHandler, shutdown: &Shutdown) -> Result<RunReport, RunError> {
        self.runner.run_batches(self.chunk, handler, shutdown).await
    }
}
