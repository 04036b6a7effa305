//! Producers and brokers on a virtual clock, with a network that a seed makes fail.
//!
//! Everything but the sockets is real: the producer's machine, the codec (every request and every reply is a frame),
//! the brokers' core. Nothing waits: simulated seconds take milliseconds. Faults come from the seed: messages that take
//! long, connections that break before a request arrives, after it was carried out, or only in the client's eyes so that
//! the request is carried out later; brokers that stop, start and hand over their partitions; error codes. At some point
//! the faults end, and what was accepted has to be settled and every partition has to take records again.
//!
//! # Layout
//! - [`run`]: one run, from a seed.
//! - [`history`]: the promises, as a pure function over what was sent, told and found.
//! - [`Bug`]: what can be planted in a producer, to see that the simulation finds it.

mod actor;
pub mod history;
mod network;
mod plan;
mod rules;
mod saboteur;
mod timeline;
mod trace;
mod wiretap;
mod world;

pub use actor::Tally;
pub use network::Counts;
pub use saboteur::Bug;
pub use trace::Trace;
pub use world::{Options, Report, run};
