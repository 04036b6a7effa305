//! Heartbeat of a classic member.
//!
//! Imitates Kafka 4.3.1: REBALANCE_IN_PROGRESS tells a member to join again, ILLEGAL_GENERATION and UNKNOWN_MEMBER_ID that
//! it missed a rebalance or its session's end.

use milena_protocol::{
    ErrorCode,
    messages::{HeartbeatRequest, HeartbeatResponse},
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
};

impl Cluster {
    pub(super) fn heartbeat(&mut self, cx: &Context, request: &HeartbeatRequest) -> Answer {
        let error_code = self.try_heartbeat(cx, request).err().unwrap_or(ErrorCode::NONE).0;
        HeartbeatResponse { error_code, ..HeartbeatResponse::default() }.into()
    }

    fn try_heartbeat(&mut self, cx: &Context, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.check_group_coordinator(cx.broker, &request.group_id)?;
        let group = self.groups.named_mut(&request.group_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let group = group.classic().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.heartbeat(cx.now, &request.member_id, request.group_instance_id.as_ref(), request.generation_id)
    }
}
