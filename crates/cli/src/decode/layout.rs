//! Whether a length and a header stand before a message, and reading all three.

use bytes::Bytes;
use clap::ValueEnum;
use milena_conformance::schema::{Schema, locate};
use milena_protocol::{
    ApiKey, DecodeError, DecodeErrorKind,
    frame::LENGTH_PREFIX,
    messages::{Request, RequestHeader, Response, ResponseHeader},
    wire::{Decode, Reader},
};
use serde_json::Value;

use super::{
    Body,
    subject::{Subject, json},
};
use crate::advised::advised;

/// Bytes shown on either side of the one where reading stopped.
const EXCERPT: usize = 8;

/// What stands before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Layout {
    /// Whatever fits
    Auto,
    /// Four bytes of length, the header, the message: as on the wire
    Frame,
    /// The header and the message, without the length
    Message,
    /// The message alone
    Body,
}

impl Layout {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Frame => "length, header, body",
            Self::Message => "header, body",
            Self::Body => "body",
        }
    }
}

/// A message with what stood around it.
pub(super) struct Decoded {
    pub(super) subject: Subject,
    pub(super) version: i16,
    pub(super) layout: Layout,
    header: Option<Value>,
    pub(super) body: Body,
    /// Bytes that were not asked for.
    pub(super) rest: usize,
}

impl Decoded {
    pub(super) fn header_json(&self) -> Option<Value> {
        self.header.clone()
    }

    pub(super) fn body_json(&self) -> Value {
        match &self.body {
            Body::Request(body) => json(&**body, self.version),
            Body::Response(body) => json(&**body, self.version),
            Body::Structure(value) => value.clone(),
            Body::Nothing => Value::Null,
        }
    }
}

/// Why bytes are not what they were said to be, and where that shows in the input.
struct Refusal {
    layout: Layout,
    kind: RefusalKind,
    at: usize,
}

enum RefusalKind {
    /// The message begins at a byte of the input.
    Bytes {
        name: String,
        version: i16,
        begin: usize,
        error: DecodeErrorKind,
    },
    Other(String),
}

/// Reads the input, which must hold nothing else.
///
/// # Errors
/// When it is something else: the layout that came furthest says why.
pub(super) fn decode(subject: Subject, layout: Layout, bytes: &Bytes) -> anyhow::Result<Decoded> {
    let layouts: &[Layout] = match (layout, subject) {
        (_, Subject::Structure { .. }) => &[Layout::Body],
        (Layout::Auto, Subject::Header { .. }) => &[Layout::Frame, Layout::Message],
        (Layout::Auto, _) => &[Layout::Frame, Layout::Message, Layout::Body],
        (Layout::Frame, _) => &[Layout::Frame],
        (Layout::Message, _) => &[Layout::Message],
        (Layout::Body, _) => &[Layout::Body],
    };
    let mut refusals = Vec::new();
    for layout in layouts {
        match attempt(subject, *layout, bytes) {
            Ok(decoded) => return Ok(decoded),
            Err(refusal) => refusals.push(refusal),
        }
    }
    // A length that is right is no accident; else the layout counts that comes furthest, and of several the barest.
    let furthest = refusals.into_iter().max_by_key(|refusal| match refusal {
        Refusal { kind: RefusalKind::Other(_), .. } => (0, 0),
        Refusal { layout: Layout::Frame, .. } => (2, 0),
        Refusal { at, .. } => (1, *at),
    });
    Err(match furthest {
        Some(refusal) => explain(subject, &refusal, bytes),
        None => anyhow::anyhow!("there is nothing to try"),
    })
}

fn attempt(subject: Subject, layout: Layout, bytes: &Bytes) -> Result<Decoded, Refusal> {
    let other = |what: String, at| Refusal { layout, kind: RefusalKind::Other(what), at };
    let mut frame = bytes.clone();
    let mut before = 0;
    if layout == Layout::Frame {
        let Some(prefix) = frame.first_chunk::<LENGTH_PREFIX>() else {
            return Err(other("there are not even the four bytes of a length".into(), 0));
        };
        let (announced, there) = (i32::from_be_bytes(*prefix), frame.len() - LENGTH_PREFIX);
        if usize::try_from(announced).ok() != Some(there) {
            return Err(other(format!("the length says {announced}, but {there} bytes follow it"), 0));
        }
        frame = frame.slice(LENGTH_PREFIX..);
        before = LENGTH_PREFIX;
    }
    let mut reader = Reader::new(&frame);
    let decoded = match subject {
        Subject::Request { api, version } => request(api, version, layout, &frame, &mut reader),
        Subject::Response { api, version } => response(api, version, layout, &mut reader),
        Subject::Header { version } => header(version, layout, &frame, &mut reader),
        Subject::Structure { structure, version } => {
            let version = match version {
                Some(version) => Ok(version),
                None => reader.i16(),
            };
            let begin = reader.position();
            version.map_err(|error| Failed::new(subject.name(), -1, begin, error)).and_then(|version| {
                let named = |error| Failed::new(subject.name(), version, begin, error);
                let value = (structure.decode)(&mut reader, version).map_err(named)?;
                reader.finish().map_err(named)?;
                Ok(Decoded { subject, version, layout, header: None, body: Body::Structure(value), rest: 0 })
            })
        }
    };
    decoded.map_err(|Failed { name, version, begin, error }| Refusal {
        layout,
        at: error.at + before,
        kind: RefusalKind::Bytes { name, version, begin: begin + before, error: error.kind },
    })
}

/// What could not be read, where it begins, and why.
struct Failed {
    name: String,
    version: i16,
    begin: usize,
    error: DecodeError,
}

impl Failed {
    const fn new(name: String, version: i16, begin: usize, error: DecodeError) -> Self {
        Self { name, version, begin, error }
    }
}

fn request(
    api: Option<ApiKey>,
    version: Option<i16>,
    layout: Layout,
    frame: &Bytes,
    reader: &mut Reader<'_>,
) -> Result<Decoded, Failed> {
    let (api, version, header) = if layout == Layout::Body {
        let unknown = |what| {
            let error = reader.error(DecodeErrorKind::LeftOver(reader.remaining()));
            Failed::new(format!("a request ({what} is missing)"), -1, 0, error)
        };
        let api = api.ok_or_else(|| unknown("--api"))?;
        (api, version.ok_or_else(|| unknown("--version"))?, None)
    } else {
        let (key, says, header) = request_header(None, frame, reader)?;
        let is_other = api.is_some_and(|api| api != key) || version.is_some_and(|version| version != says);
        if is_other {
            let name = format!("a request of {key}, as the header says, and of what was asked for");
            let error = DecodeError { kind: DecodeErrorKind::UnknownApiKey(key.code()), at: 0 };
            return Err(Failed::new(name, says, 0, error));
        }
        (key, says, Some(header))
    };
    let begin = reader.position();
    let named = |error| Failed::new(format!("{api}Request"), version, begin, error);
    let body = Request::decode(api, reader, version).map_err(named)?;
    reader.finish().map_err(named)?;
    let subject = Subject::Request { api: Some(api), version: Some(version) };
    Ok(Decoded { subject, version, layout, header, body: Body::Request(Box::new(body)), rest: 0 })
}

/// The API and the version that the header names, and the header.
fn request_header(
    version: Option<i16>,
    frame: &Bytes,
    reader: &mut Reader<'_>,
) -> Result<(ApiKey, i16, Value), Failed> {
    let failed = |version| move |error| Failed::new("RequestHeader".to_owned(), version, 0, error);
    let mut peek = Reader::new(frame);
    let key = peek.i16().map_err(failed(-1))?;
    let says = peek.i16().map_err(failed(-1))?;
    let unknown = peek.error(DecodeErrorKind::UnknownApiKey(key));
    let api = ApiKey::from_code(key).ok_or(unknown).map_err(failed(-1))?;
    let header_version = version.unwrap_or(api.request_header_version(says));
    let header = RequestHeader::decode(reader, header_version).map_err(failed(header_version))?;
    Ok((api, says, json(&header, header_version)))
}

fn header(
    version: Option<i16>,
    layout: Layout,
    frame: &Bytes,
    reader: &mut Reader<'_>,
) -> Result<Decoded, Failed> {
    let (api, says, header) = request_header(version, frame, reader)?;
    let version = version.unwrap_or(api.request_header_version(says));
    let subject = Subject::Header { version: Some(version) };
    Ok(Decoded {
        subject,
        version,
        layout,
        header: Some(header),
        body: Body::Nothing,
        rest: reader.remaining(),
    })
}

fn response(api: ApiKey, version: i16, layout: Layout, reader: &mut Reader<'_>) -> Result<Decoded, Failed> {
    let header_version = api.response_header_version(version);
    let header = if layout == Layout::Body {
        None
    } else {
        let header = ResponseHeader::decode(reader, header_version);
        let header =
            header.map_err(|error| Failed::new("ResponseHeader".to_owned(), header_version, 0, error))?;
        Some(json(&header, header_version))
    };
    let begin = reader.position();
    let named = |error| Failed::new(format!("{api}Response"), version, begin, error);
    let body = Response::decode(api, reader, version).map_err(named)?;
    reader.finish().map_err(named)?;
    let subject = Subject::Response { api, version };
    Ok(Decoded { subject, version, layout, header, body: Body::Response(Box::new(body)), rest: 0 })
}

fn explain(subject: Subject, refusal: &Refusal, bytes: &Bytes) -> anyhow::Error {
    let len = bytes.len();
    let layout = refusal.layout.words();
    let what = match &refusal.kind {
        RefusalKind::Other(what) => format!("the {len} bytes are no frame: {what}"),
        RefusalKind::Bytes { name, error: DecodeErrorKind::UnknownApiKey(key), .. }
            if ApiKey::from_code(*key).is_some() =>
        {
            format!("the {len} bytes are not both {name}")
        }
        RefusalKind::Bytes { name, version, begin, error } => {
            let at = refusal.at;
            let field =
                field(name, *version, bytes.get(*begin..).unwrap_or_default(), at.saturating_sub(*begin));
            let version = if *version < 0 { String::new() } else { format!(" version {version}") };
            let excerpt = excerpt(bytes, at);
            format!(
                "the {len} bytes, read as {layout}, are not {name}{version}: {error}{field} at byte {at} of the input: {excerpt}"
            )
        }
    };
    let error = anyhow::anyhow!("{what}");
    let fitting = fitting_versions(subject, bytes);
    if !fitting.is_empty() {
        let fitting: Vec<_> = fitting.iter().map(i16::to_string).collect();
        return advised(error, format!("--version {}: they decode to the last byte", fitting.join(" or ")));
    }
    match &refusal.kind {
        RefusalKind::Bytes { error: DecodeErrorKind::LeftOver(left), .. } => advised(
            error,
            format!(
                "the message is complete {left} bytes before the end: cut them off, or name another version"
            ),
        ),
        RefusalKind::Bytes { error: DecodeErrorKind::Truncated { .. }, .. } => {
            advised(error, "the whole message: whoever captured it has cut it off, or it is something else")
        }
        _ => advised(error, "`--layout` and `--format` if it was taken for something else, and `--list`"),
    }
}

/// The field that a byte of a message belongs to, in words that follow an error.
fn field(name: &str, version: i16, message: &[u8], at: usize) -> String {
    let schema = Schema::find(name).filter(|_| version >= 0);
    let field = schema.and_then(|schema| locate(&schema, message, version, at));
    field.map_or_else(String::new, |field| format!(", in {field},"))
}

/// The bytes around a place, which is marked.
fn excerpt(bytes: &Bytes, at: usize) -> String {
    let start = at.saturating_sub(EXCERPT);
    let end = at.saturating_add(EXCERPT).min(bytes.len());
    let hex = |range: std::ops::Range<usize>| {
        let bytes = bytes.get(range).unwrap_or_default();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    };
    let (before, behind) = (hex(start..at.min(end)), hex(at.min(end)..end));
    let dots = |is_cut: bool| if is_cut { "…" } else { "" };
    format!("{}{before} >{behind}{}", dots(start > 0), dots(end < bytes.len()))
}

/// The other versions in which the bytes are the message that was asked for.
fn fitting_versions(subject: Subject, bytes: &Bytes) -> Vec<i16> {
    let fits = |subject| {
        [Layout::Frame, Layout::Message, Layout::Body]
            .iter()
            .any(|layout| attempt(subject, *layout, bytes).is_ok())
    };
    match subject {
        Subject::Response { api, .. } => {
            api.versions().filter(|&version| fits(Subject::Response { api, version })).collect()
        }
        Subject::Request { api: Some(api), version: Some(_) } => {
            let request = |version| Subject::Request { api: Some(api), version: Some(version) };
            api.versions().filter(|&version| fits(request(version))).collect()
        }
        Subject::Structure { structure, version: Some(_) } => {
            let of = |version| Subject::Structure { structure, version: Some(version) };
            let fits = |version: &i16| attempt(of(*version), Layout::Body, bytes).is_ok();
            structure.versions.clone().filter(fits).collect()
        }
        _ => Vec::new(),
    }
}
