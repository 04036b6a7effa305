//! The consumer as state machines: fetching, offsets, group membership.
//!
//! [`Consumer`] is one [`Machine`](milena_cluster::Machine). It does no IO, looks at no clock and has no threads: the
//! driver sends what it asks for, tells it what came back and wakes it at its deadlines. The application calls its verbs
//! between two turns of the driver; after each the [drain rule](milena_cluster::Machine) holds.
//!
//! # Layout
//! - `membership`: who owns which partition. Two machines behind one face: the classic protocol and KIP-848.
//! - `assignors`: how the leader of a classic group shares the partitions out. Pure functions.
//! - `cursors`: where reading stands in each assigned partition.
//! - `offsets`: committed offsets, offsets by time, and commits.
//! - `fetcher`: asks leaders for batches, keeps them, and hands out their records.
//!
//! # Deliberately absent
//! Matching topics against a pattern: only the coordinator does (KIP-848).

mod assignors;
mod config;
mod consumer;
mod cursors;
mod error;
mod event;
mod fetcher;
mod membership;
mod offsets;
mod planted_bug;
mod retry;
mod shared;
#[cfg(test)]
mod tests;

pub use assignors::{Assign, Assignments, Assignor, GroupMember, GroupMembers, PartitionCounts};
pub use config::{AutoOffsetReset, ConfigError, ConsumerConfig, GroupProtocol, IsolationLevel};
pub use consumer::{ConsumedPartition, Consumer, ConsumerReport};
pub use cursors::{Position, SeekTo};
pub use error::{CommitError, ConsumerError, Fault, NotAssigned, SubscribeError};
pub use event::Event;
pub use fetcher::{PartitionRecords, RecordIter};
pub use membership::{ChosenProtocol, GroupMembership};
pub use offsets::{CommitId, CommitMode, OffsetAndMetadata, QueryId};
#[cfg(feature = "planted-bugs")]
pub use planted_bug::PlantedBug;
