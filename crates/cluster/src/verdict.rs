//! What to do about a broker's error code: one table for every machine.

use milena_protocol::{ApiKey, ErrorCode};

/// What an error code means for whoever sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no error.
    Done,
    /// An earlier try of the same batch was written; where is not told.
    AlreadyDone,
    /// The same request may succeed after a wait.
    Retry,
    /// What is known of topics or leaders is out of date: learn anew, then try again.
    RefreshMetadata,
    /// Another broker coordinates: find it, then try again.
    FindCoordinator,
    /// The group is rebalancing or has moved on: join again, keeping the member id.
    Rejoin,
    /// The group does not know the member any more: its partitions are lost, and it joins as a new one.
    MemberLost,
    /// Another instance has taken this one's place for good.
    Fenced,
    /// The member's epoch will be current after the next heartbeat.
    AwaitHeartbeat,
    /// A batch before this one is missing.
    OutOfSequence,
    /// The broker has no, or another, state of the producer.
    ProducerStateLost,
    /// The transaction can't be committed any more: it must be aborted.
    AbortTransaction,
    /// The coordinator has no transaction of the producer's open.
    TransactionOver,
    /// The batch is larger than the topic allows.
    TooLarge,
    /// The position is not in the log.
    OffsetOutOfRange,
    /// The broker does not do this in this version.
    Unsupported,
    /// Trying again is useless: the caller must be told.
    Refused,
}

/// What `code` in an answer of `api` asks for. A code that a later Kafka may add is [`Verdict::Refused`]: what it would
/// take to try again is not known.
#[must_use]
pub fn verdict(api: ApiKey, code: ErrorCode) -> Verdict {
    let particular = match api {
        ApiKey::Produce | ApiKey::InitProducerId => of_produce(code),
        ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::OffsetCommit
        | ApiKey::OffsetFetch => of_group(code),
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::TxnOffsetCommit | ApiKey::EndTxn => {
            of_transaction(api, code)
        }
        _ => None,
    };
    particular.or_else(|| common(code)).unwrap_or(Verdict::Refused)
}

fn of_produce(code: ErrorCode) -> Option<Verdict> {
    let verdict = match code {
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::AlreadyDone,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Verdict::OutOfSequence,
        ErrorCode::UNKNOWN_PRODUCER_ID | ErrorCode::INVALID_PRODUCER_ID_MAPPING => Verdict::ProducerStateLost,
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED => Verdict::Fenced,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => Verdict::TooLarge,
        // The same bytes arrive damaged only by accident.
        ErrorCode::CORRUPT_MESSAGE => Verdict::Retry,
        _ => return None,
    };
    Some(verdict)
}

fn of_transaction(api: ApiKey, code: ErrorCode) -> Option<Verdict> {
    let verdict = match (api, code) {
        // It comes from the log of the group: whether the producer is fenced, its own coordinator knows.
        (ApiKey::TxnOffsetCommit, ErrorCode::INVALID_PRODUCER_EPOCH) => Verdict::AbortTransaction,
        // The members of the group have moved on: what was processed belongs to others (KIP-447).
        (
            ApiKey::TxnOffsetCommit,
            ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::FENCED_MEMBER_EPOCH,
        ) => Verdict::AbortTransaction,
        // A producer of before KIP-588 is not told the two apart.
        (_, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED) => Verdict::Fenced,
        (_, ErrorCode::INVALID_PRODUCER_ID_MAPPING | ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => {
            Verdict::ProducerStateLost
        }
        (ApiKey::EndTxn, ErrorCode::INVALID_TXN_STATE) => Verdict::TransactionOver,
        (
            _,
            ErrorCode::INVALID_TXN_STATE | ErrorCode::TRANSACTION_ABORTABLE | ErrorCode::UNKNOWN_PRODUCER_ID,
        ) => Verdict::AbortTransaction,
        _ => return None,
    };
    Some(verdict)
}

fn of_group(code: ErrorCode) -> Option<Verdict> {
    let verdict = match code {
        ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION | ErrorCode::MEMBER_ID_REQUIRED => {
            Verdict::Rejoin
        }
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => Verdict::MemberLost,
        ErrorCode::FENCED_INSTANCE_ID => Verdict::Fenced,
        ErrorCode::STALE_MEMBER_EPOCH => Verdict::AwaitHeartbeat,
        ErrorCode::UNRELEASED_INSTANCE_ID => Verdict::Retry,
        _ => return None,
    };
    Some(verdict)
}

/// The verdict where the API makes no difference; `None` for a code that Kafka 4.3.1 does not have.
fn common(code: ErrorCode) -> Option<Verdict> {
    let verdict = match code {
        ErrorCode::NONE => Verdict::Done,
        ErrorCode::UNSUPPORTED_VERSION => Verdict::Unsupported,
        // The coordinator is another broker, or will be soon.
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => Verdict::FindCoordinator,
        ErrorCode::OFFSET_OUT_OF_RANGE => Verdict::OffsetOutOfRange,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::UNKNOWN_TOPIC_ID
        | ErrorCode::INCONSISTENT_TOPIC_ID
        | ErrorCode::NOT_LEADER_OR_FOLLOWER
        | ErrorCode::LEADER_NOT_AVAILABLE
        | ErrorCode::REPLICA_NOT_AVAILABLE
        | ErrorCode::FENCED_LEADER_EPOCH
        | ErrorCode::UNKNOWN_LEADER_EPOCH
        | ErrorCode::KAFKA_STORAGE_ERROR
        | ErrorCode::LISTENER_NOT_FOUND
        | ErrorCode::OFFSET_NOT_AVAILABLE => Verdict::RefreshMetadata,
        // The broker may be about to leave; its successor may do better.
        ErrorCode::UNKNOWN_SERVER_ERROR
        | ErrorCode::CORRUPT_MESSAGE
        | ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::NOT_CONTROLLER
        | ErrorCode::CONCURRENT_TRANSACTIONS
        | ErrorCode::FETCH_SESSION_ID_NOT_FOUND
        | ErrorCode::INVALID_FETCH_SESSION_EPOCH
        | ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE
        | ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE
        | ErrorCode::ELECTION_NOT_NEEDED
        | ErrorCode::UNSTABLE_OFFSET_COMMIT
        | ErrorCode::THROTTLING_QUOTA_EXCEEDED
        | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
        | ErrorCode::SHARE_SESSION_NOT_FOUND
        | ErrorCode::INVALID_SHARE_SESSION_EPOCH
        | ErrorCode::SHARE_SESSION_LIMIT_REACHED => Verdict::Retry,
        _ if REFUSED.contains(&code) => Verdict::Refused,
        _ => return None,
    };
    Some(verdict)
}

/// Mistakes and refusals: the same request would be answered the same way.
const REFUSED: &[ErrorCode] = &[
    ErrorCode::INVALID_FETCH_SIZE,
    ErrorCode::BROKER_NOT_AVAILABLE,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::STALE_CONTROLLER_EPOCH,
    ErrorCode::OFFSET_METADATA_TOO_LARGE,
    ErrorCode::INVALID_TOPIC_EXCEPTION,
    ErrorCode::RECORD_LIST_TOO_LARGE,
    ErrorCode::INVALID_REQUIRED_ACKS,
    ErrorCode::ILLEGAL_GENERATION,
    ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
    ErrorCode::INVALID_GROUP_ID,
    ErrorCode::UNKNOWN_MEMBER_ID,
    ErrorCode::INVALID_SESSION_TIMEOUT,
    ErrorCode::REBALANCE_IN_PROGRESS,
    ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
    ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ErrorCode::GROUP_AUTHORIZATION_FAILED,
    ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
    ErrorCode::INVALID_TIMESTAMP,
    ErrorCode::UNSUPPORTED_SASL_MECHANISM,
    ErrorCode::ILLEGAL_SASL_STATE,
    ErrorCode::TOPIC_ALREADY_EXISTS,
    ErrorCode::INVALID_PARTITIONS,
    ErrorCode::INVALID_REPLICATION_FACTOR,
    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
    ErrorCode::INVALID_CONFIG,
    ErrorCode::INVALID_REQUEST,
    ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
    ErrorCode::POLICY_VIOLATION,
    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
    ErrorCode::INVALID_PRODUCER_EPOCH,
    ErrorCode::INVALID_TXN_STATE,
    ErrorCode::INVALID_PRODUCER_ID_MAPPING,
    ErrorCode::INVALID_TRANSACTION_TIMEOUT,
    ErrorCode::TRANSACTION_COORDINATOR_FENCED,
    ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ErrorCode::SECURITY_DISABLED,
    ErrorCode::OPERATION_NOT_ATTEMPTED,
    ErrorCode::LOG_DIR_NOT_FOUND,
    ErrorCode::SASL_AUTHENTICATION_FAILED,
    ErrorCode::UNKNOWN_PRODUCER_ID,
    ErrorCode::REASSIGNMENT_IN_PROGRESS,
    ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED,
    ErrorCode::DELEGATION_TOKEN_NOT_FOUND,
    ErrorCode::DELEGATION_TOKEN_OWNER_MISMATCH,
    ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
    ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED,
    ErrorCode::DELEGATION_TOKEN_EXPIRED,
    ErrorCode::INVALID_PRINCIPAL_TYPE,
    ErrorCode::NON_EMPTY_GROUP,
    ErrorCode::GROUP_ID_NOT_FOUND,
    ErrorCode::TOPIC_DELETION_DISABLED,
    ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
    ErrorCode::STALE_BROKER_EPOCH,
    ErrorCode::MEMBER_ID_REQUIRED,
    ErrorCode::GROUP_MAX_SIZE_REACHED,
    ErrorCode::FENCED_INSTANCE_ID,
    ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
    ErrorCode::INVALID_RECORD,
    ErrorCode::PRODUCER_FENCED,
    ErrorCode::RESOURCE_NOT_FOUND,
    ErrorCode::DUPLICATE_RESOURCE,
    ErrorCode::UNACCEPTABLE_CREDENTIAL,
    ErrorCode::INCONSISTENT_VOTER_SET,
    ErrorCode::INVALID_UPDATE_VERSION,
    ErrorCode::FEATURE_UPDATE_FAILED,
    ErrorCode::PRINCIPAL_DESERIALIZATION_FAILURE,
    ErrorCode::SNAPSHOT_NOT_FOUND,
    ErrorCode::POSITION_OUT_OF_RANGE,
    ErrorCode::DUPLICATE_BROKER_REGISTRATION,
    ErrorCode::BROKER_ID_NOT_REGISTERED,
    ErrorCode::INCONSISTENT_CLUSTER_ID,
    ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
    ErrorCode::INELIGIBLE_REPLICA,
    ErrorCode::NEW_LEADER_ELECTED,
    ErrorCode::OFFSET_MOVED_TO_TIERED_STORAGE,
    ErrorCode::FENCED_MEMBER_EPOCH,
    ErrorCode::UNRELEASED_INSTANCE_ID,
    ErrorCode::UNSUPPORTED_ASSIGNOR,
    ErrorCode::STALE_MEMBER_EPOCH,
    ErrorCode::MISMATCHED_ENDPOINT_TYPE,
    ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
    ErrorCode::UNKNOWN_CONTROLLER_ID,
    ErrorCode::UNKNOWN_SUBSCRIPTION_ID,
    ErrorCode::TELEMETRY_TOO_LARGE,
    ErrorCode::INVALID_REGISTRATION,
    ErrorCode::TRANSACTION_ABORTABLE,
    ErrorCode::INVALID_RECORD_STATE,
    ErrorCode::FENCED_STATE_EPOCH,
    ErrorCode::INVALID_VOTER_KEY,
    ErrorCode::DUPLICATE_VOTER,
    ErrorCode::VOTER_NOT_FOUND,
    ErrorCode::INVALID_REGULAR_EXPRESSION,
    ErrorCode::REBOOTSTRAP_REQUIRED,
    ErrorCode::STREAMS_INVALID_TOPOLOGY,
    ErrorCode::STREAMS_INVALID_TOPOLOGY_EPOCH,
    ErrorCode::STREAMS_TOPOLOGY_FENCED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_kafka_calls_retriable_is_never_refused() {
        for api in ApiKey::ALL {
            for code in ErrorCode::all().filter(|code| code.is_retriable()) {
                assert_ne!(verdict(*api, code), Verdict::Refused, "{code:?} of {api}");
            }
        }
    }

    #[test]
    fn every_code_has_a_verdict_of_its_own() {
        for code in ErrorCode::all() {
            assert!(common(code).is_some(), "{code:?} is not decided");
        }
        assert_eq!(common(ErrorCode(999)), None);
    }

    #[test]
    fn a_code_depends_on_the_api_where_it_must() {
        for (api, code, expected) in [
            (ApiKey::Produce, ErrorCode::DUPLICATE_SEQUENCE_NUMBER, Verdict::AlreadyDone),
            (ApiKey::Fetch, ErrorCode::CORRUPT_MESSAGE, Verdict::Retry),
            (ApiKey::Heartbeat, ErrorCode::REBALANCE_IN_PROGRESS, Verdict::Rejoin),
            (ApiKey::OffsetCommit, ErrorCode::STALE_MEMBER_EPOCH, Verdict::AwaitHeartbeat),
            (ApiKey::Produce, ErrorCode::TOPIC_AUTHORIZATION_FAILED, Verdict::Refused),
            (ApiKey::Produce, ErrorCode(999), Verdict::Refused),
            (ApiKey::EndTxn, ErrorCode::INVALID_PRODUCER_EPOCH, Verdict::Fenced),
            (ApiKey::TxnOffsetCommit, ErrorCode::INVALID_PRODUCER_EPOCH, Verdict::AbortTransaction),
            (ApiKey::EndTxn, ErrorCode::INVALID_TXN_STATE, Verdict::TransactionOver),
            (ApiKey::AddPartitionsToTxn, ErrorCode::CONCURRENT_TRANSACTIONS, Verdict::Retry),
        ] {
            assert_eq!(verdict(api, code), expected, "{code:?} of {api}");
        }
    }
}
