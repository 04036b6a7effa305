//! Looking at what a producer sends, and at what becomes of it.

use std::{fmt, sync::Arc};

use milena_producer::SettledBatch;

use crate::{AsRecord, Record};

/// Sees every record before it is put into a batch, and every batch when it is known what became of it.
///
/// What it does is done in the caller's task, or in the producer's: it should be quick, and must not panic, which would end
/// the producer. Interceptors are called in the order they were added in (`interceptor.classes` of Java's producer).
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use milena::{ProducerInterceptor, Record, SettledBatch};
///
/// /// Says where records come from, and counts those that got there.
/// #[derive(Default)]
/// struct Origin(AtomicU64);
///
/// impl ProducerInterceptor for Origin {
///     fn on_send(&self, record: &mut Record) {
///         *record = std::mem::take(record).header("origin", "order-service");
///     }
///
///     fn on_settled(&self, batch: &SettledBatch) {
///         if batch.result.is_ok() {
///             self.0.fetch_add(batch.records, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait ProducerInterceptor: Send + Sync + 'static {
    /// A record is about to be put into a batch, and may be changed, or given another topic or partition. It is called
    /// once for a record, which may be refused yet.
    fn on_send(&self, record: &mut Record) {
        let _ = record;
    }

    /// It is known what became of a batch. The deliveries of its records may have been told already.
    fn on_settled(&self, batch: &SettledBatch) {
        let _ = batch;
    }
}

/// The interceptors of a producer, in their order.
#[derive(Clone, Default)]
pub(crate) struct Interceptors(Vec<Arc<dyn ProducerInterceptor>>);

impl Interceptors {
    pub(crate) fn push(&mut self, interceptor: Arc<dyn ProducerInterceptor>) {
        self.0.push(interceptor);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The record as it is to be sent.
    pub(crate) fn on_send(&self, record: &impl AsRecord) -> Record {
        let mut record = Record::from(record.as_record());
        self.0.iter().for_each(|interceptor| interceptor.on_send(&mut record));
        record
    }

    pub(crate) fn on_settled(&self, batch: &SettledBatch) {
        self.0.iter().for_each(|interceptor| interceptor.on_settled(batch));
    }
}

impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}
