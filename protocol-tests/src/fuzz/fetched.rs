//! A fetch response on its way through the consumer: what a hostile leader can put before an application.

use std::time::{Duration, Instant};

use bytes::Bytes;
use milena_cluster::{Machine, TopicPartition};
use milena_consumer_group::{Consumer, ConsumerConfig, IsolationLevel, Position};
use milena_protocol::{
    ErrorCode,
    messages::{
        FetchResponse, MetadataResponse, Request, Response,
        fetch::{FetchableTopicResponse, PartitionData},
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    wire::{Decode, Reader},
};

use super::{heap, lab::drain};

const TOPIC: &str = "letters";
/// Partitions of a response that are looked at.
const PARTITIONS: usize = 4;
/// Records taken in one go, and the most there can be of them.
const SLICE: usize = 100;
const MOST_RECORDS: usize = 100_000;

/// The first byte is the version. The partitions of the response, whatever they are called, become those of one topic,
/// which a consumer with read_committed has asked for.
pub(super) fn fetched(input: &[u8]) {
    let Some((&version, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    let mut reader = Reader::new(&body);
    let Ok(response) = FetchResponse::decode(&mut reader, version.cast_signed().into()) else { return };
    let partitions = response.responses.iter().flat_map(|topic| topic.partitions.into_vec());
    let partitions: Vec<PartitionData> = partitions.take(PARTITIONS).collect();
    let now = Instant::now();
    let mut consumer = asking(now, partitions.len() as i32);
    let asked = drain(&mut consumer, now);
    for outgoing in asked {
        let answer = match outgoing.request {
            Request::Metadata(_) => Response::Metadata(metadata(partitions.len() as i32)),
            Request::Fetch(_) => Response::Fetch(answer(&partitions)),
            _ => continue,
        };
        consumer.handle_response(now, outgoing.id, Ok(answer));
    }
    let asked = drain(&mut consumer, now);
    for outgoing in asked {
        if let Request::Fetch(_) = outgoing.request {
            consumer.handle_response(now, outgoing.id, Ok(Response::Fetch(answer(&partitions))));
        }
    }
    take_everything(&mut consumer, now);
}

fn asking(now: Instant, partitions: i32) -> Consumer {
    let config = ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..Default::default() };
    let mut consumer = Consumer::new(now, config).unwrap();
    let start = Position { offset: 0, leader_epoch: None };
    let assigned = (0..partitions).map(|partition| (TopicPartition::new(TOPIC, partition), Some(start)));
    consumer.assign(now, assigned).unwrap();
    consumer
}

fn metadata(partitions: i32) -> MetadataResponse {
    let broker =
        MetadataResponseBroker { node_id: 1, host: "localhost".into(), port: 9092, ..Default::default() };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some(TOPIC.into()),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    MetadataResponse { brokers: vec![broker], topics: vec![topic], ..Default::default() }
}

fn answer(partitions: &[PartitionData]) -> FetchResponse {
    let renamed = partitions.iter().zip(0..).map(|(data, partition_index)| PartitionData {
        partition_index,
        error_code: ErrorCode::NONE.0,
        ..data.clone()
    });
    let topic =
        FetchableTopicResponse { topic: TOPIC.into(), partitions: renamed.collect(), ..Default::default() };
    FetchResponse { responses: vec![topic].into(), ..Default::default() }
}

/// Offsets only go up, each is from where reading was on, and reading goes on behind the last.
fn take_everything(consumer: &mut Consumer, now: Instant) {
    let mut next = [0; PARTITIONS];
    for _ in 0..MOST_RECORDS / SLICE {
        let taken = consumer.take(now, SLICE);
        drain(consumer, now + Duration::from_millis(1));
        if taken.is_empty() {
            return;
        }
        for records in &taken {
            let next = next.get_mut(records.partition().partition as usize).unwrap();
            assert_eq!(
                heap::within(heap::VIEW, || records.iter().count()),
                records.len(),
                "records were lost"
            );
            for record in records {
                assert!(record.offset() >= *next, "offset {} after {}", record.offset(), *next);
                *next = record.offset() + 1;
            }
            assert!(records.next_position().offset >= *next, "reading would go back");
            *next = records.next_position().offset;
        }
    }
    panic!("the records do not end");
}
