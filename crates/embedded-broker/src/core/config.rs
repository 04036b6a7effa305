//! What a cluster can be told when it is made.

use std::{collections::BTreeMap, time::Duration};

use milena_protocol::messages::ApiKey;

use super::SaslConfig;

/// The knobs of a [`Cluster`](super::Cluster). The defaults are those of Kafka 4.3.1 unless a field says otherwise.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// How many brokers there are; their node ids count from 1. One by default.
    pub brokers: u16,
    /// What random numbers (topic ids, member ids) are made from: the same seed and the same requests give the same
    /// answers. Zero by default.
    pub seed: u64,
    /// The cluster's id. `milena-embedded` by default.
    pub cluster_id: String,
    /// Whether Metadata makes a topic that is not there. Off by default, unlike Kafka's: a misspelt topic in a test
    /// should fail.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without a count.
    pub default_partitions: i32,
    /// Replicas of a topic that is created without a count. Zero, the default, is three or as many as there are
    /// brokers, unlike Kafka's 1: so that stopping a broker leaves its partitions a leader.
    pub default_replication_factor: i16,
    /// Largest batch, in bytes, of a topic that does not set `max.message.bytes`.
    pub max_message_bytes: i32,
    /// Bytes of batches kept per partition of a topic that does not set `retention.bytes`; beyond it the oldest whole
    /// batches are dropped and the log's start moves. 256 MiB by default, so that a long demo ends before the memory
    /// does; `None` keeps everything.
    pub retention_bytes: Option<u64>,
    /// How long after a record was appended the followers have it. Zero, the default, is at once. Until then readers do not see
    /// the record and a Produce with acks all waits; [`Cluster::kill_broker`](super::Cluster::kill_broker) of the leader
    /// loses it.
    pub replication_interval: Duration,
    /// Whether `group.version` 1 is finalized, which is what tells clients to use KIP-848. On by default.
    pub consumer_groups: bool,
    /// The highest version to offer of an API, to imitate an older broker. `-1` leaves the API out.
    pub max_versions: BTreeMap<ApiKey, i16>,
    /// The lowest version to offer of an API, to imitate a newer broker.
    pub min_versions: BTreeMap<ApiKey, i16>,
    /// How many fetch sessions (KIP-227) there may be on all brokers together. Without any, clients send whole requests.
    pub fetch_session_slots: usize,
    /// How long the first rebalance of an empty classic group waits for more members. 100 ms by default, where Kafka
    /// waits 3 s.
    pub initial_rebalance_delay: Duration,
    /// Shortest session timeout a classic member may ask for.
    pub min_session_timeout: Duration,
    /// Longest session timeout a classic member may ask for.
    pub max_session_timeout: Duration,
    /// How long a KIP-848 member may be silent.
    pub consumer_session_timeout: Duration,
    /// How often a KIP-848 member is told to send a heartbeat.
    pub consumer_heartbeat_interval: Duration,
    /// The level of `transaction.version` that is finalized at the start: 2, the default, makes clients leave it to Produce
    /// and TxnOffsetCommit to add partitions to a transaction, and gives every transaction an epoch of its own (KIP-890).
    pub transaction_version: i16,
    /// Longest transaction timeout a producer may ask for.
    pub transaction_max_timeout: Duration,
    /// How often transactions that take too long are looked for, and aborted.
    pub transaction_abort_interval: Duration,
    /// How long after the end of a transaction was answered its markers are written: until then the producer is told
    /// CONCURRENT_TRANSACTIONS. 5 ms by default; Kafka needs as long as its brokers do.
    pub transaction_marker_delay: Duration,
    /// After how long without a transaction a transactional id is forgotten.
    pub transactional_id_expiration: Duration,
    /// After how long without a batch a partition forgets a producer. Kafka goes by the timestamps of the records, and so
    /// does this.
    pub producer_id_expiration: Duration,
    /// How long a coordinator that took over from another answers COORDINATOR_LOAD_IN_PROGRESS. Zero by default.
    pub coordinator_load_time: Duration,
    /// Whom the brokers know; without it, the default, everybody may connect.
    pub sasl: Option<SaslConfig>,
    /// For how long a client may use its quotas in advance: see [`Cluster::set_quota`](super::Cluster::set_quota). 10 s by
    /// default, as Kafka's samples come to.
    pub quota_window: Duration,
    /// Most members of a group. 1,000 by default, where Kafka has no bound.
    pub max_group_size: usize,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            brokers: 1,
            seed: 0,
            cluster_id: "milena-embedded".into(),
            auto_create_topics: false,
            default_partitions: 1,
            default_replication_factor: 0,
            max_message_bytes: 1_048_588,
            retention_bytes: Some(256 << 20),
            replication_interval: Duration::ZERO,
            consumer_groups: true,
            max_versions: BTreeMap::new(),
            min_versions: BTreeMap::new(),
            fetch_session_slots: 1_000,
            initial_rebalance_delay: Duration::from_millis(100),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            transaction_version: 2,
            transaction_max_timeout: Duration::from_mins(15),
            transaction_abort_interval: Duration::from_secs(10),
            transaction_marker_delay: Duration::from_millis(5),
            transactional_id_expiration: Duration::from_hours(7 * 24),
            producer_id_expiration: Duration::from_hours(24),
            coordinator_load_time: Duration::ZERO,
            sasl: None,
            quota_window: Duration::from_secs(10),
            max_group_size: 1_000,
        }
    }
}
