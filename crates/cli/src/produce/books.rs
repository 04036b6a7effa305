//! The records that are on their way, and what has become of the others.

use std::{collections::VecDeque, time::Instant};

use milena::{Certainty, Delivery, ProduceError, RecordMetadata};

use crate::progress::Progress;

use super::{
    input::Place,
    report::{End, Failed, Reporter, Tally, TransactionEnd},
};

/// How many records may be on their way before the oldest is waited for: what bounds the command's own memory, besides
/// the producer's.
const OPEN: usize = 65_536;

/// Counts every record that was read until it is acknowledged or given up.
pub(super) struct Books {
    /// In the order of the input, which is the order they are told of.
    open: VecDeque<Open>,
    tally: Tally,
    reporter: Reporter,
    progress: Progress,
    started: Instant,
    /// Records of the open transaction that were accepted.
    transaction: Option<u64>,
    /// Something has failed since the last [`begin`](Self::begin), or ever without transactions.
    has_failed: bool,
}

/// A record on its way.
struct Open {
    place: Place,
    bytes: u64,
    timestamp: i64,
    delivery: Delivery,
}

impl Books {
    /// `are_acknowledged`: brokers answer.
    pub(super) fn new(reporter: Reporter, progress: Progress, are_acknowledged: bool) -> Self {
        Self {
            open: VecDeque::new(),
            tally: Tally { sent: (!are_acknowledged).then_some(0), ..Tally::default() },
            reporter,
            progress,
            started: Instant::now(),
            transaction: None,
            has_failed: false,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= OPEN
    }

    /// A record was read and accepted.
    pub(super) fn accepted(&mut self, place: Place, bytes: u64, timestamp: i64, delivery: Delivery) {
        self.tally.records = self.tally.records.saturating_add(1);
        if let Some(records) = &mut self.transaction {
            *records = records.saturating_add(1);
        }
        self.open.push_back(Open { place, bytes, timestamp, delivery });
    }

    /// A record was read and can't be sent.
    pub(super) fn refused(&mut self, place: &Place, bytes: u64, certainty: Certainty, error: String) {
        self.tally.records = self.tally.records.saturating_add(1);
        self.has_failed = true;
        self.count(certainty);
        self.progress.pause(|| {
            self.reporter.failed(&Failed { place, bytes, partition: None, certainty, error });
        });
    }

    /// Nothing more can be read, or sent.
    pub(super) fn failed(&mut self, error: &str) {
        self.has_failed = true;
        self.progress.pause(|| self.reporter.complain(error));
    }

    /// Strikes out what is known to have ended.
    pub(super) fn settle_known(&mut self) {
        while let Some(result) = self.open.front().and_then(|open| open.delivery.result()) {
            self.settle(result);
        }
    }

    /// Lets what was written be read, for what follows may take long.
    pub(super) fn show(&mut self) {
        self.reporter.flush();
    }

    /// Waits for the oldest record. May be dropped and asked again.
    pub(super) async fn settle_next(&mut self) {
        if let Some(oldest) = self.open.front_mut() {
            let result = (&mut oldest.delivery).await;
            self.settle(result);
        }
    }

    fn settle(&mut self, result: Result<RecordMetadata, ProduceError>) {
        let Some(Open { place, bytes, timestamp, delivery }) = self.open.pop_front() else { return };
        match result {
            Ok(at) => {
                // Of a transaction it counts once that is committed.
                if self.transaction.is_none() {
                    let count = self.tally.sent.as_mut().unwrap_or(&mut self.tally.acknowledged);
                    *count = count.saturating_add(1);
                }
                self.progress.add(1);
                self.reporter.settled(&place, timestamp, &at, self.tally.sent.is_none());
            }
            Err(error) => {
                self.has_failed = true;
                if self.transaction.is_none() {
                    self.count(error.certainty);
                }
                let certainty = error.certainty;
                let (partition, error) = (Some(delivery.partition()), error.to_string());
                self.progress.pause(|| {
                    self.reporter.failed(&Failed { place: &place, bytes, partition, certainty, error });
                });
            }
        }
    }

    fn count(&mut self, certainty: Certainty) {
        let count = match certainty {
            Certainty::NotWritten => &mut self.tally.not_written,
            Certainty::MaybeWritten => &mut self.tally.maybe_written,
        };
        *count = count.saturating_add(1);
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        self.transaction = Some(0);
        self.has_failed = false;
    }

    /// The transaction has ended, and with it all of its records.
    pub(super) fn end(&mut self, outcome: TransactionEnd, error: Option<&str>) {
        let records = self.transaction.take().unwrap_or_default();
        // What the producer has not told of yet ends as the transaction did.
        self.open.clear();
        let Tally { acknowledged, not_written, maybe_written, transactions, .. } = &mut self.tally;
        let (ended, count) = match outcome {
            TransactionEnd::Committed => (&mut transactions.committed, acknowledged),
            TransactionEnd::Aborted => (&mut transactions.aborted, not_written),
            TransactionEnd::Unknown => (&mut transactions.unknown, maybe_written),
        };
        *ended = ended.saturating_add(1);
        *count = count.saturating_add(records);
        let number =
            transactions.committed.saturating_add(transactions.aborted).saturating_add(transactions.unknown);
        self.has_failed |= outcome != TransactionEnd::Committed;
        self.progress.pause(|| self.reporter.transaction(number, records, outcome, error));
    }

    /// What the producer has left unsettled may be written.
    pub(super) fn give_up(&mut self, error: &str) {
        for Open { place, bytes, delivery, .. } in std::mem::take(&mut self.open) {
            self.has_failed = true;
            self.count(Certainty::MaybeWritten);
            let certainty = Certainty::MaybeWritten;
            let (partition, error) = (Some(delivery.partition()), error.to_owned());
            self.progress.pause(|| {
                self.reporter.failed(&Failed { place: &place, bytes, partition, certainty, error });
            });
        }
    }

    /// The last word. True when everything that was to be sent is acknowledged, or sent where nobody acknowledges.
    pub(super) fn close(mut self, end: End) -> bool {
        self.progress.finish();
        self.reporter.summary(&self.tally, end, self.started.elapsed());
        let is_complete = matches!(end, End::Input | End::Count);
        let Tally { records, acknowledged, sent, .. } = self.tally;
        is_complete && !self.has_failed && sent.unwrap_or(acknowledged) == records
    }
}
