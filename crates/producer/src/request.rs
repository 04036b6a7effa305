//! Produce requests and their answers.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use milena_cluster::{
    BrokerId, Failure, FailureKind, Metadata, MetadataTracker, TopicPartition, Verdict, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        ProduceRequest, ProduceResponse,
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::Compression,
    wire::{ByteString, Uuid},
};

use crate::{Acks, partition_queue::Answer};

/// The last version that names topics; the next ones have their ids.
const BY_NAME: i16 = 12;
/// The first version whose readers may be expected to know Zstandard (KIP-110).
const ZSTD: i16 = 7;
/// A batch of a request.
#[derive(Debug)]
pub(crate) struct BatchToSend {
    pub(crate) partition: TopicPartition,
    pub(crate) bytes: Bytes,
}

/// The oldest version that may carry batches of this compression.
pub(crate) const fn min_version(compression: Compression) -> i16 {
    match compression {
        Compression::Zstd => ZSTD,
        Compression::None | Compression::Gzip | Compression::Snappy | Compression::Lz4 => 0,
    }
}

/// The request, and the newest version it may go in. `transactional_id`: when the batches belong to a transaction.
pub(crate) fn build(
    batches: Vec<BatchToSend>,
    acks: Acks,
    transactional_id: Option<ByteString>,
    timeout: Duration,
    metadata: &Metadata,
) -> (ProduceRequest, i16) {
    let mut topics: BTreeMap<ByteString, Vec<PartitionProduceData>> = BTreeMap::new();
    for BatchToSend { partition: TopicPartition { topic, partition }, bytes } in batches {
        let data = PartitionProduceData { index: partition, records: Some(bytes), ..Default::default() };
        topics.entry(topic).or_default().push(data);
    }
    let by_id = topics.keys().all(|topic| !metadata.topic_id(topic).is_zero());
    let topic_data = topics.into_iter().map(|(name, data)| TopicProduceData {
        topic_id: metadata.topic_id(&name),
        name,
        partition_data: data.into(),
        ..Default::default()
    });
    let request = ProduceRequest {
        transactional_id,
        acks: acks.to_wire(),
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topic_data.collect(),
        ..Default::default()
    };
    (request, if by_id { i16::MAX } else { BY_NAME })
}

/// What the response of broker `from` says of each partition. New leaders it names are taken note of (KIP-951).
///
/// `sent`: what the request was for. A topic may have gone out of sight since, and only its id is in the response.
pub(crate) fn answers(
    response: &ProduceResponse,
    from: BrokerId,
    sent: &[(TopicPartition, Uuid)],
    metadata: &mut MetadataTracker,
) -> BTreeMap<TopicPartition, Answer> {
    let mut answers = BTreeMap::new();
    for topic in &response.responses {
        let known = metadata.metadata().resolve(topic.topic_id, &topic.name);
        let remembered = || sent.iter().find(|(_, id)| *id == topic.topic_id);
        let Some(name) = known.or_else(|| Some(remembered()?.0.topic.clone())) else { continue };
        for answer in &topic.partition_responses {
            let partition = TopicPartition::new(name.clone(), answer.index);
            if let Some(leader) = BrokerId::from_wire(answer.current_leader.leader_id) {
                metadata.apply_leader(&partition, leader, answer.current_leader.leader_epoch);
            }
            let leader = metadata.metadata().partition(&partition).and_then(|known| known.leader);
            let code = ErrorCode(answer.error_code);
            let first_record = answer.record_errors.first();
            let message = answer.error_message.clone();
            let message =
                message.or_else(|| first_record.and_then(|record| record.batch_index_error_message.clone()));
            answers.insert(
                partition,
                Answer {
                    verdict: verdict(ApiKey::Produce, code),
                    code,
                    message,
                    base_offset: answer.base_offset,
                    log_append_time: answer.log_append_time_ms,
                    log_start_offset: answer.log_start_offset,
                    led_elsewhere: leader.is_some_and(|leader| leader != from),
                },
            );
        }
    }
    answers
}

/// What stands for the answer to a batch that was written with acks 0: it counts as taken, and where it is nobody says.
pub(crate) const fn taken_for_granted() -> Answer {
    Answer {
        verdict: Verdict::Done,
        code: ErrorCode::NONE,
        message: None,
        base_offset: -1,
        log_append_time: -1,
        log_start_offset: -1,
        led_elsewhere: false,
    }
}

/// The failure of a batch that the response does not mention: whether it was written is anybody's guess.
pub(crate) fn missing(partition: &TopicPartition) -> Failure {
    Failure::new(FailureKind::Unanswered, format!("the broker's answer leaves {partition} out"))
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::{
        MetadataResponse,
        metadata::{MetadataResponsePartition, MetadataResponseTopic},
    };

    use super::*;

    /// M6: a cluster may offer a Produce by ids and Metadata without them.
    #[test]
    fn a_topic_whose_id_nobody_tells_is_produced_to_by_name() {
        for (id, expected) in [(Uuid::ZERO, BY_NAME), (Uuid::from_bytes([7; 16]), i16::MAX)] {
            let topic = MetadataResponseTopic {
                name: Some("letters".into()),
                topic_id: id,
                partitions: [MetadataResponsePartition::default()].into_iter().collect(),
                ..Default::default()
            };
            let mut metadata = Metadata::default();
            metadata.apply(&MetadataResponse { topics: vec![topic], ..Default::default() });
            let partition = TopicPartition::new("letters", 0);
            let batch = BatchToSend { partition, bytes: Bytes::from_static(b"batch") };
            let (request, newest) = build(vec![batch], Acks::All, None, Duration::from_secs(1), &metadata);
            assert_eq!(newest, expected);
            let topic = request.topic_data.iter().next().unwrap();
            assert_eq!((&*topic.name, topic.topic_id), ("letters", id));
        }
    }
}
