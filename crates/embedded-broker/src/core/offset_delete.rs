//! OffsetDelete: what a group committed for partitions that it does not read.
//!
//! Imitates Kafka 4.3.1: a topic that a member subscribes to is GROUP_SUBSCRIBED_TO_TOPIC; a group with members that are no
//! consumers is NON_EMPTY_GROUP; an offset that was never committed is deleted all the same.

use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerProtocolSubscription, OffsetDeleteRequest, OffsetDeleteResponse,
        offset_delete::{OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    },
    wire::{Decode, Reader},
};

use super::{
    Cluster,
    classic_group::ClassicGroup,
    dispatch::{Answer, Context},
    groups::{Group, Kind},
};

const NEWEST_SUBSCRIPTION: i16 = 3;

impl Cluster {
    pub(super) fn offset_delete(&mut self, cx: &Context, request: OffsetDeleteRequest) -> Answer {
        if let Err(error) = self.check_offset_delete(cx, &request.group_id) {
            return OffsetDeleteResponse { error_code: error.0, ..OffsetDeleteResponse::default() }.into();
        }
        let topics =
            request.topics.into_iter().map(|OffsetDeleteRequestTopic { name, partitions, .. }| {
                let deleted = partitions.iter().map(|wanted| {
                    let index = wanted.partition_index;
                    let deleted = self.delete_offset(&request.group_id, &name, index);
                    OffsetDeleteResponsePartition {
                        partition_index: index,
                        error_code: deleted.err().unwrap_or(ErrorCode::NONE).0,
                    }
                });
                let partitions = deleted.collect();
                OffsetDeleteResponseTopic { name, partitions }
            });
        OffsetDeleteResponse { topics: topics.collect(), ..OffsetDeleteResponse::default() }.into()
    }

    fn check_offset_delete(&self, cx: &Context, id: &str) -> Result<(), ErrorCode> {
        self.check_group_coordinator(cx.broker, id)?;
        match &self.groups.named(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?.kind {
            Kind::Classic(group) if !group.is_empty() && group.protocol_type != "consumer" => {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            _ => Ok(()),
        }
    }

    fn delete_offset(&mut self, id: &str, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        let known = self.topics.named(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        known.partition(partition)?;
        let name = known.name.clone();
        let group = self.groups.named_mut(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if group.reads(topic) {
            return Err(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
        }
        group.offsets.remove(&(name, partition));
        Ok(())
    }
}

impl Group {
    /// Whether a member subscribes to the topic.
    fn reads(&self, topic: &str) -> bool {
        match &self.kind {
            Kind::Classic(group) => reads(group, topic),
            Kind::Consumer(group) => group.members.values().any(|member| member.subscribes_to(topic)),
        }
    }
}

/// As far as the members' metadata tells: where it is none of a consumer's, they may read anything.
fn reads(group: &ClassicGroup, topic: &str) -> bool {
    group.members().any(|(_, member)| {
        let metadata = member.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
        let mut reader = Reader::new(&metadata);
        // Later versions only add fields.
        let version = reader.i16().map(|version| version.clamp(0, NEWEST_SUBSCRIPTION));
        let subscription =
            version.and_then(|version| ConsumerProtocolSubscription::decode(&mut reader, version));
        subscription.map_or(true, |subscription| subscription.topics.iter().any(|name| name == topic))
    })
}
