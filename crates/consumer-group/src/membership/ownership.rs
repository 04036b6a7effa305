//! What a member owns, and what it has been told to give up.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use milena_cluster::TopicPartition;

use super::Change;

/// Partitions come by [`add`](Self::add) and go in two steps, [`revoke`](Self::revoke) and then
/// [`revoke_done`](Self::revoke_done), or at once by [`lose_all`](Self::lose_all).
#[derive(Debug, Default)]
pub(super) struct Ownership {
    owned: BTreeSet<TopicPartition>,
    revoking: Option<Revoking>,
    pub(super) changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Revoking {
    partitions: BTreeSet<TopicPartition>,
    /// When the group stops waiting.
    until: Instant,
}

impl Ownership {
    /// What the member owns, including what it is giving up.
    pub(super) fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    pub(super) fn is_revoking(&self) -> bool {
        self.revoking.is_some()
    }

    pub(super) fn revoke_deadline(&self) -> Option<Instant> {
        self.revoking.as_ref().map(|revoking| revoking.until)
    }

    pub(super) fn add(&mut self, partitions: BTreeSet<TopicPartition>) {
        let new: Vec<_> = partitions.difference(&self.owned).cloned().collect();
        if !new.is_empty() {
            self.owned.extend(new.iter().cloned());
            self.changes.push_back(Change::Assigned(new));
        }
    }

    /// Tells the owner to give these up. One revocation at a time; without partitions there is none.
    pub(super) fn revoke(&mut self, partitions: BTreeSet<TopicPartition>, until: Instant) {
        if !partitions.is_empty() {
            self.changes.push_back(Change::Revoking(partitions.iter().cloned().collect()));
            self.revoking = Some(Revoking { partitions, until });
        }
    }

    /// The owner has given up what it was told to, or is out of time. True when there was something to give up.
    pub(super) fn revoke_done(&mut self) -> bool {
        let Some(revoking) = self.revoking.take() else { return false };
        self.owned.retain(|partition| !revoking.partitions.contains(partition));
        self.changes.push_back(Change::Revoked(revoking.partitions.into_iter().collect()));
        true
    }

    /// Everything is another member's already, or may be.
    pub(super) fn lose_all(&mut self) {
        self.revoking = None;
        let lost = std::mem::take(&mut self.owned);
        if !lost.is_empty() {
            self.changes.push_back(Change::Lost(lost.into_iter().collect()));
        }
    }
}
