//! Transactions: the handle of an open one.

mod error;
mod producer;
mod signals;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use milena_cluster::TopicPartition;
use milena_consumer_group::OffsetAndMetadata;
use milena_producer::{
    Delivery, GroupMetadata, GroupOffset, RecordMetadata, TransactionError, TransactionPhase,
};
use tracing::Instrument as _;

use crate::{AsRecord, CloseError, Deliveries, EnqueueAllError, SendError};

pub use error::InitializeError;
pub use producer::{TransactionalProducer, TransactionalProducerBuilder};
pub(crate) use signals::TransactionSignals;

/// An open transaction. Dropping it aborts it in the background; the next one waits for that.
#[derive(Debug)]
#[must_use = "dropping a transaction aborts it"]
pub struct Transaction<'p> {
    producer: &'p mut TransactionalProducer,
    /// The one before is over, and this one has begun.
    begun: AtomicBool,
}

impl<'p> Transaction<'p> {
    fn new(producer: &'p mut TransactionalProducer, begun: AtomicBool) -> Self {
        Self { producer, begun }
    }

    /// Sends a record and waits until it is acknowledged. Readers of committed records see it after the commit.
    ///
    /// # Errors
    /// When it is not. From then on the transaction can only be aborted, unless the record was not accepted for a reason
    /// that is its own.
    ///
    /// # Cancellation
    /// Dropping the future before the record is accepted sends nothing; afterwards the record is part of the transaction
    /// all the same.
    pub async fn send<R: AsRecord>(&self, record: R) -> Result<RecordMetadata, SendError> {
        let sending = async { Ok(self.enqueue(&record).await?.await?) };
        self.producer.producer.tracing.in_span(&record.as_record(), sending).await
    }

    /// Puts a record into its batch and returns at once, unless the transaction before, memory or knowledge of the topic
    /// has to be waited for. The [`Delivery`] need not be awaited: the commit waits for every record, and fails if one
    /// does.
    ///
    /// # Errors
    /// When the record is not accepted: nothing of it is sent.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn enqueue<R: AsRecord>(&self, record: R) -> Result<Delivery, SendError> {
        self.begin().await?;
        self.producer.producer.enqueue(record).await
    }

    /// Puts records into their batches, in their order, for less than one by one; see [`Producer::enqueue_all`](crate::Producer::enqueue_all).
    ///
    /// # Errors
    /// At the first record that is not accepted; those before it are part of the transaction.
    ///
    /// # Cancellation
    /// What was accepted so far is part of the transaction.
    pub async fn enqueue_all<I>(&self, records: I) -> Result<Deliveries, EnqueueAllError<I::Item>>
    where
        I: IntoIterator,
        I::Item: AsRecord,
    {
        let mut records = records.into_iter().peekable();
        if records.peek().is_none() {
            return Ok(Deliveries::default());
        }
        if let Err(cause) = self.begin().await {
            let rest = records.next().into_iter().collect();
            return Err(EnqueueAllError { accepted: Deliveries::default(), rest, cause: cause.into() });
        }
        self.producer.producer.enqueue_all(records).await
    }

    /// Sends what has been accepted without waiting for batches to fill, and waits until all of it is settled.
    ///
    /// # Errors
    /// When the producer's task has ended.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn flush(&self) -> Result<(), CloseError> {
        self.producer.producer.flush().await
    }

    /// Makes offsets of a consumer group part of the transaction: the group goes on reading behind them if and only if
    /// the transaction is committed. `group` is [`Consumer::group_metadata`](crate::Consumer::group_metadata), so that
    /// offsets of a member that has lost its partitions are refused (KIP-447). An offset is one past the last record that
    /// was processed.
    ///
    /// After an abort the consumer's positions stay where they are: to read the records again, seek to the committed
    /// offsets.
    ///
    /// # Errors
    /// When the group has not taken them: from then on the transaction can only be aborted.
    ///
    /// # Cancellation
    /// Dropping the future does not take the offsets back; the commit waits for them.
    pub async fn send_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        group: &GroupMetadata,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Result<(), TransactionError> {
        let offsets = offsets.into_iter().map(|(partition, offset)| {
            let OffsetAndMetadata { position, metadata } = offset.into();
            let leader_epoch = position.leader_epoch;
            (partition, GroupOffset { offset: position.offset, leader_epoch, metadata })
        });
        let offsets: BTreeMap<_, _> = offsets.collect();
        let span = tracing::debug_span!("send_offsets", partitions = offsets.len());
        let sending = async {
            self.begin().await?;
            let sent = self.producer.driven().change(|machine, _| {
                let id = machine.send_offsets(group.clone(), offsets)?;
                Ok::<_, TransactionError>(self.producer.signals().await_offsets(id))
            })?;
            sent.await.unwrap_or(Err(TransactionError::Closed))
        };
        sending.instrument(span).await
    }

    /// Commits all or nothing: waits until every record and offset is taken, then asks the coordinator.
    ///
    /// # Errors
    /// [`TransactionError::remedy`] says what may be done. One that could not be committed is being aborted, and the next
    /// one may begin. After [`TransactionError::CommitUnknown`] only
    /// [`TransactionalProducer::commit_again`] and [`TransactionalProducer::reinitialize`] are allowed.
    ///
    /// # Cancellation
    /// Dropping the future before it is polled aborts the transaction. Afterwards the commit goes on, and the next
    /// transaction waits for it.
    pub async fn commit(self) -> Result<(), TransactionError> {
        let committing = async {
            self.begin().await?;
            let signals = self.producer.signals();
            let ended = self.producer.driven().change(|machine, now| {
                machine.commit(now)?;
                Ok::<_, TransactionError>(signals.await_end())
            })?;
            ended.await.unwrap_or(Err(TransactionError::Closed))
        };
        committing.instrument(tracing::debug_span!("commit")).await
    }

    /// Aborts the transaction: readers of committed records never see any of it.
    ///
    /// # Errors
    /// When the coordinator did not confirm that in time: it aborts by itself after the transaction timeout, and the next
    /// transaction asks it again. When the producer is fenced.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the abort: the next transaction waits for it.
    pub async fn abort(self) -> Result<(), TransactionError> {
        if !self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let signals = self.producer.signals();
        let ended = self.producer.driven().change(|machine, _| {
            machine.abort()?;
            Ok::<_, TransactionError>(signals.await_end())
        })?;
        let ended = ended.instrument(tracing::debug_span!("abort")).await;
        ended.unwrap_or(Err(TransactionError::Closed))
    }

    /// Waits for the transaction before this one.
    async fn begin(&self) -> Result<(), TransactionError> {
        if self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let begun = self.producer.until(|machine, now| producer::try_begin(machine, now, &self.begun)).await;
        begun.unwrap_or_else(|| {
            let phase = self.producer.driven().look().transaction_phase();
            let is_ending = matches!(phase, Some(TransactionPhase::Ending));
            Err(if is_ending { TransactionError::Ending } else { TransactionError::NotReady })
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.begun.load(Ordering::Acquire) {
            return;
        }
        // Refused when it is over, or ending, or its end is not known.
        if self.producer.driven().change(|machine, _| machine.abort()).is_ok() {
            tracing::debug!("a transaction that was not committed is aborted in the background");
        }
    }
}
