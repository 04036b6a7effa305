//! Topics for records that no try could help.

use milena::{ConsumedRecord, Producer, SendError};

use crate::{Fallback, GivenUp, origin::Origin, run::now_ms};

/// Sends records that can't be handled to a topic of their own, `<topic>.dlq`.
///
/// A dead letter has the key, the value and the headers of the record byte for byte, and these headers behind them, all texts:
///
/// | header | |
/// |---|---|
/// | `milena.origin.topic`, `.partition`, `.offset` | where the record is |
/// | `milena.origin.timestamp` | its timestamp, in milliseconds since 1970 |
/// | `milena.origin.tries` | how often it was tried |
/// | `milena.origin.failedAt` | when it was given up, in milliseconds since 1970 |
/// | `milena.origin.error` | what the last try ran into, cut after 1,000 bytes |
///
/// The record's own timestamp is the time of giving up, so that the topic keeps it as long as it keeps records. The topic has to
/// be there unless the cluster makes topics by itself. A record is acknowledged as a dead letter before its offset is committed;
/// when the process is killed in between there are two dead letters of it.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: Producer,
    suffix: String,
}

impl DeadLetters {
    /// What the names of these topics end with.
    pub const SUFFIX: &str = ".dlq";

    /// Sends with this producer, which should be one with all acknowledgements.
    #[must_use]
    pub fn new(producer: Producer) -> Self {
        Self { producer, suffix: Self::SUFFIX.to_owned() }
    }

    /// What the names of the topics end with instead of `.dlq`.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// The topic for dead letters of `topic`.
    #[must_use]
    pub fn topic(&self, topic: &str) -> String {
        format!("{topic}{}", self.suffix)
    }

    /// Sends the letter of a record that was first at `origin`.
    pub(crate) async fn send(
        &self,
        record: &ConsumedRecord,
        origin: &Origin,
        base: &str,
        why: &GivenUp,
    ) -> Result<(), SendError> {
        let letter = origin.letter(record, &self.topic(base), why, now_ms());
        self.producer.send(letter).await?;
        tracing::warn!(
            topic = origin.topic,
            partition = origin.partition,
            offset = origin.offset,
            tries = why.tries,
            reason = %why.reason,
            "a record is a dead letter now"
        );
        Ok(())
    }
}

impl Fallback for DeadLetters {
    async fn take(&self, record: &ConsumedRecord, why: &GivenUp) -> Result<(), SendError> {
        self.send(record, &Origin::of(record, false), record.topic(), why).await
    }
}
