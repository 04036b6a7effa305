//! ListOffsets: the offset of a time.
//!
//! Imitates Kafka 4.3.1 for a log that is not tiered: earliest (-2, and -4), latest (-1), the largest timestamp (-3), or
//! the first record at or after a time; -1 for an offset that there is none of. For a reader of committed records the end
//! is the last stable offset.
//!
//! Leaves out: tiered offsets (-5 and -6 find none); the largest timestamp of a segment whose record was deleted, which
//! Kafka still finds.

use std::collections::BTreeMap;

use milena_protocol::{
    ErrorCode,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets::{
            ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic, ListOffsetsTopicResponse,
        },
    },
    records::ReadOptions,
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    log::{Entry, Log},
    partition::{Isolation, Partition},
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

impl Cluster {
    pub(super) fn list_offsets(&mut self, cx: &Context, request: ListOffsetsRequest) -> Answer {
        let isolation = Isolation::from_wire(request.isolation_level);
        let topics = request.topics.into_iter().map(|ListOffsetsTopic { name, partitions, .. }| {
            let mut seen = BTreeMap::new();
            for wanted in &partitions {
                *seen.entry(wanted.partition_index).or_insert(0) += 1;
            }
            let mut found = Vec::new();
            for wanted in &partitions {
                match seen.get(&wanted.partition_index) {
                    Some(1) => found.push(self.list_offset(cx, &name, isolation, wanted)),
                    // One that is asked for several times is refused once.
                    Some(_) => found.push(answer(cx, wanted, Err(ErrorCode::INVALID_REQUEST))),
                    None => continue,
                }
                seen.remove(&wanted.partition_index);
            }
            ListOffsetsTopicResponse { name, partitions: found, ..ListOffsetsTopicResponse::default() }
        });
        ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }.into()
    }

    fn list_offset(
        &mut self,
        cx: &Context,
        topic: &str,
        isolation: Isolation,
        wanted: &ListOffsetsPartition,
    ) -> ListOffsetsPartitionResponse {
        let topic = self.topics.named_mut(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let found = topic.and_then(|topic| {
            let partition = topic.partition_mut(wanted.partition_index)?;
            partition.check_leader(cx.broker, wanted.current_leader_epoch)?;
            if cx.version < first_version(wanted.timestamp) {
                return Err(ErrorCode::UNSUPPORTED_VERSION);
            }
            offset_of(partition, isolation, wanted.timestamp)
        });
        answer(cx, wanted, found)
    }
}

/// The first version that knows what a timestamp stands for.
const fn first_version(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

fn answer(
    cx: &Context,
    wanted: &ListOffsetsPartition,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error, found) = match found {
        Ok(found) => (ErrorCode::NONE, found),
        Err(error) => (error, Found::NONE),
    };
    ListOffsetsPartitionResponse {
        partition_index: wanted.partition_index,
        error_code: error.0,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: if cx.version >= 4 { found.leader_epoch } else { -1 },
        ..ListOffsetsPartitionResponse::default()
    }
}

struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

impl Found {
    const NONE: Self = Self { offset: -1, timestamp: -1, leader_epoch: -1 };
}

fn offset_of(partition: &mut Partition, isolation: Isolation, timestamp: i64) -> Result<Found, ErrorCode> {
    let end = partition.readable_end(isolation);
    let readable = |found: Found| if found.offset < end { found } else { Found::NONE };
    let log = &mut partition.log;
    match timestamp {
        LATEST => Ok(Found { offset: end, timestamp: -1, leader_epoch: partition.leader_epoch }),
        EARLIEST | EARLIEST_LOCAL => {
            let offset = log.start_offset();
            let leader_epoch = partition.epochs.at(offset).unwrap_or(-1);
            Ok(Found { offset, timestamp: -1, leader_epoch })
        }
        MAX_TIMESTAMP => {
            // Of batches with the same one, the first.
            let latest = log.entries().rev().max_by_key(|entry| entry.max_timestamp).copied();
            let found = latest.and_then(|entry| first_record_at(log, entry, entry.max_timestamp));
            Ok(found.map_or(Found::NONE, readable))
        }
        timestamp if timestamp >= 0 => {
            let batch = log.entries().find(|entry| entry.max_timestamp >= timestamp).copied();
            let found = batch.and_then(|entry| first_record_at(log, entry, timestamp));
            Ok(found.map_or(Found::NONE, readable))
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(Found::NONE),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

/// The first record of a batch whose timestamp is at least that.
fn first_record_at(log: &mut Log, entry: Entry, timestamp: i64) -> Option<Found> {
    let Ok(batch) = log.batch(&entry)?.decode(&ReadOptions::default()) else {
        // A codec that this build lacks: the batch is as near as one can get.
        let Entry { base_offset, max_timestamp, leader_epoch, .. } = entry;
        return Some(Found { offset: base_offset, timestamp: max_timestamp, leader_epoch });
    };
    let start = log.start_offset();
    let mut records = batch.records().map_while(Result::ok);
    let record = records.find(|record| record.timestamp() >= timestamp && record.offset() >= start)?;
    Some(Found { offset: record.offset(), timestamp: record.timestamp(), leader_epoch: entry.leader_epoch })
}
