//! Many runs, on as many threads as there are cores.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Counts, Options, Report, Tally, ledger::GroupTally, run};

/// After so many seeds that fail no more are run: one is enough to look into.
const ENOUGH: usize = 10;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// Seeds that broke promises.
    pub failed: BTreeSet<u64>,
    /// The producers' records.
    pub tally: Tally,
    /// The groups' records.
    pub group: GroupTally,
    /// What the networks and the brokers did.
    pub counts: Counts,
    /// Simulated time.
    pub simulated: Duration,
    /// Time that it took.
    pub took: Duration,
    /// A hash over the traces of all runs, whichever thread they ran on.
    pub hash: u64,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        if !report.violations.is_empty() {
            self.failed.insert(report.seed);
        }
        self.tally.add(&report.tally);
        self.group.add(&report.group);
        self.counts.requests += report.counts.requests;
        self.counts.faults += report.counts.faults;
        self.counts.late += report.counts.late;
        self.simulated += report.simulated;
        // The sum does not depend on the order; the product keeps two seeds from changing places.
        let mixed = report.trace.hash().wrapping_mul(report.seed.wrapping_mul(2).wrapping_add(1));
        self.hash = self.hash.wrapping_add(mixed);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, seconds) = (self.simulated.as_secs_f64() / 3600.0, self.took.as_secs_f64().max(1e-9));
        write!(
            f,
            "{} runs, {hours:.1} simulated hours, {} faults, {seconds:.1} s; {:.0} runs a minute, {:.2} simulated \
             hours a second; traces {:016x}",
            self.runs,
            self.counts.faults,
            self.runs as f64 / seconds * 60.0,
            hours / seconds,
            self.hash
        )
    }
}

/// Runs all `seeds` on `threads` threads. `progress` is told after each run how many are done; it says whether to go on.
pub fn run_all(
    seeds: Range<u64>,
    options: &Options,
    threads: usize,
    progress: impl Fn(u64) -> bool + Sync,
) -> Summary {
    let begin = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stopped = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed, options);
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(&report);
            if !progress(summary.runs) || summary.failed.len() >= ENOUGH {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.took = begin.elapsed();
    summary
}

/// The first of `seeds` that fails, as far as the threads come before one of them finds one.
#[must_use]
pub fn first_failure(seeds: Range<u64>, options: &Options, threads: usize) -> Option<Report> {
    let found = AtomicBool::new(false);
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(Vec::new());
    let work = || {
        while !found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed, options);
            if !report.violations.is_empty() {
                found.store(true, Ordering::Relaxed);
                reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.into_iter().min_by_key(|report| report.seed)
}
