//! What services do with Kafka, on top of [`milena`].
//!
//! - [`Runner`] reads a group's records and has each handled at least once: one by one, by key, or in chunks.
//! - [`AtLeastOnce`] and [`ParallelBatches`] are runners with the settings that these uses want.
//! - [`RetryTopics`] puts a record that failed aside, for later and later tries; [`DeadLetters`] keeps what no try could help,
//!   and [`Redrive`] sends it back.
//! - [`BatchCollector`] gathers events and sends them together.
//! - [`typed`] makes a handler of one that takes keys and values as types; what can't be deserialized goes to the dead letters.
//! - [`ExactlyOnce`] reads, transforms and writes in transactions.

mod at_least_once;
mod backoff;
mod batch_collector;
mod dead_letters;
mod exactly_once;
mod fallback;
mod handler;
mod origin;
mod parallel_batches;
mod redrive;
mod retry_topics;
mod run;
mod shutdown;
mod typed;

pub use at_least_once::AtLeastOnce;
pub use backoff::Tries;
pub use batch_collector::{BatchCollector, BatchCollectorBuilder, CollectError, Collected};
pub use dead_letters::DeadLetters;
pub use exactly_once::{ExactlyOnce, ExactlyOnceError, ExactlyOnceReport, Transform};
pub use fallback::Fallback;
pub use handler::{BatchError, BatchHandler, GivenUp, Handler, HandlerError, Reason};
pub use parallel_batches::ParallelBatches;
pub use redrive::{Redrive, RedriveError, RedriveReport};
pub use retry_topics::RetryTopics;
pub use run::{Order, Run, RunError, RunReport, Runner};
pub use shutdown::Shutdown;
pub use typed::{typed, typed_batches, typed_transform};

/// The code of the pages is compiled.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/patterns/at-least-once.md")]
    struct AtLeastOnce;
    #[doc = include_str!("../../../docs/patterns/batching-producer.md")]
    struct BatchingProducer;
    #[doc = include_str!("../../../docs/patterns/cluster.md")]
    struct Cluster;
    #[doc = include_str!("../../../docs/patterns/consuming.md")]
    struct Consuming;
    #[doc = include_str!("../../../docs/patterns/events.md")]
    struct Events;
    #[doc = include_str!("../../../docs/patterns/graceful-end.md")]
    struct GracefulEnd;
    #[doc = include_str!("../../../docs/patterns/idempotent-producer.md")]
    struct IdempotentProducer;
    #[doc = include_str!("../../../docs/patterns/lag.md")]
    struct Lag;
    #[doc = include_str!("../../../docs/patterns/metrics.md")]
    struct Metrics;
    #[doc = include_str!("../../../docs/patterns/parallel-consumers.md")]
    struct ParallelConsumers;
    #[doc = include_str!("../../../docs/patterns/producing.md")]
    struct Producing;
    #[doc = include_str!("../../../docs/patterns/replay.md")]
    struct Replay;
    #[doc = include_str!("../../../docs/patterns/retry-topics.md")]
    struct RetryTopics;
    #[doc = include_str!("../../../docs/patterns/scale.md")]
    struct Scale;
    #[doc = include_str!("../../../docs/patterns/schemas.md")]
    struct Schemas;
    #[doc = include_str!("../../../docs/patterns/transactional-producer.md")]
    struct TransactionalProducer;
    #[doc = include_str!("../../../docs/migrating/from-java-and-kafkajs.md")]
    struct FromJavaAndKafkajs;
    #[doc = include_str!("../../../docs/migrating/from-rdkafka.md")]
    struct FromRdkafka;
}
