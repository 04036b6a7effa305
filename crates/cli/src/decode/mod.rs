//! `milena decode`: bytes of Kafka's protocol as JSON.
//!
//! - [`input`]: where the bytes come from, raw or in hexadecimal.
//! - [`subject`]: what they are said to be, by the names and numbers people use.
//! - [`layout`]: whether a length and a header stand before the message.
//! - [`records`]: batches and records.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use milena_protocol::{
    ApiKey,
    messages::{Request, Response},
};
use serde_json::{Value, json};

use crate::{advised::advised, output::print};
use layout::{Decoded, Layout};
use subject::Subject;

mod input;
mod layout;
mod records;
mod subject;

const EXAMPLES: &str = "\
Examples:
  # A frame as it was on the wire, length and header included
  milena decode --api Fetch --version 16 --kind response < frame.bin
  # A request names its API and version itself; records are shown one by one
  milena decode --kind request --records --file produce.bin
  # Only the body, pasted as hexadecimal
  echo '00 00 00 00 | 00 00 00 00' | tr -d '|' | milena decode --api Heartbeat --version 1 --kind response
  # What a member of a group tells its leader, and a records field
  milena decode --kind data --api ConsumerProtocolSubscription < subscription.bin
  milena decode --kind batch < segment.log

Ends with 0 when everything was decoded, 1 when the bytes are not what they were said to be, 2 when it can't begin.";

/// What and how to decode.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The API by name or key, or with `--kind data` the structure; `--list` shows both
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
    /// The version; a request and a structure of a group say it themselves
    #[arg(long, value_name = "N")]
    version: Option<i16>,
    /// What the bytes are
    #[arg(long, value_enum, required_unless_present = "list")]
    kind: Option<Kind>,
    /// Reads this file instead of standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// How the input is written; `auto` takes text of hexadecimal digits for what it is
    #[arg(long, value_enum, default_value_t = input::Format::Auto)]
    format: input::Format,
    /// What stands before the message; `auto` takes the first of the others that fits to the last byte
    #[arg(long, value_enum, default_value_t = Layout::Auto)]
    layout: Layout,
    /// Shows the records inside fetch responses and produce requests instead of base64
    #[arg(long)]
    records: bool,
    /// One line, even on a terminal
    #[arg(long)]
    compact: bool,
    /// Shows the APIs with their versions, and the structures
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A request, as a broker receives it
    Request,
    /// A response, as a client receives it
    Response,
    /// The header of a request, whatever follows it
    Header,
    /// A structure of no API: what group members exchange, or a control record's key or value
    Data,
    /// A records field or a log segment: record batches
    Batch,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        print(&subject::list())?;
        return Ok(ExitCode::SUCCESS);
    }
    let kind = arguments.kind.unwrap_or(Kind::Request);
    let subject = match kind {
        Kind::Batch => None,
        _ => Some(subject::choose(kind, arguments.api.as_deref(), arguments.version)?),
    };
    let input::Input { bytes, not_hex } = input::read(arguments.file.as_deref(), arguments.format)?;
    let (value, is_clean) = match subject {
        None => records::batches(&bytes),
        Some(subject) => match layout::decode(subject, arguments.layout, &bytes) {
            Ok(decoded) => show(arguments, &decoded),
            Err(error) => {
                let error = match not_hex {
                    // The advice that goes with bytes would lead away from what is wrong with text.
                    Some(not_hex) => advised(
                        anyhow::anyhow!("{error} (the input was taken for raw bytes, because {not_hex})"),
                        "the hexadecimal digits alone, without what a tool prints beside them; or `--format raw` if it is what it is",
                    ),
                    None => error,
                };
                crate::print_error(&error);
                return Ok(ExitCode::FAILURE);
            }
        },
    };
    let pretty = !arguments.compact && std::io::stdout().is_terminal();
    let text = if pretty { serde_json::to_string_pretty(&value)? } else { value.to_string() };
    print(&(text + "\n"))?;
    if is_clean {
        return Ok(ExitCode::SUCCESS);
    }
    let error = anyhow::anyhow!("not every batch could be read: see `error` in the output");
    crate::print_error(&error);
    Ok(ExitCode::FAILURE)
}

/// The JSON, and whether all the records that were to be shown could be read.
fn show(arguments: &Arguments, decoded: &Decoded) -> (Value, bool) {
    let mut body = decoded.body_json();
    let mut is_clean = true;
    if arguments.records {
        is_clean = records::expand(&mut body, decoded);
    }
    let mut shown = serde_json::Map::new();
    if let Some(api) = decoded.subject.api() {
        shown.insert("api".into(), api.name().into());
        shown.insert("apiKey".into(), api.code().into());
    } else {
        shown.insert("structure".into(), decoded.subject.name().into());
    }
    shown.insert("version".into(), decoded.version.into());
    shown.insert("layout".into(), decoded.layout.words().into());
    if let Some(header) = decoded.header_json() {
        shown.insert("header".into(), header);
    }
    if !body.is_null() {
        shown.insert(decoded.subject.kind_word().into(), body);
    }
    if decoded.rest > 0 {
        shown.insert("bytesThatFollow".into(), json!(decoded.rest));
    }
    (shown.into(), is_clean)
}

/// What was decoded, of any type.
enum Body {
    Request(Box<Request>),
    Response(Box<Response>),
    Structure(Value),
    /// Only the header was asked for.
    Nothing,
}

/// A version that is not there, with those that are.
fn no_version(name: &str, version: i16, versions: &std::ops::RangeInclusive<i16>) -> anyhow::Error {
    let (first, last) = (versions.start(), versions.end());
    let error = anyhow::anyhow!("{name} has no version {version}");
    advised(error, format!("a version from {first} to {last}"))
}

impl Subject {
    fn api(self) -> Option<ApiKey> {
        match self {
            Self::Request { api, .. } => api,
            Self::Response { api, .. } => Some(api),
            Self::Header { .. } | Self::Structure { .. } => None,
        }
    }
}
