//! LeaveGroup, in both of its forms: one member to version 2, many from version 3.
//!
//! Imitates Kafka 4.3.1: a static member can be named by its instance id alone (KIP-345, for operators), the others learn of
//! it by the rebalance that follows.
//!
//! Leaves out: removing members of a KIP-848 group this way (UNKNOWN_MEMBER_ID).

use milena_protocol::{
    ErrorCode,
    messages::{
        LeaveGroupRequest, LeaveGroupResponse,
        leave_group::{MemberIdentity, MemberResponse},
    },
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    groups::Replies,
};

impl Cluster {
    pub(super) fn leave_group(&mut self, cx: &Context, request: LeaveGroupRequest) -> Answer {
        let group_id = request.group_id;
        if let Err(error) = self.check_group_coordinator(cx.broker, &group_id) {
            return LeaveGroupResponse { error_code: error.0, ..LeaveGroupResponse::default() }.into();
        }
        if cx.version < 3 {
            let member = MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() };
            let error_code = self.member_leaves(cx, &group_id, &member).0;
            return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }.into();
        }
        let members = request.members.into_iter().map(|member| MemberResponse {
            error_code: self.member_leaves(cx, &group_id, &member).0,
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            ..MemberResponse::default()
        });
        LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }.into()
    }

    fn member_leaves(&mut self, cx: &Context, group_id: &str, member: &MemberIdentity) -> ErrorCode {
        let Some(group) = self.groups.named_mut(group_id).and_then(|group| group.classic()) else {
            return ErrorCode::UNKNOWN_MEMBER_ID;
        };
        let mut replies = Replies::new();
        let left = group.leave(cx.now, &member.member_id, member.group_instance_id.as_ref(), &mut replies);
        self.complete_all(cx.now, replies);
        left.err().unwrap_or(ErrorCode::NONE)
    }
}
