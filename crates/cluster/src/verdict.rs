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
    /// The batch is larger than the topic allows.
    TooLarge,
    /// The position is not in the log.
    OffsetOutOfRange,
    /// The broker does not do this in this version.
    Unsupported,
    /// Trying again is useless: the caller must be told.
    Refused,
}

/// What `code` in an answer of `api` asks for.
#[must_use]
pub fn verdict(api: ApiKey, code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NONE => Verdict::Done,
        ErrorCode::UNSUPPORTED_VERSION => Verdict::Unsupported,
        // The coordinator is another broker, or will be soon.
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => Verdict::FindCoordinator,
        _ => match api {
            ApiKey::Produce | ApiKey::InitProducerId => of_produce(code),
            ApiKey::JoinGroup
            | ApiKey::SyncGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::ConsumerGroupHeartbeat
            | ApiKey::OffsetCommit
            | ApiKey::OffsetFetch => of_group(code),
            _ => common(code),
        },
    }
}

fn of_produce(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::AlreadyDone,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Verdict::OutOfSequence,
        ErrorCode::UNKNOWN_PRODUCER_ID | ErrorCode::INVALID_PRODUCER_ID_MAPPING => Verdict::ProducerStateLost,
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED => Verdict::Fenced,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => Verdict::TooLarge,
        // The same bytes arrive damaged only by accident.
        ErrorCode::CORRUPT_MESSAGE => Verdict::Retry,
        _ => common(code),
    }
}

fn of_group(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION | ErrorCode::MEMBER_ID_REQUIRED => {
            Verdict::Rejoin
        }
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => Verdict::MemberLost,
        ErrorCode::FENCED_INSTANCE_ID => Verdict::Fenced,
        ErrorCode::STALE_MEMBER_EPOCH => Verdict::AwaitHeartbeat,
        ErrorCode::UNRELEASED_INSTANCE_ID => Verdict::Retry,
        _ => common(code),
    }
}

fn common(code: ErrorCode) -> Verdict {
    match code {
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
        ErrorCode::UNKNOWN_SERVER_ERROR => Verdict::Retry,
        _ if code.is_retriable() => Verdict::Retry,
        _ => Verdict::Refused,
    }
}

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
    fn a_code_depends_on_the_api_where_it_must() {
        for (api, code, expected) in [
            (ApiKey::Produce, ErrorCode::DUPLICATE_SEQUENCE_NUMBER, Verdict::AlreadyDone),
            (ApiKey::Fetch, ErrorCode::CORRUPT_MESSAGE, Verdict::Retry),
            (ApiKey::Heartbeat, ErrorCode::REBALANCE_IN_PROGRESS, Verdict::Rejoin),
            (ApiKey::OffsetCommit, ErrorCode::STALE_MEMBER_EPOCH, Verdict::AwaitHeartbeat),
            (ApiKey::Produce, ErrorCode::TOPIC_AUTHORIZATION_FAILED, Verdict::Refused),
            (ApiKey::Produce, ErrorCode(999), Verdict::Refused),
        ] {
            assert_eq!(verdict(api, code), expected, "{code:?} of {api}");
        }
    }
}
