//! Groups and their members.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use milena_cluster::{BrokerId, FailureKind, Target, TopicPartition};
use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerProtocolAssignment,
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        ListGroupsRequest, ListGroupsResponse, describe_groups,
    },
    wire::{ByteString, Decode, Packed, Reader},
};
use tokio::task::JoinSet;

use super::{
    Admin,
    routing::{Attempt, Twice},
};
use crate::AdminError;

/// The newest version of what a classic member is told of its partitions.
const NEWEST_ASSIGNMENT: i16 = 3;
/// The state of a group that there is none of.
const DEAD: &str = "Dead";

/// By what protocol the members of a group find together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupType {
    /// Members share the partitions out among themselves.
    Classic,
    /// The coordinator does (KIP-848).
    Consumer,
    /// Something else, in the broker's word: `share`, `streams`. Empty where the broker is too old to tell (before 3.8).
    Other(ByteString),
}

impl GroupType {
    fn new(word: ByteString) -> Self {
        match &*word.to_ascii_lowercase() {
            "classic" => Self::Classic,
            "consumer" => Self::Consumer,
            _ => Self::Other(word),
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Other(word) => word,
        })
    }
}

/// A group, as its coordinator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// Its name.
    pub id: ByteString,
    /// By what protocol its members find together.
    pub group_type: GroupType,
    /// How it stands, in Kafka's word: `Stable`, `Empty`, `PreparingRebalance`, … Empty where the broker is too old to
    /// tell (before 2.6).
    pub state: ByteString,
    /// What its members do: `consumer`, or a word of their own, such as `connect`. Empty for groups that only commit.
    pub protocol_type: ByteString,
}

/// The groups of a cluster, as far as its brokers answered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GroupListings {
    /// By their names.
    pub groups: Vec<GroupListing>,
    /// Why the groups of some brokers are missing.
    pub errors: BTreeMap<BrokerId, AdminError>,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its name.
    pub id: ByteString,
    /// By what protocol its members find together.
    pub group_type: GroupType,
    /// How it stands, in Kafka's word: `Stable`, `Empty`, `PreparingRebalance`, …
    pub state: ByteString,
    /// How partitions are shared out; empty while nobody has agreed on that.
    pub assignor: ByteString,
    /// How often the group has changed (KIP-848).
    pub epoch: Option<i32>,
    /// The broker that looks after it.
    pub coordinator: BrokerId,
    /// Its members, by their ids.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberDescription {
    /// Its id, new with every start.
    pub id: ByteString,
    /// Its lasting name, if it is a static member (KIP-345).
    pub instance_id: Option<ByteString>,
    /// What its client calls itself.
    pub client_id: ByteString,
    /// Where it is, as its coordinator sees it.
    pub host: ByteString,
    /// What it reads.
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// All groups of the cluster. Each broker is asked for those that it looks after; one that does not answer is told.
    ///
    /// # Errors
    /// When it can't be found out which brokers there are.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn groups(&self) -> Result<GroupListings, AdminError> {
        let attempt = self.attempt("listing groups", Twice::IsOnce);
        let mut asked = JoinSet::new();
        for broker in self.brokers(&attempt).await? {
            let (admin, attempt) = (self.clone(), attempt.clone());
            asked.spawn(async move { (broker, admin.groups_of(&attempt, broker).await) });
        }
        let mut all = GroupListings::default();
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((_, Ok(groups))) => all.groups.extend(groups),
                Ok((broker, Err(error))) => drop(all.errors.insert(broker, error)),
                // The runtime ends, and this with it.
                Err(_) => {}
            }
        }
        all.groups.sort_by(|a, b| a.id.cmp(&b.id));
        // A group that moves meanwhile may be listed by both.
        all.groups.dedup_by(|a, b| a.id == b.id);
        Ok(all)
    }

    async fn groups_of(&self, attempt: &Attempt, broker: BrokerId) -> Result<Vec<GroupListing>, AdminError> {
        let asked =
            self.network.call(Target::Broker(broker), ListGroupsRequest::default(), attempt.left()).await;
        let response: ListGroupsResponse = asked.map_err(|failure| attempt.failed(failure))?;
        ErrorCode(response.error_code).ok().map_err(|code| attempt.refused(code, None))?;
        let groups = response.groups.into_iter().map(|group| GroupListing {
            id: group.group_id,
            group_type: GroupType::new(group.group_type),
            state: group.group_state,
            protocol_type: group.protocol_type,
        });
        Ok(groups.collect())
    }

    /// A group with its members.
    ///
    /// # Errors
    /// When there is none of that name ([`ErrorCode::GROUP_ID_NOT_FOUND`], also from brokers that call it dead), it may not
    /// be seen, or its coordinator does not answer.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn describe_group(&self, group: impl Into<ByteString>) -> Result<GroupDescription, AdminError> {
        let group = group.into();
        let attempt = self.attempt(format!("describing the group {group}"), Twice::IsOnce);
        match self.describe_consumer_group(&attempt, &group).await {
            Err(error) if may_be_classic(&error) => self.describe_classic_group(&attempt, &group).await,
            described => described,
        }
    }

    async fn describe_consumer_group(
        &self,
        attempt: &Attempt,
        group: &ByteString,
    ) -> Result<GroupDescription, AdminError> {
        let request = ConsumerGroupDescribeRequest { group_ids: vec![group.clone()], ..Default::default() };
        let said = |response: &ConsumerGroupDescribeResponse| {
            response.groups.first().map(|it| (ErrorCode(it.error_code), it.error_message.clone()))
        };
        let (coordinator, response) = self.of_group(attempt, group, &request, said).await?;
        let described = response.groups.into_iter().next().unwrap_or_default();
        let members = described.members.into_iter().map(|member| MemberDescription {
            id: member.member_id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            host: member.client_host,
            assignment: sorted(
                member.assignment.topic_partitions.into_iter().map(|it| (it.topic_name, it.partitions)),
            ),
        });
        Ok(GroupDescription {
            id: described.group_id,
            group_type: GroupType::Consumer,
            state: described.group_state,
            assignor: described.assignor_name,
            epoch: Some(described.group_epoch),
            coordinator,
            members: by_id(members),
        })
    }

    async fn describe_classic_group(
        &self,
        attempt: &Attempt,
        group: &ByteString,
    ) -> Result<GroupDescription, AdminError> {
        let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
        let said = |response: &DescribeGroupsResponse| {
            response.groups.first().map(|it| (ErrorCode(it.error_code), it.error_message.clone()))
        };
        let (coordinator, response) = self.of_group(attempt, group, &request, said).await?;
        let described = response.groups.into_iter().next().unwrap_or_default();
        // Brokers before 4.0 have no code for it.
        if described.group_state == DEAD {
            attempt.granted(Some((ErrorCode::GROUP_ID_NOT_FOUND, None)))?;
        }
        let is_consumer = described.protocol_type == "consumer";
        let members = described.members.into_iter().map(|member| classic_member(member, is_consumer));
        Ok(GroupDescription {
            id: described.group_id,
            group_type: GroupType::Classic,
            state: described.group_state,
            assignor: described.protocol_data,
            epoch: None,
            coordinator,
            members: by_id(members),
        })
    }

    /// Deletes a group that has no members, with what it committed.
    ///
    /// # Errors
    /// When there is none ([`ErrorCode::GROUP_ID_NOT_FOUND`]), it has members ([`ErrorCode::NON_EMPTY_GROUP`]), or its
    /// coordinator does not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn delete_group(&self, group: impl Into<ByteString>) -> Result<(), AdminError> {
        let group = group.into();
        let attempt = self.attempt(format!("deleting the group {group}"), Twice::Differs);
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()], ..Default::default() };
        let said = |response: &DeleteGroupsResponse| {
            response.results.first().map(|it| (ErrorCode(it.error_code), None))
        };
        self.of_group(&attempt, &group, &request, said).await.map(drop)
    }
}

/// True when the coordinator has no KIP-848 group of that name, or has never heard of those.
fn may_be_classic(error: &AdminError) -> bool {
    match error {
        AdminError::Refused { code, .. } => {
            matches!(*code, ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::UNSUPPORTED_VERSION)
        }
        AdminError::Failed { failure, .. } => failure.kind == FailureKind::Unsupported,
    }
}

fn by_id(members: impl Iterator<Item = MemberDescription>) -> Vec<MemberDescription> {
    let mut members: Vec<_> = members.collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    members
}

/// The partitions of an assignment, which names them topic by topic.
fn sorted(topics: impl Iterator<Item = (ByteString, Packed<i32>)>) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for (topic, numbers) in topics {
        partitions.extend(numbers.iter().map(|number| TopicPartition::new(topic.clone(), number)));
    }
    partitions.sort();
    partitions
}

fn classic_member(member: describe_groups::DescribedGroupMember, is_consumer: bool) -> MemberDescription {
    MemberDescription {
        id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: if is_consumer { classic_assignment(&member.member_assignment) } else { Vec::new() },
    }
}

/// What a classic member was told to read: nothing while the group rebalances, or when the bytes are not what consumers
/// are told.
fn classic_assignment(bytes: &Bytes) -> Vec<TopicPartition> {
    let Some(version) = bytes.first_chunk().map(|version| i16::from_be_bytes(*version)) else {
        return Vec::new();
    };
    let told = bytes.slice(2..);
    let mut reader = Reader::new(&told);
    let Ok(told) = ConsumerProtocolAssignment::decode(&mut reader, version.clamp(0, NEWEST_ASSIGNMENT))
    else {
        return Vec::new();
    };
    sorted(told.assigned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions)))
}
