//! The handle of a producer that has transactions.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use milena_connection::Driven;
use milena_producer::{Producer as Machine, ProducerStats, TransactionError, TransactionPhase};
use milena_protocol::wire::ByteString;

use super::{InitializeError, Transaction, TransactionSignals};
use crate::{CloseError, Producer, ProducerBuilder};

/// Sends records in transactions: what is sent in one becomes visible to readers of committed records as a whole, or
/// never.
///
/// The transactional id is the producer's name over restarts: the newest producer of an id fences those before it and
/// ends what they have left open. One transaction is open at a time. To close the producer, [`close`](Self::close) it or
/// drop it; both abort what is open.
///
/// # Example
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("payments", 1).topic("orders", 1).start().await?;
/// # let bootstrap = broker.bootstrap();
/// use milena::{Client, Record, Remedy};
///
/// let client = Client::connect(&bootstrap).await?;
/// let mut producer = client.transactional_producer("payments-1").build().await?;
///
/// let transaction = producer.begin()?;
/// transaction.send(Record::new("payments").key("o-1").value("paid")).await?;
/// transaction.send(Record::new("orders").key("o-1").value("confirmed")).await?;
/// match transaction.commit().await {
///     Ok(()) => {}
///     // It may be committed: asking again finds out, and is all that is allowed.
///     Err(error) if error.remedy() == Remedy::CommitAgain => producer.commit_again().await?,
///     // It is not committed, and is being aborted: do it all again.
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
///
/// Two open transactions of one producer do not compile:
/// ```compile_fail,E0499
/// # async fn two(producer: &mut milena::TransactionalProducer) -> Result<(), milena::TransactionError> {
/// let first = producer.begin()?;
/// let second = producer.begin()?;
/// first.commit().await?;
/// second.commit().await
/// # }
/// ```
#[derive(Debug)]
pub struct TransactionalProducer {
    pub(super) producer: Producer,
}

/// Settings of a [`TransactionalProducer`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is built"]
pub struct TransactionalProducerBuilder {
    pub(crate) builder: ProducerBuilder,
}

impl TransactionalProducerBuilder {
    pub(crate) fn new(mut builder: ProducerBuilder, id: ByteString) -> Self {
        builder.config.transactional_id = Some(id);
        Self { builder }
    }

    /// After how long the coordinator aborts a transaction by itself, 60 s by default; the broker has a limit of its own,
    /// 15 minutes by default. More lets a transaction take longer, and keeps readers of committed records waiting for
    /// longer when a producer dies. A commit is refused after nine tenths of it.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.builder.config.transaction_timeout = timeout;
        self
    }

    /// How long the coordinator is asked to commit or abort, 60 s by default. Then the outcome of a commit counts as not
    /// known.
    pub fn end_timeout(mut self, timeout: Duration) -> Self {
        self.builder.config.transaction_end_timeout = timeout;
        self
    }

    /// The settings that every producer has.
    pub fn configure(mut self, set: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Self {
        self.builder = set(self.builder);
        self
    }

    /// Starts the producer on the current tokio runtime and waits until its coordinator has granted it an epoch, for
    /// [`max_block`](ProducerBuilder::max_block) at most. From then on older producers of the id are fenced.
    ///
    /// # Errors
    /// When the settings can't be, or the coordinator refuses or can't be reached.
    ///
    /// # Cancellation
    /// Dropping the future ends the producer; older ones may be fenced all the same.
    pub async fn build(self) -> Result<TransactionalProducer, InitializeError> {
        let waited = self.builder.max_block;
        let producer = TransactionalProducer { producer: self.builder.build()? };
        match producer.until_ready().await {
            Some(ready) => ready?,
            None => {
                let last = producer.driven().look().last_failure();
                return Err(InitializeError::Blocked { waited, last });
            }
        }
        Ok(producer)
    }
}

impl TransactionalProducer {
    /// Begins a transaction. Never waits: if the one before is still ending, the first record waits for that.
    ///
    /// # Errors
    /// When the producer can't go on, or does not know yet how its last commit ended.
    pub fn begin(&mut self) -> Result<Transaction<'_>, TransactionError> {
        let begun = AtomicBool::new(false);
        match self.driven().change(|machine, now| try_begin(machine, now, &begun)) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(Transaction::new(self, begun)),
        }
    }

    /// After [`TransactionError::CommitUnknown`]: asks for the same commit again, which finds out how it ended.
    ///
    /// # Errors
    /// When the commit is not done or its outcome is still not known; [`TransactionError::NoTransaction`] when there is
    /// none whose outcome is not known.
    ///
    /// # Cancellation
    /// Dropping the future does not take the commit back: the next transaction waits for it.
    pub async fn commit_again(&mut self) -> Result<(), TransactionError> {
        let ended = self.driven().change(|machine, now| match machine.transaction_phase() {
            Some(TransactionPhase::Stuck(TransactionError::CommitUnknown(_))) => {
                machine.commit(now).map(|()| self.signals().await_end())
            }
            Some(TransactionPhase::Stuck(error)) => Err(error),
            _ => Err(TransactionError::NoTransaction),
        })?;
        ended.await.unwrap_or(Err(TransactionError::Closed))
    }

    /// After [`TransactionError::CommitUnknown`]: gives up to learn how the commit ended, and takes a new epoch. A
    /// transaction whose commit has not reached the coordinator is aborted by that.
    ///
    /// # Errors
    /// When no commit's outcome is unknown, or the coordinator refuses, or does not grant the epoch within
    /// [`max_block`](ProducerBuilder::max_block) ([`TransactionError::NotReady`]: it goes on being asked).
    ///
    /// # Cancellation
    /// Dropping the future does not stop it: the next transaction waits for it.
    pub async fn reinitialize(&mut self) -> Result<(), TransactionError> {
        self.driven().change(|machine, _| machine.reinitialize())?;
        self.until_ready().await.unwrap_or(Err(TransactionError::NotReady))
    }

    /// Aborts what is open, sends nothing more and ends, after `timeout` at the latest.
    ///
    /// # Errors
    /// When the producer's task has ended before.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn close(self, timeout: Duration) -> Result<(), CloseError> {
        self.producer.close(timeout).await
    }

    /// What the producer holds, and what it has done; see [`Producer::stats`].
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.producer.stats()
    }

    pub(super) fn driven(&self) -> &Driven<Machine> {
        self.producer.driven()
    }

    pub(super) fn signals(&self) -> &TransactionSignals {
        self.producer.transaction_signals()
    }

    /// Waits until a transaction may begin, or none ever may; `None` when that takes too long.
    async fn until_ready(&self) -> Option<Result<(), TransactionError>> {
        self.until(|machine, _| match machine.transaction_phase() {
            Some(TransactionPhase::Initializing) => Poll::Pending,
            Some(TransactionPhase::Stuck(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Attempts something whenever the transaction has got further, for `max_block` at most.
    pub(super) async fn until(
        &self,
        mut attempt: impl FnMut(&mut Machine, Instant) -> Poll<Result<(), TransactionError>>,
    ) -> Option<Result<(), TransactionError>> {
        let attempts = async {
            loop {
                let changed = self.signals().changed.notified();
                tokio::pin!(changed);
                // Registered before the attempt, so that no change in between is missed.
                changed.as_mut().enable();
                if let Poll::Ready(result) = self.driven().change(&mut attempt) {
                    return result;
                }
                if self.producer.has_ended() {
                    return Err(TransactionError::Closed);
                }
                changed.await;
            }
        };
        tokio::time::timeout(self.producer.max_block(), attempts).await.ok()
    }
}

/// Begins the transaction as soon as the one before is over.
pub(super) fn try_begin(
    machine: &mut Machine,
    now: Instant,
    begun: &AtomicBool,
) -> Poll<Result<(), TransactionError>> {
    if begun.load(Ordering::Acquire) {
        return Poll::Ready(Ok(()));
    }
    match machine.transaction_phase() {
        None => Poll::Ready(Err(TransactionError::NotTransactional)),
        Some(TransactionPhase::Ready) => {
            let result = machine.begin(now);
            begun.store(result.is_ok(), Ordering::Release);
            Poll::Ready(result)
        }
        // Of a handle that is gone: one that was forgotten, or whose abort was not confirmed.
        Some(TransactionPhase::Open | TransactionPhase::Stuck(TransactionError::MustAbort(_))) => {
            match machine.abort() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        }
        Some(TransactionPhase::Stuck(error)) => Poll::Ready(Err(error)),
        Some(_) => Poll::Pending,
    }
}
