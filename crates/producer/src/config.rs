//! The producer's settings.

use std::{collections::BTreeMap, time::Duration};

use milena_cluster::{Backoff, MetadataConfig};
use milena_protocol::{records::Codec, wire::ByteString};
use thiserror::Error;

use crate::{Acks, Partitioner};

/// How a producer batches, sends and gives up. The defaults are those of Kafka's Java client.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// How long an open batch waits for more records (`linger.ms`). More makes larger batches, which cost broker and
    /// client less a record, and each record waits up to that long.
    pub linger: Duration,
    /// The size at which a batch is closed, in bytes before compression (`batch.size`). More makes fewer requests and
    /// takes this much memory for every partition that is written to.
    pub batch_size: usize,
    /// The bytes all batches together may hold (`buffer.memory`), the ones on their way included. When they are used up
    /// the caller waits. The free part of one batch may go beyond.
    pub buffer_memory: usize,
    /// The largest request, and so the largest record, in bytes (`max.request.size`). Brokers and topics have limits
    /// of their own, 1 MiB by default.
    pub max_request_size: usize,
    /// Requests on their way to one broker (`max.in.flight.requests.per.connection`), 1 to 5 with
    /// [`idempotence`](Self::idempotence): a broker remembers five batches of a producer to tell a retry from a new batch.
    /// Without it there may be more, and a batch that is sent again comes behind those that were in flight with it: order
    /// is kept by 1 only.
    pub max_in_flight: usize,
    /// Who must have a batch before it is acknowledged (`acks`). Less than [`Acks::All`] needs
    /// [`idempotence`](Self::idempotence) to be off.
    pub acks: Acks,
    /// Whether batches have an id and numbers by which brokers tell a retry from a new batch (`enable.idempotence`). Without
    /// them a batch whose request was not answered may be in the log twice once it has been sent again, and retries may
    /// change the order unless [`max_in_flight`](Self::max_in_flight) is 1. It saves one request, for the id, when the
    /// producer begins.
    pub idempotence: bool,
    /// Whether a partition goes on, under a new producer id, when its broker misses what it had acknowledged. What was in flight
    /// is told of as possibly written, and later records may come behind a gap. By default the partition takes no more records:
    /// what is missing has to be looked into first. Java goes on.
    pub continue_when_desynchronized: bool,
    /// How the batches are compressed (`compression.type`).
    pub codec: Codec,
    /// Topics whose batches are compressed otherwise.
    pub topic_codecs: BTreeMap<ByteString, Codec>,
    /// How long a broker may take to answer (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// How long after it was accepted a record may still be acknowledged (`delivery.timeout.ms`). Retries end there.
    pub delivery_timeout: Duration,
    /// The waits between retries of a batch.
    pub retry_backoff: Backoff,
    /// How metadata is kept current.
    pub metadata: MetadataConfig,
    /// The name under which the producer has transactions (`transactional.id`); without one it is idempotent only. Of the
    /// producers with one id only the newest is not fenced.
    pub transactional_id: Option<ByteString>,
    /// After how long the coordinator aborts a transaction by itself (`transaction.timeout.ms`). More keeps readers of
    /// committed records waiting for longer when a producer dies. The producer refuses to commit after nine tenths of it.
    pub transaction_timeout: Duration,
    /// How long the coordinator is asked to commit or abort before the outcome counts as not known.
    pub transaction_end_timeout: Duration,
    /// How records that name no partition are placed (`partitioner.class`).
    pub partitioner: Partitioner,
    /// Whether, of the partitions that records without a key may go to, those with long queues come up less often
    /// (`partitioner.adaptive.partitioning.enable`, KIP-794). Without it a slow broker gets as much as a fast one.
    pub adaptive_partitioning: bool,
    /// For how long a leader may have batches to be sent and be sent none before records without a key go elsewhere
    /// (`partitioner.availability.timeout.ms`, KIP-794); never when `None`. Less fills fewer buffers for a broker that is
    /// gone, and takes a slow one for it sooner.
    pub partition_availability_timeout: Option<Duration>,
    /// Records without a key go to partitions whose leader is in this rack, as long as one of them keeps up (`client.rack`
    /// with `partitioner.rack.aware`, KIP-1123). It saves traffic between racks, and the partitions fill as unevenly as
    /// the clients are spread over the racks.
    pub partitioner_rack: Option<ByteString>,
    /// Whether an event tells of every batch that is settled.
    pub report_batches: bool,
    /// What random choices are drawn from: the spread of waits, the partitions of records without a key.
    pub seed: u64,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_size: 16 * 1024,
            buffer_memory: 32 << 20,
            max_request_size: 1 << 20,
            max_in_flight: 5,
            acks: Acks::All,
            idempotence: true,
            continue_when_desynchronized: false,
            codec: Codec::default(),
            topic_codecs: BTreeMap::new(),
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Backoff::DEFAULT,
            metadata: MetadataConfig::default(),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            transaction_end_timeout: Duration::from_secs(60),
            partitioner: Partitioner::default(),
            adaptive_partitioning: true,
            partition_availability_timeout: None,
            partitioner_rack: None,
            report_batches: false,
            seed: 0,
        }
    }
}

/// A setting that can't be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} is {value}; {rule}")]
pub struct InvalidConfig {
    /// The setting's name.
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it must be.
    pub rule: &'static str,
}

impl ProducerConfig {
    /// How the batches of a topic are compressed.
    pub(crate) fn codec_of(&self, topic: &str) -> Codec {
        self.topic_codecs.get(topic).copied().unwrap_or(self.codec)
    }

    /// Refuses settings that can't work together.
    ///
    /// # Errors
    /// The first setting that can't be.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let refuse = |setting, value: String, rule| Err(InvalidConfig { setting, value, rule });
        self.validate_guarantees()?;
        if self.batch_size == 0 {
            return refuse("batch_size", "0".to_owned(), "a batch takes at least a byte");
        }
        if self.max_request_size < 1024 || self.max_request_size > i32::MAX as usize / 2 {
            let rule = "a request takes from 1 KiB to 1 GiB";
            return refuse("max_request_size", self.max_request_size.to_string(), rule);
        }
        if self.buffer_memory < self.batch_size {
            let rule = "the memory must hold at least one batch";
            return refuse("buffer_memory", self.buffer_memory.to_string(), rule);
        }
        if self.delivery_timeout < self.linger.saturating_add(self.request_timeout) {
            let rule = "a delivery may take at least linger and request_timeout together";
            return refuse("delivery_timeout", format!("{:?}", self.delivery_timeout), rule);
        }
        if self.transactional_id.as_ref().is_some_and(|id| id.is_empty()) {
            return refuse(
                "transactional_id",
                "empty".to_owned(),
                "a transactional id has at least a letter",
            );
        }
        if matches!(self.partitioner, Partitioner::Unchosen) {
            let rule = "librdkafka's default, consistent_random, places keys by CRC-32 and Java's by murmur2: choose one, or the \
                        records of a key may move to another partition";
            return refuse("partitioner", "not chosen".to_owned(), rule);
        }
        let longest = Duration::from_millis(i32::MAX as u64);
        if self.transaction_timeout < Duration::from_millis(10) || self.transaction_timeout > longest {
            let rule = "a transaction takes from 10 ms to 24 days";
            return refuse("transaction_timeout", format!("{:?}", self.transaction_timeout), rule);
        }
        Ok(())
    }

    /// What acks, idempotence and transactions ask of each other.
    fn validate_guarantees(&self) -> Result<(), InvalidConfig> {
        let refuse = |setting, value: String, rule| Err(InvalidConfig { setting, value, rule });
        let is_transactional = self.transactional_id.is_some();
        if self.acks != Acks::All && (self.idempotence || is_transactional) {
            let rule = if is_transactional {
                "a transaction has its records acknowledged by all replicas in sync"
            } else {
                "an idempotent producer has its batches acknowledged by all replicas in sync: turn idempotence off \
                 for less"
            };
            return refuse("acks", self.acks.to_string(), rule);
        }
        if !self.idempotence && is_transactional {
            return refuse(
                "idempotence",
                "off".to_owned(),
                "a producer with a transactional id is idempotent",
            );
        }
        if self.idempotence && !(1..=5).contains(&self.max_in_flight) {
            let rule = "an idempotent producer has 1 to 5 requests in flight";
            return refuse("max_in_flight", self.max_in_flight.to_string(), rule);
        }
        if self.max_in_flight == 0 {
            return refuse("max_in_flight", "0".to_owned(), "a producer has at least 1 request in flight");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        let good = ProducerConfig::default();
        assert_eq!(good.validate(), Ok(()));
        let plain = ProducerConfig { idempotence: false, ..good.clone() };
        let transactional = ProducerConfig { transactional_id: Some("payments".into()), ..good.clone() };
        assert_eq!(transactional.validate(), Ok(()));
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            assert_eq!(ProducerConfig { acks, max_in_flight: 100, ..plain.clone() }.validate(), Ok(()));
        }
        for (bad, message) in [
            (
                ProducerConfig { acks: Acks::Leader, ..good.clone() },
                "acks is 1; an idempotent producer has its batches acknowledged by all replicas in sync: turn idempotence off \
                 for less",
            ),
            (
                ProducerConfig { acks: Acks::None, ..transactional.clone() },
                "acks is 0; a transaction has its records acknowledged by all replicas in sync",
            ),
            (
                ProducerConfig { acks: Acks::Leader, idempotence: false, ..transactional.clone() },
                "acks is 1; a transaction has its records acknowledged by all replicas in sync",
            ),
            (
                ProducerConfig { idempotence: false, ..transactional },
                "idempotence is off; a producer with a transactional id is idempotent",
            ),
            (
                ProducerConfig { max_in_flight: 0, ..plain },
                "max_in_flight is 0; a producer has at least 1 request in flight",
            ),
            (
                ProducerConfig { max_in_flight: 6, ..good.clone() },
                "max_in_flight is 6; an idempotent producer has 1 to 5 requests in flight",
            ),
            (
                ProducerConfig { buffer_memory: 1, ..good.clone() },
                "buffer_memory is 1; the memory must hold at least one batch",
            ),
            (
                ProducerConfig { delivery_timeout: Duration::from_secs(1), ..good.clone() },
                "delivery_timeout is 1s; a delivery may take at least linger and request_timeout together",
            ),
        ] {
            assert_eq!(bad.validate().unwrap_err().to_string(), message);
        }
    }
}
