//! What a connection is allowed.

use std::time::Duration;

use milena_cluster::Backoff;
use milena_protocol::wire::ByteString;

use crate::Dial;

/// How connections are made and what they may take.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Shown in the broker's logs and quotas (`client.id`).
    pub client_id: ByteString,
    /// How long resolving, connecting and agreeing on versions may take together
    /// (`socket.connection.setup.timeout.ms`).
    pub setup_timeout: Duration,
    /// The longest frame taken from a broker, in bytes. It must exceed what a fetch may ask for.
    pub max_frame_len: usize,
    /// The waits before a broker that could not be reached is tried again (`reconnect.backoff.ms` and
    /// `reconnect.backoff.max.ms`).
    pub reconnect_backoff: Backoff,
    /// What the spread of those waits is drawn from.
    pub seed: u64,
    /// How byte streams are made; TCP when there is nothing here.
    pub dial: Option<Dial>,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: ByteString::from_static("milena"),
            setup_timeout: Duration::from_secs(10),
            max_frame_len: 100 << 20,
            reconnect_backoff: Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1) },
            seed: 0,
            dial: None,
        }
    }
}
