//! The settings of a topic: those that the broker acts on, and those it only accepts.

use std::collections::BTreeMap;

use milena_protocol::wire::ByteString;

use super::{ClusterConfig, detach::Detach};

/// Settings of Kafka 4.3.1 that are taken and have no effect here.
const WITHOUT_EFFECT: &[&str] = &[
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "internal.segment.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "preallocate",
    "remote.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// What an append needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// True when the broker sets the records' timestamps.
    pub(crate) log_append_time: bool,
    pub(crate) max_message_bytes: usize,
    pub(crate) min_insync_replicas: usize,
    /// True when the cleanup policy has `compact`: records need keys then. Nothing is compacted.
    pub(crate) compacted: bool,
    /// True when the cleanup policy has `delete`.
    pub(crate) deletes: bool,
    pub(crate) retention_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicConfig {
    pub(crate) limits: Limits,
    /// What was set.
    pub(crate) set: BTreeMap<ByteString, ByteString>,
}

impl TopicConfig {
    pub(crate) fn new(config: &ClusterConfig) -> Self {
        Self {
            limits: Limits {
                log_append_time: false,
                max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(0),
                min_insync_replicas: 1,
                compacted: false,
                deletes: true,
                retention_bytes: config.retention_bytes,
            },
            set: BTreeMap::new(),
        }
    }

    /// Sets `name`. The error says what is wrong with it.
    pub(crate) fn set(&mut self, name: &ByteString, value: Option<&ByteString>) -> Result<(), String> {
        let Some(value) = value else {
            return Err(format!("Null value not supported for topic configs: {name}"));
        };
        let invalid = || format!("Invalid value {value} for configuration {name}");
        let limits = &mut self.limits;
        match &**name {
            "message.timestamp.type" => {
                limits.log_append_time = match &**value {
                    "LogAppendTime" => true,
                    "CreateTime" => false,
                    _ => return Err(invalid()),
                };
            }
            "max.message.bytes" => limits.max_message_bytes = value.parse().map_err(|_| invalid())?,
            "min.insync.replicas" => {
                let count = value.parse().ok().filter(|count| *count >= 1);
                limits.min_insync_replicas = count.ok_or_else(invalid)?;
            }
            "cleanup.policy" => {
                let policies = || value.split(',').map(str::trim);
                if !policies().all(|policy| matches!(policy, "delete" | "compact")) {
                    return Err(invalid());
                }
                limits.compacted = policies().any(|policy| policy == "compact");
                limits.deletes = policies().any(|policy| policy == "delete");
            }
            "retention.bytes" => {
                let bytes: i64 = value.parse().map_err(|_| invalid())?;
                // -1 is "no bound".
                limits.retention_bytes = u64::try_from(bytes).ok();
            }
            other if WITHOUT_EFFECT.contains(&other) => {}
            _ => return Err(format!("Unknown topic config name: {name}")),
        }
        self.set.insert(name.detached(), value.detached());
        Ok(())
    }
}
