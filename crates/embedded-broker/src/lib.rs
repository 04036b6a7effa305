//! A Kafka broker in process, for tests and demos.
//!
//! - [`core`]: the broker itself, without IO or clock.

pub mod core;
