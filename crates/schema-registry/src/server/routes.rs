//! From a path to what is asked, and back to an answer.

use hyper::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::state::{Refusal, State};
use crate::{CompatibilityLevel, Schema, SchemaId};

type Answer = (u16, Vec<u8>);

pub(super) fn answer(state: &mut State, method: &Method, uri: &Uri, body: &[u8]) -> Answer {
    let segments: Option<Vec<String>> = uri.path().split('/').skip(1).map(decoded).collect();
    let segments = segments.unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let has = |flag: &str| uri.query().unwrap_or_default().split('&').any(|pair| pair == flag);
    match route(state, method, &segments, has, body) {
        Ok(value) => (200, value.to_string().into_bytes()),
        Err((status, code, words)) => refusal(status, code, &words),
    }
}

pub(super) fn refusal(status: u16, code: i32, words: &str) -> Answer {
    (status, json!({ "error_code": code, "message": words }).to_string().into_bytes())
}

fn route(
    state: &mut State,
    method: &Method,
    segments: &[&str],
    has: impl Fn(&str) -> bool,
    body: &[u8],
) -> Result<Value, Refusal> {
    let normalize = has("normalize=true");
    match (method.as_str(), segments) {
        ("GET", ["schemas", "ids", id]) => {
            let id = id.parse().map_err(|_| (404, 40403, format!("Schema {id} not found")))?;
            value(state.schema(SchemaId(id))?)
        }
        ("GET", ["subjects"]) => {
            let live = state.subjects.iter().filter(|(_, subject)| subject.is_live());
            value(&live.map(|(name, _)| name).collect::<Vec<_>>())
        }
        ("POST", ["subjects", name]) => value(&state.find(name, &schema(body)?, normalize)?),
        ("DELETE", ["subjects", name]) => value(&state.delete_subject(name, has("permanent=true"))?),
        ("GET", ["subjects", name, "versions"]) => value(&state.versions(name)?),
        ("POST", ["subjects", name, "versions"]) => {
            Ok(json!({ "id": state.register(name, schema(body)?, normalize)? }))
        }
        ("GET", ["subjects", name, "versions", version]) => value(&state.version(name, version)?),
        ("DELETE", ["subjects", name, "versions", version]) => {
            value(&state.delete_version(name, version, has("permanent=true"))?)
        }
        ("GET", ["subjects", name, "versions", version, "referencedby"]) => {
            value(&state.referenced_by(name, version)?)
        }
        ("POST", ["compatibility", "subjects", name, "versions", version]) => {
            let reasons = state.check(name, version, &schema(body)?)?;
            let is_compatible = reasons.is_empty();
            let messages = if has("verbose=true") { reasons } else { Vec::new() };
            Ok(json!({ "is_compatible": is_compatible, "messages": messages }))
        }
        ("GET", ["config"]) => Ok(json!({ "compatibilityLevel": state.level })),
        ("PUT", ["config"]) => {
            state.level = level(body)?;
            Ok(json!({ "compatibility": state.level }))
        }
        ("GET", ["config", name]) => {
            let own = state.subjects.get(*name).and_then(|subject| subject.level);
            let words = || format!("Subject '{name}' does not have subject-level compatibility configured");
            Ok(json!({ "compatibilityLevel": own.ok_or_else(|| (404, 40408, words()))? }))
        }
        ("PUT", ["config", name]) => {
            let level = level(body)?;
            state.subjects.entry((*name).to_owned()).or_default().level = Some(level);
            Ok(json!({ "compatibility": level }))
        }
        _ => Err((404, 404, "HTTP 404 Not Found".to_owned())),
    }
}

fn value(of: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(of).map_err(|error| (500, 50001, error.to_string()))
}

fn schema(body: &[u8]) -> Result<Schema, Refusal> {
    serde_json::from_slice(body).map_err(|error| (422, 42201, format!("Invalid schema: {error}")))
}

fn level(body: &[u8]) -> Result<CompatibilityLevel, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        compatibility: CompatibilityLevel,
    }
    let body: Result<Body, _> = serde_json::from_slice(body);
    body.map(|body| body.compatibility)
        .map_err(|error| (422, 42203, format!("Invalid compatibility level: {error}")))
}

/// A segment without its percent signs.
fn decoded(segment: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(segment.len()), segment.as_bytes());
    while let [first, after @ ..] = rest {
        (bytes, rest) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                (bytes, after)
            }
            _ => {
                bytes.push(*first);
                (bytes, after)
            }
        };
    }
    String::from_utf8(bytes).ok()
}
