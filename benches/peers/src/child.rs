//! Processes that are waited for with a bound.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::interrupt::Interrupt;

const POLL: Duration = Duration::from_millis(20);

/// Runs a command and returns what it printed. Its errors go to a file in `folder`, the end of which is told when it
/// fails.
pub(crate) fn output(
    command: &mut Command,
    folder: &Path,
    limit: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<String> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let stop = interrupt.check().and_then(|()| {
            ensure!(
                Instant::now() < deadline,
                "{name} did not end within {} s:\n{}",
                limit.as_secs(),
                tail(&err)
            );
            Ok(())
        });
        if stop.is_err() {
            end(&mut child);
            stop?;
        }
        pause();
    };
    if !status.success() {
        bail!("{name} failed ({status}):\n{}", tail(&err));
    }
    Ok(fs::read_to_string(out)?)
}

/// Kills a process and waits until it is gone. One that has ended is no error.
pub(crate) fn end(child: &mut Child) {
    // Fails only where there is nothing left to kill.
    let _ = child.kill();
    let _ = child.wait();
}

/// The time between two looks at a process.
pub(crate) fn pause() {
    std::thread::sleep(POLL);
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 12;
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
