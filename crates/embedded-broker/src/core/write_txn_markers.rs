//! WriteTxnMarkers: a coordinator, or an operator, ends transactions in partitions that this broker leads.
//!
//! Imitates Kafka 4.3.1: a marker of an old epoch is INVALID_PRODUCER_EPOCH, one of an old coordinator
//! TRANSACTION_COORDINATOR_FENCED; in version 2 the marker says which version of transactions it ends (KIP-1228).

use milena_protocol::{
    ErrorCode,
    messages::{
        WriteTxnMarkersRequest, WriteTxnMarkersResponse,
        write_txn_markers::{
            WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
            WritableTxnMarkerTopicResult,
        },
    },
};

use super::{
    BrokerId, Cluster,
    coordinators::Kind,
    detach::Detach,
    dispatch::{Answer, Context},
    producer_state::Marker,
    transaction::Participant,
    transactions::OFFSETS_TOPIC,
};

impl Cluster {
    pub(super) fn write_txn_markers(&mut self, cx: &Context, request: &WriteTxnMarkersRequest) -> Answer {
        let markers = request.markers.iter().map(|marker| self.write_markers_here(cx, marker)).collect();
        self.fetches_may_complete = true;
        WriteTxnMarkersResponse { markers, ..WriteTxnMarkersResponse::default() }.into()
    }

    fn write_markers_here(&mut self, cx: &Context, request: &WritableTxnMarker) -> WritableTxnMarkerResult {
        let marker = Marker {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
            committed: request.transaction_result,
            coordinator_epoch: request.coordinator_epoch,
            transaction_version: request.transaction_version,
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|partition_index| {
                let participant = (topic.name.detached(), partition_index);
                let led = self.check_hosted(cx.broker, &participant);
                let written = led.and_then(|()| self.write_marker(cx.unix_ms, &participant, &marker));
                WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code: written.err().unwrap_or(ErrorCode::NONE).0,
                    ..WritableTxnMarkerPartitionResult::default()
                }
            });
            WritableTxnMarkerTopicResult {
                partitions: partitions.collect(),
                name: topic.name.clone(),
                ..WritableTxnMarkerTopicResult::default()
            }
        });
        WritableTxnMarkerResult {
            producer_id: request.producer_id,
            topics: topics.collect(),
            ..WritableTxnMarkerResult::default()
        }
    }

    /// Whether the broker leads the partition. One that has no replica of it does not know it.
    fn check_hosted(&self, broker: BrokerId, (topic, index): &Participant) -> Result<(), ErrorCode> {
        if &**topic == OFFSETS_TOPIC {
            let seat = usize::try_from(*index)
                .ok()
                .and_then(|index| self.coordinators.seats(Kind::Group).get(index));
            let seat = seat.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
            return if seat.broker == Some(broker) { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        }
        let topic = self.topics.named(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = topic.partition(*index)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        partition.check_leader(broker, -1)
    }
}
