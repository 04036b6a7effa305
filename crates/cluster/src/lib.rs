//! The vocabulary of decisions: what a machine is, what it may ask of the world, and what is known of a cluster.
//!
//! `milena-producer` and `milena-consumer-group` are written in these terms. Nothing here does IO, looks at a clock or
//! starts a thread: time and randomness are arguments, so a seed replays a run.

mod advice;
mod backoff;
mod coordinator_tracker;
mod later;
mod machine;
mod metadata;
mod metadata_tracker;
mod reason;
pub mod shape;
mod verdict;

pub use advice::Advised;
pub use backoff::Backoff;
pub use coordinator_tracker::{CoordinatorAnswer, CoordinatorKind, CoordinatorTracker};
pub use later::later;
pub use machine::{Deadline, Failure, FailureKind, Machine, Outgoing, RequestId, RequestIds, Target};
pub use metadata::{Broker, BrokerId, Metadata, Partition, Topic, TopicPartition};
pub use metadata_tracker::{MetadataConfig, MetadataTracker};
pub use reason::{Due, Reason, counted, milliseconds};
pub use verdict::{Verdict, verdict};
