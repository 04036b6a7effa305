//! InitProducerId: a producer id, or the right to a transactional id.
//!
//! Imitates Kafka 4.3.1: without a transactional id every request gets a fresh producer id in epoch 0, whatever id and
//! epoch it brings. With one, the epoch rises, which fences whoever had the id before; a transaction that is open is
//! aborted first, and the client told to ask again (CONCURRENT_TRANSACTIONS). Who brings its producer id and epoch
//! (KIP-360) is fenced unless they are the newest, or an answer was lost.
//!
//! Leaves out: two-phase commit (version 6, KIP-939), which 4.3.1 holds back too.

use milena_protocol::{
    ErrorCode,
    messages::{InitProducerIdRequest, InitProducerIdResponse},
};

use super::{
    Cluster,
    coordinators::Kind,
    dispatch::{Answer, Context},
    transaction::{Initialised, Producer, Transaction},
    transactions::{for_version, millis, take_id},
};

impl Cluster {
    pub(super) fn init_producer_id(&mut self, cx: &Context, request: &InitProducerIdRequest) -> Answer {
        let (error, producer) = match self.try_init_producer_id(cx, request) {
            Ok(producer) => (ErrorCode::NONE, producer),
            Err(error) => (for_version(error, cx.version >= 4), Producer::NONE),
        };
        InitProducerIdResponse {
            error_code: error.0,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..InitProducerIdResponse::default()
        }
        .into()
    }

    fn try_init_producer_id(
        &mut self,
        cx: &Context,
        request: &InitProducerIdRequest,
    ) -> Result<Producer, ErrorCode> {
        let expected = match (request.producer_id, request.producer_epoch) {
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ErrorCode::INVALID_REQUEST),
            (id, epoch) => Some(Producer { id, epoch }),
        };
        let Some(id) = &request.transactional_id else {
            return Ok(Producer { id: self.next_producer_id(), epoch: 0 });
        };
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if timeout_ms <= 0 || i64::from(timeout_ms) > millis(self.config.transaction_max_timeout) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        self.check_coordinator(cx.broker, Kind::Transaction, id)?;
        self.expire_transactional_id(id);
        let (at, server) = (self.transition(), self.server_version());
        let Self { transactions, next_producer_id, .. } = self;
        let mut new_id = || take_id(next_producer_id);
        let transaction = transactions.entry(id, || Transaction::new(new_id(), timeout_ms, cx.unix_ms))?;
        match transaction.initialise(at, timeout_ms, expected, server, &mut new_id)? {
            Initialised::Ready(producer) => Ok(producer),
            Initialised::Aborting => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
        }
    }
}
