//! The knobs of a consumer, with Kafka's defaults.

use std::time::Duration;

use milena_cluster::Backoff;
use milena_protocol::wire::ByteString;
use thiserror::Error;

use crate::Assignor;

/// How a consumer reads, and as a member of which group.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The group (`group.id`). Without one there are no committed offsets and no subscriptions, only assignments.
    pub group_id: Option<ByteString>,
    /// How the group shares its partitions out (`group.protocol`).
    pub group_protocol: GroupProtocol,
    /// Makes the member static (`group.instance.id`, KIP-345): restarting within the session timeout moves no partition.
    /// In exchange, a member that is gone for good keeps its partitions idle for that long.
    pub group_instance_id: Option<ByteString>,
    /// The assignors of the classic protocol, the preferred one first (`partition.assignment.strategy`). The group is
    /// cooperative, keeping what does not move, only when every assignor in the list is.
    pub assignors: Vec<Assignor>,
    /// The broker's assignor under KIP-848 (`group.remote.assignor`); the broker chooses when there is none.
    pub server_assignor: Option<ByteString>,
    /// Where the client stands (`client.rack`): lets it read from a replica near by (KIP-392).
    pub client_rack: Option<ByteString>,
    /// Where reading starts when there is no committed offset, or none that the log has (`auto.offset.reset`).
    pub auto_offset_reset: AutoOffsetReset,
    /// Whether records of open and aborted transactions are handed out (`isolation.level`).
    pub isolation_level: IsolationLevel,
    /// Bytes a broker gathers before it answers (`fetch.min.bytes`). More means fewer, later answers.
    pub fetch_min_bytes: i32,
    /// Most bytes of an answer (`fetch.max.bytes`). A first batch that is larger comes all the same (KIP-74).
    pub fetch_max_bytes: i32,
    /// How long a broker may wait for `fetch_min_bytes` (`fetch.max.wait.ms`).
    pub fetch_max_wait: Duration,
    /// Most bytes of one partition in an answer (`max.partition.fetch.bytes`).
    pub max_partition_fetch_bytes: i32,
    /// Most bytes kept for the application, as they came, compressed. Each broker may fill an equal share; a partition
    /// without room is not asked for. One batch a broker may come on top.
    pub max_buffered_bytes: usize,
    /// Whether the CRC of each batch is checked (`check.crcs`).
    pub check_crcs: bool,
    /// After how long without an answered heartbeat a member counts as gone (`session.timeout.ms`). Under KIP-848 the
    /// broker has its own; this is when the consumer itself gives up what it owns.
    pub session_timeout: Duration,
    /// The time between heartbeats of the classic protocol (`heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// How long the group waits for a member to give up partitions and join (Java takes `max.poll.interval.ms`). The
    /// owner has two heartbeats less, so that the group hears of it in time.
    pub rebalance_timeout: Duration,
    /// How long the application may be busy between two polls before the member leaves (`max.poll.interval.ms`).
    pub max_poll_interval: Duration,
    /// The waits between tries (`retry.backoff.ms`, `retry.backoff.max.ms`).
    pub retry_backoff: Backoff,
    /// How long to wait for an answer (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// How long a commit may be retried (`default.api.timeout.ms`).
    pub commit_timeout: Duration,
    /// After how long what is known of the cluster is asked for again (`metadata.max.age.ms`).
    pub metadata_max_age: Duration,
    /// The wall clock when the consumer is made, in milliseconds since 1970. [`AutoOffsetReset::ByDuration`] reckons from it.
    pub started_at_ms: i64,
    /// Where randomness starts: member id and jitter. Two members with one seed would have one id.
    pub seed: u64,
}

/// How a group shares its partitions out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// KIP-848 where the broker has it, else classic.
    #[default]
    Auto,
    /// JoinGroup and SyncGroup: a member computes the assignment.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): the broker computes the assignment.
    Consumer,
}

/// Where reading starts when no committed offset says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoOffsetReset {
    /// At the oldest record.
    Earliest,
    /// At the next record to be written. What was written before is never read.
    #[default]
    Latest,
    /// At the first record that is not older than this, by the wall clock; at the next to be written when all are older
    /// (KIP-1106).
    ByDuration(Duration),
    /// Nowhere: it is an error.
    None,
}

/// Which records of transactions are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All of them.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions. An open transaction holds back whatever was written after it began.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) const fn wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group_id: None,
            group_protocol: GroupProtocol::Auto,
            group_instance_id: None,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            server_assignor: None,
            client_rack: None,
            auto_offset_reset: AutoOffsetReset::Latest,
            isolation_level: IsolationLevel::ReadUncommitted,
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 << 20,
            fetch_max_wait: Duration::from_millis(500),
            max_partition_fetch_bytes: 1 << 20,
            max_buffered_bytes: 64 << 20,
            check_crcs: true,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            max_poll_interval: Duration::from_secs(300),
            retry_backoff: Backoff::DEFAULT,
            request_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(60),
            metadata_max_age: Duration::from_secs(300),
            started_at_ms: 0,
            seed: 0,
        }
    }
}

/// A configuration that cannot work. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}: {problem}")]
pub struct ConfigError {
    /// The field of [`ConsumerConfig`].
    pub option: &'static str,
    /// What is wrong with its value.
    pub problem: &'static str,
}

impl ConsumerConfig {
    /// Refuses what cannot work, before anything is sent.
    ///
    /// # Errors
    /// For the first option that makes no sense by itself or beside another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let longest = Duration::from_millis(i32::MAX.unsigned_abs().into());
        let rules = [
            ("group_id", self.group_id.as_ref().is_some_and(|id| id.is_empty()), "is empty"),
            (
                "group_instance_id",
                self.group_instance_id.as_ref().is_some_and(|id| id.is_empty()),
                "is empty",
            ),
            (
                "group_instance_id",
                self.group_instance_id.is_some() && self.group_id.is_none(),
                "means nothing without a group",
            ),
            ("assignors", self.assignors.is_empty(), "has none"),
            (
                "assignors",
                self.assignors.iter().any(|assignor| assignor.name().is_empty()),
                "has one without a name",
            ),
            ("fetch_min_bytes", self.fetch_min_bytes < 0, "is negative"),
            ("fetch_max_bytes", self.fetch_max_bytes < 1, "lets nothing through"),
            ("max_partition_fetch_bytes", self.max_partition_fetch_bytes < 1, "lets nothing through"),
            (
                "fetch_min_bytes",
                self.fetch_min_bytes > self.fetch_max_bytes,
                "is more than fetch_max_bytes, so that every fetch would wait in vain",
            ),
            ("max_buffered_bytes", self.max_buffered_bytes == 0, "lets nothing through"),
            ("heartbeat_interval", self.heartbeat_interval.is_zero(), "is zero"),
            (
                "heartbeat_interval",
                self.heartbeat_interval >= self.session_timeout,
                "is not below session_timeout: the member would be thrown out between two heartbeats",
            ),
            ("max_poll_interval", self.max_poll_interval.is_zero(), "is zero"),
            ("request_timeout", self.request_timeout.is_zero(), "is zero"),
            ("session_timeout", self.session_timeout > longest, "does not fit the protocol"),
            ("rebalance_timeout", self.rebalance_timeout.is_zero(), "is zero"),
            ("rebalance_timeout", self.rebalance_timeout > longest, "does not fit the protocol"),
            ("fetch_max_wait", self.fetch_max_wait > longest, "does not fit the protocol"),
            (
                "retry_backoff",
                self.retry_backoff.initial.is_zero(),
                "starts at zero: tries would follow at once",
            ),
            (
                "retry_backoff",
                self.retry_backoff.max < self.retry_backoff.initial,
                "has a longest wait below the first",
            ),
        ];
        match rules.into_iter().find(|(_, broken, _)| *broken) {
            Some((option, _, problem)) => Err(ConfigError { option, problem }),
            None => Ok(()),
        }
    }
}

/// Milliseconds as the wire counts them. `validate` has seen that they fit.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ConsumerConfig::default().validate(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |change: fn(&mut ConsumerConfig)| {
            let mut config = ConsumerConfig { group_id: Some("readers".into()), ..Default::default() };
            change(&mut config);
            config.validate().unwrap_err().option
        };
        assert_eq!(refused(|config| config.group_id = Some("".into())), "group_id");
        assert_eq!(
            refused(|config| config.heartbeat_interval = config.session_timeout),
            "heartbeat_interval"
        );
        assert_eq!(refused(|config| config.fetch_min_bytes = i32::MAX), "fetch_min_bytes");
        assert_eq!(refused(|config| config.assignors.clear()), "assignors");
        assert_eq!(refused(|config| config.retry_backoff.initial = Duration::ZERO), "retry_backoff");
        let orphan = ConsumerConfig { group_instance_id: Some("a".into()), ..Default::default() };
        assert_eq!(
            orphan.validate().unwrap_err().to_string(),
            "group_instance_id: means nothing without a group"
        );
    }
}
