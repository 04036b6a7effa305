//! A batch that was sent, with its sequence numbers, and whether a broker may have it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use milena_cluster::RequestId;
use milena_protocol::records::{
    BatchBuilder, Batches, Codec, CompressedBatch, HEADER_LEN, ReadOptions, increment_sequence, restamp,
};

use crate::{
    Certainty, ProduceError, SettledBatch,
    identity::Numbering,
    outcome::{Outcome, Written, locate},
};

/// A batch on the way from the accumulator to its first try.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) records: CompressedBatch,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    pub(crate) opened: Instant,
    /// When its first try begins.
    pub(crate) sent: Instant,
    pub(crate) deadline: Instant,
}

/// A batch that was sent and is not settled.
#[derive(Debug)]
pub(crate) struct SentBatch {
    /// The how-manieth of the partition it is.
    pub(crate) number: u64,
    pub(crate) bytes: Bytes,
    /// Bytes of memory that it holds.
    pub(crate) held: usize,
    /// Bytes before compression, header included.
    pub(crate) uncompressed_len: usize,
    /// The number of its first record. Without [`Numbering`] it is counted all the same, and nobody hears of it.
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    pub(crate) opened: Instant,
    /// When it was sent for the first time.
    pub(crate) sent: Instant,
    /// How many times it was sent again.
    pub(crate) resends: u32,
    pub(crate) deadline: Instant,
    pub(crate) in_flight: Option<RequestId>,
    pub(crate) doubt: Doubt,
}

/// Whether a batch that is not acknowledged may be in a log under its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// No try has reached a broker, or every one was refused.
    None,
    /// A broker has answered and left it open. It is done with the batch.
    Answered,
    /// A try has no answer: a broker may have the batch, or may get it yet.
    Unanswered,
}

impl SentBatch {
    /// The batch with its first numbers, which goes out with `request`.
    pub(crate) fn new(
        batch: Unsent,
        number: u64,
        numbering: Numbering,
        base_sequence: i32,
        request: RequestId,
    ) -> Self {
        let Unsent { records, outcome, serial, opened, sent, deadline } = batch;
        Self {
            number,
            count: records.count(),
            uncompressed_len: records.uncompressed_len(),
            held: records.capacity(),
            bytes: records.stamp(numbering.stamp(base_sequence)),
            base_sequence,
            outcome,
            serial,
            opened,
            sent,
            resends: 0,
            deadline,
            in_flight: Some(request),
            doubt: Doubt::None,
        }
    }

    /// Other numbers, for a batch that no broker has under the ones it had.
    pub(crate) fn renumber(&mut self, numbering: Numbering, base_sequence: i32) {
        self.base_sequence = base_sequence;
        self.bytes = restamp(std::mem::take(&mut self.bytes), numbering.stamp(base_sequence));
    }

    /// The batch in two, each with its share of the numbers, the records and their order as they were. About half of the
    /// bytes go into each; one record can't be split.
    ///
    /// # Errors
    /// When there is nothing to split, or the records can't be read or compressed.
    pub(crate) fn split(&self, numbering: Numbering, codec: Codec) -> Result<[Self; 2], String> {
        let halves = halve(&self.bytes, codec)?;
        let counts = halves.each_ref().map(CompressedBatch::count);
        let outcomes = self.outcome.split(counts);
        let mut outcomes = outcomes.into_iter();
        let mut base_sequence = self.base_sequence;
        // They are counted once.
        let mut resends = self.resends;
        Ok(halves.map(|records| {
            let outcome = outcomes.next().unwrap_or_else(|| Outcome::new(self.outcome.partition().clone()));
            let (count, uncompressed_len) = (records.count(), records.uncompressed_len());
            let half = Self {
                number: self.number,
                held: records.capacity(),
                bytes: records.stamp(numbering.stamp(base_sequence)),
                uncompressed_len,
                base_sequence,
                count,
                outcome,
                serial: self.serial,
                opened: self.opened,
                sent: self.sent,
                resends: std::mem::take(&mut resends),
                deadline: self.deadline,
                in_flight: None,
                doubt: self.doubt,
            };
            base_sequence = half.next_sequence();
            half
        }))
    }

    /// The sequence number behind its last record.
    pub(crate) fn next_sequence(&self) -> i32 {
        increment_sequence(self.base_sequence, self.count)
    }

    /// What its owner may want to hear of its end.
    pub(crate) fn settled(&self, result: &Result<Written, ProduceError>) -> SettledBatch {
        SettledBatch {
            partition: self.outcome.partition().clone(),
            records: self.count.unsigned_abs().into(),
            uncompressed_bytes: self.uncompressed_len,
            bytes: Some(self.bytes.len()),
            opened: self.opened,
            sent: Some(self.sent),
            resends: self.resends,
            result: locate(self.outcome.partition(), 0, result),
        }
    }

    pub(crate) fn certainty(&self) -> Certainty {
        if self.doubt == Doubt::None { Certainty::NotWritten } else { Certainty::MaybeWritten }
    }
}

/// The records of a batch in two batches: what begins in the first half of the bytes, and the rest.
fn halve(bytes: &Bytes, codec: Codec) -> Result<[CompressedBatch; 2], String> {
    // Our own bytes: nothing in them has to be mistrusted, however well they compress.
    let options = ReadOptions { check_crc: false, max_decompressed: Some(i32::MAX as usize) };
    let batch = Batches::new(bytes.clone()).next().ok_or("there is no batch")?;
    let decoded = batch.and_then(|batch| batch.into_decoded(&options)).map_err(|error| error.to_string())?;
    let (half, last) = (decoded.uncompressed_len() / 2, decoded.header().record_count.saturating_sub(1));
    let room = half.saturating_add(HEADER_LEN);
    let mut parts = [(); 2].map(|()| BatchBuilder::with_capacity(usize::MAX, room));
    for (record, index) in decoded.records().zip(0..) {
        let record = record.map_err(|error| error.to_string())?;
        let [first, second] = &mut parts;
        let fits = first.is_empty() || first.uncompressed_len() < room && index < last;
        let part = if fits && second.is_empty() { first } else { second };
        part.append(record.timestamp(), record.key(), record.value(), record.headers())
            .map_err(|error| error.to_string())?;
    }
    let [first, second] = parts;
    if second.is_empty() {
        return Err("one record can't be split".to_owned());
    }
    let compress = |part: BatchBuilder| part.compress(codec).map_err(|error| error.to_string());
    Ok([compress(first)?, compress(second)?])
}
