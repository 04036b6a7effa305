//! A cursor over one frame that can neither run past its end nor be talked into allocating.

use std::hint::cold_path;

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Decode, Listed, Packed, Primitive, Uuid,
    varint::{unzigzag, unzigzag_long},
};
use crate::{DecodeError, DecodeErrorKind};

/// How many bytes of heap a decode may ask for per byte of input. The largest structures are 29 times their smallest
/// wire form.
const EXPANSION: usize = 32;
/// What a decode may allocate on top of [`EXPANSION`].
const ALLOWANCE: usize = 64 * 1024;
/// The longest string Java reads or writes, compact or not.
const MAX_STRING: usize = i16::MAX as usize;

/// Reads the fields of one message from one buffer.
///
/// Strings, byte fields and arrays of numbers come out as slices of the buffer. Arrays of structures are allocated
/// only after their count was held against the bytes that are left, and all of them together stay within
/// 32 × the buffer's length + 64 KiB.
///
/// Length arguments named `flexible` choose between the two forms of KIP-482: compact (unsigned varint, plus one) and
/// the older fixed-size length.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pub(super) frame: &'a Bytes,
    pub(super) rest: &'a [u8],
    /// Where `rest` ends in `frame`.
    pub(super) end: usize,
    pub(super) headroom: Headroom,
}

/// What is left of the bytes a decode may allocate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headroom(usize);

impl Headroom {
    fn for_input(len: usize) -> Self {
        Self(len.saturating_mul(EXPANSION).saturating_add(ALLOWANCE))
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), DecodeErrorKind> {
        self.0 = self.0.checked_sub(bytes).ok_or(DecodeErrorKind::OverBudget)?;
        Ok(())
    }
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When fewer bytes are left.
        #[inline]
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            Ok(<$type>::from_be_bytes(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads from the start of `frame`.
    #[must_use]
    pub fn new(frame: &'a Bytes) -> Self {
        Self { frame, rest: frame, end: frame.len(), headroom: Headroom::for_input(frame.len()) }
    }

    /// Reads elements that were read before, within the bounds of the frame they came in.
    pub(super) fn again(elements: &'a Bytes) -> Self {
        Self { headroom: Headroom(usize::MAX), ..Self::new(elements) }
    }

    /// How many bytes have not been read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes have been read, from the start of what the reader was made for.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    /// An error of this kind at the place reading has got to.
    #[must_use]
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { kind, at: self.position() }
    }

    /// Inlined, so that its caller knows it for an error and goes on only with what it read, in registers.
    #[inline(always)]
    pub(super) fn truncated(&self, needed: usize) -> DecodeError {
        cold_path();
        let kind = DecodeErrorKind::Truncated { needed, left: self.rest.len() };
        DecodeError { kind, at: self.position() }
    }

    /// Insists that everything was read.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.error(DecodeErrorKind::LeftOver(self.rest.len())))
    }

    /// Refuses a version outside `first..=last` of the message called `message`.
    pub(crate) fn check_version(
        &self,
        message: &'static str,
        version: i16,
        first: i16,
        last: i16,
    ) -> Result<(), DecodeError> {
        if (first..=last).contains(&version) {
            return Ok(());
        }
        Err(self.error(DecodeErrorKind::UnknownVersion { message, version }))
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(len)),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// `len` bytes as they stand.
    ///
    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn slice(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        let begin = self.position();
        self.skip(len)?;
        Ok(self.read_since(begin))
    }

    /// What was read since `begin`, which was the position then.
    #[inline]
    fn read_since(&self, begin: usize) -> Bytes {
        self.frame.slice(begin..self.position())
    }

    integers! {
        /// A signed byte.
        i8: i8;
        /// Two bytes, signed.
        i16: i16;
        /// Two bytes, unsigned.
        u16: u16;
        /// Four bytes, signed.
        i32: i32;
        /// Four bytes, unsigned.
        u32: u32;
        /// Eight bytes, signed.
        i64: i64;
        /// An IEEE 754 double.
        f64: f64;
    }

    /// One byte; anything but zero is true, as Java reads it.
    ///
    /// # Errors
    /// When no byte is left.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// An unsigned varint of at most 5 bytes.
    ///
    /// # Errors
    /// When it does not end in time, or does not fit 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        // One byte covers every length below 127, which is nearly all of them.
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(first.into());
        }
        self.long_unsigned_varint()
    }

    /// The varints past one byte.
    fn long_unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        if let Some(value) = self.short_unsigned_varint() {
            return Ok(value);
        }
        let value = self.long_varint(5)?;
        u32::try_from(value).map_err(|_| self.error(DecodeErrorKind::InvalidVarint))
    }

    /// A varint of up to three bytes, which the lengths of most batches are. Leaves any other where it is.
    #[inline(always)]
    fn short_unsigned_varint(&mut self) -> Option<u32> {
        let seven = |byte: &u8| u32::from(byte & 0x7f);
        let (value, rest) = match self.rest {
            [first @ 0..0x80, rest @ ..] => (seven(first), rest),
            [first, second @ 0..0x80, rest @ ..] => (seven(first) | seven(second) << 7, rest),
            [first, second, third @ 0..0x80, rest @ ..] => {
                (seven(first) | seven(second) << 7 | seven(third) << 14, rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    /// A zigzag varint of at most 5 bytes.
    ///
    /// # Errors
    /// As [`unsigned_varint`](Self::unsigned_varint).
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        Ok(unzigzag(self.unsigned_varint()?))
    }

    /// A zigzag varint of at most 10 bytes.
    ///
    /// # Errors
    /// When it does not end in time, or does not fit 64 bits.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        Ok(unzigzag_long(self.long_varint(10)?))
    }

    fn long_varint(&mut self, max_len: u32) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for at in 0..max_len {
            let [byte] = self.array()?;
            let seven = u64::from(byte & 0x7f);
            let shift = at.saturating_mul(7);
            if shift == 63 && seven > 1 {
                break;
            }
            value |= seven.wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::InvalidVarint))
    }

    /// The length of something nullable: `None` is null. `narrow` says that the older form has two bytes, not four.
    #[inline]
    pub(super) fn nullable_len(
        &mut self,
        flexible: bool,
        narrow: bool,
    ) -> Result<Option<usize>, DecodeError> {
        if flexible {
            let len = self.unsigned_varint()?.checked_sub(1);
            return Ok(len.map(|len| len as usize));
        }
        let len = if narrow { self.i16()?.into() } else { self.i32()? };
        match usize::try_from(len) {
            Ok(len) => Ok(Some(len)),
            // Java takes every negative length for null.
            Err(_) => Ok(None),
        }
    }

    /// [`nullable_len`](Self::nullable_len) of byte fields and records, which are mostly long.
    #[inline(always)]
    pub(super) fn nullable_bytes_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible && let Some(len) = self.short_unsigned_varint() {
            return Ok(len.checked_sub(1).map(|len| len as usize));
        }
        self.nullable_len(flexible, false)
    }

    #[inline]
    pub(super) fn required<T>(&self, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// The bytes of a string that may be null, not yet known to be UTF-8.
    pub(super) fn nullable_text(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(len) = self.nullable_len(flexible, true)? else { return Ok(None) };
        if len > MAX_STRING {
            return Err(self.error(DecodeErrorKind::InvalidLength(len as i64)));
        }
        self.take(len).map(Some)
    }

    /// A string that may be null.
    ///
    /// # Errors
    /// When its length is out of range or past the end, or it is not UTF-8.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<ByteString>, DecodeError> {
        let Some(bytes) = self.nullable_text(flexible)? else { return Ok(None) };
        let bytes = self.frame.slice_ref(bytes);
        let text = ByteString::try_from(bytes).map_err(|_| self.error(DecodeErrorKind::InvalidUtf8))?;
        Ok(Some(text))
    }

    /// A string.
    ///
    /// # Errors
    /// As [`nullable_string`](Self::nullable_string), and when it is null.
    pub fn string(&mut self, flexible: bool) -> Result<ByteString, DecodeError> {
        let text = self.nullable_string(flexible)?;
        self.required(text)
    }

    /// Bytes (or records) that may be null.
    ///
    /// # Errors
    /// When the length is past the end.
    #[inline]
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.nullable_bytes_len(flexible)? {
            Some(len) => Ok(Some(self.slice(len)?)),
            None => Ok(None),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// As [`nullable_bytes`](Self::nullable_bytes), and when they are null.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        let bytes = self.nullable_bytes(flexible)?;
        self.required(bytes)
    }

    /// Room for `count` elements of type `T` that take at least `min_len` bytes each: what is asked of the allocator is
    /// bounded by the bytes that are really there.
    fn elements<T>(&mut self, count: usize, min_len: usize) -> Result<Vec<T>, DecodeError> {
        self.check_count(count, min_len)?;
        self.headroom.charge(count.saturating_mul(size_of::<T>())).map_err(|kind| self.error(kind))?;
        Ok(Vec::with_capacity(count))
    }

    /// Holds a count against the bytes that are left.
    #[inline]
    pub(super) fn check_count(&self, count: usize, min_len: usize) -> Result<(), DecodeError> {
        if count.checked_mul(min_len.max(1)).is_none_or(|least| least > self.rest.len()) {
            return Err(self.error(DecodeErrorKind::ImpossibleCount { count, left: self.rest.len() }));
        }
        Ok(())
    }

    /// An array of structures that may be null.
    ///
    /// # Errors
    /// When the count can't be true, or an element is not what it should be.
    pub fn nullable_structs<T: Decode>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.nullable_len(flexible, false)? else { return Ok(None) };
        let mut elements = self.elements(count, T::MIN_LEN)?;
        for _ in 0..count {
            elements.push(T::decode(self, version)?);
        }
        Ok(Some(elements))
    }

    /// An array of structures.
    ///
    /// # Errors
    /// As [`nullable_structs`](Self::nullable_structs), and when it is null.
    pub fn structs<T: Decode>(&mut self, flexible: bool, version: i16) -> Result<Vec<T>, DecodeError> {
        let elements = self.nullable_structs(flexible, version)?;
        self.required(elements)
    }

    /// An array of structures that may be null and stays in the frame: its elements are checked and not kept.
    ///
    /// # Errors
    /// When the count can't be true, or an element is not what it should be.
    #[inline]
    pub fn nullable_listed<T: Decode>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<Option<Listed<T>>, DecodeError> {
        match self.nullable_len(flexible, false)? {
            None => Ok(None),
            Some(0) => Ok(Some(Listed::default())),
            Some(count) => self.listed_elements(count, version).map(Some),
        }
    }

    fn listed_elements<T: Decode>(&mut self, count: usize, version: i16) -> Result<Listed<T>, DecodeError> {
        let begin = self.position();
        self.check_elements::<T>(count, version)?;
        Ok(Listed::from_frame(self.read_since(begin), count, version))
    }

    /// An array of structures that stays in the frame.
    ///
    /// # Errors
    /// As [`nullable_listed`](Self::nullable_listed), and when it is null.
    pub fn listed<T: Decode>(&mut self, flexible: bool, version: i16) -> Result<Listed<T>, DecodeError> {
        let elements = self.nullable_listed(flexible, version)?;
        self.required(elements)
    }

    /// An array of strings that may be null; the strings may not.
    ///
    /// # Errors
    /// When the count can't be true, or an element is not a string.
    pub fn nullable_strings(&mut self, flexible: bool) -> Result<Option<Vec<ByteString>>, DecodeError> {
        let Some(count) = self.nullable_len(flexible, false)? else { return Ok(None) };
        let mut elements = self.elements(count, if flexible { 1 } else { 2 })?;
        for _ in 0..count {
            elements.push(self.string(flexible)?);
        }
        Ok(Some(elements))
    }

    /// An array of strings.
    ///
    /// # Errors
    /// As [`nullable_strings`](Self::nullable_strings), and when it is null.
    pub fn strings(&mut self, flexible: bool) -> Result<Vec<ByteString>, DecodeError> {
        let elements = self.nullable_strings(flexible)?;
        self.required(elements)
    }

    /// The bytes of `count` elements of `size` bytes each.
    pub(super) fn take_elements(&mut self, count: usize, size: usize) -> Result<&'a [u8], DecodeError> {
        let Some(len) = count.checked_mul(size) else {
            return Err(self.error(DecodeErrorKind::ImpossibleCount { count, left: self.rest.len() }));
        };
        self.take(len)
    }

    /// An array of numbers that may be null.
    ///
    /// # Errors
    /// When it runs past the end.
    pub fn nullable_packed<T: Primitive>(
        &mut self,
        flexible: bool,
    ) -> Result<Option<Packed<T>>, DecodeError> {
        let Some(count) = self.nullable_len(flexible, false)? else { return Ok(None) };
        let rest = self.rest;
        let bytes = self.take_elements(count, T::SIZE)?;
        let copied = Packed::copied(rest, bytes.len());
        Ok(Some(copied.unwrap_or_else(|| Packed::in_frame(self.frame, bytes))))
    }

    /// An array of numbers.
    ///
    /// # Errors
    /// As [`nullable_packed`](Self::nullable_packed), and when it is null.
    pub fn packed<T: Primitive>(&mut self, flexible: bool) -> Result<Packed<T>, DecodeError> {
        let elements = self.nullable_packed(flexible)?;
        self.required(elements)
    }

    /// A structure.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub fn structure<T: Decode>(&mut self, version: i16) -> Result<T, DecodeError> {
        T::decode(self, version)
    }

    /// A structure behind a presence byte; a negative byte says null.
    ///
    /// # Errors
    /// When the structure is not what it should be.
    pub fn nullable_structure<T: Decode>(&mut self, version: i16) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 {
            return Ok(None);
        }
        T::decode(self, version).map(Some)
    }
}
