//! What the demo prints at its end.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Findings;
use crate::output::{grouped, rate};

/// The whole result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) bootstrap: String,
    pub(crate) embedded: bool,
    pub(crate) topic: String,
    pub(crate) produced: Produced,
    pub(crate) groups: Vec<Group>,
    /// True when nothing was lost, duplicated or out of order, and everything was acknowledged.
    pub(crate) clean: bool,
}

/// What the order service did.
#[derive(Debug, Serialize)]
pub(crate) struct Produced {
    pub(crate) orders: u64,
    pub(crate) acknowledged: u64,
    pub(crate) not_written: u64,
    pub(crate) possibly_written: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// The first error, if there was one.
    pub(crate) error: Option<String>,
}

/// What a group saw.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) orders: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) foreign: u64,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
}

impl Group {
    pub(crate) fn new(
        name: String,
        findings: Findings,
        took: Duration,
        latencies: &Histogram<u64>,
        error: Option<String>,
    ) -> Self {
        let milliseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            name,
            orders: findings.orders,
            seconds: took.as_secs_f64(),
            per_second: rate(findings.orders, took),
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            lost: findings.lost,
            duplicated: findings.duplicated,
            out_of_order: findings.out_of_order,
            foreign: findings.foreign,
            error,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.embedded { "the embedded broker" } else { "a Kafka cluster" };
        writeln!(f, "topic {} on {kind} at {}\n", self.topic, self.bootstrap)?;
        let produced = &self.produced;
        writeln!(
            f,
            "produced   {} orders in {:.2} s, {}/s; {} acknowledged, {} possibly written, {} not written",
            grouped(produced.orders),
            produced.seconds,
            grouped(produced.per_second as u64),
            grouped(produced.acknowledged),
            produced.possibly_written,
            produced.not_written,
        )?;
        if let Some(error) = &produced.error {
            writeln!(f, "           {error}")?;
        }
        writeln!(
            f,
            "\n{:<10} {:>12} {:>12} {:>10} {:>10} {:>6} {:>11} {:>13}",
            "group", "orders", "orders/s", "p50 ms", "p99 ms", "lost", "duplicated", "out of order"
        )?;
        for group in &self.groups {
            writeln!(
                f,
                "{:<10} {:>12} {:>12} {:>10.2} {:>10.2} {:>6} {:>11} {:>13}",
                group.name,
                grouped(group.orders),
                grouped(group.per_second as u64),
                group.p50_ms,
                group.p99_ms,
                group.lost,
                group.duplicated,
                group.out_of_order,
            )?;
            if group.foreign > 0 {
                writeln!(f, "           {} records were no orders of this run", group.foreign)?;
            }
            if let Some(error) = &group.error {
                writeln!(f, "           {error}")?;
            }
        }
        let sum = |count: fn(&Group) -> u64| self.groups.iter().map(count).sum::<u64>();
        writeln!(
            f,
            "\n{} lost, {} duplicated, {} out of order{}",
            sum(|group| group.lost),
            sum(|group| group.duplicated),
            sum(|group| group.out_of_order),
            if self.clean { "" } else { ": a check failed" }
        )
    }
}
