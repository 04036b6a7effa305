//! What the services have done so far, for whoever looks on.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{names, plan::Plan};

/// How many of the last events are kept.
const MOST_EVENTS: usize = 100;

/// Who does something to orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    OrdersV1,
    OrdersV2,
    Inventory,
    Email,
    Analytics,
    Payment,
    Replay,
}

/// What is counted beside orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An order was put aside for another try.
    Retried,
    /// An order became a dead letter.
    DeadLetter,
    Committed,
    Aborted,
}

impl Service {
    pub(crate) const ALL: [Self; 7] = [
        Self::OrdersV1,
        Self::OrdersV2,
        Self::Inventory,
        Self::Email,
        Self::Analytics,
        Self::Payment,
        Self::Replay,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OrdersV1 => "orders v1",
            Self::OrdersV2 => "orders v2",
            Self::Inventory => names::INVENTORY,
            Self::Email => names::EMAIL,
            Self::Analytics => names::ANALYTICS,
            Self::Payment => names::PAYMENT,
            Self::Replay => names::REPLAY,
        }
    }

    /// Whether it reads orders, in a group of its name.
    pub(crate) const fn is_reader(self) -> bool {
        !matches!(self, Self::OrdersV1 | Self::OrdersV2)
    }
}

/// The counts, written by the services and read by the progress bars and the view.
#[derive(Debug)]
pub(crate) struct Board {
    plan: Plan,
    done: [AtomicU64; Service::ALL.len()],
    events: [AtomicU64; 4],
    told: Mutex<VecDeque<String>>,
    lags: Mutex<BTreeMap<String, i64>>,
}

impl Board {
    pub(crate) fn new(plan: Plan) -> Self {
        let (done, events) = (Default::default(), Default::default());
        Self { plan, done, events, told: Mutex::default(), lags: Mutex::default() }
    }

    /// How many orders a service has to do with, where that is known: the order services share them by customer.
    pub(crate) fn total(&self, service: Service) -> Option<u64> {
        match service {
            Service::OrdersV1 | Service::OrdersV2 => None,
            Service::Payment => Some(self.plan.payments),
            _ => Some(self.plan.orders),
        }
    }

    /// How many orders there will be.
    pub(crate) fn orders(&self) -> u64 {
        self.plan.orders
    }

    pub(crate) fn set_done(&self, service: Service, orders: u64) {
        if let Some(done) = self.done.get(service as usize) {
            done.store(orders, Ordering::Relaxed);
        }
    }

    pub(crate) fn done(&self, service: Service) -> u64 {
        self.done.get(service as usize).map_or(0, |done| done.load(Ordering::Relaxed))
    }

    pub(crate) fn happened(&self, event: Event) {
        if let Some(count) = self.events.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Tells something, of which the last are kept.
    pub(crate) fn tell(&self, what: String) {
        let mut told = locked(&self.told);
        if told.len() == MOST_EVENTS {
            told.pop_front();
        }
        told.push_back(what);
    }

    /// The last that was told, the oldest first.
    pub(crate) fn told(&self, most: usize) -> Vec<String> {
        let told = locked(&self.told);
        told.iter().skip(told.len().saturating_sub(most)).cloned().collect()
    }

    pub(crate) fn set_lag(&self, group: &str, lag: i64) {
        locked(&self.lags).insert(group.to_owned(), lag);
    }

    pub(crate) fn lag(&self, group: &str) -> Option<i64> {
        locked(&self.lags).get(group).copied()
    }
}

/// Locked to compute, never to wait.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_events_are_kept() {
        let board = Board::new(Plan::new(1, 10, 1));
        for number in 0..1_000 {
            board.tell(number.to_string());
        }
        assert_eq!(board.told(2), ["998", "999"]);
        assert_eq!(board.told(usize::MAX).len(), MOST_EVENTS);
    }
}
