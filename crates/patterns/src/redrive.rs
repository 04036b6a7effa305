//! Sending dead letters back.

use std::{collections::BTreeMap, time::Duration};

use milena::{
    AdminError, AutoOffsetReset, BuildError, Client, CommitError, ConsumeError, ConsumedRecord, Consumer,
    GroupMetadata, InitializeError, IsolationLevel, ListedOffset, OffsetSpec, Record, SendError,
    TopicPartition, TransactionError, TransactionalProducer,
};
use thiserror::Error;

use crate::{
    DeadLetters, Shutdown,
    origin::{Origin, plain},
};

/// Sends the dead letters of a topic back to where they came from, as they were: key, value, headers and timestamp.
///
/// Letters and the offsets behind them are committed in transactions, so each is sent back once, also when this is killed and
/// started again; a second one that runs at the same time fences the first. It goes as far as there were letters when it
/// began. They stay in their topic until its retention takes them; that they were sent back is kept as the offsets of a group, by
/// default `<topic>.redrive`.
///
/// Where they go is told by the name of their topic, never by what a header says.
///
/// ```no_run
/// use milena::Client;
/// use milena_patterns::{Redrive, Shutdown};
///
/// # async fn redrive(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let would = Redrive::new("orders.dlq").dry_run(true).run(&client, &Shutdown::new()).await?;
/// println!("{} letters would be sent back to {}", would.sent, would.to);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before it is run"]
pub struct Redrive {
    topic: String,
    to: Option<String>,
    group: Option<String>,
    limit: u64,
    is_dry: bool,
}

/// What was sent back, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveReport {
    /// The topic that the letters were sent to.
    pub to: String,
    /// How many letters.
    pub sent: u64,
}

/// Letters could not be sent back. Those of earlier transactions were.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// The name does not tell where letters go.
    #[error("{0} does not end with {suffix}: say which topic its records are to go to", suffix = DeadLetters::SUFFIX)]
    NoTarget(String),
    /// They would be sent to where they are.
    #[error("the letters of {0} can't be sent back to it: they would come again with every run")]
    ToItself(String),
    /// A topic could not be looked at.
    #[error("looking at {topic}: {error}")]
    Topic {
        /// Which.
        topic: String,
        /// Why.
        #[source]
        error: AdminError,
    },
    /// The consumer can't be.
    #[error(transparent)]
    Settings(#[from] BuildError),
    /// The producer can't be.
    #[error(transparent)]
    Initialize(#[from] InitializeError),
    /// The letters can't be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// What was sent back before can't be found out.
    #[error("asking for the offsets of what was sent back before: {0}")]
    Offsets(#[from] CommitError),
    /// A letter is not accepted where it belongs.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The transaction is not committed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl Redrive {
    /// Sends letters of this topic back, which is the one for its name without `.dlq`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), to: None, group: None, limit: u64::MAX, is_dry: false }
    }

    /// Sends them to this topic instead.
    pub fn to(mut self, topic: impl Into<String>) -> Self {
        self.to = Some(topic.into());
        self
    }

    /// Keeps what was sent back as the offsets of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sends so many back at most.
    pub fn limit(mut self, letters: u64) -> Self {
        self.limit = letters;
        self
    }

    /// Only counts.
    pub fn dry_run(mut self, is_dry: bool) -> Self {
        self.is_dry = is_dry;
        self
    }

    /// The topic that they are sent to.
    ///
    /// # Errors
    /// [`RedriveError::NoTarget`] and [`RedriveError::ToItself`].
    pub fn target(&self) -> Result<&str, RedriveError> {
        let by_name = || self.topic.strip_suffix(DeadLetters::SUFFIX).filter(|name| !name.is_empty());
        match self.to.as_deref().or_else(by_name) {
            Some(to) if to == self.topic => Err(RedriveError::ToItself(self.topic.clone())),
            Some(to) => Ok(to),
            None => Err(RedriveError::NoTarget(self.topic.clone())),
        }
    }

    /// The group whose offsets tell what was sent back.
    #[must_use]
    pub fn offsets_group(&self) -> String {
        self.group.clone().unwrap_or_else(|| format!("{}.redrive", self.topic))
    }

    /// Sends them back, until all are or `shutdown` is asked for.
    ///
    /// # Errors
    /// See [`RedriveError`].
    ///
    /// # Cancellation
    /// Dropping the future aborts the open transaction: its letters are sent back the next time.
    pub async fn run(self, client: &Client, shutdown: &Shutdown) -> Result<RedriveReport, RedriveError> {
        let to = self.target()?.to_owned();
        let ends = self.ends(client).await?;
        let group = self.offsets_group();
        let consumer = client.consumer(group.as_str()).assign(ends.keys().cloned());
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest);
        let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted).build()?;
        let mut sending = Sending { to, group: GroupMetadata::without_member(group), producer: None };
        if !self.is_dry {
            let id = format!("{}.redrive", self.topic);
            sending.producer = Some(client.transactional_producer(id).build().await?);
        }
        let sent = self.send(&consumer, &mut sending, &ends, shutdown).await;
        // Neither has anything left to say.
        let _ = consumer.close(Duration::from_secs(5)).await;
        if let Some(producer) = sending.producer {
            let _ = producer.close(Duration::from_secs(5)).await;
        }
        Ok(RedriveReport { to: sending.to, sent: sent? })
    }

    /// Up to where each partition is read.
    async fn ends(&self, client: &Client) -> Result<BTreeMap<TopicPartition, i64>, RedriveError> {
        let looked_at = |error| RedriveError::Topic { topic: self.topic.clone(), error };
        let admin = client.admin();
        let count = admin.partition_count(self.topic.as_str()).await.map_err(looked_at)?;
        let partitions = (0..i32::try_from(count).unwrap_or(i32::MAX))
            .map(|partition| (TopicPartition::new(self.topic.as_str(), partition), OffsetSpec::Latest));
        let listed = admin.list_offsets(partitions, IsolationLevel::ReadCommitted).await;
        let ends = listed.into_iter().map(|(partition, listed)| {
            let ListedOffset { offset, .. } = listed.map_err(looked_at)?;
            // Nothing at all is there.
            Ok((partition, offset.unwrap_or(0)))
        });
        ends.collect()
    }

    async fn send(
        &self,
        consumer: &Consumer,
        sending: &mut Sending,
        ends: &BTreeMap<TopicPartition, i64>,
        shutdown: &Shutdown,
    ) -> Result<u64, RedriveError> {
        let mut sent = 0u64;
        let is_open = |partition: &TopicPartition, end: &i64| {
            consumer.position(partition).is_none_or(|position| position.offset < *end)
        };
        while sent < self.limit && ends.iter().any(|(partition, end)| is_open(partition, end)) {
            let polled = tokio::select! {
                biased;
                () = shutdown.begun() => return Ok(sent),
                polled = consumer.poll(Duration::from_millis(500)) => polled?,
            };
            let Some(records) = polled else { return Ok(sent) };
            let left = usize::try_from(self.limit - sent).unwrap_or(usize::MAX);
            let letters = records.iter().map(|record| record.to_record()).filter(|record| {
                let (partition, _) = record.next_position();
                ends.get(&partition).is_some_and(|end| record.offset() < *end)
            });
            let letters: Vec<_> = letters.take(left).collect();
            sending.send(&letters).await?;
            sent = sent.saturating_add(letters.len().try_into().unwrap_or(u64::MAX));
        }
        Ok(sent)
    }
}

struct Sending {
    to: String,
    group: GroupMetadata,
    /// None sends nothing.
    producer: Option<TransactionalProducer>,
}

impl Sending {
    /// Sends these in a transaction, with the offsets behind them.
    async fn send(&mut self, letters: &[ConsumedRecord]) -> Result<(), RedriveError> {
        let Some(producer) = self.producer.as_mut().filter(|_| !letters.is_empty()) else { return Ok(()) };
        let transaction = producer.begin()?;
        for letter in letters {
            // The commit waits for it.
            drop(transaction.enqueue(as_it_was(letter, &self.to)).await?);
        }
        let behind: BTreeMap<_, _> = letters.iter().map(ConsumedRecord::next_position).collect();
        transaction.send_offsets(&self.group, behind).await?;
        transaction.commit().await?;
        Ok(())
    }
}

fn as_it_was(letter: &ConsumedRecord, to: &str) -> Record {
    let timestamp = Origin::told(letter).map_or(letter.timestamp(), |origin| origin.timestamp);
    let record = plain(letter, to);
    if timestamp >= 0 { record.timestamp(timestamp) } else { record }
}
