//! What a token endpoint's answer says (RFC 6749, 5.1 and 5.2). Whoever wrote it is not trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hyper::Uri;
use serde_json::{Map, Value};

use crate::Secret;

/// So many characters of what an endpoint says are shown.
const SHOWN: usize = 300;
/// No token is kept for longer, whatever its issuer says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The token, and how long it lives if that is known. `wall`: what time it was when it was asked for.
///
/// The life is `expires_in`, or what the token says in its claim `exp` if it is a JWT, as Java's client has it.
pub(super) fn token(body: &[u8], wall: SystemTime) -> Result<(Secret, Option<Duration>), &'static str> {
    let mut answer = object(body).ok_or("the answer is no JSON object")?;
    let Some(Value::String(token)) = answer.remove("access_token") else {
        return Err("the answer has no access_token");
    };
    let token = Secret::from(token);
    match answer.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name.eq_ignore_ascii_case("bearer") => {}
        Some(_) => return Err("its type is not bearer"),
    }
    let life = match answer.get("expires_in") {
        None | Some(Value::Null) => life_of(token.expose(), wall),
        Some(seconds) => Some(life(seconds)?),
    };
    Ok((token, life.map(|life| life.min(LONGEST))))
}

fn life(seconds: &Value) -> Result<Duration, &'static str> {
    let seconds = match seconds {
        Value::Number(seconds) => seconds.as_f64(),
        // Some write it so.
        Value::String(seconds) => seconds.parse().ok(),
        _ => None,
    };
    let seconds = seconds.ok_or("expires_in is no number")?;
    if seconds.is_nan() || seconds <= 0.0 {
        return Err("it has expired already");
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST))
}

/// How long a JWT lives that has an `exp` in the future.
fn life_of(token: &str, wall: SystemTime) -> Option<Duration> {
    let payload = token.split('.').nth(1)?;
    let payload = object(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?)?;
    let expiry = Duration::try_from_secs_f64(payload.get("exp")?.as_f64()?).ok()?;
    let life = expiry.checked_sub(wall.duration_since(UNIX_EPOCH).ok()?)?;
    (!life.is_zero()).then_some(life)
}

/// What a refusal says, for a person, if it says anything. What it repeats of `secret` is left out.
pub(super) fn refusal(body: &[u8], secret: &Secret) -> Option<String> {
    let answer = object(body)?;
    let text = |name| match answer.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(shown(text, secret)),
        _ => None,
    };
    match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => Some(format!("{error} ({description})")),
        (error, description) => error.or(description),
    }
}

/// Where a redirect points, without query.
pub(super) fn place(location: Option<&[u8]>, secret: &Secret) -> String {
    let uri = location.and_then(|location| Uri::try_from(location).ok());
    let Some(uri) = uri else { return "no URL".to_owned() };
    let scheme = uri.scheme().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    shown(&format!("{scheme}{host}{port}{}", uri.path()), secret)
}

fn shown(text: &str, secret: &Secret) -> String {
    let text = match secret.expose() {
        "" => text.to_owned(),
        secret => text.replace(secret, "***"),
    };
    let shown: String = text.chars().take(SHOWN).collect();
    shown.escape_debug().to_string()
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000)
    }

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload))
    }

    fn read(body: &str) -> Result<(String, Option<u64>), &'static str> {
        let (token, life) = token(body.as_bytes(), wall())?;
        Ok((token.expose().to_owned(), life.map(|life| life.as_secs())))
    }

    #[test]
    fn the_life_is_that_of_the_answer_or_of_the_token() {
        for (rest, life) in [
            (r#","expires_in":300,"token_type":"bearer""#, Some(300)),
            (r#","expires_in":"300","token_type":"Bearer""#, Some(300)),
            (r#","expires_in":299.5"#, Some(299)),
            (r#","expires_in":1e300"#, Some(86_400)),
            (r#","expires_in":null"#, None),
            ("", None),
        ] {
            let body = format!(r#"{{"access_token":"abc"{rest}}}"#);
            assert_eq!(read(&body), Ok(("abc".to_owned(), life)), "{body}");
        }
        for (payload, life) in [
            (r#"{"exp":1060}"#, Some(60)),
            (r#"{"exp":1060.5}"#, Some(60)),
            (r#"{"exp":99999999999999}"#, Some(86_400)),
            (r#"{"exp":1000}"#, None),
            (r#"{"exp":1}"#, None),
            (r#"{"exp":-1e300}"#, None),
            (r#"{"exp":"1060"}"#, None),
            ("nonsense", None),
        ] {
            let body = format!(r#"{{"access_token":"{}"}}"#, jwt(payload));
            assert_eq!(read(&body).unwrap().1, life, "{payload}");
        }
        let both = format!(r#"{{"access_token":"{}","expires_in":5}}"#, jwt(r#"{"exp":1060}"#));
        assert_eq!(read(&both).unwrap().1, Some(5));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for (body, expected) in [
            ("", "the answer is no JSON object"),
            ("[]", "the answer is no JSON object"),
            ("<html>", "the answer is no JSON object"),
            ("{}", "the answer has no access_token"),
            (r#"{"access_token":7}"#, "the answer has no access_token"),
            (r#"{"access_token":"a","token_type":"mac"}"#, "its type is not bearer"),
            (r#"{"access_token":"a","expires_in":0}"#, "it has expired already"),
            (r#"{"access_token":"a","expires_in":-1}"#, "it has expired already"),
            (r#"{"access_token":"a","expires_in":"NaN"}"#, "it has expired already"),
            (r#"{"access_token":"a","expires_in":"soon"}"#, "expires_in is no number"),
            (r#"{"access_token":"a","expires_in":[]}"#, "expires_in is no number"),
        ] {
            assert_eq!(read(body), Err(expected), "{body}");
        }
        let nested = format!("{{\"access_token\":{}", "[".repeat(60_000));
        assert_eq!(read(&nested), Err("the answer is no JSON object"));
    }

    #[test]
    fn a_refusal_is_shortened_escaped_and_repeats_no_secret() {
        let secret = Secret::from("hunter2");
        let said = |body: &str| refusal(body.as_bytes(), &secret);
        let told = said(r#"{"error":"invalid_client","error_description":"not hunter2\u001b[2J"}"#);
        assert_eq!(told.unwrap(), "invalid_client (not ***\\u{1b}[2J)");
        assert_eq!(said(r#"{"error_description":"no"}"#).unwrap(), "no");
        assert_eq!(said(&format!(r#"{{"error":"{}"}}"#, "x".repeat(9_999))).unwrap().len(), SHOWN);
        assert_eq!(said("<html>hunter2</html>"), None);
        assert_eq!(said(r#"{"error":{"x":1}}"#), None);
    }

    #[test]
    fn a_redirect_is_shown_without_what_it_carries() {
        let secret = Secret::from("hunter2");
        let to = |location: &'static str| place(Some(location.as_bytes()), &secret);
        assert_eq!(to("https://user:word@other.example:8443/a?code=1"), "https://other.example:8443/a");
        assert_eq!(to("/elsewhere?code=1#x"), "/elsewhere");
        assert_eq!(to("not a url"), "no URL");
        assert_eq!(place(None, &secret), "no URL");
    }
}
