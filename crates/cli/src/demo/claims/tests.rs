//! Each fault is planted, and the claim that is about it fails.

use std::collections::HashSet;

use super::*;
use crate::demo::{ledger::Ledger, order::Mark, services::Entry};
use milena::IsolationLevel;

const PLAN: Plan = Plan { seed: 1, orders: 1_000, payments: 200 };

fn all() -> Bits {
    Bits::of(PLAN.orders, |_| true)
}

fn mark(id: u64) -> Mark {
    Mark { order_id: id, customer_id: (id % 10) as u32, customer_sequence: id / 10 }
}

fn seen(ids: impl IntoIterator<Item = u64>) -> Findings {
    let mut ledger = Ledger::new(PLAN.orders);
    for id in ids {
        ledger.record(mark(id));
    }
    ledger.findings(&all())
}

fn count(claim: &Claim, what: &str) -> u64 {
    claim.counts.iter().find(|(name, _)| *name == what).unwrap().1
}

#[test]
fn a_lost_order_is_told() {
    assert!(group("email", &seen(0..1_000), 0, None).holds);
    let claim = group("email", &seen((0..1_000).filter(|id| *id != 77)), 3, None);
    assert!(!claim.holds);
    assert_eq!(count(&claim, "lost"), 1);
    assert!(claim.to_string().starts_with("FAILED  email sees every order"), "{claim}");
    assert!(claim.to_string().contains("999 orders, 1 lost, 0 duplicated"), "{claim}");
}

#[test]
fn a_duplicate_is_told_unless_partitions_were_taken_away() {
    let twice = seen((0..1_000).chain([5]));
    assert!(!group("email", &twice, 0, None).holds);
    assert!(group("email", &twice, 1, None).holds);
}

#[test]
fn an_order_before_its_turn_is_told_whatever_was_taken_away() {
    let claim = group("email", &seen((0..1_000).rev()), 1, None);
    assert!(!claim.holds && count(&claim, "out of order") > 0);
}

#[test]
fn a_service_that_ended_early_is_told() {
    let claim = group("email", &seen(0..1_000), 0, Some(&"no more mails".to_owned()));
    assert!(!claim.holds && claim.to_string().ends_with("no more mails"));
}

#[test]
fn an_order_that_is_not_acknowledged_is_told() {
    assert!(acknowledged(PLAN, &all(), 0, None).holds);
    let claim = acknowledged(PLAN, &Bits::of(PLAN.orders, |id| id != 3), 1, Some("timed out".to_owned()));
    assert!(!claim.holds && claim.to_string().ends_with("timed out"));
}

#[test]
fn a_schema_that_is_taken_is_told() {
    let refusal = |status| Refusal { status, reason: "no\n default".to_owned() };
    let claim = unfit_schema(&refusal(Some(409)));
    assert!(claim.holds && claim.to_string().ends_with("409 is the status; no default"), "{claim}");
    let long = Refusal { status: Some(409), reason: format!("refused; details: {}", "é".repeat(500)) };
    assert!(unfit_schema(&long).to_string().ends_with(&format!("; {}…", "é".repeat(MOST_OF_NOTE))));
    assert!(!unfit_schema(&refusal(None)).holds && !unfit_schema(&refusal(Some(422))).holds);
}

#[test]
fn a_wrong_coupon_is_told() {
    let found = seen(0..1_000);
    assert!(coupons("email", &found, 500, 0).holds);
    assert!(!coupons("email", &found, 500, 1).holds);
    assert!(
        old_reader("analytics", &found, 500, 500).holds && !old_reader("analytics", &found, 499, 500).holds
    );
}

#[test]
fn a_chunk_that_is_too_large_is_told() {
    assert!(chunks(CHUNK).holds && !chunks(CHUNK + 1).holds && !chunks(0).holds);
}

/// A stock in which everything went as planned.
fn stock() -> Stock {
    let late = |id: &u64| matches!(PLAN.fate(*id), Fate::Late(_));
    Stock { reserved: all(), late: (0..PLAN.orders).filter(late).count() as u64, ..Stock::new(PLAN.orders) }
}

fn letters(count: u64) -> Letters {
    let dead = (0..PLAN.orders).filter(|id| PLAN.fate(*id) == Fate::Dead);
    Letters {
        found: dead.take(count as usize).collect::<HashSet<_>>(),
        missing: 4 - count,
        ..Letters::default()
    }
}

#[test]
fn a_late_order_at_another_try_is_told() {
    assert!(retries(PLAN, &all(), &stock()).holds);
    let otherwise = Stock { late: stock().late - 1, late_otherwise: 1, ..stock() };
    assert!(!retries(PLAN, &all(), &otherwise).holds);
}

#[test]
fn letters_that_are_missing_changed_unexpected_or_twice_are_told() {
    assert!(dead_letters(&letters(4), 4, 0).holds);
    assert!(!dead_letters(&letters(3), 4, 0).holds);
    let changed = Letters { changed: 1, problem: Some("the value of …".to_owned()), ..letters(4) };
    assert!(!dead_letters(&changed, 4, 5).holds);
    assert!(!dead_letters(&Letters { unexpected: 1, ..letters(4) }, 4, 5).holds);
    let twice = Letters { repeated: 1, ..letters(4) };
    assert!(!dead_letters(&twice, 4, 0).holds && dead_letters(&twice, 4, 1).holds);
}

#[test]
fn an_order_that_is_not_reserved_is_told() {
    assert!(restocked(&letters(4), 4, &all(), &stock(), 0).holds);
    assert!(!restocked(&letters(4), 3, &all(), &stock(), 0).holds);
    let short = Stock { reserved: Bits::of(PLAN.orders, |id| id != 9), ..stock() };
    assert!(!restocked(&letters(4), 4, &all(), &short, 1).holds);
    let again = Stock { again: 1, ..stock() };
    assert!(!restocked(&letters(4), 4, &all(), &again, 0).holds);
    assert!(restocked(&letters(4), 4, &all(), &again, 1).holds);
}

/// Two transactions, the first of which was aborted, and what is in each of the three topics then.
fn paid_and_books() -> (Paid, [Book; 3]) {
    let mut paid = Paid::new(PLAN.orders);
    paid.declined.insert(1);
    paid.declined_records = 3 * PLAN.payments;
    let books = ["a", "b", "c"].map(|topic| {
        let mut book = Book::new(topic.to_owned(), PLAN);
        for order_id in (0..PLAN.orders).filter(|id| PLAN.is_paid(*id)) {
            for transaction in [1, 2] {
                let entry = Entry { order_id, transaction, amount: 1 };
                book.note(IsolationLevel::ReadUncommitted, Some(&entry), &paid);
            }
            book.note(
                IsolationLevel::ReadCommitted,
                Some(&Entry { order_id, transaction: 2, amount: 1 }),
                &paid,
            );
        }
        book
    });
    (paid, books)
}

#[test]
fn payments_that_are_missing_or_twice_are_told() {
    let (paid, books) = paid_and_books();
    assert!(payments(PLAN, &all(), &books, None).holds && aborted(&paid, &books).holds);
    let mut missing = books.clone();
    missing[1].orders = Bits::of(PLAN.orders, |id| PLAN.is_paid(id) && id != 0);
    let claim = payments(PLAN, &all(), &missing, None);
    assert!(!claim.holds);
    assert_eq!(count(&claim, "missing"), 1);
    let mut twice = books.clone();
    twice[2].note(
        IsolationLevel::ReadCommitted,
        Some(&Entry { order_id: 0, transaction: 2, amount: 1 }),
        &paid,
    );
    assert!(!payments(PLAN, &all(), &twice, None).holds);
}

#[test]
fn an_aborted_payment_that_is_seen_is_told() {
    let (paid, mut books) = paid_and_books();
    books[0].note(
        IsolationLevel::ReadCommitted,
        Some(&Entry { order_id: 0, transaction: 1, amount: 1 }),
        &paid,
    );
    let claim = aborted(&paid, &books);
    assert!(!claim.holds);
    assert_eq!(count(&claim, "seen by readers of committed ones"), 1);
}

/// Without aborted records in the log, that nobody sees them says nothing.
#[test]
fn a_log_without_aborted_payments_is_told() {
    let (paid, mut books) = paid_and_books();
    for book in &mut books {
        (book.all, book.declined) = (book.all - book.declined, 0);
    }
    assert!(!aborted(&paid, &books).holds);
}

#[test]
fn a_metric_that_is_off_is_told() {
    let samples = Samples::parse(
        "kafka_messages_produced_total{topic=\"orders\"} 1000\n\
         kafka_messages_consumed_total{topic=\"orders\",consumer_group=\"email\"} 1001\n",
    );
    let counted = |group: Option<&str>, own, may_exceed| Counted {
        topic: "orders".to_owned(),
        group: group.map(str::to_owned),
        own,
        may_exceed,
    };
    assert!(metrics("m", &[counted(None, 1_000, false)], &samples).holds);
    let claim = metrics("m", &[counted(None, 999, false)], &samples);
    assert!(!claim.holds && claim.to_string().ends_with("orders: 1,000 by the metric, 999 here"), "{claim}");
    assert!(metrics("m", &[counted(Some("email"), 1_001, false)], &samples).holds);
    assert!(!metrics("m", &[counted(Some("email"), 1_000, false)], &samples).holds);
    assert!(metrics("m", &[counted(Some("email"), 1_000, true)], &samples).holds);
    assert!(!metrics("m", &[counted(Some("email"), 1_002, true)], &samples).holds);
    assert!(!metrics("m", &[], &samples).holds);
}

#[test]
fn a_group_that_is_behind_is_told() {
    let unread = |records| Unread { partitions: 6, offsets: 2, records };
    let groups = |records| BTreeMap::from([("a".to_owned(), unread(0)), ("b".to_owned(), unread(records))]);
    assert!(lag(&groups(0)).holds);
    let claim = lag(&groups(1));
    assert!(!claim.holds && claim.to_string().ends_with("b: 1 records"), "{claim}");
    assert!(!lag(&BTreeMap::from([("a".to_owned(), Unread::default())])).holds);
}
