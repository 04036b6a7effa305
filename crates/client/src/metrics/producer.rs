//! What a producer counts, batch by batch.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{Counter, Histogram, counter, histogram};
use milena_connection::now;
use milena_producer::{Certainty, ProduceError, ProduceFailure, SettledBatch};
use milena_protocol::wire::ByteString;

use super::{Meters, names};

/// Counts the batches of a producer. Its clones count together.
#[derive(Clone)]
pub(crate) struct ProducerMeters {
    meters: Meters,
    /// No more than there are names of topics, and one for the rest.
    topics: Arc<Mutex<BTreeMap<ByteString, Topic>>>,
}

/// Looked up once.
struct Topic {
    label: ByteString,
    produced: Counter,
    duration: Histogram,
    size: Histogram,
    records: Histogram,
    queue_duration: Histogram,
    retries: Counter,
}

impl ProducerMeters {
    pub(crate) fn new(meters: Meters) -> Self {
        Self { meters, topics: Arc::default() }
    }

    /// Whether the machine is to tell of each batch.
    pub(crate) fn wants_batches() -> bool {
        true
    }

    /// It is known what became of a batch.
    pub(crate) fn on_settled(&self, batch: &SettledBatch) {
        let topic = &batch.partition.topic;
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(topic) {
            return known.count(batch);
        }
        let label = self.meters.label(topic);
        topics.entry(label.clone()).or_insert_with(|| Topic::new(label)).count(batch);
    }
}

impl fmt::Debug for ProducerMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerMeters")
    }
}

impl Topic {
    fn new(label: ByteString) -> Self {
        let topic = || label.to_string();
        Self {
            produced: counter!(names::PRODUCED, "topic" => topic()),
            duration: histogram!(names::PRODUCE_DURATION, "topic" => topic()),
            size: histogram!(names::BATCH_SIZE, "topic" => topic()),
            records: histogram!(names::BATCH_RECORDS, "topic" => topic()),
            queue_duration: histogram!(names::QUEUE_DURATION, "topic" => topic()),
            retries: counter!(names::RETRIES, "topic" => topic()),
            label,
        }
    }

    fn count(&self, batch: &SettledBatch) {
        if let (Some(sent), Some(bytes)) = (batch.sent, batch.bytes) {
            self.size.record(bytes as f64);
            self.records.record(batch.records as f64);
            self.queue_duration.record(sent.saturating_duration_since(batch.opened));
            self.retries.increment(batch.resends.into());
        }
        match &batch.result {
            Ok(_) => {
                self.produced.increment(batch.records);
                self.duration.record(now().saturating_duration_since(batch.opened));
            }
            Err(error) => {
                let (outcome, cause) = (outcome(error), cause(error));
                let topic = self.label.to_string();
                let failed =
                    counter!(names::FAILED, "topic" => topic, "outcome" => outcome, "cause" => cause);
                failed.increment(batch.records);
            }
        }
    }
}

fn outcome(error: &ProduceError) -> &'static str {
    match error.certainty {
        Certainty::NotWritten => "not_written",
        Certainty::MaybeWritten => "possibly_written",
    }
}

fn cause(error: &ProduceError) -> &'static str {
    match error.cause {
        ProduceFailure::Refused { .. } => "refused",
        ProduceFailure::TooLarge { .. } => "too_large",
        ProduceFailure::DeliveryTimeout { .. } => "delivery_timeout",
        ProduceFailure::Desynchronized => "desynchronized",
        ProduceFailure::Unsupported(_) => "unsupported",
        ProduceFailure::Compression(_) => "compression",
        ProduceFailure::Aborted => "aborted",
        ProduceFailure::Closed => "closed",
        _ => "other",
    }
}
