//! What groups have committed, and how far behind they are.

use std::collections::{BTreeMap, BTreeSet};

use milena_cluster::TopicPartition;
use milena_consumer_group::{OffsetAndMetadata, Position};
use milena_protocol::{
    ErrorCode,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
        OffsetFetchRequest, OffsetFetchResponse,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions},
    },
    wire::ByteString,
};

use super::{
    Admin,
    offsets::by_topic,
    routing::{Attempt, Twice},
};
use crate::AdminError;

/// The newest versions that name topics; behind them topics have ids alone, and a deleted topic has no name.
const NAMES_UNTIL: i16 = 9;
/// The first version of OffsetFetch that can ask for all that was committed.
const ALL_SINCE: i16 = 2;

type PerPartition<T> = BTreeMap<TopicPartition, Result<T, AdminError>>;

/// How far a group is behind in one partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// Where the group goes on reading; none when it has not committed anything there. An error is neither.
    pub committed: Result<Option<OffsetAndMetadata>, AdminError>,
    /// Where the partition ends: the offset of its next record.
    pub end: Result<i64, AdminError>,
    /// The id of the member that reads it.
    pub member: Option<ByteString>,
}

impl PartitionLag {
    /// Offsets between what was committed and the end, those of control records and of gaps among them. None without a
    /// commit, or when the one or the other is not known: that is not the same as nothing.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        let committed = self.committed.as_ref().ok()?.as_ref()?.position.offset;
        // A log that was cut off may end before what was committed.
        self.end.as_ref().ok().map(|end| end.saturating_sub(committed).max(0))
    }
}

impl Admin {
    /// What a group has committed, partition by partition; nothing for a group that there is none of.
    ///
    /// # Errors
    /// When it may not be seen, or its coordinator does not answer.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn group_offsets(
        &self,
        group: impl Into<ByteString>,
    ) -> Result<BTreeMap<TopicPartition, Result<OffsetAndMetadata, AdminError>>, AdminError> {
        let group = group.into();
        let attempt = self.attempt(format!("reading what the group {group} has committed"), Twice::IsOnce);
        let wanted = OffsetFetchRequestGroup { group_id: group.clone(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![wanted], ..Default::default() };
        let code = |response: &OffsetFetchResponse| {
            response
                .groups
                .first()
                .map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |group| ErrorCode(group.error_code))
        };
        let versions = ALL_SINCE..=NAMES_UNTIL;
        let (_, response) = self.at_coordinator(&attempt, &group, versions, &request, code).await?;
        match code(&response) {
            ErrorCode::GROUP_ID_NOT_FOUND => return Ok(BTreeMap::new()),
            code => code.ok().map_err(|code| attempt.refused(code, None))?,
        }
        Ok(committed(&attempt, response.groups.into_iter().next().unwrap_or_default()))
    }

    /// Sets where a group goes on reading, partition by partition: a result for each. A group that there is none of is
    /// made.
    ///
    /// # Errors
    /// When its coordinator does not answer. A group that has members refuses every partition
    /// ([`ErrorCode::UNKNOWN_MEMBER_ID`]): only they may commit.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn alter_group_offsets(
        &self,
        group: impl Into<ByteString>,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        let group = group.into();
        let attempt = self.attempt(format!("setting offsets of the group {group}"), Twice::IsOnce);
        let offsets: Vec<_> = offsets.into_iter().collect();
        let topics = by_topic(&offsets, |partition, wanted| OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: wanted.position.offset,
            committed_leader_epoch: wanted.position.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(wanted.metadata.clone()),
            ..Default::default()
        });
        let request = OffsetCommitRequest {
            group_id: group.clone(),
            generation_id_or_member_epoch: -1,
            topics: topics
                .map(|(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() })
                .collect(),
            ..Default::default()
        };
        let results = |response: &OffsetCommitResponse| {
            let mut results = BTreeMap::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let of = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    results.insert(of, ErrorCode(partition.error_code));
                }
            }
            results
        };
        // A coordinator that has moved says so of every partition.
        let code = |response: &OffsetCommitResponse| {
            results(response)
                .into_values()
                .find(|code| is_of_the_coordinator(*code))
                .unwrap_or(ErrorCode::NONE)
        };
        let versions = 0..=NAMES_UNTIL;
        let (_, response) = self.at_coordinator(&attempt, &group, versions, &request, code).await?;
        Ok(told(&attempt, offsets.iter().map(|(partition, _)| partition), &results(&response)))
    }

    /// Forgets what a group has committed for partitions: a result for each. What was never committed is forgotten, too.
    ///
    /// # Errors
    /// When there is no such group, or its coordinator does not answer. Topics that members read are refused
    /// ([`ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC`]).
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn delete_group_offsets(
        &self,
        group: impl Into<ByteString>,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), AdminError>>, AdminError> {
        let group = group.into();
        let attempt = self.attempt(format!("forgetting offsets of the group {group}"), Twice::IsOnce);
        let partitions: Vec<_> = partitions.into_iter().map(|partition| (partition, ())).collect();
        let topics = by_topic(&partitions, |partition, ()| OffsetDeleteRequestPartition {
            partition_index: partition,
        });
        let request = OffsetDeleteRequest {
            group_id: group.clone(),
            topics: topics.map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions }).collect(),
        };
        let code = |response: &OffsetDeleteResponse| ErrorCode(response.error_code);
        let (_, response) = self.at_coordinator(&attempt, &group, 0..=i16::MAX, &request, code).await?;
        code(&response).ok().map_err(|code| attempt.refused(code, None))?;
        let mut results = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let of = TopicPartition::new(topic.name.clone(), partition.partition_index);
                results.insert(of, ErrorCode(partition.error_code));
            }
        }
        Ok(told(&attempt, partitions.iter().map(|(partition, ())| partition), &results))
    }

    /// How far a group is behind, in every partition of the topics that it has committed for or reads; those that it has not
    /// committed anything for are told as that. The group may be anybody's.
    ///
    /// # Errors
    /// When the group is neither there nor has committed anything ([`ErrorCode::GROUP_ID_NOT_FOUND`]), or its
    /// coordinator does not answer. A partition whose leader does not answer is told in its place.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn group_lag(&self, group: impl Into<ByteString>) -> Result<Vec<PartitionLag>, AdminError> {
        let group = group.into();
        let mut committed = self.group_offsets(group.clone()).await?;
        let members = match self.describe_group(group).await {
            Ok(described) => described.members,
            // It may be gone, or not be seen: what it committed is enough.
            Err(_) if !committed.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut readers = BTreeMap::new();
        for member in members {
            readers.extend(member.assignment.into_iter().map(|partition| (partition, member.id.clone())));
        }
        let topics: BTreeSet<_> =
            committed.keys().chain(readers.keys()).map(|partition| partition.topic.clone()).collect();
        let mut partitions: BTreeSet<_> = committed.keys().chain(readers.keys()).cloned().collect();
        for topic in topics {
            // One that has been deleted is told with the ends of its partitions.
            if let Ok(topic) = self.describe_topic(topic).await {
                let all =
                    topic.partitions.iter().map(|it| TopicPartition::new(topic.name.clone(), it.partition));
                partitions.extend(all);
            }
        }
        let ends = self.ends(partitions.into_iter()).await;
        let lags = ends.into_iter().map(|(partition, end)| PartitionLag {
            committed: committed.remove(&partition).transpose(),
            member: readers.remove(&partition),
            end,
            partition,
        });
        Ok(lags.collect())
    }
}

fn is_of_the_coordinator(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    )
}

/// A result for each partition, for those too of which the answer says nothing.
fn told<'p>(
    attempt: &Attempt,
    wanted: impl Iterator<Item = &'p TopicPartition>,
    results: &BTreeMap<TopicPartition, ErrorCode>,
) -> PerPartition<()> {
    let told = |code: ErrorCode| code.ok().map_err(|code| attempt.refused(code, None));
    let code = |partition| results.get(partition).copied().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
    wanted.map(|partition| (partition.clone(), told(code(partition)))).collect()
}

fn committed(attempt: &Attempt, group: OffsetFetchResponseGroup) -> PerPartition<OffsetAndMetadata> {
    let mut committed = BTreeMap::new();
    for topic in group.topics {
        for found in topic.partitions {
            // -1 stands for nothing.
            if found.error_code != 0 || found.committed_offset >= 0 {
                let partition = TopicPartition::new(topic.name.clone(), found.partition_index);
                let code = ErrorCode(found.error_code);
                let told = code.ok().map(|()| position(found)).map_err(|code| attempt.refused(code, None));
                committed.insert(partition, told);
            }
        }
    }
    committed
}

fn position(found: OffsetFetchResponsePartitions) -> OffsetAndMetadata {
    OffsetAndMetadata {
        position: Position {
            offset: found.committed_offset,
            leader_epoch: Some(found.committed_leader_epoch).filter(|epoch| *epoch >= 0),
        },
        metadata: found.metadata.unwrap_or_default(),
    }
}
