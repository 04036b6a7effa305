//! The loop from the input to the producer.
//!
//! Nothing here grows with the input: the input is read ahead by a few stretches, the producer's memory is bounded and
//! [`Accept::accept`] waits for it, and of the records on their way the [`Books`] hold a fixed number.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use milena::{Certainty, CloseError, Delivery, Producer, Record, SendError, Transaction};
use tokio::time::Instant;

use crate::{stop::Stop, timestamp::now_ms};

use super::{
    books::Books,
    input::{Input, Item},
    report::End,
    shape::Shape,
    splitter::Piece,
};

/// How long an end that was not planned may take.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What is wrong with a record that was not kept.
pub(super) const TOO_LONG: &str = "the record is longer than --max-record-size";

/// What takes records.
pub(super) trait Accept {
    /// Takes a record, when there is room for it.
    async fn accept(&self, record: Record) -> Result<Delivery, SendError>;
}

impl Accept for Producer {
    async fn accept(&self, record: Record) -> Result<Delivery, SendError> {
        self.enqueue(record).await
    }
}

impl Accept for Transaction<'_> {
    async fn accept(&self, record: Record) -> Result<Delivery, SendError> {
        self.enqueue(record).await
    }
}

/// Records a second at most.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rate: Option<u64>,
    begun: Option<Instant>,
    sent: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, ..Self::default() }
    }

    /// When the next record may be sent, if that is not yet.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let begun = *self.begun.get_or_insert(now);
        let due = begun + Duration::from_secs_f64(self.sent as f64 / rate as f64);
        (due > now).then_some(due)
    }

    fn sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }
}

/// Sends what is read.
pub(super) struct Pump {
    pub(super) topic: String,
    pub(super) input: Input,
    pub(super) shape: Shape,
    pub(super) books: Books,
    pub(super) stop: Stop,
    pub(super) pace: Pace,
    /// How many records are still to be sent, if not all.
    pub(super) left: Option<u64>,
    pub(super) stop_on_error: bool,
    /// An item that was looked at and is to come again.
    pub(super) held: Option<Item>,
}

impl Pump {
    /// Sends up to `most` records, and says why there are no more of them.
    pub(super) async fn send(&mut self, sink: &impl Accept, most: u64) -> Option<End> {
        let mut sent = 0;
        while sent < most {
            match self.next().await {
                Ok(item) => sent += u64::from(self.send_one(sink, item).await),
                Err(end) => return Some(end),
            }
        }
        None
    }

    /// What is to be sent next, when it may be. Records on their way are settled meanwhile.
    pub(super) async fn next(&mut self) -> Result<Item, End> {
        loop {
            self.books.settle_known();
            if self.stop.is_wanted() {
                return Err(End::Interrupt);
            }
            if self.stop_on_error && self.books.has_failed() {
                return Err(End::Error);
            }
            if let Some(item) = self.held.take() {
                return Ok(item);
            }
            if self.left == Some(0) {
                return Err(End::Count);
            }
            let due = self.pace.due(Instant::now());
            let may_read = due.is_none() && !self.books.is_full();
            if may_read && let Some(item) = self.input.ready() {
                return Ok(item);
            }
            self.books.show();
            let turn = tokio::time::sleep_until(due.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                () = self.stop.more_than(0) => {}
                () = self.books.settle_next(), if self.books.has_open() => {}
                () = turn, if due.is_some() => {}
                more = self.input.more(), if may_read => match more {
                    Ok(true) => {}
                    Ok(false) => return Err(End::Input),
                    Err(error) => {
                        self.books.failed(&error.to_string());
                        return Err(End::Error);
                    }
                }
            }
        }
    }

    /// Has an item come again.
    pub(super) fn put_back(&mut self, item: Item) {
        self.held = Some(item);
    }

    /// Sends one record; false when it is not accepted, or none.
    async fn send_one(&mut self, sink: &impl Accept, item: Item) -> bool {
        let len = item.len();
        let Item { place, piece } = item;
        let refused = match self.understand(piece) {
            Ok(None) => return false,
            Ok(Some((record, timestamp))) => {
                self.count();
                let accepted = tokio::select! {
                    biased;
                    accepted = sink.accept(record) => Some(accepted),
                    () = self.stop.more_than(0) => None,
                };
                match accepted {
                    Some(Ok(delivery)) => {
                        self.books.accepted(place, len, timestamp, delivery);
                        return true;
                    }
                    Some(Err(error)) => (error.certainty(), error.to_string()),
                    None => (Certainty::NotWritten, "interrupted before the record was accepted".into()),
                }
            }
            Err(error) => {
                self.count();
                (Certainty::NotWritten, error)
            }
        };
        self.books.refused(&place, len, refused.0, refused.1);
        false
    }

    fn count(&mut self) {
        self.pace.sent();
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// The record with its time, or none for what stands for none.
    fn understand(&self, piece: Piece) -> Result<Option<(Record, i64)>, String> {
        let bytes: Bytes = match piece {
            Piece::Record(bytes) => bytes,
            Piece::TooLong { .. } => return Err(TOO_LONG.into()),
        };
        let record = self.shape.record(bytes)?;
        Ok(record.map(|record| {
            let timestamp = record.timestamp.unwrap_or_else(now_ms);
            (record.into_record(&self.topic, timestamp), timestamp)
        }))
    }

    /// Waits until all that was accepted is settled, or until something fails or an interrupt comes.
    pub(super) async fn settle(&mut self, transaction: &Transaction<'_>) -> Option<End> {
        let mut flush = pin!(transaction.flush());
        let mut is_flushed = false;
        while self.books.has_open() {
            if self.stop.is_wanted() {
                return Some(End::Interrupt);
            }
            if self.books.has_failed() {
                break;
            }
            self.books.show();
            tokio::select! {
                biased;
                () = self.stop.more_than(0) => {}
                // It ends with the task, too; then every record is settled.
                _ = &mut flush, if !is_flushed => is_flushed = true,
                () = self.books.settle_next() => self.books.settle_known(),
            }
        }
        self.books.has_failed().then_some(End::Error)
    }

    /// Ends the producer: sends what was accepted, for as long as `timeout` allows, and less if an interrupt comes.
    pub(super) async fn close(&mut self, producer: &Producer, timeout: Duration) -> Result<(), CloseError> {
        let mut closing = pin!(producer.close(timeout));
        let mut told = self.stop.times();
        let closed = loop {
            self.books.show();
            tokio::select! {
                biased;
                closed = &mut closing => break closed,
                () = self.stop.more_than(told) => {
                    told = self.stop.times();
                    closing.set(producer.close(if told > 1 { Duration::ZERO } else { timeout.min(GRACE) }));
                }
                () = self.books.settle_next(), if self.books.has_open() => self.books.settle_known(),
            }
        };
        self.books.settle_known();
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_and_time_lost_is_made_up() {
        let mut pace = Pace::new(Some(10));
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(pace.due(begun), None);
        pace.sent();
        assert_eq!(pace.due(at(40)), Some(at(100)));
        assert_eq!(pace.due(at(350)), None);
        pace.sent();
        pace.sent();
        assert_eq!(pace.due(at(350)), None);
        pace.sent();
        assert_eq!(pace.due(at(350)), Some(at(400)));
        assert_eq!(Pace::new(None).due(begun), None);
    }
}
