//! Taking records in, under the lock.

use std::sync::{Arc, MutexGuard};

use milena_cluster::TopicPartition;
use milena_protocol::{
    records::{AppendError, HEADER_LEN, record_upper_bound},
    wire::ByteString,
};

use super::{
    Accumulator, Gate, State,
    topic_batches::{Drawing, no_such_partition},
};
use crate::{Clock, Delivery, EnqueueError, NewRecord};

/// A record that was taken.
#[derive(Debug)]
pub struct Enqueued {
    /// Tells what becomes of it.
    pub delivery: Delivery,
    /// True when the machine has something to do or a new deadline: whoever drives it must be woken.
    pub wake: bool,
}

/// An [`Accumulator`] that takes records from one caller; see [`Accumulator::intake`].
#[derive(Debug)]
pub struct Intake<'a, C> {
    pub(super) accumulator: &'a Accumulator,
    pub(super) clock: &'a C,
    pub(super) state: MutexGuard<'a, State>,
    /// True once the machine has something to do or a new deadline: whoever drives it must be woken afterwards.
    pub wake: bool,
}

impl<C: Clock> Intake<'_, C> {
    /// As [`Accumulator::enqueue`].
    ///
    /// # Errors
    /// As there. The records before it are taken all the same.
    #[inline]
    pub fn enqueue(&mut self, record: &NewRecord<'_>) -> Result<Delivery, EnqueueError> {
        let Accumulator { buffer_memory, max_request_size, batch_size, .. } = *self.accumulator;
        let len = record_upper_bound(record.key, record.value, record.wire_headers());
        let limit = max_request_size.min(buffer_memory);
        if len.saturating_add(HEADER_LEN) > limit {
            return Err(EnqueueError::TooLarge { len, limit });
        }
        let State { topics, wanted, books, random, waits, gate } = &mut *self.state;
        match gate {
            Gate::Open => {}
            Gate::Shut(error) => return Err(EnqueueError::Transaction(error.clone())),
            Gate::Closed => return Err(EnqueueError::Closed),
        }
        let Some(topic) = topics.get_mut(record.topic) else {
            let name = ByteString::from(record.topic);
            wanted.insert(name.clone());
            return Err(EnqueueError::UnknownTopic(name));
        };
        // A batch that is opened for the record takes a header more.
        if books.used.saturating_add(len).saturating_add(HEADER_LEN) > books.memory {
            let memory = books.memory;
            // Memory comes back only from what is sent: nothing lingers while somebody waits for it.
            self.state.end_lingering();
            return Err(EnqueueError::BufferFull(memory));
        }
        let drawing = Drawing { clock: self.clock, spread: &self.accumulator.spread, waits, random };
        let (index, is_spread) = topic.place(record, &self.accumulator.partitioner, drawing)?;
        let count = topic.partitions.len();
        let Some(partition) = topic.partitions.get_mut(index) else {
            return Err(no_such_partition(record, index, count));
        };
        if let Some(stopped) = &partition.stopped {
            return Err(EnqueueError::Stopped(stopped.clone()));
        }
        let name = || TopicPartition::new(topic.name.clone(), index as i32);
        loop {
            let batch = match &mut partition.open {
                Some(open) => open,
                None => {
                    self.wake = true;
                    let batch = self.accumulator.open_batch(self.clock.now(), name(), partition, books);
                    partition.open.insert(batch)
                }
            };
            let timestamp = record.timestamp.unwrap_or_else(|| batch.timestamp(self.clock));
            let before = batch.builder.capacity();
            match batch.builder.append(timestamp, record.key, record.value, record.wire_headers()) {
                Ok(place) => {
                    books.recharge(before, batch.builder.capacity());
                    let delivery = Delivery::new(Arc::clone(&batch.outcome), place);
                    if batch.builder.uncompressed_len() >= batch_size {
                        partition.close(name(), books);
                        self.wake = true;
                    }
                    if is_spread {
                        topic.sticky.took(len, batch_size);
                    }
                    return Ok(delivery);
                }
                Err(AppendError::Full) => {
                    partition.close(name(), books);
                    self.wake = true;
                }
                // The size was held against the limits before.
                Err(_) => return Err(EnqueueError::TooLarge { len, limit }),
            }
        }
    }
}
