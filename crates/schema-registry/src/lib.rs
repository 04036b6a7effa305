//! A client of a schema registry with the API of Confluent Schema Registry, and records by its schemas.
//!
//! [`SchemaRegistry`] asks; [`AvroEncoder`] and [`AvroDecoder`] put records into bytes and back, with the five bytes in
//! front that name the schema. Features add JSON Schema (`json-schema`), Protobuf (`protobuf`) and a registry in the process
//! for tests (`server`). Nothing of Kafka is known here: bytes go into any client's records.

mod administration;
mod avro;
mod base_url;
mod builder;
mod cache;
mod codec;
mod error;
mod framing;
mod http;
#[cfg(feature = "json-schema")]
mod json;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registry;
mod schema;
#[cfg(feature = "server")]
pub mod server;
mod subject;
mod transport;

pub use apache_avro;
pub use avro::{AvroDecoder, AvroEncoder};
pub use builder::SchemaRegistryBuilder;
pub use codec::EncoderOptions;
pub use error::{Error, ErrorKind};
pub use framing::split_header;
#[cfg(feature = "json-schema")]
pub use json::{JsonDecoder, JsonEncoder};
pub use milena_transport::Secret;
#[cfg(feature = "_tls")]
pub use milena_transport::{DangerousTls, Tls, TlsError};
#[cfg(feature = "protobuf")]
pub use protobuf::{MessageIndexes, ProtobufDecoder, ProtobufEncoder, split_protobuf};
pub use registry::SchemaRegistry;
pub use schema::{
    CompatibilityCheck, CompatibilityLevel, Deletion, RegisteredSchema, Schema, SchemaId, SchemaReference,
    SchemaType, Version,
};
pub use subject::{Part, SubjectNameStrategy};
