//! Kafka's wire protocol without state, IO or panics: bytes to messages and back.
//!
//! - [`messages`]: the messages of Apache Kafka 4.3.1 at every version, generated from the official schemas by
//!   `cargo xtask generate`.
//! - [`frame`]: a message with its header and length.
//! - [`records`]: the batches in which records travel, compressed or not.
//! - [`wire`]: the primitives the messages are made of.
//!
//! # Features
//! - `client` (default) encodes requests and decodes responses, of every API that a client calls.
//! - `broker` does the reverse, and adds the messages that only brokers send each other (InitializeShareGroupState and
//!   its like).
//! - `controller` adds those that controllers send each other, or that brokers send to them (Vote, BrokerHeartbeat, …).
//! - `unstable` adds the versions whose format may still change in a later Kafka. Without it they are unknown versions.
//! - `serde` adds `Json`, which serialises every message, at a version, as Java's `JsonConverter` prints it.
//!
//! [`ApiKey`] knows every API whatever the features. A feature only adds: the two directions are chosen by `client`
//! and `broker` for the messages of controllers too.
#![cfg_attr(
    not(any(feature = "client", feature = "broker")),
    allow(dead_code, unused_imports, reason = "without a direction there is nothing to encode or decode")
)]

// Whatever bytes a peer sends, reading them must not panic: the code that meets them has nothing that could.
mod api;
mod error;
mod error_code;
#[cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#[cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod frame;
#[cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#[cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod messages;
pub mod records;
#[cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#[cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod wire;

pub use api::{Message, RequestMessage, ResponseMessage};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use error_code::{ErrorCode, ErrorSubject};
pub use messages::ApiKey;
#[cfg(feature = "serde")]
pub use wire::json::{Json, ToJson};
