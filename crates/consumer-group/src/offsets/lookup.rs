//! Offsets by time: where reading starts when no committed offset says it, and where a seek to a time leads.
//!
//! Only the leader is asked, one request a leader at a time. A partition without a leader waits for metadata.

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{BrokerId, FailureKind, Outgoing, RequestId, Target, TopicPartition, Verdict, verdict};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse, Response,
        list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic},
    },
    wire::ByteString,
};

use crate::{
    ConsumerError, Position,
    config::millis,
    cursors::{CursorState, Cursors, LATEST},
    shared::{Answer, Asked, Shared, take_asked},
};

#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// A request a leader, with the partitions.
    asked: BTreeMap<BrokerId, Asked<BTreeMap<TopicPartition, Question>>>,
}

/// What was asked of a partition.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// Of the cursor: the answer counts for no other.
    version: u64,
    leader_epoch: i32,
}

impl Lookup {
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
    ) -> Option<Outgoing> {
        let metadata = shared.metadata();
        let mut chosen = None;
        let mut topics: BTreeMap<&ByteString, Vec<ListOffsetsPartition>> = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for (partition, cursor) in cursors.iter() {
            let CursorState::Unresolved(timestamp) = cursor.state else { continue };
            if cursor.revoking || cursor.retry.is_waiting(now) {
                continue;
            }
            let Some(known) = metadata.partition(partition) else { continue };
            let Some(leader) = known.leader.filter(|leader| !self.asked.contains_key(leader)) else {
                continue;
            };
            if *chosen.get_or_insert(leader) != leader {
                continue;
            }
            let question = Question { version: cursor.version, leader_epoch: known.leader_epoch };
            asked.insert(partition.clone(), question);
            topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: known.leader_epoch,
                timestamp,
                ..Default::default()
            });
        }
        let broker = chosen?;
        let topic = |(name, partitions): (&ByteString, Vec<ListOffsetsPartition>)| ListOffsetsTopic {
            name: name.clone(),
            partitions,
            ..Default::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: shared.config.isolation_level.wire(),
            topics: topics.into_iter().map(topic).collect(),
            timeout_ms: millis(shared.config.request_timeout),
            ..Default::default()
        };
        let (id, timeout) = (shared.ids.allocate(), shared.config.request_timeout);
        self.asked.insert(broker, Asked { id, broker, with: asked });
        Some(Outgoing::new(id, Target::Broker(broker), request, timeout))
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(asked) = take_asked(&mut self.asked, id) else { return false };
        let mut found = match answer {
            Ok(Response::ListOffsets(response)) => found(response),
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                let (doing, cause) = ("asking for offsets by time", failure.cause.clone());
                shared.fail(ConsumerError::Unsupported { doing, cause });
                return true;
            }
            _ => {
                shared.refresh_metadata(now);
                BTreeMap::new()
            }
        };
        for (partition, question) in &asked.with {
            let answer = found.remove(partition);
            let Some(cursor) = cursors.current_mut(partition, question.version) else { continue };
            let CursorState::Unresolved(timestamp) = cursor.state else { continue };
            // A partition the answer leaves out is as good as one it has an error for.
            let code = answer.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |answer| ErrorCode(answer.error_code));
            match (verdict(ApiKey::ListOffsets, code), answer) {
                (Verdict::Done, Some(answer)) => {
                    cursor.retry.succeeded();
                    cursor.state = resolved(timestamp, answer);
                    cursor.checked = Some(question.leader_epoch);
                    continue;
                }
                (Verdict::Refused | Verdict::Unsupported, _) => {
                    let nowhere = Position { offset: -1, leader_epoch: None };
                    cursor.state = CursorState::Halted(nowhere, "the leader refuses to tell its offsets");
                    let (partition, doing) = (partition.clone(), "asking for the offsets of");
                    shared.fail(ConsumerError::Partition { partition, doing, code });
                    continue;
                }
                (Verdict::RefreshMetadata, _) => shared.refresh_metadata(now),
                _ => {}
            }
            shared.failed(now, &mut cursor.retry);
        }
        true
    }
}

fn resolved(timestamp: i64, answer: &ListOffsetsPartitionResponse) -> CursorState {
    if answer.offset < 0 {
        // Every record is older than the time: reading goes on at the end.
        return if timestamp == LATEST {
            CursorState::Ready(start(0, -1))
        } else {
            CursorState::Unresolved(LATEST)
        };
    }
    CursorState::Ready(start(answer.offset, answer.leader_epoch))
}

fn start(offset: i64, leader_epoch: i32) -> Position {
    Position { offset, leader_epoch: (leader_epoch >= 0).then_some(leader_epoch) }
}

fn found(response: &ListOffsetsResponse) -> BTreeMap<TopicPartition, &ListOffsetsPartitionResponse> {
    let mut found = BTreeMap::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            found.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), partition);
        }
    }
    found
}
