//! The settings that topics and brokers have: names, types, what a value may be, what it is by default.
//!
//! The topics' are all those of Kafka 4.3.1, with the broker's setting that each takes its default from. Of the brokers' own
//! there are only those that the cluster acts on.

use std::fmt::Display;

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// The broker's setting that stands behind it.
    pub(crate) broker: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
}

/// What values there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Boolean,
    /// One of these; of none, anything.
    Text(&'static [&'static str]),
    /// 32 bits, from here to there.
    Int(i32, i32),
    /// 64 bits, from here on.
    Long(i64),
    /// From 0 to 1.
    Ratio,
    /// Any of these, separated by commas; of none, anything.
    List(&'static [&'static str]),
}

const fn setting(name: &'static str, broker: &'static str, kind: Kind, default: &'static str) -> Setting {
    let broker = if broker.is_empty() { None } else { Some(broker) };
    Setting { name, broker, kind, default }
}

const MAX: i32 = i32::MAX;
const FOREVER: &str = "9223372036854775807";

/// What can be set of a topic.
pub(crate) const TOPIC: &[Setting] = &[
    setting("cleanup.policy", "log.cleanup.policy", Kind::List(&["compact", "delete"]), "delete"),
    setting("compression.gzip.level", "compression.gzip.level", Kind::Int(-1, 9), "-1"),
    setting("compression.lz4.level", "compression.lz4.level", Kind::Int(1, 17), "9"),
    setting(
        "compression.type",
        "compression.type",
        Kind::Text(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
    ),
    setting("compression.zstd.level", "compression.zstd.level", Kind::Int(-131_072, 22), "3"),
    setting("delete.retention.ms", "log.cleaner.delete.retention.ms", Kind::Long(0), "86400000"),
    setting("file.delete.delay.ms", "log.segment.delete.delay.ms", Kind::Long(0), "60000"),
    setting("flush.messages", "log.flush.interval.messages", Kind::Long(1), FOREVER),
    setting("flush.ms", "log.flush.interval.ms", Kind::Long(0), FOREVER),
    setting("follower.replication.throttled.replicas", "", Kind::List(&[]), ""),
    setting("index.interval.bytes", "log.index.interval.bytes", Kind::Int(0, MAX), "4096"),
    setting("leader.replication.throttled.replicas", "", Kind::List(&[]), ""),
    setting("local.retention.bytes", "log.local.retention.bytes", Kind::Long(-2), "-2"),
    setting("local.retention.ms", "log.local.retention.ms", Kind::Long(-2), "-2"),
    setting("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", Kind::Long(1), FOREVER),
    setting("max.message.bytes", "message.max.bytes", Kind::Int(0, MAX), "1048588"),
    setting("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", Kind::Long(0), "3600000"),
    setting("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", Kind::Long(0), FOREVER),
    setting(
        "message.timestamp.type",
        "log.message.timestamp.type",
        Kind::Text(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
    ),
    setting("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", Kind::Ratio, "0.5"),
    setting("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", Kind::Long(0), "0"),
    setting("min.insync.replicas", "min.insync.replicas", Kind::Int(1, MAX), "1"),
    setting("preallocate", "log.preallocate", Kind::Boolean, "false"),
    setting("remote.log.copy.disable", "", Kind::Boolean, "false"),
    setting("remote.log.delete.on.disable", "", Kind::Boolean, "false"),
    setting("remote.storage.enable", "", Kind::Boolean, "false"),
    setting("retention.bytes", "log.retention.bytes", Kind::Long(i64::MIN), "-1"),
    setting("retention.ms", "log.retention.ms", Kind::Long(-1), "604800000"),
    setting("segment.bytes", "log.segment.bytes", Kind::Int(1 << 20, MAX), "1073741824"),
    setting("segment.index.bytes", "log.index.size.max.bytes", Kind::Int(4, MAX), "10485760"),
    setting("segment.jitter.ms", "log.roll.jitter.ms", Kind::Long(0), "0"),
    setting("segment.ms", "log.roll.ms", Kind::Long(1), "604800000"),
    setting("unclean.leader.election.enable", "unclean.leader.election.enable", Kind::Boolean, "false"),
];

/// What of a broker can only be set before it starts.
pub(crate) const BROKER: &[Setting] = &[
    setting("advertised.listeners", "", Kind::List(&[]), ""),
    setting("auto.create.topics.enable", "", Kind::Boolean, "true"),
    setting("broker.id", "", Kind::Int(-1, MAX), "-1"),
    setting("default.replication.factor", "", Kind::Int(1, MAX), "1"),
    setting("group.max.size", "", Kind::Int(1, MAX), "2147483647"),
    setting("node.id", "", Kind::Int(0, MAX), ""),
    setting("num.partitions", "", Kind::Int(1, MAX), "1"),
    setting("transaction.max.timeout.ms", "", Kind::Int(1, MAX), "900000"),
];

impl Setting {
    /// The topic's setting of that name.
    pub(crate) fn of_topic(name: &str) -> Option<&'static Self> {
        TOPIC.iter().find(|setting| setting.name == name)
    }

    /// The topic's setting that the broker's setting of that name stands behind.
    pub(crate) fn behind(broker: &str) -> Option<&'static Self> {
        TOPIC.iter().find(|setting| setting.broker == Some(broker))
    }

    /// What is wrong with a value, in words.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let invalid =
            |why: &dyn Display| Err(format!("Invalid value {value} for configuration {}: {why}", self.name));
        let one_of = |known: &[&str], value: &str| known.is_empty() || known.contains(&value);
        match self.kind {
            Kind::Boolean => match value {
                "true" | "false" => Ok(()),
                _ => invalid(&"Expected value to be either true or false"),
            },
            Kind::Text(known) if one_of(known, value) => Ok(()),
            Kind::Text(known) => invalid(&format!("String must be one of: {}", known.join(", "))),
            Kind::Int(least, most) => match value.parse::<i32>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                Ok(_) => invalid(&format!("Value must be between {least} and {most}")),
                Err(_) => invalid(&"Not a number of type INT"),
            },
            Kind::Long(least) => match value.parse::<i64>() {
                Ok(number) if number >= least => Ok(()),
                Ok(_) => invalid(&format!("Value must be at least {least}")),
                Err(_) => invalid(&"Not a number of type LONG"),
            },
            Kind::Ratio => match value.parse::<f64>() {
                Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
                Ok(_) => invalid(&"Value must be between 0 and 1"),
                Err(_) => invalid(&"Not a number of type DOUBLE"),
            },
            Kind::List(known) => {
                let fits = list(value).all(|item| one_of(known, item));
                if fits { Ok(()) } else { invalid(&format!("List must be of: {}", known.join(", "))) }
            }
        }
    }
}

impl Kind {
    /// The number that DescribeConfigs has for it.
    pub(crate) const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text(_) => 2,
            Self::Int(..) => 3,
            Self::Long(_) => 5,
            Self::Ratio => 6,
            Self::List(_) => 7,
        }
    }
}

/// The items of a list.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}
