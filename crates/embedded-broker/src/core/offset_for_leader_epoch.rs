//! OffsetForLeaderEpoch: where a leader epoch ends in the log, so that a client learns of a truncation (KIP-320).
//!
//! Imitates Kafka 4.3.1: only the leader answers, after it has checked the epoch that the client believes in; for an epoch
//! without records it is the one before it that ends; an epoch that the log has not reached is -1 with offset -1.
//!
//! Leaves out: followers as clients.

use milena_protocol::{
    ErrorCode,
    messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        offset_for_leader_epoch::{
            EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
        },
    },
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    leader_epochs::EpochEnd,
};

impl Cluster {
    pub(super) fn offset_for_leader_epoch(
        &self,
        cx: &Context,
        request: OffsetForLeaderEpochRequest,
    ) -> Answer {
        let topics = request.topics.into_iter().map(|OffsetForLeaderTopic { topic, partitions, .. }| {
            let ends = partitions.iter().map(|wanted| {
                let (error, end) = match self.epoch_end(cx, &topic, wanted) {
                    Ok(end) => (ErrorCode::NONE, end),
                    Err(error) => (error, None),
                };
                EpochEndOffset {
                    error_code: error.0,
                    partition: wanted.partition,
                    leader_epoch: end.map_or(-1, |end| end.epoch),
                    end_offset: end.map_or(-1, |end| end.end_offset),
                    ..EpochEndOffset::default()
                }
            });
            let partitions = ends.collect();
            OffsetForLeaderTopicResult { topic, partitions, ..OffsetForLeaderTopicResult::default() }
        });
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() }
            .into()
    }

    fn epoch_end(
        &self,
        cx: &Context,
        topic: &str,
        wanted: &OffsetForLeaderPartition,
    ) -> Result<Option<EpochEnd>, ErrorCode> {
        let topic = self.topics.named(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = topic.partition(wanted.partition)?;
        partition.check_leader(cx.broker, wanted.current_leader_epoch)?;
        Ok(partition.epochs.end_of(wanted.leader_epoch, partition.log.next_offset()))
    }
}
