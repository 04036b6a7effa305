//! Whether what is to be read next is still in the log (KIP-320).
//!
//! An unclean election gives a partition a leader whose log may lack the end of the old one's. Offsets beyond that get other
//! records later, and a reader that goes on where it was would miss them without a word. So under every new leader epoch the
//! leader is asked where the epoch of the last record read ends, before anything is fetched: behind the position, and all is
//! well; before it, and the log was cut off.
//!
//! Positions without an epoch can't be checked, and brokers before 2.3 can't be asked: there reading just goes on.

use std::{collections::BTreeMap, time::Instant};

use milena_cluster::{
    BrokerId, FailureKind, Metadata, Outgoing, RequestId, Target, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, Response,
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    wire::ByteString,
};

use crate::{
    ConsumerError, Position,
    cursors::{Cursor, CursorState, Cursors},
    fetcher::Fetcher,
    shared::{Answer, Asked, Shared, take_asked},
};

/// The oldest version that a consumer needs no permission on the cluster for.
const MIN_VERSION: i16 = 3;

#[derive(Debug, Default)]
pub(crate) struct Validation {
    /// A request a leader.
    asked: BTreeMap<BrokerId, Asked<BTreeMap<TopicPartition, Question>>>,
}

/// What was asked of a partition: the answer counts only while all of it still holds.
#[derive(Clone, Copy, Debug)]
struct Question {
    version: u64,
    /// Where fetching is to go on.
    from: Position,
    /// The epoch of the leader that is asked.
    leader_epoch: i32,
}

impl Validation {
    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &Cursors,
        fetcher: &Fetcher,
    ) -> Option<Outgoing> {
        let metadata = shared.metadata();
        let mut chosen = None;
        let mut topics: BTreeMap<&ByteString, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for (partition, cursor) in cursors.iter() {
            if cursor.retry.is_waiting(now) {
                continue;
            }
            let Some((leader, question, epoch)) = question(partition, cursor, fetcher, &metadata) else {
                continue;
            };
            if self.asked.contains_key(&leader) || *chosen.get_or_insert(leader) != leader {
                continue;
            }
            topics.entry(&partition.topic).or_default().push(OffsetForLeaderPartition {
                partition: partition.partition,
                current_leader_epoch: question.leader_epoch,
                leader_epoch: epoch,
                ..Default::default()
            });
            asked.insert(partition.clone(), question);
        }
        let broker = chosen?;
        let topic = |(topic, partitions): (&ByteString, Vec<OffsetForLeaderPartition>)| {
            OffsetForLeaderTopic { topic: topic.clone(), partitions, ..Default::default() }
        };
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let (id, timeout) = (shared.ids.allocate(), shared.config.request_timeout);
        self.asked.insert(broker, Asked { id, broker, with: asked });
        let mut outgoing = Outgoing::new(id, Target::Broker(broker), request, timeout);
        outgoing.min_version = MIN_VERSION;
        Some(outgoing)
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        cursors: &mut Cursors,
        fetcher: &mut Fetcher,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(asked) = take_asked(&mut self.asked, id) else { return false };
        let mut found = match answer {
            Ok(Response::OffsetForLeaderEpoch(response)) => found(response),
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                for (partition, question) in &asked.with {
                    if let Some(cursor) = cursors.current_mut(partition, question.version) {
                        cursor.checked = Some(question.leader_epoch);
                    }
                }
                return true;
            }
            _ => {
                shared.refresh_metadata(now);
                BTreeMap::new()
            }
        };
        for (partition, question) in &asked.with {
            let Some(cursor) = cursors.current_mut(partition, question.version) else { continue };
            let here = fetcher.fetched_to(partition);
            if here.or_else(|| cursor.ready()) != Some(question.from) {
                continue;
            }
            // A partition the answer leaves out is as good as one it has an error for.
            let answer = found.remove(partition);
            let code = answer.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |answer| ErrorCode(answer.error_code));
            match (verdict(ApiKey::OffsetForLeaderEpoch, code), answer) {
                (Verdict::Done, Some(answer)) => {
                    cursor.retry.succeeded();
                    if answer.end_offset >= question.from.offset {
                        cursor.checked = Some(question.leader_epoch);
                    } else if here.is_some() {
                        // Of what is here, some is not in the log any more: the position itself is asked about next.
                        fetcher.discard(partition);
                    } else {
                        cut_off(now, shared, cursor, partition, question, answer);
                    }
                    continue;
                }
                (Verdict::Refused | Verdict::Unsupported, _) => {
                    cursor.state =
                        CursorState::Halted(question.from, "the leader refuses to tell about its epochs");
                    let (partition, doing) = (partition.clone(), "asking whether the position is still in");
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

/// Whom to ask about a partition, what, and about which epoch; nothing when it need not be asked about.
fn question(
    partition: &TopicPartition,
    cursor: &Cursor,
    fetcher: &Fetcher,
    metadata: &Metadata,
) -> Option<(BrokerId, Question, i32)> {
    let position = cursor.ready()?;
    let known = metadata.partition(partition)?;
    let from = fetcher.fetched_to(partition).unwrap_or(position);
    if !cursor.is_unchecked(from, known.leader_epoch) {
        return None;
    }
    let question = Question { version: cursor.version, from, leader_epoch: known.leader_epoch };
    Some((known.leader?, question, from.leader_epoch?))
}

/// The position is behind the end of what the log has of its epoch. Reading goes on at that end, or where
/// `auto_offset_reset` says if the leader does not know the epoch; without a policy the application must say.
fn cut_off(
    now: Instant,
    shared: &mut Shared,
    cursor: &mut Cursor,
    partition: &TopicPartition,
    question: &Question,
    answer: &EpochEndOffset,
) {
    let position = question.from;
    let leader_epoch = (answer.leader_epoch >= 0).then_some(answer.leader_epoch);
    let end = (answer.end_offset >= 0 && leader_epoch.is_some()).then_some(answer.end_offset);
    tracing::warn!(%partition, offset = position.offset, ?end, "the log was cut off before the position");
    cursor.state = match (shared.reset(now), end) {
        (None, _) => {
            let (partition, offset) = (partition.clone(), position.offset);
            shared.fail(ConsumerError::LogTruncated { partition, offset, end });
            CursorState::Halted(
                position,
                "the log was cut off before its position and there is no reset policy",
            )
        }
        (_, Some(offset)) => {
            cursor.checked = Some(question.leader_epoch);
            CursorState::Ready(Position { offset, leader_epoch })
        }
        (Some(state), None) => state,
    };
}

fn found(response: &OffsetForLeaderEpochResponse) -> BTreeMap<TopicPartition, &EpochEndOffset> {
    let mut found = BTreeMap::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            found.insert(TopicPartition::new(topic.topic.clone(), partition.partition), partition);
        }
    }
    found
}
