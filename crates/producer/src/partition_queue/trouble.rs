//! What keeps a partition from sending the next batch under the next number, and the ways out.

use milena_protocol::ErrorCode;

use super::{Doubt, PartitionQueue};
use crate::{
    Certainty, ProduceError, ProduceFailure,
    accumulator::Accumulator,
    identity::{Numbering, ProducerId},
    sent_batch::SentBatch,
};

#[derive(Clone, Debug)]
pub(super) enum Trouble {
    None,
    /// The batch that had this number was not written and is gone: those behind it move up once nothing is in flight.
    Hole {
        sequence: i32,
    },
    /// Whether a batch that is gone was written is not known: only a new producer id helps.
    Uncertain,
    /// The broker's log and ours disagree for good.
    Stopped(Box<ProduceError>),
}

impl PartitionQueue {
    /// True when only a new producer id lets the partition go on.
    pub(crate) fn needs_new_id(&self) -> bool {
        matches!(self.trouble, Trouble::Uncertain)
    }

    /// What the partition refuses records with.
    pub(crate) fn stopped(&self) -> Option<&ProduceError> {
        match &self.trouble {
            Trouble::Stopped(error) => Some(error),
            _ => None,
        }
    }

    /// Takes a new producer id: numbering starts at zero.
    pub(crate) fn adopt(&mut self, id: ProducerId) {
        if matches!(self.trouble, Trouble::Stopped(_)) {
            return;
        }
        self.numbering = Numbering::Under(id);
        self.is_known = false;
        self.has_strayed = false;
        self.trouble = Trouble::None;
        self.renumber(0, 0);
    }

    /// A broker misses what comes before the batch. True when that stops the partition.
    pub(super) fn handle_gap(&mut self, index: usize, accumulator: &Accumulator) -> bool {
        // A broker that misses what comes before has not written this one either. But a try that it has not seen yet may
        // come after one of what is missing.
        self.land(index, |batch| {
            if batch.doubt == Doubt::Answered {
                batch.doubt = Doubt::None;
            }
        });
        if index == 0 && matches!(self.trouble, Trouble::None) {
            if self.numbering.is_transactional() {
                // The end of the transaction makes up for it.
                self.give_up(index, ProduceFailure::Desynchronized, accumulator);
                return false;
            }
            let error = self.give_all_up(accumulator);
            self.trouble = match error.filter(|_| !self.continues) {
                Some(error) => Trouble::Stopped(Box::new(error)),
                None => Trouble::Uncertain,
            };
            return self.stopped().is_some();
        }
        let unanswered = self.batches.get(index).is_some_and(|batch| batch.doubt == Doubt::Unanswered);
        if index == 0 && unanswered && matches!(self.trouble, Trouble::Uncertain) {
            // Nothing that could be sent under the old id tells more, and under a new id it might be there twice.
            let cause =
                ProduceFailure::Refused { code: ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, message: None };
            self.give_up(index, cause, accumulator);
        } else {
            self.forget_abandoned(index, accumulator);
        }
        false
    }

    /// Notes that the batch that had this number has been given up. Without numbers that leaves no hole.
    pub(super) fn leave_hole(&mut self, certainty: Certainty, sequence: i32) {
        if self.numbering.is_absent() {
            return;
        }
        match (&self.trouble, certainty) {
            // Whatever is left of a stopped partition has been given up already.
            (Trouble::Stopped(_), _) => {}
            (_, Certainty::MaybeWritten) => self.trouble = Trouble::Uncertain,
            (Trouble::Uncertain, _) => {}
            (Trouble::Hole { sequence: first }, _) => {
                // The lower of two holes, with wrapping: the one further from the next number.
                let distance = |from: i32| self.next_sequence.wrapping_sub(from) & i32::MAX;
                let lower = if distance(sequence) > distance(*first) { sequence } else { *first };
                self.trouble = Trouble::Hole { sequence: lower };
            }
            (Trouble::None, _) => self.trouble = Trouble::Hole { sequence },
        }
    }

    /// Does what a hole or a lost id allows by now.
    pub(super) fn settle_trouble(&mut self) {
        match self.trouble {
            Trouble::Hole { sequence } => self.close_hole(sequence),
            Trouble::Uncertain => {
                let is_sure = |batch: &SentBatch| batch.in_flight.is_none() && batch.doubt == Doubt::None;
                if let Some(sure) = self.batches.iter().position(is_sure) {
                    self.clear_doubts(sure + 1);
                }
            }
            Trouble::None | Trouble::Stopped(_) => {}
        }
    }

    /// Moves the batches behind a hole up, once none of them is in flight.
    fn close_hole(&mut self, sequence: i32) {
        let behind = |batch: &SentBatch| {
            self.next_sequence.wrapping_sub(batch.base_sequence) & i32::MAX
                < self.next_sequence.wrapping_sub(sequence) & i32::MAX
        };
        let first = self.batches.iter().position(behind).unwrap_or(self.batches.len());
        let mut moved = self.batches.iter().skip(first);
        if moved.clone().any(|batch| batch.in_flight.is_some()) {
            return;
        }
        if moved.any(|batch| batch.doubt == Doubt::Unanswered) {
            // A try that arrives late may fit behind the batch that has taken the hole's number.
            self.trouble = Trouble::Uncertain;
            self.clear_doubts(first);
            return;
        }
        self.trouble = Trouble::None;
        self.clear_doubts(first);
        self.renumber(first, sequence);
    }

    /// The batches from `first` on are not written and will not be: one before them is neither, nor will it be sent
    /// under its numbers again.
    fn clear_doubts(&mut self, first: usize) {
        for batch in self.batches.iter_mut().skip(first).filter(|batch| batch.in_flight.is_none()) {
            batch.doubt = Doubt::None;
        }
    }

    fn renumber(&mut self, first: usize, sequence: i32) {
        self.next_sequence = sequence;
        for batch in self.batches.iter_mut().skip(first) {
            batch.renumber(self.numbering, self.next_sequence);
            self.next_sequence = batch.next_sequence();
        }
    }

    /// The broker's log and ours disagree: everything that was sent is given up. What is in flight stays until it lands. Returns
    /// what the first batch is told.
    fn give_all_up(&mut self, accumulator: &Accumulator) -> Option<ProduceError> {
        let mut first = None;
        for index in 0..self.batches.len() {
            let error = self.error(index, Certainty::MaybeWritten, ProduceFailure::Desynchronized);
            first.get_or_insert_with(|| error.clone());
            self.settle(index, Err(error), accumulator);
        }
        let landed = |batch: &SentBatch| batch.in_flight.is_none();
        while let Some(index) = self.batches.iter().position(landed) {
            self.drop_batch(index, accumulator);
        }
        first
    }
}
