//! What bytes are said to be, by the names and numbers people use.

use std::{fmt::Write, ops::RangeInclusive};

use milena_protocol::{
    ApiKey, DecodeError, Json,
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, ControlRecordTypeSchema,
        DefaultPrincipalData, EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, RequestHeader,
        ResponseHeader, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    },
    wire::{Decode, Reader},
};
use serde_json::Value;

use super::{Kind, no_version};
use crate::advised::advised;

/// What bytes are said to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// What is not given stands in the header.
    Request {
        api: Option<ApiKey>,
        version: Option<i16>,
    },
    Response {
        api: ApiKey,
        version: i16,
    },
    /// Only the header of a request.
    Header {
        version: Option<i16>,
    },
    /// Without a version, it stands in the first two bytes.
    Structure {
        structure: &'static Structure,
        version: Option<i16>,
    },
}

/// A structure of no API.
#[derive(Debug)]
pub(super) struct Structure {
    name: &'static str,
    pub(super) versions: RangeInclusive<i16>,
    /// True where Kafka writes the version before the structure.
    pub(super) is_versioned: bool,
    pub(super) decode: fn(&mut Reader<'_>, i16) -> Result<Value, DecodeError>,
}

macro_rules! structures {
    ($($name:ident $first:literal..=$last:literal $is_versioned:literal;)*) => {
        &[$(Structure {
            name: stringify!($name),
            versions: $first..=$last,
            is_versioned: $is_versioned,
            decode: |reader, version| {
                let value = $name::decode(reader, version)?;
                Ok(json(&value, version))
            },
        }),*]
    };
}

const STRUCTURES: &[Structure] = structures! {
    ConsumerProtocolSubscription 0..=3 true;
    ConsumerProtocolAssignment 0..=3 true;
    EndTxnMarker 0..=0 true;
    ControlRecordTypeSchema 0..=0 true;
    LeaderChangeMessage 0..=1 false;
    SnapshotHeaderRecord 0..=0 false;
    SnapshotFooterRecord 0..=0 false;
    KRaftVersionRecord 0..=0 false;
    VotersRecord 0..=0 false;
    DefaultPrincipalData 0..=0 true;
    RequestHeader 1..=2 false;
    ResponseHeader 0..=1 false;
};

/// A value at a version, tagged fields that nobody knows included.
pub(super) fn json<T: milena_protocol::ToJson>(value: &T, version: i16) -> Value {
    let json = Json::new(value, version).with_unknown_tags();
    serde_json::to_value(json).unwrap_or_else(|error| error.to_string().into())
}

pub(super) fn choose(kind: Kind, name: Option<&str>, version: Option<i16>) -> anyhow::Result<Subject> {
    match kind {
        Kind::Request => {
            let api = name.map(api).transpose()?;
            if let (Some(api), Some(version)) = (api, version) {
                check(&format!("{api}Request"), version, &api.versions())?;
            }
            Ok(Subject::Request { api, version })
        }
        Kind::Response => {
            let missing =
                |what| anyhow::anyhow!("a response does not say what it answers: {what} is missing");
            let name = name.ok_or_else(|| advised(missing("--api"), "`milena decode --list`"))?;
            let api = api(name)?;
            let versions = api.versions();
            let which = || format!("--version, from {} to {}", versions.start(), versions.end());
            let version = version.ok_or_else(|| advised(missing("--version"), which()))?;
            check(&format!("{api}Response"), version, &versions)?;
            Ok(Subject::Response { api, version })
        }
        Kind::Header => {
            if let Some(version) = version {
                check("RequestHeader", version, &(1..=2))?;
            }
            Ok(Subject::Header { version })
        }
        Kind::Data | Kind::Batch => {
            let structure = structure(name)?;
            if let Some(version) = version {
                check(structure.name, version, &structure.versions)?;
            } else if !structure.is_versioned {
                let (first, last) = (structure.versions.start(), structure.versions.end());
                let error = anyhow::anyhow!("{} does not say its version", structure.name);
                return Err(advised(error, format!("--version, from {first} to {last}")));
            }
            Ok(Subject::Structure { structure, version })
        }
    }
}

fn check(name: &str, version: i16, versions: &RangeInclusive<i16>) -> anyhow::Result<()> {
    if versions.contains(&version) { Ok(()) } else { Err(no_version(name, version, versions)) }
}

/// An API by its key, or by its name in any case, with or without `Request` or `Response`.
fn api(text: &str) -> anyhow::Result<ApiKey> {
    if let Ok(key) = text.parse() {
        return ApiKey::from_code(key).ok_or_else(|| {
            advised(anyhow::anyhow!("there is no API with the key {key}"), "`milena decode --list`")
        });
    }
    let lower = text.to_ascii_lowercase();
    let stem = lower.strip_suffix("request").or_else(|| lower.strip_suffix("response")).unwrap_or(&lower);
    let named = ApiKey::ALL.iter().find(|api| api.name().eq_ignore_ascii_case(stem));
    named.copied().ok_or_else(|| unknown("API", text, stem, ApiKey::ALL.iter().map(|api| api.name())))
}

fn structure(name: Option<&str>) -> anyhow::Result<&'static Structure> {
    let names = || STRUCTURES.iter().map(|structure| structure.name);
    let Some(text) = name else {
        let error = anyhow::anyhow!("which structure? --api is missing");
        return Err(advised(error, names().collect::<Vec<_>>().join(", ")));
    };
    let named = STRUCTURES.iter().find(|structure| structure.name.eq_ignore_ascii_case(text));
    named.ok_or_else(|| unknown("structure", text, text, names()))
}

/// Nothing is called `text`; perhaps something like it is.
fn unknown(what: &str, text: &str, stem: &str, names: impl Iterator<Item = &'static str>) -> anyhow::Error {
    let likeness = |name: &str| strsim::jaro_winkler(&name.to_ascii_lowercase(), &stem.to_ascii_lowercase());
    let closest =
        names.map(|name| (likeness(name), name)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    let error = anyhow::anyhow!("there is no {what} called `{text}`");
    match closest {
        Some((likeness, name)) if likeness > 0.8 => advised(error, format!("`{name}`?")),
        _ => advised(error, "`milena decode --list`"),
    }
}

impl Subject {
    /// The name in the schemas.
    pub(super) fn name(self) -> String {
        match self {
            Self::Request { api, .. } => api.map_or("request".into(), |api| format!("{api}Request")),
            Self::Response { api, .. } => format!("{api}Response"),
            Self::Header { .. } => "RequestHeader".into(),
            Self::Structure { structure, .. } => structure.name.into(),
        }
    }

    /// What the JSON calls the message.
    pub(super) fn kind_word(self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Response { .. } => "response",
            Self::Header { .. } => "header",
            Self::Structure { .. } => "data",
        }
    }
}

/// All that can be decoded, as a table.
pub(super) fn list() -> String {
    let mut text = format!("{:>3}  {:<30} {:>8}  flexible\n", "key", "API", "versions");
    for api in ApiKey::ALL {
        let versions = api.versions();
        let flexible = versions.clone().find(|version| api.is_flexible(*version));
        let flexible = flexible.map_or("never".into(), |first| format!("from {first}"));
        let unstable = if versions == api.stable_versions() { "" } else { ", the last is unstable" };
        let range = range(&versions);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:>3}  {:<30} {range:>8}  {flexible}{unstable}", api.code(), api.name());
    }
    text.push_str("\nstructures (--kind data)\n");
    for structure in STRUCTURES {
        let _ = writeln!(text, "     {:<30} {:>8}", structure.name, range(&structure.versions));
    }
    text
}

fn range(versions: &RangeInclusive<i16>) -> String {
    match (versions.start(), versions.end()) {
        (first, last) if first > last => "none".into(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}
