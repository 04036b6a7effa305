//! The settings of the brokers: what they were started with, and what was set since.
//!
//! Imitates Kafka 4.3.1: a topic's setting falls back to what was set of the broker, then of all brokers, then to what the
//! brokers were started with, then to Kafka's default.
//!
//! Leaves out: what is set of one broker alone is shown and has no effect, because a partition has one log for all brokers.

use std::collections::BTreeMap;

use milena_protocol::wire::ByteString;

use super::{BrokerId, ClusterConfig, settings::Setting, topic_config::Set};

/// Where a value comes from, with the number that DescribeConfigs has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Topic = 1,
    Broker = 2,
    AllBrokers = 3,
    Static = 4,
    Default = 5,
}

/// A value that a setting has, or would have if those before it were not set.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) name: ByteString,
    pub(crate) value: ByteString,
    pub(crate) source: Source,
}

#[derive(Debug)]
pub(crate) struct BrokerConfig {
    started_with: BTreeMap<&'static str, ByteString>,
    /// Under `None` is what was set of all brokers.
    set: BTreeMap<Option<BrokerId>, Set>,
}

impl BrokerConfig {
    pub(crate) fn new(config: &ClusterConfig) -> Self {
        let retention_bytes =
            config.retention_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let number = |number: i64| ByteString::from(number.to_string());
        let started_with = BTreeMap::from([
            ("auto.create.topics.enable", ByteString::from(config.auto_create_topics.to_string())),
            ("group.max.size", ByteString::from(config.max_group_size.to_string())),
            ("log.retention.bytes", number(retention_bytes)),
            ("message.max.bytes", number(config.max_message_bytes.into())),
            ("num.partitions", number(config.default_partitions.into())),
            (
                "transaction.max.timeout.ms",
                ByteString::from(config.transaction_max_timeout.as_millis().to_string()),
            ),
        ]);
        Self { started_with, set: BTreeMap::new() }
    }

    /// What was set of a broker, or of all.
    pub(crate) fn set_of(&self, broker: Option<BrokerId>) -> Set {
        self.set.get(&broker).cloned().unwrap_or_default()
    }

    pub(crate) fn replace(&mut self, broker: Option<BrokerId>, set: Set) {
        self.set.insert(broker, set);
    }

    /// The values that a topic's setting has from its brokers, as `broker` sees it: the first one holds.
    pub(crate) fn values(&self, setting: &Setting, broker: Option<BrokerId>) -> Vec<Value> {
        self.chain(setting.broker.unwrap_or(setting.name), setting.default, broker)
    }

    /// The values that a broker's setting has: the first one holds.
    pub(crate) fn chain(
        &self,
        name: &'static str,
        default: &'static str,
        broker: Option<BrokerId>,
    ) -> Vec<Value> {
        let set = |of: Option<BrokerId>| self.set.get(&of).and_then(|set| set.get(name)).cloned();
        let chain = [
            (Source::Broker, broker.and_then(|broker| set(Some(broker)))),
            (Source::AllBrokers, set(None)),
            (Source::Static, self.started_with.get(name).filter(|value| **value != default).cloned()),
            (Source::Default, Some(ByteString::from_static(default))),
        ];
        let found = chain.into_iter().filter_map(|(source, value)| Some((source, value?)));
        found.map(|(source, value)| Value { name: ByteString::from_static(name), value, source }).collect()
    }
}
