//! What each name of a producer's settings is about.
//!
//! The names are those of Kafka's Java client 4.3.1 (`ProducerConfig`, besides two of KIP-1123) and of librdkafka 2.15
//! (CONFIGURATION.md); a test holds the tables against both lists.

use crate::properties::{
    Flavor,
    names::{METRICS, Meaning, NO_CLASSES, Named},
};

/// A setting of Milena's producer that has a name elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::properties) enum Setting {
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

use Meaning::{Left, Nothing, Only, Setting as set};
use Setting as S;

/// The names of producers.
pub(in crate::properties) fn own(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
    flavor.either(JAVA, LIBRDKAFKA).iter().chain(BOTH).copied()
}

const RETRIES: &str = "retries end with delivery.timeout.ms, by time and not by number; remove it";
const IN_BYTES: &str = "what waits is bounded in bytes, by queue.buffering.max.kbytes; remove it";
const TO_CALLERS: &str = "each record's Delivery tells what became of it; remove it";
const DOES_NOT: &str = "Milena does not do that; remove it or set it to false";

const BOTH: &[Named<Setting>] = &[
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

const JAVA: &[Named<Setting>] = &[
    ("buffer.memory", set(S::BufferBytes)),
    ("compression.gzip.level", set(S::GzipLevel)),
    ("compression.lz4.level", set(S::Lz4Level)),
    ("compression.zstd.level", set(S::ZstdLevel)),
    ("config.providers", Only("", NO_CLASSES)),
    ("interceptor.classes", Only("", NO_CLASSES)),
    ("key.serializer", Left),
    ("max.block.ms", set(S::MaxBlock)),
    ("max.request.size", set(S::MaxRequestSize)),
    ("partitioner.adaptive.partitioning.enable", set(S::Adaptive)),
    ("partitioner.availability.timeout.ms", set(S::AvailabilityTimeout)),
    ("partitioner.class", set(S::Partitioner)),
    ("partitioner.ignore.keys", set(S::IgnoreKeys)),
    ("partitioner.rack.aware", set(S::RackAware)),
    ("transaction.two.phase.commit.enable", Only("false", DOES_NOT)),
    ("value.serializer", Left),
];

const LIBRDKAFKA: &[Named<Setting>] = &[
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
