//! The services of the demo: two that order, and those that read.

mod analytics;
mod email;
mod inventory;
mod orders;
mod payment;
mod reading;
mod replay;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use milena::{Client, Header};
use milena_schema_registry::AvroDecoder;

use super::{
    bits::Bits,
    board::Board,
    ledger::{Findings, Ledger},
    metrics::Endpoint,
    names::Names,
    order::{self, Order},
    plan::{Plan, Writer},
    schemas::Schemas,
};

pub(crate) use analytics::analytics;
pub(crate) use email::{CHUNK, Email};
pub(crate) use inventory::{Inventory, Stock};
pub(crate) use orders::{OrderService, Ordered, Produced, Sent};
pub(crate) use payment::{Entry, Paid, payment};
pub(crate) use reading::Read;
pub(crate) use replay::replay;

/// The header that tells when an order was sent, in µs since 1970.
pub(crate) const SENT_AT: &str = "sentAt";
/// The header that tells which run an order belongs to.
pub(crate) const RUN: &str = "run";
/// The header that tells which order it is, without its value being read.
pub(crate) const ORDER_ID: &str = "orderId";
/// How often it is looked whether something has come to its end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all services share.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) names: Names,
    pub(crate) plan: Plan,
    pub(crate) schemas: Schemas,
    pub(crate) endpoint: Endpoint,
    pub(crate) board: Board,
    /// How long nothing may happen before a service gives up.
    pub(crate) patience: Duration,
    /// The number of this run, in every record.
    pub(crate) run: String,
}

/// An order that was read, and when it was sent, in µs since 1970.
struct Arrived<O> {
    order: O,
    sent_at: u64,
}

impl Shop {
    /// Reads an order. None when it is none of this run's, or damaged.
    async fn open<'r, O: Order>(
        &self,
        decoder: &AvroDecoder<O>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'r>>,
    ) -> Option<Arrived<O>> {
        let (mut run, mut sent_at) = (None, None);
        for header in headers {
            match header.name {
                name if name == RUN.as_bytes() => run = header.value,
                name if name == SENT_AT.as_bytes() => sent_at = header.value,
                _ => {}
            }
        }
        let sent_at = std::str::from_utf8(sent_at?).ok()?.parse().ok()?;
        let order = decoder.decode(value?).await.ok()?;
        let is_keyed_by_customer = key? == order::key(order.mark().customer_id).as_bytes();
        (run? == self.run.as_bytes() && is_keyed_by_customer).then_some(Arrived { order, sent_at })
    }
}

/// What a group saw of the orders.
#[derive(Debug)]
pub(crate) struct Seen {
    ledger: Ledger,
    /// From the send of an order to its handling here, in µs.
    latencies: Histogram<u64>,
    /// Orders by the second schema, and those whose coupon is not the one they were sent with.
    of_v2: u64,
    wrong_coupons: u64,
    /// When the first came, and the last.
    span: Option<(Instant, Instant)>,
    /// How many records of each topic the group was given.
    handed: BTreeMap<String, u64>,
}

/// What is known of a group in the end.
#[derive(Debug)]
pub(crate) struct GroupOutcome {
    pub(crate) seen: Seen,
    /// How often partitions were taken from it.
    pub(crate) moved: u64,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
}

impl Seen {
    fn new(orders: u64) -> anyhow::Result<Self> {
        Ok(Self {
            ledger: Ledger::new(orders),
            // Up to an hour, with three digits.
            latencies: Histogram::new_with_max(3_600_000_000, 3)?,
            of_v2: 0,
            wrong_coupons: 0,
            span: None,
            handed: BTreeMap::new(),
        })
    }

    /// Notes an order that was handed out at `now_us`. None: what was handed out is no order.
    fn note<O: Order>(&mut self, plan: Plan, arrived: Option<&Arrived<O>>, now_us: u64) {
        let now = Instant::now();
        self.span = Some(self.span.map_or((now, now), |(first, _)| (first, now)));
        let Some(Arrived { order, sent_at }) = arrived else { return self.ledger.record_foreign() };
        let mark = order.mark();
        if self.ledger.record(mark) {
            self.of_v2 += u64::from(plan.writer(mark.customer_id) == Writer::V2);
            self.wrong_coupons += u64::from(!order.has_right_coupon(plan));
        }
        self.latencies.saturating_record(now_us.saturating_sub(*sent_at).max(1));
    }

    fn hand_out(&mut self, topic: &str, records: u64) {
        match self.handed.get_mut(topic) {
            Some(count) => *count += records,
            None => drop(self.handed.insert(topic.to_owned(), records)),
        }
    }

    pub(crate) fn findings(&self, acknowledged: &Bits) -> Findings {
        self.ledger.findings(acknowledged)
    }

    pub(crate) fn latencies(&self) -> &Histogram<u64> {
        &self.latencies
    }

    /// From the first order to the last.
    pub(crate) fn took(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
    }

    pub(crate) fn of_v2(&self) -> u64 {
        self.of_v2
    }

    pub(crate) fn wrong_coupons(&self) -> u64 {
        self.wrong_coupons
    }

    pub(crate) fn handed(&self) -> &BTreeMap<String, u64> {
        &self.handed
    }
}

/// Waits until `look` says that it is done. False when its count did not grow for `patience`, or `is_over`.
pub(crate) async fn until(
    patience: Duration,
    is_over: impl Fn() -> bool,
    mut look: impl FnMut() -> (u64, bool),
) -> bool {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let (count, is_done) = look();
        if is_done {
            return true;
        }
        if last != Some(count) {
            (last, since) = (Some(count), Instant::now());
        }
        if is_over() || since.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::order::{OrderCreated, OrderStream};

    /// What a reader by the second schema finds, when its orders are changed on the way.
    fn seen(change: impl Fn(&mut OrderCreated)) -> Seen {
        let plan = Plan::new(1, 200, 1);
        let (mut stream, mut seen) = (OrderStream::new(plan), Seen::new(200).unwrap());
        for _ in 0..200 {
            let mut order = stream.next(0);
            change(&mut order);
            seen.note(plan, Some(&Arrived { order, sent_at: 5 }), 1_005);
        }
        seen
    }

    #[test]
    fn coupons_that_are_wrong_missing_or_too_many_are_found() {
        let right = seen(|_| {});
        assert_eq!(right.wrong_coupons(), 0);
        assert!((1..200).contains(&right.of_v2()));
        let wrong = seen(|order| drop(order.coupon_code.replace("SAVE-99".to_owned())));
        assert_eq!(wrong.wrong_coupons(), 200);
        let missing = seen(|order| order.coupon_code = None);
        assert!((1..=right.of_v2()).contains(&missing.wrong_coupons()));
    }

    #[test]
    fn latencies_and_what_is_no_order_are_counted() {
        let mut seen = seen(|_| {});
        assert_eq!(seen.latencies().value_at_quantile(0.5), 1_000);
        seen.note::<OrderCreated>(Plan::new(1, 200, 1), None, 7);
        assert_eq!(seen.findings(&Bits::new(200)).foreign, 1);
    }

    #[tokio::test]
    async fn waiting_ends_when_it_is_done_or_over_or_nothing_happens() {
        let second = Duration::from_secs(1);
        let mut count = 0;
        let growing = || {
            count += 1;
            (count, count == 5)
        };
        assert!(until(second, || false, growing).await);
        assert!(!until(Duration::ZERO, || false, || (0, false)).await);
        assert!(!until(second, || true, || (0, false)).await);
    }
}
