//! Which broker coordinates what: groups by the partitions of `__consumer_offsets`, transactional ids by those of
//! `__transaction_state`.
//!
//! Imitates Kafka: the coordinator of a key is the leader of the partition that the key's hash names, in an epoch that
//! rises when it changes; a new coordinator first reads what its partition holds, and answers
//! COORDINATOR_LOAD_IN_PROGRESS meanwhile ([`ClusterConfig::coordinator_load_time`](super::ClusterConfig)).
//!
//! Leaves out: the two topics themselves. Which broker leads a partition of theirs follows from the brokers that are up,
//! and from [`Cluster::move_transaction_coordinator`].

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena_protocol::ErrorCode;

use super::{BrokerId, Cluster};

/// Partitions of either topic.
pub(super) const PARTITIONS: u16 = 50;

/// What there is a coordinator of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Group,
    Transaction,
}

#[derive(Debug)]
pub(super) struct Coordinators {
    groups: Vec<Seat>,
    transactions: Vec<Seat>,
}

/// The leadership of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seat {
    pub(super) broker: Option<BrokerId>,
    /// Where a test wants it, while that broker is up.
    pinned: Option<BrokerId>,
    /// How often it has changed hands.
    pub(super) epoch: i32,
    /// Until when its new broker reads.
    loading: Option<Instant>,
}

impl Coordinators {
    pub(super) fn new(up: &BTreeSet<BrokerId>) -> Self {
        let seats = || {
            (0..PARTITIONS)
                .map(|partition| Seat { broker: leader(partition, None, up), ..Seat::default() })
                .collect()
        };
        Self { groups: seats(), transactions: seats() }
    }

    /// Gives the partitions to brokers that are up.
    pub(super) fn elect(&mut self, now: Instant, up: &BTreeSet<BrokerId>, load_time: Duration) {
        for seats in [&mut self.groups, &mut self.transactions] {
            for (partition, seat) in (0..).zip(seats) {
                let broker = leader(partition, seat.pinned, up);
                if broker != seat.broker {
                    seat.broker = broker;
                    seat.epoch = seat.epoch.saturating_add(1);
                    seat.loading = (!load_time.is_zero()).then(|| now + load_time);
                }
            }
        }
    }

    pub(super) fn seat(&self, kind: Kind, key: &str) -> Seat {
        self.seats(kind).get(usize::from(partition_of(key))).copied().unwrap_or_default()
    }

    pub(super) fn seats(&self, kind: Kind) -> &[Seat] {
        match kind {
            Kind::Group => &self.groups,
            Kind::Transaction => &self.transactions,
        }
    }

    fn pin(&mut self, key: &str, to: BrokerId) {
        if let Some(seat) = self.transactions.get_mut(usize::from(partition_of(key))) {
            seat.pinned = Some(to);
        }
    }
}

impl Seat {
    pub(super) fn is_loading(&self, now: Instant) -> bool {
        self.loading.is_some_and(|until| now < until)
    }

    /// When the coordinator can work, not before `at`. `None` when there is none.
    pub(super) fn ready(&self, at: Instant) -> Option<Instant> {
        self.broker.map(|_| self.loading.map_or(at, |until| at.max(until)))
    }

    /// Whether the broker coordinates, and can.
    fn check(&self, now: Instant, broker: BrokerId) -> Result<(), ErrorCode> {
        if self.broker != Some(broker) {
            Err(ErrorCode::NOT_COORDINATOR)
        } else if self.is_loading(now) {
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        } else {
            Ok(())
        }
    }
}

impl Cluster {
    /// The broker that coordinates a transactional id.
    #[must_use]
    pub fn transaction_coordinator(&self, transactional_id: &str) -> Option<BrokerId> {
        self.coordinators.seat(Kind::Transaction, transactional_id).broker
    }

    /// Has a broker coordinate the transactional id, and all that share its partition of `__transaction_state`, while the
    /// broker is up. What was being ended is ended by the new one, in a new epoch.
    pub fn move_transaction_coordinator(&mut self, now: Instant, transactional_id: &str, to: BrokerId) {
        self.coordinators.pin(transactional_id, to);
        self.elect_coordinators(now);
        self.settle(now);
    }

    pub(super) fn elect_coordinators(&mut self, now: Instant) {
        self.coordinators.elect(now, &self.up, self.config.coordinator_load_time);
    }

    /// Whether requests about the key are right at `broker`.
    pub(super) fn check_coordinator(&self, broker: BrokerId, kind: Kind, key: &str) -> Result<(), ErrorCode> {
        self.coordinators.seat(kind, key).check(self.now, broker)
    }
}

/// The partition that a key's hash names: `String.hashCode` without its sign.
pub(super) fn partition_of(key: &str) -> u16 {
    let hash = key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // Kafka has 0 for the one number without a positive counterpart.
    let hash = i32::from_be_bytes(hash.to_be_bytes()).checked_abs().unwrap_or(0);
    u16::try_from(hash % i32::from(PARTITIONS)).unwrap_or(0)
}

fn leader(partition: u16, pinned: Option<BrokerId>, up: &BTreeSet<BrokerId>) -> Option<BrokerId> {
    let pinned = pinned.filter(|broker| up.contains(broker));
    pinned.or_else(|| up.iter().nth(usize::from(partition) % up.len().max(1)).copied())
}
