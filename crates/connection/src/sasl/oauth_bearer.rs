//! OAUTHBEARER (RFC 7628): a token that somebody else has given.

use std::{fmt, future::Future, pin::Pin};

use thiserror::Error;

use super::{SaslError, Step};
use crate::Secret;

/// What a broker answers in place of a refusal, to hear that it was understood.
const UNDERSTOOD: &[u8] = b"\x01";
/// So much of a refusal is shown.
const SHOWN: usize = 500;

/// A token, with extensions that the broker may want (KIP-342).
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    value: Secret,
    extensions: Vec<(String, String)>,
}

/// What can't be sent as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// The token has characters that no token has, or none at all.
    #[error("a bearer token is made of letters, digits and -._~+/=")]
    Characters,
    /// The extension's name is not one.
    #[error("the name of an extension is made of letters, and is not `auth`")]
    Name,
    /// The extension's value is not one.
    #[error("the value of an extension is made of printable ASCII, spaces, tabs and line ends")]
    Value,
}

impl Token {
    /// A token as its issuer gave it.
    ///
    /// # Errors
    /// When it can't be one (RFC 6750).
    pub fn new(value: impl Into<Secret>) -> Result<Self, InvalidToken> {
        let value = value.into();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if value.expose().is_empty() || !value.expose().bytes().all(is_token) {
            return Err(InvalidToken::Characters);
        }
        Ok(Self { value, extensions: Vec::new() })
    }

    /// Adds an extension.
    ///
    /// # Errors
    /// When it would not be read as one.
    pub fn with_extension(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, InvalidToken> {
        let (name, value) = (name.into(), value.into());
        if name == "auth" || name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(InvalidToken::Name);
        }
        if !value.bytes().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
            return Err(InvalidToken::Value);
        }
        self.extensions.push((name, value));
        Ok(self)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("value", &self.value).finish_non_exhaustive()
    }
}

/// A token under way, or why there is none.
pub(crate) type Wanted<'p> =
    Pin<Box<dyn Future<Output = Result<Token, Box<dyn std::error::Error + Send + Sync>>> + Send + 'p>>;

/// Where tokens come from. A [`Token`] is the provider of itself; a closure that returns one, of new ones.
pub trait TokenProvider: Send + Sync {
    /// A token that is valid for a while. It is awaited under the connection's setup timeout.
    fn token(&self) -> Wanted<'_>;
}

impl TokenProvider for Token {
    fn token(&self) -> Wanted<'_> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<P, F, E> TokenProvider for P
where
    P: Fn() -> F + Send + Sync,
    F: Future<Output = Result<Token, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn token(&self) -> Wanted<'_> {
        let wanted = self();
        Box::pin(async move { wanted.await.map_err(Into::into) })
    }
}

/// The only message there is to send.
pub(super) fn message(token: &Token) -> Vec<u8> {
    let mut message = b"n,,\x01auth=Bearer ".to_vec();
    message.extend_from_slice(token.value.expose().as_bytes());
    message.push(1);
    for (name, value) in &token.extensions {
        message.extend_from_slice(name.as_bytes());
        message.push(b'=');
        message.extend_from_slice(value.as_bytes());
        message.push(1);
    }
    message.push(1);
    message
}

/// What the broker says to the token.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// A refusal was acknowledged: there is nothing more to come but an error.
    refusal: Option<String>,
}

impl Exchange {
    pub(super) fn step(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        if let Some(refusal) = self.refusal.take() {
            return Err(SaslError::Refused(refusal));
        }
        if challenge.is_empty() {
            return Ok(Step::Done);
        }
        let text: String = String::from_utf8_lossy(challenge).chars().take(SHOWN).collect();
        self.refusal = Some(shown(&text));
        Ok(Step::Send(UNDERSTOOD.to_vec()))
    }

    /// What the broker refused with, when it ends the exchange by an error of its own.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// The text without what a terminal would obey. Quotes stay as they are.
fn shown(text: &str) -> String {
    let escaped = |char: char| {
        if matches!(char, '"' | '\'' | '\\') { String::from(char) } else { char.escape_debug().collect() }
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_its_extensions_are_one_message() {
        let token = Token::new("a.b-c").unwrap().with_extension("logicalCluster", "lkc 1").unwrap();
        assert_eq!(message(&token), b"n,,\x01auth=Bearer a.b-c\x01logicalCluster=lkc 1\x01\x01");
        assert_eq!(format!("{token:?}"), "Token { value: ***, .. }");
    }

    #[test]
    fn what_would_be_read_otherwise_is_refused() {
        assert_eq!(Token::new("a b"), Err(InvalidToken::Characters));
        assert_eq!(Token::new("a\u{1}"), Err(InvalidToken::Characters));
        assert_eq!(Token::new(""), Err(InvalidToken::Characters));
        let token = Token::new("a").unwrap();
        assert_eq!(token.clone().with_extension("auth", "x"), Err(InvalidToken::Name));
        assert_eq!(token.clone().with_extension("x=", "x"), Err(InvalidToken::Name));
        assert_eq!(token.with_extension("x", "\u{1}"), Err(InvalidToken::Value));
    }

    /// What a terminal would obey is escaped, and nothing else.
    #[test]
    fn a_refusal_is_shown_as_it_was_said() {
        assert_eq!(shown("{\"status\":\"caf\u{e9}\"}\u{1b}[2J\n"), "{\"status\":\"caf\u{e9}\"}\\u{1b}[2J\\n");
    }

    /// X3.
    #[test]
    fn a_refusal_is_acknowledged_and_told() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.step(b"{\"status\":\"invalid_token\"}"), Ok(Step::Send(vec![1])));
        let told = SaslError::Refused("{\"status\":\"invalid_token\"}".to_owned());
        assert_eq!(exchange.step(b""), Err(told));
        assert_eq!(Exchange::default().step(b""), Ok(Step::Done));
    }
}
