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

/// What an error code is about, for whoever sorts or counts errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorSubject {
    /// The request as such: its form, its version, its time.
    Request,
    /// The brokers together: registration, controller, features, policies and quotas.
    Cluster,
    /// A topic as a whole.
    Topic,
    /// One partition's leader, replicas or disk.
    Partition,
    /// A position in a log.
    Offset,
    /// Records and their batches.
    Records,
    /// The session between a consumer's fetches (KIP-227).
    FetchSession,
    /// A group, its members and its committed offsets.
    Group,
    /// A transaction, or the producer id, epoch and sequence numbers that also go without one.
    Transaction,
    /// Authentication and authorisation.
    Security,
    /// A delegation token.
    DelegationToken,
    /// A configuration value.
    Configuration,
    /// The controllers' quorum: its voters and snapshots.
    Quorum,
    /// The metrics that clients push (KIP-714).
    Telemetry,
    /// A share group, its sessions and acknowledgements (KIP-932).
    ShareGroup,
    /// A Streams group's topology (KIP-1071).
    Streams,
}

/// What is known of one code.
struct Entry {
    code: ErrorCode,
    name: &'static str,
    /// Kafka's Java client may repeat a request that is answered like this.
    retriable: bool,
    subject: ErrorSubject,
    meaning: &'static str,
}

macro_rules! error_codes {
    ($($code:literal $name:ident $kind:ident $subject:ident $meaning:literal;)*) => {
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
                subject: ErrorSubject::$subject,
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

    /// What the code is about, when it is known.
    #[must_use]
    pub fn subject(self) -> Option<ErrorSubject> {
        self.entry().map(|entry| entry.subject)
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
    -1 UNKNOWN_SERVER_ERROR final Request "The broker failed in a way it has no code for";
    0 NONE final Request "No error";
    1 OFFSET_OUT_OF_RANGE final Offset "The offset is not in the partition's log";
    2 CORRUPT_MESSAGE retriable Records "A batch failed its checksum or is malformed";
    3 UNKNOWN_TOPIC_OR_PARTITION retriable Topic "The broker does not know the topic or partition";
    4 INVALID_FETCH_SIZE final Records "The fetch size is not valid";
    5 LEADER_NOT_AVAILABLE retriable Partition "An election is under way: the partition has no leader";
    6 NOT_LEADER_OR_FOLLOWER retriable Partition "The broker does not lead the partition, or holds no replica of it";
    7 REQUEST_TIMED_OUT retriable Request "The broker could not finish in the time the request allows";
    8 BROKER_NOT_AVAILABLE final Cluster "The broker is not available";
    9 REPLICA_NOT_AVAILABLE retriable Partition "The replica is not available";
    10 MESSAGE_TOO_LARGE final Records "A batch is larger than the topic allows";
    11 STALE_CONTROLLER_EPOCH final Cluster "The controller has moved on";
    12 OFFSET_METADATA_TOO_LARGE final Group "The metadata string of a committed offset is too long";
    13 NETWORK_EXCEPTION retriable Request "The connection broke before the answer came";
    14 COORDINATOR_LOAD_IN_PROGRESS retriable Group "The coordinator is still reading its state";
    15 COORDINATOR_NOT_AVAILABLE retriable Group "No broker coordinates this group or transaction at the moment";
    16 NOT_COORDINATOR retriable Group "The broker does not coordinate this group or transaction";
    17 INVALID_TOPIC_EXCEPTION final Topic "The topic's name is not valid, or it may not be used this way";
    18 RECORD_LIST_TOO_LARGE final Records "The records of a request are larger than a segment";
    19 NOT_ENOUGH_REPLICAS retriable Partition "Too few replicas are in sync: nothing was written";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable Partition "Too few replicas are in sync: the records are written all the same";
    21 INVALID_REQUIRED_ACKS final Request "The number of acknowledgements asked for is not 0, 1 or all";
    22 ILLEGAL_GENERATION final Group "The group has another generation";
    23 INCONSISTENT_GROUP_PROTOCOL final Group "The member's protocols do not fit the group's";
    24 INVALID_GROUP_ID final Group "The group id is not valid";
    25 UNKNOWN_MEMBER_ID final Group "The group does not know the member";
    26 INVALID_SESSION_TIMEOUT final Group "The session timeout is outside the broker's limits";
    27 REBALANCE_IN_PROGRESS final Group "The group is rebalancing";
    28 INVALID_COMMIT_OFFSET_SIZE final Group "The commit is too large";
    29 TOPIC_AUTHORIZATION_FAILED final Security "Not allowed on this topic";
    30 GROUP_AUTHORIZATION_FAILED final Security "Not allowed on this group";
    31 CLUSTER_AUTHORIZATION_FAILED final Security "Not allowed on the cluster";
    32 INVALID_TIMESTAMP final Records "The timestamp is outside the topic's limits";
    33 UNSUPPORTED_SASL_MECHANISM final Security "The broker does not offer the SASL mechanism";
    34 ILLEGAL_SASL_STATE final Security "The request does not fit the state of authentication";
    35 UNSUPPORTED_VERSION final Request "The broker does not speak this version of the request";
    36 TOPIC_ALREADY_EXISTS final Topic "The topic exists already";
    37 INVALID_PARTITIONS final Topic "The number of partitions is not valid";
    38 INVALID_REPLICATION_FACTOR final Topic "The replication factor is below 1 or above the number of brokers";
    39 INVALID_REPLICA_ASSIGNMENT final Topic "The replica assignment is not valid";
    40 INVALID_CONFIG final Configuration "A configuration value is not valid";
    41 NOT_CONTROLLER retriable Cluster "The broker is not the controller";
    42 INVALID_REQUEST final Request "The broker cannot make sense of the request";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT final Request "The log's format cannot serve the request";
    44 POLICY_VIOLATION final Cluster "A policy of the cluster forbids it";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER final Transaction "A batch's sequence number leaves a gap";
    46 DUPLICATE_SEQUENCE_NUMBER final Transaction "The batch was written before";
    47 INVALID_PRODUCER_EPOCH final Transaction "The producer's epoch is old";
    48 INVALID_TXN_STATE final Transaction "The transaction is in no state for this";
    49 INVALID_PRODUCER_ID_MAPPING final Transaction "The producer id does not belong to the transactional id";
    50 INVALID_TRANSACTION_TIMEOUT final Transaction "The transaction timeout is longer than the broker allows";
    51 CONCURRENT_TRANSACTIONS retriable Transaction "An earlier transaction of this id is still being completed";
    52 TRANSACTION_COORDINATOR_FENCED final Transaction "The transaction coordinator has been replaced";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED final Security "Not allowed on this transactional id";
    54 SECURITY_DISABLED final Security "Security features are switched off";
    55 OPERATION_NOT_ATTEMPTED final Request "Not tried, because another part of the request failed";
    56 KAFKA_STORAGE_ERROR retriable Partition "A disk failed";
    57 LOG_DIR_NOT_FOUND final Partition "The log directory is not configured";
    58 SASL_AUTHENTICATION_FAILED final Security "Authentication failed";
    59 UNKNOWN_PRODUCER_ID final Transaction "The broker holds no state of this producer";
    60 REASSIGNMENT_IN_PROGRESS final Cluster "A reassignment is under way";
    61 DELEGATION_TOKEN_AUTH_DISABLED final DelegationToken "Delegation tokens are switched off";
    62 DELEGATION_TOKEN_NOT_FOUND final DelegationToken "The delegation token is not known";
    63 DELEGATION_TOKEN_OWNER_MISMATCH final DelegationToken "The delegation token belongs to somebody else";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED final DelegationToken "Delegation tokens cannot be asked for over this connection";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED final DelegationToken "Not allowed on this delegation token";
    66 DELEGATION_TOKEN_EXPIRED final DelegationToken "The delegation token has expired";
    67 INVALID_PRINCIPAL_TYPE final Security "The principal's type is not supported";
    68 NON_EMPTY_GROUP final Group "The group still has members";
    69 GROUP_ID_NOT_FOUND final Group "The group does not exist";
    70 FETCH_SESSION_ID_NOT_FOUND retriable FetchSession "The fetch session is not known";
    71 INVALID_FETCH_SESSION_EPOCH retriable FetchSession "The fetch session has another epoch";
    72 LISTENER_NOT_FOUND retriable Partition "The leader does not listen where this request came in";
    73 TOPIC_DELETION_DISABLED final Topic "Deleting topics is switched off";
    74 FENCED_LEADER_EPOCH retriable Partition "The leader epoch of the request is older than the broker's";
    75 UNKNOWN_LEADER_EPOCH retriable Partition "The leader epoch of the request is newer than the broker's";
    76 UNSUPPORTED_COMPRESSION_TYPE final Records "The request's version cannot carry the compression codec";
    77 STALE_BROKER_EPOCH final Cluster "The broker has registered again since";
    78 OFFSET_NOT_AVAILABLE retriable Offset "The new leader cannot tell its offsets yet";
    79 MEMBER_ID_REQUIRED final Group "Join again with the member id that came with this answer";
    80 PREFERRED_LEADER_NOT_AVAILABLE retriable Partition "The preferred leader is not available";
    81 GROUP_MAX_SIZE_REACHED final Group "The group is full";
    82 FENCED_INSTANCE_ID final Group "Another member has taken over this group instance id";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retriable Partition "No replica is eligible to lead";
    84 ELECTION_NOT_NEEDED retriable Partition "No election is needed";
    85 NO_REASSIGNMENT_IN_PROGRESS final Cluster "No reassignment is under way";
    86 GROUP_SUBSCRIBED_TO_TOPIC final Topic "The group is subscribed to the topic";
    87 INVALID_RECORD final Records "The broker refused a record";
    88 UNSTABLE_OFFSET_COMMIT retriable Group "A transaction with offsets for the partition is still open";
    89 THROTTLING_QUOTA_EXCEEDED retriable Cluster "A quota is exceeded";
    90 PRODUCER_FENCED final Transaction "A newer producer has taken over this transactional id";
    91 RESOURCE_NOT_FOUND final Request "The resource does not exist";
    92 DUPLICATE_RESOURCE final Request "The request names a resource twice";
    93 UNACCEPTABLE_CREDENTIAL final Security "The credential does not meet the requirements";
    94 INCONSISTENT_VOTER_SET final Quorum "The voter sets differ";
    95 INVALID_UPDATE_VERSION final Cluster "The feature's version is not valid";
    96 FEATURE_UPDATE_FAILED final Cluster "Updating features failed";
    97 PRINCIPAL_DESERIALIZATION_FAILURE final Security "The forwarded principal cannot be read";
    98 SNAPSHOT_NOT_FOUND final Quorum "The snapshot does not exist";
    99 POSITION_OUT_OF_RANGE final Quorum "The position is outside the snapshot";
    100 UNKNOWN_TOPIC_ID retriable Topic "The broker does not know the topic id";
    101 DUPLICATE_BROKER_REGISTRATION final Cluster "The broker id is in use";
    102 BROKER_ID_NOT_REGISTERED final Cluster "The broker id is not registered";
    103 INCONSISTENT_TOPIC_ID retriable Topic "The log has another topic id";
    104 INCONSISTENT_CLUSTER_ID final Cluster "The cluster id differs";
    105 TRANSACTIONAL_ID_NOT_FOUND final Transaction "The transactional id does not exist";
    106 FETCH_SESSION_TOPIC_ID_ERROR retriable FetchSession "A fetch session mixed topic names and topic ids";
    107 INELIGIBLE_REPLICA final Partition "A replica may not join the in-sync set";
    108 NEW_LEADER_ELECTED final Partition "A new leader was elected meanwhile";
    109 OFFSET_MOVED_TO_TIERED_STORAGE final Offset "The offset lies in tiered storage";
    110 FENCED_MEMBER_EPOCH final Group "The member's epoch is fenced: it must give up its partitions and join again";
    111 UNRELEASED_INSTANCE_ID final Group "Another member still holds this group instance id";
    112 UNSUPPORTED_ASSIGNOR final Group "The broker does not offer the assignor";
    113 STALE_MEMBER_EPOCH final Group "The member's epoch is behind: retry once the next heartbeat has brought the new one";
    114 MISMATCHED_ENDPOINT_TYPE final Request "The request went to the wrong kind of endpoint";
    115 UNSUPPORTED_ENDPOINT_TYPE final Request "The kind of endpoint is not supported";
    116 UNKNOWN_CONTROLLER_ID final Cluster "The controller id is not known";
    117 UNKNOWN_SUBSCRIPTION_ID final Telemetry "The telemetry subscription is not known";
    118 TELEMETRY_TOO_LARGE final Telemetry "The telemetry is too large";
    119 INVALID_REGISTRATION final Cluster "The registration is not valid";
    120 TRANSACTION_ABORTABLE final Transaction "The transaction can only be aborted";
    121 INVALID_RECORD_STATE final ShareGroup "The record is in no state for this acknowledgement";
    122 SHARE_SESSION_NOT_FOUND retriable ShareGroup "The share session is not known";
    123 INVALID_SHARE_SESSION_EPOCH retriable ShareGroup "The share session has another epoch";
    124 FENCED_STATE_EPOCH final ShareGroup "The share group's state has another epoch";
    125 INVALID_VOTER_KEY final Quorum "The voter's key differs";
    126 DUPLICATE_VOTER final Quorum "The voter is in the set already";
    127 VOTER_NOT_FOUND final Quorum "The voter is not in the set";
    128 INVALID_REGULAR_EXPRESSION final Group "The regular expression is not valid";
    129 REBOOTSTRAP_REQUIRED final Cluster "The client knows too little of the cluster and must start from its bootstrap addresses";
    130 STREAMS_INVALID_TOPOLOGY final Streams "The Streams topology is not valid";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH final Streams "The Streams topology's epoch is not valid";
    132 STREAMS_TOPOLOGY_FENCED final Streams "The Streams topology has been replaced";
    133 SHARE_SESSION_LIMIT_REACHED retriable ShareGroup "The broker holds too many share sessions";
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
        assert_eq!(ErrorCode::SHARE_SESSION_NOT_FOUND.subject(), Some(ErrorSubject::ShareGroup));
        assert_eq!(ErrorCode(999).subject(), None);
        assert_eq!(ErrorCode(999).to_string(), "unknown error code 999");
        assert_eq!(ErrorCode(90).ok(), Err(ErrorCode::PRODUCER_FENCED));
    }
}
