//! How far a connection has come.

use std::fmt;

/// The steps from an address to an answer, in their order. What fails at one has got through those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The host's name was being resolved.
    Dns,
    /// The TCP connection was being made, to the broker or to a proxy.
    Tcp,
    /// The SOCKS5 proxy was being asked to connect.
    Proxy,
    /// The TLS handshake was under way, or was to begin.
    Tls,
    /// The broker was being asked for the versions that it speaks: the first request on every connection.
    ApiVersions,
    /// The client was saying who it is.
    Sasl,
    /// The connection was made, and in use.
    Requests,
}

impl Stage {
    /// Its name, as in texts and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
            Self::ApiVersions => "ApiVersions",
            Self::Sasl => "SASL",
            Self::Requests => "requests",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
