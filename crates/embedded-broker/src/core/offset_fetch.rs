//! OffsetFetch: one group to version 7, many from version 8; some topics or, with null, all.
//!
//! Imitates Kafka 4.3.1: an offset that was never committed is -1 without an error, also in a group that does not exist;
//! from version 9 a KIP-848 member is held to its epoch, and from version 10 topics come by id. Who wants stable offsets
//! (version 7) is told UNSTABLE_OFFSET_COMMIT while a transaction that commits one is open.

use milena_protocol::{
    ErrorCode,
    messages::{
        OffsetFetchRequest, OffsetFetchResponse,
        offset_fetch::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
            OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
            OffsetFetchResponseTopics,
        },
    },
    wire::{ByteString, Uuid},
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    groups::{Group, Kind, StoredOffset},
    pending_offsets::Place,
};

impl Cluster {
    pub(super) fn offset_fetch(&self, cx: &Context, request: OffsetFetchRequest) -> Answer {
        if cx.version >= 8 {
            let groups = request
                .groups
                .into_iter()
                .map(|wanted| self.group_offsets(cx, request.require_stable, wanted));
            return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }.into();
        }
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            });
            topics.collect()
        });
        let wanted = OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics,
            ..OffsetFetchRequestGroup::default()
        };
        let group = self.group_offsets(cx, request.require_stable, wanted);
        OffsetFetchResponse {
            error_code: group.error_code,
            topics: group.topics.into_iter().map(single).collect(),
            ..OffsetFetchResponse::default()
        }
        .into()
    }

    fn group_offsets(
        &self,
        cx: &Context,
        require_stable: bool,
        wanted: OffsetFetchRequestGroup,
    ) -> OffsetFetchResponseGroup {
        let group = self.groups.named(&wanted.group_id);
        let asked = Asked { group_id: &wanted.group_id, group, require_stable };
        let (error, topics) = match self.check_fetcher(cx, &wanted, group) {
            Err(error) => (error, Vec::new()),
            Ok(()) => (
                ErrorCode::NONE,
                match wanted.topics {
                    Some(topics) => {
                        topics.into_iter().map(|topic| self.some_offsets(cx, &asked, topic)).collect()
                    }
                    None => self.all_offsets(cx, &asked),
                },
            ),
        };
        OffsetFetchResponseGroup {
            group_id: wanted.group_id,
            topics,
            error_code: error.0,
            ..OffsetFetchResponseGroup::default()
        }
    }

    fn check_fetcher(
        &self,
        cx: &Context,
        wanted: &OffsetFetchRequestGroup,
        group: Option<&Group>,
    ) -> Result<(), ErrorCode> {
        self.check_group_coordinator(cx.broker, &wanted.group_id)?;
        match (group.map(|group| &group.kind), &wanted.member_id) {
            (Some(Kind::Consumer(group)), Some(member_id)) => {
                group.check_epoch(member_id, wanted.member_epoch)
            }
            _ => Ok(()),
        }
    }

    fn some_offsets(
        &self,
        cx: &Context,
        asked: &Asked<'_>,
        wanted: OffsetFetchRequestTopics,
    ) -> OffsetFetchResponseTopics {
        let by_id = cx.version >= 10;
        let topic = self.topics.find(by_id, &wanted.name, wanted.topic_id);
        // A name that the cluster does not know has no offsets; an id that it does not know is an error.
        let name = match topic {
            Ok(topic) => Ok(topic.name.clone()),
            Err(_) if !by_id => Ok(wanted.name.clone()),
            Err(error) => Err(error),
        };
        let partitions = wanted.partition_indexes.iter().map(|index| match &name {
            Ok(name) => self.offset(asked, name, index),
            Err(error) => OffsetFetchResponsePartitions { error_code: error.0, ..offset(index, None) },
        });
        let partitions = partitions.collect();
        topic_offsets(wanted.name, wanted.topic_id, partitions)
    }

    fn all_offsets(&self, cx: &Context, asked: &Asked<'_>) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        for (name, index) in asked.group.iter().flat_map(|group| group.offsets.keys()) {
            let partition = self.offset(asked, name, *index);
            match topics.last_mut() {
                Some(last) if last.name == *name => last.partitions.push(partition),
                _ => {
                    let id = self.topics.named(name).map_or(Uuid::ZERO, |topic| topic.id);
                    topics.push(topic_offsets(name.clone(), id, vec![partition]));
                }
            }
        }
        // By id alone, a topic that is not there can't be told.
        topics.retain(|topic| cx.version < 10 || !topic.topic_id.is_zero());
        topics
    }

    fn offset(&self, asked: &Asked<'_>, topic: &ByteString, index: i32) -> OffsetFetchResponsePartitions {
        let place: Place = (asked.group_id.clone(), topic.clone(), index);
        if asked.require_stable && self.pending_offsets.is_pending(&place) {
            let error_code = ErrorCode::UNSTABLE_OFFSET_COMMIT.0;
            return OffsetFetchResponsePartitions { error_code, ..offset(index, None) };
        }
        offset(index, asked.group.and_then(|group| group.offsets.get(&(topic.clone(), index))))
    }
}

/// The group whose offsets are wanted.
struct Asked<'a> {
    group_id: &'a ByteString,
    group: Option<&'a Group>,
    require_stable: bool,
}

fn topic_offsets(
    name: ByteString,
    topic_id: Uuid,
    partitions: Vec<OffsetFetchResponsePartitions>,
) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics { name, topic_id, partitions, ..OffsetFetchResponseTopics::default() }
}

fn offset(partition_index: i32, stored: Option<&StoredOffset>) -> OffsetFetchResponsePartitions {
    let committed = stored.map(|stored| &stored.committed);
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map(|committed| committed.metadata.clone()).unwrap_or_default()),
        ..OffsetFetchResponsePartitions::default()
    }
}

/// The same in the form for one group.
fn single(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    });
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: partitions.collect(),
        ..OffsetFetchResponseTopic::default()
    }
}
