//! Saying who the client is: on a new connection, and again on one that lives longer than the broker believes it.
//!
//! # References
//! KIP-152 (SaslAuthenticate, with errors that can be told), KIP-368 (again before the session ends).

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{Request, Response, SaslAuthenticateRequest, SaslHandshakeRequest},
};

use crate::{
    ConnectionError, Sasl,
    sasl::{Exchange, SaslError, Step},
    versions::Versions,
};

/// More messages than any mechanism has.
const MOST_STEPS: usize = 8;
/// The first version of SaslHandshake behind which tokens are requests of their own.
const HANDSHAKE: i16 = 1;

/// One request at a time, on a connection.
pub(crate) trait Ask {
    async fn ask(&mut self, request: Request, version: i16) -> Result<Response, ConnectionError>;
}

/// Says who the client is. How long the broker will believe it, if not for ever.
pub(crate) async fn authenticate(
    asker: &mut impl Ask,
    sasl: &Sasl,
    versions: &Versions,
) -> Result<Option<Duration>, ConnectionError> {
    let handshake = versions.pick(ApiKey::SaslHandshake, HANDSHAKE).filter(|version| *version == HANDSHAKE);
    let authenticate = versions.pick(ApiKey::SaslAuthenticate, i16::MAX);
    let (Some(handshake), Some(authenticate)) = (handshake, authenticate) else {
        return Err(ConnectionError::NoSasl);
    };
    let mechanism = sasl.mechanism();
    let choice = SaslHandshakeRequest { mechanism: mechanism.into() };
    if let Response::SaslHandshake(answer) = asker.ask(choice.into(), handshake).await? {
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
                let offered: Vec<_> = answer.mechanisms.iter().map(ToString::to_string).collect();
                return Err(ConnectionError::Mechanism { mechanism, offered: offered.join(", ") });
            }
            // The port has no use for it.
            ErrorCode::ILLEGAL_SASL_STATE => return Err(ConnectionError::NoSasl),
            code => return Err(refused(mechanism, code.to_string())),
        }
    }
    let exchanged = |error: SaslError| ConnectionError::Sasl { mechanism, error };
    let nonce = nonce().map_err(exchanged)?;
    let (mut exchange, mut message) = sasl.begin(&nonce).await.map_err(exchanged)?;
    for _ in 0..MOST_STEPS {
        let auth_bytes = Bytes::from(message);
        let token = SaslAuthenticateRequest { auth_bytes, ..Default::default() };
        let Response::SaslAuthenticate(answer) = asker.ask(token.into(), authenticate).await? else {
            break;
        };
        let code = ErrorCode(answer.error_code);
        if code != ErrorCode::NONE {
            let said = answer.error_message.map(|message| message.to_string());
            let said = exchange.refusal().map(str::to_owned).or(said).unwrap_or_else(|| code.to_string());
            return Err(refused(mechanism, said));
        }
        let (next, step) = step(exchange, answer.auth_bytes).await;
        exchange = next;
        match step.map_err(exchanged)? {
            Step::Send(answer) => message = answer,
            Step::Done => {
                let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
                return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
            }
        }
    }
    Err(exchanged(SaslError::Endless))
}

fn refused(mechanism: &'static str, said: String) -> ConnectionError {
    ConnectionError::Authentication { mechanism, said }
}

/// Thousands of rounds of hashing keep a processor for milliseconds: not that of the runtime.
async fn step(mut exchange: Exchange, challenge: Bytes) -> (Exchange, Result<Step, SaslError>) {
    if !exchange.is_slow() {
        let step = exchange.step(&challenge);
        return (exchange, step);
    }
    #[expect(clippy::disallowed_methods, reason = "at most one for each connection, for some milliseconds")]
    let stepping = tokio::task::spawn_blocking(move || {
        let step = exchange.step(&challenge);
        (exchange, step)
    });
    match stepping.await {
        Ok(stepped) => stepped,
        // The runtime shuts down.
        Err(_) => (Exchange::Plain, Err(SaslError::Endless)),
    }
}

/// 192 random bits, in characters that every mechanism takes.
fn nonce() -> Result<String, SaslError> {
    use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| SaslError::NoRandomness(error.to_string()))?;
    Ok(BASE64_STANDARD_NO_PAD.encode(bytes))
}
