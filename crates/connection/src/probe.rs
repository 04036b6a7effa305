//! One address tried on purpose, to tell how far one gets.

use std::{collections::BTreeMap, time::Duration};

use milena_cluster::milliseconds;
use tokio::{net::lookup_host, time::Instant};

use crate::{Address, ConnectionError, LastError, Network, Stage, connection::Connection};

/// What became of a connection that was made to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Probe {
    /// Where it was to lead.
    pub address: String,
    /// What the name was resolved to; nothing where this side does not resolve names: behind a proxy, or without TCP.
    pub resolved: Vec<String>,
    /// How long it took in all, in milliseconds.
    pub took_ms: u64,
    /// The version that would be used of each API.
    pub versions: BTreeMap<&'static str, i16>,
    /// What went wrong, if anything.
    pub error: Option<LastError>,
}

impl Network {
    /// Connects to an address as for a request, tells what became of it and closes the connection.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection.
    pub async fn probe(&self, address: &Address) -> Probe {
        let begin = Instant::now();
        let config = self.shared().config();
        let timeout = config.setup_timeout;
        let resolved = if config.resolves_here() { resolve(address, timeout).await } else { Ok(Vec::new()) };
        let (resolved, opened) = match resolved {
            Ok(resolved) => (resolved, Connection::open(address, config, timeout).await),
            Err(error) => (Vec::new(), Err(error)),
        };
        let (versions, error) = match opened {
            Ok(connection) => (connection.versions().chosen(), None),
            Err(error) => (BTreeMap::new(), Some((error.stage(), error.to_string()))),
        };
        Probe {
            address: address.to_string(),
            resolved,
            took_ms: milliseconds(begin.elapsed()),
            versions,
            error: error.map(|(stage, cause)| LastError { stage, cause, ago_ms: 0 }),
        }
    }
}

async fn resolve(address: &Address, timeout: Duration) -> Result<Vec<String>, ConnectionError> {
    let found = tokio::time::timeout(timeout, lookup_host((address.host.as_str(), address.port)));
    let overdue = |_| ConnectionError::SetupTimeout(timeout).at(Stage::Dns);
    let found = found.await.map_err(overdue)?.map_err(ConnectionError::Resolve)?;
    Ok(found.map(|found| found.ip().to_string()).collect())
}
