//! Carries scripts out.
//!
//! - [`Cluster`]: who is there, and which versions it offers;
//! - [`Suite`]: many scripts, a few at a time, and what they leave behind removed;
//! - `performance`: one script; `exchange`: one request and its answer;
//! - `scope`, `pattern`, `show`: values with variables, answers held against them, answers as scripts write them;
//! - `connection`, `housekeeping`: sockets, and the requests that are no part of a script.

mod cluster;
mod connection;
mod exchange;
mod housekeeping;
mod pattern;
mod performance;
mod scope;
mod show;
mod suite;
mod verify;

pub use cluster::{Cluster, Offered, Unreachable};
pub use pattern::{Difference, Filled};
pub use suite::{Options, Progress, Subject, Suite};
