//! What a transactional producer tells its owner.

use crate::{FatalTransaction, OffsetsId, TransactionError};

/// Something has become of a transaction, or of the right to begin one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionEvent {
    /// The producer has its epoch: a transaction may begin.
    Ready,
    /// Offsets are part of the transaction, or are not.
    OffsetsSent(OffsetsId, Result<(), TransactionError>),
    /// The commit or the abort that was asked for is done, or is not.
    Ended(Result<(), TransactionError>),
    /// The producer can't go on.
    Fatal(FatalTransaction),
}
