//! What each name of a consumer's settings is about.
//!
//! The names are those of Kafka's Java client 4.3.1 (`ConsumerConfig`) and of librdkafka 2.15 (CONFIGURATION.md); a test holds
//! the tables against both lists.

use crate::properties::{
    Flavor,
    names::{METRICS, Meaning, NO_CLASSES, Named},
};

/// A setting of Milena's consumer that has a name elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::properties) enum Setting {
    Assignors,
    AutoCommit,
    AutoCommitInterval,
    CheckCrcs,
    CommitTimeout,
    FetchMaxBytes,
    FetchMaxWait,
    FetchMinBytes,
    GroupId,
    GroupInstanceId,
    GroupProtocol,
    HeartbeatInterval,
    IsolationLevel,
    MaxBuffered,
    MaxPartitionFetch,
    MaxPollInterval,
    MaxPollRecords,
    OffsetReset,
    Rack,
    RequestTimeout,
    RetryInitial,
    RetryMax,
    ServerAssignor,
    SessionTimeout,
}

use Meaning::{Left, Nothing, Only, Setting as set};
use Setting as S;

/// The names of consumers.
pub(in crate::properties) fn own(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
    flavor.either(JAVA, LIBRDKAFKA).iter().chain(BOTH).copied()
}

const NO_TOPICS: &str = "a consumer of Milena makes no topics; remove it or set it to false";
const NO_SHARES: &str = "Milena has no share groups (KIP-932); remove it";
const BY_POLL: &str = "Consumer::poll returns what there is; remove it";
const IN_GROUP: &str = "offsets are committed to the group; remove it";
const IN_BYTES: &str = "what waits is bounded in bytes, by queued.max.messages.kbytes; remove it";

const BOTH: &[Named<Setting>] = &[
    ("allow.auto.create.topics", Only("false", NO_TOPICS)),
    ("auto.commit.interval.ms", set(S::AutoCommitInterval)),
    ("auto.offset.reset", set(S::OffsetReset)),
    ("check.crcs", set(S::CheckCrcs)),
    ("client.rack", set(S::Rack)),
    ("enable.auto.commit", set(S::AutoCommit)),
    ("enable.metrics.push", Only("false", METRICS)),
    ("fetch.max.bytes", set(S::FetchMaxBytes)),
    ("fetch.min.bytes", set(S::FetchMinBytes)),
    ("group.id", set(S::GroupId)),
    ("group.instance.id", set(S::GroupInstanceId)),
    ("group.protocol", set(S::GroupProtocol)),
    ("group.remote.assignor", set(S::ServerAssignor)),
    ("heartbeat.interval.ms", set(S::HeartbeatInterval)),
    ("isolation.level", set(S::IsolationLevel)),
    ("max.partition.fetch.bytes", set(S::MaxPartitionFetch)),
    ("max.poll.interval.ms", set(S::MaxPollInterval)),
    ("partition.assignment.strategy", set(S::Assignors)),
    ("retry.backoff.max.ms", set(S::RetryMax)),
    ("retry.backoff.ms", set(S::RetryInitial)),
    ("session.timeout.ms", set(S::SessionTimeout)),
];

const JAVA: &[Named<Setting>] = &[
    ("config.providers", Only("", NO_CLASSES)),
    ("default.api.timeout.ms", set(S::CommitTimeout)),
    (
        "exclude.internal.topics",
        Only("true", "a pattern that is to leave topics out says so itself; remove it"),
    ),
    ("fetch.max.wait.ms", set(S::FetchMaxWait)),
    ("interceptor.classes", Only("", NO_CLASSES)),
    ("internal.throw.on.fetch.stable.offset.unsupported", Only("false", "it is internal to Java; remove it")),
    ("key.deserializer", Left),
    ("max.poll.records", set(S::MaxPollRecords)),
    ("request.timeout.ms", set(S::RequestTimeout)),
    ("share.acknowledgement.mode", Nothing(NO_SHARES)),
    ("share.acquire.mode", Nothing(NO_SHARES)),
    ("value.deserializer", Left),
];

const LIBRDKAFKA: &[Named<Setting>] = &[
    ("auto.commit.enable", set(S::AutoCommit)),
    ("builtin.features", Nothing("every codec and TLS are there; remove it")),
    ("consume.callback.max.messages", Nothing("use ConsumerBuilder::max_poll_records; remove it")),
    ("coordinator.query.interval.ms", Nothing("a coordinator that moves is looked for at once; remove it")),
    ("default_topic_conf", Nothing("settings are the same for every topic; remove it")),
    (
        "enable.auto.offset.store",
        Only(
            "true",
            "what is to be committed is said to Consumer::commit_offsets, without auto-commit; remove it",
        ),
    ),
    (
        "enable.partition.eof",
        Only("false", "Consumer::lag tells how far it is to the end; remove it or set it to false"),
    ),
    ("enable.random.seed", Nothing("use ClientBuilder::seed; remove it")),
    ("enabled_events", Nothing(BY_POLL)),
    ("fetch.error.backoff.ms", Nothing("retry.backoff.ms is for fetches, too; use that")),
    ("fetch.message.max.bytes", set(S::MaxPartitionFetch)),
    (
        "fetch.queue.backoff.ms",
        Nothing("a fetch goes out as soon as there is room for its answer; remove it"),
    ),
    ("fetch.wait.max.ms", set(S::FetchMaxWait)),
    ("group.protocol.type", Only("consumer", "a group is one of consumers; remove it")),
    ("interceptors", Nothing("there are none; remove it")),
    ("internal.termination.signal", Nothing("no thread waits for one; remove it")),
    ("offset.store.method", Only("broker", IN_GROUP)),
    ("offset.store.path", Nothing(IN_GROUP)),
    ("offset.store.sync.interval.ms", Nothing(IN_GROUP)),
    ("opaque", Nothing(BY_POLL)),
    ("plugin.library.paths", Nothing("Milena loads no libraries; remove it")),
    ("queued.max.messages.kbytes", set(S::MaxBuffered)),
    ("queued.min.messages", Nothing(IN_BYTES)),
    ("socket.timeout.ms", set(S::RequestTimeout)),
    ("topic.blacklist", Nothing("only topics that are asked for are read; remove it")),
];
