//! What a connection is allowed.

use std::time::Duration;

use milena_cluster::Backoff;
use milena_protocol::wire::ByteString;
use thiserror::Error;

#[cfg(feature = "socks5")]
use crate::Socks5;
#[cfg(feature = "_tls")]
use crate::Tls;
use crate::{Dial, Observer, Sasl};

/// How connections are made and what they may take.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Shown in the broker's logs and quotas (`client.id`).
    pub client_id: ByteString,
    /// How long resolving, connecting and agreeing on versions may take together at the first try
    /// (`socket.connection.setup.timeout.ms`).
    pub setup_timeout: Duration,
    /// Each failure in a row doubles that for the next try, up to this, or to three times the first (`socket.connection.setup.timeout.max.ms`, KIP-601):
    /// a network that is slow only needs more time, one that swallows everything should not take much of it.
    pub max_setup_timeout: Option<Duration>,
    /// A connection over which nothing was asked for so long is closed (`connections.max.idle.ms`); [`Duration::MAX`] keeps
    /// it. Brokers close idle connections too, after ten minutes unless they are set up otherwise, and a request that
    /// crosses that is lost: this is to come first.
    pub max_idle: Duration,
    /// After so long without a sign of the peer the system asks for one (TCP keep-alive): what stands in between and forgets
    /// idle connections without telling, as load balancers do after some minutes, goes on knowing this one. `None` does
    /// not ask.
    pub keepalive: Option<Duration>,
    /// How long bytes may stay unacknowledged before the system ends the connection (`TCP_USER_TIMEOUT`). Linux only;
    /// elsewhere the timeouts of requests do. `None` leaves it to the system, which gives up after a quarter of an hour.
    pub user_timeout: Option<Duration>,
    /// When metadata was asked for in vain for so long, the brokers that were known are forgotten, and the bootstrap
    /// addresses asked again (`metadata.recovery.rebootstrap.trigger.ms`, KIP-1102). [`Duration::MAX`] never does.
    pub rebootstrap_after: Duration,
    /// The longest frame taken from a broker, in bytes. It must exceed what a fetch may ask for.
    pub max_frame_len: usize,
    /// The waits before a broker that could not be reached is tried again (`reconnect.backoff.ms` and
    /// `reconnect.backoff.max.ms`).
    pub reconnect_backoff: Backoff,
    /// What the spread of those waits is drawn from.
    pub seed: u64,
    /// Who is told what connections do; nobody when there is nothing here.
    pub observer: Option<Observer>,
    /// How byte streams are made; TCP when there is nothing here.
    pub dial: Option<Dial>,
    /// The proxy that connects to brokers; this machine does when there is nothing here.
    #[cfg(feature = "socks5")]
    pub socks5: Option<Socks5>,
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
    /// Whether names of brokers are resolved on this side.
    pub(crate) fn resolves_here(&self) -> bool {
        #[cfg(feature = "socks5")]
        let is_direct = self.socks5.is_none();
        #[cfg(not(feature = "socks5"))]
        let is_direct = true;
        is_direct && self.dial.is_none()
    }

    /// How long the next try to connect may take, after so many failures in a row.
    pub(crate) fn patience(&self, failures: u32) -> Duration {
        let first = self.setup_timeout;
        let most = self.max_setup_timeout.unwrap_or(first.saturating_mul(3));
        first.saturating_mul(1 << failures.min(16)).min(most.max(first))
    }

    /// Refuses settings that would give a secret away, and logs a warning of logins that make guessing cheap.
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
            Some(sasl) if !is_encrypted => {
                // Who listens can guess a weak password from a proof of SCRAM, and read and change all that follows.
                tracing::warn!(
                    mechanism = sasl.mechanism(),
                    "a login without TLS: others can listen and guess"
                );
                Ok(())
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
            max_setup_timeout: None,
            max_idle: Duration::from_secs(9 * 60),
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(30)),
            rebootstrap_after: Duration::from_secs(5 * 60),
            max_frame_len: 100 << 20,
            reconnect_backoff: Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1) },
            seed: 0,
            observer: None,
            dial: None,
            #[cfg(feature = "socks5")]
            socks5: None,
            #[cfg(feature = "_tls")]
            tls: None,
            sasl: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C6 (KIP-601).
    #[test]
    fn the_time_for_connecting_doubles_up_to_its_bound() {
        let seconds = Duration::from_secs;
        for (most, expected) in [(None, [4, 8, 12, 12]), (Some(5), [4, 5, 5, 5]), (Some(1), [4, 4, 4, 4])] {
            let max_setup_timeout = most.map(seconds);
            let config =
                ConnectionConfig { setup_timeout: seconds(4), max_setup_timeout, ..Default::default() };
            assert_eq!([0, 1, 2, u32::MAX].map(|failures| config.patience(failures)), expected.map(seconds));
        }
    }
}
