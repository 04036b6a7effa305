//! What the demo prints at its end.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    bits::Bits,
    claims::Claim,
    ledger::Findings,
    services::{GroupOutcome, Produced},
};
use crate::output::{grouped, rate};

/// Where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) bootstrap: String,
    pub(crate) embedded: bool,
    pub(crate) registry: String,
    pub(crate) topic: String,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) produced: ProducedRow,
    pub(crate) groups: Vec<GroupRow>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) seconds: f64,
    /// True when every claim holds.
    pub(crate) clean: bool,
}

/// What the order services did.
#[derive(Debug, Serialize)]
pub(crate) struct ProducedRow {
    pub(crate) orders: u64,
    /// Of them, those by the first schema and by the second.
    pub(crate) v1: u64,
    pub(crate) v2: u64,
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
pub(crate) struct GroupRow {
    pub(crate) name: &'static str,
    pub(crate) orders: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// From send to handling; none for a group that came late.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) foreign: u64,
    /// How often partitions were taken from it: then it may see orders twice.
    pub(crate) moved: u64,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
}

impl ProducedRow {
    pub(crate) fn new(v1: &Produced, v2: &Produced, acknowledged: &Bits) -> Self {
        let (orders, took) = (v1.orders + v2.orders, v1.took.max(v2.took));
        Self {
            orders,
            v1: v1.orders,
            v2: v2.orders,
            acknowledged: acknowledged.count(),
            not_written: v1.not_written + v2.not_written,
            possibly_written: v1.possibly_written + v2.possibly_written,
            seconds: took.as_secs_f64(),
            per_second: rate(orders, took),
            error: v1.error.clone().or_else(|| v2.error.clone()),
        }
    }
}

impl GroupRow {
    pub(crate) fn new(
        name: &'static str,
        findings: &Findings,
        outcome: &GroupOutcome,
        is_late: bool,
    ) -> Self {
        let (seen, took) = (&outcome.seen, outcome.seen.took());
        let milliseconds = |quantile| {
            let latency = seen.latencies().value_at_quantile(quantile) as f64 / 1000.0;
            (!is_late).then_some(latency)
        };
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
            moved: outcome.moved,
            error: outcome.error.clone(),
        }
    }
}

impl Report {
    /// The verdict is that of the claims.
    pub(crate) fn new(
        place: Place,
        produced: ProducedRow,
        groups: Vec<GroupRow>,
        claims: Vec<Claim>,
        took: Duration,
    ) -> Self {
        let clean = !claims.is_empty() && claims.iter().all(|claim| claim.holds);
        Self { place, produced, groups, claims, seconds: took.as_secs_f64(), clean }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { bootstrap, embedded, registry, topic } = &self.place;
        let kind = if *embedded { "the embedded broker" } else { "a Kafka cluster" };
        writeln!(f, "topic {topic} on {kind} at {bootstrap}")?;
        writeln!(f, "schemas at {registry}; {:.1} s in all\n", self.seconds)?;
        let produced = &self.produced;
        writeln!(
            f,
            "produced {} orders in {:.2} s, {}/s: {} of v1, {} of v2\n",
            grouped(produced.orders),
            produced.seconds,
            grouped(produced.per_second as u64),
            grouped(produced.v1),
            grouped(produced.v2),
        )?;
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>9} {:>9} {:>5} {:>11} {:>13}",
            "group", "orders", "orders/s", "p50 ms", "p99 ms", "lost", "duplicated", "out of order"
        )?;
        for group in &self.groups {
            let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
            writeln!(
                f,
                "{:<16} {:>10} {:>10} {:>9} {:>9} {:>5} {:>11} {:>13}",
                group.name,
                grouped(group.orders),
                grouped(group.per_second as u64),
                ms(group.p50_ms),
                ms(group.p99_ms),
                group.lost,
                group.duplicated,
                group.out_of_order,
            )?;
        }
        writeln!(f)?;
        for claim in &self.claims {
            writeln!(f, "{claim}")?;
        }
        let (holding, all) = (self.claims.iter().filter(|claim| claim.holds).count(), self.claims.len());
        match self.clean {
            true => writeln!(f, "\nall {all} claims hold"),
            false => writeln!(f, "\n{} of {all} claims FAILED", all - holding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::claims;

    fn place() -> Place {
        let text = String::new;
        Place { bootstrap: text(), embedded: true, registry: text(), topic: text() }
    }

    fn report(largest_chunk: usize) -> Report {
        let claims = vec![claims::chunks(1), claims::chunks(largest_chunk)];
        let produced = ProducedRow::new(&Produced::default(), &Produced::default(), &Bits::new(0));
        let at = place();
        Report::new(at, produced, Vec::new(), claims, Duration::from_secs(2))
    }

    #[test]
    fn a_claim_that_fails_makes_the_report_fail_and_is_in_it_by_its_numbers() {
        assert!(report(50).clean && report(50).to_string().ends_with("\nall 2 claims hold\n"));
        let failed = report(51);
        let text = failed.to_string();
        assert!(!failed.clean && text.ends_with("\n1 of 2 claims FAILED\n"), "{text}");
        assert!(text.contains("FAILED  e-mail works in chunks") && text.contains("51 mails"), "{text}");
        assert_eq!(serde_json::to_value(&failed).unwrap()["claims"][1]["counts"]["allowed"], 50);
    }

    #[test]
    fn a_report_without_claims_is_not_clean() {
        let mut claims = report(1);
        claims.claims.clear();
        let produced = ProducedRow::new(&Produced::default(), &Produced::default(), &Bits::new(0));
        let at = place();
        assert!(!Report::new(at, produced, Vec::new(), claims.claims, Duration::ZERO).clean);
    }
}
