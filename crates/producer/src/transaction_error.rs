//! What can become of a transaction besides being committed.

use std::{sync::Arc, time::Duration};

use milena_cluster::Advised;
use milena_protocol::{ApiKey, ErrorCode, wire::ByteString};
use thiserror::Error;

use crate::{Certainty, ProduceError};

/// A transaction could not begin, go on or end as it was asked to. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The producer was made without a transactional id.
    #[error("the producer has no transactional id")]
    NotTransactional,
    /// The coordinator has not given the producer its epoch yet. That passes.
    #[error("the coordinator has not given the producer its epoch yet")]
    NotReady,
    /// No transaction is open.
    #[error("no transaction is open")]
    NoTransaction,
    /// A transaction is open already.
    #[error("a transaction is open")]
    AlreadyOpen,
    /// A transaction is being committed or aborted. That passes.
    #[error("the transaction is ending")]
    Ending,
    /// The transaction is not committed and can't be: all that is left is to abort it. Then the producer goes on.
    #[error("the transaction can only be aborted: {0}")]
    MustAbort(#[source] TransactionFailure),
    /// The transaction may be committed or not: the coordinator did not say in time. It can be committed again, which
    /// is what finds out, or be left behind by a new initialisation. It is never aborted, for it may be committed.
    #[error("whether the transaction is committed is not known: {0}")]
    CommitUnknown(Arc<str>),
    /// The transaction is aborted: its coordinator did that before the commit came, because it took too long. The
    /// producer goes on with the next one.
    #[error("the coordinator has aborted the transaction before it was committed")]
    AbortedByCoordinator,
    /// The producer can't go on: another one has to be made.
    #[error(transparent)]
    Fatal(#[from] FatalTransaction),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

/// What may be done after a [`TransactionError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// What was asked for does not fit what is going on: nothing has changed.
    None,
    /// Only aborting the transaction.
    Abort,
    /// Committing it again, or a new initialisation.
    CommitAgain,
    /// The transaction is over: the next one may begin.
    Begin,
    /// Making a new producer.
    NewProducer,
}

impl TransactionError {
    /// Whether the transaction may be committed all the same.
    #[must_use]
    pub const fn certainty(&self) -> Certainty {
        match self {
            Self::CommitUnknown(_) => Certainty::MaybeWritten,
            Self::Fatal(fatal) => fatal.certainty,
            _ => Certainty::NotWritten,
        }
    }

    /// What may be done next.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::NotTransactional
            | Self::NotReady
            | Self::NoTransaction
            | Self::AlreadyOpen
            | Self::Ending => Remedy::None,
            Self::MustAbort(_) => Remedy::Abort,
            Self::CommitUnknown(_) => Remedy::CommitAgain,
            Self::AbortedByCoordinator => Remedy::Begin,
            Self::Fatal(_) | Self::Closed => Remedy::NewProducer,
        }
    }
}

/// Why a transaction can only be aborted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransactionFailure {
    /// A record was not written, or may not have been.
    #[error(transparent)]
    Record(Box<ProduceError>),
    /// A broker refused what belongs to the transaction.
    #[error("{api}{}: {}", .subject.as_deref().map(|subject| format!(" of {subject}")).unwrap_or_default(), Advised::new(*api, *code))]
    Refused {
        /// What was asked.
        api: ApiKey,
        /// The group, or the partition.
        subject: Option<ByteString>,
        /// The answer.
        code: ErrorCode,
    },
    /// A broker is too old for what belongs to the transaction.
    #[error("{0}")]
    Unsupported(Arc<str>),
    /// It was not committed before its timeout, with a tenth of it to spare: soon the coordinator aborts it.
    #[error("it is open for longer than the transaction timeout allows")]
    TimedOut,
    /// The coordinator could not be asked to commit.
    #[error("the coordinator could not be asked within {waited:?}: {last}")]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last try ran into.
        last: Arc<str>,
    },
    /// The coordinator did not confirm that it is aborted.
    #[error("the coordinator did not confirm within {waited:?} that it is aborted: {last}")]
    AbortUnconfirmed {
        /// How long it was tried.
        waited: Duration,
        /// What the last try ran into.
        last: Arc<str>,
    },
}

/// The producer can't go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the producer can't go on: {cause}{}", if *.certainty == Certainty::MaybeWritten { "; the transaction may be committed" } else { "" })]
pub struct FatalTransaction {
    /// Why.
    pub cause: FatalCause,
    /// Whether the transaction that was open may be committed all the same.
    pub certainty: Certainty,
}

/// Why a transactional producer can't go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FatalCause {
    /// Another producer has taken the transactional id over, or, before version 2 of transactions, the coordinator has
    /// fenced this one because its transaction took too long.
    #[error(
        "another producer has taken over, or the transaction took too long: the answer to {api} was {}",
        Advised::new(*api, *code)
    )]
    Fenced {
        /// What was asked.
        api: ApiKey,
        /// The answer.
        code: ErrorCode,
    },
    /// The coordinator refuses, and will again.
    #[error("the coordinator refused {api}: {}", Advised::new(*api, *code))]
    Refused {
        /// What was asked.
        api: ApiKey,
        /// The answer.
        code: ErrorCode,
    },
    /// The coordinator is too old.
    #[error("{0}")]
    Unsupported(Arc<str>),
}
