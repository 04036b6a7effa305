//! What the demo claims, each claim with the counts that it stands on. Nothing here asks anybody: it compares.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::{
    audit::{Book, Letters, Unread},
    bits::Bits,
    ledger::Findings,
    metrics::{CONSUMED, PRODUCED, Samples},
    plan::{Fate, Plan},
    schemas::Refusal,
    services::{CHUNK, Paid, Stock},
};
use crate::output::grouped;

/// So many characters are shown of what is beside a claim that holds.
const MOST_OF_NOTE: usize = 200;

/// A claim, whether it holds, and by what numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) holds: bool,
    #[serde(serialize_with = "as_map")]
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// What else is to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Claim {
    fn new(name: impl Into<String>, holds: bool, counts: impl Into<Vec<(&'static str, u64)>>) -> Self {
        Self { name: name.into(), holds, counts: counts.into(), note: None }
    }

    fn note(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    /// Says more precisely what is claimed.
    pub(crate) fn precisely(mut self, what: &str) -> Self {
        self.note = Some(self.note.map_or_else(|| what.to_owned(), |note| format!("{what}; {note}")));
        self
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds { "holds " } else { "FAILED" };
        let counts = self.counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        write!(f, "{verdict}  {:<40} {counts}", self.name)?;
        match &self.note {
            Some(note) if self.holds => write!(f, "; {}", shortened(note)),
            Some(note) => write!(f, "; {note}"),
            None => Ok(()),
        }
    }
}

/// A line of a report, which has an end.
fn shortened(note: &str) -> String {
    match note.char_indices().nth(MOST_OF_NOTE) {
        Some((end, _)) => format!("{}…", note.get(..end).unwrap_or_default()),
        None => note.to_owned(),
    }
}

fn as_map<S: Serializer>(counts: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(what, count)| (*what, *count)))
}

/// A schema that old orders can't be read by is refused.
pub(crate) fn unfit_schema(refusal: &Refusal) -> Claim {
    let counts = [("is the status", u64::from(refusal.status.unwrap_or(0)))];
    let reason = refusal.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    // What the registry said comes last, after whom it said it to.
    let before = ["details: ", "(incompatible schema): "];
    let said =
        before.iter().find_map(|before| reason.rsplit_once(before)).map_or(reason.as_str(), |(_, said)| said);
    Claim::new("an unfit schema is refused", refusal.status == Some(409), counts).note(Some(said.to_owned()))
}

/// Every order is acknowledged.
pub(crate) fn acknowledged(plan: Plan, acknowledged: &Bits, maybe: u64, error: Option<String>) -> Claim {
    let count = acknowledged.count();
    let counts = [("orders", plan.orders), ("acknowledged", count), ("possibly written", maybe)];
    Claim::new("every order is acknowledged", count == plan.orders, counts).note(error)
}

/// What a group saw of the orders. It may see one again when partitions were taken from it.
pub(crate) fn group(service: &str, found: &Findings, moved: u64, error: Option<&String>) -> Claim {
    let is_complete = (found.lost, found.out_of_order, found.foreign) == (0, 0, 0) && error.is_none();
    let holds = is_complete && (found.duplicated == 0 || moved > 0);
    let counts = [
        ("orders", found.orders),
        ("lost", found.lost),
        ("duplicated", found.duplicated),
        ("out of order", found.out_of_order),
    ];
    let mut notes = Vec::new();
    if found.foreign > 0 {
        notes.push(format!("{} records are none of its orders", grouped(found.foreign)));
    }
    if moved > 0 {
        notes.push(format!("{moved} times partitions were taken from it, which may hand orders out again"));
    }
    notes.extend(error.cloned());
    Claim::new(format!("{service} sees every order"), holds, counts)
        .note((!notes.is_empty()).then(|| notes.join("; ")))
}

/// A reader by the second schema finds the coupon that an order was sent with, and none in old orders.
pub(crate) fn coupons(service: &str, found: &Findings, of_v2: u64, wrong: u64) -> Claim {
    let counts = [("of v1", found.orders.saturating_sub(of_v2)), ("of v2", of_v2), ("wrong coupons", wrong)];
    Claim::new(format!("{service} (v2) reads both schemas"), wrong == 0 && found.orders > 0, counts)
}

/// A reader by the first schema reads orders of the second.
pub(crate) fn old_reader(service: &str, found: &Findings, of_v2: u64, written_v2: u64) -> Claim {
    let of_v1 = found.orders.saturating_sub(of_v2);
    let counts = [("of v1", of_v1), ("of v2", of_v2), ("of v2 written", written_v2)];
    Claim::new(format!("{service} (v1) reads both schemas"), of_v2 == written_v2, counts)
}

/// Mails go out in chunks that are no larger than they may be.
pub(crate) fn chunks(largest: usize) -> Claim {
    let counts = [("mails in the largest chunk", largest as u64), ("allowed", CHUNK as u64)];
    Claim::new("e-mail works in chunks", (1..=CHUNK).contains(&largest), counts)
}

/// Orders that come out of a retry topic are reserved at the try that was planned.
pub(crate) fn retries(plan: Plan, acknowledged: &Bits, stock: &Stock) -> Claim {
    let wanted = |id: &u64| acknowledged.contains(*id) && matches!(plan.fate(*id), Fate::Late(_));
    let planned = (0..plan.orders).filter(wanted).count() as u64;
    let holds = stock.late == planned && stock.late_otherwise == 0;
    let counts =
        [("planned", planned), ("reserved as planned", stock.late), ("otherwise", stock.late_otherwise)];
    Claim::new("late orders are reserved by retries", holds, counts)
}

/// Exactly the orders that nothing could help are dead letters, as they were sent. Twice only when partitions of the inventory were
/// taken from it.
pub(crate) fn dead_letters(letters: &Letters, expected: u64, moved: u64) -> Claim {
    let is_exact = (letters.missing, letters.unexpected, letters.changed) == (0, 0, 0);
    let holds = is_exact && letters.found.len() as u64 == expected && (letters.repeated == 0 || moved > 0);
    let counts = [
        ("planned", expected),
        ("as sent", letters.found.len() as u64),
        ("missing", letters.missing),
        ("unexpected", letters.unexpected),
        ("changed", letters.changed),
        ("repeated", letters.repeated),
    ];
    Claim::new("dead letters are what was sent", holds, counts).note(letters.problem.clone())
}

/// All letters are sent back once, and every order is reserved in the end.
pub(crate) fn restocked(
    letters: &Letters,
    sent_back: u64,
    acknowledged: &Bits,
    stock: &Stock,
    moved: u64,
) -> Claim {
    let not_reserved = acknowledged.without(&stock.reserved);
    let all = letters.found.len() as u64 + letters.repeated + letters.changed + letters.unexpected;
    // Letters that are there twice are sent back twice.
    let holds = not_reserved == 0 && sent_back == all && (stock.again == 0 || moved > 0);
    let counts = [
        ("letters sent back", sent_back),
        ("reserved", stock.reserved.count()),
        ("not reserved", not_reserved),
        ("reserved again", stock.again),
    ];
    Claim::new("every order is reserved in the end", holds, counts)
}

/// Each payment is exactly once in each of the three topics.
pub(crate) fn payments(plan: Plan, acknowledged: &Bits, books: &[Book; 3], error: Option<&String>) -> Claim {
    let expected = Bits::of(plan.orders, |id| plan.is_paid(id) && acknowledged.contains(id));
    let missing = sum(books, |book| expected.without(&book.orders));
    let more = sum(books, |book| book.orders.without(&expected));
    let (repeated, foreign) = (sum(books, |book| book.repeated), sum(books, |book| book.foreign));
    let holds = (missing, more, repeated, foreign) == (0, 0, 0, 0) && error.is_none();
    let counts = [
        ("payments in 3 topics", expected.count()),
        ("missing", missing),
        ("repeated", repeated),
        ("unexpected", more + foreign),
    ];
    Claim::new("payments are exactly once", holds, counts).note(error.cloned())
}

/// Records of aborted transactions are in the log, and readers of committed records see none.
pub(crate) fn aborted(paid: &Paid, books: &[Book; 3]) -> Claim {
    let seen = sum(books, |book| book.aborted_seen);
    let (declined, broken) = (sum(books, |book| book.declined), sum(books, |book| book.broken));
    let committed = sum(books, |book| book.orders.count() + book.repeated + book.foreign + book.aborted_seen);
    let all = sum(books, |book| book.all);
    let is_told_apart = all == committed + declined + broken - seen;
    let is_in_log = declined > 0 && declined == paid.declined_records;
    let counts = [
        ("transactions committed", paid.committed),
        ("aborted", (paid.declined.len() + paid.broken.len()) as u64),
        ("of their records in the log", declined + broken),
        ("written", paid.declined_records),
        ("seen by readers of committed ones", seen),
    ];
    Claim::new("aborted payments are not seen", seen == 0 && is_in_log && is_told_apart, counts)
}

fn sum(books: &[Book; 3], count: impl Fn(&Book) -> u64) -> u64 {
    books.iter().map(count).sum()
}

/// A count that the client made of itself, and the one that was made beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) topic: String,
    /// The group, when it is about records that were read.
    pub(crate) group: Option<String>,
    pub(crate) own: u64,
    /// Records may have been handed out that nobody was given, as their partition was taken away before: the metric may be larger.
    pub(crate) may_exceed: bool,
}

/// The metrics say what was counted beside them.
pub(crate) fn metrics(name: &'static str, counted: &[Counted], samples: &Samples) -> Claim {
    let (mut own, mut told, mut off) = (0, 0, Vec::new());
    for Counted { topic, group, own: here, may_exceed } in counted {
        let there = match group {
            None => samples.sum(PRODUCED, &[("topic", topic)]),
            Some(group) => samples.sum(CONSUMED, &[("topic", topic), ("consumer_group", group)]),
        };
        (own, told) = (own + here, told + there);
        if there != *here && !(*may_exceed && there > *here) {
            let of = group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default();
            off.push(format!("{topic}{of}: {} by the metric, {} here", grouped(there), grouped(*here)));
        }
    }
    let counts = [("series", counted.len() as u64), ("by the metric", told), ("here", own)];
    let holds = off.is_empty() && !counted.is_empty();
    Claim::new(name, holds, counts).note((!off.is_empty()).then(|| off.join("; ")))
}

/// No group has records before it that it has not read.
pub(crate) fn lag(groups: &BTreeMap<String, Unread>) -> Claim {
    let behind = groups.iter().filter(|(_, unread)| unread.records > 0 || unread.partitions == 0);
    let behind: Vec<_> =
        behind.map(|(group, unread)| format!("{group}: {} records", unread.records)).collect();
    let sum = |count: fn(&Unread) -> u64| groups.values().map(count).sum::<u64>();
    let records = sum(|unread| unread.records);
    let counts = [
        ("groups", groups.len() as u64),
        ("partitions", sum(|unread| unread.partitions)),
        ("records unread", records),
        ("ends of transactions", sum(|unread| unread.offsets).saturating_sub(records)),
    ];
    Claim::new("no group is behind", behind.is_empty() && !groups.is_empty(), counts)
        .note((!behind.is_empty()).then(|| behind.join("; ")))
}

#[cfg(test)]
mod tests;
