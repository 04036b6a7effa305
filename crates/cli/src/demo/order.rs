//! The orders of the demo.

use serde::{Deserialize, Serialize, Serializer};

use super::plan::{Plan, Writer};

/// How many customers order.
pub(crate) const CUSTOMERS: u32 = 1_000;

/// The event an order service publishes, as the second schema has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreated {
    #[serde(serialize_with = "as_long")]
    pub(crate) order_id: u64,
    #[serde(serialize_with = "as_long")]
    pub(crate) customer_id: u32,
    /// Counts this customer's orders, from 0: what the order of a customer's events is checked by.
    #[serde(serialize_with = "as_long")]
    pub(crate) customer_sequence: u64,
    pub(crate) items: Vec<Item>,
    /// In cents.
    #[serde(serialize_with = "as_long")]
    pub(crate) total_amount: u64,
    /// Milliseconds since 1970.
    #[serde(serialize_with = "as_long")]
    pub(crate) created_at: u64,
    pub(crate) coupon_code: Option<String>,
}

/// As the first schema has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreatedV1 {
    #[serde(serialize_with = "as_long")]
    pub(crate) order_id: u64,
    #[serde(serialize_with = "as_long")]
    pub(crate) customer_id: u32,
    #[serde(serialize_with = "as_long")]
    pub(crate) customer_sequence: u64,
    pub(crate) items: Vec<Item>,
    #[serde(serialize_with = "as_long")]
    pub(crate) total_amount: u64,
    #[serde(serialize_with = "as_long")]
    pub(crate) created_at: u64,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    #[serde(serialize_with = "as_long")]
    pub(crate) product_id: u32,
    #[serde(serialize_with = "as_long")]
    pub(crate) quantity: u32,
    /// Of one piece, in cents.
    #[serde(serialize_with = "as_long")]
    pub(crate) price: u64,
}

/// What an order is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) order_id: u64,
    pub(crate) customer_id: u32,
    pub(crate) customer_sequence: u64,
}

/// An order by whichever schema.
pub(crate) trait Order: for<'de> Deserialize<'de> + Send + Sync + 'static {
    /// The schema that it is read by.
    const READER: Writer;

    fn mark(&self) -> Mark;

    /// Whether it has the coupon that it was sent with, as far as its schema tells.
    fn has_right_coupon(&self, plan: Plan) -> bool;
}

impl Order for OrderCreated {
    const READER: Writer = Writer::V2;

    fn mark(&self) -> Mark {
        let Self { order_id, customer_id, customer_sequence, .. } = *self;
        Mark { order_id, customer_id, customer_sequence }
    }

    fn has_right_coupon(&self, plan: Plan) -> bool {
        self.coupon_code == plan.coupon(self.order_id, self.customer_id)
    }
}

impl Order for OrderCreatedV1 {
    const READER: Writer = Writer::V1;

    fn mark(&self) -> Mark {
        let Self { order_id, customer_id, customer_sequence, .. } = *self;
        Mark { order_id, customer_id, customer_sequence }
    }

    fn has_right_coupon(&self, _: Plan) -> bool {
        true
    }
}

impl From<OrderCreated> for OrderCreatedV1 {
    fn from(order: OrderCreated) -> Self {
        let OrderCreated {
            order_id, customer_id, customer_sequence, items, total_amount, created_at, ..
        } = order;
        Self { order_id, customer_id, customer_sequence, items, total_amount, created_at }
    }
}

/// Avro's integers have a sign.
fn as_long<S: Serializer>(number: &(impl Copy + Into<u64>), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(i64::try_from((*number).into()).map_err(serde::ser::Error::custom)?)
}

/// Makes orders, the same ones from the same plan.
#[derive(Debug)]
pub(crate) struct OrderStream {
    plan: Plan,
    random: fastrand::Rng,
    next_id: u64,
    next_of_customer: Vec<u64>,
}

impl OrderStream {
    pub(crate) fn new(plan: Plan) -> Self {
        let next_of_customer = vec![0; CUSTOMERS as usize];
        Self { plan, random: fastrand::Rng::with_seed(plan.seed), next_id: 0, next_of_customer }
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
        let coupon_code = self.plan.coupon(order_id, customer_id);
        OrderCreated {
            order_id,
            customer_id,
            customer_sequence,
            items,
            total_amount,
            created_at,
            coupon_code,
        }
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
            let mut stream = OrderStream::new(Plan::new(4, 5_000, 1));
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
