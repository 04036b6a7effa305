//! What Milena promises, checked: golden frames, round trips, simulation, conformance.

pub mod buffer;
pub mod cases;
pub mod cluster;
pub mod external;
pub mod fuzz;
pub mod golden;
pub mod group_ledger;
pub mod java;
pub mod ledger;
pub mod nemesis;
pub mod observer;
pub mod proxy;
pub mod refusal;
pub mod scenarios;
pub mod schema;
pub mod secured;
pub mod sim;
pub mod stage;
pub mod subject;
pub mod tls;
pub mod told;
pub mod transaction_ledger;
pub mod vector;
