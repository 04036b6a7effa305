//! What is said of records, transactions and the whole: lines of JSON on standard output, or words on standard error.

use std::{
    fmt,
    io::{self, ErrorKind, StdoutLock, Write},
    time::Duration,
};

use milena::{Certainty, RecordMetadata};
use serde::Serialize;

use super::input::Place;
use crate::output::{counted, grouped, rate};

/// How many errors people are shown one by one.
const SHOWN: u64 = 10;

/// Where reports go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Words on standard error.
    Text,
    /// Only errors.
    Quiet,
    /// A line of JSON for every record, transaction and the whole, on standard output.
    Json,
}

/// What became of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Records that were read and are meant to be sent.
    pub(super) records: u64,
    /// Acknowledged, and in a transaction committed.
    pub(super) acknowledged: u64,
    /// Written to a connection, where nobody acknowledges: with acks 0 only.
    pub(super) sent: Option<u64>,
    pub(super) not_written: u64,
    pub(super) maybe_written: u64,
    pub(super) transactions: Transactions,
}

/// How transactions ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Transactions {
    pub(super) committed: u64,
    pub(super) aborted: u64,
    pub(super) unknown: u64,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransactionEnd {
    Committed,
    Aborted,
    /// Whether it is committed is not known.
    Unknown,
}

/// Why nothing more was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// The input is read to its end.
    Input,
    /// As many records as were wanted are sent.
    Count,
    /// A record failed, or the input.
    Error,
    Interrupt,
}

/// A record that is not acknowledged.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    pub(super) place: &'a Place,
    pub(super) bytes: u64,
    pub(super) partition: Option<i32>,
    pub(super) certainty: Certainty,
    pub(super) error: String,
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.place, counted(self.bytes, "byte"), self.error)
    }
}

#[derive(Serialize)]
struct RecordLine<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    line: u64,
    topic: &'a str,
    partition: i32,
    offset: Option<i64>,
    timestamp: i64,
    /// Said only where it is false: nobody has answered.
    #[serde(skip_serializing_if = "is_true")]
    acknowledged: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde calls it")]
fn is_true(value: &bool) -> bool {
    *value
}

#[derive(Serialize)]
struct FailedLine<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    line: u64,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    bytes: u64,
    error: &'a str,
    certainty: &'static str,
}

#[derive(Serialize)]
struct TransactionLine<'a> {
    r#type: &'static str,
    number: u64,
    records: u64,
    outcome: TransactionEnd,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    r#type: &'static str,
    topic: &'a str,
    records: u64,
    acknowledged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    not_written: u64,
    maybe_written: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<Transactions>,
    ended_by: End,
    seconds: f64,
}

/// Writes the reports.
pub(super) struct Reporter {
    topic: String,
    style: Style,
    /// Standard output; none once its reader has seen enough.
    out: Option<io::BufWriter<StdoutLock<'static>>>,
    /// Errors that people were told of.
    told: u64,
}

impl Reporter {
    pub(super) fn new(topic: &str, style: Style) -> Self {
        let out = io::BufWriter::new(io::stdout().lock());
        Self { topic: topic.to_owned(), style, out: Some(out), told: 0 }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// A record is where the broker says; one that is not acknowledged has been written to the connection.
    pub(super) fn settled(&mut self, place: &Place, timestamp: i64, at: &RecordMetadata, acknowledged: bool) {
        if self.style == Style::Json {
            self.write(&record_line(&self.topic, place, timestamp, at, acknowledged));
        }
    }

    /// A record is not acknowledged.
    pub(super) fn failed(&mut self, failed: &Failed<'_>) {
        if self.style == Style::Json {
            return self.write(&failed_line(&self.topic, failed));
        }
        self.complain(&failed.to_string());
    }

    /// A transaction has ended.
    pub(super) fn transaction(
        &mut self,
        number: u64,
        records: u64,
        outcome: TransactionEnd,
        error: Option<&str>,
    ) {
        if self.style == Style::Json {
            let line = TransactionLine { r#type: "transaction", number, records, outcome, error };
            return self.write(&json_line(&line));
        }
        if let Some(error) = error {
            self.complain(&format!("transaction {number} of {}: {error}", counted(records, "record")));
        }
    }

    /// What is wrong besides records, such as the input.
    pub(super) fn complain(&mut self, text: &str) {
        self.told = self.told.saturating_add(1);
        let rest = "milena: further errors are counted only";
        match self.told {
            told if told <= SHOWN => say(&format!("milena: {text}")),
            told if told == SHOWN.saturating_add(1) => say(rest),
            _ => {}
        }
    }

    /// The last word.
    pub(super) fn summary(&mut self, tally: &Tally, end: End, took: Duration) {
        match self.style {
            Style::Json => self.write(&summary_line(&self.topic, tally, end, took)),
            Style::Text => say(&summary_text(&self.topic, tally, end, took)),
            Style::Quiet => {}
        }
        self.flush();
    }

    /// Writes a line of standard output, whatever the style.
    pub(super) fn write(&mut self, line: &str) {
        let written = self.out.as_mut().map(|out| out.write_all(line.as_bytes()));
        self.heed(written);
    }

    /// Lets what was written be seen.
    pub(super) fn flush(&mut self) {
        let flushed = self.out.as_mut().map(Write::flush);
        self.heed(flushed);
    }

    /// Records are sent whether or not anybody reads of them.
    fn heed(&mut self, written: Option<io::Result<()>>) {
        let Some(Err(error)) = written else { return };
        // Dropping the writer would try once more.
        let _ = self.out.take().map(io::BufWriter::into_parts);
        if error.kind() != ErrorKind::BrokenPipe {
            self.complain(&format!("writing to standard output: {error}; nothing more is written there"));
        }
    }
}

#[expect(clippy::print_stderr, reason = "what people are told goes to the terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn json_line(line: &impl Serialize) -> String {
    // Only strings and numbers are in there, which can always be written.
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

fn record_line(
    topic: &str,
    place: &Place,
    timestamp: i64,
    at: &RecordMetadata,
    acknowledged: bool,
) -> String {
    json_line(&RecordLine {
        r#type: "record",
        file: place.file.as_deref(),
        line: place.number,
        topic,
        partition: at.partition,
        offset: at.offset,
        timestamp: at.log_append_time.unwrap_or(timestamp),
        acknowledged,
    })
}

fn failed_line(topic: &str, failed: &Failed<'_>) -> String {
    json_line(&FailedLine {
        r#type: "record",
        file: failed.place.file.as_deref(),
        line: failed.place.number,
        topic,
        partition: failed.partition,
        bytes: failed.bytes,
        error: &failed.error,
        certainty: match failed.certainty {
            Certainty::NotWritten => "NotWritten",
            Certainty::MaybeWritten => "MaybeWritten",
        },
    })
}

fn summary_line(topic: &str, tally: &Tally, end: End, took: Duration) -> String {
    let transactions = tally.transactions;
    json_line(&SummaryLine {
        r#type: "summary",
        topic,
        records: tally.records,
        acknowledged: tally.acknowledged,
        sent: tally.sent,
        not_written: tally.not_written,
        maybe_written: tally.maybe_written,
        transactions: (transactions != Transactions::default()).then_some(transactions),
        ended_by: end,
        seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
    })
}

fn summary_text(topic: &str, tally: &Tally, end: End, took: Duration) -> String {
    let (count, word) = match tally.sent {
        Some(sent) => (sent, "sent, none acknowledged,"),
        None => (tally.acknowledged, "acknowledged"),
    };
    let (records, per_second) = (counted(count, "record"), grouped(rate(count, took) as u64));
    let mut text = format!("{topic}: {records} {word} in {:.2} s, {per_second}/s", took.as_secs_f64());
    for (count, word) in [(tally.not_written, "not written"), (tally.maybe_written, "possibly written")] {
        if count > 0 {
            text += &format!("; {} {word}", grouped(count));
        }
    }
    let Transactions { committed, aborted, unknown } = tally.transactions;
    for (count, word) in
        [(committed, "committed"), (aborted, "aborted"), (unknown, "not known to be committed")]
    {
        if count > 0 {
            text += &format!("; {} {word}", counted(count, "transaction"));
        }
    }
    text + match end {
        End::Input | End::Count => "",
        End::Error => "; stopped by an error",
        End::Interrupt => "; interrupted",
    }
}

#[cfg(test)]
mod tests {

    use super::{super::input::Unit, *};

    const TOOK: Duration = Duration::from_millis(1500);

    fn place(file: Option<&str>) -> Place {
        Place { file: file.map(Into::into), number: 3, unit: Unit::Line }
    }

    #[test]
    fn a_record_is_a_line() {
        let at = |offset, log_append_time| RecordMetadata { partition: 2, offset, log_append_time };
        assert_eq!(
            record_line("orders", &place(None), 7, &at(Some(41), None), true),
            "{\"type\":\"record\",\"line\":3,\"topic\":\"orders\",\"partition\":2,\"offset\":41,\"timestamp\":7}\n"
        );
        assert_eq!(
            record_line("orders", &place(Some("a.txt")), 7, &at(None, Some(8)), true),
            "{\"type\":\"record\",\"file\":\"a.txt\",\"line\":3,\"topic\":\"orders\",\"partition\":2,\"offset\":null,\"timestamp\":8}\n"
        );
        assert_eq!(
            record_line("orders", &place(None), 7, &at(None, None), false),
            "{\"type\":\"record\",\"line\":3,\"topic\":\"orders\",\"partition\":2,\"offset\":null,\"timestamp\":7,\"acknowledged\":false}\n"
        );
    }

    #[test]
    fn a_failure_says_where_why_and_how_certain() {
        let place = place(None);
        let failed = |certainty, partition| Failed {
            place: &place,
            bytes: 1200,
            partition,
            certainty,
            error: "a \"b\"".into(),
        };
        assert_eq!(
            failed_line("orders", &failed(Certainty::NotWritten, None)),
            "{\"type\":\"record\",\"line\":3,\"topic\":\"orders\",\"bytes\":1200,\"error\":\"a \\\"b\\\"\",\"certainty\":\"NotWritten\"}\n"
        );
        let maybe = failed_line("orders", &failed(Certainty::MaybeWritten, Some(1)));
        assert!(maybe.contains("\"partition\":1,") && maybe.ends_with("\"MaybeWritten\"}\n"), "{maybe}");
        assert_eq!(failed(Certainty::NotWritten, None).to_string(), "line 3 (1,200 bytes): a \"b\"");
    }

    #[test]
    fn the_summary_tells_what_is_to_be_told() {
        let all = Tally { records: 3000, acknowledged: 3000, ..Tally::default() };
        assert_eq!(
            summary_text("orders", &all, End::Input, TOOK),
            "orders: 3,000 records acknowledged in 1.50 s, 2,000/s"
        );
        assert_eq!(
            summary_line("orders", &all, End::Count, TOOK),
            "{\"type\":\"summary\",\"topic\":\"orders\",\"records\":3000,\"acknowledged\":3000,\"not_written\":0,\"maybe_written\":0,\"ended_by\":\"count\",\"seconds\":1.5}\n"
        );
        let unheard = Tally { records: 3000, sent: Some(2999), not_written: 1, ..Tally::default() };
        assert_eq!(
            summary_text("orders", &unheard, End::Input, TOOK),
            "orders: 2,999 records sent, none acknowledged, in 1.50 s, 1,999/s; 1 not written"
        );
        let line = summary_line("orders", &unheard, End::Input, TOOK);
        assert!(
            line.contains("\"records\":3000,\"acknowledged\":0,\"sent\":2999,\"not_written\":1,"),
            "{line}"
        );
        let transactions = Transactions { committed: 1, aborted: 2, unknown: 1 };
        let some =
            Tally { records: 9, acknowledged: 1, not_written: 3, maybe_written: 2, transactions, ..all };
        assert_eq!(
            summary_text("orders", &some, End::Interrupt, TOOK),
            "orders: 1 record acknowledged in 1.50 s, 0/s; 3 not written; 2 possibly written; \
             1 transaction committed; 2 transactions aborted; 1 transaction not known to be committed; interrupted"
        );
        let line = summary_line("orders", &some, End::Error, TOOK);
        assert!(
            line.contains(
                "\"transactions\":{\"committed\":1,\"aborted\":2,\"unknown\":1},\"ended_by\":\"error\""
            ),
            "{line}"
        );
    }
}
