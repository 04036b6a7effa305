//! Why there is no connection, or none any more.

use std::{io, time::Duration};

use milena_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode, frame::FrameError};
use thiserror::Error;

/// What went wrong with one connection. Shown behind the address of the broker.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The host name has no address.
    #[error("the host name can't be resolved: {0}")]
    Resolve(io::Error),
    /// Nobody listens there, or nothing goes through.
    #[error("can't connect: {0}")]
    Connect(io::Error),
    /// The host name was not resolved, or nobody took the connection, in time.
    #[error("no connection within {0:?}; is a firewall in between?")]
    SetupTimeout(Duration),
    /// Somebody took the connection and said nothing.
    #[error(
        "connected, and no answer to the first request within {0:?}; is this a Kafka port, in plaintext?"
    )]
    Silent(Duration),
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The peer hung up.
    #[error("the broker closed the connection")]
    Closed,
    /// The peer hung up before it answered anything.
    #[error("the peer closed the connection at the first request; is this a TLS or SASL port?")]
    ClosedAtOnce,
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
}
