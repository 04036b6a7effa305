//! What breaks other consumers, provoked on the real cluster in seconds: a proxy between our members and the brokers loses
//! and holds what is needed for it, and the brokers do the rest. What breaks brokers is in `faults_consumer_pitfalls`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

mod commits;
mod coordinators;
mod group;
mod heartbeats;
mod logs;
mod rebalances;
mod replies;
mod silence;
