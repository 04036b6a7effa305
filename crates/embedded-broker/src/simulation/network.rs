//! A network between clients and brokers that takes its time, stalls and breaks.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split},
    sync::Notify,
    time::{Instant, sleep},
};

use super::{faults::Faults, world::Log};
use crate::{Dialer, core::random::Random};

/// Bytes under way in one direction.
const IN_FLIGHT: usize = 256 << 10;
/// The most that travels together.
const MESSAGE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Network {
    faults: Faults,
    /// When the faults are over.
    calm: Instant,
    dialer: Dialer,
    log: Log,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    connections: u64,
}

/// What becomes of a message.
enum Fate {
    Arrives(Duration),
    Breaks,
}

impl Network {
    pub(super) fn new(seed: u64, faults: Faults, begin: Instant, dialer: Dialer, log: Log) -> Self {
        let state = State { random: Random::new(seed ^ 0x6e65), connections: 0 };
        Self { faults, calm: begin + faults.lasting, dialer, log, state: Mutex::new(state) }
    }

    /// A stream to a broker; both directions travel over this network until either end has enough.
    pub(super) async fn dial(self: &Arc<Self>, host: &str, port: u16) -> io::Result<DuplexStream> {
        let connection = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            state.connections
        };
        match self.fate() {
            Fate::Arrives(after) => sleep(after).await,
            Fate::Breaks => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        let broker = self.dialer.dial(host, port)?;
        self.log.line(format_args!("connection {connection} to {host}:{port}"));
        let (client, inner) = tokio::io::duplex(IN_FLIGHT);
        let (from_client, to_client) = split(inner);
        let (from_broker, to_broker) = split(broker);
        let broken = Arc::new(Notify::new());
        for (from, to, is_request) in [(from_client, to_broker, true), (from_broker, to_client, false)] {
            let way = Way { network: Arc::clone(self), connection, is_request };
            tokio::spawn(way.travel(from, to, Arc::clone(&broken)));
        }
        Ok(client)
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let random = &mut state.random;
        let latency = random.up_to(self.faults.latency);
        if Instant::now() >= self.calm {
            return Fate::Arrives(latency);
        }
        if self.faults.one_breaks_in > 0 && random.one_in(self.faults.one_breaks_in) {
            return Fate::Breaks;
        }
        if self.faults.one_stalls_in > 0 && random.one_in(self.faults.one_stalls_in) {
            return Fate::Arrives(random.up_to(self.faults.stall));
        }
        Fate::Arrives(latency)
    }
}

/// One direction of a connection.
struct Way {
    network: Arc<Network>,
    connection: u64,
    is_request: bool,
}

impl Way {
    /// Moves bytes until one end has enough or the connection breaks. It ends both directions.
    async fn travel(
        self,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        broken: Arc<Notify>,
    ) {
        let moving = async {
            let mut message = Vec::with_capacity(MESSAGE);
            loop {
                message.clear();
                if !matches!((&mut from).take(MESSAGE as u64).read_buf(&mut message).await, Ok(1..)) {
                    return;
                }
                self.network.log.sent(self.connection, self.is_request);
                match self.network.fate() {
                    Fate::Arrives(after) => {
                        if after > self.network.faults.latency {
                            self.log(format_args!("stalls for {after:?}"));
                        }
                        sleep(after).await;
                    }
                    Fate::Breaks => return self.log("breaks"),
                }
                if to.write_all(&message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = broken.notified() => {}
            () = moving => broken.notify_one(),
        }
    }

    fn log(&self, what: impl std::fmt::Display) {
        let way = if self.is_request { "to the broker" } else { "to the client" };
        self.network.log.fault(format_args!("connection {} {what} on the way {way}", self.connection));
    }
}
