//! Time that has run out for somebody, on demand: what takes minutes of silence otherwise.

use std::time::Instant;

use super::{Cluster, groups::Kind, transactions::take_id};

impl Cluster {
    /// The sessions of all members of the group end: the coordinator has heard nothing of them for too long, whatever they
    /// think. A group that is not there has no members.
    pub fn expire_sessions(&mut self, now: Instant, group: &str) {
        self.now = self.now.max(now);
        let Some(group) = self.groups.named_mut(group) else { return };
        match &mut group.kind {
            Kind::Classic(group) => group.end_sessions(now),
            Kind::Consumer(group) => group.end_sessions(now),
        }
        self.expire_groups(now);
        self.settle(now);
    }

    /// The transaction of the id has taken too long: its coordinator aborts it. True if there was an open one.
    pub fn expire_transaction(&mut self, now: Instant, transactional_id: &str) -> bool {
        self.now = self.now.max(now);
        let (at, server) = (self.transition(), self.server_version());
        let Self { transactions, next_producer_id, .. } = self;
        let open = transactions.named_mut(transactional_id).filter(|found| found.overdue_from().is_some());
        let Some(transaction) = open else { return false };
        transaction.fence(at, server, &mut || take_id(next_producer_id));
        self.settle(now);
        true
    }
}
