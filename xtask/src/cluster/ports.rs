//! Keeps the brokers' ports free for the brokers.
//!
//! The published ports lie in the range from which the kernel takes the local ports of outgoing connections. A
//! connection that got one, even a closed one for a minute, keeps the broker from listening.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::process;
use crate::interrupt::Interrupt;

/// Linux remembers a closed connection for 60 s.
const CLOSED_LIMIT: Duration = Duration::from_secs(70);

const POLL: Duration = Duration::from_millis(250);

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Asks the kernel not to give `listeners`' ports to outgoing connections. Only root may; everybody else goes without.
pub(crate) fn reserve(listeners: &[SocketAddr]) {
    let Ok(reserved) = fs::read_to_string(RESERVED) else { return };
    if let Some(list) = with_ports(reserved.trim(), listeners)
        && fs::write(RESERVED, &list).is_ok()
    {
        eprintln!(
            "reserved the brokers' ports until the next boot (net.ipv4.ip_local_reserved_ports={list})"
        );
    }
}

/// The kernel's list of ports and ranges with the missing ports added; none when none is missing.
fn with_ports(reserved: &str, listeners: &[SocketAddr]) -> Option<String> {
    let covers = |entry: &str, port: u16| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    };
    let mut list: Vec<String> =
        reserved.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    let before = list.len();
    for listener in listeners {
        if !list.iter().any(|entry| covers(entry, listener.port())) {
            list.push(listener.port().to_string());
        }
    }
    (list.len() > before).then(|| list.join(","))
}

/// Waits until `node` can listen on `address`. Fails at once when somebody else listens there.
pub(crate) fn await_free(node: &str, address: SocketAddr, interrupt: &Interrupt) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut announced = false;
    while let Err(error) = TcpListener::bind(address) {
        ensure!(error.kind() == io::ErrorKind::AddrInUse, "{node} cannot listen on {address}: {error}");
        if let Some(who) = process::listener(address) {
            bail!(
                "{node} cannot listen on {address}: {who} does. End it, or run `cargo xtask cluster down` \
                 in the checkout it belongs to"
            );
        }
        interrupt.check()?;
        ensure!(
            begin.elapsed() < CLOSED_LIMIT,
            "{node} cannot listen on {address}: a connection has it as its local port (ss -tan shows it)"
        );
        if !announced {
            eprintln!(
                "{node} waits for {address}: a connection had it as its local port, for up to a minute"
            );
            announced = true;
        }
        sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_ports_are_added_to_the_kernels_list() {
        let listeners = [41092, 9092].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for (before, after) in [
            ("", Some("41092,9092")),
            ("41092", Some("41092,9092")),
            ("80,41000-42000", Some("80,41000-42000,9092")),
            ("9092-9093,41092", None),
            ("1-65535", None),
        ] {
            assert_eq!(with_ports(before, &listeners).as_deref(), after, "{before}");
        }
    }

    #[test]
    fn a_port_somebody_listens_on_is_an_error_at_once() {
        // An address of its own, where no other test takes the port once it is free.
        let socket = TcpListener::bind("127.7.7.7:0").unwrap();
        let address = socket.local_addr().unwrap();
        let error = await_free("kafka1", address, &Interrupt::never()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (", std::process::id())), "{error}");
        drop(socket);
        // A process that another test starts has our sockets until it is what it is to be.
        let begin = Instant::now();
        while let Err(error) = await_free("kafka1", address, &Interrupt::never()) {
            assert!(begin.elapsed() < Duration::from_secs(10), "{error}");
            sleep(POLL);
        }
    }
}
