//! Why there is no connection, or none any more.

use std::{io, sync::Arc, time::Duration};

use milena_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode, frame::FrameError};
use thiserror::Error;

#[cfg(feature = "socks5")]
use crate::Address;
#[cfg(feature = "_tls")]
use crate::TlsError;
use crate::{SaslError, Stage};

/// What went wrong with one connection. Shown behind the address of the broker.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The host name has no address.
    #[error("the host name can't be resolved: {0}")]
    Resolve(io::Error),
    /// Nobody listens there, or nothing goes through.
    #[error("can't connect: {}", refused(.0))]
    Connect(io::Error),
    /// The host name was not resolved, or nobody took the connection, in time.
    #[error("no connection within {0:?}; is a firewall in between?")]
    SetupTimeout(Duration),
    /// Somebody took the connection and said nothing.
    #[error(
        "connected, and no answer to the first request within {0:?}; is this a Kafka port, in plaintext?"
    )]
    Silent(Duration),
    /// The connection broke before it was made.
    #[error("{1}")]
    At(Stage, Box<ConnectionError>),
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The peer hung up.
    #[error("the broker closed the connection")]
    Closed,
    /// The peer hung up before it answered anything.
    #[error("the peer closed the connection at the first request; is this a TLS or SASL port?")]
    ClosedAtOnce,
    /// The peer told its versions and hung up at the next request.
    #[error("the broker closed the connection at the first request; does it want a login (SASL)?")]
    ClosedUnknown,
    /// What came in is no frame.
    #[error("{0}")]
    Frame(FrameError),
    /// What came in is no answer to what was asked.
    #[error("the answer to {api} version {version} can't be read: {error}")]
    Decode {
        /// The request's API.
        api: ApiKey,
        /// The request's version.
        version: i16,
        /// What was wrong.
        error: DecodeError,
    },
    /// An answer to another request than the oldest one open.
    #[error("an answer with the correlation id {got} came in where {expected} was expected")]
    Correlation {
        /// The id of the oldest open request; none when no request is open.
        expected: i32,
        /// The id that came.
        got: i32,
    },
    /// The broker took too long.
    #[error("no answer to {api} within {timeout:?}")]
    RequestTimeout {
        /// The request's API.
        api: ApiKey,
        /// How long was waited.
        timeout: Duration,
    },
    /// The broker does not read what it is sent.
    #[error("{api} could not be written within {timeout:?}: the broker does not read")]
    WriteTimeout {
        /// The request's API.
        api: ApiKey,
        /// How long was waited.
        timeout: Duration,
    },
    /// TLS can't be had with these settings.
    #[cfg(feature = "_tls")]
    #[error("TLS is not possible: {0}")]
    TlsSettings(#[from] TlsError),
    /// The peers did not agree on TLS, or one does not believe the other.
    #[error("the TLS handshake failed: {0}")]
    TlsHandshake(String),
    /// The broker wants to know nobody: this port is for clients without SASL, or the broker too old for it.
    #[error("the broker does not take logins; is this the port for SASL?")]
    NoSasl,
    /// The broker does not know the mechanism.
    #[error("the broker does not offer {mechanism}, but {offered}")]
    Mechanism {
        /// The mechanism that was asked for.
        mechanism: &'static str,
        /// Those that it offers.
        offered: String,
    },
    /// The broker does not let the client in.
    #[error("the broker refused the login by {mechanism}: {said}{}", of_token(.said))]
    Authentication {
        /// The mechanism.
        mechanism: &'static str,
        /// What the broker said.
        said: String,
    },
    /// The client does not go on with the login.
    #[error("the login by {mechanism} failed: {error}")]
    Sasl {
        /// The mechanism.
        mechanism: &'static str,
        /// Why.
        error: SaslError,
    },
    /// The login took too long.
    #[error("the login was not done within {0:?}")]
    LoginTimeout(Duration),
    /// The client could not say again who it is.
    #[error("the login could not be renewed: {0}")]
    Login(Arc<str>),
    /// The broker refused to say what it speaks.
    #[error("the broker refused to tell its versions: {0}")]
    Versions(ErrorCode),
    /// The first request can't be written: the client id is too long.
    #[error("the first request can't be written: {0}")]
    Encode(EncodeError),
    /// The runtime that the connection lived on has shut down.
    #[error("the runtime of the connection has ended")]
    TaskEnded,
    /// This side has let go of the connection.
    #[error("the connection was closed by this client")]
    Released,
    /// Nobody had anything to ask. The next request connects anew.
    #[error("the connection was closed by this client, for nothing was asked within {0:?}")]
    Idle(Duration),
    /// The SOCKS5 proxy does not connect.
    #[cfg(feature = "socks5")]
    #[error("the proxy at {proxy} does not connect to it: {error}")]
    Proxy {
        /// Where the proxy is.
        proxy: Address,
        /// What it said, or what was wrong with that.
        error: String,
    },
}

/// A broker says no more of a token than this (RFC 7628, section 3.2.2).
fn of_token(said: &str) -> &'static str {
    if said.contains("invalid_token") {
        "; is it expired, of another issuer or for another audience? The broker's log tells"
    } else {
        ""
    }
}

/// What the system says, in words when nobody listens.
fn refused(error: &io::Error) -> String {
    let nobody = error.kind() == io::ErrorKind::ConnectionRefused;
    format!("{error}{}", if nobody { ", so nobody listens there" } else { "" })
}

impl ConnectionError {
    /// How far the connection had come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Resolve(_) => Stage::Dns,
            Self::Connect(_) | Self::SetupTimeout(_) => Stage::Tcp,
            #[cfg(feature = "socks5")]
            Self::Proxy { .. } => Stage::Proxy,
            #[cfg(feature = "_tls")]
            Self::TlsSettings(_) => Stage::Tls,
            Self::TlsHandshake(_) => Stage::Tls,
            Self::Silent(_) | Self::ClosedAtOnce | Self::Versions(_) | Self::Encode(_) => Stage::ApiVersions,
            Self::NoSasl
            | Self::Mechanism { .. }
            | Self::Authentication { .. }
            | Self::Sasl { .. }
            | Self::LoginTimeout(_)
            | Self::Login(_) => Stage::Sasl,
            Self::At(stage, _) => *stage,
            _ => Stage::Requests,
        }
    }

    /// The same, if it says nothing of the stage itself: what can break a connection at any time broke it at this one.
    pub(crate) fn at(self, stage: Stage) -> Self {
        if self.stage() == Stage::Requests || stage == Stage::Dns {
            Self::At(stage, Box::new(self))
        } else {
            self
        }
    }
}
