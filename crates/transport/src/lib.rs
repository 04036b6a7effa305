//! What connections to brokers and to schema registries have in common.
//!
//! - [`Secret`]: a password that nobody prints by accident.
//! - `Tls`: whom the client believes, and what it shows of itself (features `tls`, `ring`, `aws-lc-rs`).
//! - `HyperStream`: byte streams of tokio for hyper (feature `hyper`).
//!
//! It is for Milena's own crates, which have these types in their interfaces.

#[cfg(feature = "_tls")]
mod cryptography;
#[cfg(feature = "hyper")]
mod hyper_stream;
mod secret;
#[cfg(feature = "_tls")]
mod tls;
#[cfg(feature = "_tls")]
mod words;

#[cfg(feature = "hyper")]
pub use hyper_stream::HyperStream;
pub use secret::Secret;
#[cfg(feature = "_tls")]
pub use tls::{DangerousTls, Tls, TlsError};
#[cfg(feature = "_tls")]
pub use words::is_alert;
