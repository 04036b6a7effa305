//! What can become of a record besides being acknowledged.

use std::{ops::Deref, sync::Arc, time::Duration};

use milena_cluster::{Advised, TopicPartition};
use milena_protocol::{ApiKey, ErrorCode, wire::ByteString};
use thiserror::Error;

use crate::TransactionError;

/// A record was accepted and is not acknowledged: why, as [`Unacknowledged`] tells.
///
/// All records of a batch share one. Cloning is cheap, and so is handing on the result of each record: it is no larger for
/// what an error tells.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {}: {}", .0.partition, .0.certainty, .0.cause)]
pub struct ProduceError(Arc<Unacknowledged>);

impl ProduceError {
    pub(crate) fn new(
        partition: TopicPartition,
        certainty: Certainty,
        base_sequence: Option<i32>,
        cause: ProduceFailure,
    ) -> Self {
        Self(Arc::new(Unacknowledged { partition, certainty, base_sequence, cause }))
    }
}

impl Deref for ProduceError {
    type Target = Unacknowledged;

    fn deref(&self) -> &Unacknowledged {
        &self.0
    }
}

/// Why the records of a batch are not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Where the record was to go.
    pub partition: TopicPartition,
    /// Whether it may be in the log all the same.
    pub certainty: Certainty,
    /// The sequence number of the batch's first record, when the batch was ever sent and the producer is idempotent.
    pub base_sequence: Option<i32>,
    /// What happened.
    pub cause: ProduceFailure,
}

/// Whether a record that is not acknowledged may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It is not: sending it again makes no duplicate.
    NotWritten,
    /// It may be: sending it again may make a duplicate.
    MaybeWritten,
}

impl std::fmt::Display for Certainty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotWritten => "not written",
            Self::MaybeWritten => "possibly written",
        })
    }
}

/// Why a record is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProduceFailure {
    /// The broker refused the batch, and will again.
    #[error("the broker refused the batch: {}", refusal(*code, message.as_deref()))]
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its own words, if it had any.
        message: Option<ByteString>,
    },
    /// The record alone is larger than the topic's batches may be (`max.message.bytes`) or than a segment of its log
    /// (`segment.bytes`). Records beside it in its batch went their own way. A smaller record, better compression or a
    /// higher limit helps.
    #[error(
        "the record takes {len} bytes in a batch of its own, more than the topic allows (max.message.bytes or segment.bytes): {code}{}",
        .message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    TooLarge {
        /// Bytes of the batch with the record alone, compressed.
        len: usize,
        /// What the broker said.
        code: ErrorCode,
        /// Its own words, if it had any: they may name the limit.
        message: Option<ByteString>,
    },
    /// No acknowledgement came in time.
    #[error("not acknowledged within {timeout:?}; {}", .last.as_deref().unwrap_or("it has not been sent yet"))]
    DeliveryTimeout {
        /// The delivery timeout.
        timeout: Duration,
        /// What the last try ran into.
        last: Option<Arc<str>>,
    },
    /// The broker misses a batch that it had acknowledged: it has lost data, or state of this producer. What it has of
    /// the batches after that can't be known, so the partition takes no more records.
    #[error(
        "the broker misses records it had acknowledged; the partition takes no more records of this producer"
    )]
    Desynchronized,
    /// The broker is too old, or the request can't be put into words it knows.
    #[error("{0}")]
    Unsupported(Arc<str>),
    /// The records can't be compressed.
    #[error("{0}")]
    Compression(Arc<str>),
    /// The transaction was aborted before the record was acknowledged, or can only be aborted.
    #[error("its transaction is aborted")]
    Aborted,
    /// The producer was closed before the record was acknowledged.
    #[error("the producer was closed")]
    Closed,
}

/// What the broker said of a batch, in its code and its own words, and what to do about it.
pub(crate) fn refusal(code: ErrorCode, message: Option<&str>) -> String {
    let said = message.map(|text| format!(" ({text})")).unwrap_or_default();
    let advice = Advised::new(ApiKey::Produce, code).advice();
    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{code}{said}{advice}")
}

/// A record was not accepted. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// Nothing is known of the topic yet; it is being asked for.
    #[error("nothing is known of the topic {0} yet")]
    UnknownTopic(ByteString),
    /// The cluster has answered that it does not tell of the topic: the client's user may not see it, or there can be none of
    /// that name.
    #[error("the cluster refuses the topic {topic}: {}", Advised::new(ApiKey::Metadata, *.code))]
    TopicRefused {
        /// The topic.
        topic: ByteString,
        /// Its code.
        code: ErrorCode,
    },
    /// The memory is used up; it becomes free as batches are acknowledged.
    #[error("the buffer of {0} bytes is full")]
    BufferFull(usize),
    /// The record is larger than a request may be.
    #[error("a record of up to {len} bytes does not fit max_request_size, {limit} bytes")]
    TooLarge {
        /// Bytes the record may take in a batch.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The topic has no such partition.
    #[error("the topic {topic} has {count} partitions; there is no partition {partition}")]
    NoSuchPartition {
        /// The topic.
        topic: ByteString,
        /// The partition asked for.
        partition: i32,
        /// How many there are, from 0.
        count: usize,
    },
    /// The partition takes no more records.
    #[error(transparent)]
    Stopped(ProduceError),
    /// The producer has transactions, and none is open that takes records.
    #[error(transparent)]
    Transaction(TransactionError),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}
