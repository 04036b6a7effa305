//! Kafka's wire protocol without state, IO or panics: bytes to messages and back.
//!
//! - [`messages`]: the messages of Apache Kafka 4.3.1 at every version, generated from the official schemas by
//!   `cargo xtask generate`.
//! - [`frame`]: a message with its header and length.
//! - [`records`]: the batches in which records travel, compressed or not.
//! - [`wire`]: the primitives the messages are made of.
//!
//! # Features
//! `client` (default) encodes requests and decodes responses, `broker` does the reverse. `serde` makes every message
//! serialisable, with the field names of the schemas.
#![cfg_attr(
    not(any(feature = "client", feature = "broker")),
    allow(dead_code, unused_imports, reason = "without a direction there is nothing to encode or decode")
)]

mod api;
mod error;
mod error_code;
pub mod frame;
pub mod messages;
pub mod records;
pub mod wire;

pub use api::{Message, RequestMessage, ResponseMessage};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use error_code::ErrorCode;
pub use messages::ApiKey;
