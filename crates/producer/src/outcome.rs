//! What became of a batch, shared by the deliveries of its records.
//!
//! A record's delivery is the batch's outcome and a place in it: nothing is allocated a record. The wakers in here are
//! those of `std::task`; who polls them is the caller's business.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use milena_cluster::TopicPartition;

use crate::ProduceError;

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic and the partition.
    pub partition: TopicPartition,
    /// The offset. `None` when the broker recognised a retry and could no longer say where the first try went.
    pub offset: Option<i64>,
    /// The time the broker gave the record, in ms since 1970, when the topic is set to that.
    pub log_append_time: Option<i64>,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) base_offset: Option<i64>,
    pub(crate) log_append_time: Option<i64>,
}

/// What became of one batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    partition: TopicPartition,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Pending(Vec<Waker>),
    Done(Result<Written, ProduceError>),
}

impl Outcome {
    pub(crate) fn new(partition: TopicPartition) -> Arc<Self> {
        Arc::new(Self { partition, state: Mutex::new(State::Pending(Vec::new())) })
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles the batch, once: what is told later is ignored.
    pub(crate) fn complete(&self, result: Result<Written, ProduceError>) {
        let wakers = {
            let mut state = self.state();
            let State::Pending(wakers) = &mut *state else { return };
            let wakers = std::mem::take(wakers);
            *state = State::Done(result);
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.state(), State::Done(_))
    }
}

/// A record on its way. Resolves when the record is acknowledged or given up.
///
/// # Cancellation
/// Dropping it changes nothing: the record is sent all the same, and nobody is told.
#[derive(Clone, Debug)]
#[must_use = "whether the record was written is told here"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: i32,
}

impl Delivery {
    pub(crate) fn new(outcome: Arc<Outcome>, index: i32) -> Self {
        Self { outcome, index }
    }

    /// The partition the record was put in.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.outcome.partition.partition
    }

    /// What became of the record, when that is known.
    #[must_use]
    pub fn result(&self) -> Option<Result<RecordMetadata, ProduceError>> {
        match &*self.outcome.state() {
            State::Pending(_) => None,
            State::Done(result) => Some(self.locate(result)),
        }
    }

    fn locate(&self, batch: &Result<Written, ProduceError>) -> Result<RecordMetadata, ProduceError> {
        let written = batch.as_ref().map_err(Clone::clone)?;
        Ok(RecordMetadata {
            partition: self.outcome.partition.clone(),
            offset: written.base_offset.map(|base| base.saturating_add(self.index.into())),
            log_append_time: written.log_append_time,
        })
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.outcome.state() {
            State::Done(result) => Poll::Ready(self.locate(result)),
            State::Pending(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_a_place_in_its_batch() {
        let outcome = Outcome::new(TopicPartition::new("letters", 3));
        let mut third = Delivery::new(Arc::clone(&outcome), 2);
        assert_eq!(third.partition(), 3);
        assert!(third.result().is_none());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut third).poll(&mut context).is_pending());
        outcome.complete(Ok(Written { base_offset: Some(40), log_append_time: None }));
        let Poll::Ready(Ok(metadata)) = Pin::new(&mut third).poll(&mut context) else { panic!("not done") };
        assert_eq!(metadata.offset, Some(42));
        outcome.complete(Ok(Written { base_offset: Some(99), log_append_time: None }));
        assert_eq!(third.result().unwrap().unwrap().offset, Some(42));
    }
}
