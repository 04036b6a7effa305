//! What is done with a record, and how it can fail.

use std::{
    any::Any,
    error::Error,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use milena::ConsumedRecord;

/// Does what is to be done with a record. A closure that returns a future is one:
///
/// ```
/// use milena::ConsumedRecord;
/// use milena_patterns::{Handler, HandlerError};
///
/// fn handler() -> impl Handler {
///     async |record: ConsumedRecord| -> Result<(), HandlerError> {
///         let order = record.value().ok_or_else(|| HandlerError::permanent("an order without a value"))?;
///         println!("{} bytes", order.len());
///         Ok(())
///     };
///     |record: ConsumedRecord| async move {
///         let text = std::str::from_utf8(record.value().map_or(&[][..], |value| value))?;
///         println!("{text}");
///         Ok(())
///     }
/// }
/// ```
///
/// A record may be handled more than once: after a failure, and when the process ends before its offset is committed. A
/// panic counts as a failure of the record.
///
/// # Cancellation
/// The future is dropped when its time is over, and when the partition was lost to another member.
pub trait Handler: Send + Sync + 'static {
    /// Handles a record.
    fn handle(&self, record: ConsumedRecord) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl<F, H> Handler for H
where
    H: Fn(ConsumedRecord) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), HandlerError>> + Send,
{
    fn handle(&self, record: ConsumedRecord) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(record)
    }
}

/// Does what is to be done with some records of one partition, in their order. A closure that returns a future is one. What
/// is said of [`Handler`] holds here too.
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles records, of which there is at least one.
    fn handle(&self, records: Vec<ConsumedRecord>) -> impl Future<Output = Result<(), BatchError>> + Send;
}

impl<F, H> BatchHandler for H
where
    H: Fn(Vec<ConsumedRecord>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), BatchError>> + Send,
{
    fn handle(&self, records: Vec<ConsumedRecord>) -> impl Future<Output = Result<(), BatchError>> + Send {
        self(records)
    }
}

/// Why a record was not handled. Every error becomes one by `?`, and is tried again; one that no further try can help is
/// made by [`permanent`](Self::permanent), and one that says nothing of the record by [`unavailable`](Self::unavailable).
pub struct HandlerError {
    error: Box<dyn Error + Send + Sync>,
    blame: Blame,
}

/// What a failure is due to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Nobody knows: it is tried as often as it may be.
    Unknown,
    /// The record: no try can help.
    Record,
    /// What handling needs: trying goes on until it is there.
    Surroundings,
}

impl HandlerError {
    /// An error that trying again can't help: the record is given up at once.
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), blame: Blame::Record }
    }

    /// An error that any record would meet now, for what handling needs is not there: a database, a registry. The record is
    /// tried again for as long as that lasts, with the longest wait in between, and is never given up for it. Its partition (or
    /// key) waits meanwhile; others go on.
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), blame: Blame::Surroundings }
    }

    /// True when trying again can't help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.blame == Blame::Record
    }

    /// True when the record is not to blame.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.blame == Blame::Surroundings
    }
}

// It is no `Error` itself, or every error could not become one.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { error: error.into(), blame: Blame::Unknown }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (blame: {:?})", self.error, self.blame)
    }
}

/// Why a batch was not handled, or not all of it.
#[derive(Debug)]
pub struct BatchError {
    /// How many records at its beginning were: they are not handled again.
    pub done: usize,
    /// Why the next one was not.
    pub error: HandlerError,
}

impl<E: Into<HandlerError>> From<E> for BatchError {
    fn from(error: E) -> Self {
        Self { done: 0, error: error.into() }
    }
}

/// A record that was given up, as it is told to whoever takes it.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// What the last try ran into.
    pub reason: Reason,
    /// How often it was tried here.
    pub tries: u32,
}

/// How a try ended that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The handler returned this error.
    Failed(String),
    /// The handler panicked with these words.
    Panicked(String),
    /// The handler took longer than it may.
    TimedOut(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Panicked(words) => write!(f, "the handler panicked: {words}"),
            Self::TimedOut(time) => write!(f, "the handler took longer than {time:?}"),
        }
    }
}

/// A try that did not succeed.
#[derive(Debug)]
pub(crate) struct FailedTry {
    pub(crate) done: usize,
    pub(crate) blame: Blame,
    pub(crate) reason: Reason,
}

/// Runs a try to its end, whatever that is.
pub(crate) async fn attempt<F>(make: impl FnOnce() -> F, limit: Option<Duration>) -> Result<(), FailedTry>
where
    F: Future<Output = Result<(), BatchError>>,
{
    // Making the future is the handler's code as well.
    let trying = async { make().await };
    let caught = unwinding(trying);
    let ended = match limit {
        None => caught.await,
        Some(limit) => match tokio::time::timeout(limit, caught).await {
            Ok(ended) => ended,
            Err(_) => {
                return Err(FailedTry { done: 0, blame: Blame::Unknown, reason: Reason::TimedOut(limit) });
            }
        },
    };
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(BatchError { done, error })) => {
            Err(FailedTry { done, blame: error.blame, reason: Reason::Failed(error.to_string()) })
        }
        Err(panic) => {
            let reason = Reason::Panicked(words_of(&*panic).to_owned());
            Err(FailedTry { done: 0, blame: Blame::Unknown, reason })
        }
    }
}

/// The future's outcome, or what it panicked with. It is not polled again after a panic.
async fn unwinding<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_end_of_a_try_is_told() {
        let failed = attempt(|| async { Err("no stock".into()) }, None).await.unwrap_err();
        assert_eq!((failed.reason, failed.blame), (Reason::Failed("no stock".into()), Blame::Unknown));
        let error = || BatchError { done: 2, error: HandlerError::permanent("no order") };
        let failed = attempt(|| async { Err(error()) }, None).await.unwrap_err();
        assert_eq!((failed.done, failed.blame), (2, Blame::Record));
        let away = || async { Err(HandlerError::unavailable("no database").into()) };
        assert_eq!(attempt(away, None).await.unwrap_err().blame, Blame::Surroundings);
        let failed = attempt(|| async { panic!("at {}", 7) }, None).await.unwrap_err();
        assert_eq!(failed.reason.to_string(), "the handler panicked: at 7");
        let early = || -> std::future::Ready<Result<(), BatchError>> { panic!("early") };
        let failed = attempt(early, None).await.unwrap_err();
        assert_eq!(failed.reason, Reason::Panicked("early".into()));
        let limit = Some(Duration::from_secs(1));
        let failed = attempt(std::future::pending, limit).await.unwrap_err();
        assert_eq!(failed.reason.to_string(), "the handler took longer than 1s");
        attempt(|| async { Ok(()) }, limit).await.unwrap();
    }

    #[test]
    fn an_error_says_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the order was not stored")]
        struct Outer(#[source] std::fmt::Error);
        let error = HandlerError::from(Outer(std::fmt::Error));
        assert!(error.to_string().starts_with("the order was not stored: an error occurred"), "{error}");
    }
}
