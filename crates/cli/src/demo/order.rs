//! The orders of the demo.

use serde::{Deserialize, Serialize};

/// How many customers order.
pub(crate) const CUSTOMERS: u32 = 1_000;

/// The event an order service publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreated {
    pub(crate) order_id: u64,
    pub(crate) customer_id: u32,
    /// Counts this customer's orders, from 0: what the order of a customer's events is checked by.
    pub(crate) customer_sequence: u64,
    pub(crate) items: Vec<Item>,
    /// In cents.
    pub(crate) total_amount: u64,
    /// Milliseconds since 1970.
    pub(crate) created_at: u64,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) product_id: u32,
    pub(crate) quantity: u32,
    /// Of one piece, in cents.
    pub(crate) price: u64,
}

/// Makes orders, the same ones from the same seed.
#[derive(Debug)]
pub(crate) struct OrderStream {
    random: fastrand::Rng,
    next_id: u64,
    next_of_customer: Vec<u64>,
}

impl OrderStream {
    pub(crate) fn new(seed: u64) -> Self {
        let next_of_customer = vec![0; CUSTOMERS as usize];
        Self { random: fastrand::Rng::with_seed(seed), next_id: 0, next_of_customer }
    }

    pub(crate) fn next(&mut self, created_at: u64) -> OrderCreated {
        let customer_id = self.random.u32(..CUSTOMERS);
        let items: Vec<Item> = (0..self.random.u32(1..=3))
            .map(|_| Item {
                product_id: self.random.u32(1..10_000),
                quantity: self.random.u32(1..=5),
                price: self.random.u64(99..50_000),
            })
            .collect();
        let mut customer_sequence = 0;
        if let Some(next) = self.next_of_customer.get_mut(customer_id as usize) {
            customer_sequence = *next;
            *next += 1;
        }
        let order_id = self.next_id;
        self.next_id += 1;
        let total_amount = items.iter().map(|item| u64::from(item.quantity) * item.price).sum();
        OrderCreated { order_id, customer_id, customer_sequence, items, total_amount, created_at }
    }
}

/// The key of a customer's orders.
pub(crate) fn key(customer_id: u32) -> String {
    format!("cust-{customer_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_orders_and_counts_each_customers() {
        let make = || {
            let mut stream = OrderStream::new(4);
            (0..5_000).map(|_| stream.next(0)).collect::<Vec<_>>()
        };
        let orders = make();
        assert_eq!(orders, make());
        let mut counts = vec![0; CUSTOMERS as usize];
        for (order, id) in orders.iter().zip(0..) {
            let count = &mut counts[order.customer_id as usize];
            assert_eq!((order.order_id, order.customer_sequence), (id, *count));
            *count += 1;
        }
    }
}
