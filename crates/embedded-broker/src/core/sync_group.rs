//! SyncGroup.
//!
//! Imitates Kafka 4.3.1: followers wait for the leader's assignment, a member that says another protocol than the group's is
//! INCONSISTENT_GROUP_PROTOCOL (version 5), and a member that does not sync within the rebalance timeout is removed.

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{Response, SyncGroupRequest, SyncGroupResponse},
    wire::ByteString,
};

use super::{
    Cluster, ConnectionId,
    classic_group::Waiter,
    detach::Detach,
    dispatch::{Answer, Context},
    groups::Replies,
};

/// A SyncGroup request, as a group sees it.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) member_id: ByteString,
    pub(super) instance_id: Option<ByteString>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<ByteString>,
    pub(super) protocol: Option<ByteString>,
    /// Everybody's, from the leader.
    pub(super) assignments: BTreeMap<ByteString, Bytes>,
    pub(super) waiter: Waiter,
}

#[derive(Debug)]
pub(super) enum SyncAnswer {
    Assigned(Bytes),
    Refused(ErrorCode),
    Parked,
}

impl Cluster {
    pub(super) fn sync_group(&mut self, cx: &Context, request: SyncGroupRequest) -> Answer {
        match self.try_sync(cx, request) {
            Ok(answer) => answer,
            Err(error) => refusal(error).into(),
        }
    }

    fn try_sync(&mut self, cx: &Context, request: SyncGroupRequest) -> Result<Answer, ErrorCode> {
        let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if cx.version >= 5 && !says_protocol {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        self.check_group_coordinator(cx.broker, &request.group_id)?;
        let group = self.groups.named_mut(&request.group_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let group = group.classic().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let sync = Sync {
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id,
            protocol_type: request.protocol_type,
            protocol: request.protocol_name,
            assignments: request
                .assignments
                .into_iter()
                .map(|one| (one.member_id, one.assignment.detached()))
                .collect(),
            waiter: Waiter { connection: cx.connection, version: cx.version },
        };
        let mut replies = Replies::new();
        let answer = match group.sync(cx.now, sync, &mut replies) {
            SyncAnswer::Assigned(assignment) => {
                response(&group.protocol_type, &group.protocol, assignment).into()
            }
            SyncAnswer::Refused(error) => refusal(error).into(),
            SyncAnswer::Parked => Answer::Parked,
        };
        self.complete_all(cx.now, replies);
        Ok(answer)
    }
}

impl Waiter {
    pub(super) fn synced(
        self,
        protocol_type: &ByteString,
        protocol: &ByteString,
        assignment: Bytes,
    ) -> (ConnectionId, Response) {
        (self.connection, response(protocol_type, protocol, assignment).into())
    }

    pub(super) fn sync_refused(self, error: ErrorCode) -> (ConnectionId, Response) {
        (self.connection, refusal(error).into())
    }
}

fn response(protocol_type: &ByteString, protocol: &ByteString, assignment: Bytes) -> SyncGroupResponse {
    SyncGroupResponse {
        protocol_type: Some(protocol_type.clone()),
        protocol_name: Some(protocol.clone()),
        assignment,
        ..SyncGroupResponse::default()
    }
}

fn refusal(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.0, ..SyncGroupResponse::default() }
}
