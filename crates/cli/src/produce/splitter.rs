//! Where one record ends and the next begins, in chunks as they are read.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// What stands between two delimiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Record(Bytes),
    /// Longer than the limit; it was not kept.
    TooLong {
        bytes: u64,
    },
}

/// Cuts a stream at its delimiters. It holds at most `limit` bytes and a chunk, however long a record is.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Without one the whole stream is one record.
    delimiter: Option<Finder<'static>>,
    limit: usize,
    held: BytesMut,
    /// How many of the held bytes can't be where a delimiter begins.
    searched: usize,
    /// Bytes of a record over the limit that were dropped.
    dropped: u64,
}

impl Splitter {
    /// An empty delimiter stands for none.
    pub(super) fn new(delimiter: &[u8], limit: usize) -> Self {
        let delimiter = (!delimiter.is_empty()).then(|| Finder::new(delimiter).into_owned());
        Self { delimiter, limit, held: BytesMut::new(), searched: 0, dropped: 0 }
    }

    /// Takes what was read, and gives what is complete with it.
    pub(super) fn push(&mut self, chunk: &[u8], mut found: impl FnMut(Piece)) {
        self.held.extend_from_slice(chunk);
        let len = self.delimiter_len();
        while let Some(at) = self.find() {
            let record = self.held.split_to(at);
            let _ = self.held.split_to(len);
            self.searched = 0;
            found(self.piece(record));
        }
        // The last bytes may be the beginning of a delimiter.
        let settled = self.held.len().saturating_sub(len.saturating_sub(1));
        self.searched = settled;
        if settled > self.limit || (self.dropped > 0 && settled > 0) {
            self.dropped = self.dropped.saturating_add(settled as u64);
            // What is left is copied, for the piece would keep the whole buffer.
            self.held = BytesMut::from(self.held.get(settled..).unwrap_or_default());
            self.searched = 0;
        }
    }

    /// The stream has ended. Behind its last delimiter there is a record only if there are bytes.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.held);
        let is_record = self.delimiter.is_none() || self.dropped > 0 || !rest.is_empty();
        is_record.then(|| self.piece(rest))
    }

    fn find(&self) -> Option<usize> {
        let rest = self.held.get(self.searched..)?;
        self.delimiter.as_ref()?.find(rest).map(|at| self.searched.saturating_add(at))
    }

    fn delimiter_len(&self) -> usize {
        self.delimiter.as_ref().map_or(0, |delimiter| delimiter.needle().len())
    }

    fn piece(&mut self, record: BytesMut) -> Piece {
        let bytes = std::mem::take(&mut self.dropped).saturating_add(record.len() as u64);
        if bytes > self.limit as u64 { Piece::TooLong { bytes } } else { Piece::Record(record.freeze()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(delimiter: &[u8], limit: usize, input: &[u8], chunk: usize) -> Vec<Piece> {
        let mut splitter = Splitter::new(delimiter, limit);
        let mut pieces = Vec::new();
        for chunk in input.chunks(chunk) {
            splitter.push(chunk, |piece| pieces.push(piece));
            assert!(splitter.held.len() <= limit + delimiter.len(), "{} bytes held", splitter.held.len());
        }
        pieces.extend(splitter.finish());
        pieces
    }

    fn record(bytes: &[u8]) -> Piece {
        Piece::Record(Bytes::copy_from_slice(bytes))
    }

    fn too_long(bytes: u64) -> Piece {
        Piece::TooLong { bytes }
    }

    #[test]
    fn records_end_at_delimiters_however_the_stream_is_read() {
        let cases: [(&[u8], &[u8], Vec<Piece>); 8] = [
            (b"\n", b"", vec![]),
            (b"\n", b"a\nbc\n", vec![record(b"a"), record(b"bc")]),
            (b"\n", b"a\n\nlast", vec![record(b"a"), record(b""), record(b"last")]),
            (b"\0", b"a\nb\0\xff\xfe\0", vec![record(b"a\nb"), record(b"\xff\xfe")]),
            (b"--+", b"a---+b--+-+--", vec![record(b"a-"), record(b"b"), record(b"-+--")]),
            (b"aab", b"aaab-aab", vec![record(b"a"), record(b"-")]),
            (b"", b"a\nb", vec![record(b"a\nb")]),
            (b"", b"", vec![record(b"")]),
        ];
        for (delimiter, input, expected) in cases {
            for chunk in 1..=input.len().max(1) {
                assert_eq!(split(delimiter, 100, input, chunk), expected, "{input:?} by {chunk}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_dropped_and_the_next_record_is_whole() {
        let cases: [(&[u8], &[u8], Vec<Piece>); 4] = [
            (b"\n", b"1234\n12345\n1\n", vec![record(b"1234"), too_long(5), record(b"1")]),
            (b"\r\n", b"123456789\r\r\n1234\r\n", vec![too_long(10), record(b"1234")]),
            (b"\n", b"1\n123456789", vec![record(b"1"), too_long(9)]),
            (b"", b"12345", vec![too_long(5)]),
        ];
        for (delimiter, input, expected) in cases {
            for chunk in 1..=4 {
                assert_eq!(split(delimiter, 4, input, chunk), expected, "{input:?} by {chunk}");
            }
        }
    }

    /// Random streams against a split that sees all at once.
    #[test]
    fn chunks_make_no_difference() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let input: Vec<u8> = (0..random.usize(0..60)).map(|_| b"ab;"[random.usize(0..3)]).collect();
            let delimiter = [&b";"[..], b"ab", b"aba", b";;"][random.usize(0..4)];
            let limit = random.usize(0..12);
            let whole = split_at_once(delimiter, limit, &input);
            let chunk = random.usize(1..8);
            assert_eq!(split_any(delimiter, limit, &input, chunk), whole, "{input:?} at {delimiter:?}");
        }
    }

    fn split_any(delimiter: &[u8], limit: usize, input: &[u8], chunk: usize) -> Vec<Piece> {
        let mut splitter = Splitter::new(delimiter, limit);
        let mut pieces = Vec::new();
        input.chunks(chunk).for_each(|chunk| splitter.push(chunk, |piece| pieces.push(piece)));
        pieces.extend(splitter.finish());
        pieces
    }

    fn split_at_once(delimiter: &[u8], limit: usize, mut input: &[u8]) -> Vec<Piece> {
        let piece = |bytes: &[u8]| {
            if bytes.len() > limit { too_long(bytes.len() as u64) } else { record(bytes) }
        };
        let mut pieces = Vec::new();
        while let Some(at) = input.windows(delimiter.len()).position(|window| window == delimiter) {
            pieces.push(piece(&input[..at]));
            input = &input[at + delimiter.len()..];
        }
        if !input.is_empty() {
            pieces.push(piece(input));
        }
        pieces
    }
}
