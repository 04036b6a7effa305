//! Measures a record, then writes it into exactly that room.
#![cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        reason = "sums in 64 bits of lengths of 31, shifts of varints by less than their width"
    )
)]

use super::Header;
use crate::wire::varint::{zigzag, zigzag_long};

/// Bytes behind a record's room that writing it may touch.
pub(super) const SLACK: usize = size_of::<u64>();

/// A record that has been measured.
pub(super) struct Measured<'a> {
    /// What the record's own length counts.
    len: Varint,
    timestamp_delta: Varint,
    offset_delta: Varint,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: u64,
}

impl<'a> Measured<'a> {
    /// Measures a record.
    ///
    /// # Errors
    /// With the bytes of its fields, when a length or count is past 31 bits.
    #[inline]
    pub(super) fn new<'h>(
        timestamp_delta: i64,
        offset_delta: i32,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) -> Result<Self, usize> {
        let mut headers_len = 0usize;
        let mut header_count = 0usize;
        for header in headers {
            header_count = header_count.saturating_add(1);
            headers_len = headers_len.saturating_add(header.encoded_len());
        }
        let (key_len, value_len) = (key.unwrap_or_default().len(), value.unwrap_or_default().len());
        // A header takes two bytes at least, so that the bound on their bytes bounds their count.
        if key_len | value_len | headers_len > i32::MAX as usize {
            return Err(key_len.saturating_add(value_len).saturating_add(headers_len));
        }
        let timestamp_delta = Varint::new(zigzag_long(timestamp_delta));
        let offset_delta = Varint::new(zigzag(offset_delta).into());
        let header_count = (header_count as u64) << 1;
        let prefixes = [nullable_prefix(key), nullable_prefix(value), header_count].map(unsigned_len);
        let [key_prefix, value_prefix, header_prefix] = prefixes;
        let numbers = 1 + timestamp_delta.len + offset_delta.len + key_prefix + value_prefix + header_prefix;
        // Four numbers of 31 bits and a bit: 64 bits hold the sum.
        let len = numbers as u64 + key_len as u64 + value_len as u64 + headers_len as u64;
        Ok(Self { len: Varint::new(len << 1), timestamp_delta, offset_delta, key, value, header_count })
    }

    /// Bytes the record takes, its length in front included.
    #[inline]
    pub(super) fn total(&self) -> u64 {
        self.len.len as u64 + (self.len.value >> 1)
    }

    /// Writes the record into the front of `room`, which must be [`SLACK`] longer than the record.
    #[inline]
    pub(super) fn write<'h>(self, room: &mut [u8], headers: impl Iterator<Item = Header<'h>>) {
        let mut out = Out { rest: room };
        out.front(self.len, self.timestamp_delta, self.offset_delta);
        out.nullable(self.key);
        out.nullable(self.value);
        out.unsigned(self.header_count);
        for header in headers {
            out.nullable(Some(header.name));
            out.nullable(header.value);
        }
        debug_assert_eq!(out.rest.len(), SLACK, "the record is as long as was measured");
    }
}

/// A varint that has been measured.
#[derive(Clone, Copy)]
struct Varint {
    value: u64,
    len: usize,
}

impl Varint {
    #[inline]
    fn new(value: u64) -> Self {
        Self { value, len: unsigned_len(value) }
    }

    /// Its bytes, the first one lowest, if it has at most two.
    #[inline]
    fn two_bytes(self) -> u64 {
        self.value & 0x7f | ((self.len as u64 - 1) << 7) | self.value >> 7 << 8
    }
}

/// The varint in front of a nullable field, zigzagged: its length, or -1.
#[inline]
fn nullable_prefix(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(1, |bytes| (bytes.len() as u64) << 1)
}

/// Bytes of a nullable field with its length.
#[inline]
pub(super) fn nullable_len(bytes: Option<&[u8]>) -> usize {
    unsigned_len(nullable_prefix(bytes)).saturating_add(bytes.unwrap_or_default().len())
}

/// Bytes of an unsigned varint. Two comparisons that are foreseen cost less than counting zeros.
#[inline]
fn unsigned_len(value: u64) -> usize {
    if value < 0x80 {
        1
    } else if value < 0x4000 {
        2
    } else {
        long_len(value)
    }
}

#[cold]
fn long_len(value: u64) -> usize {
    (64 - value.leading_zeros()).div_ceil(7) as usize
}

/// The part of the buffer that one record fills.
///
/// A slice that shrinks stays in registers, where the length of a `Vec` would be a load and a store for each field.
struct Out<'a> {
    rest: &'a mut [u8],
}

impl Out<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some((to, rest)) = std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len()) {
            to.copy_from_slice(bytes);
            self.rest = rest;
        }
    }

    /// The record's length (zigzagged), its attributes, timestamp and offset: at most seven bytes in nearly every record,
    /// which one store writes.
    #[inline]
    fn front(&mut self, len: Varint, timestamp: Varint, offset: Varint) {
        match self.rest.first_chunk_mut() {
            Some(to) if len.value | timestamp.value | offset.value < 0x4000 => {
                let timestamp_at = len.len + 1;
                let offset_at = timestamp_at + timestamp.len;
                let word = len.two_bytes()
                    | timestamp.two_bytes() << (8 * timestamp_at)
                    | offset.two_bytes() << (8 * offset_at);
                *to = word.to_le_bytes();
                self.skip(offset_at + offset.len);
            }
            _ => {
                self.unsigned(len.value);
                self.bytes(&[0]);
                self.unsigned(timestamp.value);
                self.unsigned(offset.value);
            }
        }
    }

    #[inline]
    fn skip(&mut self, len: usize) {
        self.rest = std::mem::take(&mut self.rest).get_mut(len..).unwrap_or_default();
    }

    #[inline]
    fn nullable(&mut self, bytes: Option<&[u8]>) {
        self.unsigned(nullable_prefix(bytes));
        self.bytes(bytes.unwrap_or_default());
    }

    #[inline]
    fn unsigned(&mut self, value: u64) {
        if value < 0x80 {
            self.bytes(&[value as u8]);
        } else if value < 0x4000 {
            self.bytes(&[value as u8 | 0x80, (value >> 7) as u8]);
        } else {
            self.long(value);
        }
    }

    #[cold]
    fn long(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.bytes(&[value as u8]);
    }
}
