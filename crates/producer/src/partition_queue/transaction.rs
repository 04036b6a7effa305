//! What a transaction asks of its partitions' queues.

use super::{Doubt, PartitionQueue, Trouble};
use crate::{ProduceError, ProduceFailure, accumulator::Accumulator};

impl PartitionQueue {
    /// True when every batch that was sent is settled and has landed.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// True when the next batch can't have the number behind the last one.
    pub(crate) fn is_troubled(&self) -> bool {
        !matches!(self.trouble, Trouble::None)
    }

    /// True when a request sent under the producer's epoch may reach a broker late.
    pub(crate) const fn has_strayed(&self) -> bool {
        self.has_strayed
    }

    /// What became of the first batch of the transaction that was not acknowledged, once.
    pub(crate) fn take_failure(&mut self) -> Option<Box<ProduceError>> {
        self.failed.take()
    }

    /// Gives up the batches that are not in flight, for their transaction is aborted. `keep_doubts`: but for those that a
    /// broker may get yet.
    pub(crate) fn give_up_landed(&mut self, keep_doubts: bool, accumulator: &Accumulator) {
        let mut index = 0;
        while let Some(batch) = self.batches.get(index) {
            let is_kept = batch.in_flight.is_some() || keep_doubts && batch.doubt == Doubt::Unanswered;
            if is_kept {
                index += 1;
            } else {
                self.give_up(index, ProduceFailure::Aborted, accumulator);
            }
        }
        self.settle_trouble();
    }
}
