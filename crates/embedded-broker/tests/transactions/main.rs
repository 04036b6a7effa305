//! Transactions: what the coordinator, the partitions and the groups make of them, with a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod client;
mod coordinator;
mod end;
mod log;
mod lost;
mod moving;
mod offsets;
mod produce;
#[path = "../script/mod.rs"]
mod script;
mod time;
