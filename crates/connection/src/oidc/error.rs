//! Why there is no token.

use std::time::Duration;

use thiserror::Error;

use crate::InvalidToken;

/// What can't be the settings of [`Oidc`](super::Oidc).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidOidc {
    /// The URL has no host, or has what a token endpoint's has not: a user, a fragment.
    #[error("a token endpoint is https://HOST[:PORT]/PATH, without a user and a fragment")]
    Url,
    /// The URL names something else than a server of the web: a file, say.
    #[error("a token endpoint is asked over https, and over nothing else")]
    Scheme,
    /// The URL would send the secret and get the token in the clear.
    #[error(
        "without TLS everybody in between reads the client's secret and the token; only an endpoint on this machine can be \
         asked so, if allow_loopback_in_the_clear says that it is meant"
    )]
    InTheClear,
    /// There is no client.
    #[error("the client's id is empty")]
    NoClient,
    /// The parameter is one of the request's own.
    #[error("{0} is no parameter to add")]
    Parameter(String),
    /// The extension would not be read as one.
    #[error("the extension {name}: {error}")]
    Extension {
        /// The extension's name.
        name: String,
        /// What is wrong with it.
        error: InvalidToken,
    },
}

/// Why a token endpoint gave no token. Neither the client's secret nor a token is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OidcError {
    /// There is no connection to the endpoint, or none that can be believed.
    #[error("{endpoint} can't be reached: {error}")]
    Unreachable {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// Why.
        error: String,
    },
    /// The endpoint took too long.
    #[error("{endpoint} gave no token within {timeout:?}")]
    Timeout {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The answer is not HTTP, or ended early.
    #[error("{endpoint} does not answer in HTTP as it should: {error}")]
    Http {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// What was wrong.
        error: String,
    },
    /// The answer is longer than one with a token can be.
    #[error("{endpoint} answers with more than {limit} bytes")]
    TooLong {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// How many bytes are read.
        limit: usize,
    },
    /// The endpoint names another one. The client's secret is not sent there.
    #[error(
        "{endpoint} redirects to {to} (status {status}), which is not followed: name the endpoint itself"
    )]
    Redirect {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// The status.
        status: u16,
        /// Where to, without query.
        to: String,
    },
    /// The endpoint gives no token to this client.
    #[error("{endpoint} refused with status {status}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Refused {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// The status.
        status: u16,
        /// The `error` and the `error_description` (RFC 6749, 5.2), if there are any.
        said: Option<String>,
    },
    /// The answer holds no token that can be used.
    #[error("{endpoint} gave no token that can be used: {what}")]
    Unusable {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// What is wrong with it.
        what: String,
    },
    /// The runtime in which the endpoint was asked shut down meanwhile.
    #[error("the runtime that asked {endpoint} for a token has ended")]
    RuntimeEnded {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
    },
}
