//! Replies that say something else when they arrive than when they were sent.

use std::collections::BTreeSet;

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{FetchResponse, ProduceResponse, Response},
    wire::{ByteString, Uuid},
};

use super::{schedule::What, timeline::Timeline, weather::Weather};

/// A client and a place in a log.
pub(super) type Spot = (usize, Uuid, ByteString, i32, Bytes);

/// The first bytes of a batch that tell it from others: its base offset.
const BASE_OFFSET: usize = 8;
/// A byte that the CRC of a batch covers.
const COVERED: usize = 23;

/// Lets the faults that wait for a reply of this kind change it.
pub(super) fn tamper(
    timeline: &mut Timeline,
    weather: &mut Weather,
    corrupted: &mut BTreeSet<Spot>,
    seat: usize,
    response: &mut Response,
) {
    match response {
        Response::Produce(answer) => {
            if let Some(What::Garble { code, .. }) = weather.meets_produced(seat) {
                garble(timeline, weather, seat, answer, code);
            }
        }
        Response::Fetch(answer) if has_records(answer) && weather.meets_records(seat).is_some() => {
            corrupt(timeline, corrupted, seat, answer);
        }
        _ => {}
    }
}

/// A reply to a Produce request as a leader words it that has written and steps down, has too few replicas, or knows a
/// batch again and not where it is. Without a code it leaves a partition out.
fn garble(
    timeline: &mut Timeline,
    weather: &mut Weather,
    seat: usize,
    answer: &mut ProduceResponse,
    code: Option<ErrorCode>,
) {
    let at = weather.choice(seat, answer.responses.len());
    let Some(topic) = answer.responses.get_mut(at) else { return };
    let Some(code) = code else {
        topic.partition_responses.pop();
        return timeline.note(format_args!("the reply leaves a partition out"));
    };
    let at = weather.choice(seat, topic.partition_responses.len());
    let Some(partition) = topic.partition_responses.get_mut(at) else { return };
    let written = partition.error_code == ErrorCode::NONE.0;
    if code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER && !written {
        return;
    }
    partition.error_code = code.0;
    partition.base_offset = -1;
    timeline.note(format_args!("the reply says {code} of partition {}", partition.index));
}

fn has_records(answer: &FetchResponse) -> bool {
    answer.responses.iter().any(|topic| {
        topic.partitions.iter().any(|data| data.records.is_some_and(|records| records.len() > COVERED))
    })
}

/// Flips a bit of the first batch that comes along, unless that batch was changed before.
fn corrupt(timeline: &mut Timeline, corrupted: &mut BTreeSet<Spot>, seat: usize, answer: &mut FetchResponse) {
    let mut done = None;
    answer.responses.edit(|topics| {
        for topic in topics {
            let (id, name) = (topic.topic_id, topic.topic.clone());
            topic.partitions.edit(|partitions| {
                for data in partitions {
                    let records = data.records.as_ref().filter(|records| records.len() > COVERED);
                    let Some(records) = records.filter(|_| done.is_none()) else { continue };
                    let base_offset = records.slice(..BASE_OFFSET);
                    if corrupted.insert((seat, id, name.clone(), data.partition_index, base_offset)) {
                        let mut bytes = records.to_vec();
                        bytes.iter_mut().skip(COVERED).take(1).for_each(|byte| *byte ^= 1 << 6);
                        data.records = Some(bytes.into());
                        done = Some(data.partition_index);
                    }
                }
            });
        }
    });
    if let Some(index) = done {
        timeline.note(format_args!("a bit of the records of partition {index} flips"));
    }
}
