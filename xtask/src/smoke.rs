//! `cargo xtask smoke`: ten million mutations of golden frames, the same ones every time, for everything that reads what
//! others have written.
//!
//! The work is done by the binary `smoke` of `protocol-tests`, one process a core, so that whatever ends a process (an
//! abort, the stack, the memory) is a finding like a panic: each process writes down what it is about to run.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, IsTerminal},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::interrupt::Interrupt;

/// An execution that has not ended by then never will.
const HANGS: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Another seed gives other mutations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many executions there must be.
    #[arg(long, default_value_t = 10_000_000)]
    executions: u64,
    /// Fails when they take longer than this many seconds.
    #[arg(long, default_value_t = 300)]
    within: u64,
    /// Runs this target only; `cargo xtask fuzz --list` names them.
    #[arg(long)]
    target: Option<String>,
    /// How many processes share the work.
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// Reports in JSON.
    #[arg(long)]
    json: bool,
}

/// Whether every execution kept its promises.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    ensure!(arguments.workers > 0, "there must be a worker");
    let interrupt = Interrupt::install()?;
    let binary = build()?;
    let folder = crate::workspace_root().join("target/smoke-run");
    fs::create_dir_all(&folder)?;
    let mut smoke = Smoke { arguments, binary, folder, done: BTreeMap::new(), targets: BTreeMap::new() };
    let begin = Instant::now();
    let failure = smoke.watch(&interrupt, begin)?;
    interrupt.check()?;
    smoke.report(begin.elapsed(), failure.as_ref())?;
    Ok(failure.is_none())
}

/// Builds the binary `smoke` of `protocol-tests` and says where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = crate::workspace_root();
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--profile", "smoke", "--package", "protocol-tests"])
        .args(["--bin", "smoke"])
        .current_dir(&root)
        .status()
        .context("cannot run cargo build")?;
    ensure!(status.success(), "the targets do not build");
    Ok(root.join("target/smoke/smoke"))
}

struct Smoke<'a> {
    arguments: &'a Arguments,
    binary: PathBuf,
    folder: PathBuf,
    /// Executions by worker.
    done: BTreeMap<u64, u64>,
    /// Executions and slowest execution in µs by target.
    targets: BTreeMap<String, (u64, u64)>,
}

struct Worker {
    index: u64,
    child: Child,
    place: PathBuf,
    /// What was under way when it was looked at last, and since when.
    under_way: (Vec<u8>, Instant),
}

enum Found {
    /// An execution broke a promise.
    Broken { target: String, number: u64, what: String },
    /// Time was up.
    Late,
}

impl Smoke<'_> {
    fn watch(&mut self, interrupt: &Interrupt, begin: Instant) -> anyhow::Result<Option<Found>> {
        let (sender, lines) = mpsc::sync_channel(256);
        let mut workers = Vec::new();
        for index in 0..self.arguments.workers {
            workers.push(self.start(index, sender.clone())?);
        }
        drop(sender);
        let bar = self.bar();
        let mut found = None;
        while found.is_none() && !interrupt.is_set() {
            match lines.recv_timeout(POLL) {
                Ok((index, line)) => found = self.hear(index, &line)?,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            bar.set_position(self.done.values().sum());
            if begin.elapsed() > Duration::from_secs(self.arguments.within) {
                found = Some(Found::Late);
            }
            found = found.map_or_else(|| self.hanging(&mut workers), |found| Ok(Some(found)))?;
        }
        bar.finish_and_clear();
        let silent = found.is_none() && !interrupt.is_set();
        for worker in &mut workers {
            if !silent {
                worker.child.kill()?;
            }
            let status = worker.child.wait()?;
            // A process that could not say what was wrong was ended by it.
            if silent && found.is_none() && !status.success() {
                found = Some(self.broken(worker, format!("the process has died: {status}"))?);
            }
        }
        Ok(found)
    }

    fn start(&self, index: u64, sender: mpsc::SyncSender<(u64, String)>) -> anyhow::Result<Worker> {
        let place = self.folder.join(format!("under-way-{index}"));
        let mut command = Command::new(&self.binary);
        command.arg("run").args(["--seed", &self.arguments.seed.to_string()]);
        command.args(["--executions", &self.arguments.executions.to_string()]);
        command.args(["--worker", &index.to_string(), "--workers", &self.arguments.workers.to_string()]);
        command.arg("--place").arg(&place);
        if let Some(target) = &self.arguments.target {
            command.args(["--target", target]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("a worker has no output")?;
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines {
                if sender.send((index, line)).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { index, child, place, under_way: (Vec::new(), Instant::now()) })
    }

    fn hear(&mut self, index: u64, line: &str) -> anyhow::Result<Option<Found>> {
        let line: Value = serde_json::from_str(line).context("a worker says what is no JSON")?;
        let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
        let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(what) = text("failure") {
            let target = text("target").unwrap_or_default();
            return Ok(Some(Found::Broken { target, number: number("number"), what }));
        }
        match text("target") {
            Some(target) => {
                let sum = self.targets.entry(target).or_default();
                *sum = (sum.0 + number("executions"), sum.1.max(number("slowest_us")));
            }
            None => drop(self.done.insert(index, number("done"))),
        }
        Ok(None)
    }

    /// A worker that has been at the same execution for too long.
    fn hanging(&self, workers: &mut [Worker]) -> anyhow::Result<Option<Found>> {
        for worker in workers {
            let under_way = fs::read(&worker.place).unwrap_or_default();
            if under_way != worker.under_way.0 {
                worker.under_way = (under_way, Instant::now());
            } else if worker.under_way.1.elapsed() > HANGS && worker.child.try_wait()?.is_none() {
                return Ok(Some(self.broken(worker, format!("it does not end within {HANGS:?}"))?));
            }
        }
        Ok(None)
    }

    /// What the worker had written down.
    fn broken(&self, worker: &Worker, what: String) -> anyhow::Result<Found> {
        let bytes = fs::read(&worker.place)?;
        let (index, rest) = bytes.split_first_chunk().context("a worker has died before it began")?;
        let number = rest.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
        let index = usize::try_from(u64::from_le_bytes(*index))?;
        let target = targets(&self.binary)?.into_iter().nth(index);
        let target = target.with_context(|| format!("worker {} ran no known target", worker.index))?.name;
        Ok(Found::Broken { target, number, what })
    }

    fn bar(&self) -> ProgressBar {
        let is_watched = !self.arguments.json && std::io::stderr().is_terminal();
        let to = if is_watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40.cyan/blue} {human_pos} of {human_len}, {per_sec}");
        let bar = ProgressBar::with_draw_target(Some(self.arguments.executions), to);
        if let Ok(style) = style { bar.with_style(style) } else { bar }
    }

    fn report(&self, took: Duration, found: Option<&Found>) -> anyhow::Result<()> {
        let done: u64 = self.done.values().sum();
        let input = match found {
            Some(Found::Broken { target, number, .. }) => Some(self.keep(target, *number)?),
            _ => None,
        };
        if self.arguments.json {
            let targets = self.targets.iter().map(|(name, (executions, slowest))| {
                json!({ "name": name, "executions": executions, "slowest_us": slowest })
            });
            let failure = match found {
                Some(Found::Broken { target, number, what }) => json!({
                    "target": target, "number": number, "what": what, "input": input,
                }),
                Some(Found::Late) => json!({ "what": "time was up" }),
                None => Value::Null,
            };
            let report = json!({
                "seed": self.arguments.seed, "executions": done, "seconds": took.as_secs_f64(),
                "targets": targets.collect::<Vec<_>>(), "failure": failure,
            });
            println!("{report}");
            return Ok(());
        }
        for (name, (executions, slowest)) in &self.targets {
            println!("{name:>10} {executions:>10} executions, the slowest took {slowest} µs");
        }
        let rate = done as f64 / took.as_secs_f64().max(0.001);
        println!(
            "{done} executions in {:.1} s, {rate:.0} a second, seed {}",
            took.as_secs_f64(),
            self.arguments.seed
        );
        match (found, input) {
            (Some(Found::Broken { target, number, what }), Some(input)) => {
                explain(target, *number, self.arguments.seed, what, &input);
            }
            (Some(_), _) => {
                let Arguments { executions, within, .. } = self.arguments;
                println!("FAILED: only {done} of {executions} executions within {within} s");
            }
            (None, _) => println!("nothing found"),
        }
        Ok(())
    }

    /// Writes the input of an execution to a file.
    fn keep(&self, target: &str, number: u64) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(format!("{target}-{}-{number}.bin", self.arguments.seed));
        let status = Command::new(&self.binary)
            .args(["input", target, &self.arguments.seed.to_string(), &number.to_string()])
            .arg(&file)
            .status()?;
        ensure!(status.success(), "the input can't be made again");
        Ok(file)
    }
}

fn explain(target: &str, number: u64, seed: u64, what: &str, input: &Path) {
    println!("FAILED: {target}, execution {number} of seed {seed}: {what}");
    let bytes = fs::read(input).unwrap_or_default();
    if bytes.len() <= 2048 {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("  input:  {hex}");
    }
    println!("  file:   {} ({} bytes)", input.display(), bytes.len());
    println!("  replay: target/smoke/smoke replay {target} {}", input.display());
    println!("  keep:   cp {} fixtures/crashes/{target}/WHAT-IT-IS.bin", input.display());
}

/// A target by name, and what it is.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) about: String,
}

/// The targets of the binary, in its order.
pub(crate) fn targets(binary: &Path) -> anyhow::Result<Vec<Target>> {
    let output = Command::new(binary).arg("list").output()?;
    if !output.status.success() {
        bail!("the targets can't be listed");
    }
    let text = String::from_utf8(output.stdout)?;
    let target = |line: &str| -> anyhow::Result<Target> {
        let line: Value = serde_json::from_str(line)?;
        let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Target { name: field("name"), about: field("about") })
    };
    text.lines().map(target).collect()
}
