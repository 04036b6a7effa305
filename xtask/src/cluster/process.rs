//! Processes of the host: waiting for children with a bound, finding brokers, signalling them.
//!
//! A broker's process is found by its command line, which names the folder of its node. No file of process ids has
//! to be kept true, and an id that was given to another process is never mistaken for the broker's.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::Interrupt;

const POLL: Duration = Duration::from_millis(20);

/// A running process whose command line carries a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// Stopped by SIGSTOP.
    pub(crate) paused: bool,
}

/// Waits until `child` ends; kills it at the deadline and when interrupted.
pub(crate) fn wait(child: &mut Child, limit: Duration, interrupt: &Interrupt) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let overdue = Instant::now() >= deadline;
        if overdue || interrupt.is_set() {
            child.kill()?;
            child.wait()?;
            interrupt.check()?;
            bail!("did not end within {} s", limit.as_secs());
        }
        sleep(POLL);
    }
}

/// The processes one of whose arguments is `mark`. Zombies have no arguments and are not among them.
pub(crate) fn find(mark: &str) -> anyhow::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("local brokers are found through Linux's /proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end at any moment: what cannot be read has ended.
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes()) {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            found.push(Process { id, paused: run_state(&stat) == Some('T') });
        }
    }
    Ok(found)
}

/// The state letter of `/proc/ID/stat`. It follows the command's name, which may hold spaces and parentheses.
fn run_state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Sends `signal`. A process that has ended meanwhile is no error.
pub(crate) fn signal(process: Process, signal: Signal) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(process.id).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {}", process.id)),
    }
}

/// Whether a process has ended and closed all it had open.
///
/// The command line goes first, while threads that hold the sockets may still run: so a dying broker is not found any
/// more and its port accepts connections for another moment.
pub(crate) fn is_gone(process: Process) -> bool {
    let folder = format!("/proc/{}", process.id);
    let Ok(stat) = fs::read_to_string(format!("{folder}/stat")) else { return true };
    // A zombie closed its files before it became one; so did its threads that are no longer listed.
    let threads = fs::read_dir(format!("{folder}/task")).map_or(0, Iterator::count);
    matches!(run_state(&stat), Some('Z' | 'X')) && threads <= 1
}

/// The memory a process holds, in bytes.
pub(crate) fn resident_bytes(process: Process) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Who listens on `address`, if anybody does: `process 12 (java -Xmx192m …)`.
pub(crate) fn listener(address: SocketAddr) -> Option<String> {
    let inode = listening_inode(address)?;
    let link = format!("socket:[{inode}]");
    let mut processes = fs::read_dir("/proc").ok()?.flatten().filter(|entry| {
        // `self` is a process, but which?
        entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())
    });
    let holder = processes.find(|entry| {
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == link.as_str())
        })
    });
    Some(holder.map_or_else(
        || "a process of another user".to_owned(),
        |entry| format!("process {} ({})", entry.file_name().display(), command_line(&entry.path())),
    ))
}

/// The socket that listens on `address` or on its port of all addresses, from `/proc/net/tcp` and `tcp6`.
fn listening_inode(address: SocketAddr) -> Option<String> {
    const LISTEN: &str = "0A";
    let own = match address.ip() {
        std::net::IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        std::net::IpAddr::V6(_) => return None,
    };
    let mapped = format!("0000000000000000FFFF0000{own}");
    let port = format!("{:04X}", address.port());
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        fs::read_to_string(table).ok()?.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local_ip, local_port) = fields.get(1)?.split_once(':')?;
            let anywhere = local_ip.bytes().all(|digit| digit == b'0');
            let same = local_port == port && (anywhere || local_ip == own || local_ip == mapped);
            (same && *fields.get(3)? == LISTEN).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
    })
}

fn command_line(process: &Path) -> String {
    const SHOWN: usize = 160;
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let text: String = std::ffi::OsStr::from_bytes(&arguments).to_string_lossy().replace('\0', " ");
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sleeper(mark: &str) -> Child {
        Command::new("sh").args(["-c", "sleep 60 & wait", mark]).spawn().unwrap()
    }

    #[test]
    fn a_process_is_found_by_its_mark_and_its_state_followed() {
        let mark = format!("-Dmilena.test={}", std::process::id());
        assert_eq!(find(&mark).unwrap(), []);
        let mut child = sleeper(&mark);
        let process = Process { id: child.id(), paused: false };
        until(|| find(&mark).unwrap() == [process]);
        signal(process, Signal::STOP).unwrap();
        until(|| find(&mark).unwrap() == [Process { paused: true, ..process }]);
        assert!(!is_gone(process));
        signal(process, Signal::KILL).unwrap();
        until(|| is_gone(process));
        assert_eq!(find(&mark).unwrap(), []);
        child.wait().unwrap();
        assert!(is_gone(process));
        signal(process, Signal::KILL).expect("a process that has ended is no error");
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let error = wait(&mut child, Duration::ZERO, &Interrupt::never()).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn the_state_is_read_after_a_name_with_parentheses() {
        assert_eq!(run_state("12 (a) R (b) T 1 2"), Some('T'));
        assert_eq!(run_state(""), None);
    }

    #[test]
    fn whoever_listens_on_a_port_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let who = listener(socket.local_addr().unwrap()).unwrap();
        assert!(who.starts_with(&format!("process {} (", std::process::id())), "{who}");
    }

    fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "the condition did not come true");
            sleep(POLL);
        }
    }
}
