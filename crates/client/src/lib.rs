//! A Kafka client in pure Rust.
//!
//! - [`Client`] is a cluster; everything else comes from it.
//! - [`Producer`] sends [`Record`]s, idempotently unless less is asked for.
//! - [`ClientProperties`], [`ProducerProperties`] and [`ConsumerProperties`] are settings in the names of Kafka's Java client or of
//!   librdkafka.
//! - [`TransactionalProducer`] sends them in [`Transaction`]s, with the offsets of what they were made from.
//! - [`Consumer`] reads them, alone or in a group.
//! - [`Serializer`] and [`Deserializer`] are for keys and values as types: [`RecordSerializer`] makes records of them, and
//!   [`TypedConsumer`] reads them.
//! - [`Admin`] makes, describes and deletes topics, groups and what they committed, and says how far groups are behind.
//!
//! The names are Kafka's. No C is compiled, and no system library is needed.
//!
//! # Features
//! - `tls` (default): encrypted connections, with graviola's cryptography, for x86-64 and 64-bit Arm.
//! - `ring`, `aws-lc-rs`: the same with other cryptography, for other processors or other demands. These compile C. Of several
//!   that are asked for anywhere in a program, `aws-lc-rs` is taken before `ring`, and `ring` before graviola.
//! - `oidc`: tokens for [`Sasl::oauth_bearer`] from an OpenID Connect provider (KIP-768). It goes with one of those above.
//! - `msk-iam`: logins to Amazon MSK by AWS credentials.
//! - `json`: keys and values as JSON, by serde.
//! - `schema-registry`: keys and values in Avro, with schemas from a registry.
//! - `metrics`: counters, histograms and gauges by the facade `metrics`.

mod admin;
mod client;
mod consumer;
mod deliveries;
mod diagnosis;
mod enqueue;
mod error;
mod explain;
mod interceptor;
mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics_off.rs"]
mod metrics;
mod producer;
mod properties;
mod record;
mod trace;
mod transaction;
mod typed;

pub use admin::{
    Admin, ConfigEntry, GroupDescription, GroupListing, GroupListings, GroupType, ListedOffset,
    MemberDescription, NewTopic, OffsetSpec, PartitionDescription, PartitionLag, TopicDescription,
};
pub use client::{Client, ClientBuilder};
pub use consumer::{
    Committed, ConsumedRecord, Consumer, ConsumerBuilder, RebalanceContext, RebalanceListener, RecordRef,
    RecordStream, Records,
};
pub use deliveries::{Deliveries, EnqueueAllError, NotEnqueued};
pub use diagnosis::{Check, Diagnosis, DiagnosisOptions, Health};
pub use error::{AdminError, BuildError, CloseError, ConnectError, ConsumeError, SendError};
pub use explain::{Explained, Explanation};
pub use interceptor::ProducerInterceptor;
pub use producer::{Producer, ProducerBuilder};
pub use properties::{
    ClientProperties, ConsumerProperties, Flavor, ProducerProperties, PropertiesError, PropertiesOf,
    PropertyProblem,
};
pub use record::{AsRecord, Record};
pub use trace::{InvalidTraceContext, Propagator, TraceContext};
pub use transaction::{InitializeError, Transaction, TransactionalProducer, TransactionalProducerBuilder};
#[cfg(feature = "schema-registry")]
pub use typed::Avro;
#[cfg(feature = "json")]
pub use typed::Json;
pub use typed::{
    BigEndian, DeserializeError, Deserializer, Field, Ignored, IsBigEndian, Nullable, RawBytes,
    RecordDeserializer, RecordPart, RecordSerializer, SerdeError, SerializeError, Serializer, TypedConsumer,
    TypedRecord, TypedRecords, Utf8,
};

pub use bytes::Bytes;
pub use milena_cluster::{BrokerId, Due, Failure, FailureKind, Reason, TopicPartition};
#[cfg(feature = "socks5")]
pub use milena_connection::Socks5;
pub use milena_connection::{
    Address, ConnectionReport, ConnectionState, InvalidAddress, InvalidToken, LastError, NetworkReport,
    Purpose, Sasl, ScramHash, Secret, Stage, Token, TokenProvider, UnsafeLogin,
};
#[cfg(feature = "msk-iam")]
pub use milena_connection::{AwsCredentials, AwsCredentialsProvider, AwsEnvironment, MskIam, MskIamError};
#[cfg(feature = "_tls")]
pub use milena_connection::{DangerousTls, Tls};
#[cfg(feature = "oidc")]
pub use milena_connection::{InvalidOidc, Oidc, OidcBuilder, OidcError};
pub use milena_consumer_group::{
    Assign, Assignments, Assignor, AutoOffsetReset, ChosenProtocol, CommitError, ConsumedPartition,
    ConsumerError, ConsumerReport, Fault, GroupMember, GroupMembers, GroupProtocol, IsolationLevel,
    NotAssigned, OffsetAndMetadata, PartitionCounts, PartitionRecords, Position, SeekTo, SubscribeError,
};
pub use milena_producer::{
    Acks, Certainty, ChoosePartition, Delivery, EnqueueError, FatalCause, FatalTransaction, GroupMetadata,
    NewRecord, Partitioner, ProduceError, ProduceFailure, ProducedPartition, ProducerReport, ProducerStats,
    RecordMetadata, Remedy, SettledBatch, Tally, TransactionError, TransactionFailure, Unacknowledged,
    Unplaced, crc32_partition_for_key, partition_for_key,
};
pub use milena_protocol::{
    ErrorCode,
    records::{Codec, Compression, Header, Headers, RecordHeaders},
    wire::{ByteString, Uuid},
};
#[cfg(feature = "schema-registry")]
pub use milena_schema_registry as schema_registry;

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
