//! Runs the targets of `protocol_tests::fuzz` over mutations of golden frames. `cargo xtask smoke` starts several of
//! these and reads what they print, a JSON object a line.
//!
//! A process has one thread: what the allocator counts is one target's, and whatever ends the process (memory, the
//! stack, an abort) was caused by the execution that it has written down before.
#![expect(clippy::print_stdout, reason = "a command for a terminal")]

use std::{
    fs,
    os::unix::fs::FileExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use peak_alloc::PeakAlloc;
use protocol_tests::fuzz::{TARGETS, Target, heap, mutate};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// An input that takes more of the processor breaks the promise of work in proportion to the input: none is longer than
/// 64 KiB, and what is done once a byte, or a fixed number of times, stays far below.
const SLOWEST: Duration = Duration::from_millis(25);
/// A process that wants more memory is ended by the allocator.
const MEMORY: u64 = 4 << 30;
/// All targets advance together, in so many turns.
const TURNS: u64 = 200;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the targets.
    List,
    /// Writes the inputs that a target starts from, a file each.
    Seeds { target: String, folder: PathBuf },
    /// Runs one target over files.
    Replay { target: String, files: Vec<PathBuf> },
    /// Writes the input of one execution to a file.
    Input { target: String, seed: u64, number: u64, file: PathBuf },
    /// Runs all targets, or one.
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    #[arg(long)]
    seed: u64,
    /// Of all workers together.
    #[arg(long)]
    executions: u64,
    #[arg(long)]
    target: Option<String>,
    /// Which of the workers this is, from 0.
    #[arg(long)]
    worker: u64,
    #[arg(long)]
    workers: u64,
    /// Where the execution under way is written down: target and number, eight bytes each.
    #[arg(long)]
    place: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    heap::measure_with(heap::Meter {
        current: || ALLOCATOR.current_usage(),
        peak: || ALLOCATOR.peak_usage(),
        reset: || ALLOCATOR.reset_peak_usage(),
    });
    match Arguments::parse().command {
        Command::List => {
            for target in TARGETS {
                println!("{}", json!({ "name": target.name, "about": target.about }));
            }
        }
        Command::Seeds { target, folder } => write_seeds(named(&target)?, &folder)?,
        Command::Replay { target, files } => replay(named(&target)?, &files)?,
        Command::Input { target, seed, number, file } => {
            let target = named(&target)?;
            fs::write(file, mutate::input(&(target.seeds)(), seed, number))?;
        }
        Command::Run(run) => return run.run(),
    }
    Ok(ExitCode::SUCCESS)
}

fn named(name: &str) -> anyhow::Result<&'static Target> {
    Target::named(name).with_context(|| format!("there is no target {name}"))
}

fn write_seeds(target: &Target, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (at, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{at:05}")), seed)?;
    }
    Ok(())
}

fn replay(target: &Target, files: &[PathBuf]) -> anyhow::Result<()> {
    for file in files {
        let input = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let begin = Instant::now();
        (target.run)(&input);
        println!("{}: {} bytes, {:?}", file.display(), input.len(), begin.elapsed());
    }
    Ok(())
}

/// A target with its corpus and what has become of it.
struct Subject {
    index: usize,
    target: &'static Target,
    corpus: Vec<Vec<u8>>,
    /// Executions of all workers.
    executions: u64,
    done: u64,
    slowest: Duration,
}

impl Run {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let limit = rustix::process::Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
        rustix::process::setrlimit(rustix::process::Resource::As, limit)?;
        panic::set_hook(Box::new(|panic| {
            if let Ok(mut said) = PANIC.lock() {
                *said = panic.to_string();
            }
        }));
        let mut subjects = self.subjects()?;
        let place = fs::File::create(&self.place)?;
        for turn in 0..TURNS {
            for subject in &mut subjects {
                if let Some(failure) = self.turn(subject, turn, &place)? {
                    println!("{failure}");
                    return Ok(ExitCode::FAILURE);
                }
            }
            let done: u64 = subjects.iter().map(|subject| subject.done).sum();
            println!("{}", json!({ "done": done }));
        }
        for subject in &subjects {
            let slowest = subject.slowest.as_micros() as u64;
            let (name, done) = (subject.target.name, subject.done);
            println!("{}", json!({ "target": name, "executions": done, "slowest_us": slowest }));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        if let Some(name) = &self.target {
            named(name)?;
        }
        let is_wanted = |target: &Target| self.target.as_deref().is_none_or(|name| name == target.name);
        let wanted: Vec<_> = TARGETS.iter().enumerate().filter(|(_, target)| is_wanted(target)).collect();
        let shares: u64 = wanted.iter().map(|(_, target)| u64::from(target.share)).sum();
        if shares == 0 {
            bail!("no target takes part");
        }
        let subjects = wanted.into_iter().map(|(index, target)| Subject {
            index,
            target,
            corpus: (target.seeds)(),
            // Rounded up, so that all together are not fewer.
            executions: (self.executions * u64::from(target.share)).div_ceil(shares),
            done: 0,
            slowest: Duration::ZERO,
        });
        Ok(subjects.collect())
    }

    /// Runs this worker's part of a turn of one target: what went wrong, if something did.
    fn turn(
        &self,
        subject: &mut Subject,
        turn: u64,
        place: &fs::File,
    ) -> anyhow::Result<Option<serde_json::Value>> {
        let border = |turn: u64| subject.executions * turn / TURNS;
        for number in border(turn)..border(turn + 1) {
            if number % self.workers != self.worker {
                continue;
            }
            let input = mutate::input(&subject.corpus, self.seed, number);
            place.write_all_at(&(subject.index as u64).to_le_bytes(), 0)?;
            place.write_all_at(&number.to_le_bytes(), 8)?;
            let (took, outcome) = execute(subject.target, &input);
            subject.done += 1;
            subject.slowest = subject.slowest.max(took);
            let failure = match outcome {
                Err(said) => said,
                Ok(()) if took > SLOWEST => format!("it takes {took:?}"),
                Ok(()) => continue,
            };
            let name = subject.target.name;
            return Ok(Some(json!({ "failure": failure, "target": name, "number": number })));
        }
        Ok(None)
    }
}

static PANIC: Mutex<String> = Mutex::new(String::new());

/// The least of three times, when the first looks slow: the caches may have been cold.
fn execute(target: &Target, input: &[u8]) -> (Duration, Result<(), String>) {
    let mut took = Duration::MAX;
    for _ in 0..3 {
        let begin = processor_time();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        took = took.min(processor_time().saturating_sub(begin));
        if outcome.is_err() {
            let said = PANIC.lock().map(|said| said.clone()).unwrap_or_default();
            return (took, Err(said));
        }
        if took < SLOWEST {
            break;
        }
    }
    (took, Ok(()))
}

/// What this thread has had of the processor: other processes do not make it longer.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
