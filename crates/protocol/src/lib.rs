//! Kafka's wire protocol without state, IO or panics: bytes to messages and back.
//!
//! - [`messages`]: every client-facing message of Apache Kafka 4.3.1 at every version, generated from the official
//!   schemas by `cargo xtask generate`.
//! - [`records`]: the batches in which records travel, compressed or not.
//! - [`wire`]: the primitives the messages are made of.
//!
//! # Features
//! `client` (default) encodes requests and decodes responses, `broker` does the reverse. `serde` makes every message
//! serialisable, with the field names of the schemas.

mod error;
pub mod records;
pub mod wire;

pub use error::{DecodeError, DecodeErrorKind, EncodeError};
