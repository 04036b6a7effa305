//! Standard output, through one buffer.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use super::{format::Format, json, shown::Shown};

/// How records are written.
#[derive(Clone, Debug)]
pub(super) enum Style {
    Json,
    Text {
        format: Format,
        /// What stands for a key or a value that is null.
        null: Vec<u8>,
    },
}

/// Bytes that are gathered before they are written. A pipe holds as many.
const BUFFER: usize = 64 << 10;

/// Writes records.
pub(super) struct Output {
    style: Style,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new(style: Style) -> Self {
        Self { style, out: BufWriter::with_capacity(BUFFER, io::stdout().lock()) }
    }

    pub(super) fn write(&mut self, record: &Shown<'_>) -> io::Result<()> {
        match &self.style {
            Style::Json => json::write(&mut self.out, record),
            Style::Text { format, null } => format.write(&mut self.out, record, null),
        }
    }

    /// Lets what was written be seen.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Throws away what nobody takes: dropping the buffer would try once more.
    pub(super) fn abandon(self) {
        drop(self.out.into_parts());
    }
}

/// True when the reader has seen enough, as `head` has: that is no error.
pub(super) fn has_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}
