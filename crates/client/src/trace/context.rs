//! The context of a trace in words, as the headers of a record carry it.
//!
//! # References
//! W3C Trace Context, level 1 (the format of `traceparent` and `tracestate`, and what to do about later versions).

use std::{fmt, str::FromStr};

use bytes::Bytes;
use thiserror::Error;

/// The header with the ids.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add.
pub(crate) const TRACESTATE: &str = "tracestate";

/// The length of version 00, and the least of later ones: `00-` 32 `-` 16 `-` 2.
const LEN: usize = 55;
/// The longest `traceparent` of a later version that is looked at.
const LONGEST: usize = 512;
/// The longest `tracestate` that is kept: so much everybody has to hand on.
const LONGEST_STATE: usize = 512;
/// The most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;

/// Which trace a record belongs to, and which span of it has sent it: W3C Trace Context.
///
/// It is read strictly, and bounded: what is broken is no context, and never an error of a consumer. A broken `tracestate`
/// is left out, and its `traceparent` counts.
///
/// ```
/// use milena::TraceContext;
///
/// let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// # Ok::<(), milena::InvalidTraceContext>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    state: Option<Bytes>,
}

/// What is no `traceparent` as W3C has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is no traceparent of W3C Trace Context")]
pub struct InvalidTraceContext;

impl TraceContext {
    /// A context from its parts: the trace, the span that sends, and flags, of which the lowest bit says that the span is sampled.
    /// `None` if one of the ids is zero, which stands for none.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, flags, state: None })
    }

    /// The same with what vendors add (`tracestate`), if that is as W3C has it and no longer than 512 bytes; else without.
    #[must_use]
    pub fn with_state(mut self, state: impl Into<Bytes>) -> Self {
        let state = state.into();
        self.state = is_state(&state).then_some(state);
        self
    }

    /// Reads a `traceparent` and its `tracestate`. `None` if the former is broken.
    #[must_use]
    pub fn parse(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Self> {
        let context = parse(traceparent)?;
        Some(match tracestate {
            Some(state) if is_state(state) => Self { state: Some(Bytes::copy_from_slice(state)), ..context },
            _ => context,
        })
    }

    /// Reads the last `traceparent` among headers, and the last `tracestate`. It allocates for the latter only.
    pub(crate) fn in_headers<'h>(
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Option<Self> {
        let (mut parent, mut state) = (None, None);
        for (name, value) in headers {
            match name {
                name if name == TRACEPARENT.as_bytes() => parent = value,
                name if name == TRACESTATE.as_bytes() => state = value,
                _ => {}
            }
        }
        Self::parse(parent?, state)
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span that has sent, or sends (`parent-id`).
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the span may have been recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// What vendors add (`tracestate`).
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_ref().and_then(|state| std::str::from_utf8(state).ok())
    }

    pub(crate) fn state_bytes(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }
}

/// Its `traceparent`, in version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    fn from_str(text: &str) -> Result<Self, InvalidTraceContext> {
        parse(text.as_bytes()).ok_or(InvalidTraceContext)
    }
}

fn parse(text: &[u8]) -> Option<TraceContext> {
    let (head, rest) = text.split_at_checked(LEN)?;
    let (version, ids) = head.split_first_chunk::<2>()?;
    let (&[dash], ids) = ids.split_first_chunk::<1>()?;
    let (trace_id, ids) = ids.split_first_chunk::<32>()?;
    let (&[second], ids) = ids.split_first_chunk::<1>()?;
    let (span_id, ids) = ids.split_first_chunk::<16>()?;
    let (&[third], flags) = ids.split_first_chunk::<1>()?;
    let [version] = bytes(version)?;
    // A later version may have more behind another dash; 255 is no version.
    let is_known_end = match version {
        0 => rest.is_empty(),
        255 => false,
        _ => (rest.is_empty() || rest.first() == Some(&b'-')) && text.len() <= LONGEST,
    };
    if [dash, second, third] != [b'-'; 3] || !is_known_end {
        return None;
    }
    let [flags] = bytes(flags)?;
    // Of a later version only this flag is known.
    let flags = if version == 0 { flags } else { flags & 1 };
    TraceContext::new(bytes(trace_id)?, bytes(span_id)?, flags)
}

/// Small letters only.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// A list of up to 32 members `key=value`, which may be empty.
fn is_state(state: &[u8]) -> bool {
    let mut members = 0;
    state.len() <= LONGEST_STATE
        && state.split(|byte| *byte == b',').all(|member| {
            let member = member.trim_ascii();
            members += usize::from(!member.is_empty());
            members <= MAX_MEMBERS && (member.is_empty() || is_member(member))
        })
        && members > 0
}

fn is_member(member: &[u8]) -> bool {
    let mut parts = member.splitn(2, |byte| *byte == b'=');
    let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return false };
    let is_key = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let is_value = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    let begins_well = key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    begins_well
        && key.len() <= 256
        && key.iter().all(is_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_w3c_has_is_read_and_written_back() {
        let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let context: TraceContext = sampled.parse().unwrap();
        assert_eq!(context.to_string(), sampled);
        assert_eq!(context.trace_id()[0], 0x4b);
        assert_eq!(context.span_id(), [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert!(context.is_sampled() && context.state().is_none());
        let random: TraceContext = format!("00-{TRACE}-00f067aa0ba902b7-02").parse().unwrap();
        assert!(!random.is_sampled());
        assert_eq!(random.flags(), 2);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let parse = |text: String| text.parse::<TraceContext>();
        let plain = format!("cc-{TRACE}-00f067aa0ba902b7-0b");
        assert_eq!(parse(plain.clone()).unwrap().flags(), 1);
        assert!(parse(format!("{plain}-what-the-future-will-be-like")).is_ok());
        assert!(parse(format!("{plain}.what-the-future-will-be-like")).is_err());
        assert!(parse(format!("{plain}-{}", "x".repeat(1000))).is_err());
    }

    #[test]
    fn what_is_broken_is_no_context() {
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let broken = [
            String::new(),
            good.to_uppercase(),
            format!("{good}-"),
            format!("{good}-00"),
            format!(" {good}"),
            good.replacen("00-", "ff-", 1),
            good.replacen("00-", "0-", 1),
            good.replacen('-', "_", 1),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            good.replace("-01", "-0g"),
            good.replace("4bf9", "4bf\u{e9}"),
        ];
        for text in broken {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTraceContext), "{text}");
        }
        for at in 0..good.len() {
            assert!(TraceContext::parse(&good.as_bytes()[..at], None).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_broken_state_is_left_out() {
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let state = |state: &[u8]| {
            TraceContext::parse(good.as_bytes(), Some(state)).unwrap().state().map(str::to_owned)
        };
        for fine in ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1, ,b=2", "fw529a3039@dt=x", "a= b"] {
            assert_eq!(state(fine.as_bytes()).as_deref(), Some(fine));
        }
        let many = ["a=1"; 33].join(",");
        let long = format!("a={}", "x".repeat(600));
        for broken in ["", "a", "=1", "A=1", "a=", "a=1=2", "a=\u{e9}", "a=\n", many.as_str(), long.as_str()]
        {
            assert_eq!(state(broken.as_bytes()), None, "{broken}");
        }
        assert_eq!(state(&[0xff; 20]), None);
    }
}
