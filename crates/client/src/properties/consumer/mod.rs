//! Settings of a consumer.

mod duration;
mod names;
mod values;

use std::{collections::BTreeMap, fmt, time::Duration};

use milena_consumer_group::{Assignor, AutoOffsetReset, ConsumerConfig, GroupProtocol, IsolationLevel};
use milena_protocol::wire::ByteString;

use self::names::Setting;
use super::{
    Flavor, PropertiesError, PropertiesOf, PropertyProblem, environment,
    names::{self as shared, Handle, Meaning, Named, Sorted},
    owned, producer, put,
};
use crate::{ConsumerBuilder, consumer::Habits};

pub(super) use self::names::own;

/// Settings of a consumer that were written for another client, from its file, a map, or the environment.
///
/// Nothing is ignored. Each property is a setting of the builder, or about something else and then in [`left`](Self::left),
/// or refused with the reason and what to do:
///
/// | setting | Java | librdkafka |
/// |---|---|---|
/// | [`Client::consumer`](crate::Client::consumer) | `group.id` | the same |
/// | [`auto_offset_reset`](ConsumerBuilder::auto_offset_reset) | `auto.offset.reset` | the same, with `smallest`, `largest`, … |
/// | [`auto_commit`](ConsumerBuilder::auto_commit) | `enable.auto.commit`, `auto.commit.interval.ms` | those, `auto.commit.enable` |
/// | [`isolation_level`](ConsumerBuilder::isolation_level) | `isolation.level` | the same |
/// | [`group_protocol`](ConsumerBuilder::group_protocol) | `group.protocol` | the same |
/// | [`assignors`](ConsumerBuilder::assignors) | `partition.assignment.strategy`, by classes | the same, by names |
/// | [`server_assignor`](ConsumerBuilder::server_assignor) | `group.remote.assignor` | the same |
/// | [`group_instance_id`](ConsumerBuilder::group_instance_id) | `group.instance.id` | the same |
/// | [`client_rack`](ConsumerBuilder::client_rack) | `client.rack` | the same |
/// | [`session_timeout`](ConsumerBuilder::session_timeout) | `session.timeout.ms` | the same |
/// | [`heartbeat_interval`](ConsumerBuilder::heartbeat_interval) | `heartbeat.interval.ms` | the same |
/// | [`max_poll_interval`](ConsumerBuilder::max_poll_interval) | `max.poll.interval.ms` | the same |
/// | [`max_poll_records`](ConsumerBuilder::max_poll_records) | `max.poll.records` | |
/// | [`fetch_min_bytes`](ConsumerBuilder::fetch_min_bytes) | `fetch.min.bytes` | the same |
/// | [`fetch_max_bytes`](ConsumerBuilder::fetch_max_bytes) | `fetch.max.bytes` | the same |
/// | [`fetch_max_wait`](ConsumerBuilder::fetch_max_wait) | `fetch.max.wait.ms` | `fetch.wait.max.ms` |
/// | [`max_partition_fetch_bytes`](ConsumerBuilder::max_partition_fetch_bytes) | `max.partition.fetch.bytes` | that, `fetch.message.max.bytes` |
/// | [`max_buffered_bytes`](ConsumerBuilder::max_buffered_bytes) | | `queued.max.messages.kbytes` |
/// | [`check_crcs`](ConsumerBuilder::check_crcs) | `check.crcs` | the same |
/// | [`request_timeout`](ConsumerBuilder::request_timeout) | `request.timeout.ms` | `socket.timeout.ms` |
/// | how long a commit is tried | `default.api.timeout.ms` | |
/// | the waits between tries | `retry.backoff.ms`, `retry.backoff.max.ms` | the same |
///
/// `group.id` has to be that of the builder: get it from [`group_id`](Self::group_id).
///
/// What is not named stays as the builder has it, **not** as the other client would have it. These defaults differ, so whoever relies
/// on them has to name them:
///
/// | property | Java | librdkafka | Milena |
/// |---|---|---|---|
/// | `enable.auto.commit` | `true` | `true` | off: [`Consumer::commit`](crate::Consumer::commit) does |
/// | `isolation.level` | `read_uncommitted` | `read_committed` | read uncommitted |
/// | `group.protocol` | `classic` | `classic` | KIP-848 where the cluster has it |
/// | `partition.assignment.strategy` | range, cooperative-sticky | range, roundrobin | range, cooperative-sticky |
/// | `check.crcs` | `true` | `false` | checked |
///
/// Left are the names that [`ProducerProperties`](crate::ProducerProperties) leaves, and `key.deserializer` and
/// `value.deserializer`. Names of producers have no effect and are refused; one file for everything is read by
/// [`ClientProperties`](crate::ClientProperties) and handed on with [`ClientProperties::consumer`](crate::ClientProperties::consumer).
///
/// # Example
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// # let client = milena::Client::connect(broker.bootstrap()).await?;
/// use milena::{ConsumerProperties, Flavor};
///
/// let file = "group.id=billing\nauto.offset.reset=earliest\nenable.auto.commit=true\nfetch.min.bytes=1000\n";
/// let properties = ConsumerProperties::parse(Flavor::Java, file)?;
/// let group = properties.group_id().ok_or("no group.id")?;
/// let consumer = client.consumer(group).properties(&properties)?.subscribe(["orders"]).build()?;
/// # consumer.close(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
///
/// What can't be taken is named, all at once:
/// ```
/// use milena::{ConsumerProperties, Flavor};
///
/// let named = [("max.poll.record", "10"), ("auto.commit.interval.ms", "1000"), ("fetch.min.bytes", "1k")];
/// let error = ConsumerProperties::from_pairs(Flavor::Java, named).unwrap_err();
/// assert_eq!(error.to_string(), "the consumer's properties can't be taken:
/// - max.poll.record is no setting of Java's consumer; did you mean max.poll.records? Correct or remove it
/// - auto.commit.interval.ms has no effect: Milena commits by itself only with enable.auto.commit=true; add that, or remove it
/// - fetch.min.bytes is \"1k\"; it is a number of bytes from 0 to 2147483647, without a unit");
/// ```
#[derive(Clone)]
pub struct ConsumerProperties {
    settings: Settings,
    left: BTreeMap<String, String>,
}

/// What the properties set. `None` was not named.
#[derive(Clone, Debug, Default)]
struct Settings {
    group_id: Option<ByteString>,
    group_protocol: Option<GroupProtocol>,
    group_instance_id: Option<ByteString>,
    offset_reset: Option<AutoOffsetReset>,
    /// Without a value it is turned off.
    auto_commit: Option<Option<Duration>>,
    isolation_level: Option<IsolationLevel>,
    assignors: Option<Vec<Assignor>>,
    server_assignor: Option<ByteString>,
    client_rack: Option<ByteString>,
    fetch_min_bytes: Option<i32>,
    fetch_max_bytes: Option<i32>,
    fetch_max_wait: Option<Duration>,
    max_partition_fetch_bytes: Option<i32>,
    max_buffered_bytes: Option<usize>,
    max_poll_records: Option<usize>,
    max_poll_interval: Option<Duration>,
    session_timeout: Option<Duration>,
    heartbeat_interval: Option<Duration>,
    check_crcs: Option<bool>,
    request_timeout: Option<Duration>,
    commit_timeout: Option<Duration>,
    retry_initial: Option<Duration>,
    retry_max: Option<Duration>,
}

/// What is known to a consumer.
struct Names;

impl Handle for Names {
    type Setting = Setting;

    const OF: PropertiesOf = PropertiesOf::Consumer;
    const LEFT_PREFIXES: &'static [&'static str] = shared::LEFT_PREFIXES;

    fn known(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
        let producers = producer::own(flavor).map(|(name, _)| (name, Meaning::Nothing(PRODUCERS)));
        own(flavor).chain(shared::left()).chain(producers)
    }
}

const PRODUCERS: &str = "it is about producers; remove it";

impl ConsumerProperties {
    /// Reads the text of a file, as [`ProducerProperties::parse`](crate::ProducerProperties::parse) does.
    ///
    /// # Errors
    /// All that can't be read or taken.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, PropertiesError> {
        let pairs = PropertiesOf::Consumer.taken(flavor.read(text))?;
        Self::from_pairs(flavor, pairs)
    }

    /// Takes names and values, of a map or whatever has pairs. A name may come twice if its value is the same.
    ///
    /// # Errors
    /// All that can't be taken.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        flavor: Flavor,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, PropertiesError> {
        let Sorted { given, left, mut problems } = shared::sort::<Names>(flavor, owned(pairs));
        let settings = given.read(&mut problems);
        PropertiesError::unless_empty(PropertiesOf::Consumer, problems)?;
        Ok(Self { settings, left })
    }

    /// Takes the variables of this process whose names begin with `prefix` and a low line: with the prefix `ORDERS`,
    /// `ORDERS_GROUP_ID` is `group.id`. See [`ClientProperties::from_environment`](crate::ClientProperties::from_environment).
    ///
    /// # Errors
    /// All that can't be taken, which includes variables with the prefix that are no settings.
    pub fn from_environment(flavor: Flavor, prefix: &str) -> Result<Self, PropertiesError> {
        Self::from_pairs(flavor, environment::own(PropertiesOf::Consumer, prefix)?)
    }

    /// The properties that are about other things than the consumer, for whoever they are about. Their values, passwords
    /// perhaps, are not in any error or `Debug` output.
    #[must_use]
    pub fn left(&self) -> &BTreeMap<String, String> {
        &self.left
    }

    /// The group for [`Client::consumer`](crate::Client::consumer), if there is one (`group.id`).
    #[must_use]
    pub fn group_id(&self) -> Option<&str> {
        self.settings.group_id.as_deref()
    }
}

impl fmt::Debug for ConsumerProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Among what is left may be passwords.
        let left: Vec<&String> = self.left.keys().collect();
        f.debug_struct("ConsumerProperties").field("settings", &self.settings).field("left", &left).finish()
    }
}

impl Settings {
    fn apply(&self, config: &mut ConsumerConfig, habits: &mut Habits) -> Result<(), PropertyProblem> {
        self.fit_group(config.group_id.as_ref())?;
        put(&mut config.group_protocol, self.group_protocol);
        put(&mut config.group_instance_id, self.group_instance_id.clone().map(Some));
        put(&mut config.auto_offset_reset, self.offset_reset);
        put(&mut habits.auto_commit, self.auto_commit);
        put(&mut config.isolation_level, self.isolation_level);
        put(&mut config.assignors, self.assignors.clone());
        put(&mut config.server_assignor, self.server_assignor.clone().map(Some));
        put(&mut config.client_rack, self.client_rack.clone().map(Some));
        put(&mut config.fetch_min_bytes, self.fetch_min_bytes);
        put(&mut config.fetch_max_bytes, self.fetch_max_bytes);
        put(&mut config.fetch_max_wait, self.fetch_max_wait);
        put(&mut config.max_partition_fetch_bytes, self.max_partition_fetch_bytes);
        put(&mut config.max_buffered_bytes, self.max_buffered_bytes);
        put(&mut habits.max_poll_records, self.max_poll_records);
        put(&mut config.max_poll_interval, self.max_poll_interval);
        put(&mut config.session_timeout, self.session_timeout);
        put(&mut config.heartbeat_interval, self.heartbeat_interval);
        put(&mut config.check_crcs, self.check_crcs);
        put(&mut config.request_timeout, self.request_timeout);
        put(&mut config.commit_timeout, self.commit_timeout);
        put(&mut config.retry_backoff.initial, self.retry_initial);
        put(&mut config.retry_backoff.max, self.retry_max);
        Ok(())
    }

    /// Properties of one group make no consumer of another one, nor of none.
    fn fit_group(&self, of_builder: Option<&ByteString>) -> Result<(), PropertyProblem> {
        match &self.group_id {
            Some(id) if of_builder != Some(id) => Err(PropertyProblem::GroupId {
                id: id.to_string(),
                builder: of_builder.map(ToString::to_string),
            }),
            _ => Ok(()),
        }
    }
}

impl ConsumerBuilder {
    /// Sets what the properties name. What is called after this goes before it. The builder's group stands: get it from
    /// [`ConsumerProperties::group_id`].
    ///
    /// # Errors
    /// When they name another group. Whether the settings go together is found by [`build`](Self::build).
    pub fn properties(mut self, properties: &ConsumerProperties) -> Result<Self, PropertiesError> {
        let applied = properties.settings.apply(&mut self.config, &mut self.habits);
        applied.map_err(|problem| PropertiesError::of(PropertiesOf::Consumer, vec![problem]))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
