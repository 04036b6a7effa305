//! Why a transactional producer could not be made.

use std::time::Duration;

use milena_producer::{EnqueueError, TransactionError};
use thiserror::Error;

use crate::{BuildError, SendError};

/// A transactional producer could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitializeError {
    /// A setting can't be.
    #[error(transparent)]
    Settings(#[from] BuildError),
    /// The coordinator refused.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The coordinator did not grant an epoch within `max_block`.
    #[error("the coordinator did not grant an epoch within {waited:?}{}", .last.as_deref().map(|last| format!("; {last}")).unwrap_or_default())]
    Blocked {
        /// How long was waited.
        waited: Duration,
        /// What the producer last ran into.
        last: Option<String>,
    },
}

impl From<TransactionError> for SendError {
    fn from(error: TransactionError) -> Self {
        Self::NotAccepted(EnqueueError::Transaction(error))
    }
}
