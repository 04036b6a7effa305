//! What each name is about.
//!
//! The names are those of Kafka's Java client 4.3.1 (`ProducerConfig`, besides two of KIP-1123) and of librdkafka 2.15
//! (CONFIGURATION.md); a test holds the tables against both lists.

use super::Flavor;

/// A setting of Milena's producer that has a name elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    Acks,
    Adaptive,
    AvailabilityTimeout,
    BatchSize,
    BufferBytes,
    BufferKbytes,
    Compression,
    DeliveryTimeout,
    GzipLevel,
    Idempotence,
    IgnoreKeys,
    Level,
    Linger,
    Lz4Level,
    MaxBlock,
    MaxInFlight,
    MaxRequestSize,
    Partitioner,
    Rack,
    RackAware,
    RequestTimeout,
    RetryInitial,
    RetryMax,
    TransactionTimeout,
    TransactionalId,
    ZstdLevel,
}

/// What a name is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// A setting of the producer.
    Setting(Setting),
    /// Something else than the producer: handed back to the caller.
    Left,
    /// Milena does what this value says and nothing else.
    Only(&'static str, &'static str),
    /// Nothing in Milena; what to do about it.
    Nothing(&'static str),
}

use Meaning::{Left, Nothing, Only};
use Setting as S;

const fn set(setting: Setting) -> Meaning {
    Meaning::Setting(setting)
}

/// What `name` is about among the names of `flavor`.
pub(super) fn meaning(flavor: Flavor, name: &str) -> Option<Meaning> {
    let of_prefix = || LEFT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some(Left);
    known(flavor).find(|(known, _)| *known == name).map(|(_, meaning)| meaning).or_else(of_prefix)
}

/// A known name that `name` may have been meant to be: the same but for its punctuation, behind a prefix, or with a slip.
pub(super) fn near(flavor: Flavor, name: &str) -> Option<&'static str> {
    let bare = |name: &str| {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
    };
    let wanted = bare(name);
    let distance = |known: &str| {
        let is_behind = name.strip_suffix(known).is_some_and(|prefix| prefix.ends_with('.'));
        if is_behind { 0 } else { strsim::osa_distance(&wanted, &bare(known)) }
    };
    let nearest = known(flavor).map(|(known, _)| (distance(known), known)).min()?;
    // One slip for every six letters that are begun.
    (nearest.0 <= wanted.len().div_ceil(6)).then_some(nearest.1)
}

fn known(flavor: Flavor) -> impl Iterator<Item = (&'static str, Meaning)> {
    let own = match flavor {
        Flavor::Java => JAVA,
        Flavor::Librdkafka => LIBRDKAFKA,
    };
    let consumers = CONSUMERS.iter().map(|name| (*name, Nothing("it is about consumers; remove it")));
    own.iter().chain(BOTH).copied().chain(LEFT.iter().map(|name| (*name, Left))).chain(consumers)
}

const NO_CLASSES: &str = "Milena runs no Java class; remove it";
const RETRIES: &str = "retries end with delivery.timeout.ms, by time and not by number; remove it";
const IN_BYTES: &str = "what waits is bounded in bytes, by queue.buffering.max.kbytes; remove it";
const TO_CALLERS: &str = "each record's Delivery tells what became of it; remove it";
const DOES_NOT: &str = "Milena does not do that; remove it or set it to false";
const METRICS: &str = "Milena pushes no metrics (KIP-714); remove it or set it to false";

const BOTH: &[(&str, Meaning)] = &[
    ("acks", set(S::Acks)),
    ("batch.size", set(S::BatchSize)),
    ("client.rack", set(S::Rack)),
    ("compression.type", set(S::Compression)),
    ("delivery.timeout.ms", set(S::DeliveryTimeout)),
    ("enable.idempotence", set(S::Idempotence)),
    ("enable.metrics.push", Only("false", METRICS)),
    ("linger.ms", set(S::Linger)),
    ("max.in.flight.requests.per.connection", set(S::MaxInFlight)),
    ("request.timeout.ms", set(S::RequestTimeout)),
    ("retries", Only("2147483647", RETRIES)),
    ("retry.backoff.max.ms", set(S::RetryMax)),
    ("retry.backoff.ms", set(S::RetryInitial)),
    ("transaction.timeout.ms", set(S::TransactionTimeout)),
    ("transactional.id", set(S::TransactionalId)),
];

const JAVA: &[(&str, Meaning)] = &[
    ("buffer.memory", set(S::BufferBytes)),
    ("compression.gzip.level", set(S::GzipLevel)),
    ("compression.lz4.level", set(S::Lz4Level)),
    ("compression.zstd.level", set(S::ZstdLevel)),
    ("config.providers", Only("", NO_CLASSES)),
    ("interceptor.classes", Only("", NO_CLASSES)),
    ("max.block.ms", set(S::MaxBlock)),
    ("max.request.size", set(S::MaxRequestSize)),
    ("partitioner.adaptive.partitioning.enable", set(S::Adaptive)),
    ("partitioner.availability.timeout.ms", set(S::AvailabilityTimeout)),
    ("partitioner.class", set(S::Partitioner)),
    ("partitioner.ignore.keys", set(S::IgnoreKeys)),
    ("partitioner.rack.aware", set(S::RackAware)),
    ("transaction.two.phase.commit.enable", Only("false", DOES_NOT)),
];

const LIBRDKAFKA: &[(&str, Meaning)] = &[
    ("batch.num.messages", Nothing("batches are bounded in bytes, by batch.size; remove it")),
    ("builtin.features", Nothing("every codec and TLS are there; remove it")),
    ("compression.codec", set(S::Compression)),
    ("compression.level", set(S::Level)),
    ("default_topic_conf", Nothing("settings are the same for every topic; remove it")),
    ("delivery.report.only.error", Nothing(TO_CALLERS)),
    ("enable.gapless.guarantee", Only("false", "a gap is told by the Delivery of its records; remove it")),
    ("enable.random.seed", Nothing("use ClientBuilder::seed; remove it")),
    ("enabled_events", Nothing(TO_CALLERS)),
    ("interceptors", Nothing("there are none; remove it")),
    ("internal.termination.signal", Nothing("no thread waits for one; remove it")),
    ("max.in.flight", set(S::MaxInFlight)),
    ("message.copy.max.bytes", Nothing("a record is copied once, into its batch; remove it")),
    ("message.max.bytes", set(S::MaxRequestSize)),
    ("message.send.max.retries", Only("2147483647", RETRIES)),
    ("message.timeout.ms", set(S::DeliveryTimeout)),
    ("msg_order_cmp", Nothing("records go in their order; remove it")),
    ("opaque", Nothing(TO_CALLERS)),
    ("partitioner", set(S::Partitioner)),
    ("plugin.library.paths", Nothing("Milena loads no libraries; remove it")),
    ("produce.offset.report", Nothing(TO_CALLERS)),
    ("queue.buffering.backpressure.threshold", Nothing("linger.ms and batch.size decide alone; remove it")),
    ("queue.buffering.max.kbytes", set(S::BufferKbytes)),
    ("queue.buffering.max.messages", Nothing(IN_BYTES)),
    ("queue.buffering.max.ms", set(S::Linger)),
    ("queuing.strategy", Only("fifo", "records go in their order; remove it")),
    ("request.required.acks", set(S::Acks)),
    ("socket.timeout.ms", Nothing("request.timeout.ms is how long a broker may take to answer; use that")),
    ("sticky.partitioning.linger.ms", Nothing("a partition is kept for a batch, not for a time; remove it")),
    ("topic.blacklist", Nothing("only topics that are asked for are known; remove it")),
];

/// Names about other things than the producer.
const LEFT: &[&str] = &[
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "auto.register.schemas",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "client.dns.lookup",
    "client.id",
    "connections.max.idle.ms",
    "debug",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "key.serializer",
    "log.connection.close",
    "log.queue",
    "log.thread.name",
    "log_level",
    "metadata.broker.list",
    "metadata.max.age.ms",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "metric.reporters",
    "receive.buffer.bytes",
    "receive.message.max.bytes",
    "security.protocol",
    "security.providers",
    "send.buffer.bytes",
    "ssl_ca",
    "ssl_certificate",
    "ssl_engine_callback_data",
    "ssl_key",
    "statistics.interval.ms",
    "use.latest.version",
    "value.serializer",
];

/// The same for whole families.
const LEFT_PREFIXES: &[&str] = &[
    "basic.auth.",
    "https.ca.",
    "metrics.",
    "reconnect.backoff.",
    "sasl.",
    "schema.registry.",
    "socket.",
    "ssl.",
    "topic.metadata.",
];

const CONSUMERS: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "default.api.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "exclude.internal.topics",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "key.deserializer",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
    "value.deserializer",
];
