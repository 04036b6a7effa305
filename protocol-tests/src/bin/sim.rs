//! Runs the simulation of `protocol_tests::sim` for many seeds on all cores, or for one with its trace. `cargo xtask sim`
//! builds and starts this.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]

use std::{collections::BTreeSet, io::IsTerminal, process::ExitCode, thread};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use protocol_tests::sim::{
    Options, Report,
    campaign::{Summary, run_all},
    run,
    shrink::shrink,
};

/// How many runs may go into finding the faults that matter.
const SHRINKING: u32 = 300;

#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed only, and prints its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Only these faults of the seed take place, by their numbers.
    #[arg(long, value_delimiter = ',', requires = "seed")]
    only_faults: Option<Vec<usize>>,
    /// No faults take place at all.
    #[arg(long, requires = "seed", conflicts_with = "only_faults")]
    no_faults: bool,
    /// How many runs there are at a time; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Leaves the trace of a single run out.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kept = match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => campaign(&arguments),
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run to the letter. Whether every promise was kept.
fn replay(seed: u64, arguments: &Arguments) -> bool {
    let only_faults = arguments.only_faults.clone().map(BTreeSet::from_iter);
    let only_faults = only_faults.or(arguments.no_faults.then(BTreeSet::new));
    let options = Options { keep_trace: !arguments.quiet, only_faults, ..Options::default() };
    let report = run(seed, &options);
    for line in report.trace.lines() {
        println!("{line}");
    }
    for violation in &report.violations {
        eprintln!("broken: {violation}");
    }
    println!("seed {seed}: {} violations, trace {:016x}", report.violations.len(), report.trace.hash());
    report.violations.is_empty()
}

/// Many runs. Whether every promise was kept in all of them.
fn campaign(arguments: &Arguments) -> bool {
    let threads = arguments.threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
    let bar = bar(arguments.seeds);
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let summary = run_all(seeds, &Options::default(), threads.unwrap_or(1), |done| {
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    println!("{summary}");
    println!("{:?}\n{:?}\n{:?}", summary.counts, summary.tally, summary.group);
    explain(&summary);
    summary.failed.is_empty()
}

fn bar(len: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {per_sec}, {eta} left");
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Says which seeds failed, and of the first one everything there is to know.
fn explain(summary: &Summary) {
    let Some(seed) = summary.failed.first().copied() else { return };
    eprintln!("seeds that break promises: {:?}", summary.failed);
    let traced = Options { keep_trace: true, ..Options::default() };
    let Some(shrunk) = shrink(seed, &traced, SHRINKING) else { return };
    let whole = run(seed, &traced);
    eprintln!("{}", whole.explain());
    let Report { violations, faults, trace, .. } = &shrunk.report;
    eprintln!("with {} of {} faults ({} runs):", shrunk.faults.len(), faults.len(), shrunk.runs);
    for fault in faults.iter().filter(|fault| shrunk.faults.contains(&fault.number)) {
        eprintln!("  {fault}");
    }
    for violation in violations {
        eprintln!("  broken: {violation}");
    }
    let numbers: Vec<_> = shrunk.faults.iter().map(ToString::to_string).collect();
    let which = match &numbers[..] {
        [] => "--no-faults".to_owned(),
        numbers => format!("--only-faults {}", numbers.join(",")),
    };
    eprintln!("trace {:016x}; again: cargo xtask sim --seed {seed} {which}", trace.hash());
}
