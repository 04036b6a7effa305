//! Who the client is: SASL (KIP-43, KIP-84, KIP-152, KIP-255).
//!
//! The exchanges are machines without IO: the broker's challenge in, the answer out. Randomness is an argument.

mod oauth_bearer;
mod plain;
mod scram;

use std::{fmt, sync::Arc};

use thiserror::Error;

#[cfg(any(feature = "oidc", feature = "msk-iam"))]
pub(crate) use self::oauth_bearer::Wanted;
use self::scram::Scram;
pub use self::{
    oauth_bearer::{InvalidToken, Token, TokenProvider},
    scram::ScramHash,
};
use crate::Secret;

/// How a client says who it is. Every connection does so anew.
#[derive(Clone)]
pub struct Sasl {
    mechanism: Mechanism,
    /// What the mechanism would show to anybody who listens may be sent without TLS.
    pub(crate) is_allowed_in_the_clear: bool,
}

#[derive(Clone)]
enum Mechanism {
    Plain { user: String, password: Secret },
    Scram { hash: ScramHash, user: String, password: Secret },
    OAuthBearer(Arc<dyn TokenProvider>),
}

/// An authentication under way.
pub(crate) enum Exchange {
    Plain,
    Scram(Scram),
    OAuthBearer(oauth_bearer::Exchange),
}

/// What to do with a challenge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The answer.
    Send(Vec<u8>),
    /// The broker has proved what it had to prove.
    Done,
}

/// Why the client does not go on. It is not the broker that says so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The challenge is not one of the mechanism.
    #[error("the broker's challenge is not one of {mechanism}: {what}")]
    Challenge {
        /// The mechanism.
        mechanism: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The broker demands more or fewer rounds than is safe for either side.
    #[error("the broker demands {0} rounds of hashing; 4096 to 100000 are safe")]
    Iterations(u32),
    /// The broker does not know the password either: somebody else plays it.
    #[error(
        "the broker could not prove that it knows the password: this may be another machine in its place"
    )]
    ServerSignature,
    /// The broker says what is wrong within the exchange.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The provider has no token.
    #[error("there is no token: {0}")]
    NoToken(String),
    /// The system has no random numbers.
    #[error("there are no random numbers to be had: {0}")]
    NoRandomness(String),
    /// The exchange goes on although it is over.
    #[error("the broker goes on although everything is said")]
    Endless,
}

impl Sasl {
    /// User and password as they are (PLAIN, RFC 4616): for TLS only, unless it is
    /// [allowed](Self::allow_in_the_clear) otherwise.
    pub fn plain(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::new(Mechanism::Plain { user: user.into(), password: password.into() })
    }

    /// A proof that user and broker know the password, which does not show it (SCRAM, RFC 5802 and 7677). Without TLS
    /// what follows can still be read and changed by others, and a weak password be guessed from the proof.
    pub fn scram(hash: ScramHash, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::new(Mechanism::Scram { hash, user: user.into(), password: password.into() })
    }

    /// SCRAM-SHA-256: see [`scram`](Self::scram).
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::scram(ScramHash::Sha256, user, password)
    }

    /// SCRAM-SHA-512: see [`scram`](Self::scram).
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::scram(ScramHash::Sha512, user, password)
    }

    /// A token that the broker's side trusts (OAUTHBEARER, RFC 7628): for TLS only, unless it is
    /// [allowed](Self::allow_in_the_clear) otherwise. The provider is asked for every connection and every time a
    /// connection has to prove itself again.
    pub fn oauth_bearer(provider: impl TokenProvider + 'static) -> Self {
        Self::new(Mechanism::OAuthBearer(Arc::new(provider)))
    }

    fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, is_allowed_in_the_clear: false }
    }

    /// Lets passwords and tokens go over connections that anybody between client and broker can read. For development.
    #[must_use]
    pub fn allow_in_the_clear(mut self) -> Self {
        self.is_allowed_in_the_clear = true;
        self
    }

    /// The mechanism's name.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match &self.mechanism {
            Mechanism::Plain { .. } => "PLAIN",
            Mechanism::Scram { hash, .. } => hash.mechanism(),
            Mechanism::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Whether whoever listens learns enough to play the user.
    pub(crate) const fn shows_secrets(&self) -> bool {
        matches!(self.mechanism, Mechanism::Plain { .. } | Mechanism::OAuthBearer(_))
    }

    /// Begins: the exchange, and the first message. `nonce`: of 128 bits at least, which nobody can foresee.
    pub(crate) async fn begin(&self, nonce: &str) -> Result<(Exchange, Vec<u8>), SaslError> {
        match &self.mechanism {
            Mechanism::Plain { user, password } => Ok((Exchange::Plain, plain::message(user, password))),
            Mechanism::Scram { hash, user, password } => {
                let (scram, first) = Scram::begin(*hash, user, password.clone(), nonce);
                Ok((Exchange::Scram(scram), first))
            }
            Mechanism::OAuthBearer(provider) => {
                let token = provider.token().await.map_err(|error| SaslError::NoToken(error.to_string()))?;
                Ok((Exchange::OAuthBearer(oauth_bearer::Exchange::default()), oauth_bearer::message(&token)))
            }
        }
    }
}

impl Exchange {
    /// Takes what the broker says.
    pub(crate) fn step(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match self {
            // The broker has nothing to add.
            Self::Plain => Ok(Step::Done),
            Self::Scram(scram) => scram.step(challenge),
            Self::OAuthBearer(exchange) => exchange.step(challenge),
        }
    }

    /// What the broker has refused with already, before it ends the exchange by an error.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match self {
            Self::OAuthBearer(exchange) => exchange.refusal(),
            Self::Plain | Self::Scram(_) => None,
        }
    }

    /// Whether the next step takes time that no other task should wait for.
    pub(crate) const fn is_slow(&self) -> bool {
        matches!(self, Self::Scram(scram) if scram.stretches_next())
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sasl({})", self.mechanism())
    }
}
