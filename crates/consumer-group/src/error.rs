//! What can go wrong, whose fault it is, and where.

use std::sync::Arc;

use milena_cluster::{Advised, TopicPartition};
use milena_protocol::{ApiKey, ErrorCode, records::BatchError, wire::ByteString};
use thiserror::Error;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The application, or whoever configured it.
    Caller,
    /// Whoever runs the cluster: a permission, a version, a limit.
    Cluster,
    /// The bytes in the log, or what carried them.
    Data,
    /// The network, or a broker that is away: it may pass.
    Network,
}

/// What stops a consumer, or one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The group's coordinator refuses the member.
    #[error("{doing} in group {group}: the coordinator refuses with {}", Advised::new(ApiKey::JoinGroup, *code))]
    Group {
        /// The group.
        group: ByteString,
        /// What was being done.
        doing: &'static str,
        /// The coordinator's reason.
        code: ErrorCode,
    },
    /// Another process has the same instance id and has taken over.
    #[error(
        "another member of group {group} has taken over the instance id {instance_id}; give every process an instance id of its own"
    )]
    FencedInstance {
        /// The group.
        group: ByteString,
        /// The instance id that two processes have.
        instance_id: ByteString,
    },
    /// The brokers speak no version of what is needed.
    #[error("{doing}: the broker does not support it ({cause})")]
    Unsupported {
        /// What was being done.
        doing: &'static str,
        /// What the connection says.
        cause: Arc<str>,
    },
    /// The cluster refuses a topic of the subscription or assignment.
    #[error("topic {topic}: the cluster refuses it with {}", Advised::new(ApiKey::Metadata, *code))]
    Topic {
        /// The topic.
        topic: ByteString,
        /// The broker's reason.
        code: ErrorCode,
    },
    /// The cluster refuses to do something with a partition.
    #[error("{doing} {partition}: the broker refuses with {}", Advised::new(ApiKey::Fetch, *code))]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What was being done.
        doing: &'static str,
        /// The broker's reason.
        code: ErrorCode,
    },
    /// The position is not in the log, and `auto_offset_reset` is `None`.
    #[error(
        "offset {offset} of {partition} is not in the log, and auto_offset_reset is none: seek, or let it be earliest or latest"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
    },
    /// The log was cut off before the position when another leader was elected (KIP-320), and `auto_offset_reset` is `None`.
    /// Records that were read are not in the log any more.
    #[error("{partition}: {}, and auto_offset_reset is none: seek, or let it be earliest or latest", truncation(*offset, *end))]
    LogTruncated {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
        /// Where the log that was read and the log there is part; `None` when the leader knows nothing of the former.
        end: Option<i64>,
    },
    /// Records were asked for by the listener that is told of partitions, in which nothing is handed out.
    #[error("a rebalance listener can't poll the consumer that tells it")]
    PollWithinListener,
    /// The group has committed no offset, and `auto_offset_reset` is `None`.
    #[error(
        "there is no committed offset of {partition}, and auto_offset_reset is none: seek, or let it be earliest or latest"
    )]
    NoOffset {
        /// The partition.
        partition: TopicPartition,
    },
    /// A batch can't be read, and fetching it again brought the same.
    #[error("{partition} at offset {offset}: {error}")]
    Corrupt {
        /// The partition.
        partition: TopicPartition,
        /// The position: the first offset that could not be handed out.
        offset: i64,
        /// What is wrong with the batch.
        error: BatchError,
    },
    /// The broker says the log is damaged, and says it again.
    #[error("{partition} at offset {offset}: the broker finds its log corrupt")]
    CorruptLog {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
    },
    /// A broker does not send a batch whole although it was asked for as many bytes as it has.
    #[error("{partition} at offset {offset}: the broker cuts off a batch of {needed} bytes")]
    BatchCutOff {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
        /// The size of the batch, as far as it is known.
        needed: usize,
    },
}

impl ConsumerError {
    /// The partition that stands still, when it is only one: the others go on, and a seek sets it going again. `None`
    /// when the whole consumer has stopped, or a topic can't be read.
    #[must_use]
    pub fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::Partition { partition, .. }
            | Self::OffsetOutOfRange { partition, .. }
            | Self::LogTruncated { partition, .. }
            | Self::NoOffset { partition }
            | Self::Corrupt { partition, .. }
            | Self::CorruptLog { partition, .. }
            | Self::BatchCutOff { partition, .. } => Some(partition),
            Self::Group { .. }
            | Self::FencedInstance { .. }
            | Self::Unsupported { .. }
            | Self::PollWithinListener
            | Self::Topic { .. } => None,
        }
    }

    /// True when the consumer has stopped for good.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Group { .. } | Self::FencedInstance { .. } | Self::Unsupported { .. })
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::FencedInstance { .. }
            | Self::OffsetOutOfRange { .. }
            | Self::NoOffset { .. }
            | Self::PollWithinListener => Fault::Caller,
            Self::Group { .. }
            | Self::Unsupported { .. }
            | Self::Topic { .. }
            | Self::Partition { .. }
            | Self::LogTruncated { .. }
            | Self::BatchCutOff { .. } => Fault::Cluster,
            Self::Corrupt { .. } | Self::CorruptLog { .. } => Fault::Data,
        }
    }
}

fn truncation(offset: i64, end: Option<i64>) -> String {
    match end {
        Some(end) => format!("the log was cut off at offset {end}, before the position {offset}"),
        None => format!("the log was cut off before the position {offset}, where is not known"),
    }
}

/// Why a commit did not succeed. Nothing is known of the offsets but what the variant says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Without a group there is nowhere to commit to.
    #[error("a commit needs a group, and the consumer has none")]
    NoGroup,
    /// The partition is another member's, or was lost: what it commits counts.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },
    /// No offset in any log is negative.
    #[error("the offset {offset} for {partition} is negative")]
    NegativeOffset {
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        offset: i64,
    },
    /// The consumer is closed, or has stopped with an error.
    #[error("the consumer is closed")]
    Closed,
    /// The group moved on while the commit was under way. Partitions that stay assigned can be committed again.
    #[error("group {group} is rebalancing ({code})")]
    Rebalancing {
        /// The group.
        group: ByteString,
        /// The coordinator's words.
        code: ErrorCode,
    },
    /// The group has thrown the member out: its partitions are lost.
    #[error("group {group} does not know the member any more ({code})")]
    MemberLost {
        /// The group.
        group: ByteString,
        /// The coordinator's words.
        code: ErrorCode,
    },
    /// The coordinator refuses.
    #[error("committing {partition} in group {group}: the coordinator refuses with {}", Advised::new(ApiKey::OffsetCommit, *code))]
    Refused {
        /// The group.
        group: ByteString,
        /// The partition.
        partition: TopicPartition,
        /// The coordinator's reason.
        code: ErrorCode,
    },
    /// There was no answer that says it was done. It may have been done.
    #[error("committing in group {group}: {cause}")]
    Unavailable {
        /// The group.
        group: ByteString,
        /// What went wrong last.
        cause: Arc<str>,
    },
}

impl CommitError {
    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoGroup | Self::NotAssigned { .. } | Self::NegativeOffset { .. } | Self::Closed => {
                Fault::Caller
            }
            Self::Refused { .. } => Fault::Cluster,
            Self::Rebalancing { .. } | Self::MemberLost { .. } | Self::Unavailable { .. } => Fault::Network,
        }
    }
}

/// A verb on a partition that the consumer does not have. The fault is the caller's, or a rebalance was quicker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{partition} is not assigned to this consumer")]
pub struct NotAssigned {
    /// The partition.
    pub partition: TopicPartition,
}

/// A subscription or assignment that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Without a group nobody shares partitions out.
    #[error("a subscription needs a group, and the consumer has none")]
    NoGroup,
    /// The consumer is closed, or has stopped with an error.
    #[error("the consumer is closed")]
    Closed,
    /// Partitions come from a subscription or from an assignment. `unsubscribe` ends either.
    #[error("the consumer is subscribed: unsubscribe before assigning")]
    Subscribed,
    /// Partitions come from a subscription or from an assignment. `unsubscribe` ends either.
    #[error("partitions are assigned: unsubscribe before subscribing")]
    Assigned,
}
