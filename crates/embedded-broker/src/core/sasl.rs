//! SaslHandshake and SaslAuthenticate: who a connection belongs to.
//!
//! Imitates Kafka 4.3.1 with the mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, a session that ends
//! (`connections.max.reauth.ms`) and authenticating again on the live connection (KIP-368): before a client is known only
//! ApiVersions and these two are taken, anything else ends the connection; a wrong password is answered, then the connection
//! ends. After SaslHandshake 0 tokens come without a header, and a wrong one just ends the connection.
//!
//! Leaves out: OAUTHBEARER and GSSAPI, the delay before a refused client is cut off,
//! ACLs: every user may do everything.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    messages::{
        ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    wire::{ByteString, Frame},
};

use super::{
    Cluster, ConnectionId, Output, Reply,
    connection::{State, Then},
    dispatch::{Answer, Context},
    scram::{Exchange, First, Hash},
};

/// A way to say who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaslMechanism {
    /// The password itself (RFC 4616).
    Plain,
    /// A proof of the password (RFC 7677).
    ScramSha256,
    /// The same with the longer hash.
    ScramSha512,
}

/// Whom the brokers know. Once there is such a thing every client has to authenticate.
#[derive(Clone, Debug)]
pub struct SaslConfig {
    /// The mechanisms that are offered; all three by default.
    pub mechanisms: Vec<SaslMechanism>,
    /// The users and their passwords.
    pub users: BTreeMap<String, Password>,
    /// How long a client is known for (`connections.max.reauth.ms`); for ever by default.
    pub session_lifetime: Option<Duration>,
}

/// A password that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Who a connection belongs to.
#[derive(Debug)]
pub(super) enum Auth {
    /// Nobody asks.
    Open,
    /// Only who says who it is may go on.
    Unknown,
    /// A mechanism is chosen.
    Chosen { mechanism: SaslMechanism, is_bare: bool, before: Option<Known> },
    /// SCRAM is half way.
    Half { mechanism: SaslMechanism, is_bare: bool, exchange: Exchange, before: Option<Known> },
    /// It is this user.
    Known(Known),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    user: String,
    mechanism: SaslMechanism,
    until: Option<Instant>,
}

impl SaslMechanism {
    /// As the protocol has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl SaslConfig {
    /// All mechanisms, and these users with their passwords.
    #[must_use]
    pub fn new<U: Into<String>, P: Into<String>>(users: impl IntoIterator<Item = (U, P)>) -> Self {
        let users = users.into_iter().map(|(user, password)| (user.into(), Password(password.into())));
        Self {
            mechanisms: vec![SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512],
            users: users.collect(),
            session_lifetime: None,
        }
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("user", &self.user()).finish_non_exhaustive()
    }
}

impl Auth {
    pub(super) const fn new(sasl: Option<&SaslConfig>) -> Self {
        if sasl.is_some() { Self::Unknown } else { Self::Open }
    }

    /// Whether the next frame is a token without a header.
    pub(super) const fn is_bare(&self) -> bool {
        matches!(self, Self::Chosen { is_bare: true, .. } | Self::Half { is_bare: true, .. })
    }

    /// Whether a request may be carried out as far as its sender goes.
    pub(super) fn admits(&self, now: Instant, api: ApiKey) -> bool {
        match (self, api) {
            (Self::Open, _) => true,
            (Self::Unknown, ApiKey::ApiVersions | ApiKey::SaslHandshake) => true,
            (Self::Chosen { .. } | Self::Half { .. }, ApiKey::SaslAuthenticate) => true,
            (Self::Known(_), ApiKey::SaslHandshake) => true,
            (Self::Known(known), _) => known.until.is_none_or(|until| now < until),
            _ => false,
        }
    }
}

impl Cluster {
    /// The user that a connection has authenticated as.
    #[must_use]
    pub fn authenticated_user(&self, connection: ConnectionId) -> Option<&str> {
        match &self.connections.get(&connection)?.auth {
            Auth::Known(known) => Some(&known.user),
            _ => None,
        }
    }

    pub(super) fn sasl_handshake(&mut self, cx: &Context, body: &SaslHandshakeRequest) -> Answer {
        let Some(sasl) = &self.config.sasl else { return handshake(ErrorCode::ILLEGAL_SASL_STATE, &[]) };
        let offered = sasl.mechanisms.clone();
        let chosen = offered.iter().find(|mechanism| mechanism.name() == &*body.mechanism).copied();
        let Some(connection) = self.connections.get_mut(&cx.connection) else { return Answer::Close };
        let before = match &connection.auth {
            Auth::Known(known) => Some(known.clone()),
            _ => None,
        };
        // Whoever authenticates again stays who they are.
        let is_same = |mechanism| before.as_ref().is_none_or(|before| before.mechanism == mechanism);
        let Some(mechanism) = chosen.filter(|mechanism| is_same(*mechanism)) else {
            self.close_behind_reply(cx.connection);
            return handshake(ErrorCode::UNSUPPORTED_SASL_MECHANISM, &offered);
        };
        connection.auth = Auth::Chosen { mechanism, is_bare: cx.version == 0, before };
        handshake(ErrorCode::NONE, &offered)
    }

    pub(super) fn sasl_authenticate(&mut self, cx: &Context, body: &SaslAuthenticateRequest) -> Answer {
        if self.config.sasl.is_none() {
            let error_code = ErrorCode::ILLEGAL_SASL_STATE.0;
            return SaslAuthenticateResponse { error_code, ..Default::default() }.into();
        }
        match self.take_token(cx.now, cx.connection, &body.auth_bytes) {
            Ok(Token { answer, lifetime }) => SaslAuthenticateResponse {
                auth_bytes: answer.into(),
                session_lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
                ..Default::default()
            }
            .into(),
            Err(why) => {
                self.close_behind_reply(cx.connection);
                SaslAuthenticateResponse {
                    error_code: ErrorCode::SASL_AUTHENTICATION_FAILED.0,
                    error_message: Some(why.into()),
                    ..Default::default()
                }
                .into()
            }
        }
    }

    /// A frame that is nothing but a token, as follows SaslHandshake 0. There is no room for an error.
    pub(super) fn bare_token(&mut self, now: Instant, id: ConnectionId, token: &[u8]) {
        match self.take_token(now, id, token) {
            Ok(Token { answer, .. }) => {
                let len = u32::try_from(answer.len()).unwrap_or(u32::MAX).to_be_bytes();
                let frame = Frame::from(Bytes::from([&len[..], answer.as_bytes()].concat()));
                self.replies.push_back(Reply { connection: id, output: Output::Frame(frame) });
                self.unmute(id);
            }
            Err(_) => self.close(id),
        }
    }

    /// What the client says next about who it is.
    fn take_token(&mut self, now: Instant, id: ConnectionId, token: &[u8]) -> Result<Token, String> {
        let nonce = self.random.uuid().to_string();
        let (Some(sasl), Some(connection)) = (&self.config.sasl, self.connections.get_mut(&id)) else {
            return Err("nobody asks".into());
        };
        let (mechanism, before, user, answer) = match std::mem::replace(&mut connection.auth, Auth::Unknown) {
            Auth::Chosen { mechanism: SaslMechanism::Plain, before, .. } => {
                let user = sasl.plain(token).ok_or("Authentication failed: Invalid username or password")?;
                (SaslMechanism::Plain, before, user, String::new())
            }
            Auth::Chosen { mechanism, is_bare, before } => {
                let begun = sasl.begin_scram(mechanism, token, &nonce);
                let (exchange, answer) = begun.ok_or_else(|| bad_credentials(mechanism))?;
                connection.auth = Auth::Half { mechanism, is_bare, exchange, before };
                return Ok(Token { answer, lifetime: Duration::ZERO });
            }
            Auth::Half { mechanism, exchange, before, .. } => {
                let answer = exchange.finish(token).ok_or_else(|| bad_credentials(mechanism))?;
                (mechanism, before, exchange.user().to_owned(), answer)
            }
            Auth::Open | Auth::Unknown | Auth::Known(_) => return Err("no mechanism was chosen".into()),
        };
        if let Some(before) = before {
            if before.user != user {
                return Err("Cannot change principals during re-authentication".into());
            }
            self.renewed_logins = self.renewed_logins.saturating_add(1);
        }
        let until = sasl.session_lifetime.map(|lifetime| now + lifetime);
        connection.auth = Auth::Known(Known { user, mechanism, until });
        Ok(Token { answer, lifetime: sasl.session_lifetime.unwrap_or_default() })
    }

    /// How often clients have renewed their sessions, on connections that they had (KIP-368).
    #[must_use]
    pub const fn renewed_logins(&self) -> u64 {
        self.renewed_logins
    }

    /// The reply to the request under way is the last thing on its connection.
    fn close_behind_reply(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && let State::Busy(under_way) = &mut connection.state
        {
            under_way.then = Then::SendAndClose;
        }
    }
}

/// What a client is told that has said something right.
struct Token {
    answer: String,
    /// How long it is known for from here on; zero for ever, or not yet.
    lifetime: Duration,
}

impl SaslConfig {
    /// The user of `authorisation NUL user NUL password`, if that is right.
    fn plain(&self, message: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(message).ok()?;
        let parts: Vec<&str> = text.split('\0').collect();
        let [authorisation, user, password] = parts[..] else { return None };
        let is_right = self.users.get(user).is_some_and(|known| known.0 == password);
        (is_right && (authorisation.is_empty() || authorisation == user)).then(|| user.to_owned())
    }

    fn begin_scram(
        &self,
        mechanism: SaslMechanism,
        message: &[u8],
        nonce: &str,
    ) -> Option<(Exchange, String)> {
        let hash = match mechanism {
            SaslMechanism::ScramSha512 => Hash::Sha512,
            SaslMechanism::ScramSha256 | SaslMechanism::Plain => Hash::Sha256,
        };
        let first = First::read(message)?;
        let password = self.users.get(&first.user)?;
        // A salt of the user's own, the same every time: Kafka stores one.
        let salt = format!("salt of {}", first.user);
        Some(Exchange::begin(hash, &first, &password.0, salt.as_bytes(), nonce))
    }
}

fn bad_credentials(mechanism: SaslMechanism) -> String {
    let name = mechanism.name();
    format!(
        "Authentication failed during authentication due to invalid credentials with SASL mechanism {name}"
    )
}

fn handshake(error: ErrorCode, offered: &[SaslMechanism]) -> Answer {
    let mechanisms = offered.iter().map(|mechanism| ByteString::from_static(mechanism.name())).collect();
    SaslHandshakeResponse { error_code: error.0, mechanisms }.into()
}
