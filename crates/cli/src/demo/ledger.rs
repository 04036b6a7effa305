//! What one consumer group saw, held against what was ordered.

use std::collections::HashMap;

use super::{bits::Bits, order::Mark};

/// Counts what a group must not see: a loss, a duplicate, an order before its turn.
#[derive(Debug)]
pub(crate) struct Ledger {
    seen: Bits,
    duplicated: u64,
    out_of_order: u64,
    /// The highest sequence of each customer so far.
    last_of_customer: HashMap<u32, u64>,
    foreign: u64,
}

/// What a ledger found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Ledger {
    /// For `expected` orders with the ids from 0.
    pub(crate) fn new(expected: u64) -> Self {
        let seen = Bits::new(expected);
        Self { seen, duplicated: 0, out_of_order: 0, last_of_customer: HashMap::new(), foreign: 0 }
    }

    /// Notes an order that was read. False when it is none, or was read before.
    pub(crate) fn record(&mut self, order: Mark) -> bool {
        if !self.seen.admits(order.order_id) {
            self.foreign += 1;
            return false;
        }
        if !self.seen.insert(order.order_id) {
            self.duplicated += 1;
            return false;
        }
        match self.last_of_customer.get_mut(&order.customer_id) {
            Some(last) if *last > order.customer_sequence => self.out_of_order += 1,
            Some(last) => *last = order.customer_sequence,
            None => drop(self.last_of_customer.insert(order.customer_id, order.customer_sequence)),
        }
        true
    }

    /// Notes a record that is no order.
    pub(crate) fn record_foreign(&mut self) {
        self.foreign += 1;
    }

    /// Different orders seen so far.
    pub(crate) fn distinct(&self) -> u64 {
        self.seen.count()
    }

    /// The result. Only acknowledged orders can be lost.
    pub(crate) fn findings(&self, acknowledged: &Bits) -> Findings {
        Findings {
            orders: self.seen.count(),
            lost: acknowledged.without(&self.seen),
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            foreign: self.foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            order::{Order, OrderStream},
            plan::Plan,
        },
        *,
    };

    fn orders() -> Vec<Mark> {
        let mut stream = OrderStream::new(Plan::new(1, 200, 1));
        (0..200).map(|_| stream.next(0).mark()).collect()
    }

    fn ledger(orders: &[Mark]) -> Ledger {
        let mut ledger = Ledger::new(200);
        for order in orders {
            ledger.record(*order);
        }
        ledger
    }

    fn findings(orders: &[Mark]) -> Findings {
        ledger(orders).findings(&Bits::of(200, |_| true))
    }

    #[test]
    fn a_clean_run_is_clean() {
        assert_eq!(findings(&orders()), Findings { orders: 200, ..Findings::default() });
    }

    #[test]
    fn a_lost_order_is_found_if_it_was_acknowledged() {
        let mut orders = orders();
        orders.remove(77);
        assert_eq!(findings(&orders).lost, 1);
        assert_eq!(ledger(&orders).findings(&Bits::of(200, |id| id != 77)).lost, 0);
    }

    #[test]
    fn a_duplicate_is_found() {
        let mut orders = orders();
        orders.push(orders[3]);
        assert_eq!(findings(&orders).duplicated, 1);
    }

    #[test]
    fn an_order_before_its_turn_is_found() {
        let mut orders = orders();
        let customer = orders[0].customer_id;
        let mut second = orders[0];
        second.order_id = orders[199].order_id;
        second.customer_sequence = 1;
        orders[199] = second;
        orders.swap(0, 199);
        assert_eq!(orders[0].customer_id, customer);
        assert!(findings(&orders).out_of_order >= 1);
    }

    #[test]
    fn a_record_of_another_run_is_found() {
        let mut foreign = orders()[0];
        foreign.order_id = 200;
        assert_eq!(findings(&[foreign]).foreign, 1);
    }
}
