//! What a writer has written: small fields in one buffer, payloads beside it.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// A payload and how many bytes of the buffer come before it.
#[derive(Debug)]
pub(super) struct Placed<'v> {
    pub(super) at: usize,
    pub(super) bytes: Payload<'v>,
}

#[derive(Debug)]
pub(super) enum Payload<'v> {
    Borrowed(&'v Bytes),
    Shared(Bytes),
}

impl Payload<'_> {
    fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => bytes.clone(),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Placed<'_> {
    /// The same payload `further` bytes on, borrowed from nobody.
    pub(super) fn shared<'o>(self, further: usize) -> Placed<'o> {
        let bytes = Payload::Shared(self.bytes.into_bytes());
        Placed { at: self.at.saturating_add(further), bytes }
    }
}

/// What a [`Writer`](super::Writer) holds, in the order of the wire, for vectored writes.
#[derive(Clone, Debug)]
pub struct Chunks<'w> {
    /// Of the buffer, what is not consumed.
    buffer: &'w [u8],
    /// How much of the buffer is.
    consumed: usize,
    payloads: &'w [Placed<'w>],
    /// How much of the first payload is consumed.
    cut: usize,
    len: usize,
}

impl<'w> Chunks<'w> {
    pub(super) fn new(buffer: &'w [u8], payloads: &'w [Placed<'w>], len: usize) -> Self {
        Self { buffer, consumed: 0, payloads, cut: 0, len }
    }

    /// The slices that are left, none of them empty.
    pub fn slices(&self) -> impl Iterator<Item = &'w [u8]> + use<'w> {
        let mut rest = self.clone();
        std::iter::from_fn(move || rest.pop())
    }

    /// The next slice.
    fn first(&self) -> &'w [u8] {
        let Some(payload) = self.payloads.first() else { return self.buffer };
        let before = payload.at.saturating_sub(self.consumed);
        match self.buffer.get(..before) {
            Some(fields) if !fields.is_empty() => fields,
            _ => payload.bytes.as_bytes().get(self.cut..).unwrap_or_default(),
        }
    }

    fn pop(&mut self) -> Option<&'w [u8]> {
        let first = self.first();
        self.consume(first.len());
        (!first.is_empty()).then_some(first)
    }

    /// Goes past `count` bytes, of the first slice at most.
    fn consume(&mut self, count: usize) {
        self.len = self.len.saturating_sub(count);
        if let Some(payload) = self.payloads.first()
            && payload.at <= self.consumed
        {
            self.cut = self.cut.saturating_add(count);
            if self.cut >= payload.bytes.as_bytes().len() {
                self.payloads = self.payloads.get(1..).unwrap_or_default();
                self.cut = 0;
            }
            return;
        }
        self.consumed = self.consumed.saturating_add(count);
        self.buffer = self.buffer.get(count..).unwrap_or_default();
    }
}

impl Buf for Chunks<'_> {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.first()
    }

    fn chunks_vectored<'a>(&'a self, target: &mut [IoSlice<'a>]) -> usize {
        let filled = target.iter_mut().zip(self.slices());
        filled.map(|(place, slice)| *place = IoSlice::new(slice)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 && self.len > 0 {
            let step = count.min(self.first().len());
            self.consume(step);
            count = count.saturating_sub(step);
        }
    }
}

/// Slices that make up one frame, in their order.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    slices: Vec<Bytes>,
    len: usize,
}

impl Frame {
    pub(super) fn new(buffer: Vec<u8>, payloads: Vec<Placed<'_>>, len: usize) -> Self {
        let mut slices = Vec::with_capacity(payloads.len().saturating_mul(2).saturating_add(1));
        let mut rest = Bytes::from(buffer);
        let mut cut = 0usize;
        for Placed { at, bytes } in payloads {
            let fields = rest.split_to(at.saturating_sub(cut).min(rest.len()));
            cut = at;
            slices.extend((!fields.is_empty()).then_some(fields));
            slices.push(bytes.into_bytes());
        }
        slices.extend((!rest.is_empty()).then_some(rest));
        Self { slices, len }
    }

    /// The slices, none of them empty.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// All bytes together.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The first `len` bytes of the frame: what goes out before a connection breaks.
    #[must_use]
    pub fn cut(&self, len: usize) -> Self {
        let mut left = len;
        let mut slices = Vec::new();
        for slice in &self.slices {
            let taken = left.min(slice.len());
            if taken > 0 {
                slices.push(slice.slice(..taken));
            }
            left = left.saturating_sub(taken);
        }
        Self { slices, len: len.min(self.len) }
    }

    /// True when there is no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices as one buffer: a copy, unless there is just one.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.slices.as_slice() {
            return only.clone();
        }
        self.slices.concat().into()
    }
}

impl From<Bytes> for Frame {
    /// Bytes that are a whole frame, its length included.
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len(), slices: if bytes.is_empty() { Vec::new() } else { vec![bytes] } }
    }
}

impl IntoIterator for Frame {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.slices.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    #[test]
    fn chunks_go_on_anywhere_and_end_where_the_frame_does() {
        let payloads: Vec<Bytes> = (1..4u8).map(|byte| Bytes::from(vec![byte; 2000])).collect();
        let mut writer = Writer::new();
        // Two payloads with nothing between them, one at the very start.
        writer.payload(&payloads[0]);
        writer.payload(&payloads[1]);
        writer.i32(7);
        writer.payload(&payloads[2]);
        writer.i8(9);
        let whole: Vec<u8> = writer.chunks().slices().collect::<Vec<_>>().concat();
        assert_eq!(whole.len(), writer.len());
        assert_eq!(writer.chunks().slices().count(), 5);
        for step in [1, 3, 1999, 2000, 2001, 4004, 6005] {
            let mut chunks = writer.chunks();
            let mut read = Vec::new();
            while chunks.has_remaining() {
                let mut places = [IoSlice::new(&[]); 2];
                let filled = chunks.chunks_vectored(&mut places);
                assert_eq!(*places[0], *chunks.chunk());
                let seen: Vec<u8> = places[..filled].iter().flat_map(|place| place.to_vec()).collect();
                let step = step.min(seen.len());
                read.extend_from_slice(&seen[..step]);
                chunks.advance(step);
            }
            assert_eq!(read, whole, "step {step}");
        }
        assert_eq!(writer.finish().to_bytes(), whole);
    }
}
