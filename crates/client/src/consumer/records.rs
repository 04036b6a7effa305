//! What a consumer hands out.

use milena_cluster::TopicPartition;
use milena_consumer_group::{PartitionRecords, Position};
use milena_protocol::records::{Headers, Record, RecordHeaders, RecordView};

use crate::TraceContext;

/// Records that were handed out together: perhaps of several partitions, each partition's in their order.
///
/// They lie in the buffers they came in; iterating copies nothing. Dropping this frees the buffers.
#[derive(Clone, Debug, Default)]
pub struct Records {
    partitions: Vec<PartitionRecords>,
}

impl Records {
    pub(super) fn new(partitions: Vec<PartitionRecords>) -> Self {
        Self { partitions }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.iter().map(PartitionRecords::len).sum()
    }

    /// True when nothing has come in time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// All records, partition by partition.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.partitions.iter().flat_map(|records| {
            let mut views = records.iter();
            std::iter::from_fn(move || {
                let view = views.next()?;
                let leader_epoch = views.leader_epoch();
                Some(RecordRef { partition: records.partition(), leader_epoch, view })
            })
        })
    }

    /// The records by partition, for handing partitions to different tasks.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionRecords] {
        &self.partitions
    }
}

/// A record in the buffer it came in.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    partition: &'a TopicPartition,
    leader_epoch: Option<i32>,
    view: RecordView<'a>,
}

impl<'a> RecordRef<'a> {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        &self.partition.topic
    }

    /// The partition of the topic.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition.partition
    }

    /// The offset in the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.view.offset()
    }

    /// When it was created or appended, whichever the topic has, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.view.timestamp()
    }

    /// The key. Null and empty are different keys.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view.key()
    }

    /// The value. Null is a tombstone to compaction.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view.value()
    }

    /// The headers in their order, duplicates included.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.view.headers()
    }

    /// The value of the last header of this name, as Java's `lastHeader` finds it. `Some(None)` is a header whose value
    /// is null.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.headers().filter(|header| header.name == name.as_bytes()).last().map(|header| header.value)
    }

    /// The context of the trace that it was sent in, from its headers `traceparent` and `tracestate`, the last of each. `None`
    /// without one, or when it is broken.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::in_headers(self.headers().map(|header| (header.name, header.value)))
    }

    /// Where to go on when this record has been processed, and those before it: what
    /// [`commit_offsets`](super::Consumer::commit_offsets) takes. With the epoch of the leader that wrote the record, so that a
    /// log that was cut off meanwhile shows (KIP-320).
    #[must_use]
    pub fn next_position(&self) -> (TopicPartition, Position) {
        (self.partition.clone(), after(self.offset(), self.leader_epoch))
    }

    /// The record to keep: it shares the buffer, which stays as long as any of its records.
    #[must_use]
    pub fn to_record(&self) -> ConsumedRecord {
        let (partition, leader_epoch) = (self.partition.clone(), self.leader_epoch);
        ConsumedRecord { partition, leader_epoch, record: self.view.to_record() }
    }
}

/// A record kept beyond the [`Records`] it came with.
#[derive(Clone, Debug)]
pub struct ConsumedRecord {
    partition: TopicPartition,
    leader_epoch: Option<i32>,
    record: Record,
}

fn after(offset: i64, leader_epoch: Option<i32>) -> Position {
    Position { offset: offset.saturating_add(1), leader_epoch }
}

impl ConsumedRecord {
    /// As [`RecordRef::next_position`].
    #[must_use]
    pub fn next_position(&self) -> (TopicPartition, Position) {
        (self.partition.clone(), after(self.offset(), self.leader_epoch))
    }

    /// As [`RecordRef::trace_context`].
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::in_headers(self.headers().iter().map(|header| (header.name, header.value)))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.partition.topic
    }

    /// The partition of the topic.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition.partition
    }

    /// The offset in the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// When it was created or appended, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.record.timestamp
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> Option<&bytes::Bytes> {
        self.record.key.as_ref()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Option<&bytes::Bytes> {
        self.record.value.as_ref()
    }

    /// The headers in their order.
    #[must_use]
    pub fn headers(&self) -> &RecordHeaders {
        &self.record.headers
    }
}
