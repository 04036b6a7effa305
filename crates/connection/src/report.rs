//! What a client's connections do, and what went wrong with them last.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use milena_cluster::{counted, milliseconds};
use milena_protocol::ApiKey;
use tokio::time::Instant;

use crate::{
    Network, Stage,
    connection::Connection,
    network::{Destination, Slot, SlotKey, SlotState},
    open_requests::Broken,
};

/// What a client's connections do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NetworkReport {
    /// The bootstrap addresses.
    pub bootstrap: Vec<String>,
    /// Where brokers listen, by their ids, as the cluster advertises it.
    pub brokers: BTreeMap<i32, String>,
    /// How many times all brokers were forgotten and the bootstrap addresses asked again.
    pub rebootstraps: u64,
    /// The connections, and those that could not be made.
    pub connections: Vec<ConnectionReport>,
}

/// A connection, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectionReport {
    /// Where it leads.
    pub address: String,
    /// The broker's id; none of a bootstrap address.
    pub broker: Option<i32>,
    /// What is asked over it.
    pub purpose: Purpose,
    /// Whose it is: a producer or consumer has a number of its own, zero is what all share.
    pub lane: u64,
    /// How it is.
    pub state: ConnectionState,
    /// Failures to connect in a row.
    pub failures: u32,
    /// What went wrong last, however long ago.
    pub last_error: Option<LastError>,
    /// The version that is used of each API, once the broker has told.
    pub versions: BTreeMap<&'static str, i16>,
}

/// What is asked over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Purpose {
    /// What any broker can answer, of one whose id is not known.
    Bootstrap,
    /// Records; in lane zero what any broker can answer.
    Requests,
    /// What only the coordinator of a group or transaction can answer.
    Coordinator,
}

/// How a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "is", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ConnectionState {
    /// It can be used.
    Connected {
        /// Requests without an answer.
        in_flight: usize,
        /// The API of the oldest of them.
        oldest: Option<&'static str>,
        /// How long its answer may still take, in milliseconds.
        oldest_left_ms: Option<u64>,
        /// For how long the broker wants to hear nothing (KIP-219), in milliseconds.
        throttled_ms: Option<u64>,
    },
    /// It is being made.
    Connecting {
        /// Requests that wait for it.
        waiting: usize,
    },
    /// It could not be made, and is not tried again before that.
    BackingOff {
        /// The wait that is left, in milliseconds.
        left_ms: u64,
    },
    /// It is made when it is needed.
    Closed,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastError {
    /// How far the connection had come.
    #[cfg_attr(feature = "serde", serde(serialize_with = "stage_name"))]
    pub stage: Stage,
    /// What happened, with the address.
    pub cause: String,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}

#[cfg(feature = "serde")]
fn stage_name<S: serde::Serializer>(stage: &Stage, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(stage.name())
}

/// What every client asks: the versions of these are in the text.
const USUAL: [ApiKey; 6] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::InitProducerId,
];

impl Network {
    /// What the connections do, and what went wrong with them last.
    #[must_use]
    pub fn report(&self) -> NetworkReport {
        let shared = self.shared();
        let now = Instant::now();
        let book = shared.address_book();
        NetworkReport {
            bootstrap: shared.bootstrap().iter().map(ToString::to_string).collect(),
            brokers: book.brokers().into_iter().map(|(id, address)| (id.0, address.to_string())).collect(),
            rebootstraps: book.edition(),
            connections: shared.with_slots(|key, slot| report(now, key, slot)),
        }
    }

    /// The number of this handle's lane in a [report](Self::report).
    #[must_use]
    pub fn lane_number(&self) -> u64 {
        self.own_lane()
    }
}

fn report(now: Instant, key: &SlotKey, slot: &Slot) -> ConnectionReport {
    let (broker, purpose) = match &key.to {
        Destination::Bootstrap(_) => (None, Purpose::Bootstrap),
        Destination::Broker(id) => (Some(id.0), Purpose::Requests),
        Destination::Coordinator(id) => (Some(id.0), Purpose::Coordinator),
    };
    let (mut last, mut versions) = (slot.last.clone(), BTreeMap::new());
    let state = match &slot.state {
        SlotState::Closed => ConnectionState::Closed,
        SlotState::Failed { until, .. } if *until > now => {
            ConnectionState::BackingOff { left_ms: milliseconds(until.saturating_duration_since(now)) }
        }
        SlotState::Failed { .. } => ConnectionState::Closed,
        SlotState::Opening(queue) => ConnectionState::Connecting { waiting: queue.len() },
        SlotState::Open(connection) => {
            let broken = connection.broken();
            last = broken.clone().filter(|broken| !broken.is_planned).or(last);
            versions = connection.versions().chosen();
            if broken.is_some() { ConnectionState::Closed } else { connected(connection) }
        }
    };
    ConnectionReport {
        address: slot.address.to_string(),
        broker,
        purpose,
        lane: key.lane,
        state,
        failures: slot.failures,
        last_error: last.map(|broken| last_error(now, broken)),
        versions,
    }
}

fn connected(connection: &Connection) -> ConnectionState {
    let oldest = connection.oldest();
    ConnectionState::Connected {
        in_flight: connection.in_flight(),
        oldest: oldest.map(|(api, _)| api.name()),
        oldest_left_ms: oldest.map(|(_, left)| milliseconds(left)),
        throttled_ms: connection.muted_for().map(milliseconds),
    }
}

fn last_error(now: Instant, broken: Broken) -> LastError {
    let ago: Duration = now.saturating_duration_since(broken.at);
    LastError { stage: broken.stage, cause: broken.cause.to_string(), ago_ms: milliseconds(ago) }
}

impl NetworkReport {
    /// Its text, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let brokers: Vec<_> =
            self.brokers.iter().map(|(id, address)| format!("broker {id} at {address}")).collect();
        let known = if brokers.is_empty() { "no broker is known".to_owned() } else { brokers.join(", ") };
        let head = format!("bootstrap {}; {known}", self.bootstrap.join(", "));
        let mut told = BTreeSet::new();
        let connections = self.connections.iter().map(|connection| {
            // What a broker speaks it speaks over every connection.
            let is_news = !connection.versions.is_empty() && told.insert(&connection.address);
            let versions = if is_news { connection.usual_versions() } else { String::new() };
            format!("{connection}{versions}")
        });
        std::iter::once(head).chain(connections).collect()
    }

    /// What went wrong last with a broker, unless a connection to it has been made since.
    #[must_use]
    pub fn trouble_with(&self, broker: i32) -> Option<&LastError> {
        let of_broker = self.connections.iter().filter(|connection| connection.broker == Some(broker));
        let troubled = of_broker.filter(|connection| connection.failures > 0);
        troubled.filter_map(|connection| connection.last_error.as_ref()).min_by_key(|error| error.ago_ms)
    }
}

impl fmt::Display for NetworkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl ConnectionReport {
    fn usual_versions(&self) -> String {
        let usual = USUAL.iter().filter_map(|api| Some((api.name(), self.versions.get(api.name())?)));
        let versions: Vec<_> = usual.map(|(name, version)| format!("{name} {version}")).collect();
        format!("; speaks {}", versions.join(", "))
    }
}

impl fmt::Display for ConnectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.purpose, self.broker) {
            (Purpose::Coordinator, Some(id)) => write!(f, "broker {id} as coordinator")?,
            (_, Some(id)) => write!(f, "broker {id}")?,
            (_, None) => f.write_str("bootstrap")?,
        }
        if self.lane > 0 {
            write!(f, " for {}", self.lane)?;
        }
        write!(f, ", {}: {}", self.address, self.state)?;
        if self.failures > 0 {
            let failures = usize::try_from(self.failures).unwrap_or(usize::MAX);
            write!(f, ", {} in a row", counted(failures, "failure", "failures"))?;
        }
        match &self.last_error {
            Some(error) => write!(f, "; {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { in_flight, oldest, oldest_left_ms, throttled_ms } => {
                write!(f, "connected, {} in flight", counted(*in_flight, "request", "requests"))?;
                if let (Some(api), Some(left)) = (oldest, oldest_left_ms) {
                    write!(f, ", {api} with {left} ms left")?;
                }
                match throttled_ms {
                    Some(left) => write!(f, ", throttled for {left} ms"),
                    None => Ok(()),
                }
            }
            Self::Connecting { waiting } => {
                write!(f, "being connected for {}", counted(*waiting, "request", "requests"))
            }
            Self::BackingOff { left_ms } => write!(f, "not connected, tried again in {left_ms} ms"),
            Self::Closed => f.write_str("not connected"),
        }
    }
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last error {} ms ago at the stage {}: {}", self.ago_ms, self.stage, self.cause)
    }
}
