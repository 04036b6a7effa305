//! `--dry-run`: what would be sent, and where it could not be understood.

use milena::Certainty;

use super::{
    Arguments, OnError,
    input::{Input, Item},
    report::{Failed, Reporter, Style},
    say,
    splitter::Piece,
};
use crate::output::{counted, grouped};
use crate::stop::Stop;

/// Prints every record. True when all of them could be sent.
pub(super) async fn run(arguments: &Arguments, mut input: Input, stop: Stop) -> bool {
    let shape = arguments.shape();
    let mut reporter = Reporter::new(&arguments.topic, arguments.style());
    let (mut records, mut bad) = (0u64, 0u64);
    let is_complete = loop {
        if arguments.count.is_some_and(|count| records.saturating_add(bad) >= count) {
            break true;
        }
        if bad > 0 && arguments.on_error == OnError::Stop {
            break false;
        }
        let Some(item) = input.ready() else {
            reporter.flush();
            let more = tokio::select! {
                more = input.more() => more,
                () = stop.more_than(0) => break false,
            };
            match more {
                Ok(true) => continue,
                Ok(false) => break true,
                Err(error) => {
                    reporter.complain(&error.to_string());
                    break false;
                }
            }
        };
        let bytes = item.len();
        let Item { place, piece } = item;
        let record = match piece {
            Piece::Record(bytes) => shape.record(bytes),
            Piece::TooLong { .. } => Err(super::pump::TOO_LONG.into()),
        };
        match record {
            Ok(None) => {}
            Ok(Some(record)) => {
                records = records.saturating_add(1);
                let line = match reporter.style() {
                    Style::Json => record.to_json().to_string(),
                    Style::Text | Style::Quiet => format!("{place}: {}", record.to_text()),
                };
                reporter.write(&(line + "\n"));
            }
            Err(error) => {
                bad = bad.saturating_add(1);
                let (partition, certainty) = (None, Certainty::NotWritten);
                reporter.complain(&Failed { place: &place, bytes, partition, certainty, error }.to_string());
            }
        }
    };
    reporter.flush();
    if reporter.style() == Style::Text {
        let mut text = format!("{} would go to {}", counted(records, "record"), arguments.topic);
        if bad > 0 {
            text += &format!("; {} can't be sent", grouped(bad));
        }
        say(&text);
    }
    is_complete && bad == 0
}
