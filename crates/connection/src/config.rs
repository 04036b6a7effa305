//! What a connection is allowed.

use std::time::Duration;

use milena_cluster::Backoff;
use milena_protocol::wire::ByteString;
use thiserror::Error;

#[cfg(feature = "_tls")]
use crate::Tls;
use crate::{Dial, Sasl};

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
    /// How the streams are encrypted; not at all when there is nothing here.
    #[cfg(feature = "_tls")]
    pub tls: Option<Tls>,
    /// Who the client is; nobody asks when there is nothing here.
    pub sasl: Option<Sasl>,
}

/// A login that anybody between client and broker could read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{mechanism} without TLS shows the password or token to everybody in between; \
     set TLS up, take SCRAM, or say that it is meant with allow_in_the_clear"
)]
pub struct UnsafeLogin {
    mechanism: &'static str,
}

impl ConnectionConfig {
    /// Refuses settings that would give a secret away.
    ///
    /// # Errors
    /// When the login would be readable for others and nobody said that it may.
    pub fn validate(&self) -> Result<(), UnsafeLogin> {
        #[cfg(feature = "_tls")]
        let is_encrypted = self.tls.is_some();
        #[cfg(not(feature = "_tls"))]
        let is_encrypted = false;
        match &self.sasl {
            Some(sasl) if !is_encrypted && sasl.shows_secrets() && !sasl.is_allowed_in_the_clear => {
                Err(UnsafeLogin { mechanism: sasl.mechanism() })
            }
            _ => Ok(()),
        }
    }
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
            #[cfg(feature = "_tls")]
            tls: None,
            sasl: None,
        }
    }
}
