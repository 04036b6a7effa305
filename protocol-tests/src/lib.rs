//! What Milena promises, checked.

pub mod cluster;
