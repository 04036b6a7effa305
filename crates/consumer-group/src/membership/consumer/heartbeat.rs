//! What a heartbeat says, and what its answer means.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_cluster::{BrokerId, FailureKind, Outgoing, RequestId, Verdict, verdict};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Response,
        consumer_group_heartbeat::{Assignment, RequestTopicPartitions},
    },
    wire::{Packed, Uuid},
};

use super::{ConsumerMember, Said, State};
use crate::{
    ConsumerError,
    config::millis,
    membership::Change,
    shared::{Answer, Asked, Shared},
};

/// The version in which a pattern can be said.
const FIRST_WITH_PATTERNS: i16 = 1;
/// The epoch that asks to join.
const JOIN: i32 = 0;
/// The epoch that says goodbye.
const LEAVE: i32 = -1;
/// The epoch by which a static member says that it will be back.
const LEAVE_FOR_A_WHILE: i32 = -2;

impl ConsumerMember {
    pub(in crate::membership) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
    ) -> Option<Outgoing> {
        let epoch = match &self.state {
            State::Out | State::Silent => return None,
            State::Leaving(_) => return self.goodbye(now, shared),
            State::Joining { .. } => JOIN,
            State::Member { epoch } | State::Departing { epoch } => *epoch,
        };
        if self.heartbeats.asked.is_some()
            || self.heartbeats.next > now
            || self.heartbeats.retry.is_waiting(now)
        {
            return None;
        }
        let said = Said { at: now, interest: self.interest.clone(), owned: self.ownership.owned().clone() };
        let confirmed = self.heartbeats.confirmed.as_ref().filter(|_| epoch != JOIN);
        let full = confirmed.is_none();
        let changed =
            |is_same: fn(&Said, &Said) -> bool| confirmed.is_none_or(|known| !is_same(known, &said));
        let acknowledge = self.heartbeats.acknowledge && !self.ownership.is_revoking();
        let owned = changed(|known, said| known.owned == said.owned) || acknowledge;
        let owned = owned.then(|| self.wire_owned());
        let topics = changed(|known, said| known.interest.topics == said.interest.topics);
        let pattern = match confirmed {
            Some(known) if known.interest.pattern == said.interest.pattern => None,
            // An empty one takes it back.
            Some(_) => Some(self.interest.pattern.clone().unwrap_or_default()),
            None => self.interest.pattern.clone(),
        };
        let config = &shared.config;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: shared.group(),
            member_id: self.member_id.clone(),
            member_epoch: epoch,
            instance_id: config.group_instance_id.clone().filter(|_| full),
            rack_id: config.client_rack.clone().filter(|_| full),
            rebalance_timeout_ms: if full { millis(config.rebalance_timeout) } else { -1 },
            subscribed_topic_names: topics.then(|| self.interest.topics.iter().cloned().collect()),
            subscribed_topic_regex: pattern,
            server_assignor: config.server_assignor.clone().filter(|_| full),
            topic_partitions: owned,
            ..Default::default()
        };
        let (mut outgoing, broker) = shared.ask_coordinator(request)?;
        if said.interest.pattern.is_some() {
            outgoing.min_version = FIRST_WITH_PATTERNS;
        }
        self.heartbeats.asked = Some(Asked { id: outgoing.id, broker, with: said });
        self.heartbeats.acknowledge &= !acknowledge;
        Some(outgoing)
    }

    fn wire_owned(&self) -> Vec<RequestTopicPartitions> {
        let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in self.ownership.owned() {
            if let Some(id) = self.topic_ids.get(&partition.topic) {
                by_topic.entry(*id).or_default().push(partition.partition);
            }
        }
        let topic = |(topic_id, partitions)| RequestTopicPartitions {
            topic_id,
            partitions: Packed::from(partitions),
            ..Default::default()
        };
        by_topic.into_iter().map(topic).collect()
    }

    fn goodbye(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        let State::Leaving(leaving) = &mut self.state else { return None };
        if leaving.asked.is_some() || self.heartbeats.retry.is_waiting(now) {
            return None;
        }
        let is_static = shared.config.group_instance_id.is_some();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: shared.group(),
            member_id: self.member_id.clone(),
            member_epoch: if is_static { LEAVE_FOR_A_WHILE } else { LEAVE },
            instance_id: shared.config.group_instance_id.clone(),
            ..Default::default()
        };
        let (outgoing, broker) = shared.ask_coordinator(request)?;
        leaving.asked = Some((outgoing.id, broker));
        Some(outgoing)
    }

    pub(in crate::membership) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        if let State::Leaving(leaving) = &mut self.state
            && let Some((asked, broker)) = leaving.asked
            && asked == id
        {
            leaving.asked = None;
            let then = leaving.then;
            if is_goodbye_lost(answer) {
                shared.lost_coordinator(broker);
                shared.failed(now, &mut self.heartbeats.retry);
            } else {
                self.left(now, shared, then);
            }
            return true;
        }
        let Some(asked) = self.heartbeats.asked.take_if(|asked| asked.id == id) else { return false };
        // Whoever is leaving takes no orders (N7).
        if matches!(self.state, State::Leaving(_) | State::Out | State::Silent) {
            return true;
        }
        match answer {
            Ok(Response::ConsumerGroupHeartbeat(response)) => match ErrorCode(response.error_code) {
                ErrorCode::NONE => self.confirmed(now, shared, asked.with, response),
                code => self.refused(now, shared, asked.broker, code, response),
            },
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                self.ownership.changes.push_back(Change::Unsupported(failure.cause.clone()));
            }
            _ => {
                shared.lost_coordinator(asked.broker);
                self.try_again(now, shared);
            }
        }
        true
    }

    fn confirmed(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        said: Said,
        response: &ConsumerGroupHeartbeatResponse,
    ) {
        if let Some(member_id) = response.member_id.clone().filter(|id| !id.is_empty()) {
            self.member_id = member_id;
        }
        self.heartbeats.retry.succeeded();
        self.heartbeats.last_success = said.at;
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            self.heartbeats.interval = Duration::from_millis(interval);
        }
        self.heartbeats.next = now + self.heartbeats.interval;
        // The subscription or what is owned may have changed while the heartbeat was under way.
        if said.interest != self.interest || said.owned != *self.ownership.owned() {
            self.heartbeats.next = now;
        }
        self.heartbeats.confirmed = Some(said);
        let epoch = response.member_epoch;
        match self.state {
            State::Joining { .. } => {
                self.state = State::Member { epoch };
                self.ownership.changes.push_back(Change::Joined);
            }
            State::Departing { .. } => {
                self.state = State::Departing { epoch };
                return;
            }
            _ => self.state = State::Member { epoch },
        }
        if let Some(assignment) = &response.assignment {
            let target = Some(by_topic(assignment));
            self.heartbeats.acknowledge |= self.target != target;
            self.target = target;
        }
        self.follow_target(now, shared);
        if self.heartbeats.acknowledge && !self.ownership.is_revoking() {
            self.heartbeats.next = now;
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        broker: BrokerId,
        code: ErrorCode,
        response: &ConsumerGroupHeartbeatResponse,
    ) {
        match verdict(ApiKey::ConsumerGroupHeartbeat, code) {
            // At once the first time; a group that fences again and again is waited for.
            Verdict::MemberLost => {
                let again = matches!(self.state, State::Joining { .. });
                self.fenced(now, shared);
                if again {
                    self.try_again(now, shared);
                }
            }
            Verdict::FindCoordinator => {
                shared.lost_coordinator(broker);
                self.try_again(now, shared);
            }
            Verdict::Unsupported => {
                let cause =
                    response.error_message.clone().map_or_else(|| code.to_string(), |text| text.to_string());
                self.ownership.changes.push_back(Change::Unsupported(cause.into()));
            }
            Verdict::Fenced => self.fail(fenced_instance(shared)),
            Verdict::Retry if code == ErrorCode::UNRELEASED_INSTANCE_ID => {
                let patience = now + shared.config.session_timeout;
                match &mut self.state {
                    State::Joining { unreleased: Some(until) } if *until <= now => {
                        return self.fail(fenced_instance(shared));
                    }
                    State::Joining { unreleased } => _ = unreleased.get_or_insert(patience),
                    _ => {}
                }
                self.try_again(now, shared);
            }
            Verdict::Retry | Verdict::RefreshMetadata | Verdict::AwaitHeartbeat | Verdict::Rejoin => {
                self.try_again(now, shared);
            }
            _ => {
                let (group, doing) = (shared.group(), "heartbeat");
                self.fail(ConsumerError::Group { group, doing, code });
            }
        }
    }

    fn try_again(&mut self, now: Instant, shared: &mut Shared) {
        self.heartbeats.confirmed = None;
        shared.failed(now, &mut self.heartbeats.retry);
        self.heartbeats.next = now;
    }
}

fn by_topic(assignment: &Assignment) -> BTreeMap<Uuid, BTreeSet<i32>> {
    let topics = assignment.topic_partitions.iter();
    topics.map(|topic| (topic.topic_id, topic.partitions.iter().collect())).collect()
}

fn fenced_instance(shared: &Shared) -> ConsumerError {
    ConsumerError::FencedInstance {
        group: shared.group(),
        instance_id: shared.config.group_instance_id.clone().unwrap_or_default(),
    }
}

/// True when the goodbye may be said again. Any other answer means that the group does without the member.
fn is_goodbye_lost(answer: &Answer) -> bool {
    match answer {
        Ok(Response::ConsumerGroupHeartbeat(response)) => {
            let code = ErrorCode(response.error_code);
            let verdict = verdict(ApiKey::ConsumerGroupHeartbeat, code);
            matches!(verdict, Verdict::FindCoordinator | Verdict::Retry)
        }
        Ok(_) => true,
        Err(failure) => failure.kind != FailureKind::Unsupported,
    }
}
