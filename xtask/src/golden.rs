//! `cargo xtask golden`: golden vectors from Kafka's own classes; see fixtures/README.md.
//!
//! The program is `protocol-tests/java`. It runs on the jars that the cluster runs on.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::cluster::{Cluster, DEFAULT_COMPOSE_FILE, jars, process};
use crate::interrupt::Interrupt;

/// Compiling and running take seconds; this bounds what is stuck.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the values are drawn from: the same seed gives the same file.
    #[arg(long)]
    seed: i64,
    /// The folder to write `vectors-seedN.jsonl.gz` into, or to compare with.
    #[arg(long, default_value = "fixtures/golden")]
    out: PathBuf,
    /// Writes nothing; fails when the file in the folder differs from what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let begin = Instant::now();
    let interrupt = Interrupt::install()?;
    let root = crate::workspace_root();
    let jars = Cluster::open(&root.join(DEFAULT_COMPOSE_FILE), true, interrupt.clone())?.jars()?;
    // Of its own, so that two runs do not meet.
    let work = root.join("target/golden").join(std::process::id().to_string());
    fs::create_dir_all(&work)?;
    let outcome = write_lines(&root, &jars, &work, arguments.seed, &interrupt)
        .and_then(|lines| use_lines(arguments, &root.join(&arguments.out), &lines));
    fs::remove_dir_all(&work)?;
    outcome?;
    eprintln!("done after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Compiles and runs the program; the file with its lines.
fn write_lines(
    root: &Path,
    jars: &Path,
    work: &Path,
    seed: i64,
    interrupt: &Interrupt,
) -> anyhow::Result<PathBuf> {
    let java = jars::java()?;
    let all_jars = jars.join("*").into_os_string();
    let classes = work.join("classes");
    let mut compile = Command::new(java.with_file_name("javac"));
    compile.args(["-encoding", "UTF-8", "-d"]).arg(&classes).arg("-cp").arg(&all_jars).args(sources(root)?);
    run_java(compile, Stdio::null(), interrupt)?;
    let lines = work.join("lines");
    let mut class_path = classes.into_os_string();
    class_path.push(if cfg!(windows) { ";" } else { ":" });
    class_path.push(&all_jars);
    let mut program = Command::new(java);
    program.args(["-Xmx512m", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"]);
    program.arg("-cp").arg(class_path).arg("golden.GoldenVectors").arg(seed.to_string());
    run_java(program, File::create(&lines)?.into(), interrupt)?;
    Ok(lines)
}

fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("protocol-tests/java/golden");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "java"));
    files.sort();
    Ok(files)
}

fn run_java(mut command: Command, stdout: Stdio, interrupt: &Interrupt) -> anyhow::Result<()> {
    let name: OsString = command.get_program().into();
    let name = name.to_string_lossy();
    let mut child = match command.stdin(Stdio::null()).stdout(stdout).spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{name} is missing; install it with: apt-get install -y openjdk-17-jdk-headless")
        }
        child => child.with_context(|| format!("cannot run {name}"))?,
    };
    let status = process::wait(&mut child, LIMIT, interrupt).with_context(|| name.clone().into_owned())?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// Writes the lines to their file in `folder`, or compares them with it.
fn use_lines(arguments: &Arguments, folder: &Path, lines: &Path) -> anyhow::Result<()> {
    let file = folder.join(format!("vectors-seed{}.jsonl.gz", arguments.seed));
    let new = BufReader::new(File::open(lines)?);
    if arguments.check {
        let old = File::open(&file).with_context(|| format!("reading {}", file.display()))?;
        let old = BufReader::new(MultiGzDecoder::new(BufReader::new(old)));
        let count = compare(old, new).with_context(|| format!("comparing with {}", file.display()))?;
        eprintln!("{count} lines, the same as in {}", file.display());
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    compress(new, &file)?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

/// The encoder's default header has neither a time nor a name, so that the same lines give the same file. The file gets
/// its name when it is whole.
fn compress(mut lines: impl BufRead, file: &Path) -> anyhow::Result<()> {
    let partial = file.with_extension("partial");
    let mut encoder = GzEncoder::new(BufWriter::new(File::create(&partial)?), Compression::best());
    io::copy(&mut lines, &mut encoder)?;
    encoder.finish()?.flush()?;
    fs::rename(&partial, file)?;
    Ok(())
}

/// How many lines there are, when both have the same.
fn compare(old: impl BufRead, new: impl BufRead) -> anyhow::Result<usize> {
    let (mut old, mut new) = (old.lines(), new.lines());
    for number in 0.. {
        match (old.next().transpose()?, new.next().transpose()?) {
            (None, None) => return Ok(number),
            (Some(old), Some(new)) if old == new || comparable(&old)? == comparable(&new)? => {}
            (old, new) => bail!(
                "line {} differs:\n  committed: {}\n  made anew: {}",
                number + 1,
                old.as_deref().unwrap_or("(none)"),
                new.as_deref().unwrap_or("(none)")
            ),
        }
    }
    Ok(0)
}

/// What must be the same wherever the program runs. The compressed bytes of a batch need not be: gzip's are those of the
/// zlib that Java was built with.
fn comparable(line: &str) -> anyhow::Result<Value> {
    let mut line: Value = serde_json::from_str(line)?;
    let is_compressed = line.get("codec").is_some_and(|codec| codec != "none");
    if let (true, Some(fields)) = (is_compressed, line.as_object_mut()) {
        fields.remove("hex");
        let batches = fields.get_mut("batches").and_then(Value::as_array_mut);
        for batch in batches.into_iter().flatten().filter_map(Value::as_object_mut) {
            batch.remove("crc");
            batch.remove("sizeInBytes");
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"kind":"batch","codec":"none","hex":"01","batches":[{"crc":1,"count":2}]}"#;
    const GZIP: &str = r#"{"kind":"batch","codec":"gzip","hex":"01","batches":[{"crc":1,"count":2}]}"#;

    fn compare_text(old: &str, new: &str) -> anyhow::Result<usize> {
        compare(old.as_bytes(), new.as_bytes())
    }

    #[test]
    fn only_compressed_bytes_may_differ() {
        let other = |line: &str| line.replace("01", "02").replace("\"crc\":1", "\"crc\":7");
        assert_eq!(compare_text(&format!("{PLAIN}\n{GZIP}\n"), &format!("{PLAIN}\n{GZIP}\n")).unwrap(), 2);
        assert_eq!(compare_text(GZIP, &other(GZIP)).unwrap(), 1);
        assert!(compare_text(GZIP, &GZIP.replace("\"count\":2", "\"count\":3")).is_err());
        assert!(compare_text(PLAIN, &other(PLAIN)).is_err());
    }

    #[test]
    fn a_line_more_or_less_is_a_difference() {
        let error = compare_text(&format!("{PLAIN}\n{GZIP}\n"), PLAIN).unwrap_err().to_string();
        assert!(error.starts_with("line 2 differs") && error.contains("made anew: (none)"), "{error}");
        assert!(compare_text("", PLAIN).is_err());
    }
}
