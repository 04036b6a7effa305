//! A leader that is told to leave the assignment as it is.
//!
//! A static member that comes back with its subscription unchanged causes no rebalance; if it leads, it is to skip the assignment
//! (KIP-814). It does not know then what that rests on, and goes on watching all the same: topics that grow later are
//! noticed by the counts of now. What changed while it was away can be seen only if it is alone, for then all there is should be
//! its own.

use std::{collections::BTreeSet, time::Instant};

use milena_cluster::TopicPartition;
use milena_protocol::{messages::JoinGroupResponse, wire::ByteString};

use super::{ClassicMember, State, partition_count};
use crate::{assignors::PartitionCounts, membership::subscription::decode_subscription, shared::Shared};

/// What such a leader has to find out.
#[derive(Debug)]
pub(super) struct Skipped {
    /// The topics of all members.
    topics: BTreeSet<ByteString>,
    is_alone: bool,
}

impl Skipped {
    pub(super) fn of(response: &JoinGroupResponse) -> Self {
        let subscriptions = response.members.iter().map(|member| decode_subscription(&member.metadata));
        Self {
            topics: subscriptions.flat_map(|subscription| subscription.topics).collect(),
            is_alone: response.members.len() == 1,
        }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &ByteString> {
        self.topics.iter()
    }
}

impl ClassicMember {
    /// Takes up watching as soon as all topics are known; joins again when not all of them is assigned that should be.
    pub(super) fn watch_skipped(&mut self, now: Instant, shared: &mut Shared) {
        let (Some(skipped), State::Stable { .. }) = (&self.skipped, &self.state) else { return };
        let metadata = shared.metadata();
        let is_known = |topic: &ByteString| {
            metadata.topics.contains_key(topic) || metadata.topic_errors.contains_key(topic)
        };
        if !skipped.topics.iter().all(is_known) {
            return;
        }
        let counts: PartitionCounts =
            skipped.topics.iter().map(|topic| (topic.clone(), partition_count(&metadata, topic))).collect();
        let partitions = counts.iter().flat_map(|(topic, count)| {
            (0..*count).map(move |partition| TopicPartition::new(topic.clone(), partition))
        });
        let is_incomplete =
            skipped.is_alone && partitions.collect::<BTreeSet<_>>() != *self.ownership.owned();
        self.skipped = None;
        self.assigned_by = Some(counts);
        if is_incomplete {
            self.assigned_by = None;
            self.rejoin(now, shared);
        }
    }
}
