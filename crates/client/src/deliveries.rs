//! Deliveries of many records, and what is said when not all were accepted.

use std::fmt;

use milena_producer::{Delivery, DeliveryRun, EnqueueError, ProduceError};
use thiserror::Error;

use crate::{Record, SendError};

/// What becomes of records that were enqueued together, in their order.
///
/// Neighbours in a batch share an entry. Awaiting them one by one is [`IntoIterator`]; [`all`](Self::all) awaits them
/// together.
///
/// # Cancellation
/// Dropping it changes nothing: the records are sent all the same, and nobody is told.
#[derive(Debug, Default)]
#[must_use = "whether the records were written is told here"]
pub struct Deliveries {
    runs: Vec<DeliveryRun>,
    len: usize,
}

impl Deliveries {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.len = self.len.saturating_add(1);
        let Some(last) = self.runs.last_mut() else { return self.runs.push(delivery.into()) };
        if let Err(delivery) = last.extend(delivery) {
            self.runs.push(delivery.into());
        }
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waits until all are acknowledged or one is given up. One look for each batch, not for each record.
    ///
    /// # Errors
    /// Of the first record that is not acknowledged.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn all(self) -> Result<(), ProduceError> {
        for run in self.runs {
            run.all().await?;
        }
        Ok(())
    }
}

impl IntoIterator for Deliveries {
    type Item = Delivery;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<DeliveryRun>>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter().flatten()
    }
}

/// A record that was not accepted, given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEnqueued<R = Record> {
    /// The record. Nothing of it was kept.
    pub record: R,
    /// Why.
    pub reason: EnqueueError,
}

impl<R> fmt::Display for NotEnqueued<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record was not accepted: {}", self.reason)
    }
}

impl<R: fmt::Debug> std::error::Error for NotEnqueued<R> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// Not all records were accepted.
#[derive(Debug, Error)]
#[error("{} records were accepted, and then: {cause}", .accepted.len())]
pub struct EnqueueAllError<R = Record> {
    /// What becomes of those that were.
    pub accepted: Deliveries,
    /// The record that was not, and those that had been drawn from the iterator behind it. It is never empty.
    pub rest: Vec<R>,
    /// Why the first of `rest` was not accepted.
    #[source]
    pub cause: SendError,
}

impl<R> EnqueueAllError<R> {
    /// True when it is the record's own fault, so that others may be accepted.
    pub(crate) fn is_about_one_record(&self) -> bool {
        matches!(
            self.cause,
            SendError::NotAccepted(
                EnqueueError::TooLarge { .. }
                    | EnqueueError::NoSuchPartition { .. }
                    | EnqueueError::Stopped(_)
            )
        )
    }
}
