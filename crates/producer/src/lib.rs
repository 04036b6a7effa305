//! The producer as a state machine: partitioning, batching, sequence numbers, transactions.
//!
//! # Layout
//! - [`Producer`]: the machine, to be driven as `milena_cluster::Machine` says.
//! - [`Accumulator`]: where records are put, from any thread.
//! - [`Delivery`]: what becomes of a record; [`SettledBatch`]: of a batch, for whoever watches.
//! - [`TransactionEvent`], [`TransactionError`]: what becomes of a transaction.
//! - [`Partitioner`]: where records go; by default keys go where Java puts them.
//!
//! No IO, no clock, no thread: time and randomness are arguments.

mod accumulator;
mod acks;
mod config;
mod error;
mod group_offsets;
mod identity;
mod new_record;
mod outcome;
mod partition_queue;
mod partitioner;
mod planted_bug;
mod producer;
mod request;
mod sent_batch;
mod stats;
mod transaction;
mod transaction_answers;
mod transaction_error;
mod transaction_event;
mod transaction_requests;
mod transactional;
mod transactions;
mod unanswered;

pub use accumulator::{Accumulator, Enqueued, Intake};
pub use acks::Acks;
pub use config::{InvalidConfig, ProducerConfig};
pub use error::{Certainty, EnqueueError, ProduceError, ProduceFailure, Unacknowledged};
pub use group_offsets::{GroupMetadata, GroupOffset, OffsetsId};
pub use new_record::{At, Clock, NewRecord};
pub use outcome::{Delivery, DeliveryRun, RecordMetadata};
pub use partitioner::{
    ChoosePartition, Partitioner, Unplaced, crc32_partition_for_key, murmur2, partition_for_key,
};
#[cfg(feature = "planted-bugs")]
pub use planted_bug::PlantedBug;
pub use producer::{FlushId, ProducedPartition, Producer, ProducerEvent, ProducerReport};
pub use stats::{ProducerStats, SettledBatch, Tally};
pub use transaction_error::{FatalCause, FatalTransaction, Remedy, TransactionError, TransactionFailure};
pub use transaction_event::TransactionEvent;
pub use transactions::TransactionPhase;
