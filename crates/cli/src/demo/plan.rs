//! What is to happen to which order. It is known before anything runs, so that what did happen can be held against it.

use std::time::Duration;

/// How long an order waits in each of the retry topics.
pub(crate) const DELAYS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// An order in so many is late, and one in so many is dead: more seldom when there are so many orders that letters would
/// not be held in memory.
const LATE_EVERY: u64 = 100;
const DEAD_EVERY: u64 = 250;
/// How many there are at most.
const MOST_LATE: u64 = 5_000;
const MOST_DEAD: u64 = 2_000;
/// One payment in so many fails at first.
const DECLINED_EVERY: u64 = 100;

/// What becomes of an order at the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is reserved at the first try.
    Reserved,
    /// It is reserved when it comes out of the n-th retry topic.
    Late(usize),
    /// It is not, until there is stock again.
    Dead,
}

/// By which schema an order is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    V1,
    V2,
}

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) orders: u64,
    /// How many of them are paid.
    pub(crate) payments: u64,
}

impl Plan {
    /// No more orders are paid than there are.
    pub(crate) fn new(seed: u64, orders: u64, payments: u64) -> Self {
        Self { seed, orders, payments: payments.clamp(1, orders.max(1)) }
    }

    /// Each customer has one order service, so that its orders keep their order.
    pub(crate) fn writer(self, customer: u32) -> Writer {
        if customer.is_multiple_of(2) { Writer::V1 } else { Writer::V2 }
    }

    /// The coupon in an order, which the first schema knows nothing of.
    pub(crate) fn coupon(self, order: u64, customer: u32) -> Option<String> {
        let has_one = self.writer(customer) == Writer::V2 && !order.is_multiple_of(3);
        has_one.then(|| format!("SAVE-{}", order.wrapping_add(self.seed) % 50))
    }

    pub(crate) fn fate(self, order: u64) -> Fate {
        let every = |every: u64, most: u64| every.min(self.orders).max(self.orders.div_ceil(most)).max(1);
        let (late, dead) = (every(LATE_EVERY, MOST_LATE), every(DEAD_EVERY, MOST_DEAD));
        let turn = order.wrapping_add(self.seed % 1_000_000_007);
        if turn.is_multiple_of(dead) {
            return Fate::Dead;
        }
        if turn % late == 1 % late {
            return Fate::Late(1 + (turn / late) as usize % DELAYS.len());
        }
        Fate::Reserved
    }

    /// Paid orders are spread over the run.
    pub(crate) fn is_paid(self, order: u64) -> bool {
        let every = self.paid_every();
        order.is_multiple_of(every) && order / every < self.payments
    }

    /// True when the first payment of this order fails.
    pub(crate) fn is_declined(self, order: u64) -> bool {
        let number = order / self.paid_every();
        self.is_paid(order)
            && number.wrapping_add(self.seed % 101).is_multiple_of(DECLINED_EVERY.min(self.payments))
    }

    fn paid_every(self) -> u64 {
        (self.orders / self.payments).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_orders_of_each_kind_and_never_too_many() {
        for (orders, seed) in [(300, 1), (20_000, 7), (1_000_003, 4_000)] {
            let plan = Plan::new(seed, orders, 2_000);
            let count = |wanted: &dyn Fn(u64) -> bool| (0..orders).filter(|id| wanted(*id)).count() as u64;
            assert_eq!(count(&|id| plan.is_paid(id)), 2_000.min(orders));
            for n in 1..=3 {
                assert!(count(&|id| plan.fate(id) == Fate::Late(n)) > 0, "{orders}");
            }
            assert!((1..=MOST_DEAD).contains(&count(&|id| plan.fate(id) == Fate::Dead)));
            assert!(count(&|id| plan.is_declined(id)) > 0);
        }
        let one = Plan::new(3, 1, 2_000);
        assert!(one.is_paid(0) && one.is_declined(0));
        assert_eq!(one.fate(0), Fate::Dead);
    }

    #[test]
    fn only_orders_of_the_second_schema_have_coupons() {
        let plan = Plan::new(1, 100, 10);
        assert_eq!(plan.coupon(1, 2), None);
        assert_eq!(plan.coupon(1, 3), Some("SAVE-2".to_owned()));
        assert_eq!(plan.coupon(3, 3), None);
    }
}
