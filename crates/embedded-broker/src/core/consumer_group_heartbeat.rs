//! ConsumerGroupHeartbeat (KIP-848).
//!
//! Imitates Kafka 4.3.1: the checks on what a heartbeat must and must not say, member ids made by the client (version 1) or
//! by the coordinator (version 0), static members, regular expressions (version 1), the assignors `uniform` and
//! `range`. The states are in `consumer_group`.
//!
//! Leaves out: joining a classic group that has members (GROUP_ID_NOT_FOUND); racks; regular expressions are those of
//! Rust's `regex` and are looked at again with every heartbeat, where Kafka uses RE2/J and refreshes every ten minutes.

use std::time::Duration;

use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat::{self as schema, RequestTopicPartitions, ResponseTopicPartitions},
    },
    wire::{ByteString, Uuid},
};
use regex::{Regex, RegexBuilder};

use super::{
    Cluster,
    assignor::{Assignment, Assignor},
    consumer_group::{Beat, LEAVING_STATIC},
    detach::Detach,
    dispatch::{Answer, Context},
    groups::Kind,
};

/// Bytes that a compiled regular expression may take.
const MAX_REGEX: usize = 1 << 20;

type Refusal = (ErrorCode, &'static str);

impl Cluster {
    pub(super) fn consumer_group_heartbeat(
        &mut self,
        cx: &Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Answer {
        match self.try_consumer_heartbeat(cx, request) {
            Ok(response) => response.into(),
            Err((error, message)) => ConsumerGroupHeartbeatResponse {
                error_code: error.0,
                error_message: (!message.is_empty()).then(|| ByteString::from_static(message)),
                ..ConsumerGroupHeartbeatResponse::default()
            }
            .into(),
        }
    }

    fn try_consumer_heartbeat(
        &mut self,
        cx: &Context,
        mut request: ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        if request.group_id.is_empty() {
            return Err((ErrorCode::INVALID_REQUEST, "GroupId can't be empty."));
        }
        self.check_group_coordinator(cx.broker, &request.group_id).map_err(wordless)?;
        if cx.version == 0 && request.member_epoch == 0 && request.member_id.is_empty() {
            request.member_id = self.random.uuid().to_string().into();
        }
        check(&request)?;
        let (group_id, member_id) = (request.group_id.clone(), request.member_id.clone());
        if request.member_epoch != 0 && self.groups.named(&group_id).is_none() {
            return Err((ErrorCode::GROUP_ID_NOT_FOUND, "The group does not exist."));
        }
        let beat = beat(cx, request)?;
        let max_group_size = self.config.max_group_size;
        let group = self.groups.entry(&group_id, Kind::new_consumer).map_err(wordless)?;
        let not_of_this_kind = (ErrorCode::GROUP_ID_NOT_FOUND, "The group is not a consumer group.");
        let group = group.consumer().ok_or(not_of_this_kind)?;
        if beat.epoch == 0 && group.len() >= max_group_size && !group.has(&member_id) {
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, "The group is full."));
        }
        let session_timeout = self.config.consumer_session_timeout;
        let beaten = group.heartbeat(cx.now, beat, &self.topics, session_timeout).map_err(wordless)?;
        let interval = self.config.consumer_heartbeat_interval.as_millis();
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member_id),
            member_epoch: beaten.epoch,
            heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
            assignment: beaten.assignment.map(|assignment| schema::Assignment {
                topic_partitions: by_topic(&assignment),
                ..schema::Assignment::default()
            }),
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }
}

fn wordless(error: ErrorCode) -> Refusal {
    (error, "")
}

fn check(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |message| Err((ErrorCode::INVALID_REQUEST, message));
    let is_empty = |text: &Option<ByteString>| text.as_ref().is_some_and(|text| text.is_empty());
    if request.member_id.is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if is_empty(&request.instance_id) || is_empty(&request.rack_id) {
        return invalid("InstanceId and RackId can't be empty.");
    }
    match request.member_epoch {
        0 => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVING_STATIC if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null when MemberEpoch is -2.");
        }
        ..LEAVING_STATIC => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    Ok(())
}

fn beat(cx: &Context, request: ConsumerGroupHeartbeatRequest) -> Result<Beat, Refusal> {
    let unknown_assignor = (ErrorCode::UNSUPPORTED_ASSIGNOR, "The assignors are uniform and range.");
    let assignor =
        request.server_assignor.map(|name| Assignor::named(&name).ok_or(unknown_assignor)).transpose()?;
    let owned = request.topic_partitions.map(|owned| owned.iter().flat_map(partitions).collect());
    Ok(Beat {
        member_id: request.member_id.detached(),
        epoch: request.member_epoch,
        instance_id: request.instance_id.detached(),
        client_id: cx.client_id.detached(),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms).ok().map(Duration::from_millis),
        topic_names: request.subscribed_topic_names.detached(),
        topic_regex: request.subscribed_topic_regex.map(|regex| compile(&regex)).transpose()?,
        assignor,
        owned,
    })
}

/// The expression, which has to match a whole name; the empty one takes the subscription back.
fn compile(regex: &str) -> Result<Option<Regex>, Refusal> {
    if regex.is_empty() {
        return Ok(None);
    }
    let whole = format!("^(?:{regex})$");
    let compiled = RegexBuilder::new(&whole).size_limit(MAX_REGEX).build();
    let invalid =
        (ErrorCode::INVALID_REGULAR_EXPRESSION, "SubscribedTopicRegex is not a valid regular expression.");
    compiled.map(Some).map_err(|_| invalid)
}

fn partitions(topic: &RequestTopicPartitions) -> impl Iterator<Item = (Uuid, i32)> {
    topic.partitions.iter().map(|partition| (topic.topic_id, partition))
}

fn by_topic(assignment: &Assignment) -> Vec<ResponseTopicPartitions> {
    let mut topics: Vec<(Uuid, Vec<i32>)> = Vec::new();
    for &(topic_id, partition) in assignment {
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic_id => partitions.push(partition),
            _ => topics.push((topic_id, vec![partition])),
        }
    }
    let topics = topics.into_iter().map(|(topic_id, partitions)| ResponseTopicPartitions {
        topic_id,
        partitions: partitions.into(),
        ..ResponseTopicPartitions::default()
    });
    topics.collect()
}
