//! A client of a schema registry with the API of Confluent Schema Registry, and records by its schemas.
//!
//! [`SchemaRegistry`] asks; [`AvroEncoder`] and [`AvroDecoder`] put records into bytes and back, with the five bytes in
//! front that name the schema. Features add JSON Schema (`json-schema`), Protobuf (`protobuf`) and a registry in the process
//! for tests (`server`). No crate of Kafka is known here: bytes go into any client's records.

mod administration;
mod avro;
mod base_url;
mod builder;
mod cache;
mod codec;
#[cfg(feature = "_tls")]
mod cryptography;
mod error;
mod framing;
mod http;
mod hyper_stream;
#[cfg(feature = "json-schema")]
mod json;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registry;
mod schema;
mod secret;
#[cfg(feature = "server")]
pub mod server;
mod subject;
#[cfg(feature = "_tls")]
mod tls;
mod transport;

pub use apache_avro;
pub use avro::{AvroDecoder, AvroEncoder};
pub use builder::SchemaRegistryBuilder;
pub use codec::EncoderOptions;
pub use error::{Error, ErrorKind};
pub use framing::split_header;
#[cfg(feature = "json-schema")]
pub use json::{JsonDecoder, JsonEncoder};
#[cfg(feature = "protobuf")]
pub use protobuf::{MessageIndexes, ProtobufDecoder, ProtobufEncoder, split_protobuf};
pub use registry::SchemaRegistry;
pub use schema::{
    CompatibilityCheck, CompatibilityLevel, Deletion, RegisteredSchema, Schema, SchemaId, SchemaReference,
    SchemaType, Version,
};
pub use secret::Secret;
pub use subject::{Part, SubjectNameStrategy};
#[cfg(feature = "_tls")]
pub use tls::{Tls, TlsError};
