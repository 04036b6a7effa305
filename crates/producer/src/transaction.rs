//! The lifecycle of a transactional producer, every transition of it.
//!
//! ```text
//!                 id              begin                commit             all is settled          done
//!  Initializing ──────► Ready ─────────────► Open ───────────► Flushing ────────────────► Committing ──► Ready
//!    ▲  ▲  ▲             │ ▲                  │ │ a failure       │                        │  │  │
//!    │  │  │             │ │                  │ └────────────┐    │ a failure              │  │  │ not known
//!    │  │  └─ reinitialize ── CommitUnknown ◄─┼──────────────┼────┼────────────────────────┼──┼──┘
//!    │  │                │ │         │        │              ▼    ▼   known not to be done │  │
//!    │  │                │ │         └────────┼── commit ►  Abortable ◄────────────────────┘  │ aborted by the
//!    │  │                │ │                  │ abort        │    ▲                           │ coordinator
//!    │  │                │ │                  ▼              ▼    │ not confirmed             │
//!    │  │                │ └── Aborting ◄── Draining ◄─────── abort │                         │
//!    │  └ another id ────┘      │   └──────────────────────────────┘                          │
//!    │    is needed ◄───────────┘                                                             │
//!    └────────────────────────────────────────────────────────────────────────────────────────┘
//!  every state ── fenced, or refused for good ──► Fatal
//! ```
//!
//! - `Committing` and `Aborting` are those in which EndTxn is asked. Before it, all batches are settled: a batch that
//!   came to its leader behind the end of its transaction would belong to no transaction, or to the next one.
//! - A commit that may have reached the coordinator is never followed by an abort, only by the same commit or by a new
//!   initialisation, which waits for what the coordinator has decided or aborts what it has not.
//! - A transaction nothing was sent in ends without a request.

use std::{sync::Arc, time::Duration, time::Instant};

use milena_cluster::later;

use crate::{
    Certainty,
    transaction_error::{FatalCause, FatalTransaction, TransactionError, TransactionFailure},
};

/// Where the producer is between two transactions, or in one.
#[derive(Clone, Debug)]
pub(crate) enum Transaction {
    /// A producer id and an epoch are asked for.
    Initializing(Initialization),
    /// A transaction may begin.
    Ready,
    /// Takes records and offsets.
    Open {
        /// What is not sent to be committed by then can only be aborted: soon the coordinator does it.
        deadline: Instant,
    },
    /// Is to be committed when all it has accepted is acknowledged.
    Flushing { deadline: Instant },
    /// The coordinator is asked to commit.
    Committing(Ending),
    /// The coordinator did not say in time whether it has committed.
    CommitUnknown(Arc<str>),
    /// Something failed: it can only be aborted.
    Abortable(TransactionFailure),
    /// Is to be aborted when nothing is in flight any more.
    Draining,
    /// The coordinator is asked to abort.
    Aborting(Ending),
    /// The producer can't go on.
    Fatal(FatalTransaction),
}

/// As whom to ask for a producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initialization {
    /// As one that takes the transactional id over from whoever has it.
    TakeOver,
    /// As the one that has it, which is refused if somebody else has taken over (KIP-360).
    Renew,
}

/// The end of a transaction is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// How long to ask.
    until: Instant,
    /// The coordinator may have done it.
    is_uncertain: bool,
}

/// What a transaction's batches and offsets must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Everything goes out.
    Flows,
    /// Only what may have been sent already is asked about; all else is given up.
    Drains,
    /// Nothing goes out.
    Rests,
}

impl Transaction {
    pub(crate) const fn new() -> Self {
        Self::Initializing(Initialization::TakeOver)
    }

    /// A transaction begins.
    pub(crate) fn begin(&mut self, now: Instant, timeout: Duration) -> Result<(), TransactionError> {
        match self {
            Self::Ready => {
                // The coordinator counts from the first partition on, which comes later.
                let deadline = later(now, timeout.saturating_sub(timeout / 10));
                *self = Self::Open { deadline };
                Ok(())
            }
            Self::Initializing(_) => Err(TransactionError::NotReady),
            Self::Fatal(_) | Self::CommitUnknown(_) => Err(self.refusal()),
            _ => Err(TransactionError::AlreadyOpen),
        }
    }

    /// The transaction is to be committed. After [`TransactionError::CommitUnknown`] it is asked for again.
    pub(crate) fn commit(&mut self, now: Instant, patience: Duration) -> Result<(), TransactionError> {
        match self {
            Self::Open { deadline } => {
                *self = Self::Flushing { deadline: *deadline };
                Ok(())
            }
            Self::CommitUnknown(_) => {
                *self = Self::Committing(Ending { until: later(now, patience), is_uncertain: true });
                Ok(())
            }
            _ => Err(self.refusal()),
        }
    }

    /// The transaction is to be aborted.
    pub(crate) fn abort(&mut self) -> Result<(), TransactionError> {
        match self {
            Self::Open { .. } | Self::Abortable(_) => {
                *self = Self::Draining;
                Ok(())
            }
            _ => Err(self.refusal()),
        }
    }

    /// Gives up to learn whether a commit was done, and takes a new epoch. `as_whom`: see [`Initialization`].
    pub(crate) fn reinitialize(&mut self, as_whom: Initialization) -> Result<(), TransactionError> {
        match self {
            Self::CommitUnknown(_) => {
                *self = Self::Initializing(as_whom);
                Ok(())
            }
            _ => Err(self.refusal()),
        }
    }

    /// Why a verb is refused that fits another state.
    pub(crate) fn refusal(&self) -> TransactionError {
        match self {
            Self::Initializing(_) => TransactionError::NotReady,
            Self::Ready => TransactionError::NoTransaction,
            Self::Open { .. } => TransactionError::AlreadyOpen,
            Self::Flushing { .. } | Self::Committing(_) | Self::Draining | Self::Aborting(_) => {
                TransactionError::Ending
            }
            Self::CommitUnknown(last) => TransactionError::CommitUnknown(Arc::clone(last)),
            Self::Abortable(failure) => TransactionError::MustAbort(failure.clone()),
            Self::Fatal(fatal) => TransactionError::Fatal(fatal.clone()),
        }
    }

    /// A record or an offset of the transaction failed. True when somebody waits for the commit, which is refused.
    pub(crate) fn fail(&mut self, failure: TransactionFailure) -> bool {
        let was_committing = matches!(self, Self::Flushing { .. } | Self::Committing(_));
        // What fails while the transaction is being aborted changes nothing.
        if matches!(self, Self::Open { .. } | Self::Flushing { .. } | Self::Committing(_)) {
            *self = Self::Abortable(failure);
        }
        was_committing
    }

    /// Nothing of the transaction is open any more: its end is asked for.
    pub(crate) fn settled(&mut self, now: Instant, patience: Duration) {
        let ending = Ending { until: later(now, patience), is_uncertain: false };
        match self {
            Self::Flushing { .. } => *self = Self::Committing(ending),
            Self::Draining => *self = Self::Aborting(ending),
            _ => {}
        }
    }

    /// The transaction has ended. `renew`: the producer id it was written under is of no more use.
    pub(crate) fn ended(&mut self, renew: bool) {
        *self = if renew { Self::Initializing(Initialization::Renew) } else { Self::Ready };
    }

    /// The end that was asked for may have been brought about.
    pub(crate) fn doubt(&mut self) {
        if let Self::Committing(ending) | Self::Aborting(ending) = self {
            ending.is_uncertain = true;
        }
    }

    /// Whether a commit that is asked for may have been done.
    pub(crate) const fn is_uncertain(&self) -> bool {
        match self {
            Self::Committing(ending) => ending.is_uncertain,
            Self::CommitUnknown(_) => true,
            _ => false,
        }
    }

    /// Nobody can say whether a commit was done.
    pub(crate) fn unknown(&mut self, last: Arc<str>) -> TransactionError {
        *self = Self::CommitUnknown(last);
        self.refusal()
    }

    /// The producer ends. The error of a commit that may have been done.
    pub(crate) fn abandon(&mut self) -> Option<TransactionError> {
        let is_uncertain = self.is_uncertain();
        *self =
            if is_uncertain { Self::CommitUnknown("the producer was closed".into()) } else { Self::Ready };
        is_uncertain.then(|| self.refusal())
    }

    /// Acts on the deadline. What the one who waits for the end is to be told.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        patience: Duration,
        last: Option<&Arc<str>>,
    ) -> Option<TransactionError> {
        let why = || last.cloned().unwrap_or_else(|| "the coordinator has not answered".into());
        match self {
            Self::Open { deadline } | Self::Flushing { deadline } if *deadline <= now => {
                let was_committing = self.fail(TransactionFailure::TimedOut);
                was_committing.then(|| self.refusal())
            }
            Self::Committing(ending) if ending.until <= now => {
                let is_uncertain = ending.is_uncertain;
                *self = if is_uncertain {
                    Self::CommitUnknown(why())
                } else {
                    Self::Abortable(TransactionFailure::Unreachable { waited: patience, last: why() })
                };
                Some(self.refusal())
            }
            Self::Aborting(ending) if ending.until <= now => {
                *self =
                    Self::Abortable(TransactionFailure::AbortUnconfirmed { waited: patience, last: why() });
                Some(self.refusal())
            }
            _ => None,
        }
    }

    /// The producer can't go on.
    pub(crate) fn fatal(&mut self, cause: FatalCause) -> FatalTransaction {
        let certainty = if self.is_uncertain() { Certainty::MaybeWritten } else { Certainty::NotWritten };
        let fatal = FatalTransaction { cause, certainty };
        *self = Self::Fatal(fatal.clone());
        fatal
    }

    /// When [`expire`](Self::expire) is due.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Open { deadline } | Self::Flushing { deadline } => Some(*deadline),
            Self::Committing(ending) | Self::Aborting(ending) => Some(ending.until),
            _ => None,
        }
    }

    pub(crate) const fn traffic(&self) -> Traffic {
        match self {
            Self::Open { .. } | Self::Flushing { .. } => Traffic::Flows,
            Self::Abortable(_) | Self::Draining => Traffic::Drains,
            _ => Traffic::Rests,
        }
    }

    /// True while there is something that ends with an abort, should the producer be closed.
    pub(crate) const fn is_under_way(&self) -> bool {
        !matches!(self, Self::Initializing(_) | Self::Ready | Self::CommitUnknown(_) | Self::Fatal(_))
    }
}
