//! `cargo xtask fuzz`: the same targets as the smoke's, guided by coverage, for as long as wanted.
//!
//! cargo-fuzz and a nightly toolchain do it; both are only needed here. The corpus starts from the golden frames and
//! stays in `target/fuzz/corpus`, so that the next run goes on where this one ended.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::smoke;

const CARGO_FUZZ: &str = "0.13.2";
/// The target that compares with another implementation, which only the fuzz crate depends on.
const ORACLE: &str = "oracle";
/// Seconds and MiB that an input may take, sanitizer and all.
const TIMEOUT: u32 = 10;
const MEMORY: u32 = 2048;
/// The longest input that is tried.
const LONGEST: u32 = 65_536;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target, or `all`.
    #[arg(required_unless_present = "list")]
    target: Option<String>,
    /// Says which targets there are.
    #[arg(long)]
    list: bool,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Processes that work on a target at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: u32,
    /// `address` finds what unsafe code of dependencies does wrong, at half the speed.
    #[arg(long, default_value = "none", value_parser = ["none", "address"])]
    sanitizer: String,
}

/// Whether nothing was found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let binary = smoke::build()?;
    let known = smoke::targets(&binary)?;
    if arguments.list {
        for target in &known {
            println!("{:>10}  {}", target.name, target.about);
        }
        println!(
            "{ORACLE:>10}  a message that we accept, as kafka-protocol reads and writes it (not in the smoke)"
        );
        return Ok(true);
    }
    let names: Vec<&str> = known.iter().map(|target| target.name.as_str()).chain([ORACLE]).collect();
    let wanted = match arguments.target.as_deref() {
        None | Some("all") => names,
        Some(name) if names.contains(&name) => vec![name],
        Some(name) => bail!("there is no target {name}: they are {}, and all", names.join(", ")),
    };
    let fuzzer = Fuzzer { arguments, binary, folder: crate::workspace_root().join("target/fuzz") };
    fuzzer.prepare()?;
    let mut found = 0;
    for target in &wanted {
        found += usize::from(!fuzzer.fuzz(target)?);
    }
    println!("\n{} targets, {found} with findings", wanted.len());
    Ok(found == 0)
}

struct Fuzzer<'a> {
    arguments: &'a Arguments,
    binary: PathBuf,
    folder: PathBuf,
}

impl Fuzzer<'_> {
    /// Asks for what is needed before anything runs.
    fn prepare(&self) -> anyhow::Result<()> {
        let has_nightly = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
        ensure!(
            has_nightly.is_ok_and(|output| output.status.success()),
            "a nightly toolchain is missing: rustup toolchain install nightly --profile minimal"
        );
        if self.cargo().args(["fuzz", "--version"]).output()?.status.success() {
            return Ok(());
        }
        println!("building cargo-fuzz {CARGO_FUZZ}");
        let tools = crate::workspace_root().join("target/tools");
        let status = Command::new("cargo")
            .args(["install", "--quiet", "--debug", "--locked", "--version", CARGO_FUZZ, "--root"])
            .arg(tools)
            .arg("cargo-fuzz")
            .status()?;
        ensure!(status.success(), "cargo-fuzz does not build");
        Ok(())
    }

    /// Nightly's cargo, in the folder of the fuzz crate. xtask itself was started by another cargo, whose choice of
    /// toolchain is in the environment.
    fn cargo(&self) -> Command {
        let tools = crate::workspace_root().join("target/tools/bin");
        let paths = env::var_os("PATH").unwrap_or_default();
        let paths = env::join_paths([tools].into_iter().chain(env::split_paths(&paths))).unwrap_or(paths);
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]).env("PATH", paths);
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
        // The last lines are shown: they are to say what went wrong, not how cargo-fuzz got there.
        command.env("RUST_BACKTRACE", "0");
        command.current_dir(crate::workspace_root().join("protocol-tests/fuzz"));
        command
    }

    /// True when nothing was found.
    fn fuzz(&self, target: &str) -> anyhow::Result<bool> {
        let corpus = self.folder.join("corpus").join(target);
        let artifacts = self.folder.join("artifacts").join(target);
        let replayed = self.folder.join("fixtures").join(target);
        for folder in [&corpus, &artifacts, &replayed] {
            fs::create_dir_all(folder)?;
        }
        self.seed(target, &corpus)?;
        let mut prefix = artifacts.clone().into_os_string();
        prefix.push("/");
        let before = files_in(&artifacts)?;
        println!("\n==> {target}, {} s", self.arguments.seconds);
        let mut command = self.cargo();
        command.args(["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", &self.arguments.sanitizer]);
        command.arg("--target-dir").arg(self.folder.join("build"));
        command.arg(target).arg(&corpus).arg("--");
        command.arg(format!("-max_total_time={}", self.arguments.seconds));
        command.arg(format!("-timeout={TIMEOUT}")).arg(format!("-rss_limit_mb={MEMORY}"));
        command.arg(format!("-max_len={LONGEST}")).args(["-print_final_stats=1", "-len_control=20"]);
        if self.arguments.jobs > 1 {
            command.arg(format!("-fork={}", self.arguments.jobs));
        }
        let mut exact = std::ffi::OsString::from("-artifact_prefix=");
        exact.push(&prefix);
        command.arg(exact).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run cargo fuzz")?;
        let output = child.stderr.take().context("cargo fuzz has no output")?;
        let summary = Summary::read(BufReader::new(output));
        let status = child.wait()?;
        println!("{target}: {} executions, {} edges covered", summary.executions, summary.coverage);
        let found: Vec<PathBuf> =
            files_in(&artifacts)?.into_iter().filter(|file| !before.contains(file)).collect();
        for file in &found {
            println!("FOUND: {}", file.display());
            println!("  replay: target/smoke/smoke replay {target} {}", file.display());
            println!("  keep:   cp {} fixtures/crashes/{target}/WHAT-IT-IS.bin", file.display());
        }
        if found.is_empty() && !status.success() {
            print!("{}", summary.tail.join("\n"));
            bail!("cargo fuzz failed for {target}: {status}");
        }
        if !found.is_empty() {
            println!("{}", summary.tail.join("\n"));
        }
        Ok(found.is_empty())
    }

    /// Golden frames, and every crash there ever was.
    fn seed(&self, target: &str, corpus: &Path) -> anyhow::Result<()> {
        if target == ORACLE {
            for (side, like) in [(0, "request"), (1, "response")] {
                let folder = self.folder.join("seeds").join(like);
                self.write_seeds(like, &folder)?;
                for file in files_in(&folder)? {
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let seed = [&[side][..], &fs::read(&file)?].concat();
                    fs::write(corpus.join(format!("{like}-{name}")), seed)?;
                }
            }
            return Ok(());
        }
        self.write_seeds(target, corpus)?;
        let crashes = crate::workspace_root().join("fixtures/crashes").join(target);
        if crashes.is_dir() {
            for file in files_in(&crashes)? {
                fs::copy(&file, corpus.join(file.file_name().unwrap_or_default()))?;
            }
        }
        Ok(())
    }

    fn write_seeds(&self, target: &str, folder: &Path) -> anyhow::Result<()> {
        let status = Command::new(&self.binary).args(["seeds", target]).arg(folder).status()?;
        ensure!(status.success(), "no seeds for {target}");
        Ok(())
    }
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// What libFuzzer says of a run.
#[derive(Default)]
struct Summary {
    executions: u64,
    coverage: u64,
    /// The last lines, which say what was found.
    tail: Vec<String>,
}

impl Summary {
    const TAIL: usize = 40;

    fn read(output: impl BufRead) -> Self {
        let mut summary = Self::default();
        for line in output.lines().map_while(Result::ok) {
            summary.note(&line);
            if summary.tail.len() == Self::TAIL {
                summary.tail.remove(0);
            }
            summary.tail.push(line);
        }
        summary
    }

    fn note(&mut self, line: &str) {
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok());
        if let Some(executions) = number(line.strip_prefix("stat::number_of_executed_units:")) {
            self.executions = executions;
        }
        let mut words = line.split_whitespace();
        if let Some(executions) = words.next().and_then(|word| number(word.strip_prefix('#'))) {
            self.executions = self.executions.max(executions);
        }
        if let Some(coverage) = words.find(|word| *word == "cov:").and_then(|_| number(words.next())) {
            self.coverage = coverage;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_numbers_count() {
        let output = "#2\tINITED cov: 11 ft: 12 corp: 1/1b exec/s: 0 rss: 40Mb\n\
                      #900\tDONE   cov: 1500 ft: 9000 corp: 300/90Kb lim: 4096 exec/s: 30 rss: 99Mb\n\
                      stat::number_of_executed_units: 901\n";
        let summary = Summary::read(output.as_bytes());
        assert_eq!((summary.executions, summary.coverage), (901, 1500));
    }
}
