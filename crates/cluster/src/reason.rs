//! Why something stands still, for people and for programs.

use std::{fmt, time::Duration, time::Instant};

use crate::{BrokerId, Deadline};

/// Why something stands still, or what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Reason {
    /// A name for programs, which does not change: `paused`, `no_leader`.
    pub code: &'static str,
    /// The same for people, as the rest of a sentence that begins with what it is about.
    pub text: String,
    /// What went wrong before, if anything.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cause: Option<String>,
    /// The broker that it is about.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub broker: Option<i32>,
    /// How long it has been so, in milliseconds.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub since_ms: Option<u64>,
    /// When it ends by itself, in milliseconds from now.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub left_ms: Option<u64>,
}

impl Reason {
    /// A reason with no more to it.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), cause: None, broker: None, since_ms: None, left_ms: None }
    }

    /// What went wrong before.
    #[must_use]
    pub fn because(mut self, cause: Option<impl Into<String>>) -> Self {
        self.cause = cause.map(Into::into);
        self
    }

    /// It is about this broker, if it is known.
    #[must_use]
    pub fn at(mut self, broker: impl Into<Option<BrokerId>>) -> Self {
        self.broker = broker.into().map(|broker| broker.0);
        self
    }

    /// It has been so since then.
    #[must_use]
    pub fn since(mut self, now: Instant, since: Option<Instant>) -> Self {
        self.since_ms = since.map(|since| milliseconds(now.saturating_duration_since(since)));
        self
    }

    /// It ends then.
    #[must_use]
    pub fn until(mut self, now: Instant, until: Option<Instant>) -> Self {
        self.left_ms = until.map(|until| milliseconds(until.saturating_duration_since(now)));
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match (self.since_ms, self.left_ms) {
            (Some(since), Some(left)) => write!(f, " (for {since} ms, {left} ms left)")?,
            (Some(since), None) => write!(f, " (for {since} ms)")?,
            (None, Some(left)) => write!(f, " ({left} ms left)")?,
            (None, None) => {}
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// What happens next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Due {
    /// When, in milliseconds from now.
    pub in_ms: u64,
    /// What.
    pub what: &'static str,
}

impl Due {
    /// A deadline as seen from `now`.
    #[must_use]
    pub fn new(now: Instant, deadline: Deadline) -> Self {
        Self { in_ms: milliseconds(deadline.at.saturating_duration_since(now)), what: deadline.why }
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "next in {} ms: {}", self.in_ms, self.what)
    }
}

/// `1 request`, `2 requests`.
#[must_use]
pub fn counted(count: usize, noun: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { noun } else { plural })
}

/// Whole milliseconds, as many as fit.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
