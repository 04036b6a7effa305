//! DescribeConfigs: the settings of topics and brokers, and where each value comes from.
//!
//! Imitates Kafka 4.3.1: a broker's settings are asked of that broker, those of all brokers together of any; a broker shows
//! what it has, while "all brokers" shows only what was set.
//!
//! Leaves out: documentation; the settings of a broker that nothing here depends on; loggers, groups and client metrics; a
//! setting's second synonym (`log.retention.hours` and its like).

use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse,
        describe_configs::{
            DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
            DescribeConfigsSynonym,
        },
    },
    wire::ByteString,
};

use super::{
    BrokerId, Cluster,
    broker_config::{Source, Value},
    create_topics::is_topic_name,
    dispatch::{Answer, Context},
    settings::{BROKER, Setting, TOPIC},
    topics::Topic,
};

/// The codes of the resources that have settings here.
pub(super) const TOPIC_RESOURCE: i8 = 2;
pub(super) const BROKER_RESOURCE: i8 = 4;

/// An error, and the same in words.
pub(super) type Refusal = (ErrorCode, String);

/// A setting with its values: the first one holds.
pub(super) struct Described {
    pub(super) name: &'static str,
    read_only: bool,
    kind: i8,
    values: Vec<Value>,
}

impl Cluster {
    pub(super) fn describe_configs(&self, cx: &Context, request: DescribeConfigsRequest) -> Answer {
        let DescribeConfigsRequest { resources, include_synonyms, .. } = request;
        let results = resources.into_iter().map(|resource| {
            let (error, message, described) = match self.settings_of(cx, &resource) {
                Ok(described) => (ErrorCode::NONE, None, described),
                Err((error, message)) => (error, Some(message.into()), Vec::new()),
            };
            let DescribeConfigsResource { resource_type, resource_name, configuration_keys, .. } = resource;
            // Without keys everything is meant, whether they are null or none.
            let keys = configuration_keys.filter(|keys| !keys.is_empty());
            let is_wanted =
                |it: &Described| keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key == it.name));
            let wanted = described.into_iter().filter(is_wanted);
            DescribeConfigsResult {
                error_code: error.0,
                error_message: message,
                resource_type,
                resource_name,
                configs: wanted.map(|described| described.result(include_synonyms)).collect(),
                ..DescribeConfigsResult::default()
            }
        });
        DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }.into()
    }

    fn settings_of(
        &self,
        cx: &Context,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<Described>, Refusal> {
        let name = &resource.resource_name;
        match resource.resource_type {
            TOPIC_RESOURCE if !is_topic_name(name) => {
                Err((ErrorCode::INVALID_TOPIC_EXCEPTION, format!("Topic name {name:?} is illegal")))
            }
            TOPIC_RESOURCE => match self.topics.named(name) {
                Some(topic) => Ok(self.topic_settings(cx.broker, topic)),
                None => Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new())),
            },
            BROKER_RESOURCE if name.is_empty() => Ok(self.settings_of_all_brokers()),
            BROKER_RESOURCE if name.parse() == Ok(cx.broker.0) => Ok(self.broker_settings(cx.broker)),
            BROKER_RESOURCE => {
                let message = format!(
                    "Unexpected broker id, expected {} or empty string, but received {name}",
                    cx.broker
                );
                Err((ErrorCode::INVALID_REQUEST, message))
            }
            other => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
        }
    }

    pub(super) fn topic_settings(&self, broker: BrokerId, topic: &Topic) -> Vec<Described> {
        let settings = TOPIC.iter().map(|setting| {
            let name = ByteString::from_static(setting.name);
            let set = topic.config.set.get(setting.name);
            let own = set.map(|value| Value { name, value: value.clone(), source: Source::Topic });
            let values = own.into_iter().chain(self.broker_config.values(setting, Some(broker))).collect();
            Described { name: setting.name, read_only: false, kind: setting.kind.code(), values }
        });
        settings.collect()
    }

    fn broker_settings(&self, broker: BrokerId) -> Vec<Described> {
        let dynamic = TOPIC.iter().filter_map(|setting| {
            let values = self.broker_config.values(setting, Some(broker));
            Some(Described { name: setting.broker?, read_only: false, kind: setting.kind.code(), values })
        });
        let fixed = BROKER.iter().map(|setting| {
            let mut values = self.broker_config.chain(setting.name, setting.default, None);
            if let Some(value) = self.own_value(broker, setting.name) {
                let name = ByteString::from_static(setting.name);
                values.insert(0, Value { name, value, source: Source::Static });
            }
            Described { name: setting.name, read_only: true, kind: setting.kind.code(), values }
        });
        let mut all: Vec<Described> = dynamic.chain(fixed).collect();
        all.sort_by_key(|described| described.name);
        all
    }

    /// What each broker was started with.
    fn own_value(&self, id: BrokerId, name: &str) -> Option<ByteString> {
        let broker = self.brokers.get(&id)?;
        match name {
            "node.id" | "broker.id" => Some(id.to_string().into()),
            "advertised.listeners" => Some(format!("PLAINTEXT://{}:{}", broker.host, broker.port).into()),
            "default.replication.factor" => Some(self.default_replication_factor().to_string().into()),
            _ => None,
        }
    }

    fn settings_of_all_brokers(&self) -> Vec<Described> {
        let set = self.broker_config.set_of(None);
        let settings = TOPIC.iter().filter_map(|setting| {
            let name = setting.broker?;
            set.contains_key(name).then(|| Described {
                name,
                read_only: false,
                kind: setting.kind.code(),
                values: self.broker_config.values(setting, None),
            })
        });
        settings.collect()
    }
}

impl Described {
    /// The value that holds, and where it comes from.
    pub(super) fn holding(&self) -> (Option<ByteString>, i8) {
        let Some(first) = self.values.first() else { return (None, Source::Default as i8) };
        let has_value = first.name != self.name || !is_unset(first);
        (has_value.then(|| first.value.clone()), first.source as i8)
    }

    fn result(self, with_synonyms: bool) -> DescribeConfigsResourceResult {
        let (value, config_source) = self.holding();
        let Self { name, read_only, kind, values } = self;
        let synonyms = values.into_iter().filter(|value| with_synonyms && !is_unset(value));
        let synonyms = synonyms.map(|Value { name, value, source }| DescribeConfigsSynonym {
            name,
            value: Some(value),
            source: source as i8,
            ..DescribeConfigsSynonym::default()
        });
        DescribeConfigsResourceResult {
            name: ByteString::from_static(name),
            value,
            read_only,
            config_source,
            synonyms: synonyms.collect(),
            config_type: kind,
            ..DescribeConfigsResourceResult::default()
        }
    }
}

/// Whether it is a default that the broker's setting does not have: there it is null, and another setting holds.
fn is_unset(value: &Value) -> bool {
    const UNSET: &[&str] =
        &["log.flush.interval.ms", "log.retention.ms", "log.roll.jitter.ms", "log.roll.ms"];
    value.source == Source::Default && UNSET.iter().any(|name| value.name == *name)
}

impl Setting {
    /// The topic's setting behind a resource's setting of that name.
    pub(super) fn of_resource(resource_type: i8, name: &str) -> Option<&'static Self> {
        if resource_type == TOPIC_RESOURCE { Self::of_topic(name) } else { Self::behind(name) }
    }
}
