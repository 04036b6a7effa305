//! Scripts with a clock: a producer hears this and must say that.
//!
//! A test is named after the behaviour; the letter and number in its description is the row of the table of corner
//! cases that it stands for.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a script states its expectations by unwrapping")]

mod acks;
mod compression;
mod identity;
mod leaders;
mod lifecycle;
mod memory;
mod retries;
mod script;
mod too_large;
mod transaction_ends;
mod transaction_offsets;
mod transactions;
mod txn;
