//! Another implementation of Avro, for the tests that hold ours against it: Python's fastavro, in an environment of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{cluster::process, interrupt::Interrupt};

const VERSION: &str = "1.13.1";

/// It takes seconds; this bounds a stuck one.
const LIMIT: Duration = Duration::from_secs(180);

/// A Python that has fastavro, under `target`. Pip fetches it once.
pub(super) fn python(root: &Path, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/fastavro").join(VERSION);
    let python = folder.join("bin/python");
    let is_there = |interrupt: &Interrupt| {
        let mut import = Command::new(&python);
        import.args(["-c", &format!("import fastavro; assert fastavro.__version__ == '{VERSION}'")]);
        run(import, &folder, interrupt)
    };
    if python.exists() && is_there(interrupt).is_ok() {
        return Ok(python);
    }
    fs::create_dir_all(&folder)?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    run(make, &folder, interrupt)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.arg(format!("fastavro=={VERSION}"));
    run(install, &folder, interrupt)?;
    is_there(interrupt)?;
    Ok(python)
}

fn run(mut command: Command, folder: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
    let log_path = folder.with_file_name(format!("{VERSION}.log"));
    let log = File::create(&log_path)?;
    let program = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let status = process::wait(&mut child, LIMIT, interrupt).with_context(|| program.clone())?;
    ensure!(status.success(), "{program}: {}", fs::read_to_string(&log_path).unwrap_or_default().trim());
    Ok(())
}
