//! JoinGroup.
//!
//! Imitates Kafka 4.3.1: a new member is first given its id (KIP-394, from version 4), static members come back without a
//! rebalance if the protocol stays the same (KIP-345), the reply waits for every known member or the rebalance
//! timeout, the protocol is voted for, and only the leader is told the members. A leader that comes back unchanged skips
//! the assignment (KIP-814, version 9).
//!
//! Leaves out: the five minutes that Kafka gives a member of version 3 and before to come back after its first join; a
//! group of KIP-848 with members takes no classic ones (INCONSISTENT_GROUP_PROTOCOL).

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{JoinGroupRequest, JoinGroupResponse, Response, join_group::JoinGroupResponseMember},
    wire::ByteString,
};

use super::{
    Cluster, ConnectionId,
    classic_group::{ClassicGroup, Waiter},
    detach::Detach,
    dispatch::{Answer, Context},
    groups::{Kind, Replies},
};

/// A JoinGroup request, as a group sees it.
#[derive(Clone, Debug)]
pub(super) struct Join {
    /// Empty if it has none yet.
    pub(super) member_id: ByteString,
    /// The one it gets then.
    pub(super) new_member_id: ByteString,
    pub(super) instance_id: Option<ByteString>,
    pub(super) client_id: ByteString,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocol_type: ByteString,
    pub(super) protocols: Vec<(ByteString, Bytes)>,
    pub(super) initial_delay: Duration,
    pub(super) max_group_size: usize,
    pub(super) waiter: Waiter,
}

#[derive(Debug)]
pub(super) enum JoinAnswer {
    Joined(Joined),
    Refused { error: ErrorCode, member_id: ByteString },
    Parked,
}

/// What a member is told besides what it can read off the group.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) member_id: ByteString,
    pub(super) skip_assignment: bool,
}

impl Cluster {
    pub(super) fn join_group(&mut self, cx: &Context, request: JoinGroupRequest) -> Answer {
        let member_id = request.member_id.clone();
        match self.try_join(cx, request) {
            Ok(answer) => answer,
            Err(error) => refusal(cx.version, error, member_id).into(),
        }
    }

    fn try_join(&mut self, cx: &Context, request: JoinGroupRequest) -> Result<Answer, ErrorCode> {
        self.check_group_coordinator(cx.broker, &request.group_id)?;
        let session_timeout = Duration::from_millis(request.session_timeout_ms.try_into().unwrap_or(0));
        if !(self.config.min_session_timeout..=self.config.max_session_timeout).contains(&session_timeout) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        // Version 0 has one timeout for both.
        let rebalance_timeout = match u64::try_from(request.rebalance_timeout_ms) {
            Ok(timeout_ms) if cx.version >= 1 => Duration::from_millis(timeout_ms),
            _ => session_timeout,
        };
        let prefix = request.group_instance_id.as_ref().unwrap_or(&cx.client_id);
        let join = Join {
            new_member_id: format!("{prefix}-{}", self.random.uuid()).into(),
            member_id: request.member_id.detached(),
            instance_id: request.group_instance_id.detached(),
            client_id: cx.client_id.detached(),
            session_timeout,
            rebalance_timeout,
            protocol_type: request.protocol_type.detached(),
            protocols: request
                .protocols
                .iter()
                .map(|known| (known.name.detached(), known.metadata.detached()))
                .collect(),
            initial_delay: self.config.initial_rebalance_delay,
            max_group_size: self.config.max_group_size,
            waiter: Waiter { connection: cx.connection, version: cx.version },
        };
        if !join.member_id.is_empty() && self.groups.named(&request.group_id).is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        let group = self.groups.entry(&request.group_id, Kind::new_classic)?;
        let group = group.classic().ok_or(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)?;
        let mut replies = Replies::new();
        let answer = match group.join(cx.now, join, &mut replies) {
            JoinAnswer::Joined(joined) => response(group, joined).into(),
            JoinAnswer::Refused { error, member_id } => refusal(cx.version, error, member_id).into(),
            JoinAnswer::Parked => Answer::Parked,
        };
        self.complete_all(cx.now, replies);
        Ok(answer)
    }
}

impl Waiter {
    pub(super) fn joined(self, group: &ClassicGroup, joined: Joined) -> (ConnectionId, Response) {
        (self.connection, response(group, joined).into())
    }

    pub(super) fn join_refused(self, error: ErrorCode) -> (ConnectionId, Response) {
        (self.connection, refusal(self.version, error, ByteString::new()).into())
    }
}

fn response(group: &ClassicGroup, joined: Joined) -> JoinGroupResponse {
    let leads = group.leader == joined.member_id;
    let members = group.members().filter(|_| leads).map(|(id, member)| JoinGroupResponseMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        metadata: member.metadata(&group.protocol),
        ..JoinGroupResponseMember::default()
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(group.protocol_type.clone()),
        protocol_name: Some(group.protocol.clone()),
        leader: group.leader.clone(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

fn refusal(version: i16, error: ErrorCode, member_id: ByteString) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.0,
        generation_id: -1,
        // It may be null from version 7 on.
        protocol_name: (version < 7).then(ByteString::new),
        member_id,
        ..JoinGroupResponse::default()
    }
}
