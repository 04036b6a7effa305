//! Records from standard input or files, one stretch after the other, read by a thread of their own.
//!
//! A read of standard input can't be called off, so no task of the runtime does it: the thread is left behind when the
//! command ends. It reads ahead by [`AHEAD`] stretches and then waits.

use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
    vec,
};

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::splitter::{Piece, Splitter};

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// How many stretches may wait to be sent. Each holds the records that one read has completed.
const AHEAD: usize = 4;

/// How the bytes are cut into records.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// What ends a record; nothing, if a source is one record.
    pub(super) delimiter: Vec<u8>,
    /// The longest record that is kept, in bytes.
    pub(super) limit: usize,
}

/// Where a record stands in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file; none for standard input.
    pub(super) file: Option<Arc<str>>,
    /// From 1.
    pub(super) number: u64,
    /// What the records are to people.
    pub(super) unit: Unit,
}

/// What a record is in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Line,
    Record,
    /// All of it.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref();
        let unit = match self.unit {
            Unit::Line => "line",
            Unit::Record => "record",
            Unit::Whole => return f.write_str(file.unwrap_or("standard input")),
        };
        write!(f, "{unit} {}", self.number)?;
        file.map_or(Ok(()), |file| write!(f, " of {file}"))
    }
}

/// What there is to be sent next.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) piece: Piece,
}

/// The input as it comes in.
#[derive(Debug)]
pub(super) struct Input {
    stretches: mpsc::Receiver<io::Result<Vec<Item>>>,
    current: vec::IntoIter<Item>,
}

/// A source to be read.
struct Source {
    file: Option<PathBuf>,
    name: Option<Arc<str>>,
}

impl Input {
    /// Begins to read the files, or standard input if there are none; `-` is standard input, too.
    ///
    /// # Errors
    /// When a file can't be opened.
    pub(super) fn open(files: &[PathBuf], cut: Cut) -> anyhow::Result<Self> {
        let sources: Vec<Source> = match files {
            [] => vec![Source { file: None, name: None }],
            files => files.iter().map(|file| Source::named(file)).collect(),
        };
        for file in sources.iter().filter_map(|source| source.file.as_deref()) {
            // It is opened again when its turn comes: thousands must not be open at a time.
            open(file)?;
        }
        let (sender, stretches) = mpsc::channel(AHEAD);
        let read = move || {
            for source in sources {
                if source.read(&cut, &sender).is_break() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("input".into()).spawn(read).context("starting to read")?;
        Ok(Self { stretches, current: Vec::new().into_iter() })
    }

    /// The next record, if it has been read.
    pub(super) fn ready(&mut self) -> Option<Item> {
        self.current.next()
    }

    /// Waits until records have been read, after all that were [ready](Self::ready). False at the end. May be dropped
    /// and asked again.
    ///
    /// # Errors
    /// When the input can't be read on.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        while self.current.as_slice().is_empty() {
            match self.stretches.recv().await {
                Some(stretch) => self.current = stretch?.into_iter(),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let is_folder = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    anyhow::ensure!(!is_folder, "{} is a folder", path.display());
    Ok(file)
}

impl Source {
    fn named(path: &Path) -> Self {
        let is_stdin = path.as_os_str() == "-";
        let name = path.to_string_lossy();
        Self { file: (!is_stdin).then(|| path.to_owned()), name: (!is_stdin).then(|| name.into()) }
    }

    fn read(self, cut: &Cut, sender: &mpsc::Sender<io::Result<Vec<Item>>>) -> std::ops::ControlFlow<()> {
        let result = match &self.file {
            None => read_from(io::stdin().lock(), None, cut, sender),
            Some(path) => File::open(path).and_then(|file| read_from(file, self.name.clone(), cut, sender)),
        };
        match result {
            Ok(true) => std::ops::ControlFlow::Continue(()),
            Ok(false) => std::ops::ControlFlow::Break(()),
            Err(error) => {
                let name = self.name.as_deref().unwrap_or("standard input");
                let error = io::Error::new(error.kind(), format!("can't read {name}: {error}"));
                let _ = sender.blocking_send(Err(error));
                std::ops::ControlFlow::Break(())
            }
        }
    }
}

/// Reads to the end. False when nobody wants more.
fn read_from(
    mut reader: impl Read,
    file: Option<Arc<str>>,
    cut: &Cut,
    sender: &mpsc::Sender<io::Result<Vec<Item>>>,
) -> io::Result<bool> {
    let mut splitter = Splitter::new(&cut.delimiter, cut.limit);
    let unit = match cut.delimiter.as_slice() {
        [] => Unit::Whole,
        b"\n" => Unit::Line,
        _ => Unit::Record,
    };
    let mut number = 0;
    let mut item = |piece| {
        number += 1;
        Item { place: Place { file: file.clone(), number, unit }, piece }
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = match reader.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut stretch = Vec::new();
        splitter.push(chunk.get(..len).unwrap_or_default(), |piece| stretch.push(item(piece)));
        if len == 0 {
            stretch.extend(splitter.finish().map(&mut item));
        }
        if !stretch.is_empty() && sender.blocking_send(Ok(stretch)).is_err() {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
    }
}

impl Item {
    /// The bytes of the record, if they were kept.
    pub(super) fn len(&self) -> u64 {
        match &self.piece {
            Piece::Record(bytes) => Bytes::len(bytes) as u64,
            Piece::TooLong { bytes } => *bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_people_find_them() {
        let place = |file: Option<&str>, unit| Place { file: file.map(Into::into), number: 7, unit };
        assert_eq!(place(None, Unit::Line).to_string(), "line 7");
        assert_eq!(place(Some("a.txt"), Unit::Record).to_string(), "record 7 of a.txt");
        assert_eq!(place(Some("a.txt"), Unit::Whole).to_string(), "a.txt");
        assert_eq!(place(None, Unit::Whole).to_string(), "standard input");
    }
}
