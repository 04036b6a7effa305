//! AddOffsetsToTxn: a group becomes part of a transaction before its offsets are committed in it.
//!
//! Imitates Kafka 4.3.1: it adds the partition of `__consumer_offsets` where the group lives. Clients whose transactions
//! are of version 2 leave it out.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse},
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    transaction::Producer,
    transactions::{for_version, offsets_participant},
};

impl Cluster {
    pub(super) fn add_offsets_to_txn(&mut self, cx: &Context, request: &AddOffsetsToTxnRequest) -> Answer {
        let at = self.transition();
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let added = BTreeSet::from([offsets_participant(&request.group_id)]);
        let coordinated = self.coordinated(cx.broker, &request.transactional_id);
        let error = coordinated.and_then(|transaction| transaction.add(at, producer, &added));
        let error = for_version(error.err().unwrap_or(ErrorCode::NONE), cx.version >= 2);
        AddOffsetsToTxnResponse { error_code: error.0, ..AddOffsetsToTxnResponse::default() }.into()
    }
}
