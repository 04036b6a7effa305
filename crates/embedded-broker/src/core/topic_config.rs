//! The settings of a topic, and what an append needs to know of them.

use std::collections::BTreeMap;

use milena_protocol::{records::Compression, wire::ByteString};

use super::{
    broker_config::{BrokerConfig, Value},
    recompress::compression_named,
    settings::{Setting, list},
};

/// What an append needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// True when the broker sets the records' timestamps.
    pub(crate) log_append_time: bool,
    pub(crate) max_message_bytes: usize,
    /// How far behind the broker's clock a record's timestamp may lie, in ms.
    pub(crate) timestamp_before_max: i64,
    /// How far ahead of it.
    pub(crate) timestamp_after_max: i64,
    /// No batch is longer than a segment.
    pub(crate) segment_bytes: usize,
    pub(crate) min_insync_replicas: usize,
    /// True when the cleanup policy has `compact`: records need keys then.
    pub(crate) compacted: bool,
    /// True when the cleanup policy has `delete`.
    pub(crate) deletes: bool,
    pub(crate) retention_bytes: Option<u64>,
    /// How batches are compressed in the log: none when they stay as they come.
    pub(crate) compression: Option<Compression>,
    /// How long compaction keeps the tombstones that it has seen.
    pub(crate) delete_retention_ms: i64,
}

/// What was set, by name. Every value is one that its setting may have.
pub(crate) type Set = BTreeMap<ByteString, ByteString>;

#[derive(Clone, Debug)]
pub(crate) struct TopicConfig {
    pub(crate) limits: Limits,
    pub(crate) set: Set,
}

impl TopicConfig {
    pub(crate) fn new(set: Set, brokers: &BrokerConfig) -> Self {
        Self { limits: Limits::of(&set, brokers), set }
    }

    /// Takes over what the brokers' settings have become.
    pub(crate) fn refresh(&mut self, brokers: &BrokerConfig) {
        self.limits = Limits::of(&self.set, brokers);
    }
}

impl Limits {
    fn of(set: &Set, brokers: &BrokerConfig) -> Self {
        let value = |name: &str| match (set.get(name), Setting::of_topic(name)) {
            (Some(value), _) => value.clone(),
            (None, Some(setting)) => brokers
                .values(setting, None)
                .into_iter()
                .next()
                .map(|Value { value, .. }| value)
                .unwrap_or_default(),
            (None, None) => ByteString::new(),
        };
        // What is kept has been checked; a number that is out of range here is no bound.
        let size = |name: &str| value(name).parse().unwrap_or(usize::MAX);
        let millis = |name: &str| value(name).parse().unwrap_or(i64::MAX);
        let policy = value("cleanup.policy");
        Self {
            log_append_time: value("message.timestamp.type") == "LogAppendTime",
            max_message_bytes: size("max.message.bytes"),
            timestamp_before_max: millis("message.timestamp.before.max.ms"),
            timestamp_after_max: millis("message.timestamp.after.max.ms"),
            segment_bytes: size("segment.bytes"),
            min_insync_replicas: value("min.insync.replicas").parse().unwrap_or(1),
            compacted: list(&policy).any(|policy| policy == "compact"),
            deletes: list(&policy).any(|policy| policy == "delete"),
            // -1 is "no bound".
            retention_bytes: value("retention.bytes").parse().ok(),
            compression: compression_named(&value("compression.type")),
            delete_retention_ms: millis("delete.retention.ms"),
        }
    }
}
