//! Settings of a producer.

mod names;
mod values;

use std::{collections::BTreeMap, fmt, time::Duration};

use milena_producer::{Acks, Partitioner, ProducerConfig};
use milena_protocol::{records::Codec, wire::ByteString};

use self::names::Setting;
use super::{
    Flavor, PropertiesError, PropertiesOf, PropertyProblem, consumer, environment,
    names::{self as shared, Handle, Meaning, Named, Sorted},
    owned, put,
};
use crate::{ProducerBuilder, TransactionalProducerBuilder};

pub(super) use self::names::own;

/// Settings of a producer that were written for another client, from its file, a map, or the environment.
///
/// Nothing is ignored. Each property is a setting of the builder, or about something else and then in [`left`](Self::left),
/// or refused with the reason and what to do:
///
/// | setting | Java | librdkafka |
/// |---|---|---|
/// | [`acks`](ProducerBuilder::acks) | `acks` | `request.required.acks`, `acks` |
/// | [`idempotence`](ProducerBuilder::idempotence) | `enable.idempotence` | the same |
/// | [`linger`](ProducerBuilder::linger) | `linger.ms` | `queue.buffering.max.ms`, `linger.ms` |
/// | [`batch_size`](ProducerBuilder::batch_size) | `batch.size` | `batch.size` |
/// | [`buffer_memory`](ProducerBuilder::buffer_memory) | `buffer.memory` | `queue.buffering.max.kbytes` |
/// | [`max_request_size`](ProducerBuilder::max_request_size) | `max.request.size` | `message.max.bytes` |
/// | [`max_in_flight`](ProducerBuilder::max_in_flight) | `max.in.flight.requests.per.connection` | that, `max.in.flight` |
/// | [`compression`](ProducerBuilder::compression) | `compression.type`, `compression.gzip.level`, `compression.zstd.level` | `compression.codec`, `compression.type`, `compression.level` |
/// | [`request_timeout`](ProducerBuilder::request_timeout) | `request.timeout.ms` | `request.timeout.ms` |
/// | [`delivery_timeout`](ProducerBuilder::delivery_timeout) | `delivery.timeout.ms` | `message.timeout.ms`, `delivery.timeout.ms` |
/// | [`retry_backoff`](ProducerBuilder::retry_backoff) | `retry.backoff.ms`, `retry.backoff.max.ms` | the same |
/// | [`max_block`](ProducerBuilder::max_block) | `max.block.ms` | |
/// | [`partitioner`](ProducerBuilder::partitioner) | `partitioner.class`, `partitioner.ignore.keys` | `partitioner` |
/// | [`adaptive_partitioning`](ProducerBuilder::adaptive_partitioning) | `partitioner.adaptive.partitioning.enable` | |
/// | [`partition_availability_timeout`](ProducerBuilder::partition_availability_timeout) | `partitioner.availability.timeout.ms` | |
/// | [`prefer_rack`](ProducerBuilder::prefer_rack) | `client.rack` with `partitioner.rack.aware` | |
/// | [`transaction_timeout`](TransactionalProducerBuilder::transaction_timeout) | `transaction.timeout.ms` | the same |
///
/// `transactional.id` has to be that of the builder. `acks` of 1 or 0 turn idempotence off unless that is asked for, too, which is
/// refused. `retries` is taken when it says *without end*: the delivery timeout ends them.
///
/// What is not named stays as the builder has it, **not** as the other client would have it, with one exception: who names
/// librdkafka's properties and no `partitioner` has to choose one, or [`ProducerBuilder::build`] refuses. librdkafka's
/// default, `consistent_random`, places keys by CRC-32, Milena's and Java's by murmur2, and with either guess the records of
/// a key might go to another partition than before. `partitioner=consistent_random` goes on as it was; so does
/// [`ProducerBuilder::partitioner`], called after [`ProducerBuilder::properties`].
///
/// About other things, and left, are:
/// - the cluster and connections: `bootstrap.servers`, `metadata.broker.list`, `client.id`, `client.rack`,
///   `client.dns.lookup`, `security.*`, `ssl.*`, `sasl.*`, `https.ca.*`, `socket.*`, `connections.max.idle.ms`,
///   `reconnect.backoff.*`, `metadata.*`, `topic.metadata.*`, `broker.*`, `api.version.*`, sizes of buffers;
/// - keys and values, which are bytes here: `key.serializer`, `value.serializer`, `schema.registry.*`, `basic.auth.*`,
///   `auto.register.schemas`, `use.latest.version`;
/// - measuring and logging: `metric.reporters`, `metrics.*`, `statistics.interval.ms`, `debug`, `log_level`, `log.*`.
///
/// Names of consumers have no effect and are refused; one file for everything is read by
/// [`ClientProperties`](crate::ClientProperties) and handed on with [`ClientProperties::producer`](crate::ClientProperties::producer).
///
/// # Example
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// # let file = format!("# of the order service
/// # bootstrap.servers = {}
/// # key.serializer = org.apache.kafka.common.serialization.StringSerializer
/// # linger.ms = 10
/// # compression.type = snappy
/// # ", broker.bootstrap());
/// use milena::{Client, Flavor, ProducerProperties, Record};
///
/// // let file = std::fs::read_to_string("producer.properties")?;
/// let properties = ProducerProperties::parse(Flavor::Java, &file)?;
/// let bootstrap = properties.left().get("bootstrap.servers").ok_or("no bootstrap servers")?;
///
/// let client = Client::connect(bootstrap).await?;
/// let producer = client.producer().properties(&properties)?.build()?;
/// producer.send(Record::new("orders").key("cust-1").value("{}")).await?;
/// # Ok(())
/// # }
/// ```
///
/// What can't be taken is named, all at once:
/// ```
/// use milena::{Flavor, ProducerProperties};
///
/// let named = [("linger.ms", "10ms"), ("batch.sise", "16384"), ("batch.num.messages", "500")];
/// let error = ProducerProperties::from_pairs(Flavor::Librdkafka, named).unwrap_err();
/// assert_eq!(error.to_string(), "the producer's properties can't be taken:
/// - batch.sise is no setting of librdkafka's producer; did you mean batch.size? Correct or remove it
/// - batch.num.messages has no effect: batches are bounded in bytes, by batch.size; remove it
/// - linger.ms is \"10ms\"; it is a number of milliseconds from 0 to 900000, without a unit");
/// ```
#[derive(Clone)]
pub struct ProducerProperties {
    settings: Settings,
    left: BTreeMap<String, String>,
}

/// What the properties set. `None` was not named.
#[derive(Clone, Debug, Default)]
struct Settings {
    acks: Option<Acks>,
    idempotence: Option<bool>,
    linger: Option<Duration>,
    batch_size: Option<usize>,
    buffer_memory: Option<usize>,
    max_request_size: Option<usize>,
    max_in_flight: Option<usize>,
    codec: Option<Codec>,
    request_timeout: Option<Duration>,
    delivery_timeout: Option<Duration>,
    retry_initial: Option<Duration>,
    retry_max: Option<Duration>,
    max_block: Option<Duration>,
    partitioner: Option<Partitioner>,
    adaptive_partitioning: Option<bool>,
    /// Without a value it is turned off.
    availability_timeout: Option<Option<Duration>>,
    prefer_rack: Option<ByteString>,
    transactional_id: Option<String>,
    transaction_timeout: Option<Duration>,
}

impl ProducerProperties {
    /// Reads the text of a file: with [`Flavor::Java`] what `java.util.Properties` reads, escapes and lines that go on
    /// included; with [`Flavor::Librdkafka`], which has no format of its own, lines of `name=value` with comments by `#`, in
    /// which a backslash is a backslash.
    ///
    /// # Errors
    /// All that can't be read or taken.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, PropertiesError> {
        let pairs = PropertiesOf::Producer.taken(flavor.read(text))?;
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
        let pairs: Vec<_> = owned(pairs).collect();
        // Where the client is concerns its consumers, too.
        let rack = pairs.iter().find(|(name, _)| name == "client.rack").cloned();
        let Sorted { given, mut left, mut problems } = shared::sort::<Names>(flavor, pairs);
        left.extend(rack);
        let settings = given.read(&mut problems);
        PropertiesError::unless_empty(PropertiesOf::Producer, problems)?;
        Ok(Self { settings, left })
    }

    /// Takes the variables of this process whose names begin with `prefix` and a low line: with the prefix `ORDERS`,
    /// `ORDERS_LINGER_MS` is `linger.ms`. See [`ClientProperties::from_environment`](crate::ClientProperties::from_environment).
    ///
    /// # Errors
    /// All that can't be taken, which includes variables with the prefix that are no settings.
    pub fn from_environment(flavor: Flavor, prefix: &str) -> Result<Self, PropertiesError> {
        Self::from_pairs(flavor, environment::own(PropertiesOf::Producer, prefix)?)
    }

    /// The properties that are about other things than the producer, for whoever they are about. Their values, passwords
    /// perhaps, are not in any error or `Debug` output.
    #[must_use]
    pub fn left(&self) -> &BTreeMap<String, String> {
        &self.left
    }

    /// The id for [`Client::transactional_producer`](crate::Client::transactional_producer), if there is one
    /// (`transactional.id`).
    #[must_use]
    pub fn transactional_id(&self) -> Option<&str> {
        self.settings.transactional_id.as_deref()
    }
}

/// What is known to a producer.
struct Names;

impl Handle for Names {
    type Setting = Setting;

    const OF: PropertiesOf = PropertiesOf::Producer;
    const LEFT_PREFIXES: &'static [&'static str] = shared::LEFT_PREFIXES;

    fn known(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
        let consumers = consumer::own(flavor).map(|(name, _)| (name, Meaning::Nothing(CONSUMERS)));
        own(flavor).chain(shared::left()).chain(consumers)
    }
}

const CONSUMERS: &str = "it is about consumers; remove it";

impl fmt::Debug for ProducerProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Among what is left may be passwords.
        let left: Vec<&String> = self.left.keys().collect();
        f.debug_struct("ProducerProperties").field("settings", &self.settings).field("left", &left).finish()
    }
}

impl Settings {
    fn apply(&self, config: &mut ProducerConfig, max_block: &mut Duration) -> Result<(), PropertiesError> {
        self.fit_transactions(config.transactional_id.as_ref())
            .map_err(|problem| PropertiesError::of(PropertiesOf::Producer, vec![problem]))?;
        put(&mut config.acks, self.acks);
        put(&mut config.idempotence, self.idempotence);
        put(&mut config.linger, self.linger);
        put(&mut config.batch_size, self.batch_size);
        put(&mut config.buffer_memory, self.buffer_memory);
        put(&mut config.max_request_size, self.max_request_size);
        put(&mut config.max_in_flight, self.max_in_flight);
        put(&mut config.codec, self.codec);
        put(&mut config.request_timeout, self.request_timeout);
        put(&mut config.delivery_timeout, self.delivery_timeout);
        put(&mut config.retry_backoff.initial, self.retry_initial);
        put(&mut config.retry_backoff.max, self.retry_max);
        put(max_block, self.max_block);
        put(&mut config.partitioner, self.partitioner.clone());
        put(&mut config.adaptive_partitioning, self.adaptive_partitioning);
        put(&mut config.partition_availability_timeout, self.availability_timeout);
        put(&mut config.partitioner_rack, self.prefer_rack.clone().map(Some));
        put(&mut config.transaction_timeout, self.transaction_timeout);
        Ok(())
    }

    /// Properties of a transactional producer don't make one without transactions, nor one of another id.
    fn fit_transactions(&self, of_builder: Option<&ByteString>) -> Result<(), PropertyProblem> {
        match (&self.transactional_id, of_builder) {
            (Some(id), builder) if builder.is_none_or(|builder| **builder != *id.as_str()) => {
                let builder = builder.map(ToString::to_string);
                Err(PropertyProblem::TransactionalId { id: id.clone(), builder })
            }
            (None, None) if self.transaction_timeout.is_some() => {
                let advice = "the producer has no transactions; remove it";
                Err(PropertyProblem::NoEffect { name: "transaction.timeout.ms".to_owned(), advice })
            }
            _ => Ok(()),
        }
    }
}

impl ProducerBuilder {
    /// Sets what the properties name. What is called after this goes before it.
    ///
    /// # Errors
    /// When they are those of a transactional producer. Whether the settings go together is found by
    /// [`build`](Self::build), and so is that a partitioner has to be chosen: see [`ProducerProperties`].
    pub fn properties(mut self, properties: &ProducerProperties) -> Result<Self, PropertiesError> {
        properties.settings.apply(&mut self.config, &mut self.max_block)?;
        Ok(self)
    }
}

impl TransactionalProducerBuilder {
    /// As [`ProducerBuilder::properties`]. The builder's id stands: get it from [`ProducerProperties::transactional_id`].
    ///
    /// # Errors
    /// When they name another transactional id.
    pub fn properties(mut self, properties: &ProducerProperties) -> Result<Self, PropertiesError> {
        self.builder = self.builder.properties(properties)?;
        Ok(self)
    }
}

#[cfg(test)]
pub(super) mod tests;
