//! An answer's bytes: read by Milena's codec, written again by the interpreter of the schemas.

use bytes::Bytes;
use milena_protocol::{
    ApiKey, Json,
    frame::{correlation_id, decode_response},
};
use serde_json::Value;

use crate::schema::{Schema, write};

/// How many bytes are shown on each side of a difference.
const AROUND: usize = 12;

/// An answer that could be read.
#[derive(Debug)]
pub(super) struct Answer {
    /// As Kafka's JSON has it.
    pub(super) json: Value,
    /// What is wrong with its bytes.
    pub(super) wrong_bytes: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// When it is none, with what is wrong and where.
pub(super) fn read(
    frame: &Bytes,
    id: i32,
    api: ApiKey,
    version: i16,
    schema: &Schema,
) -> Result<Answer, String> {
    let found = correlation_id(frame).map_err(|error| format!("no correlation id: {error}"))?;
    if found != id {
        return Err(format!("the answer is to request {found}, not to {id}"));
    }
    let response = decode_response(api, version, frame).map_err(|error| {
        format!("{} version {version} can't be read: {error}; {}", schema.name, excerpt(frame, 0))
    })?;
    let json = serde_json::to_value(Json::new(&response, version).with_unknown_tags());
    let json = json.map_err(|error| error.to_string())?;
    // A flexible header has tagged fields, of which there are none; ApiVersions keeps the old header (KIP-511).
    let is_flexible = schema.flexible.contain(version) && api != ApiKey::ApiVersions;
    let body = frame.get(if is_flexible { 5 } else { 4 }..).unwrap_or_default();
    let wrong_bytes = match schema.structure_of(&json) {
        Err(error) => Some(format!("the schema has another structure: {error}")),
        Ok(structure) => match write(schema, &structure, version) {
            Err(refusal) => Some(format!("the schema does not allow it: {refusal:?}")),
            Ok(expected) => first_difference(&expected, body),
        },
    };
    Ok(Answer { json, wrong_bytes })
}

fn first_difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let same = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    Some(format!(
        "the body differs from byte {same} on: by the schema {} ({} bytes), on the wire {} ({} bytes)",
        excerpt(expected, same),
        expected.len(),
        excerpt(found, same),
        found.len()
    ))
}

/// The bytes around a place, in hexadecimal.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let begin = at.saturating_sub(AROUND);
    let end = at.saturating_add(AROUND).min(bytes.len());
    let digits = bytes.get(begin..end).unwrap_or_default();
    let shown: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    let before = if begin > 0 { "… " } else { "" };
    let behind = if end < bytes.len() { " …" } else { "" };
    format!("{before}{}{behind}", shown.join(" "))
}
