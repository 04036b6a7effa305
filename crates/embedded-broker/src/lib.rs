//! A Kafka broker in process, for tests and demos.
//!
//! ```
//! # use milena_embedded_broker::{EmbeddedBroker, core::{Action, Rule}};
//! # use milena_protocol::{ErrorCode, messages::ApiKey};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), milena_embedded_broker::StartError> {
//! let broker = EmbeddedBroker::builder().brokers(3).topic("orders", 6).start().await?;
//! let bootstrap = broker.bootstrap();
//! broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
//! assert_eq!(broker.with_cluster(|cluster, _| cluster.offsets("orders", 0)), Some(0..0));
//! broker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! - [`EmbeddedBroker`]: brokers that listen on 127.0.0.1.
//! - [`core`]: what they decide, without IO or clock: for simulations, and for the faults, leaders and logs of a running
//!   broker ([`EmbeddedBroker::with_cluster`]).
//! - `simulation` (feature `simulation`): a test of yours under faults, once for every seed.

pub mod core;
mod dialer;
mod embedded;
mod listener;
mod outbox;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use dialer::Dialer;
pub use embedded::{Builder, EmbeddedBroker, StartError};
