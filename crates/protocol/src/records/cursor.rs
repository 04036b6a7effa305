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

    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, RecordErrorKind> {
        let (byte, rest) = self.rest.split_first().ok_or(RecordErrorKind::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// A zigzag varint of at most 5 bytes.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<i32, RecordErrorKind> {
        if let Some(value) = self.short_varint() {
            return Ok(unzigzag(value));
        }
        let value = self.long_varint(5)?;
        u32::try_from(value).map(unzigzag).map_err(|_| RecordErrorKind::InvalidVarint)
    }

    /// A zigzag varint of at most 10 bytes.
    #[inline(always)]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordErrorKind> {
        if let Some(value) = self.short_varint() {
            return Ok(unzigzag(value).into());
        }
        self.long_varint(10).map(unzigzag_long)
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

    #[cold]
    fn long_varint(&mut self, max_len: u32) -> Result<u64, RecordErrorKind> {
        let mut value = 0u64;
        for at in 0..max_len {
            let byte = self.byte()?;
            let seven = u64::from(byte & 0x7f);
            let shift = at.saturating_mul(7);
            if shift == 63 && seven > 1 {
                break;
            }
            value |= seven << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordErrorKind::InvalidVarint)
    }

    /// Bytes behind their length; a negative length says null.
    #[inline(always)]
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordErrorKind> {
        match usize::try_from(self.varint()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }
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
