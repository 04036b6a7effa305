//! Offsets of partitions, and the records before them.

use std::{collections::BTreeMap, ops::RangeInclusive};

use milena_cluster::TopicPartition;
use milena_consumer_group::IsolationLevel;
use milena_protocol::{
    ErrorCode,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic},
    },
    wire::ByteString,
};

use super::{
    Admin,
    routing::{ANY_VERSION, Twice},
};
use crate::AdminError;

/// The first version that finds the largest timestamp (KIP-734).
const MAX_TIMESTAMP_SINCE: i16 = 7;

/// An offset to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the first record that is still there.
    Earliest,
    /// That of the next record to come; for readers of committed records, of the first one that is not decided on.
    Latest,
    /// That of the record with the largest timestamp (KIP-734). Brokers before 3.0 can't say.
    MaxTimestamp,
    /// That of the first record whose timestamp is this one or later, in milliseconds since 1970.
    AtOrAfter(i64),
}

impl OffsetSpec {
    /// What stands for it in the protocol.
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::AtOrAfter(ms) => ms.max(0),
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedOffset {
    /// The offset; none when no record is like that, as none is later than the time asked for.
    pub offset: Option<i64>,
    /// The record's timestamp, where one was looked for.
    pub timestamp: Option<i64>,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: Option<i32>,
}

type PerPartition<T> = BTreeMap<TopicPartition, Result<T, AdminError>>;

impl Admin {
    /// Looks up offsets, one for each partition: a result for each. With [`IsolationLevel::ReadCommitted`] a partition ends
    /// where its first undecided transaction begins.
    ///
    /// Leaders that move are followed until the [timeout](Self::timeout).
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn list_offsets(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        isolation: IsolationLevel,
    ) -> BTreeMap<TopicPartition, Result<ListedOffset, AdminError>> {
        let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
        // Apart, so that a broker that lacks the one still answers the other.
        let (newest, others): (BTreeMap<_, _>, _) =
            wanted.into_iter().partition(|(_, spec)| *spec == OffsetSpec::MaxTimestamp);
        let (newest, mut found) = tokio::join!(
            self.list_offsets_within(MAX_TIMESTAMP_SINCE..=i16::MAX, newest, isolation),
            self.list_offsets_within(ANY_VERSION, others, isolation),
        );
        found.extend(newest);
        found
    }

    async fn list_offsets_within(
        &self,
        versions: RangeInclusive<i16>,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> PerPartition<ListedOffset> {
        let attempt = self.attempt("looking up offsets", Twice::IsOnce);
        let isolation_level = i8::from(isolation == IsolationLevel::ReadCommitted);
        let request = |items: &[(TopicPartition, OffsetSpec)]| ListOffsetsRequest {
            replica_id: -1,
            isolation_level,
            topics: by_topic(items, |partition, spec| ListOffsetsPartition {
                partition_index: partition,
                timestamp: spec.timestamp(),
                ..Default::default()
            })
            .map(|(name, partitions)| ListOffsetsTopic { name, partitions, ..Default::default() })
            .collect(),
            ..Default::default()
        };
        let results = |response: ListOffsetsResponse| {
            let topics = response.topics.into_iter();
            let found = topics.flat_map(|topic| {
                let partitions = topic.partitions.into_iter();
                partitions.map(move |found| {
                    let partition = TopicPartition::new(topic.name.clone(), found.partition_index);
                    (partition, ErrorCode(found.error_code).ok().map(|()| listed(&found)))
                })
            });
            found.collect()
        };
        self.at_leaders(&attempt, wanted, versions, request, results).await
    }

    /// Deletes the records before an offset, partition by partition: a result for each, which is where the partition begins
    /// afterwards. Without an offset all that is there goes.
    ///
    /// # Cancellation
    /// Dropping the future does not take the requests back.
    pub async fn delete_records(
        &self,
        before: impl IntoIterator<Item = (TopicPartition, Option<i64>)>,
    ) -> BTreeMap<TopicPartition, Result<i64, AdminError>> {
        let attempt = self.attempt("deleting records", Twice::IsOnce);
        let timeout_ms = self.timeout_ms();
        let request = |items: &[(TopicPartition, Option<i64>)]| DeleteRecordsRequest {
            topics: by_topic(items, |partition, before| DeleteRecordsPartition {
                partition_index: partition,
                offset: before.unwrap_or(-1),
                ..Default::default()
            })
            .map(|(name, partitions)| DeleteRecordsTopic { name, partitions, ..Default::default() })
            .collect(),
            timeout_ms,
            ..Default::default()
        };
        let results = |response: DeleteRecordsResponse| {
            let topics = response.topics.into_iter();
            let found = topics.flat_map(|topic| {
                let partitions = topic.partitions.into_iter();
                partitions.map(move |result| {
                    let partition = TopicPartition::new(topic.name.clone(), result.partition_index);
                    (partition, ErrorCode(result.error_code).ok().map(|()| result.low_watermark))
                })
            });
            found.collect()
        };
        self.at_leaders(&attempt, before.into_iter().collect(), ANY_VERSION, request, results).await
    }

    /// Where each of these partitions ends.
    pub(super) async fn ends(&self, partitions: impl Iterator<Item = TopicPartition>) -> PerPartition<i64> {
        let wanted = partitions.map(|partition| (partition, OffsetSpec::Latest));
        let ends = self.list_offsets(wanted, IsolationLevel::ReadUncommitted).await;
        let offset = |listed: ListedOffset| listed.offset.unwrap_or_default();
        ends.into_iter().map(|(partition, listed)| (partition, listed.map(offset))).collect()
    }
}

fn listed(found: &ListOffsetsPartitionResponse) -> ListedOffset {
    let known = |number: i64| Some(number).filter(|number| *number >= 0);
    ListedOffset {
        offset: known(found.offset),
        timestamp: known(found.timestamp),
        leader_epoch: Some(found.leader_epoch).filter(|epoch| *epoch >= 0),
    }
}

/// Items of partitions as the protocol nests them.
pub(super) fn by_topic<I, P>(
    items: &[(TopicPartition, I)],
    word: impl Fn(i32, &I) -> P,
) -> impl Iterator<Item = (ByteString, Vec<P>)> {
    let mut topics: BTreeMap<ByteString, Vec<P>> = BTreeMap::new();
    for (partition, item) in items {
        topics.entry(partition.topic.clone()).or_default().push(word(partition.partition, item));
    }
    topics.into_iter()
}
