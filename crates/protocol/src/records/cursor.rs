//! Reads the fields of a record from a slice.
//!
//! These functions, and those of [`Records`](super::Records) that call them, are inlined by force: where a program has
//! several loops over records the compiler calls them instead, with views and results handed over through memory, and a
//! record of 100 bytes takes half as long again.

use super::RecordErrorKind;
use crate::wire::varint::{unzigzag, unzigzag_long};

/// What is left of a record, or of a batch's records.
///
/// [`wire::Reader`](crate::wire::Reader) hands out slices that share the frame; here a slice is a borrow, which is what
/// makes a record cost nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordErrorKind> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordErrorKind::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A zigzag varint of at most 5 bytes.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<i32, RecordErrorKind> {
        self.unsigned_varint().map(unzigzag)
    }

    #[inline(always)]
    fn unsigned_varint(&mut self) -> Result<u32, RecordErrorKind> {
        if let Some(value) = self.short_varint() {
            return Ok(value);
        }
        self.long(5).map(|value| value as u32)
    }

    /// A zigzag varint of at most 10 bytes.
    #[inline(always)]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordErrorKind> {
        if let Some(value) = self.short_varint() {
            return Ok(unzigzag(value).into());
        }
        self.long(10).map(unzigzag_long)
    }

    /// An unsigned varint of one or two bytes, which nearly all are. Leaves any other where it is.
    #[inline(always)]
    fn short_varint(&mut self) -> Option<u32> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Some(first.into())
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Some(u32::from(first & 0x7f) | u32::from(second) << 7)
            }
            _ => None,
        }
    }

    /// The varints that are not short.
    #[inline(always)]
    fn long(&mut self, max_len: usize) -> Result<u64, RecordErrorKind> {
        let Some((value, rest)) = long_varint(self.rest, max_len) else {
            // What is too large shows in its last byte only.
            let is_cut = self.rest.len() < max_len;
            return Err(if is_cut { RecordErrorKind::Truncated } else { RecordErrorKind::InvalidVarint });
        };
        self.rest = rest;
        Ok(value)
    }

    /// Bytes behind their length; a negative length says null.
    #[inline(always)]
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordErrorKind> {
        let zigzag = self.unsigned_varint()?;
        // What is odd is negative.
        if zigzag & 1 == 1 { Ok(None) } else { self.take((zigzag >> 1) as usize).map(Some) }
    }
}

/// A varint of 5 or 10 bytes at most and what stands behind it. It takes no reference to a cursor, which so stays in
/// registers.
#[cold]
fn long_varint(rest: &[u8], max_len: usize) -> Option<(u64, &[u8])> {
    let end = rest.iter().take(max_len).position(|byte| *byte < 0x80)?;
    let (bytes, rest) = rest.split_at_checked(end.saturating_add(1))?;
    let seven = |value: u128, byte: &u8| value << 7 | u128::from(byte & 0x7f);
    let value = bytes.iter().rev().fold(0, seven);
    let max = if max_len == 5 { u32::MAX.into() } else { u64::MAX };
    u64::try_from(value).ok().filter(|value| *value <= max).map(|value| (value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Writer;

    proptest! {
        #[test]
        fn integers_of_every_length(small: i32, large: i64, shift in 0u32..63) {
            let mut writer = Writer::new();
            writer.varint(small >> (shift / 2));
            writer.varlong(large >> shift);
            let bytes = writer.finish().to_bytes();
            let mut cursor = Cursor { rest: &bytes };
            prop_assert_eq!(cursor.varint(), Ok(small >> (shift / 2)));
            prop_assert_eq!(cursor.varlong(), Ok(large >> shift));
            prop_assert!(cursor.rest.is_empty());
        }
    }

    #[test]
    fn endless_and_oversized_integers_are_refused() {
        let varint = |bytes: &[u8]| Cursor { rest: bytes }.varint();
        let varlong = |bytes: &[u8]| Cursor { rest: bytes }.varlong();
        assert_eq!(varint(&[0xff; 12]), Err(RecordErrorKind::InvalidVarint));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(RecordErrorKind::InvalidVarint));
        assert_eq!(varlong(&[0xff; 12]), Err(RecordErrorKind::InvalidVarint));
        assert_eq!(
            varlong(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            Err(RecordErrorKind::InvalidVarint)
        );
        assert_eq!(varint(&[0x80]), Err(RecordErrorKind::Truncated));
        assert_eq!(varlong(&[]), Err(RecordErrorKind::Truncated));
    }
}
