//! What a client counts and measures, by the facade `metrics`.
//!
//! The application chooses who exports it: it installs a recorder, such as that of `metrics-exporter-prometheus`, **before**
//! it connects the client. What is looked up before there is a recorder stays without one. Without any recorder nothing is
//! kept.
//!
//! Counts and sums are made once for a batch, an answer or a call of `poll`, not for each record, and handles are kept for each
//! topic. So the values of two handles or two clients of one process add up under the same labels.
//!
//! # Names
//! These four are what dashboards and alarms of Kafka clients ask for:
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `kafka_messages_produced_total` | counter | `topic` | records that were acknowledged, or written to the connection with acks 0 |
//! | `kafka_messages_consumed_total` | counter | `topic`, `consumer_group` | records that were handed to the application |
//! | `kafka_produce_duration_seconds` | histogram | `topic` | from the first record of a batch being accepted to its acknowledgement; once a batch |
//! | `kafka_consumer_lag` | gauge | `topic`, `partition`, `consumer_group` | offsets between where a group is and the end of the partition |
//!
//! The others are Milena's own, and may change with its versions:
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `milena_producer_batch_size_bytes` | histogram | `topic` | bytes of a batch as it was sent, compressed |
//! | `milena_producer_batch_records` | histogram | `topic` | records of a batch that was sent |
//! | `milena_producer_queue_duration_seconds` | histogram | `topic` | from the first record of a batch being accepted to its first try |
//! | `milena_producer_retries_total` | counter | `topic` | batches that were sent again, counted once they are settled |
//! | `milena_producer_records_failed_total` | counter | `topic`, `outcome`, `cause` | records that were accepted and given up |
//! | `milena_consumer_rebalances_total` | counter | `consumer_group`, `change` | times that partitions were `assigned`, `revoked` or `lost` |
//! | `milena_request_duration_seconds` | histogram | `api` | from a request being handed to its connection to the answer; a Fetch may wait for records |
//! | `milena_throttle_duration_seconds` | histogram | `api` | for how long brokers asked the client to be quiet (KIP-219) |
//! | `milena_connections_open` | gauge | | connections that are ready for requests |
//! | `milena_lag_partitions_without_commit` | gauge | `consumer_group` | partitions that a group has committed nothing for, by a [`LagMonitor`] |
//! | `milena_lag_checks_failed_total` | counter | `consumer_group` | groups that a [`LagMonitor`] could not ask |
//!
//! `outcome` is `not_written` or `possibly_written`, as [`Certainty`](crate::Certainty) has it; `cause` is the name of the
//! [`ProduceFailure`](crate::ProduceFailure) in small letters; `api` is Kafka's name, such as `Produce`. A consumer without a
//! group has an empty `consumer_group`.
//!
//! # How many series there can be
//! A topic has labels of its own as long as there are no more than
//! [`metrics_topics`](crate::ClientBuilder::metrics_topics), 1,000 unless told otherwise; what comes later counts under
//! `topic="(other)"`. `kafka_consumer_lag` is set for as many partitions of groups as
//! [`metrics_partitions`](crate::ClientBuilder::metrics_partitions) says, 10,000; the lag of others is in no gauge, and a warning
//! is logged once. No label comes from a record, or from a setting but group ids.
//!
//! # Lag
//! A [`Consumer`](crate::Consumer) sets the gauges of what it reads, once a second at most while it is polled, and when asked for
//! its [`lag`](crate::Consumer::lag): from its position, which may be ahead of what is committed. A [`LagMonitor`] asks brokers,
//! for groups of anybody: from what is committed, which Kafka's tools show. Where both are for one group in one process the
//! later value stands.
//!
//! A partition of which nothing is known has no gauge. One that had a gauge, and is not the consumer's any more, or is gone, or
//! of which nothing is known now, has **NaN**: not 0, which would say that nothing is left to read, and not its last value,
//! which nobody would see to be old. In PromQL `kafka_consumer_lag >= 0` leaves NaN out; `sum` needs that.
//! An exporter that drops idle series (`idle_timeout` of `metrics-exporter-prometheus`) drops these, too.
//!
//! # Conventions
//! Names and units are Prometheus' (base units, `_total`). The messaging conventions of OpenTelemetry have names of their own; an
//! exporter of the application may translate.

mod bounded;
mod consumer;
mod lag;
mod monitor;
mod names;
mod producer;
mod requests;

use std::sync::Arc;

use milena_cluster::TopicPartition;
use milena_connection::Observer;
use milena_protocol::wire::ByteString;

use bounded::Bounded;

pub use monitor::{LagMonitor, LagMonitorBuilder, LagRound};
pub use names::{NAMES, describe};

pub(crate) use consumer::ConsumerMeters;
pub(crate) use producer::ProducerMeters;

/// Stands for all topics that came too late to have labels.
pub const OTHER_TOPICS: &str = "(other)";

/// How many series there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { topics: 1_000, partitions: 10_000 }
    }
}

/// What the handles of a client count with.
#[derive(Clone, Debug)]
pub(crate) struct Meters(Arc<Known>);

/// What has labels.
#[derive(Debug)]
struct Known {
    topics: Bounded<ByteString>,
    /// Groups with partitions that have a gauge.
    partitions: Bounded<(ByteString, TopicPartition)>,
}

impl Meters {
    pub(crate) fn new(bounds: Bounds) -> Self {
        describe();
        let Bounds { topics, partitions } = bounds;
        Self(Arc::new(Known { topics: Bounded::new(topics), partitions: Bounded::new(partitions) }))
    }

    /// Counts what connections do.
    pub(crate) fn observer() -> Option<Observer> {
        Some(Observer::new(requests::RequestMeters::default()))
    }

    /// Under what name a topic is counted.
    fn label(&self, topic: &ByteString) -> ByteString {
        match self.0.topics.admits(topic) {
            true => topic.clone(),
            false => ByteString::from_static(OTHER_TOPICS),
        }
    }
}
