//! What a consumer counts, poll by poll.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use milena_cluster::{TopicPartition, later};
use milena_consumer_group::{Consumer as Machine, Event, PartitionRecords};
use milena_protocol::wire::ByteString;

use super::{Meters, lag::LagGauges, names};

/// How often the gauges of lag are set at most: a dashboard does not look more often.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// Counts what a consumer hands out, and how far it is behind. Its clones count together.
pub(crate) struct ConsumerMeters {
    meters: Meters,
    group: ByteString,
    /// No more than there are names of topics, and one for the rest.
    consumed: Mutex<BTreeMap<ByteString, Counter>>,
    lags: Mutex<Lags>,
}

struct Lags {
    gauges: LagGauges,
    due: Option<Instant>,
}

impl ConsumerMeters {
    pub(crate) fn new(meters: Meters, group: Option<ByteString>) -> Self {
        let lags = Lags { gauges: LagGauges::new(meters.clone()), due: None };
        Self { meters, group: group.unwrap_or_default(), consumed: Mutex::default(), lags: Mutex::new(lags) }
    }

    fn lags(&self) -> MutexGuard<'_, Lags> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records are handed out.
    pub(crate) fn on_taken(&self, taken: &[PartitionRecords]) {
        let mut consumed = self.consumed.lock().unwrap_or_else(PoisonError::into_inner);
        for records in taken {
            let (topic, count) = (&records.partition().topic, records.len() as u64);
            if let Some(counter) = consumed.get(topic) {
                counter.increment(count);
                continue;
            }
            let label = self.meters.label(topic);
            let counter = consumed.entry(label.clone()).or_insert_with(|| {
                let (topic, group) = (label.to_string(), self.group.to_string());
                counter!(names::CONSUMED, "topic" => topic, "consumer_group" => group)
            });
            counter.increment(count);
        }
    }

    /// The lags of a consumer, when its gauges are to be set again. It is called under the machine's lock.
    pub(crate) fn lags_if_due(&self, machine: &Machine, now: Instant) -> Option<Lagging> {
        let mut lags = self.lags();
        if lags.due.is_some_and(|due| now < due) {
            return None;
        }
        lags.due = Some(later(now, LAG_INTERVAL));
        drop(lags);
        let lag = |partition: TopicPartition| {
            let lag = machine.lag(&partition);
            (partition, lag)
        };
        Some(Lagging(machine.assignment().into_iter().map(lag).collect()))
    }

    /// Sets the gauges; those of partitions that are not there any more become NaN.
    pub(crate) fn on_lags(&self, Lagging(lagging): Lagging) {
        let mut lags = self.lags();
        lags.gauges.keep_only(|_, partition| lagging.contains_key(partition));
        for (partition, lag) in &lagging {
            match lag {
                Some(lag) => drop(lags.gauges.set(&self.group, partition, *lag)),
                None => lags.gauges.unset(&self.group, partition),
            }
        }
    }

    /// Somebody asked for the lag of a partition.
    pub(crate) fn on_lag(&self, partition: &TopicPartition, lag: Option<i64>) {
        if let Some(lag) = lag {
            self.lags().gauges.set(&self.group, partition, lag);
        }
    }

    /// The consumer is closed.
    pub(crate) fn on_end(&self) {
        self.lags().gauges.keep_only(|_, _| false);
    }

    pub(crate) fn on_event(&self, event: &Event) {
        let change = match event {
            Event::Assigned(_) => "assigned",
            Event::Revoked(_) => "revoked",
            Event::Lost(_) => "lost",
            _ => return,
        };
        let group = self.group.to_string();
        counter!(names::REBALANCES, "consumer_group" => group, "change" => change).increment(1);
    }
}

/// How far a consumer is behind in each of its partitions, if that is known.
pub(crate) struct Lagging(BTreeMap<TopicPartition, Option<i64>>);

impl fmt::Debug for ConsumerMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsumerMeters")
    }
}
