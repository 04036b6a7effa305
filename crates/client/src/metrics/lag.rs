//! The gauges of how far groups are behind.

use std::{collections::BTreeMap, fmt};

use metrics::{Gauge, gauge};
use milena_cluster::TopicPartition;
use milena_protocol::wire::ByteString;

use super::{Meters, names};

/// The gauges that one consumer or monitor has set. They are NaN once it is gone.
pub(super) struct LagGauges {
    meters: Meters,
    set: BTreeMap<(ByteString, TopicPartition), Set>,
}

struct Set {
    gauge: Gauge,
    is_known: bool,
}

impl LagGauges {
    pub(super) fn new(meters: Meters) -> Self {
        Self { meters, set: BTreeMap::new() }
    }

    /// Sets a gauge. False when there are too many of them.
    pub(super) fn set(&mut self, group: &ByteString, partition: &TopicPartition, lag: i64) -> bool {
        let key = (group.clone(), partition.clone());
        if let Some(set) = self.set.get_mut(&key) {
            set.gauge.set(lag as f64);
            set.is_known = true;
            return true;
        }
        if !self.meters.0.partitions.admits(&key) {
            if self.meters.0.partitions.is_to_be_told() {
                tracing::warn!(%group, %partition, "too many partitions for gauges of their lag: see metrics_partitions");
            }
            return false;
        }
        let gauge = gauge!(
            names::LAG,
            "topic" => partition.topic.to_string(),
            "partition" => partition.partition.to_string(),
            "consumer_group" => group.to_string(),
        );
        gauge.set(lag as f64);
        self.set.insert(key, Set { gauge, is_known: true });
        true
    }

    /// The others are not known any more.
    pub(super) fn keep_only(&mut self, is_known: impl Fn(&ByteString, &TopicPartition) -> bool) {
        self.set.retain(|(group, partition), set| {
            let stays = is_known(group, partition);
            if !stays {
                set.gauge.set(f64::NAN);
            }
            stays
        });
    }

    /// A lag that is not known, of a partition that has not gone.
    pub(super) fn unset(&mut self, group: &ByteString, partition: &TopicPartition) {
        if let Some(set) = self.set.get_mut(&(group.clone(), partition.clone()))
            && std::mem::take(&mut set.is_known)
        {
            set.gauge.set(f64::NAN);
        }
    }
}

impl Drop for LagGauges {
    fn drop(&mut self) {
        self.keep_only(|_, _| false);
    }
}

impl fmt::Debug for LagGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gauges", self.set.len())
    }
}
