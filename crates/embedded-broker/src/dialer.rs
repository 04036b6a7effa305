//! Connections within the process, without sockets.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{io::DuplexStream, task::JoinSet};

use crate::listener::Listening;

/// Bytes that a connection holds in either direction until they are read: about what the kernel gives a socket.
const IN_FLIGHT: usize = 256 << 10;

/// Opens connections to embedded brokers within the process: no ports, no kernel, and nothing that a paused clock would
/// not wait for. Cloning gives another handle to the same brokers; they end with the
/// [`EmbeddedBroker`](crate::EmbeddedBroker), not with the last dialer.
#[derive(Clone)]
pub struct Dialer {
    doors: Arc<[Door]>,
    connections: Weak<Connections>,
}

/// Tasks that serve a connection each. They end with the owner.
pub(crate) type Connections = Mutex<JoinSet<()>>;

/// A broker by the address that clients are told.
pub(crate) struct Door {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) listening: Listening,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = self.doors.iter().map(|door| format!("{}:{}", door.host, door.port));
        f.debug_list().entries(doors).finish()
    }
}

impl Dialer {
    pub(crate) fn new(doors: Vec<Door>, connections: &Arc<Connections>) -> Self {
        Self { doors: doors.into(), connections: Arc::downgrade(connections) }
    }

    /// Connects to the broker that is advertised as `host:port`. To be called within the runtime of tokio that is to
    /// serve the connection.
    ///
    /// # Errors
    /// `NotFound` when no broker has the address, `ConnectionRefused` when it is stopped, has too many connections or was
    /// shut down.
    pub fn dial(&self, host: &str, port: u16) -> io::Result<DuplexStream> {
        let mut doors = self.doors.iter();
        let door = doors.find(|door| door.host == host && door.port == port);
        let door = door.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no embedded broker is called {host}:{port}"))
        })?;
        let refused =
            || io::Error::new(io::ErrorKind::ConnectionRefused, "the embedded broker is stopped or full");
        let connections = self.connections.upgrade().ok_or_else(refused)?;
        if *door.listening.closing.borrow() {
            return Err(refused());
        }
        let accepted = door.listening.accept().ok_or_else(refused)?;
        let (near, far) = tokio::io::duplex(IN_FLIGHT);
        let (reader, writer) = tokio::io::split(far);
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        connections.spawn(accepted.serve(reader, writer));
        Ok(near)
    }
}
