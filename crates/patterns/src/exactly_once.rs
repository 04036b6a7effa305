//! Reading, transforming and writing in transactions.

use std::{collections::BTreeMap, fmt, time::Duration};

use milena::{
    BuildError, ConsumeError, ConsumedRecord, Consumer, ConsumerBuilder, GroupMetadata, InitializeError,
    IsolationLevel, Record, Remedy, SeekTo, SendError, TopicPartition, TransactionError,
    TransactionalProducer, TransactionalProducerBuilder,
};
use thiserror::Error;

use crate::{
    BatchError, DeadLetters, GivenUp, HandlerError, Reason, Shutdown, Tries,
    handler::{Blame, attempt},
    origin::Origin,
    run::now_ms,
};

const POLL: Duration = Duration::from_secs(1);

/// Makes the records to write out of records that were read, in their order. A closure that returns a future is one.
///
/// It may be asked more than once for the same records: what it does besides is not undone when the transaction is aborted.
///
/// # Cancellation
/// The future is dropped when its time is over.
pub trait Transform: Send + Sync {
    /// Transforms records of one or more partitions, of which there is at least one.
    fn transform(
        &self,
        records: Vec<ConsumedRecord>,
    ) -> impl Future<Output = Result<Vec<Record>, HandlerError>> + Send;
}

impl<F, T> Transform for T
where
    T: Fn(Vec<ConsumedRecord>) -> F + Send + Sync,
    F: Future<Output = Result<Vec<Record>, HandlerError>> + Send,
{
    fn transform(
        &self,
        records: Vec<ConsumedRecord>,
    ) -> impl Future<Output = Result<Vec<Record>, HandlerError>> + Send {
        self(records)
    }
}

/// Reads records, transforms them, and writes the results with the offsets behind what was read in one transaction: whoever
/// reads committed records sees the outcome of each exactly once, whatever is killed in between (KIP-447).
///
/// It owns the consumer and the producer. After an abort it goes back to where the transaction began, in the partitions that
/// it still has. Offsets go along with the membership under which the records were read, so that a member that has lost its
/// partitions commits nothing. Records that can't be transformed are looked for one by one; with
/// [`dead_letters`](Self::dead_letters) they become dead letters within the transaction, else it ends with the error.
///
/// ```no_run
/// use milena::{Client, ConsumedRecord, Record};
/// use milena_patterns::{ExactlyOnce, HandlerError, Shutdown};
///
/// # async fn run(client: Client, host: &str, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let requests = client.consumer("payments").subscribe(["payment-requests"]);
/// let producer = client.transactional_producer(format!("payments-{host}"));
/// ExactlyOnce::new(requests, producer)
///     .run(|requests: Vec<ConsumedRecord>| async move { pay(&requests) }, &shutdown)
///     .await?;
/// # Ok(())
/// # }
/// fn pay(requests: &[ConsumedRecord]) -> Result<Vec<Record>, HandlerError> {
///     let key = |request: &ConsumedRecord| request.key().cloned().ok_or_else(|| HandlerError::permanent("no order"));
///     requests.iter().map(|request| Ok(Record::new("payment-events").key(key(request)?).value("paid"))).collect()
/// }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct ExactlyOnce {
    consumer: ConsumerBuilder,
    producer: TransactionalProducerBuilder,
    tries: Tries,
    try_timeout: Duration,
    close_timeout: Duration,
    has_dead_letters: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExactlyOnceReport {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were aborted.
    pub aborted: u64,
    /// Records whose offsets were committed.
    pub records: u64,
    /// Of them, those that became dead letters.
    pub given_up: u64,
}

impl fmt::Display for ExactlyOnceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, aborted, records, given_up } = self;
        write!(
            f,
            "{committed} transactions committed, {aborted} aborted, with {records} records, of which {given_up} \
             were given up"
        )
    }
}

/// Why it ended before it was asked to. What was committed is complete; the rest is read again by whoever reads next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExactlyOnceError {
    /// The consumer can't be.
    #[error(transparent)]
    Settings(#[from] BuildError),
    /// The producer can't be.
    #[error(transparent)]
    Initialize(#[from] InitializeError),
    /// The consumer can't go on.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A record can't be transformed, and dead letters are not wanted.
    #[error("the record at offset {offset} of {partition} failed {tries} times: {reason}")]
    Transform {
        /// Where the record is.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// What the last try ran into.
        reason: Reason,
        /// How often it was tried.
        tries: u32,
    },
    /// Transactions fail, one after the other.
    #[error("{tries} transactions in a row were aborted: {last}")]
    Aborted {
        /// How many.
        tries: u32,
        /// Why the last one was.
        last: String,
    },
    /// The producer can't go on: it is fenced by a newer one with its id, or the end of a transaction is not known.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

/// Why a transaction was aborted.
enum Aborted {
    /// The records can't be transformed.
    Transform { reason: Reason, blame: Blame },
    /// Something else, which passes.
    Other(String),
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transform { reason, .. } => reason.fmt(f),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// The end of a transaction that was not committed.
enum NotCommitted {
    Aborted(Aborted),
    Fatal(ExactlyOnceError),
}

impl ExactlyOnce {
    /// Reads what `consumer` does, committed records only, and writes with `producer`.
    ///
    /// The transactional id names the instance: it has to be the same when the instance comes back, and another one for each that
    /// runs at the same time.
    pub fn new(consumer: ConsumerBuilder, producer: TransactionalProducerBuilder) -> Self {
        Self {
            consumer,
            producer,
            tries: Tries::new(5),
            try_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            has_dead_letters: false,
        }
    }

    /// How often records are tried, and how long is waited after a transaction that was aborted; 5 tries by default.
    pub fn tries(mut self, tries: Tries) -> Self {
        self.tries = tries;
        self
    }

    /// How long a transformation may take, 30 s by default. It should be less than the transaction timeout.
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// Records that can't be transformed become dead letters, in `<topic>.dlq`, in the transaction that their offsets are in.
    pub fn dead_letters(mut self) -> Self {
        self.has_dead_letters = true;
        self
    }

    /// Runs until `shutdown` is asked for: then the transaction that is open is finished.
    ///
    /// # Errors
    /// See [`ExactlyOnceError`].
    ///
    /// # Cancellation
    /// Dropping the future aborts the open transaction, or leaves its commit to go on in the background.
    pub async fn run(
        self,
        transform: impl Transform,
        shutdown: &Shutdown,
    ) -> Result<ExactlyOnceReport, ExactlyOnceError> {
        let Self { consumer, producer, tries, try_timeout, close_timeout, has_dead_letters } = self;
        let producer = producer.build().await?;
        let consumer =
            consumer.without_auto_commit().isolation_level(IsolationLevel::ReadCommitted).build()?;
        let report = ExactlyOnceReport::default();
        let mut pipeline =
            Pipeline { consumer, producer, transform, tries, try_timeout, has_dead_letters, report };
        let ended = pipeline.until_end(shutdown).await;
        if let Err(error) = pipeline.consumer.close(close_timeout).await {
            tracing::warn!(%error, "the group was not left");
        }
        if let Err(error) = pipeline.producer.close(close_timeout).await {
            tracing::warn!(%error, "the producer was not closed");
        }
        ended.map(|()| pipeline.report)
    }
}

struct Pipeline<T> {
    consumer: Consumer,
    producer: TransactionalProducer,
    transform: T,
    tries: Tries,
    try_timeout: Duration,
    has_dead_letters: bool,
    report: ExactlyOnceReport,
}

/// How the next transaction is to be.
struct Pace {
    /// How many records it is about at most: one when one of several can't be transformed, and then more and more again.
    size: usize,
    /// How many in a row were aborted that count as tries.
    tried: u32,
    /// How many in a row were aborted for what is not there.
    unavailable: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: usize::MAX, tried: 0, unavailable: 0 }
    }
}

impl Pace {
    fn succeeded(&mut self) {
        *self = Self { size: self.size.saturating_mul(2), tried: 0, unavailable: 0 };
    }

    /// How long to wait after an abort of a transaction with so many records, or the error to end with.
    fn after(
        &mut self,
        aborted: Aborted,
        records: usize,
        tries: Tries,
        spread: f64,
    ) -> Result<Duration, ExactlyOnceError> {
        let wait = tries.wait_after(self.tried, spread);
        match aborted {
            Aborted::Other(last) if wait.is_none() => {
                Err(ExactlyOnceError::Aborted { tries: self.tried, last })
            }
            Aborted::Transform { blame: Blame::Surroundings, reason } => {
                self.tried = self.tried.saturating_sub(1);
                self.unavailable = self.unavailable.saturating_add(1);
                if self.unavailable == 1 {
                    tracing::warn!(%reason, "records wait for what transforming them needs");
                }
                Ok(tries.endless().wait_after(self.unavailable, spread).unwrap_or_default())
            }
            Aborted::Transform { blame, .. } if records > 1 && (wait.is_none() || blame == Blame::Record) => {
                (self.size, self.tried) = (1, 0);
                Ok(Duration::ZERO)
            }
            Aborted::Other(_) | Aborted::Transform { .. } => Ok(wait.unwrap_or_default()),
        }
    }
}

impl<T: Transform> Pipeline<T> {
    async fn until_end(&mut self, shutdown: &Shutdown) -> Result<(), ExactlyOnceError> {
        let mut pace = Pace::default();
        loop {
            let polled = tokio::select! {
                biased;
                () = shutdown.begun() => return Ok(()),
                polled = self.consumer.poll(POLL) => polled?,
            };
            let Some(records) = polled else { return Ok(()) };
            // The membership under which they were read: offsets of a later one would not be refused when it has lost them.
            let Some(group) = self.consumer.group_metadata().filter(|_| !records.is_empty()) else {
                self.rewind(records.iter().map(|record| record.to_record()));
                continue;
            };
            let mut records: Vec<_> = records.iter().map(|record| record.to_record()).collect();
            let mut is_rewound = false;
            while !records.is_empty() && !shutdown.has_begun() {
                let part: Vec<_> = records.iter().take(pace.size).cloned().collect();
                let len = part.len();
                pace.tried = pace.tried.saturating_add(1);
                match self.transaction(&group, &part, pace.tried).await {
                    Ok(()) => {
                        records.drain(..len);
                        pace.succeeded();
                    }
                    Err(NotCommitted::Fatal(error)) => return Err(error),
                    Err(NotCommitted::Aborted(aborted)) => {
                        self.report.aborted += 1;
                        tracing::debug!(tried = pace.tried, records = len, reason = %aborted, "a transaction was aborted");
                        self.rewind(records.drain(..));
                        is_rewound = true;
                        let wait = pace.after(aborted, len, self.tries, fastrand::f64())?;
                        tokio::select! {
                            biased;
                            () = shutdown.begun() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                }
            }
            if !is_rewound {
                pace.size = usize::MAX;
            }
        }
    }

    /// Goes back to the first of these in each partition that is still ours.
    fn rewind(&self, records: impl IntoIterator<Item = ConsumedRecord>) {
        let mut firsts = BTreeMap::new();
        for record in records {
            let (partition, _) = record.next_position();
            firsts.entry(partition).or_insert(record.offset());
        }
        for (partition, offset) in firsts {
            // One that is not ours any more is read by whoever has it.
            let _ = self.consumer.seek(&partition, SeekTo::Offset(offset));
        }
    }

    /// One transaction with these records. `tried`: the number of this try.
    async fn transaction(
        &mut self,
        group: &GroupMetadata,
        records: &[ConsumedRecord],
        tried: u32,
    ) -> Result<(), NotCommitted> {
        let mut given_up = 0;
        let made = match self.transformed(records).await {
            Ok(made) => made,
            Err((reason, blame)) => {
                let is_last = match blame {
                    Blame::Surroundings => false,
                    Blame::Record => true,
                    Blame::Unknown => self.tries.wait_after(tried, 0.0).is_none(),
                };
                let [record] = records else {
                    return Err(NotCommitted::Aborted(Aborted::Transform { reason, blame }));
                };
                if !is_last {
                    return Err(NotCommitted::Aborted(Aborted::Transform { reason, blame }));
                }
                given_up = 1;
                vec![self.letter(record, GivenUp { reason, tries: tried }).map_err(NotCommitted::Fatal)?]
            }
        };
        let committed = self.write(group, records, made).await;
        if committed.is_ok() {
            self.report.committed += 1;
            self.report.records += u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.report.given_up += given_up;
        }
        committed
    }

    /// What is to be written, or why that can't be found out, and what is to blame.
    async fn transformed(&self, records: &[ConsumedRecord]) -> Result<Vec<Record>, (Reason, Blame)> {
        let made = std::sync::Mutex::new(Vec::new());
        let transforming = || async {
            let records = self.transform.transform(records.to_vec()).await?;
            *made.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = records;
            Ok::<_, BatchError>(())
        };
        match attempt(transforming, Some(self.try_timeout)).await {
            Ok(()) => Ok(made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
            Err(failed) => Err((failed.reason, failed.blame)),
        }
    }

    fn letter(&self, record: &ConsumedRecord, why: GivenUp) -> Result<Record, ExactlyOnceError> {
        let (partition, _) = record.next_position();
        if !self.has_dead_letters {
            let (offset, GivenUp { reason, tries }) = (record.offset(), why);
            return Err(ExactlyOnceError::Transform { partition, offset, reason, tries });
        }
        let topic = format!("{}{}", record.topic(), DeadLetters::SUFFIX);
        Ok(Origin::of(record, false).letter(record, &topic, &why, now_ms()))
    }

    async fn write(
        &mut self,
        group: &GroupMetadata,
        records: &[ConsumedRecord],
        made: Vec<Record>,
    ) -> Result<(), NotCommitted> {
        let transaction = self.producer.begin().map_err(not_committed)?;
        let writing = async {
            for record in made {
                // The commit waits for it.
                drop(transaction.enqueue(record).await?);
            }
            let behind: BTreeMap<_, _> = records.iter().map(ConsumedRecord::next_position).collect();
            transaction.send_offsets(group, behind).await.map_err(SendError::from)
        };
        if let Err(error) = writing.await {
            // What can't be aborted can't go on either.
            let aborted = transaction.abort().await;
            return Err(match aborted.map_err(not_committed) {
                Err(fatal @ NotCommitted::Fatal(_)) => fatal,
                _ => NotCommitted::Aborted(Aborted::Other(error.to_string())),
            });
        }
        let Err(error) = transaction.commit().await else { return Ok(()) };
        if error.remedy() != Remedy::CommitAgain {
            return Err(not_committed(error));
        }
        self.commit_again(error).await
    }

    /// Finds out whether a transaction is committed whose coordinator did not say.
    async fn commit_again(&mut self, mut error: TransactionError) -> Result<(), NotCommitted> {
        let mut tried = 1;
        while error.remedy() == Remedy::CommitAgain {
            let Some(wait) = self.tries.wait_after(tried, fastrand::f64()) else { break };
            tokio::time::sleep(wait).await;
            tried += 1;
            match self.producer.commit_again().await {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
        Err(not_committed(error))
    }
}

/// A transaction that is not committed is over, unless the producer is.
fn not_committed(error: TransactionError) -> NotCommitted {
    match error.remedy() {
        Remedy::NewProducer | Remedy::CommitAgain => NotCommitted::Fatal(error.into()),
        Remedy::None | Remedy::Abort | Remedy::Begin => {
            NotCommitted::Aborted(Aborted::Other(error.to_string()))
        }
    }
}
