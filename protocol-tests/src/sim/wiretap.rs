//! What a message says, in a few words for the trace.

use std::fmt;

use milena_embedded_broker::core::{BrokerId, ConnectionId};
use milena_protocol::{
    ErrorCode,
    messages::{Request, Response},
    records::Batches,
};

use super::timeline::Timeline;

/// Client, broker, connection and correlation id.
type On = (usize, BrokerId, ConnectionId, i32);

/// The batches of a Produce request with their numbers; the name of another one.
pub(super) fn request(timeline: &mut Timeline, on: On, request: &Request, version: i16) {
    let (seat, broker, connection, correlation) = on;
    let (api, what) = (request.api_key(), Asked(request));
    timeline.note(format_args!("s{seat} → {broker} c{} #{correlation} {api} v{version}{what}", connection.0));
}

/// What an answer says of each partition or of a member.
pub(super) fn response(timeline: &mut Timeline, on: On, response: &Response) {
    let (seat, _, connection, correlation) = on;
    let (api, what) = (response.api_key(), Told(response));
    timeline.note(format_args!("s{seat} ← c{} #{correlation} {api}{what}", connection.0));
}

struct Asked<'a>(&'a Request);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Produce(produce) => {
                for topic in &produce.topic_data {
                    for data in &topic.partition_data {
                        let batch = Batches::new(data.records.clone().unwrap_or_default()).next();
                        let Some(Ok(batch)) = batch else { continue };
                        let header = batch.header();
                        let (first, last) = (header.base_sequence, header.last_sequence());
                        let (producer, epoch) = (header.producer_id, header.producer_epoch);
                        let (name, index) = (&topic.name, data.index);
                        write!(f, ", {name}-{index} {producer}/{epoch}:{first}..={last}")?;
                    }
                }
                Ok(())
            }
            Request::Fetch(fetch) => {
                for topic in &fetch.topics {
                    for wanted in &topic.partitions {
                        write!(f, ", {}-{} from {}", topic.topic, wanted.partition, wanted.fetch_offset)?;
                    }
                }
                Ok(())
            }
            Request::OffsetCommit(commit) => {
                write!(f, ", {} {}", commit.member_id, commit.generation_id_or_member_epoch)?;
                for topic in &commit.topics {
                    for partition in &topic.partitions {
                        let (index, offset) = (partition.partition_index, partition.committed_offset);
                        write!(f, ", {}-{index} {offset}", topic.name)?;
                    }
                }
                Ok(())
            }
            Request::ConsumerGroupHeartbeat(heartbeat) => {
                write!(f, ", {} {}", heartbeat.member_id, heartbeat.member_epoch)
            }
            Request::Heartbeat(heartbeat) => {
                write!(f, ", {} {}", heartbeat.member_id, heartbeat.generation_id)
            }
            Request::JoinGroup(join) => write!(f, ", {:?}", join.member_id),
            _ => Ok(()),
        }
    }
}

struct Told<'a>(&'a Response);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.0 {
            Response::Produce(produce) => {
                for answer in produce.responses.iter().flat_map(|topic| &topic.partition_responses) {
                    match ErrorCode(answer.error_code) {
                        ErrorCode::NONE => write!(f, ", {} at {}", answer.index, answer.base_offset)?,
                        code => write!(f, ", {} {code:?}", answer.index)?,
                    }
                }
                return Ok(());
            }
            Response::Fetch(fetch) => {
                for topic in &fetch.responses {
                    for data in &topic.partitions {
                        let (index, code) = (data.partition_index, ErrorCode(data.error_code));
                        let len = data.records.as_ref().map_or(0, bytes::Bytes::len);
                        if !code.is_none() {
                            write!(f, ", {index} {code:?}")?;
                        } else if len > 0 {
                            write!(f, ", {index} {len} bytes")?;
                        }
                    }
                }
                fetch.error_code
            }
            Response::JoinGroup(join) => {
                write!(f, ", {} {}", join.member_id, join.generation_id)?;
                join.error_code
            }
            Response::ConsumerGroupHeartbeat(answer) => {
                write!(f, ", {}", answer.member_epoch)?;
                answer.error_code
            }
            Response::Heartbeat(answer) => answer.error_code,
            Response::SyncGroup(answer) => answer.error_code,
            Response::FindCoordinator(answer) => {
                answer.coordinators.first().map_or(answer.error_code, |found| found.error_code)
            }
            _ => 0,
        };
        if ErrorCode(code).is_none() { Ok(()) } else { write!(f, ", {:?}", ErrorCode(code)) }
    }
}
