//! The transactions of a producer: the verbs, and what they mean for batches and partitions.
//!
//! A transaction is begun, takes records through the accumulator and offsets through
//! [`send_offsets`](Producer::send_offsets), and is committed or aborted. What becomes of each is told by a
//! [`TransactionEvent`](crate::TransactionEvent). Which verb fits which state is decided in `transaction`.

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{Outgoing, TopicPartition};

use crate::{
    GroupMetadata, GroupOffset, OffsetsId, ProduceError, ProduceFailure, TransactionError,
    TransactionFailure,
    accumulator::Gate,
    partition_queue::PartitionQueue,
    producer::{Producer, State},
    transaction::{Traffic, Transaction},
    transactional::Transactional,
};

/// Where a transactional producer is, for whoever waits for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TransactionPhase {
    /// The coordinator is asked for an epoch; it passes.
    Initializing,
    /// A transaction may begin.
    Ready,
    /// A transaction is open.
    Open,
    /// A transaction is being committed or aborted; it passes.
    Ending,
    /// It stays as it is until the owner does something: the error says what.
    Stuck(TransactionError),
}

impl Producer {
    /// Begins a transaction.
    ///
    /// # Errors
    /// When none may begin: the error says whether that passes.
    pub fn begin(&mut self, now: Instant) -> Result<(), TransactionError> {
        self.transactional_mut()?.begin(now)?;
        self.tell();
        Ok(())
    }

    /// Makes offsets of a consumer group part of the transaction: they are committed if and only if it is (KIP-447).
    /// [`OffsetsSent`](crate::TransactionEvent::OffsetsSent) tells when the group has taken them; a commit waits for it.
    ///
    /// # Errors
    /// When no transaction is open that takes them.
    pub fn send_offsets(
        &mut self,
        group: GroupMetadata,
        offsets: BTreeMap<TopicPartition, GroupOffset>,
    ) -> Result<OffsetsId, TransactionError> {
        let id = self.transactional_mut()?.send_offsets(group, offsets)?;
        self.tell();
        Ok(id)
    }

    /// Commits the transaction when all it has accepted is acknowledged. [`Ended`](crate::TransactionEvent::Ended) tells
    /// how that went. After [`TransactionError::CommitUnknown`] the same commit is asked for again.
    ///
    /// # Errors
    /// When there is nothing that could be committed; if only an abort is left, [`TransactionError::MustAbort`].
    pub fn commit(&mut self, now: Instant) -> Result<(), TransactionError> {
        self.transactional_mut()?.commit(now)?;
        self.follow_transaction();
        // Behind the gate, so that all that was accepted is flushed.
        self.accumulator.flush();
        self.tell();
        Ok(())
    }

    /// Aborts the transaction: what was not sent is given up, what is in flight is waited for.
    /// [`Ended`](crate::TransactionEvent::Ended) tells when its coordinator has taken note.
    ///
    /// # Errors
    /// When there is nothing to abort. After a commit whose outcome is not known nothing may be aborted.
    pub fn abort(&mut self) -> Result<(), TransactionError> {
        self.transactional_mut()?.abort()?;
        self.tell();
        Ok(())
    }

    /// After [`TransactionError::CommitUnknown`]: leaves the transaction behind without knowing its outcome, and takes a
    /// new epoch. If the commit has not reached the coordinator, that aborts the transaction.
    /// [`Ready`](crate::TransactionEvent::Ready) tells when the next one may begin.
    ///
    /// # Errors
    /// In any other state.
    pub fn reinitialize(&mut self) -> Result<(), TransactionError> {
        self.transactional_mut()?.reinitialize()?;
        self.tell();
        Ok(())
    }

    /// Where the transactions stand; `None` for a producer without.
    #[must_use]
    pub fn transaction_phase(&self) -> Option<TransactionPhase> {
        let state = self.transactional.as_ref()?.state();
        Some(match state {
            _ if self.state == State::Closed => TransactionPhase::Stuck(TransactionError::Closed),
            Transaction::Initializing(_) => TransactionPhase::Initializing,
            Transaction::Ready => TransactionPhase::Ready,
            Transaction::Open { .. } => TransactionPhase::Open,
            Transaction::Flushing { .. }
            | Transaction::Committing(_)
            | Transaction::Draining
            | Transaction::Aborting(_) => TransactionPhase::Ending,
            Transaction::CommitUnknown(_) | Transaction::Abortable(_) | Transaction::Fatal(_) => {
                TransactionPhase::Stuck(state.refusal())
            }
        })
    }

    fn transactional_mut(&mut self) -> Result<&mut Transactional, TransactionError> {
        if self.state != State::Running {
            return Err(TransactionError::Closed);
        }
        self.transactional.as_mut().ok_or(TransactionError::NotTransactional)
    }

    /// Lets batches and partitions follow what has become of the transaction.
    pub(crate) fn follow_transaction(&mut self) {
        let Some(transactional) = &mut self.transactional else { return };
        for failed in self.queues.values_mut().filter_map(PartitionQueue::take_failure) {
            transactional.fail(TransactionFailure::Record(failed));
        }
        let keep_doubts = match transactional.traffic() {
            Traffic::Flows => None,
            Traffic::Drains => Some(transactional.settles_doubts()),
            Traffic::Rests => Some(false),
        };
        if let Some(id) = transactional.take_fresh() {
            self.queues.values_mut().for_each(|queue| queue.adopt(id));
        }
        self.accumulator.set_gate(gate(transactional.state()));
        let Some(keep_doubts) = keep_doubts else { return };
        if self.accumulator.oldest_unsettled().is_some() {
            self.give_up_all_unsent(&ProduceFailure::Aborted);
        }
        for queue in self.queues.values_mut().filter(|queue| !queue.is_empty()) {
            queue.give_up_landed(keep_doubts, &self.accumulator);
            // That is part of the abort, and must not spoil the next transaction.
            queue.take_failure();
        }
    }

    /// The request to a coordinator that is due. The end of a transaction is, once its batches are settled.
    pub(crate) fn transaction_request(&mut self, now: Instant) -> Option<Outgoing> {
        self.transactional.as_ref()?;
        self.follow_transaction();
        let transactional = self.transactional.as_mut()?;
        let is_to_end = matches!(transactional.state(), Transaction::Flushing { .. } | Transaction::Draining);
        if is_to_end
            && self.accumulator.oldest_unsettled().is_none()
            && self.queues.values().all(PartitionQueue::is_empty)
        {
            let is_troubled = self.queues.values().any(PartitionQueue::is_troubled);
            let has_strayed = self.queues.values().any(PartitionQueue::has_strayed);
            transactional.settle(now, is_troubled, has_strayed);
        }
        let request = transactional.poll_request(now, &mut self.ids);
        self.accumulator.set_gate(gate(transactional.state()));
        self.report_end();
        request
    }

    /// Those of the partitions that may be written to.
    pub(crate) fn admitted(&mut self, mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
        if let Some(transactional) = &mut self.transactional {
            if transactional.traffic() == Traffic::Rests {
                return Vec::new();
            }
            partitions.retain(|partition| transactional.admit(partition));
        }
        partitions
    }

    /// A Produce request goes out: in the versions that go with the transaction's.
    pub(crate) fn mark_transactional(&mut self, outgoing: &mut Outgoing) {
        let Some(transactional) = &mut self.transactional else { return };
        transactional.start();
        let (first, last) = transactional.version().produce();
        outgoing.min_version = outgoing.min_version.max(first);
        outgoing.max_version = outgoing.max_version.min(last);
    }

    /// A record of the transaction will not be written.
    pub(crate) fn fail_transaction(&mut self, error: &ProduceError) {
        if let Some(transactional) = &mut self.transactional {
            transactional.fail(TransactionFailure::Record(Box::new(error.clone())));
        }
    }

    /// Acts on the deadlines of the transaction. True when one may have passed.
    pub(crate) fn expire_transaction(&mut self, now: Instant) -> bool {
        let Some(transactional) = &mut self.transactional else { return false };
        let is_due = transactional.state().deadline().is_some_and(|at| at <= now);
        transactional.handle_timeout(now);
        is_due
    }

    pub(crate) fn is_transaction_under_way(&self) -> bool {
        self.transactional.as_ref().is_some_and(|transactional| transactional.state().is_under_way())
    }

    /// The producer is being closed: what is open is aborted, what is being committed goes on.
    pub(crate) fn abort_on_close(&mut self) {
        if let Some(transactional) = &mut self.transactional {
            // Refused where there is nothing to abort.
            drop(transactional.abort());
        }
    }
}

fn gate(state: &Transaction) -> Gate {
    match state {
        Transaction::Open { .. } => Gate::Open,
        Transaction::Abortable(_) | Transaction::Fatal(_) | Transaction::CommitUnknown(_) => {
            Gate::Shut(state.refusal())
        }
        _ => Gate::Shut(TransactionError::NoTransaction),
    }
}
