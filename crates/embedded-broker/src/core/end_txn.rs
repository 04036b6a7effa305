//! EndTxn: commit or abort.
//!
//! Imitates Kafka 4.3.1: the answer comes when the outcome is decided, before the markers are written (`transactions`).
//! Version 5 speaks version 2 of transactions, whatever version is finalized, and is told which producer id and epoch the
//! next transaction has; the rules are in `transaction`.

use milena_protocol::{
    ErrorCode,
    messages::{EndTxnRequest, EndTxnResponse},
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    transaction::{Outcome, Producer, Version},
    transactions::{for_version, take_id},
};

impl Cluster {
    pub(super) fn end_txn(&mut self, cx: &Context, request: &EndTxnRequest) -> Answer {
        let at = self.transition();
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
        let version = if cx.version >= 5 { Version::V2 } else { Version::V1 };
        let mut next_id = self.next_producer_id;
        let coordinated = self.coordinated(cx.broker, &request.transactional_id);
        let ended = coordinated.and_then(|transaction| {
            transaction.end(at, producer, outcome, version, &mut || take_id(&mut next_id))
        });
        self.next_producer_id = next_id;
        let (error, next) = match ended {
            Ok(next) => (ErrorCode::NONE, next),
            Err(error) => (for_version(error, cx.version >= 2), Producer::NONE),
        };
        EndTxnResponse {
            error_code: error.0,
            producer_id: next.id,
            producer_epoch: next.epoch,
            ..EndTxnResponse::default()
        }
        .into()
    }
}
