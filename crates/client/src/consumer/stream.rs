//! The records of a consumer as a stream.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use super::{ConsumedRecord, Consumer, Records};
use crate::ConsumeError;

/// How long one wait for a record lasts; the next follows at once.
const PATIENCE: Duration = Duration::from_secs(1);

type Polled = Result<Option<Records>, ConsumeError>;

/// Records one by one. Ends when the consumer is closed.
///
/// A record's position moves when the stream hands it out, so a commit covers what was seen and nothing more.
/// [`Consumer::poll`] costs less a record.
pub struct RecordStream {
    consumer: Consumer,
    waiting: Option<Pin<Box<dyn Future<Output = Polled> + Send>>>,
}

impl RecordStream {
    pub(super) fn new(consumer: Consumer) -> Self {
        Self { consumer, waiting: None }
    }
}

impl std::fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordStream").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

impl Stream for RecordStream {
    type Item = Result<ConsumedRecord, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let consumer = self.consumer.clone();
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(async move { consumer.poll_at_most(PATIENCE, 1).await }));
            let polled = std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            match polled {
                Ok(Some(records)) => {
                    if let Some(record) = records.iter().next() {
                        return Poll::Ready(Some(Ok(record.to_record())));
                    }
                }
                Ok(None) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
