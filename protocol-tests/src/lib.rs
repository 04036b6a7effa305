//! What Milena promises, checked: golden frames, round trips, simulation, conformance.

pub mod golden;
pub mod sim;
