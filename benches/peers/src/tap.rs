//! Counts what clients receive: a forwarder between them and a listener of the broker that advertises this address.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

const CHUNK: usize = 256 << 10;

/// Forwards until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Tap {
    /// Forwards connections to the port `to` of the loopback, where somebody need not listen yet.
    pub(crate) fn start(to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tap = Self { address: listener.local_addr()?, received: Arc::default() };
        let received = Arc::clone(&tap.received);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A client whose connection cannot be forwarded sees it end.
                if let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) {
                    let _ = forward(client, broker, &received);
                }
            }
        });
        Ok(tap)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that clients were given so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, broker: TcpStream, received: &Arc<AtomicU64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (to_broker, to_client) = (broker.try_clone()?, client.try_clone()?);
    let received = Arc::clone(received);
    thread::spawn(move || copy(client, to_broker, &AtomicU64::new(0)));
    thread::spawn(move || copy(broker, to_client, &received));
    Ok(())
}

/// Passes on what comes until either side ends, and then ends the other.
fn copy(mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        if chunk.get(..length).is_none_or(|bytes| to.write_all(bytes).is_err()) {
            break;
        }
        passed.fetch_add(u64::try_from(length).unwrap_or_default(), Ordering::Relaxed);
    }
    // Whoever has ended already says so.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_sends_is_passed_on_and_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Tap::start(listener.local_addr().unwrap().port()).unwrap();
        let mut client = TcpStream::connect(tap.address()).unwrap();
        let (mut broker, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        broker.read_exact(&mut heard).unwrap();
        assert_eq!((&heard, tap.received()), (b"hello", 0));
        broker.write_all(&[7; 100_000]).unwrap();
        drop(broker);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!((answer.len(), tap.received()), (100_000, 100_000));
    }
}
