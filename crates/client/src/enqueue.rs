//! Handing records to a producer.

use bytes::Bytes;
use milena_producer::{Delivery, EnqueueError, NewRecord, RecordMetadata};
use milena_protocol::wire::ByteString;

use crate::{AsRecord, Deliveries, EnqueueAllError, NotEnqueued, Producer, SendError};

/// The most records of [`Producer::enqueue_all`] that are put in under one lock. Others wait for some microseconds.
const CHUNK: usize = 128;

/// True for what passes: the record may be accepted later.
fn may_pass(error: &EnqueueError) -> bool {
    matches!(error, EnqueueError::UnknownTopic(_) | EnqueueError::BufferFull(_))
}

/// The record with other headers, if there are any.
#[inline]
fn with_headers<'r>(
    record: &NewRecord<'r>,
    headers: Option<&'r [(ByteString, Option<Bytes>)]>,
) -> NewRecord<'r> {
    NewRecord { headers: headers.unwrap_or(record.headers), ..*record }
}

impl Producer {
    /// Sends a record, or what a reference refers to, and waits until it is acknowledged; with [`Acks::None`](crate::Acks::None),
    /// until it has been written to the connection.
    ///
    /// # Errors
    /// When it is not; [`SendError::certainty`] says whether it may be in the log all the same.
    ///
    /// # Cancellation
    /// Dropping the future before the record is accepted sends nothing; afterwards the record is sent all the same.
    pub async fn send<R: AsRecord>(&self, record: R) -> Result<RecordMetadata, SendError> {
        let sending = async { Ok(self.enqueue(&record).await?.await?) };
        self.tracing.in_span(&record.as_record(), sending).await
    }

    /// Puts a record into its batch and returns at once, unless memory or knowledge of the topic has to be waited for.
    /// The [`Delivery`] tells what becomes of it; it need not be awaited.
    ///
    /// The record is copied into its batch here. So a reference does as well, and so do slices of what is used again for
    /// the next one:
    ///
    /// ```
    /// # use milena_embedded_broker::EmbeddedBroker;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = EmbeddedBroker::builder().topic("views", 3).start().await?;
    /// # let client = milena::Client::connect(broker.bootstrap()).await?;
    /// # let producer = client.producer().build()?;
    /// use std::io::Write;
    /// use milena::NewRecord;
    ///
    /// let mut page = Vec::new();
    /// for number in 0..1000 {
    ///     page.clear();
    ///     write!(page, "/pages/{number}")?;
    ///     producer.enqueue(NewRecord::new("views").value(&page)).await?;
    /// }
    /// producer.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the record is not accepted: nothing of it is sent.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    #[inline]
    pub async fn enqueue<R: AsRecord>(&self, record: R) -> Result<Delivery, SendError> {
        if !self.interceptors.is_empty() {
            let record = self.interceptors.on_send(&record);
            return self.enqueue_as_it_is(&record.as_record()).await;
        }
        self.enqueue_as_it_is(&record.as_record()).await
    }

    #[inline]
    async fn enqueue_as_it_is(&self, record: &NewRecord<'_>) -> Result<Delivery, SendError> {
        let headers = self.tracing.headers(record.headers);
        let record = with_headers(record, headers.as_deref());
        match self.put(&record) {
            Ok(delivery) => Ok(delivery),
            Err(reason) if may_pass(&reason) => self.enqueue_when_possible(&record, reason).await,
            Err(reason) => Err(SendError::NotAccepted(reason)),
        }
    }

    /// As [`enqueue`](Self::enqueue), but never waits.
    ///
    /// # Errors
    /// When the record is not accepted: it is in the error, with the reason. [`EnqueueError::UnknownTopic`] and
    /// [`EnqueueError::BufferFull`] pass.
    #[inline]
    pub fn try_enqueue<R: AsRecord>(&self, record: R) -> Result<Delivery, NotEnqueued<R>> {
        let put = match self.interceptors.is_empty() {
            true => self.put_traced(&record.as_record()),
            false => self.put_traced(&self.interceptors.on_send(&record).as_record()),
        };
        put.map_err(|reason| NotEnqueued { record, reason })
    }

    #[inline]
    fn put_traced(&self, record: &NewRecord<'_>) -> Result<Delivery, EnqueueError> {
        let headers = self.tracing.headers(record.headers);
        self.put(&with_headers(record, headers.as_deref()))
    }

    #[inline]
    fn put(&self, record: &NewRecord<'_>) -> Result<Delivery, EnqueueError> {
        match self.accumulator.enqueue(&self.clock, record) {
            Ok(enqueued) => {
                if enqueued.wake {
                    self.stir();
                }
                Ok(enqueued.delivery)
            }
            Err(error) => {
                // The machine learns of topics that are wanted by being woken.
                self.driven().wake();
                Err(error)
            }
        }
    }

    async fn enqueue_when_possible(
        &self,
        record: &NewRecord<'_>,
        mut reason: EnqueueError,
    ) -> Result<Delivery, SendError> {
        let asked_before = self.driven().look().metadata_answers();
        let attempts = async {
            loop {
                let room = self.room().notified();
                tokio::pin!(room);
                // Registered before the attempt, so that room made in between is not missed.
                room.as_mut().enable();
                match self.put(record) {
                    Ok(delivery) => return Ok(delivery),
                    Err(again) if may_pass(&again) => reason = again,
                    Err(refused) => return Err(SendError::NotAccepted(refused)),
                }
                if let Some(refused) = self.refusal(&reason, asked_before) {
                    return Err(SendError::NotAccepted(refused));
                }
                room.await;
            }
        };
        match tokio::time::timeout(self.max_block(), attempts).await {
            Ok(result) => result,
            Err(_) => {
                let last = self.driven().look().topic_failure(record.topic);
                let (reason, last) = (Box::new(reason), last.map(String::into_boxed_str));
                Err(SendError::Blocked { waited: self.max_block(), reason, last })
            }
        }
    }

    /// Why waiting for a topic is in vain, if an answer says so that has come since there were `asked_before` of them.
    fn refusal(&self, reason: &EnqueueError, asked_before: u64) -> Option<EnqueueError> {
        let EnqueueError::UnknownTopic(topic) = reason else { return None };
        let machine = self.driven().look();
        let code = machine.topic_refusal(topic).filter(|_| machine.metadata_answers() != asked_before)?;
        Some(EnqueueError::TopicRefused { topic: topic.clone(), code })
    }

    /// Puts records into their batches, in their order, as [`enqueue`](Self::enqueue) does one by one, for less: the lock
    /// and the clock are asked once for a number of them, and what becomes of neighbours in a batch is held together.
    ///
    /// # Errors
    /// At the first record that is not accepted. The error has that record, those that were drawn from the iterator behind
    /// it, and the deliveries of those before it, which are sent. Give the iterator by `by_ref()` to go on with the rest.
    ///
    /// # Cancellation
    /// Dropping the future sends what was accepted so far, and loses its deliveries.
    pub async fn enqueue_all<I>(&self, records: I) -> Result<Deliveries, EnqueueAllError<I::Item>>
    where
        I: IntoIterator,
        I::Item: AsRecord,
    {
        let mut records = records.into_iter();
        let mut deliveries = Deliveries::default();
        let mut chunk = Vec::with_capacity(CHUNK.min(records.size_hint().0.max(1)));
        loop {
            // The iterator is the caller's code: it does not run under the lock.
            chunk.extend(records.by_ref().take(CHUNK));
            if chunk.is_empty() {
                return Ok(deliveries);
            }
            if let Err((done, cause)) = self.enqueue_chunk(&chunk, &mut deliveries).await {
                let rest = chunk.drain(done..).collect();
                return Err(EnqueueAllError { accepted: deliveries, rest, cause });
            }
            chunk.clear();
        }
    }

    /// Puts records in, waiting where that has to be.
    ///
    /// # Errors
    /// At the first that is not accepted: how many were before it, and why.
    async fn enqueue_chunk<R: AsRecord>(
        &self,
        chunk: &[R],
        deliveries: &mut Deliveries,
    ) -> Result<(), (usize, SendError)> {
        if !self.interceptors.is_empty() || !self.tracing.is_off() {
            // They are the caller's code, too.
            for (record, done) in chunk.iter().zip(0..) {
                deliveries.push(self.enqueue(record).await.map_err(|cause| (done, cause))?);
            }
            return Ok(());
        }
        let mut done = 0;
        while let Some(reason) = self.put_all(chunk, &mut done, deliveries) {
            let Some(record) = chunk.get(done) else { break };
            if !may_pass(&reason) {
                return Err((done, SendError::NotAccepted(reason)));
            }
            let waited = self.enqueue_when_possible(&record.as_record(), reason).await;
            deliveries.push(waited.map_err(|cause| (done, cause))?);
            done = done.saturating_add(1);
        }
        Ok(())
    }

    /// Puts in the records of `chunk` from `done` on, which counts them. Returns why the next one was not taken.
    fn put_all<R: AsRecord>(
        &self,
        chunk: &[R],
        done: &mut usize,
        deliveries: &mut Deliveries,
    ) -> Option<EnqueueError> {
        let mut intake = self.accumulator.intake(&self.clock);
        let mut refused = None;
        for record in chunk.get(*done..).unwrap_or_default() {
            match intake.enqueue(&record.as_record()) {
                Ok(delivery) => deliveries.push(delivery),
                Err(reason) => {
                    refused = Some(reason);
                    break;
                }
            }
            *done = done.saturating_add(1);
        }
        let wake = intake.wake || refused.is_some();
        drop(intake);
        if wake {
            self.stir();
        }
        refused
    }

    /// Sends records and waits until each is acknowledged or given up: a result for each, in their order.
    ///
    /// A record that is not accepted for what it is, too large perhaps, does not keep those behind it. When the time to be
    /// accepted is over ([`SendError::Blocked`]) or the producer takes nothing more, all that are left fail with that.
    ///
    /// # Cancellation
    /// Dropping the future sends what was accepted so far.
    pub async fn send_all<I>(&self, records: I) -> Vec<Result<RecordMetadata, SendError>>
    where
        I: IntoIterator,
        I::Item: AsRecord,
    {
        let mut records = records.into_iter();
        let mut results = Vec::new();
        let mut accepted = Vec::new();
        let mut rest: Vec<I::Item> = Vec::new();
        loop {
            let again = std::mem::take(&mut rest);
            match self.enqueue_all(again.into_iter().chain(records.by_ref())).await {
                Ok(deliveries) => {
                    accepted.push((deliveries, None));
                    break;
                }
                Err(error) => {
                    let is_last = !error.is_about_one_record();
                    let count =
                        if is_last { error.rest.len().saturating_add(records.by_ref().count()) } else { 1 };
                    rest = error.rest;
                    accepted.push((error.accepted, Some((error.cause, count))));
                    if is_last {
                        break;
                    }
                    rest.drain(..1);
                }
            }
        }
        for (deliveries, refused) in accepted {
            for delivery in deliveries {
                results.push(delivery.await.map_err(SendError::NotAcknowledged));
            }
            if let Some((cause, count)) = refused {
                results.extend(std::iter::repeat_n(Err(cause), count));
            }
        }
        results
    }
}
