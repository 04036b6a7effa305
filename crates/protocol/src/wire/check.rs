//! Reads fields as [`Reader`]'s other methods do, and keeps nothing.
//!
//! What is not built costs little: fields of fixed size are passed over in one step, and no reference to the frame is
//! counted. Every method accepts and refuses exactly what its counterpart does, which is why they share their parts.

use super::{Decode, Primitive, Reader};
use crate::{DecodeError, DecodeErrorKind};

impl<'a> Reader<'a> {
    /// Passes over fields of fixed size.
    ///
    /// # Errors
    /// When fewer than `len` bytes are left.
    #[inline]
    pub fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        match self.rest.get(len..) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.truncated(len)),
        }
    }

    /// Checks a string that may be null.
    ///
    /// # Errors
    /// As [`nullable_string`](Self::nullable_string).
    pub fn check_nullable_string(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let text = self.nullable_text(flexible)?;
        text.map_or(Ok(()), |text| self.check_utf8(text))
    }

    /// Checks a string.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn check_string(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let text = self.nullable_text(flexible)?;
        let text = self.required(text)?;
        self.check_utf8(text)
    }

    fn check_utf8(&self, text: &[u8]) -> Result<(), DecodeError> {
        match std::str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.error(DecodeErrorKind::InvalidUtf8)),
        }
    }

    /// Passes over bytes (or records) that may be null.
    ///
    /// # Errors
    /// As [`nullable_bytes`](Self::nullable_bytes).
    #[inline]
    pub fn check_nullable_bytes(&mut self, flexible: bool) -> Result<(), DecodeError> {
        match self.nullable_bytes_len(flexible)? {
            Some(len) => self.skip(len),
            None => Ok(()),
        }
    }

    /// Passes over bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn check_bytes(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let len = self.nullable_len(flexible, false)?;
        let len = self.required(len)?;
        self.skip(len)
    }

    /// Checks an array of structures that may be null.
    ///
    /// # Errors
    /// As [`nullable_listed`](Self::nullable_listed).
    #[inline]
    pub fn check_nullable_structs<T: Decode>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<(), DecodeError> {
        match self.nullable_len(flexible, false)? {
            None | Some(0) => Ok(()),
            Some(count) => self.check_elements::<T>(count, version),
        }
    }

    /// Checks an array of structures.
    ///
    /// # Errors
    /// As [`listed`](Self::listed).
    pub fn check_structs<T: Decode>(&mut self, flexible: bool, version: i16) -> Result<(), DecodeError> {
        let count = self.nullable_len(flexible, false)?;
        let count = self.required(count)?;
        self.check_elements::<T>(count, version)
    }

    /// Checks the elements of an array.
    #[inline(never)]
    pub(super) fn check_elements<T: Decode>(
        &mut self,
        count: usize,
        version: i16,
    ) -> Result<(), DecodeError> {
        self.check_count(count, T::MIN_LEN)?;
        for _ in 0..count {
            T::check(self, version)?;
        }
        Ok(())
    }

    /// Passes over an array of numbers that may be null.
    ///
    /// # Errors
    /// As [`nullable_packed`](Self::nullable_packed).
    pub fn check_nullable_packed<T: Primitive>(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let count = self.nullable_len(flexible, false)?;
        count.map_or(Ok(()), |count| self.take_elements(count, T::SIZE).map(drop))
    }

    /// Passes over an array of numbers.
    ///
    /// # Errors
    /// As [`packed`](Self::packed).
    pub fn check_packed<T: Primitive>(&mut self, flexible: bool) -> Result<(), DecodeError> {
        let count = self.nullable_len(flexible, false)?;
        let count = self.required(count)?;
        self.take_elements(count, T::SIZE).map(drop)
    }

    /// Checks a structure.
    ///
    /// # Errors
    /// As [`structure`](Self::structure).
    pub fn check_structure<T: Decode>(&mut self, version: i16) -> Result<(), DecodeError> {
        T::check(self, version)
    }

    /// Checks a structure behind a presence byte.
    ///
    /// # Errors
    /// As [`nullable_structure`](Self::nullable_structure).
    pub fn check_nullable_structure<T: Decode>(&mut self, version: i16) -> Result<(), DecodeError> {
        if self.i8()? < 0 {
            return Ok(());
        }
        T::check(self, version)
    }

    /// Checks the tagged fields at the end of a structure. `known` checks the fields it knows and says false to the
    /// others.
    ///
    /// # Errors
    /// As [`tags`](Self::tags), the bound on memory included: checking refuses what decoding could not keep.
    #[inline]
    pub fn check_tags(
        &mut self,
        known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.no_tags() { Ok(()) } else { self.check_some_tags(known) }
    }

    #[inline(never)]
    fn check_some_tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut charged = false;
        self.each_tag(|tag, field, _| {
            if !known(tag, field)? {
                field.pass_over();
                if !charged {
                    field.charge_for_tags()?;
                    charged = true;
                }
            }
            Ok(())
        })
    }

    /// Checks the tagged fields of a structure that has none of its own.
    ///
    /// # Errors
    /// As [`unknown_tags`](Self::unknown_tags).
    #[inline]
    pub fn check_unknown_tags(&mut self) -> Result<(), DecodeError> {
        self.check_tags(|_, _| Ok(false))
    }
}
