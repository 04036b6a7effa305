//! FindCoordinator: which broker looks after a group or a transactional id.
//!
//! Imitates Kafka 4.3.1: one key to version 3, many from version 4. The coordinator follows from the key's hash and the
//! brokers that are up, as the leader of one of 50 partitions of `__consumer_offsets` would.
//!
//! Leaves out: share groups (INVALID_REQUEST), and the internal topics themselves.

use milena_protocol::{
    ErrorCode,
    messages::{FindCoordinatorRequest, FindCoordinatorResponse, find_coordinator::Coordinator},
    wire::ByteString,
};

use super::{
    BrokerId, Cluster,
    dispatch::{Answer, Context},
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Partitions of `__consumer_offsets`.
const COORDINATOR_PARTITIONS: u32 = 50;

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

    /// The broker that coordinates the group or the transactional id.
    pub(super) fn coordinator(&self, key: &str) -> Option<BrokerId> {
        let partition = java_hash(key) % COORDINATOR_PARTITIONS;
        let index = partition as usize % self.up.len().max(1);
        self.up.iter().nth(index).copied()
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
        if key_type != GROUP && key_type != TRANSACTION || key.is_empty() && key_type == TRANSACTION {
            return refused(ErrorCode::INVALID_REQUEST, key);
        }
        let found = self.coordinator(&key).and_then(|id| Some((id, self.brokers.get(&id)?)));
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

/// `String.hashCode` without its sign, which decides the partition in Kafka.
fn java_hash(key: &str) -> u32 {
    key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into())) & 0x7fff_ffff
}
