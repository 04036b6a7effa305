//! What the topics and groups of a run are called, all after the topic of the orders.

/// The services that read in groups, by their names.
pub(crate) const INVENTORY: &str = "inventory";
pub(crate) const EMAIL: &str = "email";
pub(crate) const ANALYTICS: &str = "analytics";
pub(crate) const PAYMENT: &str = "payment";
pub(crate) const REPLAY: &str = "recommendations";

/// The names of a run.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    orders: String,
}

impl Names {
    pub(crate) fn new(orders: String) -> Self {
        Self { orders }
    }

    /// The topic of the orders.
    pub(crate) fn orders(&self) -> &str {
        &self.orders
    }

    /// The topics that payments are written to.
    pub(crate) fn books(&self) -> [String; 3] {
        ["payments", "status", "accounting"].map(|book| format!("{}.{book}", self.orders))
    }

    /// The group of a service.
    pub(crate) fn group(&self, service: &str) -> String {
        format!("{}.{service}", self.orders)
    }

    /// The subject of the orders' schemas.
    pub(crate) fn subject(&self) -> String {
        format!("{}-value", self.orders)
    }

    /// What the payments' transactions go by.
    pub(crate) fn transactional_id(&self) -> String {
        format!("{}.payment", self.orders)
    }

    /// The topic with orders that are put aside for the n-th time.
    pub(crate) fn retry(&self, n: usize) -> String {
        format!("{}.retry-{n}", self.orders)
    }

    /// The topic with orders that no try could help.
    pub(crate) fn dead_letters(&self) -> String {
        format!("{}.dlq", self.orders)
    }

    /// How often an order in this topic has been put aside.
    pub(crate) fn put_aside(&self, topic: &str) -> usize {
        let n = topic.strip_prefix(self.orders.as_str()).and_then(|rest| rest.strip_prefix(".retry-"));
        n.and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_tells_how_often_its_orders_were_put_aside() {
        let names = Names::new("orders".to_owned());
        assert_eq!(
            ["orders", "orders.retry-1", "orders.retry-3"].map(|topic| names.put_aside(topic)),
            [0, 1, 3]
        );
        assert_eq!((1..=3).map(|n| names.put_aside(&names.retry(n))).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
