//! What came of it.

mod json;
mod outcome;
mod table;

pub use json::to_json;
pub use outcome::{Check, Failure, FailureKind, Outcome, Verdict, Verdicts, verdicts};
pub use table::table;
