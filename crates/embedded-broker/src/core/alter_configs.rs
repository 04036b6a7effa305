//! AlterConfigs and IncrementalAlterConfigs: the settings of topics and brokers, changed.
//!
//! Imitates Kafka 4.3.1: the older API says everything that is to be set, the newer one what changes (KIP-339), where items
//! can be put into lists and taken out of them. Each resource is changed whole or not at all, and counts at once.
//!
//! Leaves out: settings of brokers that are not defaults of topics, which are refused; loggers, groups and client metrics.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse, alter_configs, incremental_alter_configs,
    },
    wire::ByteString,
};

use super::{
    BrokerId, Cluster,
    describe_configs::{BROKER_RESOURCE, Refusal, TOPIC_RESOURCE},
    detach::Detach,
    dispatch::Answer,
    settings::{BROKER, Kind, Setting, list},
    topic_config::Set,
};

/// What has the settings.
enum Resource {
    Topic(ByteString),
    Broker(Option<BrokerId>),
}

/// What is done to a setting.
#[derive(Clone, Copy)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Cluster {
    pub(super) fn alter_configs(&mut self, request: AlterConfigsRequest) -> Answer {
        let repeated = repeated(request.resources.iter().map(|it| (it.resource_type, &it.resource_name)));
        let responses = request.resources.into_iter().map(|resource| {
            let (kind, name) = (resource.resource_type, &resource.resource_name);
            let changes =
                resource.configs.iter().map(|it| (Operation::Set as i8, &it.name, it.value.as_ref()));
            let changed = self.change(&repeated, kind, name, true, changes.collect());
            let (error, error_message) = self.keep(changed, request.validate_only);
            alter_configs::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message,
                resource_type: kind,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        });
        AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() }.into()
    }

    pub(super) fn incremental_alter_configs(&mut self, request: IncrementalAlterConfigsRequest) -> Answer {
        let repeated = repeated(request.resources.iter().map(|it| (it.resource_type, &it.resource_name)));
        let responses = request.resources.into_iter().map(|resource| {
            let (kind, name) = (resource.resource_type, &resource.resource_name);
            let changes =
                resource.configs.iter().map(|it| (it.config_operation, &it.name, it.value.as_ref()));
            let changed = self.change(&repeated, kind, name, false, changes.collect());
            let (error, error_message) = self.keep(changed, request.validate_only);
            incremental_alter_configs::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message,
                resource_type: kind,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        });
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }.into()
    }

    /// Sets a setting of a topic, or gives it its default back.
    pub(super) fn set_of_topic(
        &mut self,
        topic: &str,
        setting: &str,
        value: Option<&str>,
    ) -> Result<(), Refusal> {
        let operation = if value.is_some() { Operation::Set } else { Operation::Delete };
        let (name, value) = (setting.into(), value.map(ByteString::from));
        let changes = vec![(operation as i8, &name, value.as_ref())];
        let changed = self.change(&BTreeSet::new(), TOPIC_RESOURCE, &topic.into(), false, changes)?;
        self.keep(Ok(changed), false);
        Ok(())
    }

    /// What a resource's settings come to.
    fn change(
        &self,
        repeated: &BTreeSet<(i8, ByteString)>,
        kind: i8,
        name: &ByteString,
        replace: bool,
        changes: Vec<(i8, &ByteString, Option<&ByteString>)>,
    ) -> Result<(Resource, Set), Refusal> {
        let invalid = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
        if repeated.contains(&(kind, name.clone())) {
            return invalid(format!("Each resource must appear at most once: {name}"));
        }
        let mut seen = BTreeSet::new();
        if let Some((_, twice, _)) = changes.iter().find(|(_, setting, _)| !seen.insert(*setting)) {
            return invalid(format!("Error due to duplicate config keys: {twice}"));
        }
        let (resource, mut set) = self.resource(kind, name)?;
        if replace {
            set.clear();
        }
        for (operation, setting, value) in changes {
            let operation = Operation::from_wire(operation)?;
            apply(&mut set, kind, operation, setting, value, &self.default_list(&resource, setting))?;
        }
        Ok((resource, set))
    }

    fn resource(&self, kind: i8, name: &ByteString) -> Result<(Resource, Set), Refusal> {
        match kind {
            TOPIC_RESOURCE => {
                let unknown =
                    || (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("The topic '{name}' does not exist."));
                let topic = self.topics.named(name).ok_or_else(unknown)?;
                Ok((Resource::Topic(topic.name.clone()), topic.config.set.clone()))
            }
            BROKER_RESOURCE => {
                let broker =
                    if name.is_empty() { Ok(None) } else { name.parse().map(|id| Some(BrokerId(id))) };
                match broker {
                    Ok(broker) if broker.is_none_or(|id| self.brokers.contains_key(&id)) => {
                        Ok((Resource::Broker(broker), self.broker_config.set_of(broker)))
                    }
                    _ => Err((ErrorCode::INVALID_REQUEST, format!("No broker with id {name} found."))),
                }
            }
            other => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
        }
    }

    /// The list that a setting has when it is not set: items are put into and taken out of this one.
    fn default_list(&self, resource: &Resource, name: &str) -> ByteString {
        let setting = match resource {
            Resource::Topic(_) => Setting::of_topic(name),
            Resource::Broker(_) => Setting::behind(name),
        };
        let values = setting.map(|setting| self.broker_config.values(setting, None)).unwrap_or_default();
        values.into_iter().next().map(|value| value.value).unwrap_or_default()
    }

    fn keep(
        &mut self,
        changed: Result<(Resource, Set), Refusal>,
        validate_only: bool,
    ) -> (ErrorCode, Option<ByteString>) {
        match changed {
            Err((error, message)) => return (error, Some(message.into())),
            Ok(_) if validate_only => {}
            Ok((Resource::Topic(name), set)) => {
                if let Some(topic) = self.topics.named_mut(&name) {
                    topic.config.set = set;
                    topic.config.refresh(&self.broker_config);
                }
            }
            Ok((Resource::Broker(broker), set)) => {
                self.broker_config.replace(broker, set);
                for topic in self.topics.iter_mut() {
                    topic.config.refresh(&self.broker_config);
                }
            }
        }
        (ErrorCode::NONE, None)
    }
}

impl Operation {
    fn from_wire(code: i8) -> Result<Self, Refusal> {
        Ok(match code {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            other => {
                return Err((ErrorCode::UNKNOWN_SERVER_ERROR, format!("Unknown operation type {other}")));
            }
        })
    }
}

/// Checks a setting of a topic that is set, as CreateTopics does too.
pub(super) fn checked(
    kind: i8,
    name: &ByteString,
    value: Option<&ByteString>,
) -> Result<(ByteString, ByteString), Refusal> {
    let of = if kind == TOPIC_RESOURCE { "topic" } else { "broker" };
    if kind == BROKER_RESOURCE && BROKER.iter().any(|setting| *name == setting.name) {
        let message = format!("Cannot update these configs dynamically: Set({name})");
        return Err((ErrorCode::INVALID_REQUEST, message));
    }
    let unknown = || (ErrorCode::INVALID_CONFIG, format!("Unknown {of} config name: {name}"));
    let setting = Setting::of_resource(kind, name).ok_or_else(unknown)?;
    let value = value.ok_or_else(|| {
        (ErrorCode::INVALID_CONFIG, format!("Null value not supported for {of} configs: {name}"))
    })?;
    setting.check(value).map_err(|message| (ErrorCode::INVALID_CONFIG, message))?;
    Ok((name.detached(), value.detached()))
}

fn apply(
    set: &mut Set,
    kind: i8,
    operation: Operation,
    name: &ByteString,
    value: Option<&ByteString>,
    default: &ByteString,
) -> Result<(), Refusal> {
    if matches!(operation, Operation::Delete) {
        set.remove(name);
        return Ok(());
    }
    let Some(value) = value else {
        return Err((ErrorCode::INVALID_REQUEST, format!("Null value not supported for : {name}")));
    };
    let changed = match operation {
        Operation::Append | Operation::Subtract => {
            let setting = Setting::of_resource(kind, name);
            if setting.is_some_and(|setting| !matches!(setting.kind, Kind::List(_))) {
                let message =
                    format!("Can't append to or subtract from {name} because its type is not LIST.");
                return Err((ErrorCode::INVALID_CONFIG, message));
            }
            let mut items: Vec<&str> = list(set.get(name).unwrap_or(default)).collect();
            for item in list(value) {
                let at = items.iter().position(|known| *known == item);
                match (operation, at) {
                    (Operation::Append, None) => items.push(item),
                    (Operation::Subtract, Some(at)) => drop(items.remove(at)),
                    _ => {}
                }
            }
            Some(ByteString::from(items.join(",")))
        }
        Operation::Set | Operation::Delete => None,
    };
    let (name, value) = checked(kind, name, Some(changed.as_ref().unwrap_or(value)))?;
    set.insert(name, value);
    Ok(())
}

/// The resources that are there more than once.
fn repeated<'a>(resources: impl Iterator<Item = (i8, &'a ByteString)>) -> BTreeSet<(i8, ByteString)> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).map(|(kind, name)| (kind, name.clone())).collect()
}
