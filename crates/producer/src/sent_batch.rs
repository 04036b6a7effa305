//! A batch with its sequence numbers, and whether a broker may have it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use milena_cluster::RequestId;
use milena_protocol::records::{CompressedBatch, ProducerStamp, increment_sequence, restamp};

use crate::{Certainty, identity::ProducerId, outcome::Outcome};

/// A batch on the way from the accumulator to its first try.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) records: CompressedBatch,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
    pub(crate) deadline: Instant,
}

/// A batch that was sent and is not settled.
#[derive(Debug)]
pub(crate) struct SentBatch {
    /// The how-manieth of the partition it is.
    pub(crate) number: u64,
    pub(crate) bytes: Bytes,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) serial: u64,
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
        id: ProducerId,
        base_sequence: i32,
        request: RequestId,
    ) -> Self {
        let Unsent { records, outcome, serial, deadline } = batch;
        Self {
            number,
            count: records.count(),
            bytes: records.stamp(stamp(id, base_sequence)),
            base_sequence,
            outcome,
            serial,
            deadline,
            in_flight: Some(request),
            doubt: Doubt::None,
        }
    }

    /// Other numbers, for a batch that no broker has under the ones it had.
    pub(crate) fn renumber(&mut self, id: ProducerId, base_sequence: i32) {
        self.base_sequence = base_sequence;
        self.bytes = restamp(std::mem::take(&mut self.bytes), stamp(id, base_sequence));
    }

    /// The sequence number behind its last record.
    pub(crate) fn next_sequence(&self) -> i32 {
        increment_sequence(self.base_sequence, self.count)
    }

    pub(crate) fn certainty(&self) -> Certainty {
        if self.doubt == Doubt::None { Certainty::NotWritten } else { Certainty::MaybeWritten }
    }
}

fn stamp(id: ProducerId, base_sequence: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: id.id,
        producer_epoch: id.epoch,
        base_sequence,
        transactional: id.is_transactional,
    }
}
