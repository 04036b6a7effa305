//! OffsetCommit.
//!
//! Imitates Kafka 4.3.1: a member's generation or epoch is checked (ILLEGAL_GENERATION, STALE_MEMBER_EPOCH and their
//! kin), a client without a group commits with generation -1 to a group that has no members, topics come by id from version
//! 10, and what a client writes beside an offset is at most 4096 bytes.
//!
//! Leaves out: the retention time of version 4 and before (offsets stay); the older epochs that KIP-1251
//! lets a member commit with.

use milena_protocol::{
    ErrorCode,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse,
        offset_commit::{
            OffsetCommitRequestPartition, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
        },
    },
    wire::ByteString,
};

use super::{
    Cluster,
    detach::Detach,
    dispatch::{Answer, Context},
    groups::{CommittedOffset, Group, Kind, StoredOffset},
    topics::Topic,
};

/// `offset.metadata.max.bytes`.
pub(super) const MAX_METADATA: usize = 4096;

impl Cluster {
    pub(super) fn offset_commit(&mut self, cx: &Context, request: OffsetCommitRequest) -> Answer {
        let allowed = self.check_committer(cx, &request);
        let by_id = cx.version >= 10;
        let topics = request.topics.into_iter().map(|data| {
            let topic = self.topics.find(by_id, &data.name, data.topic_id);
            let written = self.pending_offsets.partition_mut(&request.group_id);
            let groups = &mut self.groups;
            let partitions = data.partitions.into_iter().map(|partition| {
                let partition_index = partition.partition_index;
                let committed = allowed.and(topic).and_then(|topic| {
                    topic.partition(partition_index)?;
                    if partition.committed_metadata.as_ref().is_some_and(|text| text.len() > MAX_METADATA) {
                        return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
                    }
                    // Only a commit that stores something makes the group.
                    let group = groups.entry(&request.group_id, Kind::new_classic)?;
                    commit(group, written.take_position(), topic, partition);
                    Ok(())
                });
                OffsetCommitResponsePartition {
                    partition_index,
                    error_code: committed.err().unwrap_or(ErrorCode::NONE).0,
                    ..OffsetCommitResponsePartition::default()
                }
            });
            OffsetCommitResponseTopic {
                name: data.name,
                topic_id: data.topic_id,
                partitions: partitions.collect(),
                ..OffsetCommitResponseTopic::default()
            }
        });
        OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }.into()
    }

    fn check_committer(&mut self, cx: &Context, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        self.check_group_coordinator(cx.broker, &request.group_id)?;
        let generation = request.generation_id_or_member_epoch;
        if self.groups.named(&request.group_id).is_none() {
            if generation < 0 {
                return Ok(());
            }
            let knows_groups = cx.version >= 9;
            return Err(if knows_groups {
                ErrorCode::GROUP_ID_NOT_FOUND
            } else {
                ErrorCode::ILLEGAL_GENERATION
            });
        }
        let group = self.groups.entry(&request.group_id, Kind::new_classic)?;
        match &mut group.kind {
            Kind::Classic(group) => {
                group.check_commit(cx.now, &request.member_id, request.group_instance_id.as_ref(), generation)
            }
            Kind::Consumer(group) if generation < 0 && group.is_empty() => Ok(()),
            Kind::Consumer(group) if !group.has(&request.member_id) => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            // Clients know the code of a stale epoch from version 9 on.
            Kind::Consumer(_) if cx.version < 9 => Err(ErrorCode::UNSUPPORTED_VERSION),
            Kind::Consumer(group) => group.check_epoch(&request.member_id, generation),
        }
    }
}

fn commit(group: &mut Group, position: i64, topic: &Topic, data: OffsetCommitRequestPartition) {
    let metadata = data.committed_metadata.detached().unwrap_or_default();
    let committed = CommittedOffset {
        offset: data.committed_offset,
        leader_epoch: data.committed_leader_epoch,
        metadata,
    };
    let name: ByteString = topic.name.clone();
    group.offsets.insert((name, data.partition_index), StoredOffset { committed, position });
}
