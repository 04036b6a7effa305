//! Why a consumer is not doing what one expects of it.

use std::{collections::BTreeMap, fmt, time::Instant};

use milena_cluster::{Advised, BrokerId, Due, Machine, Reason, TopicPartition};
use milena_protocol::ApiKey;

use super::{Consumer, Lifecycle, Source};
use crate::{
    cursors::Cursor,
    fetcher::{Jam, Obstacle},
};

/// What a consumer does, and why its partitions stand still. As a text it has a line for the consumer, one for each
/// partition, and one for what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConsumerReport {
    /// Its group, if it is to be in one.
    pub group: Option<String>,
    /// The group's coordinator, if it is known.
    pub coordinator: Option<i32>,
    /// Where it stands: with its group, by which protocol, as which member and in which epoch or generation.
    pub state: String,
    /// The partitions that it reads.
    pub partitions: Vec<ConsumedPartition>,
    /// Bytes of records that it holds or waits for, of those it [may](crate::ConsumerConfig::max_buffered_bytes).
    pub buffered_bytes: usize,
    /// Why the last request for metadata had no answer, until one has.
    pub metadata_failure: Option<String>,
    /// What happens next by itself; nothing when an answer or a call is waited for.
    pub next: Option<Due>,
}

/// Where a consumer stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConsumedPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record to be handed out, if it is known.
    pub offset: Option<i64>,
    /// The end of what could be read when its broker was last asked.
    pub end_offset: Option<i64>,
    /// Bytes that have been fetched and not handed out.
    pub buffered_bytes: usize,
    /// Why nothing is fetched, or that it is.
    pub doing: Reason,
}

impl Consumer {
    /// What it does and why it does not do more.
    #[must_use]
    pub fn report(&self, now: Instant) -> ConsumerReport {
        let jams = self.fetcher.jams(now, &self.shared, &self.cursors);
        let partitions = self
            .cursors
            .iter()
            .map(|(partition, cursor)| self.report_partition(now, partition, cursor, &jams));
        let is_member = matches!(self.source, Source::Group(_) | Source::LeftGroup);
        ConsumerReport {
            group: is_member.then(|| self.shared.group().to_string()),
            coordinator: self.shared.coordinator().filter(|_| is_member).map(|broker| broker.0),
            state: self.explain_state(),
            partitions: partitions.collect(),
            buffered_bytes: self.fetcher.held_bytes(),
            metadata_failure: self.shared.metadata.last_failure().map(ToString::to_string),
            next: self.poll_timeout().map(|deadline| Due::new(now, deadline)),
        }
    }

    /// The lines of the [report](Self::report).
    #[must_use]
    pub fn explain(&self, now: Instant) -> Vec<String> {
        self.report(now).lines()
    }

    fn explain_state(&self) -> String {
        match (self.lifecycle, &self.source) {
            (Lifecycle::Stopped, _) => "stopped".to_owned(),
            (Lifecycle::Closing, _) => format!("closing; {}", self.membership.explain()),
            (_, Source::Nowhere) => "neither subscribed nor assigned".to_owned(),
            (_, Source::ByHand) => "assigned by hand".to_owned(),
            (_, Source::Group(_) | Source::LeftGroup) => {
                let coordinator = match self.shared.coordinator() {
                    Some(broker) => format!("coordinator {broker}"),
                    None => {
                        let why = self.shared.coordinator_failure();
                        format!(
                            "no coordinator is known{}",
                            why.map(|why| format!(": {why}")).unwrap_or_default()
                        )
                    }
                };
                format!("group {}: {}; {coordinator}", self.shared.group(), self.membership.explain())
            }
        }
    }

    fn report_partition(
        &self,
        now: Instant,
        partition: &TopicPartition,
        cursor: &Cursor,
        jams: &BTreeMap<BrokerId, Jam>,
    ) -> ConsumedPartition {
        let position = cursor.position().filter(|position| position.offset >= 0);
        let doing = match self.fetcher.obstacle(now, &self.shared, partition, cursor, jams) {
            Ok(bytes) => Reason::new(
                "fetching",
                format!("is fetched when its broker is next asked ({bytes} bytes are here)"),
            ),
            Err(obstacle) => self.reason(now, obstacle, partition, cursor),
        };
        ConsumedPartition {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            offset: position.map(|position| position.offset),
            end_offset: cursor.end_offset,
            buffered_bytes: self.fetcher.bytes(partition),
            doing,
        }
    }

    fn leader_of(&self, partition: &TopicPartition) -> Option<BrokerId> {
        self.shared.metadata.metadata().partition(partition).and_then(|known| known.leader)
    }

    fn reason(
        &self,
        now: Instant,
        obstacle: Obstacle,
        partition: &TopicPartition,
        cursor: &Cursor,
    ) -> Reason {
        match obstacle {
            Obstacle::Revoking => Reason::new("revoking", "is to be given up: waits for revoke_done"),
            Obstacle::AwaitingCommitted => {
                Reason::new("awaiting_committed", "waits for the committed offset")
                    .at(self.shared.coordinator())
                    .until(now, cursor.retry.until())
            }
            Obstacle::AwaitingOffset => {
                let errors = &self.shared.metadata.metadata().topic_errors;
                let why = errors.get(&partition.topic).map(|code| Advised::new(ApiKey::Metadata, *code));
                Reason::new("awaiting_offset", "waits for the leader to tell an offset")
                    .because(why.map(|why| why.to_string()))
                    .at(self.leader_of(partition))
                    .until(now, cursor.retry.until())
            }
            Obstacle::Unchecked => {
                let text = "waits for a new leader to tell whether the position is in its log";
                Reason::new("unchecked", text).at(self.leader_of(partition))
            }
            Obstacle::Halted(why) => Reason::new("halted", format!("stands still until a seek: {why}")),
            Obstacle::Paused => Reason::new("paused", "is paused"),
            Obstacle::Waiting => {
                Reason::new("back_off", "waits before it is tried again").until(now, cursor.retry.until())
            }
            Obstacle::NoLeader => {
                let since = self.shared.metadata.leaderless_since(partition);
                Reason::new("no_leader", "has no known leader: waits for metadata").since(now, since)
            }
            Obstacle::BrokerWaiting(broker) => {
                Reason::new("broker_back_off", format!("waits before {broker} is tried again"))
                    .at(broker)
                    .until(now, self.fetcher.troubled_until(broker))
            }
            Obstacle::InFlight(broker) => {
                Reason::new("in_flight", format!("waits for the answer of {broker}")).at(broker)
            }
            Obstacle::BrokerFull(broker) => {
                let text = format!("waits for the application to take another partition of {broker}");
                Reason::new("broker_full", text).at(broker)
            }
            Obstacle::NoMemory => {
                let text = "waits for memory: the application has or has left what the consumer may hold";
                Reason::new("no_memory", text)
            }
            Obstacle::Full => Reason::new("full", "has as much here as it may: waits for the application"),
        }
    }
}

impl ConsumerReport {
    /// Its text, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let failure = self.metadata_failure.as_ref();
        let next = match self.next {
            Some(due) => due.to_string(),
            None => "nothing is due: an answer or a call is waited for".to_owned(),
        };
        std::iter::once(self.state.clone())
            .chain(self.partitions.iter().map(ToString::to_string))
            .chain(failure.map(|failure| format!("the last request for metadata had no answer: {failure}")))
            .chain([next])
            .collect()
    }
}

impl fmt::Display for ConsumerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl fmt::Display for ConsumedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}-{} at offset {offset}: {}", self.topic, self.partition, self.doing),
            None => write!(f, "{}-{} at no offset yet: {}", self.topic, self.partition, self.doing),
        }
    }
}
