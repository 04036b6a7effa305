//! The interpreter of Apache Kafka's schemas that the conformance suite sends its requests with: what the generated code is
//! held against, since the two share nothing. And random values of every message.

mod strategy;

pub use milena_conformance::schema::{
    Field, Refusal, Schema, Structure, Type, Value, Versions, write, write_with_nulls,
};
pub use strategy::value as strategy;
