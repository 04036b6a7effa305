//! What a connection has still to write, as slices for vectored writes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use milena_protocol::wire::Frame;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// None of them empty.
    slices: VecDeque<Bytes>,
    len: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.len = self.len.saturating_add(frame.len());
        self.slices.extend(frame);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&[], |slice| slice)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (to, slice) in out.iter_mut().zip(&self.slices) {
            *to = IoSlice::new(slice);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        while let Some(first) = self.slices.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_stops_and_goes_on_anywhere() {
        let mut outbox = Outbox { slices: [Bytes::from("abc"), "d".into(), "ef".into()].into(), len: 6 };
        outbox.advance(2);
        assert_eq!((outbox.chunk(), outbox.remaining()), (&b"c"[..], 4));
        outbox.advance(2);
        assert_eq!((outbox.chunk(), outbox.remaining()), (&b"ef"[..], 2));
        outbox.advance(2);
        assert!(!outbox.has_remaining() && outbox.chunk().is_empty());
    }
}
