//! What happened in a run: always hashed, kept as text on demand.

use std::fmt::{self, Write};

/// The events of a run in their order.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    line: String,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace that keeps its lines if `keep` says so.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        // The offset basis of FNV-1a.
        Self { hash: 0xcbf2_9ce4_8422_2325, line: String::new(), kept: keep.then(Vec::new) }
    }

    /// Adds what happened `at` so many microseconds after the start.
    pub(super) fn note(&mut self, at: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>11.3} ms  {what}", at as f64 / 1000.0);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(self.line.clone());
        }
    }

    /// Equal for runs in which the same happened at the same times.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.kept.as_deref().unwrap_or_default()
    }
}
