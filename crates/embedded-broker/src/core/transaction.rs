//! One transactional id: its producer, and the transaction it is in.
//!
//! ```text
//!              a partition is added              EndTxn, or a fence      every partition has its marker
//!   Empty ─────────────────────────▶ Ongoing ─────────────────────▶ Ending ────────────────────────▶ Ended
//!    ▲ │                              ▲                              ▲  (PrepareCommit, PrepareAbort)  │ │
//!    │ └──────────────────────────────┼── EndTxn of version 2 aborts ┘◀────────────────────────────────┘ │
//!    │                                └──────────────── a partition is added ────────────────────────────┤
//!    └──────────────────────────────── InitProducerId ──────────────────────────────────────────────────┘
//! ```
//!
//! Imitates `TransactionCoordinator` and `TransactionMetadata` of Kafka 4.3.1, every transition and every error, in both
//! versions of the protocol: with version 2 (KIP-890) the end of a transaction raises the producer's epoch, or gives it
//! a new id when there is none left, and the next transaction begins in it. Kafka's states are named by
//! [`Transaction::state_name`].
//!
//! What a client meets:
//! - A commit that comes after the coordinator has aborted for the timeout is INVALID_TXN_STATE, and a fence only to
//!   requests that begin or extend a transaction: the epoch of the request is that of a retry.
//! - While a transaction is ending, everything is CONCURRENT_TRANSACTIONS, whoever asks.
//!
//! Leaves out: Kafka writes every transition to its log and answers CONCURRENT_TRANSACTIONS until that is done; here it
//! is done at once, so PrepareEpochFence, which is only ever pending, is passed through within one call, and it never fails.
//! Two-phase commit (KIP-939), which 4.3.1 does not serve.

use std::{collections::BTreeSet, time::Instant};

use milena_protocol::{ErrorCode, wire::ByteString};

/// A partition that is part of a transaction. One of `__consumer_offsets` stands for the groups that live there.
pub(super) type Participant = (ByteString, i32);

/// The largest epoch that a producer works in. The one behind it is for fencing it.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// No id, no epoch: for one that was never initialised.
const NONE: i16 = -1;

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

impl Producer {
    /// What a request or an answer says without one.
    pub(super) const NONE: Self = Self { id: -1, epoch: NONE };
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Commit,
    Abort,
}

/// Which transactions the asker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The end of a transaction leaves the epoch alone.
    V1,
    /// The end of a transaction raises it.
    V2,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) producer: Producer,
    /// The id before the last transition, and the epoch that the last initialisation or end of a transaction replaced:
    /// who still has them may only have missed an answer.
    previous_id: i64,
    previous_epoch: i16,
    pub(super) timeout_ms: i32,
    state: State,
    /// Unix time of the last transition.
    updated_ms: i64,
}

#[derive(Debug)]
enum State {
    Empty,
    Ongoing { partitions: BTreeSet<Participant>, since_ms: i64 },
    Ending(Ending),
    Ended { outcome: Outcome, since_ms: i64 },
}

/// A transaction whose outcome is decided and not yet written to all its partitions.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) version: Version,
    /// Those without a marker.
    pub(super) partitions: BTreeSet<Participant>,
    since_ms: i64,
    /// The producer's, once the end is written everywhere.
    next: Producer,
    /// When to write the next markers.
    pub(super) due: Instant,
    /// The epoch of the coordinator whose marker was refused for good. Kafka then waits for the next coordinator.
    pub(super) refused: Option<i32>,
}

/// What initialising came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initialised {
    Ready(Producer),
    /// A transaction had to be aborted first: ask again.
    Aborting,
}

/// The time of a transition.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) unix_ms: i64,
    /// When the markers of a transaction that ends now are to be written.
    pub(super) markers: Instant,
}

impl Transaction {
    /// A transactional id that nobody has used. It gets its first epoch when it is initialised.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, unix_ms: i64) -> Self {
        Self {
            producer: Producer { id: producer_id, epoch: NONE },
            previous_id: -1,
            previous_epoch: NONE,
            timeout_ms,
            state: State::Empty,
            updated_ms: unix_ms,
        }
    }

    /// A producer takes the id over, or, when it says who it was, goes on after an error (KIP-360).
    pub(super) fn initialise(
        &mut self,
        at: At,
        timeout_ms: i32,
        expected: Option<Producer>,
        server: Version,
        new_id: &mut impl FnMut() -> i64,
    ) -> Result<Initialised, ErrorCode> {
        if matches!(self.state, State::Ending(_)) {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        if expected.is_some_and(|expected| !self.may_be(expected)) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        if matches!(self.state, State::Ongoing { .. }) {
            self.fence(at, server, new_id);
            return Ok(Initialised::Aborting);
        }
        let Producer { id, epoch } = self.producer;
        let is_current = expected.is_none_or(|expected| expected.epoch == epoch);
        let (producer, previous_epoch) = if epoch >= LAST_EPOCH && is_current {
            let rotated = Producer { id: new_id(), epoch: 0 };
            (rotated, expected.map_or(NONE, |_| epoch))
        } else if epoch >= LAST_EPOCH {
            // Kafka fails on its own assertion here.
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        } else {
            let raised = Producer { id, epoch: epoch + 1 };
            match expected {
                None => (raised, NONE),
                Some(expected) if epoch == NONE || expected.epoch == epoch => (raised, epoch),
                // It was raised for this one already, and the answer got lost.
                Some(expected) if expected.epoch == self.previous_epoch => {
                    (self.producer, self.previous_epoch)
                }
                Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
            }
        };
        self.become_next(at, producer);
        self.previous_epoch = previous_epoch;
        self.timeout_ms = timeout_ms;
        self.state = State::Empty;
        Ok(Initialised::Ready(producer))
    }

    /// Partitions become part of the transaction, which begins with the first.
    pub(super) fn add(
        &mut self,
        at: At,
        producer: Producer,
        added: &BTreeSet<Participant>,
    ) -> Result<(), ErrorCode> {
        if matches!(self.state, State::Ending(_)) {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        self.check(producer)?;
        match &mut self.state {
            State::Ongoing { partitions, .. } => partitions.extend(added.iter().cloned()),
            _ => self.state = State::Ongoing { partitions: added.clone(), since_ms: at.unix_ms },
        }
        self.become_next(at, self.producer);
        Ok(())
    }

    /// Whether the partition is part of the producer's transaction.
    pub(super) fn verify(&self, producer: Producer, participant: &Participant) -> Result<(), ErrorCode> {
        self.check(producer)?;
        match &self.state {
            State::Ending(_) => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing { partitions, .. } if partitions.contains(participant) => Ok(()),
            _ => Err(ErrorCode::TRANSACTION_ABORTABLE),
        }
    }

    /// The producer ends its transaction. What it goes on as is worth telling in version 2 only.
    pub(super) fn end(
        &mut self,
        at: At,
        producer: Producer,
        outcome: Outcome,
        version: Version,
        new_id: &mut impl FnMut() -> i64,
    ) -> Result<Producer, ErrorCode> {
        match version {
            Version::V1 => {
                self.check(producer)?;
                match &self.state {
                    State::Ongoing { .. } => self.begin_end(at, outcome, version, new_id),
                    State::Ending(_) => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
                    State::Ended { outcome: was, .. } if *was == outcome => {}
                    State::Ended { .. } | State::Empty => return Err(ErrorCode::INVALID_TXN_STATE),
                }
                Ok(Producer::NONE)
            }
            Version::V2 => {
                if self.end_again(producer, outcome)? {
                    return Ok(self.producer);
                }
                self.begin_end(at, outcome, version, new_id);
                match &self.state {
                    State::Ending(ending) => Ok(ending.next),
                    _ => Ok(self.producer),
                }
            }
        }
    }

    /// Whether ending in version 2 has been done before: the request of one that did not get the answer.
    ///
    /// ```text
    ///                   Abort               Commit
    ///             retry    current     retry    current     PF   PRODUCER_FENCED
    ///   Empty      PF        ✓          PF       ITS        ITS  INVALID_TXN_STATE
    ///   aborted   done       ✓          ITS      ITS        ✓    ends a transaction, even one without partitions
    ///   committed ITS        ✓          done     ITS
    /// ```
    fn end_again(&self, producer: Producer, outcome: Outcome) -> Result<bool, ErrorCode> {
        if matches!(self.state, State::Ending(_)) {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let missed_rotation =
            producer == (Producer { id: self.previous_id, epoch: LAST_EPOCH }) && self.producer.epoch == 0;
        if producer.id != self.producer.id && !missed_rotation {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let is_retry = missed_rotation || i32::from(producer.epoch) + 1 == i32::from(self.producer.epoch);
        let is_current = producer.epoch == self.producer.epoch;
        match &self.state {
            State::Ended { outcome: was, .. } if is_retry => {
                if *was == outcome {
                    Ok(true)
                } else {
                    Err(ErrorCode::INVALID_TXN_STATE)
                }
            }
            _ if !is_current => Err(ErrorCode::PRODUCER_FENCED),
            State::Ongoing { .. } => Ok(false),
            _ if outcome == Outcome::Abort => Ok(false),
            _ => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Aborts the transaction over its producer's head: for another that takes over, or because it takes too long.
    pub(super) fn fence(&mut self, at: At, server: Version, new_id: &mut impl FnMut() -> i64) {
        if server == Version::V1 {
            self.producer.epoch = self.producer.epoch.saturating_add(1);
            self.previous_epoch = NONE;
        }
        self.begin_end(at, Outcome::Abort, server, new_id);
    }

    /// Whether the transaction is open for longer than it may be.
    pub(super) fn is_overdue(&self, unix_ms: i64) -> bool {
        self.overdue_from().is_some_and(|from| from < unix_ms)
    }

    /// The Unix time after which the transaction takes too long.
    pub(super) fn overdue_from(&self) -> Option<i64> {
        match self.state {
            State::Ongoing { since_ms, .. } => Some(since_ms.saturating_add(self.timeout_ms.into())),
            _ => None,
        }
    }

    /// Whether nothing has happened for `expiration_ms` and nothing is open.
    pub(super) fn is_idle(&self, unix_ms: i64, expiration_ms: i64) -> bool {
        matches!(self.state, State::Empty | State::Ended { .. })
            && unix_ms.saturating_sub(self.updated_ms) >= expiration_ms
    }

    /// The transaction, if its end is being written.
    pub(super) const fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Ending(ending) => Some(ending),
            _ => None,
        }
    }

    /// As [`Self::ending`]. Tell [`Self::finish`] when a marker was written.
    pub(super) const fn ending_mut(&mut self) -> Option<&mut Ending> {
        match &mut self.state {
            State::Ending(ending) => Some(ending),
            _ => None,
        }
    }

    /// Lets a transaction go over into its final state when no partition lacks a marker.
    pub(super) fn finish(&mut self, unix_ms: i64) {
        let State::Ending(ending) = &self.state else { return };
        if !ending.partitions.is_empty() {
            return;
        }
        let Ending { next, outcome, since_ms, .. } = *ending;
        self.previous_id = self.producer.id;
        self.producer = next;
        self.updated_ms = unix_ms;
        self.state = State::Ended { outcome, since_ms };
    }

    /// The state as Kafka names it.
    pub(super) const fn state_name(&self) -> &'static str {
        match &self.state {
            State::Empty => "Empty",
            State::Ongoing { .. } => "Ongoing",
            State::Ending(Ending { outcome: Outcome::Commit, .. }) => "PrepareCommit",
            State::Ending(Ending { outcome: Outcome::Abort, .. }) => "PrepareAbort",
            State::Ended { outcome: Outcome::Commit, .. } => "CompleteCommit",
            State::Ended { outcome: Outcome::Abort, .. } => "CompleteAbort",
        }
    }

    /// The Unix time at which the current or the last transaction began, or -1.
    pub(super) const fn since_ms(&self) -> i64 {
        match &self.state {
            State::Empty => -1,
            State::Ongoing { since_ms, .. }
            | State::Ending(Ending { since_ms, .. })
            | State::Ended { since_ms, .. } => *since_ms,
        }
    }

    /// The partitions that are part of the transaction and without a marker.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Participant> {
        let partitions = match &self.state {
            State::Ongoing { partitions, .. } | State::Ending(Ending { partitions, .. }) => Some(partitions),
            State::Empty | State::Ended { .. } => None,
        };
        partitions.into_iter().flatten()
    }

    fn check(&self, producer: Producer) -> Result<(), ErrorCode> {
        if producer.id != self.producer.id {
            Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        } else if producer.epoch != self.producer.epoch {
            Err(ErrorCode::PRODUCER_FENCED)
        } else {
            Ok(())
        }
    }

    /// Whether one that says so can have been this producer.
    fn may_be(&self, expected: Producer) -> bool {
        self.producer.epoch == NONE
            || expected.id == self.producer.id
            || expected.id == self.previous_id && expected.epoch >= LAST_EPOCH
    }

    fn begin_end(&mut self, at: At, outcome: Outcome, version: Version, new_id: &mut impl FnMut() -> i64) {
        let state = std::mem::replace(&mut self.state, State::Empty);
        let (partitions, since_ms) = match state {
            State::Ongoing { partitions, since_ms } => (partitions, since_ms),
            _ => (BTreeSet::new(), at.unix_ms),
        };
        let exhausted = self.producer.epoch >= LAST_EPOCH;
        let mut marked = self.producer;
        let mut next = self.producer;
        if version == Version::V2 {
            self.previous_epoch = self.producer.epoch;
            // The markers of the last epoch go out in the one behind it.
            marked.epoch = marked.epoch.saturating_add(1);
            next = if exhausted { Producer { id: new_id(), epoch: 0 } } else { marked };
        }
        self.become_next(at, marked);
        let due = at.markers;
        self.state =
            State::Ending(Ending { outcome, version, partitions, since_ms, next, due, refused: None });
        self.finish(at.unix_ms);
    }

    /// Notes a transition.
    fn become_next(&mut self, at: At, producer: Producer) {
        self.previous_id = self.producer.id;
        self.producer = producer;
        self.updated_ms = at.unix_ms;
    }
}
