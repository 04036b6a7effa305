//! DescribeGroups: groups of the classic protocol and their members.
//!
//! Imitates Kafka 4.3.1: while a group rebalances nothing is told of its members' protocols; a group that is not there, or of
//! another kind, is dead, which version 6 calls GROUP_ID_NOT_FOUND.
//!
//! Leaves out: authorized operations; every client's host is 127.0.0.1.

use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeGroupsRequest, DescribeGroupsResponse,
        describe_groups::{DescribedGroup, DescribedGroupMember},
    },
    wire::ByteString,
};

use super::{
    Cluster,
    classic_group::ClassicGroup,
    dispatch::{Answer, Context},
    groups::Kind,
};

/// Where every client is, as Java writes addresses.
pub(super) const HOST: &str = "/127.0.0.1";

const STABLE: &str = "Stable";
const DEAD: &str = "Dead";

impl Cluster {
    pub(super) fn describe_groups(&self, cx: &Context, request: DescribeGroupsRequest) -> Answer {
        let groups = request.groups.into_iter().map(|id| self.describe_group(cx, id));
        DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() }.into()
    }

    fn describe_group(&self, cx: &Context, group_id: ByteString) -> DescribedGroup {
        if let Err(error) = self.check_group_coordinator(cx.broker, &group_id) {
            return DescribedGroup { error_code: error.0, group_id, ..DescribedGroup::default() };
        }
        let message = match self.groups.named(&group_id).map(|group| &group.kind) {
            Some(Kind::Classic(group)) => return described(group_id, group),
            Some(Kind::Consumer(_)) => format!("Group {group_id} is not a classic group."),
            None => format!("Group {group_id} not found."),
        };
        let tells = cx.version >= 6;
        DescribedGroup {
            error_code: if tells { ErrorCode::GROUP_ID_NOT_FOUND.0 } else { 0 },
            error_message: tells.then(|| message.into()),
            group_id,
            group_state: ByteString::from_static(DEAD),
            ..DescribedGroup::default()
        }
    }
}

fn described(group_id: ByteString, group: &ClassicGroup) -> DescribedGroup {
    let stable = group.state_name() == STABLE;
    let members = group.members().map(|(id, member)| DescribedGroupMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: ByteString::from_static(HOST),
        member_metadata: if stable { member.metadata(&group.protocol) } else { Default::default() },
        member_assignment: if stable { member.assignment.clone() } else { Default::default() },
        ..DescribedGroupMember::default()
    });
    DescribedGroup {
        group_id,
        group_state: ByteString::from_static(group.state_name()),
        protocol_type: group.protocol_type.clone(),
        protocol_data: if stable { group.protocol.clone() } else { ByteString::new() },
        members: members.collect(),
        ..DescribedGroup::default()
    }
}
