//! FindCoordinator: which broker looks after a group or a transactional id.
//!
//! Imitates Kafka 4.3.1: one key to version 3, many from version 4. Who coordinates is in `coordinators`.
//!
//! Leaves out: share groups (INVALID_REQUEST), and the internal topics themselves.

use milena_protocol::{
    ErrorCode,
    messages::{FindCoordinatorRequest, FindCoordinatorResponse, find_coordinator::Coordinator},
    wire::ByteString,
};

use super::{
    Cluster,
    coordinators::Kind,
    dispatch::{Answer, Context},
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Cluster {
    pub(super) fn find_coordinator(&self, cx: &Context, request: FindCoordinatorRequest) -> Answer {
        let key_type = request.key_type;
        if cx.version >= 4 {
            let coordinators =
                request.coordinator_keys.into_iter().map(|key| self.coordinator_of(key, key_type));
            return FindCoordinatorResponse {
                coordinators: coordinators.collect(),
                ..FindCoordinatorResponse::default()
            }
            .into();
        }
        let found = self.coordinator_of(request.key, key_type);
        FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        }
        .into()
    }

    fn coordinator_of(&self, key: ByteString, key_type: i8) -> Coordinator {
        let refused = |error: ErrorCode, key| Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.0,
            error_message: error.meaning().map(ByteString::from_static),
            ..Coordinator::default()
        };
        if key_type != GROUP && key_type != TRANSACTION {
            return refused(ErrorCode::INVALID_REQUEST, key);
        }
        let kind = if key_type == TRANSACTION { Kind::Transaction } else { Kind::Group };
        let broker = self.coordinators.seat(kind, &key).broker;
        let found = broker.and_then(|id| Some((id, self.brokers.get(&id)?)));
        let Some((id, broker)) = found else { return refused(ErrorCode::COORDINATOR_NOT_AVAILABLE, key) };
        Coordinator {
            key,
            node_id: id.0,
            host: broker.host.clone(),
            port: broker.port,
            ..Coordinator::default()
        }
    }
}
