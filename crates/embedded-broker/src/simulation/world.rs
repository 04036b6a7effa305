//! What a simulated test has around it.

use std::{
    collections::VecDeque,
    fmt::{Display, Write},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::DuplexStream, task::JoinSet, time::Instant};

use super::{faults::Faults, nemesis, network::Network};
use crate::{Builder, EmbeddedBroker, StartError};

/// Lines of the log that are kept; what goes wrong shows in the last ones.
const LINES: usize = 2_000;

/// The Unix time at which every run starts, in milliseconds.
const START_MS: i64 = 1_700_000_000_000;

/// The brokers of one run and the way to them. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct World {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    faults: Faults,
    begin: Instant,
    broker: Arc<EmbeddedBroker>,
    network: Arc<Network>,
    log: Log,
    /// What befalls the brokers; ended by its drop.
    _nemesis: JoinSet<()>,
}

/// A stream to a broker, or why there is none.
type Dialed = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How long it took by its own clock.
    pub simulated: Duration,
    /// What went wrong: stalls, breaks, and what befell brokers and groups.
    pub faults: u64,
    /// Of who sent when: two runs that went the same way have the same.
    pub trace_hash: u64,
}

impl World {
    pub(super) async fn start(
        seed: u64,
        broker: Builder,
        faults: Faults,
        log: Log,
    ) -> Result<Self, StartError> {
        let begin = Instant::now();
        log.begin(begin);
        let broker = broker.in_memory().unix_ms(START_MS).configure(|config| config.seed = seed);
        let broker = Arc::new(broker.start().await?);
        let network = Arc::new(Network::new(seed, faults, begin, broker.dialer(), log.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(nemesis::run(seed, faults, begin, Arc::clone(&broker), log.clone()));
        Ok(Self { shared: Arc::new(Shared { seed, faults, begin, broker, network, log, _nemesis: tasks }) })
    }

    /// The seed of the run, for what else is to be drawn from it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// What a client is given as its bootstrap servers.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.shared.broker.bootstrap()
    }

    /// The brokers, to ask them or to add to what befalls them.
    #[must_use]
    pub fn broker(&self) -> &EmbeddedBroker {
        &self.shared.broker
    }

    /// Connects over the simulated network: from a host and a port to a stream.
    pub fn dial(&self) -> impl Fn(String, u16) -> Dialed + Send + Sync + Clone + 'static {
        let network = Arc::clone(&self.shared.network);
        move |host, port| {
            let network = Arc::clone(&network);
            Box::pin(async move { network.dial(&host, port).await })
        }
    }

    /// What time it is in the simulation, in milliseconds since 1970: the brokers' clock. A client that stamps its records by
    /// the system's would be ahead of them by years, and its runs would not repeat.
    pub fn wall_clock(&self) -> impl Fn() -> i64 + Send + Sync + Clone + 'static {
        let begin = self.shared.begin;
        move || i64::try_from(begin.elapsed().as_millis()).map_or(i64::MAX, |ms| START_MS.saturating_add(ms))
    }

    /// Waits until the faults are over: every broker is up, and the network only takes its time.
    ///
    /// # Cancellation
    /// It only waits.
    pub async fn calm(&self) {
        tokio::time::sleep_until(self.shared.begin + self.shared.faults.lasting).await;
        // The nemesis puts things right at that moment.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Puts a line into the log that a failing run shows.
    pub fn note(&self, line: impl Display) {
        self.shared.log.line(line);
    }

    pub(super) fn report(&self) -> Report {
        let log = self.shared.log.lock();
        Report {
            seed: self.shared.seed,
            simulated: self.shared.begin.elapsed(),
            faults: log.faults,
            trace_hash: log.hash,
        }
    }
}

/// What happened, for the case that it ends badly. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    begin: Option<Instant>,
    lines: VecDeque<(Duration, String)>,
    dropped: u64,
    faults: u64,
    hash: u64,
}

impl Log {
    fn begin(&self, begin: Instant) {
        self.lock().begin = Some(begin);
    }

    pub(super) fn line(&self, line: impl Display) {
        let mut entries = self.lock();
        let at = entries.begin.map_or(Duration::ZERO, |begin| begin.elapsed());
        if entries.lines.len() == LINES {
            entries.lines.pop_front();
            entries.dropped += 1;
        }
        entries.lines.push_back((at, line.to_string()));
    }

    pub(super) fn fault(&self, line: impl Display) {
        self.line(line);
        self.lock().faults += 1;
    }

    /// Somebody sends something: mixed into the hash, with the time.
    pub(super) fn sent(&self, connection: u64, to_broker: bool) {
        let mut entries = self.lock();
        let at = entries.begin.map_or(0, |begin| begin.elapsed().as_nanos() as u64);
        for value in [at, connection, u64::from(to_broker)] {
            // FNV-1a, eight bytes at a time: it needs to differ, not to resist.
            entries.hash = (entries.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    pub(super) fn text(&self) -> String {
        let entries = self.lock();
        let mut text = String::new();
        // Writing to a string does not fail.
        if entries.dropped > 0 {
            let _ = writeln!(text, "… {} lines before", entries.dropped);
        }
        for (at, line) in &entries.lines {
            let _ = writeln!(text, "{:>12.6} s  {line}", at.as_secs_f64());
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
