//! ConsumerGroupDescribe: groups of KIP-848, what their members have and what they are to have.
//!
//! Imitates Kafka 4.3.1: a group that is not there, or is a classic one, is GROUP_ID_NOT_FOUND; partitions of topics that were
//! deleted are left out.
//!
//! Leaves out: authorized operations and racks; every client's host is 127.0.0.1.

use std::collections::BTreeMap;

use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
        consumer_group_describe::{self as schema, DescribedGroup, TopicPartitions},
    },
    wire::{ByteString, Uuid},
};

use super::{
    Cluster,
    assignor::Assignment,
    consumer_group::{ConsumerGroup, Member},
    describe_groups::HOST,
    dispatch::{Answer, Context},
    groups::Kind,
};

/// The code of a member that speaks the protocol of KIP-848.
const MODERN: i8 = 1;

impl Cluster {
    pub(super) fn consumer_group_describe(
        &self,
        cx: &Context,
        request: ConsumerGroupDescribeRequest,
    ) -> Answer {
        let groups = request.group_ids.into_iter().map(|id| self.describe_consumer_group(cx, id));
        let groups = groups.collect();
        ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() }.into()
    }

    fn describe_consumer_group(&self, cx: &Context, group_id: ByteString) -> DescribedGroup {
        let (error, message) = match self.check_group_coordinator(cx.broker, &group_id) {
            Err(error) => (error, None),
            Ok(()) => match self.groups.named(&group_id).map(|group| &group.kind) {
                Some(Kind::Consumer(group)) => return self.described_consumer_group(group_id, group),
                Some(Kind::Classic(_)) => (
                    ErrorCode::GROUP_ID_NOT_FOUND,
                    Some(format!("Group {group_id} is not a consumer group.")),
                ),
                None => (ErrorCode::GROUP_ID_NOT_FOUND, Some(format!("Group {group_id} not found."))),
            },
        };
        DescribedGroup {
            error_code: error.0,
            error_message: message.map(Into::into),
            group_id,
            ..DescribedGroup::default()
        }
    }

    fn described_consumer_group(&self, group_id: ByteString, group: &ConsumerGroup) -> DescribedGroup {
        let members = group.members.iter().map(|(id, member)| {
            let target = group.target.get(id).cloned().unwrap_or_default();
            self.described_member(id, member, &target)
        });
        DescribedGroup {
            group_id,
            group_state: ByteString::from_static(group.state_name()),
            group_epoch: group.epoch,
            assignment_epoch: group.assignment_epoch,
            assignor_name: ByteString::from_static(group.preferred_assignor().name()),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }

    fn described_member(&self, id: &ByteString, member: &Member, target: &Assignment) -> schema::Member {
        schema::Member {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: ByteString::from_static(HOST),
            subscribed_topic_names: member.topic_names.clone(),
            // Kafka tells of none as an empty one.
            subscribed_topic_regex: Some(member.written_regex().unwrap_or_default().into()),
            assignment: self.described_assignment(&member.assigned),
            target_assignment: self.described_assignment(target),
            member_type: MODERN,
            ..schema::Member::default()
        }
    }

    fn described_assignment(&self, assignment: &Assignment) -> schema::Assignment {
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (id, partition) in assignment {
            topics.entry(*id).or_default().push(*partition);
        }
        let known = topics.into_iter().filter_map(|(topic_id, partitions)| {
            let topic_name = self.topics.with_id(topic_id)?.name.clone();
            let partitions = partitions.into();
            Some(TopicPartitions { topic_id, topic_name, partitions, ..TopicPartitions::default() })
        });
        schema::Assignment { topic_partitions: known.collect(), ..schema::Assignment::default() }
    }
}
