//! Bytes as scripts write them, and record batches as they see them.

mod build;
mod view;

pub(crate) use build::{Argument, call, check_function};
pub(crate) use view::{check_view, view};
