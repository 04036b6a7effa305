//! What became of a batch, shared by the deliveries of its records.
//!
//! A record's delivery is the batch's outcome and a place in it: nothing is allocated a record. The wakers in here are
//! those of `std::task`; who polls them is the caller's business.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use milena_cluster::TopicPartition;

use crate::ProduceError;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The partition of the topic that the record was for.
    pub partition: i32,
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
    /// Set once. Whoever finds it set needs no lock: a delivery that is awaited late costs a look.
    end: OnceLock<End>,
    /// Of those who wait for the end.
    wakers: Mutex<Vec<Waker>>,
}

/// How a batch has ended.
#[derive(Debug)]
enum End {
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
        Arc::new(Self { partition, end: OnceLock::new(), wakers: Mutex::default() })
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles the batch, once: what is told later is ignored.
    pub(crate) fn complete(&self, result: Result<Written, ProduceError>) {
        self.finish(End::Done(result));
    }

    fn finish(&self, end: End) {
        if self.end.set(end).is_ok() {
            // Whoever registers after this has found the end.
            let wakers = std::mem::take(&mut *self.wakers());
            wakers.into_iter().for_each(Waker::wake);
        }
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
        self.finish(End::Split(parts));
        outcomes
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.end.get(), Some(End::Done(_)))
    }

    /// The first record behind the one at `index` that went another way, if the batch was split.
    fn shares_end_until(&self, index: i32) -> i32 {
        let Some(End::Split(parts)) = self.end.get() else { return i32::MAX };
        let Some(at) = parts.iter().rposition(|part| part.first <= index) else { return i32::MAX };
        let next = parts.get(at.saturating_add(1)).map_or(i32::MAX, |part| part.first);
        let inner = parts.get(at).map_or(i32::MAX, |part| {
            let within = part.outcome.shares_end_until(index.saturating_sub(part.first));
            within.saturating_add(part.first)
        });
        next.min(inner)
    }

    /// What became of the record at `index`, if that is known, or where to wait for it.
    fn of_record(
        self: &Arc<Self>,
        index: i32,
    ) -> Result<Result<RecordMetadata, ProduceError>, (&Arc<Self>, i32)> {
        let (mut outcome, mut index) = (self, index);
        // Each split halves the batch: the loop is as long as the count of records has bits.
        loop {
            match outcome.end.get() {
                None => return Err((outcome, index)),
                Some(End::Done(result)) => return Ok(locate(&outcome.partition, index, result)),
                Some(End::Split(parts)) => {
                    let Some(part) = parts.iter().rev().find(|part| part.first <= index) else {
                        return Err((outcome, index));
                    };
                    (outcome, index) = (&part.outcome, index.saturating_sub(part.first));
                }
            }
        }
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
    waker: Option<u32>,
}

impl Clone for Delivery {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.outcome), self.index)
    }
}

impl Delivery {
    #[inline]
    pub(crate) fn new(outcome: Arc<Outcome>, index: i32) -> Self {
        Self { outcome, index, waker: None }
    }

    /// The topic and the partition that the record was put in.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.outcome.partition
    }

    /// The partition the record was put in.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.outcome.partition.partition
    }

    /// What became of the record, when that is known.
    #[must_use]
    pub fn result(&self) -> Option<Result<RecordMetadata, ProduceError>> {
        self.outcome.of_record(self.index).ok()
    }

    /// Leaves `context`'s waker where the record's end is waited for. False when the end has come meanwhile.
    #[cold]
    fn wait(&mut self, context: &Context<'_>) -> bool {
        let part = match self.outcome.of_record(self.index) {
            Err((outcome, index)) if !Arc::ptr_eq(outcome, &self.outcome) => {
                Some((Arc::clone(outcome), index))
            }
            _ => None,
        };
        if let Some((outcome, index)) = part {
            *self = Self::new(outcome, index);
        }
        let mut wakers = self.outcome.wakers();
        if self.outcome.end.get().is_some() {
            return false;
        }
        match self.waker.and_then(|own| wakers.get_mut(own as usize)) {
            Some(own) => own.clone_from(context.waker()),
            None => {
                // As many as records, which a batch counts in 31 bits.
                self.waker = u32::try_from(wakers.len()).ok();
                wakers.push(context.waker().clone());
            }
        }
        true
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Ok(result) = this.outcome.of_record(this.index) {
                return Poll::Ready(result);
            }
            if this.wait(context) {
                return Poll::Pending;
            }
        }
    }
}

/// Deliveries of records that follow one another in a batch.
///
/// # Cancellation
/// As with [`Delivery`].
#[derive(Clone, Debug)]
#[must_use = "whether the records were written is told here"]
pub struct DeliveryRun {
    outcome: Arc<Outcome>,
    first: i32,
    end: i32,
}

impl From<Delivery> for DeliveryRun {
    fn from(delivery: Delivery) -> Self {
        Self { outcome: delivery.outcome, first: delivery.index, end: delivery.index.saturating_add(1) }
    }
}

impl DeliveryRun {
    /// Takes the delivery in, if it is that of the next record of the batch.
    ///
    /// # Errors
    /// With the delivery, if it is not.
    #[inline]
    pub fn extend(&mut self, delivery: Delivery) -> Result<(), Delivery> {
        if delivery.index != self.end || !Arc::ptr_eq(&delivery.outcome, &self.outcome) {
            return Err(delivery);
        }
        self.end = self.end.saturating_add(1);
        Ok(())
    }

    /// Waits until all are acknowledged, or one is given up.
    ///
    /// # Errors
    /// Of the first record that is not acknowledged.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn all(self) -> Result<(), ProduceError> {
        let mut next = self.first;
        while next < self.end {
            Delivery::new(Arc::clone(&self.outcome), next).await?;
            next = self.outcome.shares_end_until(next);
        }
        Ok(())
    }
}

impl IntoIterator for DeliveryRun {
    type Item = Delivery;
    type IntoIter = DeliveryRunIter;

    fn into_iter(self) -> Self::IntoIter {
        DeliveryRunIter(self)
    }
}

/// The deliveries of a [`DeliveryRun`], one by one.
#[derive(Clone, Debug)]
pub struct DeliveryRunIter(DeliveryRun);

impl Iterator for DeliveryRunIter {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let DeliveryRun { outcome, first, end } = &mut self.0;
        let index = *first;
        *first = index.saturating_add(1);
        (index < *end).then(|| Delivery::new(Arc::clone(outcome), index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::try_from(self.0.end.saturating_sub(self.0.first)).unwrap_or(0);
        (len, Some(len))
    }
}

/// Where the record at `index` of a batch is.
pub(crate) fn locate(
    partition: &TopicPartition,
    index: i32,
    batch: &Result<Written, ProduceError>,
) -> Result<RecordMetadata, ProduceError> {
    let written = batch.as_ref().map_err(Clone::clone)?;
    Ok(RecordMetadata {
        partition: partition.partition,
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
    use crate::{Certainty, ProduceFailure};

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

    #[test]
    fn a_run_of_deliveries_is_over_when_all_parts_of_its_batch_are() {
        let outcome = Outcome::new(TopicPartition::new("letters", 3));
        let delivery = |place| Delivery::new(Arc::clone(&outcome), place);
        let mut run = DeliveryRun::from(delivery(1));
        run.extend(delivery(2)).unwrap();
        let refused = run.extend(delivery(4)).unwrap_err();
        assert_eq!(refused.index, 4, "there is one between them");
        run.extend(delivery(3)).unwrap();
        run.extend(refused).unwrap();
        let stranger = Delivery::new(Outcome::new(TopicPartition::new("letters", 3)), 5);
        assert!(run.extend(stranger).is_err());
        assert_eq!(run.clone().into_iter().map(|delivery| delivery.index).collect::<Vec<_>>(), [1, 2, 3, 4]);

        let mut all = std::pin::pin!(run.clone().all());
        let mut context = Context::from_waker(Waker::noop());
        let written = |base| Ok(Written { base_offset: Some(base), log_append_time: None });
        let parts = outcome.split([2, 2, 1]);
        parts[0].complete(written(0));
        let quarters = parts[1].split([1, 1]);
        quarters[1].complete(written(3));
        parts[2].complete(written(4));
        assert!(all.as_mut().poll(&mut context).is_pending(), "the record at 2 is open");
        let partition = TopicPartition::new("letters", 3);
        let error = ProduceError::new(partition, Certainty::NotWritten, None, ProduceFailure::Closed);
        quarters[0].complete(Err(error));
        assert!(matches!(all.as_mut().poll(&mut context), Poll::Ready(Err(_))));
        assert_eq!(run.into_iter().filter(|delivery| delivery.result().unwrap().is_ok()).count(), 3);
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
        assert_eq!(outcome.wakers().len(), 2);
        outcome.complete(Ok(Written { base_offset: Some(40), log_append_time: None }));
        let woken: Vec<_> = tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken.iter().position(|woken| *woken), Some(99));
    }
}
