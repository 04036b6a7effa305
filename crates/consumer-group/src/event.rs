//! What a consumer tells its owner.

use std::collections::BTreeMap;

use milena_cluster::TopicPartition;

use crate::{ChosenProtocol, CommitError, CommitId, ConsumerError, OffsetAndMetadata, QueryId};

/// What a consumer tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The member is in the group, by this protocol.
    Joined(ChosenProtocol),
    /// Partitions have come in addition to those there were. Reading starts by itself.
    Assigned(Vec<TopicPartition>),
    /// Partitions are to be given up. They are not read any more, and what was fetched of them is gone; they can be
    /// committed until [`revoke_done`](crate::Consumer::revoke_done) or the rebalance timeout.
    RevokePending(Vec<TopicPartition>),
    /// Partitions have been given up: the answer to `revoke_done`, or to its absence.
    Revoked(Vec<TopicPartition>),
    /// Partitions are already another member's, or may be: it is too late for a commit.
    Lost(Vec<TopicPartition>),
    /// There is something for [`take`](crate::Consumer::take).
    Fetched,
    /// A commit has an outcome.
    Committed {
        /// Which.
        id: CommitId,
        /// How it went.
        result: Result<(), CommitError>,
    },
    /// The answer to [`query_committed`](crate::Consumer::query_committed). A partition without a committed offset is
    /// not in it.
    CommittedOffsets {
        /// Which query.
        id: QueryId,
        /// The offsets.
        result: Result<BTreeMap<TopicPartition, OffsetAndMetadata>, CommitError>,
    },
    /// Something has stopped: everything, or the one partition that [`ConsumerError::partition`] names.
    Failed(ConsumerError),
    /// The consumer has left its group and does nothing any more.
    Closed,
}
