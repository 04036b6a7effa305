//! What counts nothing, for a build without the feature `metrics`.

use std::time::Instant;

use milena_cluster::TopicPartition;
use milena_connection::Observer;
use milena_consumer_group::{Consumer as Machine, Event, PartitionRecords};
use milena_producer::SettledBatch;
use milena_protocol::wire::ByteString;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {}

#[derive(Clone, Debug)]
pub(crate) struct Meters;

impl Meters {
    pub(crate) fn new(_: Bounds) -> Self {
        Self
    }

    pub(crate) fn observer() -> Option<Observer> {
        None
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ProducerMeters;

impl ProducerMeters {
    pub(crate) fn new(_: Meters) -> Self {
        Self
    }

    pub(crate) fn wants_batches() -> bool {
        false
    }

    #[inline]
    pub(crate) fn on_settled(&self, _: &SettledBatch) {}
}

#[derive(Debug)]
pub(crate) struct ConsumerMeters;

pub(crate) enum Lagging {}

impl ConsumerMeters {
    pub(crate) fn new(_: Meters, _: Option<ByteString>) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn on_taken(&self, _: &[PartitionRecords]) {}

    #[inline]
    pub(crate) fn lags_if_due(&self, _: &Machine, _: Instant) -> Option<Lagging> {
        None
    }

    pub(crate) fn on_lags(&self, lagging: Lagging) {
        match lagging {}
    }

    #[inline]
    pub(crate) fn on_lag(&self, _: &TopicPartition, _: Option<i64>) {}

    pub(crate) fn on_end(&self) {}

    #[inline]
    pub(crate) fn on_event(&self, _: &Event) {}
}
