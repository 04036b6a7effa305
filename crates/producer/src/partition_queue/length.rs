//! Batches that are too large for their topic (KIP-126): they are split, and the next ones come out smaller.

use super::{Answer, PartitionQueue};
use crate::{
    ProduceFailure,
    accumulator::Accumulator,
    planted_bug::PlantedBug,
    sent_batch::{Doubt, SentBatch},
};

/// After so many batches near the limit that was learnt it is forgotten: the topic may allow more by now, or the records
/// compress better. One refusal in so many batches costs little.
const TRUST: u32 = 256;
/// A batch that was taken lets the next one be larger by one part of so many.
const GROWTH: usize = 16;

/// How large batches may come out before compression, as far as refusals have shown. Before a refusal nothing is known,
/// and the configured size counts.
#[derive(Debug, Default)]
pub(super) struct LearntLength {
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    /// The size at which batches are closed, in bytes before compression.
    limit: usize,
    /// The smallest size that was refused, in the same bytes.
    refused: usize,
    /// Batches taken since `limit` came near `refused`.
    taken: u32,
}

impl LearntLength {
    /// A batch of this length before compression was refused: half of it may pass.
    fn refuse(&mut self, len: usize) {
        // One that was on its way before the last lesson teaches nothing new.
        if self.known.as_ref().is_none_or(|known| len <= known.limit || len < known.refused) {
            self.known = Some(Known { limit: len / 2, refused: len, taken: 0 });
        }
    }

    /// A batch was taken. True when that changes the limit.
    fn take(&mut self) -> bool {
        let Some(known) = &mut self.known else { return false };
        let ceiling = known.refused.saturating_sub(known.refused / 8);
        if known.limit < ceiling {
            known.limit = known.limit.saturating_add((known.limit / GROWTH).max(1)).min(ceiling);
            return true;
        }
        known.taken = known.taken.saturating_add(1);
        if known.taken < TRUST {
            return false;
        }
        self.known = None;
        true
    }

    fn limit(&self) -> Option<usize> {
        self.known.as_ref().map(|known| known.limit)
    }
}

impl PartitionQueue {
    /// A broker takes no batch as large as this one.
    ///
    /// Two batches take its place, with the same numbers in the same order, so that those behind keep theirs. That asks no
    /// wait and counts as no retry: it can't go on for longer than there are records. A batch that may be in a log under
    /// its numbers is not cut: brokers look at the length before they look at the numbers, so this answer says nothing of
    /// an earlier try, and a part is not recognised as a repetition. Such a batch is given up as possibly written.
    pub(super) fn handle_too_large(&mut self, index: usize, answer: &Answer, accumulator: &Accumulator) {
        let Some(batch) = self.batches.get(index) else { return };
        let (len, is_single) = (batch.bytes.len(), batch.count <= 1);
        let may_split = !is_single && !batch.outcome.is_done() && self.may_cut(batch);
        if !is_single {
            self.learnt.refuse(batch.uncompressed_len);
            accumulator.limit_batches(&self.partition, self.learnt.limit());
        }
        let (code, message) = (answer.code, answer.message.clone());
        let cause = match may_split.then(|| batch.split(self.numbering, self.codec)) {
            Some(Ok(halves)) => return self.replace(index, halves, accumulator),
            Some(Err(error)) => ProduceFailure::Compression(error.into()),
            None if is_single => ProduceFailure::TooLarge { len, code, message },
            None => ProduceFailure::Refused { code, message },
        };
        self.give_up(index, cause, accumulator);
    }

    /// True when no part of the batch can be in a log already, as far as its numbers matter. Without numbers a part is as
    /// much a repetition as the whole would be.
    fn may_cut(&self, batch: &SentBatch) -> bool {
        self.numbering.is_absent() || batch.doubt == Doubt::None
    }

    /// Puts the parts of a batch in its place.
    fn replace(&mut self, index: usize, halves: [SentBatch; 2], accumulator: &Accumulator) {
        let Some(whole) = self.batches.remove(index) else { return };
        accumulator.count(|done| done.batches_split = done.batches_split.saturating_add(1));
        tracing::debug!(partition = %self.partition, records = whole.count, "a batch was too large and goes on in two");
        let held = halves.iter().map(|half| half.held).sum();
        accumulator.recharge(whole.held, held);
        let [mut first, mut second] = halves;
        if self.planted.has(PlantedBug::SplitRepeatsNumbers) {
            second.renumber(self.numbering, first.base_sequence);
        }
        if self.planted.has(PlantedBug::SplitsOutOfOrder) {
            second.renumber(self.numbering, first.base_sequence);
            first.renumber(self.numbering, second.next_sequence());
            std::mem::swap(&mut first, &mut second);
        }
        self.batches.insert(index, second);
        self.batches.insert(index, first);
    }

    /// A batch was taken: the next ones may be a little larger.
    pub(super) fn learn_from_success(&mut self, accumulator: &Accumulator) {
        if self.learnt.take() {
            accumulator.limit_batches(&self.partition, self.learnt.limit());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P12.
    #[test]
    fn what_a_refusal_taught_holds_for_a_while_and_is_forgotten() {
        let mut learnt = LearntLength::default();
        assert!(!learnt.take());
        learnt.refuse(16_000);
        assert_eq!(learnt.limit(), Some(8_000));
        // One that was on its way.
        learnt.refuse(16_000);
        assert_eq!(learnt.limit(), Some(8_000));
        learnt.refuse(8_000);
        assert_eq!(learnt.limit(), Some(4_000));
        let mut batches = 0;
        while let Some(limit) = learnt.limit() {
            assert!(limit < 8_000, "what was refused is not tried again at once");
            learnt.take();
            batches += 1;
        }
        assert!((TRUST..2 * TRUST).contains(&batches), "{batches}");
    }
}
