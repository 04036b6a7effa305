//! One round of a rebalance: all join, the leader assigns, each learns its part.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena_cluster::{BrokerId, Outgoing, TopicPartition, Verdict, verdict};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
        join_group::JoinGroupRequestProtocol, sync_group::SyncGroupRequestAssignment,
    },
    wire::ByteString,
};

use super::{ClassicMember, Heartbeats, State, fenced_instance, partition_count, skipped::Skipped};
use crate::{
    Assignor, ConsumerError,
    assignors::{GroupMember, PartitionCounts},
    config::millis,
    membership::{
        Change,
        subscription::{decode_assignment, decode_subscription, encode_assignment, encode_subscription},
    },
    shared::{Asked, Shared},
};

const PROTOCOL_TYPE: &str = "consumer";
/// What the broker may need beyond the rebalance timeout to answer a JoinGroup (Java has the same).
const JOIN_SLACK: Duration = Duration::from_secs(5);
/// How long a leader waits to learn the partitions of its members' topics. Topics not known by then get no owner; when
/// they become known the group rebalances.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

impl ClassicMember {
    pub(super) fn join(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let config = &shared.config;
        let rack = config.client_rack.as_ref();
        let (owned, generation) = (self.ownership.owned(), self.generation);
        let (previous, assigned_in) = &self.previous;
        let metadata = |assignor: &Assignor| {
            let user_data = assignor.user_data(previous, *assigned_in);
            encode_subscription(&self.topics, owned, generation, rack, user_data)
        };
        let protocol = |assignor: &Assignor| JoinGroupRequestProtocol {
            name: assignor.name().into(),
            metadata: metadata(assignor),
            ..Default::default()
        };
        let request = JoinGroupRequest {
            group_id: shared.group(),
            session_timeout_ms: millis(config.session_timeout),
            rebalance_timeout_ms: millis(config.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: config.assignors.iter().map(protocol).collect(),
            ..Default::default()
        };
        let patience = config.rebalance_timeout + JOIN_SLACK;
        let (mut outgoing, broker) = shared.ask_coordinator(request)?;
        // The coordinator answers when all have joined, or the rebalance timeout is over (G10).
        outgoing.timeout = patience.max(outgoing.timeout);
        self.state = State::Joining(Some(Asked { id: outgoing.id, broker, with: now }));
        Some(outgoing)
    }

    pub(super) fn sync(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let State::Syncing { assignor, assignments, asked } = &mut self.state else { return None };
        let request = SyncGroupRequest {
            group_id: shared.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: shared.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(assignor.name().into()),
            assignments: assignments.clone(),
            ..Default::default()
        };
        let patience = shared.config.rebalance_timeout + JOIN_SLACK;
        let (mut outgoing, broker) = shared.ask_coordinator(request)?;
        // It is answered when the leader has assigned.
        outgoing.timeout = patience.max(outgoing.timeout);
        *asked = Some(Asked { id: outgoing.id, broker, with: now });
        Some(outgoing)
    }

    pub(super) fn joined(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        asked: &Asked<Instant>,
        response: &JoinGroupResponse,
    ) {
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            // The id is to be told before the member counts: a client that dies here leaves nothing behind (G1).
            ErrorCode::MEMBER_ID_REQUIRED => {
                self.member_id = response.member_id.clone();
                return;
            }
            code => return self.round_refused(now, shared, asked.broker, code, "joining"),
        }
        let chosen = response.protocol_name.as_ref();
        let chosen = chosen.and_then(|name| {
            shared.config.assignors.iter().find(|assignor| assignor.name() == &**name).cloned()
        });
        let Some(assignor) = chosen else {
            let (group, code) = (shared.group(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            return self.fail(ConsumerError::Group { group, doing: "joining", code });
        };
        self.retry.succeeded();
        self.last_success = now;
        self.member_id = response.member_id.clone();
        self.generation = response.generation_id;
        self.assigned_by = None;
        self.skipped = None;
        if response.leader != response.member_id || response.skip_assignment {
            if response.leader == response.member_id {
                self.skipped = Some(Skipped::of(response));
                self.want_topics(now, shared);
            }
            self.state = State::Syncing { assignor, assignments: Vec::new(), asked: None };
            return;
        }
        let members = response.members.iter().map(|member| {
            let subscription = decode_subscription(&member.metadata);
            let instance_id = member.group_instance_id.clone();
            (member.member_id.clone(), GroupMember { instance_id, ..subscription })
        });
        let members = members.collect();
        self.state = State::Assigning { assignor, members, until: now + LEADER_PATIENCE };
        self.want_topics(now, shared);
        self.assign_as_leader(now, shared);
    }

    fn want_topics(&self, now: Instant, shared: &mut Shared) {
        for topic in self.topics_to_know() {
            shared.metadata.want(now, &topic);
        }
    }

    /// Assigns, when it is known how many partitions the topics have, or it has taken too long.
    pub(super) fn assign_as_leader(&mut self, now: Instant, shared: &mut Shared) {
        let State::Assigning { assignor, members, until } = &self.state else { return };
        let metadata = shared.metadata();
        let topics: BTreeSet<_> = members.values().flat_map(|member| &member.topics).collect();
        let is_known = |topic: &ByteString| {
            metadata.topics.contains_key(topic) || metadata.topic_errors.contains_key(topic)
        };
        if *until > now && !topics.iter().all(|topic| is_known(topic)) {
            return;
        }
        let counts: PartitionCounts =
            topics.into_iter().map(|topic| (topic.clone(), partition_count(&metadata, topic))).collect();
        let assigned = assignor.assign(members, &counts);
        let assignment = |(member_id, partitions)| SyncGroupRequestAssignment {
            member_id,
            assignment: encode_assignment(&partitions),
            ..Default::default()
        };
        let assignments = assigned.into_iter().map(assignment).collect();
        let assignor = assignor.clone();
        self.assigned_by = Some(counts);
        self.state = State::Syncing { assignor, assignments, asked: None };
    }

    pub(super) fn synced(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        asked: &Asked<Instant>,
        assignor: &Assignor,
        response: &SyncGroupResponse,
    ) {
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            code => {
                self.state = State::Joining(None);
                return self.round_refused(now, shared, asked.broker, code, "learning the assignment");
            }
        }
        let Ok(assigned) = decode_assignment(&response.assignment) else {
            // The leader writes what can't be read. Another round may have another leader.
            self.state = State::Joining(None);
            return shared.failed(now, &mut self.retry);
        };
        self.retry.succeeded();
        self.last_success = asked.with;
        self.previous = (assigned.clone(), self.generation);
        self.ownership.changes.push_back(Change::Joined);
        let surplus: BTreeSet<TopicPartition> =
            self.ownership.owned().difference(&assigned).cloned().collect();
        let rejoin = !surplus.is_empty() && assignor.is_cooperative();
        self.ownership.add(assigned);
        self.ownership.revoke(surplus, shared.revoke_deadline(now));
        let heartbeats = Heartbeats { next: now + shared.config.heartbeat_interval, asked: None };
        self.state = State::Stable { heartbeats, rejoin };
        self.watch_skipped(now, shared);
    }

    fn round_refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        broker: BrokerId,
        code: ErrorCode,
        doing: &'static str,
    ) {
        match verdict(ApiKey::JoinGroup, code) {
            // At once: the id is what is wrong (G4).
            Verdict::MemberLost => {
                let had_one = !self.member_id.is_empty();
                self.lost(true);
                if !had_one {
                    shared.failed(now, &mut self.retry);
                }
            }
            Verdict::FindCoordinator => {
                shared.lost_coordinator(broker);
                shared.failed(now, &mut self.retry);
            }
            Verdict::Fenced => self.fail(fenced_instance(shared)),
            Verdict::Rejoin if code == ErrorCode::REBALANCE_IN_PROGRESS => {}
            Verdict::Rejoin | Verdict::Retry | Verdict::RefreshMetadata | Verdict::AwaitHeartbeat => {
                shared.failed(now, &mut self.retry);
            }
            _ => {
                let group = shared.group();
                self.fail(ConsumerError::Group { group, doing, code });
            }
        }
    }
}
