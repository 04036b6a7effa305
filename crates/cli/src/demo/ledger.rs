//! What one consumer group saw, held against what was ordered.

use std::collections::HashMap;

use super::order::OrderCreated;

/// Counts what a group must not see: a loss, a duplicate, an order before its turn.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// A bit an order.
    seen: Vec<u64>,
    expected: u64,
    distinct: u64,
    duplicated: u64,
    out_of_order: u64,
    /// The highest sequence of each customer so far.
    last_of_customer: HashMap<u32, u64>,
    foreign: u64,
}

/// What a ledger found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Different orders seen.
    pub(crate) orders: u64,
    /// Orders that were acknowledged and never seen.
    pub(crate) lost: u64,
    /// Times an order was seen again.
    pub(crate) duplicated: u64,
    /// Times a customer's order came after a later one.
    pub(crate) out_of_order: u64,
    /// Records that are none of this run's orders, or are damaged.
    pub(crate) foreign: u64,
}

impl Findings {
    pub(crate) fn are_clean(&self) -> bool {
        (self.lost, self.duplicated, self.out_of_order, self.foreign) == (0, 0, 0, 0)
    }
}

impl Ledger {
    /// For `expected` orders with the ids from 0.
    pub(crate) fn new(expected: u64) -> Self {
        Self {
            seen: vec![0; expected.div_ceil(64) as usize],
            expected,
            distinct: 0,
            duplicated: 0,
            out_of_order: 0,
            last_of_customer: HashMap::new(),
            foreign: 0,
        }
    }

    /// Notes an order that was read.
    pub(crate) fn record(&mut self, order: &OrderCreated) {
        let (word, bit) = ((order.order_id / 64) as usize, 1 << (order.order_id % 64));
        let Some(word) = self.seen.get_mut(word).filter(|_| order.order_id < self.expected) else {
            self.foreign += 1;
            return;
        };
        if *word & bit != 0 {
            self.duplicated += 1;
            return;
        }
        *word |= bit;
        self.distinct += 1;
        match self.last_of_customer.get_mut(&order.customer_id) {
            Some(last) if *last > order.customer_sequence => self.out_of_order += 1,
            Some(last) => *last = order.customer_sequence,
            None => drop(self.last_of_customer.insert(order.customer_id, order.customer_sequence)),
        }
    }

    /// Notes a record that is no order.
    pub(crate) fn record_foreign(&mut self) {
        self.foreign += 1;
    }

    /// Different orders seen so far.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The result. Only acknowledged orders can be lost.
    pub(crate) fn findings(&self, acknowledged: &[u64]) -> Findings {
        let missing = |(word, acknowledged): (usize, &u64)| {
            let seen = self.seen.get(word).copied().unwrap_or(0);
            u64::from((acknowledged & !seen).count_ones())
        };
        Findings {
            orders: self.distinct,
            lost: acknowledged.iter().enumerate().map(missing).sum(),
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            foreign: self.foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::order::OrderStream, *};

    const ALL: [u64; 4] = [u64::MAX, u64::MAX, u64::MAX, 0xff];

    fn orders() -> Vec<OrderCreated> {
        let mut stream = OrderStream::new(1);
        (0..200).map(|_| stream.next(0)).collect()
    }

    fn findings(orders: &[OrderCreated]) -> Findings {
        let mut ledger = Ledger::new(200);
        orders.iter().for_each(|order| ledger.record(order));
        ledger.findings(&ALL)
    }

    #[test]
    fn a_clean_run_is_clean() {
        let clean = findings(&orders());
        assert!(clean.are_clean());
        assert_eq!(clean.orders, 200);
    }

    #[test]
    fn a_lost_order_is_found_if_it_was_acknowledged() {
        let mut orders = orders();
        orders.remove(77);
        assert_eq!(findings(&orders).lost, 1);
        let mut ledger = Ledger::new(200);
        orders.iter().for_each(|order| ledger.record(order));
        let mut acknowledged = ALL;
        acknowledged[1] &= !(1 << 13);
        assert_eq!(ledger.findings(&acknowledged).lost, 0);
    }

    #[test]
    fn a_duplicate_is_found() {
        let mut orders = orders();
        orders.push(orders[3].clone());
        assert_eq!(findings(&orders).duplicated, 1);
    }

    #[test]
    fn an_order_before_its_turn_is_found() {
        let mut orders = orders();
        let customer = orders[0].customer_id;
        let mut second = orders[0].clone();
        second.order_id = orders[199].order_id;
        second.customer_sequence = 1;
        orders[199] = second;
        orders.swap(0, 199);
        assert_eq!(orders[0].customer_id, customer);
        assert!(findings(&orders).out_of_order >= 1);
    }

    #[test]
    fn a_record_of_another_run_is_found() {
        let mut foreign = orders()[0].clone();
        foreign.order_id = 200;
        assert_eq!(findings(&[foreign]).foreign, 1);
    }
}
