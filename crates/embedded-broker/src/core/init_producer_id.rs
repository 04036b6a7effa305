//! InitProducerId for idempotent producers.
//!
//! Imitates Kafka 4.3.1: without a transactional id every request gets a fresh producer id in epoch 0, whatever id and
//! epoch it brings.
//!
//! Leaves out: transactions. A transactional id is answered with INVALID_REQUEST.

use milena_protocol::{
    ErrorCode,
    messages::{InitProducerIdRequest, InitProducerIdResponse},
};

use super::{Cluster, dispatch::Answer};

impl Cluster {
    pub(super) fn init_producer_id(&mut self, request: &InitProducerIdRequest) -> Answer {
        if request.transactional_id.is_some() {
            return InitProducerIdResponse {
                error_code: ErrorCode::INVALID_REQUEST.0,
                producer_id: -1,
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            }
            .into();
        }
        let producer_id = self.next_producer_id;
        self.next_producer_id = producer_id.saturating_add(1);
        InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }.into()
    }
}
