//! Offsets that are asked for and offsets that are stored: where reading starts, and how far it has come.
//!
//! - `committed`: the group's committed offsets become positions.
//! - `lookup`: offsets by time (ListOffsets) become positions, where no committed offset does.
//! - `validation`: positions are held against the log of a new leader.
//! - `commits`: positions become committed offsets.

mod commits;
mod committed;
mod lookup;
mod queries;
mod validation;

pub(crate) use commits::Commits;
pub(crate) use committed::CommittedOffsets;
pub(crate) use lookup::Lookup;
pub(crate) use queries::Queries;
pub(crate) use validation::Validation;

pub use commits::{CommitId, CommitMode, OffsetAndMetadata};
pub use queries::QueryId;
