//! What a network does to all that goes through it: it is slow, narrow, cuts connections and swallows what it is given.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::{broadcast, watch};

/// More of them than a test makes happen while a connection looks elsewhere.
const EVENTS: usize = 64;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From clients to brokers.
    Up,
    /// From brokers to clients.
    Down,
}

/// How the network is, for as long as it is so. By default it does nothing to anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// How much later everything comes to brokers.
    pub latency_up: Duration,
    /// How much later everything comes to clients.
    pub latency_down: Duration,
    /// How many bytes a second go each way over a connection; as many as may be when not told.
    pub bytes_per_second: Option<u32>,
    /// In what pieces bytes arrive at most, whatever frames they are of.
    pub piece: Option<usize>,
    /// Nothing comes to brokers. What is sent meanwhile comes when it is over.
    pub is_hole_up: bool,
    /// Nothing comes to clients, not even the end of a connection.
    pub is_hole_down: bool,
}

impl Weather {
    /// A black hole: connections are taken and kept, and nothing goes through either way.
    #[must_use]
    pub fn black_hole() -> Self {
        Self { is_hole_up: true, is_hole_down: true, ..Self::default() }
    }

    /// Everything takes so long, in each direction half of it.
    #[must_use]
    pub fn round_trip(time: Duration) -> Self {
        Self { latency_up: time / 2, latency_down: time / 2, ..Self::default() }
    }

    pub(super) const fn latency(&self, way: Way) -> Duration {
        match way {
            Way::Up => self.latency_up,
            Way::Down => self.latency_down,
        }
    }

    pub(super) const fn swallows(&self, way: Way) -> bool {
        match way {
            Way::Up => self.is_hole_up,
            Way::Down => self.is_hole_down,
        }
    }
}

/// What happens to the connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Both sides get a reset.
    Reset,
    /// Whoever gets bytes by this way gets the end of them; the other way goes on.
    HalfClose(Way),
}

/// The network of all connections.
#[derive(Debug)]
pub(super) struct Sky {
    weather: watch::Sender<Forecast>,
    events: broadcast::Sender<(Option<u16>, Event)>,
}

#[derive(Clone, Debug, Default)]
struct Forecast {
    everywhere: Weather,
    of_broker: BTreeMap<u16, Weather>,
}

impl Forecast {
    fn of(&self, broker: u16) -> Weather {
        self.of_broker.get(&broker).copied().unwrap_or(self.everywhere)
    }
}

impl Default for Sky {
    fn default() -> Self {
        Self { weather: watch::Sender::default(), events: broadcast::Sender::new(EVENTS) }
    }
}

impl Sky {
    /// `broker`: only there; what is so of one broker hides what is so everywhere.
    pub(super) fn set(&self, broker: Option<u16>, weather: Weather) {
        self.weather.send_modify(|forecast| match broker {
            Some(broker) => {
                forecast.of_broker.insert(broker, weather);
            }
            None => *forecast = Forecast { everywhere: weather, of_broker: BTreeMap::new() },
        });
    }

    pub(super) fn happen(&self, broker: Option<u16>, event: Event) {
        // Without connections it happens to nobody.
        let _ = self.events.send((broker, event));
    }

    pub(super) fn over(&self, broker: u16) -> Local {
        Local { broker, weather: self.weather.subscribe(), events: self.events.subscribe() }
    }
}

/// The network as one direction of a connection meets it.
#[derive(Debug)]
pub(super) struct Local {
    broker: u16,
    weather: watch::Receiver<Forecast>,
    events: broadcast::Receiver<(Option<u16>, Event)>,
}

impl Local {
    pub(super) fn weather(&self) -> Weather {
        self.weather.borrow().of(self.broker)
    }

    /// Waits until something comes through.
    pub(super) async fn until_open(&mut self, way: Way) {
        let broker = self.broker;
        // The sender lives as long as the proxy.
        let _ = self.weather.wait_for(|forecast| !forecast.of(broker).swallows(way)).await;
    }

    /// Waits for what happens to this connection.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            match self.events.recv().await {
                Ok((broker, event)) if broker.is_none_or(|broker| broker == self.broker) => return event,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
