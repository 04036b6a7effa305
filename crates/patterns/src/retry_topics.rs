//! Topics in which records wait for another try.

use std::time::Duration;

use milena::{ConsumedRecord, NewTopic, Producer, SendError};

use crate::{
    DeadLetters, Fallback, GivenUp,
    origin::{Origin, RETRY_AT, RETRY_COUNT, last_text},
    run::now_ms,
};

/// Puts a record that failed aside, so that those behind it go on: into `<topic>.retry-1`, from there into `<topic>.retry-2`, and
/// so on, each with a longer wait; after the last it is a [dead letter](DeadLetters).
///
/// The runner reads the topic and its retry topics, in one group:
///
/// ```no_run
/// use milena::{Client, ConsumedRecord};
/// use milena_patterns::{DeadLetters, HandlerError, RetryTopics, Runner, Shutdown, Tries};
///
/// # async fn run(client: Client, shutdown: Shutdown) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = client.producer().build()?;
/// let retries = RetryTopics::new("order-events", producer.clone(), DeadLetters::new(producer));
/// Runner::new(client.consumer("inventory").subscribe(retries.topics()))
///     .tries(Tries::new(1))
///     .fallback(retries)
///     .run(|record: ConsumedRecord| async move { reserve(&record) }, &shutdown)
///     .await?;
/// # Ok(())
/// # }
/// # fn reserve(_: &ConsumedRecord) -> Result<(), HandlerError> { Ok(()) }
/// ```
///
/// A record in the n-th retry topic has the headers `retryCount` (n) and `retryAt` (milliseconds since 1970) and those of a dead
/// letter. It is not tried before `retryAt`; the group goes on meanwhile, and so do other partitions. Headers are what anybody
/// can write: the topic a record lies in decides how often it was put aside, and no `retryAt` makes it wait longer than records of
/// its topic do.
///
/// A record that was put aside is overtaken by others with its key: where their order matters, try in place.
#[derive(Clone, Debug)]
pub struct RetryTopics {
    topic: String,
    producer: Producer,
    dead_letters: DeadLetters,
    delays: Vec<Duration>,
}

impl RetryTopics {
    /// Three retry topics for `topic`, with waits of 2, 4 and 8 seconds.
    #[must_use]
    pub fn new(topic: impl Into<String>, producer: Producer, dead_letters: DeadLetters) -> Self {
        let delays = (1..=3).map(|n| Duration::from_secs(1 << n)).collect();
        Self { topic: topic.into(), producer, dead_letters, delays }
    }

    /// How long a record waits in each retry topic; there are as many topics.
    #[must_use]
    pub fn delays(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.delays = delays.into_iter().collect();
        self
    }

    /// The topic and its retry topics: what the runner has to read.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let retries = (1..=self.delays.len()).map(|n| self.retry_topic(n));
        std::iter::once(self.topic.clone()).chain(retries).collect()
    }

    /// The retry topics and the one for dead letters, to be made with as many partitions as `make` says.
    pub fn new_topics(&self, make: impl Fn(String) -> NewTopic) -> Vec<NewTopic> {
        let topics = self.topics().into_iter().skip(1);
        topics.chain([self.dead_letters.topic(&self.topic)]).map(make).collect()
    }

    fn retry_topic(&self, n: usize) -> String {
        format!("{}.retry-{n}", self.topic)
    }

    /// How often the record has been put aside, by the topic it lies in. `None` for topics that are not ours.
    fn put_aside(&self, topic: &str) -> Option<usize> {
        let rest = topic.strip_prefix(self.topic.as_str())?;
        if rest.is_empty() {
            return Some(0);
        }
        let n = rest.strip_prefix(".retry-")?.parse().ok()?;
        // One way to write a number.
        ((1..=self.delays.len()).contains(&n) && self.retry_topic(n) == topic).then_some(n)
    }

    /// How long a record in the n-th retry topic has to wait yet.
    fn rest(&self, n: usize, retry_at: Option<&str>, now_ms: i64) -> Duration {
        let longest = n.checked_sub(1).and_then(|n| self.delays.get(n)).copied().unwrap_or_default();
        let retry_at = retry_at.and_then(|text| text.parse::<i64>().ok());
        let rest = retry_at.map_or(0, |at| at.saturating_sub(now_ms));
        Duration::from_millis(rest.try_into().unwrap_or(0)).min(longest)
    }
}

impl Fallback for RetryTopics {
    async fn take(&self, record: &ConsumedRecord, why: &GivenUp) -> Result<(), SendError> {
        let Some(n) = self.put_aside(record.topic()) else {
            return self.dead_letters.take(record, why).await;
        };
        let origin = Origin::of(record, n > 0);
        let Some(delay) = self.delays.get(n) else {
            return self.dead_letters.send(record, &origin, &self.topic, why).await;
        };
        let now_ms = now_ms();
        let retry_at = now_ms.saturating_add(delay.as_millis().try_into().unwrap_or(i64::MAX));
        let n = n.saturating_add(1);
        let letter = origin.letter(record, &self.retry_topic(n), why, now_ms);
        let letter = letter.header(RETRY_COUNT, n.to_string()).header(RETRY_AT, retry_at.to_string());
        self.producer.send(letter).await?;
        Ok(())
    }

    fn wait_before(&self, record: &ConsumedRecord, now_ms: i64) -> Duration {
        match self.put_aside(record.topic()) {
            None | Some(0) => Duration::ZERO,
            Some(n) => self.rest(n, last_text(record, RETRY_AT), now_ms),
        }
    }
}
