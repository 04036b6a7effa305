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
    /// The offset. `None` when the broker recognised a retry and could no longer say where the first try went, and always
    /// with acks 0 ([`Acks::None`](crate::Acks::None)): then the record was written to the connection, and whether the broker
    /// has it nobody knows.
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
    /// The batch was too large and went on as these, in the order of their records.
    Split(Vec<Part>),
    Done(Result<Written, ProduceError>),
}

/// Some of the records of a batch that was split.
#[derive(Debug)]
struct Part {
    /// The place that its first record had.
    first: i32,
    outcome: Arc<Outcome>,
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

    /// The batch goes on as several with so many records each. Returns what becomes of each of them; the deliveries of the
    /// records find theirs. Whoever waits is woken to wait there.
    pub(crate) fn split(&self, counts: impl IntoIterator<Item = i32>) -> Vec<Arc<Self>> {
        let mut first = 0i32;
        let mut parts = Vec::new();
        for count in counts {
            parts.push(Part { first, outcome: Self::new(self.partition.clone()) });
            first = first.saturating_add(count);
        }
        let outcomes = parts.iter().map(|part| Arc::clone(&part.outcome)).collect();
        let wakers = match std::mem::replace(&mut *self.state(), State::Split(parts)) {
            State::Pending(wakers) => wakers,
            State::Split(_) | State::Done(_) => Vec::new(),
        };
        wakers.into_iter().for_each(Waker::wake);
        outcomes
    }

    /// The part that the record at `index` went on with, and its place there, if the batch was split.
    fn part(&self, index: i32) -> Option<(Arc<Self>, i32)> {
        let state = self.state();
        let State::Split(parts) = &*state else { return None };
        let part = parts.iter().rev().find(|part| part.first <= index)?;
        Some((Arc::clone(&part.outcome), index.saturating_sub(part.first)))
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.state(), State::Done(_))
    }
}

/// A record on its way. Resolves when the record is acknowledged or given up.
///
/// # Cancellation
/// Dropping it changes nothing: the record is sent all the same, and nobody is told.
#[derive(Debug)]
#[must_use = "whether the record was written is told here"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: i32,
    /// Where its waker is among those of the batch, once it has been polled: looking for it would cost as many steps as
    /// the batch has records.
    waker: Option<usize>,
}

impl Clone for Delivery {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.outcome), self.index)
    }
}

impl Delivery {
    pub(crate) fn new(outcome: Arc<Outcome>, index: i32) -> Self {
        Self { outcome, index, waker: None }
    }

    /// The partition the record was put in.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.outcome.partition.partition
    }

    /// What became of the record, when that is known.
    #[must_use]
    pub fn result(&self) -> Option<Result<RecordMetadata, ProduceError>> {
        // Each split halves the batch: the loop is as long as the count of records has bits.
        let (mut outcome, mut index) = (Arc::clone(&self.outcome), self.index);
        while let Some(part) = outcome.part(index) {
            (outcome, index) = part;
        }
        match &*outcome.state() {
            State::Pending(_) | State::Split(_) => None,
            State::Done(result) => Some(locate(&outcome.partition, index, result)),
        }
    }

    /// Goes over to the part of the batch that has the record, if it was split.
    fn follow(&mut self) {
        while let Some((outcome, index)) = self.outcome.part(self.index) {
            *self = Self::new(outcome, index);
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.follow();
        match &mut *this.outcome.state() {
            State::Done(result) => return Poll::Ready(locate(&this.outcome.partition, this.index, result)),
            // Split since it was looked at: there is a part to wait for at the next look.
            State::Split(_) => context.waker().wake_by_ref(),
            State::Pending(wakers) => match this.waker.and_then(|own| wakers.get_mut(own)) {
                Some(own) => own.clone_from(context.waker()),
                None => {
                    this.waker = Some(wakers.len());
                    wakers.push(context.waker().clone());
                }
            },
        }
        Poll::Pending
    }
}

/// Where the record at `index` of a batch is.
fn locate(
    partition: &TopicPartition,
    index: i32,
    batch: &Result<Written, ProduceError>,
) -> Result<RecordMetadata, ProduceError> {
    let written = batch.as_ref().map_err(Clone::clone)?;
    Ok(RecordMetadata {
        partition: partition.clone(),
        offset: written.base_offset.map(|base| base.saturating_add(index.into())),
        log_append_time: written.log_append_time,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        task::Wake,
    };

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

    /// P12.
    #[test]
    fn a_delivery_follows_its_record_into_the_parts_of_a_batch() {
        let outcome = Outcome::new(TopicPartition::new("letters", 3));
        let mut deliveries: Vec<_> = (0..6).map(|place| Delivery::new(Arc::clone(&outcome), place)).collect();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut deliveries[4]).poll(&mut context).is_pending());
        let parts = outcome.split([2, 4]);
        assert!(woken.0.swap(false, Ordering::Relaxed), "it waits elsewhere now");
        assert!(Pin::new(&mut deliveries[4]).poll(&mut context).is_pending());
        let quarters = parts[1].split([3, 1]);
        assert!(woken.0.swap(false, Ordering::Relaxed));
        assert!(Pin::new(&mut deliveries[4]).poll(&mut context).is_pending());
        let written = |base| Ok(Written { base_offset: Some(base), log_append_time: None });
        parts[0].complete(written(10));
        quarters[0].complete(written(20));
        assert!(woken.0.load(Ordering::Relaxed));
        let Poll::Ready(fifth) = Pin::new(&mut deliveries[4]).poll(&mut context) else { panic!("not done") };
        assert_eq!(fifth.unwrap().offset, Some(22));
        assert!(deliveries[5].result().is_none());
        quarters[1].complete(written(30));
        let offsets = deliveries.iter().map(|delivery| delivery.result().unwrap().unwrap().offset.unwrap());
        assert_eq!(offsets.collect::<Vec<_>>(), [10, 11, 20, 21, 22, 30]);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_polled_last_is_woken_and_nobody_else_is_remembered() {
        let outcome = Outcome::new(TopicPartition::new("letters", 3));
        let mut deliveries = [0, 1].map(|place| Delivery::new(Arc::clone(&outcome), place));
        let tasks: Vec<_> = (0..100).map(|_| Arc::new(Woken::default())).collect();
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            for delivery in &mut deliveries {
                assert!(Pin::new(delivery).poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        assert!(matches!(&*outcome.state(), State::Pending(wakers) if wakers.len() == 2));
        outcome.complete(Ok(Written { base_offset: Some(40), log_append_time: None }));
        let woken: Vec<_> = tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken.iter().position(|woken| *woken), Some(99));
    }
}
