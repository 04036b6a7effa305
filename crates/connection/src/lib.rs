//! The only crate with sockets: connections to brokers, and the one loop that drives a machine.
//!
//! # Layout
//! - [`Network`]: all connections of a client; finds the broker for a request.
//! - [`Driven`] and [`drive`]: a machine of `milena-cluster` and the loop around it.
//! - [`Address`]: bootstrap addresses.
//! - [`NetworkReport`]: what connections do, for whoever asks why they don't.
//! - [`Observe`]: what connections do, for whoever counts it.
//! - [`Dial`]: byte streams that are not TCP.
//! - [`Sasl`], `Tls`, [`Secret`]: who the client is, and whom it believes.
//!
//! Nothing here decides what to retry: a request that has no answer comes back as a
//! [`Failure`](milena_cluster::Failure) that says whether the broker may have acted.

mod address;
mod address_book;
mod authentication;
mod config;
mod connection;
mod driver;
mod error;
mod frame_stream;
mod handshake;
mod login;
#[cfg(feature = "msk-iam")]
mod msk_iam;
mod network;
mod observer;
#[cfg(feature = "oidc")]
mod oidc;
mod open_requests;
mod outbox;
mod probe;
mod reply;
mod report;
mod sasl;
#[cfg(feature = "socks5")]
mod socks5;
mod stage;
mod stream;
mod throttle;
mod versions;

pub use address::{Address, InvalidAddress};
pub use config::{ConnectionConfig, UnsafeLogin};
pub use driver::{Driven, drive, now};
pub use error::ConnectionError;
pub use milena_transport::Secret;
#[cfg(feature = "_tls")]
pub use milena_transport::{DangerousTls, Tls, TlsError};
#[cfg(feature = "msk-iam")]
pub use msk_iam::{AwsCredentials, AwsCredentialsProvider, AwsEnvironment, MskIam, MskIamError};
pub use network::Network;
pub use observer::{Observe, Observer};
#[cfg(feature = "oidc")]
pub use oidc::{InvalidOidc, Oidc, OidcBuilder, OidcError};
pub use probe::Probe;
pub use report::{ConnectionReport, ConnectionState, LastError, NetworkReport, Purpose};
pub use sasl::{InvalidToken, Sasl, SaslError, ScramHash, Token, TokenProvider};
#[cfg(feature = "socks5")]
pub use socks5::Socks5;
pub use stage::Stage;
pub use stream::Dial;
