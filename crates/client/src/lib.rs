//! A Kafka client in pure Rust.
//!
//! - [`Client`] is a cluster; everything else comes from it.
//! - [`Producer`] sends [`Record`]s, idempotently.
//! - [`Admin`] creates and deletes topics.
//!
//! The names are Kafka's. No C is compiled, and no system library is needed.

mod admin;
mod client;
mod error;
mod producer;
mod record;

pub use admin::{Admin, NewTopic};
pub use client::{Client, ClientBuilder};
pub use error::{AdminError, BuildError, CloseError, ConnectError, SendError};
pub use producer::{Producer, ProducerBuilder};
pub use record::Record;

pub use bytes::Bytes;
pub use milena_cluster::{BrokerId, Failure, FailureKind, TopicPartition};
pub use milena_producer::{
    Certainty, Delivery, EnqueueError, ProduceError, ProduceFailure, RecordMetadata, partition_for_key,
};
pub use milena_protocol::{
    ErrorCode,
    records::{Codec, Compression},
    wire::ByteString,
};
