//! A test under faults, once for every seed (feature `simulation`).
//!
//! The test is ordinary async code with whatever client it uses. It runs on one thread with tokio's clock paused, so hours
//! pass in milliseconds; the brokers are in memory, and between them and the client is a network that is slow, stalls and
//! breaks; brokers are stopped, stand still and hand over what they lead. All of it comes from the seed: a seed that fails
//! fails again.
//!
//! ```
//! use std::time::Duration;
//! use milena_embedded_broker::{EmbeddedBroker, simulation::Simulation};
//! # use milena_protocol::{frame::encode_request, messages::MetadataRequest};
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! Simulation::seeds(0..5).run(EmbeddedBroker::builder().brokers(3).topic("orders", 6), |world| async move {
//!     // With a Milena client: Client::builder(world.bootstrap()).dial_with(world.dial()).seed(world.seed())
//!     //     .wall_clock(world.wall_clock()).connect().await
//!     let dial = world.dial();
//!     # let hello = encode_request(&MetadataRequest::default().into(), 12, 1, None).unwrap().to_bytes();
//!     let mut answered = 0;
//!     while answered < 100 {
//!         let Ok(mut stream) = dial("broker-1.embedded".into(), 9092).await else {
//!             tokio::time::sleep(Duration::from_millis(100)).await;
//!             continue;
//!         };
//!         # while stream.write_all(&hello).await.is_ok() && stream.read_i32().await.is_ok() { answered += 1; break }
//!         // … ask, and expect to be cut off.
//!     }
//!     world.calm().await;
//!     // The faults are over: here is what must hold in the end.
//! });
//! ```
//!
//! # What repeats
//! Everything that goes by the seed and by tokio's clock. A test that looks at the clock of the wall, starts threads, draws
//! other random numbers, iterates over a `HashMap` or uses `tokio::select!` without `biased` does not.

mod faults;
mod nemesis;
mod network;
mod world;

use std::{
    any::Any,
    env,
    future::Future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

pub use faults::Faults;
pub use world::{Report, World};

use crate::Builder;

/// Names the one seed that is to run.
const SEED: &str = "MILENA_SEED";

/// How long a run may take by its own clock, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_hours(4);

/// Runs a test once for every seed. See the [module](self).
#[derive(Clone, Debug)]
pub struct Simulation {
    seeds: Range<u64>,
    faults: Faults,
    patience: Duration,
}

impl Simulation {
    /// With each of these seeds, or only with the one that the environment names in `MILENA_SEED`.
    #[must_use]
    pub const fn seeds(seeds: Range<u64>) -> Self {
        Self { seeds, faults: Faults::new(), patience: PATIENCE }
    }

    /// What goes wrong; see [`Faults`] for what it is if nothing is said.
    #[must_use]
    pub const fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How long a run may take by its own clock before it counts as hanging. Four hours by default.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs the test for every seed, and reports each run.
    ///
    /// # Panics
    /// When the test panics or hangs; the seed and what befell the run go to standard error before.
    pub fn run<F, Fut>(&self, broker: Builder, test: F) -> Vec<Report>
    where
        F: Fn(World) -> Fut,
        Fut: Future<Output = ()>,
    {
        let seeds = match env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => seed..u64::saturating_add(seed, 1),
            None => self.seeds.clone(),
        };
        seeds.map(|seed| self.run_one(seed, broker.clone(), &test)).collect()
    }

    fn run_one<F, Fut>(&self, seed: u64, broker: Builder, test: &F) -> Report
    where
        F: Fn(World) -> Fut,
        Fut: Future<Output = ()>,
    {
        let log = world::Log::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            // Without IO there is nothing that the system could refuse.
            let runtime = runtime.unwrap_or_else(|error| broken(&format!("no runtime: {error}")));
            runtime.block_on(async {
                let world = World::start(seed, broker, self.faults, log.clone()).await;
                let world = world.unwrap_or_else(|error| broken(&format!("no brokers: {error}")));
                let ended = tokio::time::timeout(self.patience, test(world.clone())).await;
                if ended.is_err() {
                    broken(&format!("the test has not ended after {:?} of its own time", self.patience));
                }
                world.report()
            })
        }));
        outcome.unwrap_or_else(|panic| fail(seed, &log, panic))
    }
}

/// What a test does when it can't go on.
#[expect(clippy::panic, reason = "it is part of a test, and this is how a test fails")]
fn broken(why: &str) -> ! {
    panic!("{why}")
}

#[expect(clippy::print_stderr, reason = "it is part of a test, and this is where tests tell what they saw")]
fn fail(seed: u64, log: &world::Log, panic: Box<dyn Any + Send>) -> ! {
    eprintln!("{}seed {seed} fails; to run it alone: {SEED}={seed}", log.text());
    resume_unwind(panic)
}
