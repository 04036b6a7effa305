//! DeleteRecords: everything before an offset goes.
//!
//! Imitates Kafka 4.3.1: the log starts at that very offset afterwards, be it in the middle of a batch, which is then read
//! whole; -1 is the high watermark, and beyond it nothing can be deleted; an offset that is before the start changes
//! nothing; a topic that is only compacted refuses (POLICY_VIOLATION). Producers and open transactions are not forgotten.
//!
//! Leaves out: waiting for the followers, whose logs start where the leader's does.

use milena_protocol::{
    ErrorCode,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse,
        delete_records::{
            DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopic,
            DeleteRecordsTopicResult,
        },
    },
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
};

const HIGH_WATERMARK: i64 = -1;

impl Cluster {
    pub(super) fn delete_records(&mut self, cx: &Context, request: DeleteRecordsRequest) -> Answer {
        let topics = request.topics.into_iter().map(|DeleteRecordsTopic { name, partitions, .. }| {
            let results = partitions.iter().map(|wanted| {
                let (error, low_watermark) = match self.delete_below(cx, &name, wanted) {
                    Ok(low_watermark) => (ErrorCode::NONE, low_watermark),
                    Err(error) => (error, -1),
                };
                DeleteRecordsPartitionResult {
                    partition_index: wanted.partition_index,
                    low_watermark,
                    error_code: error.0,
                    ..DeleteRecordsPartitionResult::default()
                }
            });
            let partitions = results.collect();
            DeleteRecordsTopicResult { name, partitions, ..DeleteRecordsTopicResult::default() }
        });
        let topics = topics.collect();
        self.fetches_may_complete = true;
        DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }.into()
    }

    /// Deletes, and says where the log starts.
    fn delete_below(
        &mut self,
        cx: &Context,
        topic: &str,
        wanted: &DeleteRecordsPartition,
    ) -> Result<i64, ErrorCode> {
        let topic = self.topics.named_mut(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let deletes = topic.config.limits.deletes;
        let partition = topic.partition_mut(wanted.partition_index)?;
        partition.check_leader(cx.broker, -1)?;
        if !deletes {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let offset = if wanted.offset == HIGH_WATERMARK { partition.high_watermark } else { wanted.offset };
        if !(0..=partition.high_watermark).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        partition.start_at(offset);
        Ok(partition.log.start_offset())
    }
}
