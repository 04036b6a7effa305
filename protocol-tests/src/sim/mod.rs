//! Clients and brokers on a virtual clock, with a network that a seed makes fail.
//!
//! Everything but the sockets is real: the machines of the producer and the consumer, the codec (every request and every
//! reply is a frame), the brokers' core. Nothing waits: ten simulated minutes take a fraction of a second. Producers
//! write, the members of a group read what they write, copiers copy some of it in transactions. The seed decides on a list of faults ([`Fault`]): messages
//! that take long, connections that break before a request arrives, after it was carried out, or only in the client's
//! eyes; brokers that stop, start, hand over their partitions and answer with error codes; members that die, stand still,
//! handle records for too long, leave and come. At some point the faults end. Then what was accepted has to be settled,
//! every partition has to take records again, and the group has to read and commit everything, all within a time.
//!
//! # Layout
//! - [`run`]: one run, from a seed.
//! - [`campaign`]: many runs on all cores.
//! - [`shrink`]: of the faults of a run that fails, those that matter.
//! - [`history`], [`ledger`] and [`copies`]: the promises to who writes, who reads and who copies, as functions over what
//!   happened.
//! - [`Bug`]: what can be planted in a client, to see that the simulation finds it.

mod befall;
mod bug;
pub mod campaign;
mod copier;
pub mod copies;
pub mod history;
mod joining;
pub mod ledger;
mod member;
mod network;
mod plan;
mod report;
mod rules;
mod saboteur;
mod schedule;
mod seat;
mod sender;
pub mod shrink;
mod tamper;
mod timeline;
mod trace;
mod weather;
mod wiretap;
mod world;

pub use bug::Bug;
pub use network::Counts;
pub use report::{Options, Report};
pub use saboteur::WireBug;
pub use schedule::Fault;
pub use sender::Tally;
pub use trace::Trace;
pub use world::run;
