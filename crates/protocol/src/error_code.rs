//! The error codes of Kafka 4.3.1.

use std::fmt;

/// A broker's error code.
///
/// Codes that a later Kafka may add keep their number and have no name.
///
/// # References
/// [The protocol's error codes](https://kafka.apache.org/protocol#protocol_error_codes). What a client does about a
/// code is decided elsewhere.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

/// What is known of one code.
struct Entry {
    code: ErrorCode,
    name: &'static str,
    /// Kafka's Java client may repeat a request that is answered like this.
    retriable: bool,
    meaning: &'static str,
}

macro_rules! error_codes {
    ($($code:literal $name:ident $kind:ident $meaning:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!($meaning, ".")]
                pub const $name: Self = Self($code);
            )*
        }

        /// Every code in the order of the numbers.
        const ENTRIES: &[Entry] = &[$(
            Entry {
                code: ErrorCode($code),
                name: stringify!($name),
                retriable: error_codes!(@$kind),
                meaning: $meaning,
            },
        )*];
    };
    (@retriable) => { true };
    (@final) => { false };
}

impl ErrorCode {
    fn entry(self) -> Option<&'static Entry> {
        let at = ENTRIES.binary_search_by_key(&self, |entry| entry.code).ok()?;
        ENTRIES.get(at)
    }

    /// True for [`ErrorCode::NONE`].
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// `Err` with the code, unless it is [`ErrorCode::NONE`].
    ///
    /// # Errors
    /// When the broker reported an error.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_none() { Ok(()) } else { Err(self) }
    }

    /// The name, when the code is known.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|entry| entry.name)
    }

    /// The meaning in a sentence, when the code is known.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        self.entry().map(|entry| entry.meaning)
    }

    /// True when Kafka marks the code as retriable. An unknown code is not.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        self.entry().is_some_and(|entry| entry.retriable)
    }

    /// Every known code, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(|entry| entry.code)
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some(entry) => write!(f, "{} ({}): {}", entry.name, self.0, entry.meaning),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "ErrorCode({})", self.0),
        }
    }
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR final "The broker failed in a way it has no code for";
    0 NONE final "No error";
    1 OFFSET_OUT_OF_RANGE final "The offset is not in the partition's log";
    2 CORRUPT_MESSAGE retriable "A batch failed its checksum or is malformed";
    3 UNKNOWN_TOPIC_OR_PARTITION retriable "The broker does not know the topic or partition";
    4 INVALID_FETCH_SIZE final "The fetch size is not valid";
    5 LEADER_NOT_AVAILABLE retriable "An election is under way: the partition has no leader";
    6 NOT_LEADER_OR_FOLLOWER retriable "The broker does not lead the partition, or holds no replica of it";
    7 REQUEST_TIMED_OUT retriable "The broker could not finish in the time the request allows";
    8 BROKER_NOT_AVAILABLE final "The broker is not available";
    9 REPLICA_NOT_AVAILABLE retriable "The replica is not available";
    10 MESSAGE_TOO_LARGE final "A batch is larger than the topic allows";
    11 STALE_CONTROLLER_EPOCH final "The controller has moved on";
    12 OFFSET_METADATA_TOO_LARGE final "The metadata string of a committed offset is too long";
    13 NETWORK_EXCEPTION retriable "The connection broke before the answer came";
    14 COORDINATOR_LOAD_IN_PROGRESS retriable "The coordinator is still reading its state";
    15 COORDINATOR_NOT_AVAILABLE retriable "No broker coordinates this group or transaction at the moment";
    16 NOT_COORDINATOR retriable "The broker does not coordinate this group or transaction";
    17 INVALID_TOPIC_EXCEPTION final "The topic's name is not valid, or it may not be used this way";
    18 RECORD_LIST_TOO_LARGE final "The records of a request are larger than a segment";
    19 NOT_ENOUGH_REPLICAS retriable "Too few replicas are in sync: nothing was written";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable "Too few replicas are in sync: the records are written all the same";
    21 INVALID_REQUIRED_ACKS final "The number of acknowledgements asked for is not 0, 1 or all";
    22 ILLEGAL_GENERATION final "The group has another generation";
    23 INCONSISTENT_GROUP_PROTOCOL final "The member's protocols do not fit the group's";
    24 INVALID_GROUP_ID final "The group id is not valid";
    25 UNKNOWN_MEMBER_ID final "The group does not know the member";
    26 INVALID_SESSION_TIMEOUT final "The session timeout is outside the broker's limits";
    27 REBALANCE_IN_PROGRESS final "The group is rebalancing";
    28 INVALID_COMMIT_OFFSET_SIZE final "The commit is too large";
    29 TOPIC_AUTHORIZATION_FAILED final "Not allowed on this topic";
    30 GROUP_AUTHORIZATION_FAILED final "Not allowed on this group";
    31 CLUSTER_AUTHORIZATION_FAILED final "Not allowed on the cluster";
    32 INVALID_TIMESTAMP final "The timestamp is outside the topic's limits";
    33 UNSUPPORTED_SASL_MECHANISM final "The broker does not offer the SASL mechanism";
    34 ILLEGAL_SASL_STATE final "The request does not fit the state of authentication";
    35 UNSUPPORTED_VERSION final "The broker does not speak this version of the request";
    36 TOPIC_ALREADY_EXISTS final "The topic exists already";
    37 INVALID_PARTITIONS final "The number of partitions is not valid";
    38 INVALID_REPLICATION_FACTOR final "The replication factor is below 1 or above the number of brokers";
    39 INVALID_REPLICA_ASSIGNMENT final "The replica assignment is not valid";
    40 INVALID_CONFIG final "A configuration value is not valid";
    41 NOT_CONTROLLER retriable "The broker is not the controller";
    42 INVALID_REQUEST final "The broker cannot make sense of the request";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT final "The log's format cannot serve the request";
    44 POLICY_VIOLATION final "A policy of the cluster forbids it";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER final "A batch's sequence number leaves a gap";
    46 DUPLICATE_SEQUENCE_NUMBER final "The batch was written before";
    47 INVALID_PRODUCER_EPOCH final "The producer's epoch is old";
    48 INVALID_TXN_STATE final "The transaction is in no state for this";
    49 INVALID_PRODUCER_ID_MAPPING final "The producer id does not belong to the transactional id";
    50 INVALID_TRANSACTION_TIMEOUT final "The transaction timeout is longer than the broker allows";
    51 CONCURRENT_TRANSACTIONS retriable "An earlier transaction of this id is still being completed";
    52 TRANSACTION_COORDINATOR_FENCED final "The transaction coordinator has been replaced";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED final "Not allowed on this transactional id";
    54 SECURITY_DISABLED final "Security features are switched off";
    55 OPERATION_NOT_ATTEMPTED final "Not tried, because another part of the request failed";
    56 KAFKA_STORAGE_ERROR retriable "A disk failed";
    57 LOG_DIR_NOT_FOUND final "The log directory is not configured";
    58 SASL_AUTHENTICATION_FAILED final "Authentication failed";
    59 UNKNOWN_PRODUCER_ID final "The broker holds no state of this producer";
    60 REASSIGNMENT_IN_PROGRESS final "A reassignment is under way";
    61 DELEGATION_TOKEN_AUTH_DISABLED final "Delegation tokens are switched off";
    62 DELEGATION_TOKEN_NOT_FOUND final "The delegation token is not known";
    63 DELEGATION_TOKEN_OWNER_MISMATCH final "The delegation token belongs to somebody else";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED final "Delegation tokens cannot be asked for over this connection";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED final "Not allowed on this delegation token";
    66 DELEGATION_TOKEN_EXPIRED final "The delegation token has expired";
    67 INVALID_PRINCIPAL_TYPE final "The principal's type is not supported";
    68 NON_EMPTY_GROUP final "The group still has members";
    69 GROUP_ID_NOT_FOUND final "The group does not exist";
    70 FETCH_SESSION_ID_NOT_FOUND retriable "The fetch session is not known";
    71 INVALID_FETCH_SESSION_EPOCH retriable "The fetch session has another epoch";
    72 LISTENER_NOT_FOUND retriable "The leader does not listen where this request came in";
    73 TOPIC_DELETION_DISABLED final "Deleting topics is switched off";
    74 FENCED_LEADER_EPOCH retriable "The leader epoch of the request is older than the broker's";
    75 UNKNOWN_LEADER_EPOCH retriable "The leader epoch of the request is newer than the broker's";
    76 UNSUPPORTED_COMPRESSION_TYPE final "The request's version cannot carry the compression codec";
    77 STALE_BROKER_EPOCH final "The broker has registered again since";
    78 OFFSET_NOT_AVAILABLE retriable "The new leader cannot tell its offsets yet";
    79 MEMBER_ID_REQUIRED final "Join again with the member id that came with this answer";
    80 PREFERRED_LEADER_NOT_AVAILABLE retriable "The preferred leader is not available";
    81 GROUP_MAX_SIZE_REACHED final "The group is full";
    82 FENCED_INSTANCE_ID final "Another member has taken over this group instance id";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retriable "No replica is eligible to lead";
    84 ELECTION_NOT_NEEDED retriable "No election is needed";
    85 NO_REASSIGNMENT_IN_PROGRESS final "No reassignment is under way";
    86 GROUP_SUBSCRIBED_TO_TOPIC final "The group is subscribed to the topic";
    87 INVALID_RECORD final "The broker refused a record";
    88 UNSTABLE_OFFSET_COMMIT retriable "A transaction with offsets for the partition is still open";
    89 THROTTLING_QUOTA_EXCEEDED retriable "A quota is exceeded";
    90 PRODUCER_FENCED final "A newer producer has taken over this transactional id";
    91 RESOURCE_NOT_FOUND final "The resource does not exist";
    92 DUPLICATE_RESOURCE final "The request names a resource twice";
    93 UNACCEPTABLE_CREDENTIAL final "The credential does not meet the requirements";
    94 INCONSISTENT_VOTER_SET final "The voter sets differ";
    95 INVALID_UPDATE_VERSION final "The feature's version is not valid";
    96 FEATURE_UPDATE_FAILED final "Updating features failed";
    97 PRINCIPAL_DESERIALIZATION_FAILURE final "The forwarded principal cannot be read";
    98 SNAPSHOT_NOT_FOUND final "The snapshot does not exist";
    99 POSITION_OUT_OF_RANGE final "The position is outside the snapshot";
    100 UNKNOWN_TOPIC_ID retriable "The broker does not know the topic id";
    101 DUPLICATE_BROKER_REGISTRATION final "The broker id is in use";
    102 BROKER_ID_NOT_REGISTERED final "The broker id is not registered";
    103 INCONSISTENT_TOPIC_ID retriable "The log has another topic id";
    104 INCONSISTENT_CLUSTER_ID final "The cluster id differs";
    105 TRANSACTIONAL_ID_NOT_FOUND final "The transactional id does not exist";
    106 FETCH_SESSION_TOPIC_ID_ERROR retriable "A fetch session mixed topic names and topic ids";
    107 INELIGIBLE_REPLICA final "A replica may not join the in-sync set";
    108 NEW_LEADER_ELECTED final "A new leader was elected meanwhile";
    109 OFFSET_MOVED_TO_TIERED_STORAGE final "The offset lies in tiered storage";
    110 FENCED_MEMBER_EPOCH final "The member's epoch is fenced: it must give up its partitions and join again";
    111 UNRELEASED_INSTANCE_ID final "Another member still holds this group instance id";
    112 UNSUPPORTED_ASSIGNOR final "The broker does not offer the assignor";
    113 STALE_MEMBER_EPOCH final "The member's epoch is behind: retry once the next heartbeat has brought the new one";
    114 MISMATCHED_ENDPOINT_TYPE final "The request went to the wrong kind of endpoint";
    115 UNSUPPORTED_ENDPOINT_TYPE final "The kind of endpoint is not supported";
    116 UNKNOWN_CONTROLLER_ID final "The controller id is not known";
    117 UNKNOWN_SUBSCRIPTION_ID final "The telemetry subscription is not known";
    118 TELEMETRY_TOO_LARGE final "The telemetry is too large";
    119 INVALID_REGISTRATION final "The registration is not valid";
    120 TRANSACTION_ABORTABLE final "The transaction can only be aborted";
    121 INVALID_RECORD_STATE final "The record is in no state for this acknowledgement";
    122 SHARE_SESSION_NOT_FOUND retriable "The share session is not known";
    123 INVALID_SHARE_SESSION_EPOCH retriable "The share session has another epoch";
    124 FENCED_STATE_EPOCH final "The share group's state has another epoch";
    125 INVALID_VOTER_KEY final "The voter's key differs";
    126 DUPLICATE_VOTER final "The voter is in the set already";
    127 VOTER_NOT_FOUND final "The voter is not in the set";
    128 INVALID_REGULAR_EXPRESSION final "The regular expression is not valid";
    129 REBOOTSTRAP_REQUIRED final "The client knows too little of the cluster and must start from its bootstrap addresses";
    130 STREAMS_INVALID_TOPOLOGY final "The Streams topology is not valid";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH final "The Streams topology's epoch is not valid";
    132 STREAMS_TOPOLOGY_FENCED final "The Streams topology has been replaced";
    133 SHARE_SESSION_LIMIT_REACHED retriable "The broker holds too many share sessions";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_number() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.code));
        assert_eq!(ErrorCode(6), ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
        assert!(!ErrorCode::PRODUCER_FENCED.is_retriable());
        assert_eq!(ErrorCode::all().count(), 135);
        assert_eq!(ErrorCode(999).to_string(), "unknown error code 999");
        assert_eq!(ErrorCode(90).ok(), Err(ErrorCode::PRODUCER_FENCED));
    }
}
