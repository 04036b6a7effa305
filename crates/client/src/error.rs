//! Errors of the client's calls.

use std::time::Duration;

use milena_cluster::{Failure, FailureKind};
use milena_connection::{InvalidAddress, UnsafeLogin};
use milena_consumer_group::{ConfigError, ConsumerError, SubscribeError};
use milena_producer::{Certainty, EnqueueError, InvalidConfig, ProduceError};
use milena_protocol::ErrorCode;
use thiserror::Error;

/// A client could not be made, or could not reach its cluster.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The bootstrap addresses are not addresses.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The settings would give a secret away.
    #[error(transparent)]
    Unsafe(#[from] UnsafeLogin),
    /// None of the bootstrap addresses led to a broker.
    #[error("no broker can be reached: {0}")]
    Unreachable(Failure),
}

/// A setting that can't be. It is found when a producer or consumer is built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Of the producer.
    #[error("the producer can't be built: {0}")]
    Producer(#[from] InvalidConfig),
    /// Of the consumer.
    #[error("the consumer can't be built: {0}")]
    Consumer(#[from] ConfigError),
    /// What the consumer was to read.
    #[error("the consumer can't read that: {0}")]
    Source(#[from] SubscribeError),
    /// There is too little memory for another producer or consumer: each needs as much as a request or the fetch of a
    /// partition may take.
    #[error(
        "the client's memory of {total} bytes is too little for {holders} producers and consumers, which need {needed} at \
         least: allow more with ClientBuilder::memory, or less to each with max_request_size or max_partition_fetch_bytes"
    )]
    Memory {
        /// What [`ClientBuilder::memory`](crate::ClientBuilder::memory) says.
        total: usize,
        /// How many there would be.
        holders: usize,
        /// What they would need.
        needed: usize,
    },
}

/// Reading has stopped, everywhere or in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct ConsumeError(#[from] ConsumerError);

impl ConsumeError {
    /// What has happened, to be matched on.
    #[must_use]
    pub fn kind(&self) -> &ConsumerError {
        &self.0
    }

    /// True when the consumer has stopped for good; otherwise only what the error names stands still.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.0.is_fatal()
    }
}

/// A record was not acknowledged.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// It was not accepted: nothing of it was sent.
    #[error("the record was not accepted: {0}")]
    NotAccepted(EnqueueError),
    /// It was not accepted within `max_block`: nothing of it was sent.
    #[error("the record was not accepted within {waited:?}: {reason}{}", .last.as_deref().map(|last| format!("; {last}")).unwrap_or_default())]
    Blocked {
        /// How long was waited.
        waited: Duration,
        /// What it waited for.
        reason: Box<EnqueueError>,
        /// What the client last ran into.
        last: Option<Box<str>>,
    },
    /// It was accepted and is not acknowledged.
    #[error("the record was not acknowledged: {0}")]
    NotAcknowledged(#[from] ProduceError),
}

impl SendError {
    /// Whether the record may be in the log all the same. If not, sending it again makes no duplicate.
    #[must_use]
    pub fn certainty(&self) -> Certainty {
        match self {
            Self::NotAccepted(_) | Self::Blocked { .. } => Certainty::NotWritten,
            Self::NotAcknowledged(error) => error.certainty,
        }
    }
}

/// Ending did not finish what was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The task behind the handle has ended, because its runtime has.
    #[error("the task behind the handle has ended before it was closed")]
    TaskEnded,
    /// The coordinator did not take the farewell in time. The consumer has ended all the same; its group notices by the
    /// session timeout.
    #[error("the group was not left within {0:?}; it notices by the session timeout")]
    DeadlinePassed(Duration),
}

/// A request of the admin calls failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// No broker answered.
    #[error("{action}: {failure}")]
    Failed {
        /// What was being done.
        action: String,
        /// Why there is no answer.
        failure: Failure,
    },
    /// The broker refused.
    #[error("{action}: {code}{}", .message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What was being done.
        action: String,
        /// Its code.
        code: ErrorCode,
        /// Its own words.
        message: Option<String>,
    },
}

impl AdminError {
    /// The broker's code, when it refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Failed { .. } => None,
        }
    }

    /// True when the request may have been carried out all the same.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::Failed { failure, .. } if failure.kind == FailureKind::Unanswered)
    }
}

#[cfg(test)]
mod tests {
    use milena_producer::{Delivery, RecordMetadata};

    use super::*;

    /// They are moved for every record, errors or not.
    #[test]
    fn the_results_of_a_record_are_small() {
        let size = size_of::<Result<RecordMetadata, ProduceError>>();
        assert!(size <= 40, "what becomes of a record: {size} bytes");
        let size = size_of::<Result<Delivery, SendError>>();
        assert!(size <= 72, "what becomes of handing it over: {size} bytes");
    }
}
