//! Scripts of requests and what must be answered, run against any Kafka-compatible cluster.
//!
//! A script names APIs, versions and fields as Kafka's schemas do (`fixtures/scenarios/README.md` has the language). Requests
//! are written by an interpreter of the official schemas, which shares no code with Milena's generated codec. Answers are
//! read by that codec, held against what the script expects, and written again by the interpreter: the bytes must be those
//! that came.
//!
//! - [`script`]: the language;
//! - [`run`]: what carries scripts out;
//! - [`report`]: what came of it, script by script and for every API and version;
//! - [`schema`]: the interpreter.

mod records;
pub mod report;
pub mod run;
pub mod schema;
pub mod script;
